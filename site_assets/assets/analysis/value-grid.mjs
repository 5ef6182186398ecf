/** A matrix as a table of coloured cells: one scale, one tab stop, arrow keys between cells, a tooltip that says n or the reason. */
import { h } from "../elements.mjs"
import { toneOf } from "../heatmap/scale.mjs"
import { Tooltip } from "../heatmap/tooltip.mjs"
import { number } from "../numbers.mjs"

/** @typedef {{text: string, href?: string, title?: string}} Label */
/**
 * @typedef {object} Grid
 * @property {string} caption  read out, not shown
 * @property {string} corner  what rows and columns are
 * @property {Label[]} rows
 * @property {Label[]} columns
 * @property {(number | null)[][]} values
 * @property {number} low
 * @property {number} high
 * @property {boolean} [isSigned]  zero in the middle, two colours
 * @property {(row: number, column: number) => string} tip  what a cell says
 * @property {(row: number, column: number) => string | null} [cell]  what stands in a cell; its number when not said
 * @property {(row: number, column: number) => string | null} [href]
 * @property {boolean} [isBare]  cells without text
 * @property {boolean} [hasLegend]
 */

/** How strong the colour of a value is, between −1 and 1. @param {number | null} value @param {Grid} grid */
export function strengthOf(value, { low, high, isSigned }) {
  if (value === null) return 0
  if (isSigned) return value / (Math.max(Math.abs(low), Math.abs(high)) || 1)
  return high > low ? (value - low) / (high - low) : value ? 0.5 : 0
}

/**
 * @param {Grid} grid
 * @returns {HTMLElement}
 */
export function valueGrid(grid) {
  const head = (/** @type {Label} */ { text, href, title }, /** @type {string} */ scope) =>
    h("th", { scope, title: title ?? null }, href ? h("a", { href }, text) : text)
  const body = grid.values.map((row, r) =>
    h("tr", {}, head(grid.rows[r], "row"), ...row.map((value, c) => cellOf(grid, value, r, c))))
  const table = h("table", { class: `fb-cells fb-value-grid${grid.isBare ? " fb-value-grid--bare" : ""}` },
    h("caption", { class: "fb-hidden" }, grid.caption),
    h("thead", {}, h("tr", {}, h("th", { scope: "col", class: "fb-cells__corner" }, grid.corner), ...grid.columns.map((label) => head(label, "col")))),
    h("tbody", {}, ...body))
  const first = /** @type {HTMLElement | null} */ (table.querySelector("[data-cell]"))
  if (first) first.tabIndex = 0
  table.addEventListener("keydown", (event) => onKey(table, event))
  for (const type of ["pointerover", "focusin"]) table.addEventListener(type, (event) => {
    const cell = pointed(event)
    if (!cell) return Tooltip.shared().leave()
    const [row, column] = placeOf(cell)
    Tooltip.shared().show(cell, () => h("div", {}, ...grid.tip(row, column).split("\n").map((line, index) => h("p", {}, index ? line : h("strong", {}, line)))))
  })
  for (const type of ["pointerleave", "focusout"]) table.addEventListener(type, () => Tooltip.shared().leave())
  return h("div", { class: "fb-value-grid-box" }, h("div", { class: "fb-scroll", tabindex: "0", role: "region", "aria-label": grid.caption }, table), grid.hasLegend === false ? null : legend(grid))
}

/** @param {Grid} grid @param {number | null} value @param {number} row @param {number} column */
function cellOf(grid, value, row, column) {
  const text = grid.isBare ? "" : grid.cell ? grid.cell(row, column) : number(value)
  const href = grid.href?.(row, column) ?? null
  const label = grid.tip(row, column).replaceAll("\n", ", ")
  return h("td", {}, h("a", {
    href, role: href ? null : "img", tabindex: "-1", class: value === null ? "fb-value-grid__none" : toneOf(strengthOf(value, grid)) || null,
    "data-cell": `${row} ${column}`, "aria-label": label,
  }, text))
}

/** @param {Event} event @returns {HTMLElement | null} */
function pointed(event) {
  return /** @type {Element} */ (event.target).closest("[data-cell]")
}

/** @param {HTMLElement} cell */
function placeOf(cell) {
  return (cell.dataset.cell ?? "").split(" ").map(Number)
}

/** @param {HTMLElement} table @param {KeyboardEvent} event */
function onKey(table, event) {
  /** @type {Record<string, [number, number]>} */
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }
  const cell = pointed(event), step = steps[event.key]
  if (!cell || !step || event.altKey || event.ctrlKey || event.metaKey) return
  event.preventDefault()
  const [row, column] = placeOf(cell)
  const next = /** @type {HTMLElement | null} */ (table.querySelector(`[data-cell="${row + step[0]} ${column + step[1]}"]`))
  if (!next) return
  cell.tabIndex = -1
  next.tabIndex = 0
  next.focus()
}

/** @param {Grid} grid */
function legend({ low, high, isSigned }) {
  const limit = Math.max(Math.abs(low), Math.abs(high))
  const tones = Array.from({ length: isSigned ? 33 : 17 }, (_, step) => toneOf(isSigned ? (step - 16) / 16 : step / 16))
  return h("p", { class: "fb-legend" }, h("span", {}, number(isSigned ? -limit : low)),
    h("span", { class: "fb-legend__bar", "aria-hidden": "true" }, ...tones.map((tone) => h("i", { class: tone }))), h("span", {}, number(isSigned ? limit : high)))
}
