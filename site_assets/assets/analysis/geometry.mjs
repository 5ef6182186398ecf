/** Geometry of layers: one metric at a time, all metrics on one scale, their correlation, similarity of layers. */
import { h } from "../elements.mjs"
import { number } from "../numbers.mjs"
import { lineChart } from "./line-chart.mjs"
import { choice, knownOf, methodFold, metricLink, nameOf, nWords, rangeOf, words } from "./metrics.mjs"
import { valueGrid } from "./value-grid.mjs"

/** @typedef {import("../main.mjs").Context} Context */
/** @typedef {import("./metrics.mjs").Measure} Measure */
/** @typedef {{variants: string[], n_tokens: number[], curves: Measure[], cka: Measure[], correlations: Measure[], normalised: Measure[]}} Geometry */
/** @typedef {{metric: string, where: string}} GeometryState */

/** @param {Measure} measure */
function whereOf({ method }) {
  return `${method.point === "normed" ? "after the model’s norm" : "residual stream"}, ${method.positions === "all" ? "all positions" : method.positions}`
}

/** Labels of layers 0 … n, the first being the input. @param {number} n */
function layerLabels(n) {
  return Array.from({ length: n }, (_, layer) => (layer ? String(layer) : "0 (input)"))
}

/**
 * Curves with their choosers; `onChoose` keeps the choice.
 * @param {Geometry} layers
 * @param {GeometryState} state
 * @param {(change: Partial<GeometryState>) => void} onChoose
 * @param {Context} context
 * @returns {HTMLElement}
 */
export function curves(layers, state, onChoose, context) {
  const box = h("div", {})
  const draw = () => {
    const metrics = [...new Set(layers.curves.map(({ metric }) => metric))]
    const metric = metrics.includes(state.metric) ? state.metric : metrics[0]
    const same = layers.curves.filter((one) => one.metric === metric)
    const curve = same.find((one) => whereOf(one) === state.where) ?? same[0]
    if (!curve) return
    const change = (/** @type {Partial<GeometryState>} */ next) => {
      Object.assign(state, next)
      onChoose(next)
      draw()
    }
    const warnings = new Set(curve.series.map(({ warning }) => warning).filter(Boolean))
    box.replaceChildren(
      h("div", { class: "fb-toolbar fb-toolbar--quiet" },
        choice("Metric", metrics.map((one) => [one, nameOf(one)]), metric, (value) => change({ metric: value })),
        choice("Read", same.map((one) => [whereOf(one), whereOf(one)]), whereOf(curve), (value) => change({ where: value }))),
      h("p", { class: "fb-analysis-name" }, metricLink(metric, context), ` · ${whereOf(curve)} · ${nWords(curve.series[0])}`),
      lineChart(curve.series, { title: nameOf(metric), axis: "layer", labels: layerLabels(curve.series[0].values.length) }),
      ...[...warnings].map((warning) => h("p", { class: "fb-analysis-warning", role: "note" }, warning)),
      methodFold(curve.method))
  }
  draw()
  return box
}

/**
 * All metrics of one variant, each scaled to 0…1 over the layers.
 * @param {Geometry} layers
 * @param {Context} context
 */
export function metricHeatmaps(layers, context) {
  return layers.variants.map((variant) => {
    const rows = layers.normalised.map((measure) => ({ measure, series: measure.series.find((one) => one.variant === variant) })).filter((row) => row.series)
    const values = rows.map(({ series }) => series?.values ?? [])
    return h("figure", { class: "fb-analysis-figure" }, h("figcaption", {}, variant),
      valueGrid({
        caption: `Metrics over layers, each scaled to 0…1: ${variant}`, corner: "layer",
        rows: rows.map(({ measure: { metric } }) => linkLabel(metric, context)),
        columns: layerLabels(values[0]?.length ?? 0).map((text) => ({ text: text.split(" ")[0] })),
        values, low: 0, high: 1, isBare: true,
        tip: (row, column) => `${nameOf(rows[row].measure.metric)}\nlayer ${column}: ${scaledWords(rows[row].series, values[row][column], column)}`,
      }))
  })
}

/** @param {any} series @param {number | null} value @param {number} place */
function scaledWords(series, value, place) {
  return value === null ? words(series, value, place) : `${number(value)} of its range (n = ${Array.isArray(series.n) ? series.n[place] : series.n})`
}

/** @param {string} metric @param {Context} context */
function linkLabel(metric, context) {
  return { text: nameOf(metric), href: metricLink(metric, context).getAttribute("href") ?? undefined }
}

/**
 * Correlation of the metrics over the layers.
 * @param {Geometry} layers
 * @param {Context} context
 */
export function correlations(layers, context) {
  return layers.correlations.flatMap(({ method, series }) => series.map((one) => {
    const metrics = /** @type {string[]} */ (method.metrics)
    return h("figure", { class: "fb-analysis-figure" }, h("figcaption", {}, one.variant),
      valueGrid({
        caption: `Correlation of the metrics over the layers: ${one.variant}`, corner: "",
        rows: metrics.map((metric) => linkLabel(metric, context)), columns: metrics.map((metric, index) => ({ text: String(index + 1), title: nameOf(metric) })),
        values: one.values, low: -1, high: 1, isSigned: true, isBare: true,
        tip: (row, column) => `${nameOf(metrics[row])} and ${nameOf(metrics[column])}\n${words(one, one.values[row][column], row * metrics.length + column)}`,
      }))
  }))
}

/**
 * Similarity of layers, every variant on one scale.
 * @param {Geometry} layers
 */
export function similarity(layers) {
  return layers.cka.flatMap(({ method, series }) => {
    const [low] = rangeOf([...knownOf(series.map(({ values }) => values)), 0])
    return series.map((one) => {
      const labels = one.values.map((_, layer) => ({ text: String(layer) }))
      const where = method.point === "normed" ? "after the model’s norm" : "residual stream"
      return h("figure", { class: "fb-analysis-figure" }, h("figcaption", {}, `${one.variant}, ${where}, ${nWords(one)}`),
        valueGrid({
          caption: `CKA of layers: ${one.variant}, ${where}`, corner: "layer", rows: labels, columns: labels, values: one.values, low, high: 1, isBare: true,
          tip: (row, column) => `layers ${row} and ${column}\n${words(one, one.values[row][column], row * labels.length + column)}`,
        }))
    })
  })
}
