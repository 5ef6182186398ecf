import { h, table } from "../elements.mjs"
import { cellGrid } from "../cell-grid.mjs"
import { count, number, percent } from "../numbers.mjs"
import { collectionOf, readableId } from "../shards.mjs"

/** @typedef {import("../main.mjs").Context} Context */
/** @typedef {{id: string, has_page: boolean, weight: number, share: number}} Weight */
/** @typedef {{scale: number, weights: number[], places: number[] | null, strongest: Weight[]}} Side */

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
 * @param {number} nInputs
 * @param {Context} context
 */
function part({ title, noun }, side, grid, nInputs, context) {
  const held = side.weights.length < nInputs ? `${count(side.weights.length)} strongest of ${count(nInputs)}` : `All ${count(nInputs)}`
  return h("section", { class: "fb-loadings__side" }, h("h3", {}, title, " ", h("small", {}, `strongest ${noun}s`)),
    strongestTable(side.strongest, `Strongest ${noun}s`, context),
    h("details", { class: "fb-fold", open: !matchMedia("(max-width: 44.9844em)").matches },
      h("summary", {}, `${held} ${noun}s`), grid))
}

/**
 * One weight per input of the grid; null where the compact preset left it out.
 * @param {Side} side
 * @param {number} nInputs
 */
export function weightsOf({ weights, places, scale }, nInputs) {
  /** @type {(number | null)[]} */
  const all = Array(nInputs).fill(null)
  weights.forEach((weight, index) => (all[places ? places[index] : index] = weight * scale))
  return all
}

/** @type {import("../panels.mjs").Panel} */
export const panel = {
  title: "Where it lives",
  caption: "Decoder and encoder weights over the directions that the dictionary reads, in their own units. Share: of the sum of all |weights| of this latent.",
  anchor: "loadings",
  draw: (shard, context) => {
    const loadings = /** @type {Record<"read" | "write", Side> & {collection: string, n_inputs: number}} */ (/** @type {any} */ (shard).loadings)
    const grids = SIDES.map(() => h("div", { class: "fb-cell-grid--wait" }))
    const drawn = h("div", { class: "fb-loadings" }, ...SIDES.map((look, index) => part(look, loadings[look.side], grids[index], loadings.n_inputs, context)))
    void collectionOf(loadings.collection, context, drawn).then(({ grid }) => {
      if (grid) SIDES.forEach(({ side, title, noun }, index) => {
        const look = { caption: `${title}: ${noun}s`, isSigned: true, text: (/** @type {number | null} */ value) => number(value, { sign: true }), noun }
        grids[index].replaceWith(cellGrid(grid, weightsOf(loadings[side], loadings.n_inputs), look, context))
      })
    }).catch(() => grids.forEach((box) => box.replaceWith(h("p", { class: "fb-note" }, "The grid could not be fetched; the strongest weights stand above."))))
    return drawn
  },
}
