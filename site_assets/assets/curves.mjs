/** Curves over the steps of a training: SVG pictures with their axes in HTML and the numbers in a folded table. */
import { folded, h, svg, table } from "./elements.mjs"
import { count, number } from "./numbers.mjs"

const WIDTH = 300
const HEIGHT = 110

let lastId = 0

/**
 * The path of a curve; it breaks where a value is missing.
 * @param {number[]} steps
 * @param {(number | null)[]} values
 * @param {{low: number, high: number}} range
 */
export function curvePath(steps, values, { low, high }) {
  const first = steps[0], last = steps[steps.length - 1]
  let path = "", isDrawing = false
  for (const [index, value] of values.entries()) {
    if (value === null || value === undefined || !Number.isFinite(value)) {
      isDrawing = false
      continue
    }
    const x = last > first ? ((steps[index] - first) / (last - first)) * WIDTH : WIDTH / 2
    const y = high > low ? HEIGHT - ((value - low) / (high - low)) * HEIGHT : HEIGHT / 2
    path += `${isDrawing ? "L" : "M"}${round(x)} ${round(y)}`
    isDrawing = true
  }
  return path
}

/**
 * One curve with its name, its last value and its ends.
 * @param {string} title
 * @param {string} axis  what the steps are
 * @param {number[]} steps
 * @param {(number | null)[]} values
 * @param {(value: number | null | undefined) => string} text
 * @returns {HTMLElement | null}
 */
export function curve(title, axis, steps, values, text = number) {
  const known = /** @type {number[]} */ (values.filter((value) => value !== null && Number.isFinite(value)))
  if (!known.length || !steps.length) return null
  const range = { low: Math.min(0, ...known), high: Math.max(...known) }
  const last = values.findLast((value) => value !== null)
  const id = `fb-curve-${++lastId}`
  const description = `From ${text(known[0])} to ${text(last)} over ${count(steps[steps.length - 1])} ${axis}.`
  return h("figure", { class: "fb-curve" },
    h("figcaption", {}, h("strong", {}, title), " ", h("span", { class: "fb-number" }, text(last))),
    h("div", { class: "fb-curve__box" },
      h("div", { class: "fb-curve__up", "aria-hidden": "true" }, h("span", {}, text(range.high)), h("span", {}, text(range.low))),
      svg("svg", { viewBox: `0 -4 ${WIDTH} ${HEIGHT + 8}`, preserveAspectRatio: "none", role: "img", "aria-labelledby": `${id}-t`, "aria-describedby": `${id}-d` },
        svg("title", { id: `${id}-t` }, `${title} over training`), svg("desc", { id: `${id}-d` }, description),
        svg("path", { class: "fb-curve__line", d: curvePath(steps, values, range), "vector-effect": "non-scaling-stroke" }))),
    h("div", { class: "fb-axis", "aria-hidden": "true" }, h("span", {}, count(steps[0])), h("span", {}, axis), h("span", {}, count(steps[steps.length - 1]))),
    folded("Numbers", () => [table(title, [axis, title], thinned(steps, values).map(([step, value]) => [count(step), text(value)]))]))
}

/**
 * At most 40 rows of a long curve, the last one among them.
 * @param {number[]} steps
 * @param {(number | null)[]} values
 * @returns {[number, number | null][]}
 */
function thinned(steps, values) {
  const stride = Math.ceil(steps.length / 40)
  return steps.flatMap((step, index) =>
    (steps.length - 1 - index) % stride === 0 ? [/** @type {[number, number | null]} */ ([step, values[index]])] : [])
}

/**
 * Counts over equal bins as columns.
 * @param {string} title
 * @param {number[]} edges  one more than counts
 * @param {number[]} counts
 * @param {{text: (edge: number) => string, axis: string, noun: string, marked?: number}} look  marked: a bin that stands out
 * @returns {HTMLElement | null}
 */
export function countChart(title, edges, counts, { text, axis, noun, marked = -1 }) {
  if (!counts.length) return null
  const highest = Math.max(...counts)
  const width = WIDTH / counts.length
  const id = `fb-curve-${++lastId}`
  const bars = counts.map((n, bin) => svg("rect", {
    class: bin === marked ? "fb-bar fb-bar--marked" : "fb-bar fb-bar--positive", x: round(bin * width), width: round(width * 0.92), y: round(HEIGHT - (n / highest) * HEIGHT), height: round((n / highest) * HEIGHT),
  }))
  return h("figure", { class: "fb-curve" },
    h("figcaption", {}, h("strong", {}, title)),
    h("div", { class: "fb-curve__box" },
      h("div", { class: "fb-curve__up", "aria-hidden": "true" }, h("span", {}, count(highest)), h("span", {}, "0")),
      svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-labelledby": `${id}-t`, "aria-describedby": `${id}-d` },
        svg("title", { id: `${id}-t` }, title),
        svg("desc", { id: `${id}-d` }, `${count(counts.reduce((a, b) => a + b, 0))} ${noun} from ${text(edges[0])} to ${text(edges[edges.length - 1])}.`),
        ...bars)),
    h("div", { class: "fb-axis", "aria-hidden": "true" }, h("span", {}, text(edges[0])), h("span", {}, axis), h("span", {}, text(edges[edges.length - 1]))),
    folded("Numbers", () => [table(title, ["from", "to", noun], counts.map((n, bin) => [text(edges[bin]), text(edges[bin + 1]), count(n)]))]))
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 100) / 100
}
