import { h, table } from "../elements.mjs"
import { number, percent } from "../numbers.mjs"
import { readableId } from "../shards.mjs"
import { tokenList } from "../token-list.mjs"

/** @typedef {import("../runs.mjs").Pair & {page: string, name: string, url: string | null}} Counterpart */

/**
 * @param {Counterpart} row
 * @param {import("../main.mjs").Context} context
 */
function names(row, context) {
  const other = row.other === null ? h("span", { class: "fb-note" }, "no counterpart") : row.url ? h("a", { href: row.url, rel: "noreferrer" }, readableId(row.other)) : readableId(row.other)
  return h("span", {}, h("a", { href: context.linkTo(row.page) }, h("bdi", {}, row.name)), ": ", other,
    row.how && h("span", { class: "fb-note" }, ` by ${row.how}${row.is_turned ? ", sign turned" : ""}`))
}

/** @param {string[]} top @param {string[]} bottom */
function tokens(top, bottom) {
  return top.length || bottom.length ? h("span", { class: "fb-both-tokens" }, tokenList(top, "positive"), tokenList(bottom, "negative")) : "–"
}

/** @type {import("../panels.mjs").Panel} */
export const panel = {
  title: "In other runs",
  caption: "The same direction in another checkpoint, seed or adapter, and how alike the two are.",
  anchor: "counterparts-in-other-runs",
  draw: (shard, context) => {
    const rows = /** @type {Counterpart[]} */ (/** @type {any} */ (shard).runs)
    const header = ["run and counterpart", "cosine read", "cosine write", "correlation", "density there", "max there", "tokens only here", "tokens only there"]
    const three = (/** @type {number | null} */ value) => (value === null ? "–" : number(value))
    return h("div", { class: "fb-scroll", tabindex: "0", role: "region", "aria-label": "Counterparts in other runs" }, table("Counterparts", header, rows.map((row) => [
      names(row, context), three(row.read), three(row.write), three(row.correlation), percent(row.there_density), number(row.there_max),
      tokens(row.top_here, row.bottom_here), tokens(row.top_there, row.bottom_there),
    ])))
  },
}
