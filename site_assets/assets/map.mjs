/**
 * Points that open pages: the map of a dictionary, density against maximum. All points are one SVG path; a single link
 * lies over the one that is pointed to. It is the only tab stop: arrow keys move it, Enter follows it.
 */
import { h, svg } from "./elements.mjs"
import { visible } from "./heatmap/tokens.mjs"
import { Tooltip } from "./heatmap/tooltip.mjs"
import { number, percent } from "./numbers.mjs"
import { readableId } from "./shards.mjs"
import { tokenList } from "./token-list.mjs"

/** @typedef {import("./main.mjs").Context} Context */
/**
 * @typedef {object} Points
 * @property {string[]} id
 * @property {ArrayLike<number>} x  between 0 and 1, to the right
 * @property {ArrayLike<number>} y  between 0 and 1, upwards
 * @property {string[][] | null} tokens  top tokens per point
 * @property {((index: number) => string)} note  what is said of a point beside its name
 * @property {string} label  what the field shows, in words
 * @property {number} marked  a point that stands out, or −1
 */

/** The box in which points are placed; the picture scales with its width. */
const WIDTH = 600
const MARGIN = 12
/** Pixels within which the pointer finds a point. */
const REACH = 28

/**
 * The nearest point in the direction of an arrow key: inside a quarter turn around it, else none.
 * @param {ArrayLike<number>} x
 * @param {ArrayLike<number>} y
 * @param {number} from
 * @param {[number, number]} step  unit vector
 * @returns {number}
 */
export function nextInDirection(x, y, from, [right, up]) {
  let best = -1, least = Infinity
  for (let index = 0; index < x.length; index++) {
    const dx = x[index] - x[from], dy = y[index] - y[from]
    const along = dx * right + dy * up
    const across = Math.abs(dx * up) + Math.abs(dy * right)
    if (along <= 0 || across > along) continue
    const distance = dx * dx + dy * dy
    if (distance < least) [best, least] = [index, distance]
  }
  return best
}

/**
 * The point nearest to a place.
 * @param {ArrayLike<number>} x
 * @param {ArrayLike<number>} y
 * @param {number} left
 * @param {number} bottom
 * @param {number} stretch  length of y in units of x
 * @returns {{index: number, distance: number}}
 */
export function nearestTo(x, y, left, bottom, stretch) {
  let index = -1, least = Infinity
  for (let i = 0; i < x.length; i++) {
    const dx = x[i] - left, dy = (y[i] - bottom) * stretch
    const square = dx * dx + dy * dy
    if (square < least) [index, least] = [i, square]
  }
  return { index, distance: Math.sqrt(least) }
}

/**
 * Places on a logarithmic axis between 0 and 1, and its ends.
 * @param {(number | null)[]} values  what is not above zero lies at the low end
 * @returns {{at: Float64Array, low: number, high: number}}
 */
export function logPlaces(values) {
  const above = /** @type {number[]} */ (values.filter((value) => value !== null && value > 0))
  const low = above.reduce((a, b) => Math.min(a, b), Infinity)
  const high = above.reduce((a, b) => Math.max(a, b), -Infinity)
  const span = Math.log(high / low)
  const at = Float64Array.from(values, (value) =>
    value !== null && value > 0 ? (span > 0 ? Math.log(value / low) / span : 0.5) : 0)
  return { at, low, high }
}

/**
 * A field of points.
 * @param {Points} points
 * @param {Context} context
 * @param {{aspect?: number}} [options]  aspect: height over width
 * @returns {HTMLElement}
 */
export function pointField(points, context, options = {}) {
  return new PointField(points, context, options.aspect ?? 0.6).element
}

class PointField {
  /**
   * @param {Points} points
   * @param {Context} context
   * @param {number} aspect
   */
  constructor(points, context, aspect) {
    this.points = points
    this.context = context
    this.height = Math.round(WIDTH * aspect)
    this.current = -1
    this.isTouch = false
    this.cursor = h("a", { class: "fb-points__cursor" })
    this.live = h("span", { class: "fb-hidden", "aria-live": "polite" })
    this.element = h("div", { class: "fb-points", role: "group", "aria-label": points.label }, this.picture(), this.cursor, this.live)
    this.element.addEventListener("pointermove", (event) => event.pointerType !== "touch" && this.follow(event))
    this.element.addEventListener("pointerleave", () => this.leave())
    this.element.addEventListener("pointerdown", (event) => { this.isTouch = event.pointerType === "touch" })
    this.element.addEventListener("click", (event) => this.onClick(event))
    this.cursor.addEventListener("focus", () => this.open())
    this.cursor.addEventListener("blur", () => this.leave())
    this.cursor.addEventListener("keydown", (event) => this.onKey(event))
    this.moveTo(points.marked >= 0 ? points.marked : 0)
  }

  picture() {
    const { x, y, marked, id } = this.points
    const size = id.length > 3000 ? 3 : id.length > 400 ? 4 : 6
    let path = ""
    for (let index = 0; index < id.length; index++) path += `M${this.left(x[index])} ${this.top(y[index])}h0`
    return svg("svg", { class: "fb-points__picture", viewBox: `0 0 ${WIDTH} ${this.height}`, "aria-hidden": "true", focusable: "false" },
      svg("path", { class: "fb-points__all", d: path, "stroke-width": size, "stroke-linecap": "round" }),
      marked >= 0 && svg("circle", { class: "fb-points__marked", cx: this.left(x[marked]), cy: this.top(y[marked]), r: 7 }))
  }

