/** Points that are links, over two axes through zero: one SVG, its numbers in a table beside it. */
import { folded, h, svg, table } from "./elements.mjs"
import { number } from "./numbers.mjs"
import { Tooltip } from "./heatmap/tooltip.mjs"

/** @typedef {{x: number, y: number, name: string, href: string | null}} Point */

const SIZE = 100
const INSET = 4

/**
 * @param {Point[]} points
 * @param {{title: string, x: string, y: string}} names
 * @returns {HTMLElement}
 */
export function scatter(points, names) {
  const [toX, toY] = [scaleOf(points.map(({ x }) => x)), scaleOf(points.map(({ y }) => y))]
  const marks = points.map((point) => mark(point, toX(point.x), SIZE - toY(point.y), names))
  const axes = [
    svg("line", { class: "fb-zero", x1: toX(0), x2: toX(0), y1: 0, y2: SIZE, "vector-effect": "non-scaling-stroke" }),
    svg("line", { class: "fb-zero", x1: 0, x2: SIZE, y1: SIZE - toY(0), y2: SIZE - toY(0), "vector-effect": "non-scaling-stroke" }),
  ]
  const ends = [points.map(({ x }) => x), points.map(({ y }) => y)].map((values) => rangeOf(values).map((value) => number(value)))
  const picture = svg("svg", { class: "fb-dots", viewBox: `0 0 ${SIZE} ${SIZE}`, role: "group", "aria-label": names.title }, ...axes, ...marks)
  picture.addEventListener("pointerleave", () => Tooltip.shared().leave())
  const rows = () => points.toSorted((a, b) => Math.abs(b.x) + Math.abs(b.y) - Math.abs(a.x) - Math.abs(a.y)).slice(0, 50)
    .map(({ x, y, name, href }) => [href ? h("a", { href }, name) : name, number(x), number(y)])
  return h("figure", { class: "fb-dots-box" },
    h("div", { class: "fb-dots-frame" },
      h("span", { class: "fb-dots__y", "aria-hidden": "true" }, ...[ends[1][1], names.y, ends[1][0]].map((text) => h("span", {}, text))), picture,
      h("span", { class: "fb-dots__x", "aria-hidden": "true" }, ...[ends[0][0], names.x, ends[0][1]].map((text) => h("span", {}, text)))),
    folded("Numbers", () => [table(names.title, ["document", names.x, names.y], rows())]))
}

/** The ends of an axis: zero is always inside. @param {number[]} values */
function rangeOf(values) {
  return [Math.min(0, ...values), Math.max(0, ...values)]
}

/**
 * From a value to its place between the insets; zero is always inside.
 * @param {number[]} values
 * @returns {(value: number) => number}
 */
export function scaleOf(values) {
  const [low, high] = rangeOf(values)
  return (value) => Number((INSET + (high > low ? (value - low) / (high - low) : 0.5) * (SIZE - 2 * INSET)).toFixed(2))
}

/**
 * @param {Point} point
 * @param {number} cx
 * @param {number} cy
 * @param {{x: string, y: string}} names
 */
function mark({ x, y, name, href }, cx, cy, names) {
  const dot = svg("circle", { class: "fb-dots__dot", cx, cy, r: 1.1 })
  const content = () => h("div", {}, h("p", {}, h("strong", {}, name)), h("p", { class: "fb-number" }, `${names.x} ${number(x, { sign: true })}, ${names.y} ${number(y, { sign: true })}`))
  const owner = href ? svg("a", { href, tabindex: -1, "aria-label": name }, dot) : dot
  owner.addEventListener("pointerenter", () => Tooltip.shared().show(/** @type {any} */ (dot), content))
  return owner
}
