/** What the analysis says of one layer, on its page: geometry at its input and output, its heads, what zeroing its parts does. */
import { h, table } from "../elements.mjs"
import { count, number } from "../numbers.mjs"
import { explained, metricLink, nameOf, nAt, words } from "./metrics.mjs"
import { valueGrid } from "./value-grid.mjs"

/** @typedef {import("../main.mjs").Context} Context */
/** @typedef {import("./metrics.mjs").Measure} Measure */
/**
 * @typedef {object} LayerAnalysis
 * @property {string} model  id of the model's page
 * @property {{variants: string[], curves: Measure[]} & {undefined?: string}} geometry
 * @property {{variants: string[], scores: Measure[], clusters: {variant: string, names: string[]}[]} & {undefined?: string}} heads
 * @property {{effects: any[]} & {undefined?: string}} ablation
 */

/**
 * @param {LayerAnalysis} analysis
 * @param {number} layer
 * @param {boolean} isFolded  below modules, which come first
 * @param {Context} context
 */
export function layerAnalysis({ model, geometry, heads, ablation }, layer, isFolded, context) {
  const whole = (/** @type {string} */ anchor) => h("a", { href: context.linkTo(model, anchor) }, "all layers")
  return [
    fold("How its vectors spread", geometry, isFolded, () => [geometryTable(geometry, context), h("p", { class: "fb-note" }, "From the layer’s input to its output, residual stream, without special tokens and first positions; ", whole("geometry"), ".")]),
    fold("What its attention heads do", heads, isFolded, () => [...headGrids(heads, layer, context), h("p", { class: "fb-note" }, "Colours are on the scale of the whole model, each score on its own; ", whole("heads"), ".")]),
    fold("What zeroing it does", ablation, isFolded, () => [ablationTable(ablation.effects), h("p", { class: "fb-note" }, explained("ablation", "What this measures", context), "; ", whole("ablation"), ".")]),
  ]
}

/** @param {string} title @param {{undefined?: string}} part @param {boolean} isFolded @param {() => import("../elements.mjs").Child[]} draw */
function fold(title, part, isFolded, draw) {
  const body = part.undefined ? [h("p", { class: "fb-note" }, part.undefined)] : draw()
  if (!isFolded) return h("section", { class: "fb-panel" }, h("h2", {}, title), ...body)
  return h("section", { class: "fb-panel" }, h("h2", {}, title), h("details", { class: "fb-fold" }, h("summary", {}, part.undefined ? "Why there is nothing" : "Show"), ...body))
}

/** @param {{variants: string[], curves: Measure[]}} geometry @param {Context} context */
function geometryTable({ variants, curves }, context) {
  const rows = curves.map(({ metric, series }) => [metricLink(metric, context), ...variants.flatMap((variant) => {
    const one = series.find((entry) => entry.variant === variant)
    return one ? [one.values[0] === null ? (one.reasons["0"] ?? "undefined") : number(one.values[0]), one.values[1] === null ? (one.reasons["1"] ?? "undefined") : number(one.values[1])] : ["–", "–"]
  }), count(nAt(series[0], 1))])
  return h("div", { class: "fb-table-box" }, table("Geometry of the layer", ["metric", ...variants.flatMap((variant) => [`${variant}: in`, "out"]), "n"], rows))
}

/**
 * Score × head for each variant; every score on the scale of all layers.
 * @param {LayerAnalysis["heads"]} heads
 * @param {number} layer
 * @param {Context} context
 */
function headGrids({ variants, scores, clusters }, layer, context) {
  return [h("div", { class: "fb-analysis-pair" }, ...variants.map((variant) => {
    const rows = scores.flatMap(({ metric, series }) => series.filter((one) => one.variant === variant).map((one) => ({ metric, one })))
    const names = clusters.find((one) => one.variant === variant)?.names ?? []
    const share = rows.map(({ one }) => one.values.map((value) => {
      const low = Math.min(0, one.low ?? 0), high = one.high ?? 0
      return value === null ? null : high > low ? (value - low) / (high - low) : 0
    }))
    return h("figure", { class: "fb-analysis-figure" }, h("figcaption", {}, variant),
      valueGrid({
        caption: `Scores of the heads of layer ${layer}: ${variant}`, corner: "head", values: share, low: 0, high: 1, hasLegend: false,
        rows: rows.map(({ metric }) => ({ text: nameOf(metric), href: metricLink(metric, context).getAttribute("href") ?? undefined })),
        columns: (rows[0]?.one.values ?? []).map((_, head) => ({ text: names[head] ? `${head} ${names[head]}` : String(head) })),
        cell: (row, head) => number(rows[row].one.values[head]),
        tip: (row, head) => `${nameOf(rows[row].metric)}, head ${head}\n${words(rows[row].one, rows[row].one.values[head], head)}`,
      }))
  }))]
}

/** @param {any[]} effects */
function ablationTable(effects) {
  const value = (/** @type {any} */ one, sign = false) => (one.value === null ? (one.reason ?? "undefined") : number(one.value, { sign }))
  return h("div", { class: "fb-table-box" }, table("Effects of zeroing", ["zeroed", "KL, nats", "loss, nats", "n"], effects.map(({ kind, module, divergence, loss_change }) =>
    [kind === "layer" ? h("strong", {}, "the whole layer") : module, value(divergence), value(loss_change, true), count(divergence.n)])))
}