  /** @param {number} x */
  left(x) {
    return round(MARGIN + x * (WIDTH - 2 * MARGIN))
  }

  /** @param {number} y */
  top(y) {
    return round(this.height - MARGIN - y * (this.height - 2 * MARGIN))
  }

  /** Lays the link over a point. @param {number} index */
  moveTo(index) {
    if (index < 0 || index === this.current || index >= this.points.id.length) return
    this.current = index
    const { id, x, y, tokens, note } = this.points
    this.cursor.href = this.context.linkTo(id[index])
    this.cursor.style.left = `${(this.left(x[index]) / WIDTH) * 100}%`
    this.cursor.style.top = `${(this.top(y[index]) / this.height) * 100}%`
    const words = [readableId(id[index]), note(index), ...(tokens?.[index] ?? []).map(visible)].filter(Boolean)
    this.cursor.setAttribute("aria-label", words.join(", "))
  }

  /** Shows what is known of the current point. */
  open() {
    const { id, tokens, note } = this.points
    const index = this.current
    const tooltip = Tooltip.shared()
    if (tooltip.owner === this.cursor) tooltip.hide()
    this.element.classList.add("is-pointed")
    tooltip.show(this.cursor, () => h("div", {}, h("p", {}, h("strong", {}, readableId(id[index]))),
      tokens && h("p", {}, tokenList(tokens[index], "positive")), h("p", { class: "fb-number" }, note(index))))
  }

  leave() {
    if (document.activeElement === this.cursor) return
    this.element.classList.remove("is-pointed")
    Tooltip.shared().leave()
  }

  /** @param {PointerEvent | MouseEvent} event @returns {number} the point near the pointer, or −1 */
  pointed(event) {
    const box = this.element.getBoundingClientRect()
    const unit = WIDTH / box.width
    const left = ((event.clientX - box.left) * unit - MARGIN) / (WIDTH - 2 * MARGIN)
    const bottom = (this.height - MARGIN - (event.clientY - box.top) * unit) / (this.height - 2 * MARGIN)
    const stretch = (this.height - 2 * MARGIN) / (WIDTH - 2 * MARGIN)
    const { index, distance } = nearestTo(this.points.x, this.points.y, left, bottom, stretch)
    return distance * (WIDTH - 2 * MARGIN) <= REACH * unit ? index : -1
  }

  /** @param {PointerEvent} event */
  follow(event) {
    const index = this.pointed(event)
    this.element.classList.toggle("is-near", index >= 0)
    if (index < 0) return this.leave()
    if (index === this.current && this.element.classList.contains("is-pointed")) return Tooltip.shared().show(this.cursor, () => h("div"))
    this.moveTo(index)
    this.open()
  }

  /** A click near a point opens its page; a first tap only points. @param {MouseEvent} event */
  onClick(event) {
    const isOnLink = this.cursor.contains(/** @type {Node} */ (event.target))
    const index = event.detail === 0 ? this.current : this.pointed(event)
    if (index < 0) return
    const isNew = index !== this.current || !this.element.classList.contains("is-pointed")
    this.moveTo(index)
    if (this.isTouch && isNew) {
      event.preventDefault()
      this.open()
    } else if (!isOnLink) location.assign(this.cursor.href)
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    /** @type {Record<string, [number, number]>} */
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }
    const step = steps[event.key]
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return
    event.preventDefault()
    const next = nextInDirection(this.points.x, this.points.y, this.current, step)
    if (next < 0) return
    this.moveTo(next)
    this.open()
    this.live.textContent = this.cursor.getAttribute("aria-label")
  }
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 10) / 10
}

/**
 * Density against the largest activation, both logarithmic.
 * @param {{id: string[], density: (number | null)[], max: (number | null)[]}} columns
 * @param {{tokens: string[][] | null, marked: string | null, aspect?: number}} options
 * @param {Context} context
 * @returns {HTMLElement}
 */
export function densityField(columns, { tokens, marked, aspect }, context) {
  const across = logPlaces(columns.density), up = logPlaces(columns.max)
  const points = {
    id: columns.id, x: across.at, y: up.at, tokens,
    marked: marked === null ? -1 : columns.id.indexOf(marked),
    label: "Density against largest activation",
    note: (/** @type {number} */ index) => `active at ${percent(columns.density[index])} of tokens, at most ${number(columns.max[index])}`,
  }
  return h("div", { class: "fb-scatter" },
    h("div", { class: "fb-scatter__up", "aria-hidden": "true" }, h("span", {}, number(up.high)), h("span", {}, number(up.low))),
    pointField(points, context, { aspect }),
    h("div", { class: "fb-axis fb-scatter__across", "aria-hidden": "true" },
      h("span", {}, percent(across.low)), h("span", {}, "share of tokens (log)"), h("span", {}, percent(across.high))))
}
