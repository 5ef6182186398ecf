/** Numbers over layers × modules: a table of links, one colour scale, one tab stop, arrow keys between cells. */
import { h } from "./elements.mjs"
import { bandsOf, strengthsOf } from "./grid.mjs"
import { toneOf } from "./heatmap/scale.mjs"
import { Tooltip } from "./heatmap/tooltip.mjs"
import { readableId } from "./shards.mjs"

/** @typedef {import("./main.mjs").Context} Context */
/**
 * @typedef {object} Places  where the channels of a collection stand
 * @property {string[]} ids
 * @property {number[]} has_page  1 or 0 per id
 * @property {(number | null)[]} layers  null: outside numbered layers
 * @property {string[]} modules
 * @property {number[][]} places  layer, module -> index into ids, or −1
 */
/**
 * @typedef {object} Look
 * @property {string} caption  read out, not shown
 * @property {boolean} isSigned  zero in the middle, two colours
 * @property {(value: number | null) => string} text  how a number is written
 * @property {string} noun  what the number is
 */

/** Which layers a band holds, in words. @param {(number | null)[]} layers */
function layerNames(layers) {
  const numbered = layers.filter((layer) => layer !== null)
  return [numbered.length && `layers ${numbered[0]} to ${numbered.at(-1)}`, layers.includes(null) && "outside numbered layers"].filter(Boolean)
}

/** Pixels: the least width of a cell, and the room that the modules' names take. */
const CELL = 26
const NAMES = 108
const WIDEST_CELL = 90

/**
 * The grid with its legend.
 * @param {Places} places
 * @param {(number | null)[]} values  per id
 * @param {Look} look
 * @param {Context} context
 * @returns {HTMLElement}
 */
export function cellGrid(places, values, look, context) {
  return new CellGrid(places, values, look, context).element
}

class CellGrid {
  /**
   * @param {Places} places
   * @param {(number | null)[]} values
   * @param {Look} look
   * @param {Context} context
   */
  constructor(places, values, look, context) {
    this.places = places
    this.values = values
    this.look = look
    this.context = context
    const { strengths, low, high } = strengthsOf(values, look.isSigned)
    this.strengths = strengths
    /** @type {Map<string, HTMLElement>} "row column" -> cell */
    this.cells = new Map()
    this.layout = ""
    this.bands = h("div", { class: "fb-cell-grid" })
    this.element = h("div", {}, this.bands, legend(look, low, high))
    this.bands.addEventListener("keydown", (event) => this.onKey(event))
    for (const type of ["pointerover", "focusin"]) this.bands.addEventListener(type, (event) => this.onHover(event))
    for (const type of ["pointerleave", "focusout"]) this.bands.addEventListener(type, () => Tooltip.shared().leave())
    this.arrange(640)
    new ResizeObserver(([entry]) => entry.contentRect.width && this.arrange(entry.contentRect.width)).observe(this.bands)
  }

  /** Cuts the layers into bands for a width. @param {number} width */
  arrange(width) {
    const bands = bandsOf(this.places.layers.length, width - NAMES, CELL)
    if (String(bands) === this.layout) return
    this.layout = String(bands)
    this.cells.clear()
    this.bands.replaceChildren(...bands.map(([first, stop]) => this.table(first, stop)))
    const start = this.cells.values().next().value
    if (start) start.tabIndex = 0
  }

  /**
   * One band of layers.
   * @param {number} first
   * @param {number} stop
   */
  table(first, stop) {
    const { layers, modules } = this.places
    const inBand = layers.slice(first, stop)
    const heads = inBand.map((layer) => h("th", { scope: "col" }, layer === null
      ? h("span", { title: "outside numbered layers" }, "–")
      : h("a", { href: this.context.linkTo(`layer/${layer}`), "aria-label": `Layer ${layer}` }, layer)))
    const rows = modules.map((module, column) =>
      h("tr", {}, h("th", { scope: "row", title: module }, module), ...inBand.map((_, index) => this.cell(first + index, column))))
    const table = h("table", { class: "fb-cells" },
      h("caption", { class: "fb-hidden" }, [this.look.caption, ...layerNames(inBand)].join(", ")),
      h("thead", {}, h("tr", {}, h("th", { scope: "col", class: "fb-cells__corner" }, "Layer"), ...heads)),
      h("tbody", {}, ...rows))
    table.style.maxWidth = `${NAMES + inBand.length * WIDEST_CELL}px`
    return table
  }

  /** @param {number} row @param {number} column */
  cell(row, column) {
    const at = this.places.places[row][column]
    if (at < 0) return h("td", { class: "fb-cells__none" })
    const id = this.places.ids[at]
    const link = h("a", {
      href: this.places.has_page[at] ? this.context.linkTo(id) : null,
      role: this.places.has_page[at] ? null : "img",
      tabindex: "-1",
      class: toneOf(this.strengths[at] || 0),
      "data-cell": `${row} ${column}`,
      "aria-label": `${readableId(id)}: ${this.look.text(this.values[at])}`,
    })
    this.cells.set(`${row} ${column}`, link)
    return h("td", {}, link)
  }

  /** @param {Event} event */
  onHover(event) {
    const link = cellOf(event)
    if (!link) return Tooltip.shared().leave()
    const [row, column] = (link.dataset.cell ?? "").split(" ").map(Number)
    const at = this.places.places[row][column]
    Tooltip.shared().show(link, () => h("div", {},
      h("p", {}, h("strong", {}, readableId(this.places.ids[at]))),
      h("p", { class: "fb-number" }, `${this.look.noun} ${this.look.text(this.values[at])}`)))
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const link = cellOf(event)
    /** @type {Record<string, [number, number]>} */
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }
    const step = steps[event.key]
    if (!link || !step || event.altKey || event.ctrlKey || event.metaKey) return
    event.preventDefault()
    const { layers, modules } = this.places
    let [row, column] = (link.dataset.cell ?? "").split(" ").map(Number)
    do {
      row += step[0]
      column += step[1]
    } while (row >= 0 && row < layers.length && column >= 0 && column < modules.length && !this.cells.has(`${row} ${column}`))
    const next = this.cells.get(`${row} ${column}`)
    if (!next) return
    link.tabIndex = -1
    next.tabIndex = 0
    next.focus()
  }
}

/** @param {Event} event @returns {HTMLElement | null} */
function cellOf(event) {
  return /** @type {Element} */ (event.target).closest("a[data-cell]")
}

/**
 * @param {Look} look
 * @param {number} low
 * @param {number} high
 */
function legend({ isSigned, text }, low, high) {
  if (!Number.isFinite(low)) return null
  const tones = Array.from({ length: isSigned ? 33 : 17 }, (_, step) => toneOf(isSigned ? (step - 16) / 16 : step / 16))
  return h("p", { class: "fb-legend fb-cell-grid__legend" }, h("span", {}, text(low)),
    h("span", { class: "fb-legend__bar", "aria-hidden": "true" }, ...tones.map((tone) => h("i", { class: tone }))),
    h("span", {}, text(high)))
}
