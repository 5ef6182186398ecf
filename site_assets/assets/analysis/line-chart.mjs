/** Curves of several variants over the layers, on the same axes, with every number and its n in a folded table. */
import { folded, h, svg, table } from "../elements.mjs"
import { Tooltip } from "../heatmap/tooltip.mjs"
import { number } from "../numbers.mjs"
import { knownOf, rangeOf, words } from "./metrics.mjs"

/** @typedef {import("./metrics.mjs").Series} Series */

const WIDTH = 600
const HEIGHT = 180
let lastId = 0

/**
 * The pieces of a curve: it breaks where a value is undefined.
 * @param {(number | null)[]} values
 * @param {number} low
 * @param {number} high
 */
export function linePath(values, low, high) {
  let path = "", isDrawing = false
  values.forEach((value, index) => {
    if (value === null) isDrawing = false
    else {
      path += `${isDrawing ? "L" : "M"}${across(index, values.length)} ${up(value, low, high)}`
      isDrawing = true
    }
  })
  return path
}

/** @param {number} index @param {number} n */
function across(index, n) {
  return Math.round((n > 1 ? index / (n - 1) : 0.5) * WIDTH * 10) / 10
}

/** @param {number} value @param {number} low @param {number} high */
function up(value, low, high) {
  return Math.round((high > low ? 1 - (value - low) / (high - low) : 0.5) * HEIGHT * 10) / 10
}

/**
 * @param {Series[]} series
 * @param {{title: string, axis: string, labels: string[]}} look
 * @returns {HTMLElement}
 */
export function lineChart(series, { title, axis, labels }) {
  const [low, high] = rangeOf(knownOf(series.map(({ values }) => values)))
  const id = `fb-lines-${++lastId}`
  const shapes = series.flatMap(({ variant, values }) => [
    svg("path", { class: `fb-line fb-line--${variant}`, d: linePath(values, low, high), "vector-effect": "non-scaling-stroke" }),
    svg("path", { class: `fb-line-dots fb-line--${variant}`, "vector-effect": "non-scaling-stroke",
      d: values.map((value, index) => (value === null ? "" : `M${across(index, values.length)} ${up(value, low, high)}h0`)).join("") }),
  ])
  const description = series.map(({ variant, values }) => `${variant}: from ${number(values[0] ?? null)} to ${number(values.at(-1) ?? null)}`).join("; ")
  const picture = svg("svg", { viewBox: `0 -6 ${WIDTH} ${HEIGHT + 12}`, preserveAspectRatio: "none", role: "img", "aria-labelledby": `${id}-t`, "aria-describedby": `${id}-d` },
    svg("title", { id: `${id}-t` }, title), svg("desc", { id: `${id}-d` }, description), ...shapes)
  const strips = h("div", { class: "fb-lines__strips", "aria-hidden": "true" }, ...labels.map((label, index) => strip(label, index, series, labels.length)))
  return h("figure", { class: "fb-lines" },
    h("div", { class: "fb-curve__box" },
      h("div", { class: "fb-curve__up", "aria-hidden": "true" }, h("span", {}, number(high)), h("span", {}, number(low))),
      h("div", { class: "fb-lines__field" }, picture, strips)),
    h("div", { class: "fb-axis", "aria-hidden": "true" }, h("span", {}, labels[0]), h("span", {}, axis), h("span", {}, labels.at(-1))),
    h("p", { class: "fb-lines__legend" }, ...series.map(({ variant }) => h("span", { class: `fb-lines__key fb-lines__key--${variant}` }, variant))),
    folded("Numbers", () => [table(title, [axis, ...series.map(({ variant }) => variant)], labels.map((label, index) =>
      [label, ...series.map((one) => words(one, one.values[index], index))]))]))
}

/** The room of one layer, which shows its values. @param {string} label @param {number} index @param {Series[]} series @param {number} n */
function strip(label, index, series, n) {
  const place = h("i", {})
  place.style.left = `${((index - 0.5) / Math.max(1, n - 1)) * 100}%`
  place.style.width = `${100 / Math.max(1, n - 1)}%`
  place.addEventListener("pointerenter", () => Tooltip.shared().show(place, () =>
    h("div", {}, h("p", {}, h("strong", {}, `layer ${label}`)), ...series.map((one) => h("p", { class: "fb-number" }, `${one.variant}: ${words(one, one.values[index], index)}`)))))
  place.addEventListener("pointerleave", () => Tooltip.shared().leave())
  return place
}
