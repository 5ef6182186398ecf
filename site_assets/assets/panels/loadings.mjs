import { h, table } from "../elements.mjs"
import { cellGrid } from "../cell-grid.mjs"
import { count, number, percent } from "../numbers.mjs"
import { collectionOf, readableId } from "../shards.mjs"

/** @typedef {import("../main.mjs").Context} Context */
/** @typedef {{id: string, has_page: boolean, weight: number, share: number}} Weight */
/** @typedef {{scale: number, weights: number[], strongest: Weight[]}} Side */

const SIDES = /** @type {const} */ ([
  { side: "write", title: "Writes", noun: "decoder weight" },
  { side: "read", title: "Reads", noun: "encoder weight" },
])

/**
 * @param {Weight[]} strongest
 * @param {string} caption
 * @param {Context} context
 */
function strongestTable(strongest, caption, context) {
  return table(caption, ["direction", "weight", "share"], strongest.map(({ id, has_page, weight, share }) => [
    has_page ? h("a", { href: context.linkTo(id) }, readableId(id)) : readableId(id),
    number(weight, { sign: true }), percent(share),
  ]))
}

/**
 * @param {{side: string, title: string, noun: string}} look
 * @param {Side} side
 * @param {HTMLElement} grid  filled when the collection's layout has come
 * @param {Context} context
 */
function part({ title, noun }, side, grid, context) {
  return h("section", { class: "fb-loadings__side" }, h("h3", {}, title, " ", h("small", {}, `strongest ${noun}s`)),
    strongestTable(side.strongest, `Strongest ${noun}s`, context),
    h("details", { class: "fb-fold", open: !matchMedia("(max-width: 44.9844em)").matches },
      h("summary", {}, `All ${count(side.weights.length)} ${noun}s`), grid))
}

/** @type {import("../panels.mjs").Panel} */
export const panel = {
  title: "Where it lives",
  caption: "Decoder and encoder weights over the directions that the dictionary reads, in their own units. Share: of the sum of all |weights| of this latent.",
  anchor: "loadings",
  place: "below",
  draw: (shard, context) => {
    const loadings = /** @type {Record<"read" | "write", Side> & {collection: string}} */ (/** @type {any} */ (shard).loadings)
    const grids = SIDES.map(() => h("div", { class: "fb-cell-grid--wait" }))
    void collectionOf(loadings.collection, context).then(({ grid }) => {
      if (grid) SIDES.forEach(({ side, title, noun }, index) => {
        const { weights, scale } = loadings[side]
        const look = { caption: `${title}: ${noun}s`, isSigned: true, text: (/** @type {number | null} */ value) => number(value, { sign: true }), noun }
        grids[index].replaceWith(cellGrid(grid, weights.map((weight) => weight * scale), look, context))
      })
    }).catch(() => grids.forEach((box) => box.replaceWith(h("p", { class: "fb-note" }, "The grid could not be fetched; the strongest weights stand above."))))
    return h("div", { class: "fb-loadings" }, ...SIDES.map((look, index) => part(look, loadings[look.side], grids[index], context)))
  },
}
