import { h } from "../elements.mjs"
import { barTable, columnChart } from "../chart.mjs"
import { count } from "../numbers.mjs"

/** How each profile is drawn: ordered bins as columns, names as rows. */
const profiles = {
  token_class: { title: "By kind of token", axis: "kind" },
  position: { title: "By position in the document", axis: "position" },
  step: { title: "By step of the document", axis: "step" },
}

/** @type {import("../panels.mjs").Panel} */
export const panel = {
  title: "Where in the text",
  caption: "Mean activation by kind of token, by position, and by step (the parts between blank lines).",
  anchor: "profiles-by-position-and-by-step",
  draw: (shard) => {
    const held = /** @type {Record<string, import("../shards.mjs").Profile>} */ (shard.profiles)
    const parts = Object.entries(profiles).flatMap(([name, look]) => (held[name] ? [part(name, look, held[name])] : []))
    return parts.length ? h("div", { class: "fb-grid" }, ...parts) : null
  },
}

/**
 * @param {string} name
 * @param {{title: string, axis: string}} look
 * @param {import("../shards.mjs").Profile} profile
 */
function part(name, { title, axis }, profile) {
  const isNamed = name === "token_class"
  return h("div", {}, h("h3", {}, title), isNamed ? classTable(profile, title) : columnChart(profile, { title, axis }))
}

/**
 * @param {import("../shards.mjs").Profile} profile
 * @param {string} caption
 */
function classTable(profile, caption) {
  const rows = profile.names.map((name, index) => ({
    name: String(name),
    value: profile.mean[index],
    note: count(profile.count[index]),
  }))
  const filled = rows.filter((_, index) => profile.count[index] > 0)
  return barTable(filled, { caption, header: ["kind", "", "mean", "tokens"] })
}
