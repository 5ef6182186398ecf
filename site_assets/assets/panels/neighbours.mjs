import { h } from "../elements.mjs"
import { barTable } from "../chart.mjs"
import { readableId } from "../shards.mjs"

/** What each list holds; a list that is not named here shows under its own name. */
const lists = {
  read_cosine: "Reads alike",
  write_cosine: "Writes alike",
  correlation: "Correlated",
  coactivation: "Active together",
}

const shown = 6

/**
 * @param {string} name
 * @param {import("../shards.mjs").Neighbour[]} neighbours
 * @param {import("../main.mjs").Context} context
 */
function list(name, neighbours, context) {
  const title = lists[/** @type {keyof typeof lists} */ (name)] ?? name.replaceAll("_", " ")
  const rows = neighbours.slice(0, shown).map(({ id, value, label, has_page = true }) => ({
    name: h("span", { title: label }, has_page ? h("a", { href: context.linkTo(id) }, readableId(id)) : readableId(id), label && h("bdi", { class: "fb-near__label" }, label)),
    value,
  }))
  return h("div", {}, h("h3", {}, title), barTable(rows, { caption: title, header: ["channel", "", name.includes("cosine") ? "cosine" : "value"], reach: 1 }))
}

/** @type {import("../panels.mjs").Panel} */
export const panel = {
  title: "What lies near",
  caption: "Directions that read or write alike (cosine in the same space), and those whose activations go together.",
  anchor: "pairs-correlation-and-co-activation",
  draw: (shard, context) => {
    const filled = Object.entries(shard.neighbours).filter(([, neighbours]) => neighbours.length)
    return filled.length
      ? h("div", { class: "fb-grid" }, ...filled.map(([name, neighbours]) => list(name, neighbours, context)))
      : null
  },
}
