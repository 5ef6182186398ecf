/**
 * A range over a histogram: dragged over the bars, or typed into two fields. And the link both ways with heatmaps: the value
 * under the pointer is marked in the histogram, the bar under the pointer lights up its tokens.
 */
import { h } from "./elements.mjs"
import { along } from "./chart.mjs"
import { number } from "./numbers.mjs"

/** @typedef {[low: number, high: number]} Range */
/**
 * @typedef {object} BrushOptions
 * @property {(range: Range | null) => void} onRange  a range was chosen, or given up
 * @property {(bin: Range | null) => void} onBin  the bar under the pointer
 */

/** Pixels that a drag has at least; less is a click on one bar. */
const DRAG = 4

/** "−1.5..2" as a range, null when it is none. @param {string} text @returns {Range | null} */
export function parseBrush(text) {
  const [low, high] = text.split("..").map((part) => (part.trim() === "" ? NaN : Number(part)))
  return Number.isFinite(low) && Number.isFinite(high) && low <= high ? [low, high] : null
}

/** @param {Range | null} range */
export function formatBrush(range) {
  return range ? range.map((value) => Number(value.toPrecision(4))).join("..") : ""
}

/**
 * The bin of a histogram that holds a value.
 * @param {number[]} edges
 * @param {number} value
 */
export function binOf(edges, value) {
  const bin = Math.floor(along(edges, value) * (edges.length - 1))
  return Math.max(0, Math.min(edges.length - 2, bin))
}

export class Brush {
  /**
   * @param {HTMLElement} chart  a `histogramChart`
   * @param {number[]} edges
   * @param {BrushOptions} options
   */
  constructor(chart, edges, options) {
    this.edges = edges
    this.options = options
    /** @type {Range | null} */
    this.range = null
    /** @type {number | null} */
    this.anchor = null
    this.shade = h("div", { class: "fb-brush__range", hidden: true })
    this.mark = h("div", { class: "fb-brush__mark", hidden: true })
    this.low = this.#field("from")
    this.high = this.#field("to")
    this.clear = h("button", { type: "button", class: "fb-button", hidden: true }, "Clear")
    this.clear.addEventListener("click", () => this.#choose(null))
    const bars = /** @type {SVGElement} */ (chart.querySelector(".fb-chart__bars"))
    this.box = h("div", { class: "fb-brush", title: "Drag to keep the examples of this strength" })
    bars.replaceWith(this.box)
    this.box.append(bars, this.shade, this.mark)
    const fields = h("div", { class: "fb-brush__fields" }, "Examples from ", this.low, " to ", this.high, this.clear)
    chart.querySelector(".fb-chart__axes")?.after(fields)
    this.#listen()
  }

  /** @param {string} name */
  #field(name) {
    const field = h("input", { class: "fb-input fb-brush__field", inputmode: "text", autocomplete: "off", "aria-label": `Examples with an activation ${name}` })
    field.addEventListener("change", () => this.#typed())
    return field
  }

  #listen() {
    const { box } = this
    box.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return
      box.setPointerCapture(event.pointerId)
      this.anchor = event.clientX
    })
    box.addEventListener("pointermove", (event) => {
      if (this.anchor !== null) this.#shadeBetween(...this.#dragged(event.clientX))
      else this.options.onBin(this.#binAt(event.clientX))
    })
    box.addEventListener("pointerup", (event) => {
      if (this.anchor === null) return
      const range = Math.abs(event.clientX - this.anchor) < DRAG ? this.#binAt(event.clientX) : this.#dragged(event.clientX)
      this.anchor = null
      this.#choose(range)
    })
    box.addEventListener("pointercancel", () => {
      this.anchor = null
      this.show(this.range)
    })
    box.addEventListener("pointerleave", () => this.options.onBin(null))
  }

  /** @param {number} x  of the window @returns {number} */
  #valueAt(x) {
    const { left, width } = this.box.getBoundingClientRect()
    const share = Math.max(0, Math.min(1, (x - left) / (width || 1)))
    return this.edges[0] + share * (this.edges[this.edges.length - 1] - this.edges[0])
  }

  /** @param {number} x @returns {Range} */
  #binAt(x) {
    const bin = binOf(this.edges, this.#valueAt(x))
    return [this.edges[bin], this.edges[bin + 1]]
  }

  /** From edge to edge of the bars touched. @param {number} x @returns {Range} */
  #dragged(x) {
    const [from, to] = [this.#binAt(Math.min(x, this.anchor ?? x)), this.#binAt(Math.max(x, this.anchor ?? x))]
    return [from[0], to[1]]
  }

  #typed() {
    const { edges } = this
    const read = (/** @type {HTMLInputElement} */ field, /** @type {number} */ otherwise) => {
      const value = Number(field.value.replace("−", "-"))
      return field.value.trim() === "" || !Number.isFinite(value) ? otherwise : value
    }
    const [low, high] = [read(this.low, edges[0]), read(this.high, edges[edges.length - 1])]
    const isEmpty = !this.low.value.trim() && !this.high.value.trim()
    this.#choose(isEmpty ? null : [Math.min(low, high), Math.max(low, high)])
  }

  /** @param {Range | null} range */
  #choose(range) {
    this.show(range)
    this.options.onRange(range)
  }

  /** @param {number} low @param {number} high */
  #shadeBetween(low, high) {
    const [left, right] = [along(this.edges, low), along(this.edges, high)].map((share) => Math.max(0, Math.min(1, share)) * 100)
    this.shade.hidden = false
    this.shade.style.insetInlineStart = `${left}%`
    this.shade.style.width = `${Math.max(0.6, right - left)}%`
  }

  /** Shows a range without telling anybody. @param {Range | null} range */
  show(range) {
    this.range = range
    this.clear.hidden = this.shade.hidden = !range
    const shown = (/** @type {number} */ value) => String(Number(value.toPrecision(3)))
    this.low.value = range ? shown(range[0]) : ""
    this.high.value = range ? shown(range[1]) : ""
    this.low.placeholder = number(this.edges[0])
    this.high.placeholder = number(this.edges[this.edges.length - 1])
    if (range) this.#shadeBetween(...range)
  }

  /** Marks one value, that of the token under the pointer; null takes the mark away. @param {number | null} value */
  point(value) {
    this.mark.hidden = value === null
    if (value !== null) this.mark.style.insetInlineStart = `${Math.max(0, Math.min(1, along(this.edges, value))) * 100}%`
  }
}
