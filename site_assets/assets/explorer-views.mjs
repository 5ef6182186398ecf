/** Two more views of the explorer's selection: points in the plane, and layers × modules. */
import { cellGrid } from "./cell-grid.mjs"
import { h } from "./elements.mjs"
import { textOf } from "./explorer-columns.mjs"
import { NAMES } from "./explorer-form.mjs"
import { pointField } from "./map.mjs"
import { count } from "./numbers.mjs"

/** @typedef {import("./main.mjs").Context} Context */
/** @typedef {import("./selection.mjs").ExplorerColumns} ExplorerColumns */
/** @typedef {{method: string, places: Map<string, [number, number]>}} Layout */

/** Numbers whose axis is logarithmic: they are positive and span decades. */
const LOGARITHMIC = ["density", "peak", "max_write", "std", "ablation"]

/**
 * The selection as points: two numbers, or places of a collection's map.
 * @param {{rows: Uint32Array, ids: string[], columns: ExplorerColumns, axes: [string, string], layout: Layout | null}} shown
 * @param {Context} context
 * @returns {HTMLElement}
 */
export function mapView({ rows, ids, columns, axes, layout }, context) {
  const placed = Array.from(rows).filter((row) => layout ? layout.places.has(ids[row]) : axes.every((axis) => !Number.isNaN(columns.numbers.get(axis)?.[row] ?? NaN)))
  if (!placed.length) return h("p", { class: "fb-note" }, "No channel of this selection has a place here.")
  const at = (/** @type {0 | 1} */ side) => layout
    ? placesOf(placed.map((row) => layout.places.get(ids[row])?.[side] ?? 0), false)
    : placesOf(placed.map((row) => /** @type {Float64Array} */ (columns.numbers.get(axes[side]))[row]), LOGARITHMIC.includes(axes[side]))
  const x = at(0), y = at(1)
  const note = (/** @type {number} */ index) => axes.map((axis) => `${NAMES[axis]} ${textOf(axis, columns.numbers.get(axis)?.[placed[index]] ?? null)}`).join(" · ")
  const field = pointField({
    id: placed.map((row) => ids[row]), x: layout ? scaled(placed, ids, layout, 0) : x.at, y: layout ? scaled(placed, ids, layout, 1) : y.at,
    tokens: null, marked: -1, note, label: `${count(placed.length)} channels as points`,
  }, context)
  if (layout) return h("div", {}, field, h("p", { class: "fb-caption" }, layout.method))
  return h("div", { class: "fb-scatter" },
    h("div", { class: "fb-scatter__up", "aria-hidden": "true" }, h("span", {}, textOf(axes[1], y.high)), h("span", {}, textOf(axes[1], y.low))), field,
    h("div", { class: "fb-axis fb-scatter__across", "aria-hidden": "true" },
      h("span", {}, textOf(axes[0], x.low)), h("span", {}, `${NAMES[axes[0]]}${LOGARITHMIC.includes(axes[0]) ? " (log)" : ""} → · ${NAMES[axes[1]]}${LOGARITHMIC.includes(axes[1]) ? " (log)" : ""} ↑`), h("span", {}, textOf(axes[0], x.high))))
}

/** @param {number[]} placed @param {string[]} ids @param {Layout} layout @param {0 | 1} side */
function scaled(placed, ids, layout, side) {
  return Float64Array.from(placed, (row) => (layout.places.get(ids[row])?.[side] ?? 0) / 1000)
}

/**
 * Places between 0 and 1 on an axis, and its ends.
 * @param {number[]} values
 * @param {boolean} isLog what is not above zero lies at the low end
 */
export function placesOf(values, isLog) {
  const usable = isLog ? values.filter((value) => value > 0) : values
  const low = usable.reduce((a, b) => Math.min(a, b), Infinity), high = usable.reduce((a, b) => Math.max(a, b), -Infinity)
  const turn = isLog ? Math.log : (/** @type {number} */ value) => value
  const span = turn(high) - turn(low)
  return { low, high, at: Float64Array.from(values, (value) => (isLog && !(value > 0) ? 0 : span > 0 ? (turn(value) - turn(low)) / span : 0.5)) }
}

/**
 * The selection over layers × modules. A cell of several channels stands for the one of largest size; how many there are is said.
 * @param {{rows: Uint32Array, ids: string[], columns: ExplorerColumns, colour: string}} shown
 * @param {Context} context
 * @returns {HTMLElement}
 */
export function gridView({ rows, ids, columns, colour }, context) {
  const values = columns.numbers.get(colour) ?? new Float64Array(columns.length).fill(NaN)
  const modules = [...new Set(Array.from(rows, (row) => columns.module[row]))]
  const layers = [...new Set(Array.from(rows, (row) => columns.layer[row]))].sort((a, b) => (a ?? Infinity) - (b ?? Infinity))
  if (!rows.length) return h("p", { class: "fb-note" }, "No channel is selected.")
  /** @type {Map<string, {row: number, n: number}>} */
  const cells = new Map()
  for (const row of rows) {
    const key = `${columns.layer[row]} ${columns.module[row]}`, held = cells.get(key)
    if (!held) cells.set(key, { row, n: 1 })
    else cells.set(key, { row: size(values[row]) > size(values[held.row]) ? row : held.row, n: held.n + 1 })
  }
  const chosen = [...cells.values()]
  const index = new Map([...cells.keys()].map((key, place) => [key, place]))
  const places = {
    ids: chosen.map(({ row }) => ids[row]), has_page: chosen.map(() => 1), layers, modules: modules.map((module) => module || "no module"),
    places: layers.map((layer) => modules.map((module) => index.get(`${layer} ${module}`) ?? -1)),
  }
  const shown = chosen.map(({ row }) => (Number.isNaN(values[row]) ? null : values[row]))
  const most = chosen.reduce((n, cell) => Math.max(n, cell.n), 1)
  const grid = cellGrid(places, shown, {
    caption: `${NAMES[colour]} over layers and modules`, isSigned: shown.some((value) => value !== null && value < 0), noun: NAMES[colour], text: (value) => textOf(colour, value),
  }, context)
  return h("div", {}, grid, most > 1 && h("p", { class: "fb-caption" },
    `A cell can stand for several channels (here up to ${count(most)}): it shows and opens the one whose number is largest in size.`))
}

/** @param {number} value */
function size(value) {
  return Number.isNaN(value) ? -1 : Math.abs(value)
}
