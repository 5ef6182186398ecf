/** The places of a dictionary over hook points: their names, and numbers beside them. Pure but for the two tables. */
import { h, svg } from "./elements.mjs"

/**
 * @typedef {object} Place
 * @property {string} model  `base`, `adapted` or another model's name
 * @property {string} hook_point
 * @property {number} layer  −1 outside of the numbered layers
 * @property {string} name  `resid_post`, `mlp_out`, …
 * @property {string} space
 * @property {number} size  root of the total variance of the activations there
 * @property {number | null} fvu
 */

/**
 * Short names of places: what tells them apart, and no more.
 * @param {Place[]} places
 * @returns {string[]}
 */
export function placeNames(places) {
  const differ = (/** @type {"model" | "layer" | "name"} */ key) => new Set(places.map((place) => place[key])).size > 1
  const [models, layers, names] = [differ("model"), differ("layer"), differ("name")]
  return places.map(({ model, layer, name }) => {
    const parts = [models && model, (layers || !models) && (layer < 0 ? "" : `L${layer}`), (names || (!models && !layers)) && name]
    return parts.filter(Boolean).join(" ") || name
  })
}

/**
 * Decoder norms in units of the activations at each place.
 * @param {(number | null)[]} norms
 * @param {Place[]} places
 */
export function relativeNorms(norms, places) {
  return norms.map((norm, index) => (places[index].size > 0 ? (norm ?? 0) / places[index].size : norm ?? 0))
}

/**
 * The symmetric matrix of cosines from its upper triangle, row by row.
 * @param {(number | null)[]} upper
 * @param {number} n
 * @returns {(number | null)[][]}
 */
export function squareOf(upper, n) {
  const square = Array.from({ length: n }, (_, row) => Array.from({ length: n }, (_, column) => (row === column ? 1 : /** @type {number | null} */ (null))))
  let at = 0
  for (let row = 0; row < n; row++) for (let column = row + 1; column < n; column++) square[row][column] = square[column][row] = upper[at++]
  return square
}

/**
 * A bar as long as its share of the whole width.
 * @param {number} share  0 to 1
 * @param {boolean} isFaint
 */
export function bar(share, isFaint) {
  return svg("svg", { class: "fb-place-bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true", focusable: "false" },
    svg("rect", { class: isFaint ? "fb-place-bar__faint" : "fb-bar--positive", x: 0, y: 0, width: Math.round(Math.max(0, Math.min(1, share)) * 1000) / 10, height: 10 }))
}

/**
 * A table whose first column names its rows.
 * @param {string} caption  read out, not shown
 * @param {string[]} header
 * @param {{cells: import("./elements.mjs").Child[], isMarked?: boolean}[]} rows
 */
export function placeTable(caption, header, rows) {
  return h("div", { class: "fb-table-box", tabindex: "0", role: "region", "aria-label": caption },
    h("table", { class: "fb-table fb-place-table" }, h("caption", { class: "fb-hidden" }, caption),
      h("thead", {}, h("tr", {}, ...header.map((name, column) => headOf(name, rows.some(({ cells }) => cells[column] instanceof HTMLElement && cells[column].matches(".fb-place-tokens")))))),
      h("tbody", {}, ...rows.map(({ cells, isMarked }) =>
        h("tr", { class: isMarked ? "is-marked" : null }, ...cells.map((cell, index) => (index ? h("td", {}, cell) : h("th", { scope: "row" }, cell))))))))
}

/** A column of lists is read from its start. @param {string} name @param {boolean} isList */
function headOf(name, isList) {
  return name ? h("th", { scope: "col", class: isList ? "fb-place-table__list" : null }, name) : h("td")
}
