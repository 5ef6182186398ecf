/** Attention heads of a model: a score of every head on one scale, and a map of the heads with named clusters. */
import { h, svg } from "../elements.mjs"
import { pointField } from "../map.mjs"
import { count, number, percent } from "../numbers.mjs"
import { choice, knownOf, methodFold, metricLink, nameOf, nWords, rangeOf, words } from "./metrics.mjs"
import { valueGrid } from "./value-grid.mjs"

/** @typedef {import("../main.mjs").Context} Context */
/** @typedef {import("./metrics.mjs").Measure} Measure */
/** @typedef {{variant: string, heads: [number, number][], points: [number, number][], explained: number[], cluster: number[], names: string[], method: Record<string, any>, undefined?: string}} HeadMap */
/** @typedef {{variants: string[], scores: Measure[], maps: HeadMap[]}} Heads */
/** @typedef {{score: string, sink: string}} HeadState */

/** The box of the map: the same as in map.mjs. */
const WIDTH = 600, MARGIN = 12, ASPECT = 0.5
/** Kinds of marks on the map. */
const MARKS = 8

/**
 * Scores of all heads with their choosers.
 * @param {Heads} heads
 * @param {HeadState} state
 * @param {(change: Partial<HeadState>) => void} onChoose
 * @param {(layer: number, head: number) => string | null} href  of one head's view
 * @param {Context} context
 * @returns {HTMLElement}
 */
export function headScores(heads, state, onChoose, href, context) {
  const box = h("div", {})
  const draw = () => {
    const metrics = [...new Set(heads.scores.map(({ metric }) => metric))]
    const metric = metrics.includes(state.score) ? state.score : metrics[0]
    const same = heads.scores.filter((one) => one.metric === metric)
    const shown = same.find((one) => isWithout(one) === (state.sink === "without")) ?? same[0]
    if (!shown) return
    const change = (/** @type {Partial<HeadState>} */ next) => {
      Object.assign(state, next)
      onChoose(next)
      draw()
    }
    const [low, high] = rangeOf([...knownOf(shown.series.map(({ values }) => values)), 0])
    box.replaceChildren(
      h("div", { class: "fb-toolbar fb-toolbar--quiet" },
        choice("Score", metrics.map((one) => [one, nameOf(one)]), metric, (score) => change({ score })),
        choice("Position 0", same.map((one) => (isWithout(one) ? ["without", "left out, other keys renormalised"] : ["with", "included"])), isWithout(shown) ? "without" : "with", (sink) => change({ sink }))),
      h("p", { class: "fb-analysis-name" }, metricLink(metric, context), ` · position 0 ${shown.method.position_0 ?? "included"}`,
        shown.method.uniform_attention === undefined ? "" : ` · uniform attention would score ${number(Number(shown.method.uniform_attention))}`),
      h("div", { class: "fb-analysis-pair" }, ...shown.series.map((one) => h("figure", { class: "fb-analysis-figure" },
        h("figcaption", {}, `${one.variant}, ${nWords(one)}`),
        valueGrid({
          caption: `${nameOf(metric)} of every head: ${one.variant}`, corner: "layer",
          rows: one.values.map((_, layer) => ({ text: String(layer) })),
          columns: (one.values[0] ?? []).map((/** @type {unknown} */ _, /** @type {number} */ head) => ({ text: String(head), title: `head ${head}` })),
          values: one.values, low, high, isBare: (one.values[0] ?? []).length > 12, href,
          tip: (layer, head) => `layer ${layer}, head ${head}\n${words(one, one.values[layer][head], layer * one.values[0].length + head)}`,
        })))),
      methodFold(shown.method))
  }
  draw()
  return box
}

/** @param {Measure} measure */
function isWithout({ method }) {
  return String(method.position_0 ?? "").startsWith("left out")
}

/**
 * The map of one variant: clusters by colour and name, points open heads.
 * @param {HeadMap} map
 * @param {(layer: number, head: number) => string | null} href
 * @param {Context} context
 */
export function headMap(map, href, context) {
  if (map.undefined) return h("p", { class: "fb-note" }, map.undefined)
  const names = map.heads.map(([layer, head]) => `layer ${layer}, head ${head}`)
  const x = placed(map.points.map(([at]) => at)), y = placed(map.points.map(([, at]) => at))
  const place = new Map(names.map((name, index) => [name, index]))
  const field = pointField({
    id: names, x, y, tokens: null, marked: -1, label: `Map of the heads: ${map.variant}`,
    note: (index) => map.names[map.cluster[index]],
  }, { ...context, linkTo: (name) => {
    const [layer, head] = map.heads[place.get(name) ?? 0]
    return href(layer, head) ?? `#layer-${layer}`
  } }, { aspect: ASPECT })
  const height = Math.round(WIDTH * ASPECT)
  const picture = field.querySelector("svg")
  picture?.querySelector(".fb-points__all")?.setAttribute("d", "")
  map.names.forEach((_, cluster) => {
    const d = map.cluster.map((one, index) => (one === cluster
      ? `M${round(MARGIN + x[index] * (WIDTH - 2 * MARGIN))} ${round(height - MARGIN - y[index] * (height - 2 * MARGIN))}h0` : "")).join("")
    picture?.append(svg("path", { class: `fb-cluster fb-cluster--${cluster % MARKS}`, d }))
  })
  const lists = map.names.map((name, cluster) => {
    const members = map.heads.filter((_, index) => map.cluster[index] === cluster)
    return h("li", {}, h("i", { class: `fb-cluster-key fb-cluster-key--${cluster % MARKS}`, "aria-hidden": "true" }), h("strong", {}, name), ` (${count(members.length)}): `,
      ...members.slice(0, 24).flatMap(([layer, head]) => [h("a", { href: href(layer, head), title: `layer ${layer}, head ${head}` }, `${layer}.${head}`), " "]), members.length > 24 ? "…" : "")
  })
  return h("figure", { class: "fb-analysis-figure fb-head-map" }, h("figcaption", {}, `${map.variant}: the two axes hold ${percent(map.explained[0] + map.explained[1])} of the variance`),
    field, h("ul", { class: "fb-cluster-list" }, ...lists), methodFold(map.method))
}

/** Places between 0 and 1. @param {number[]} values */
export function placed(values) {
  const [low, high] = rangeOf(values)
  return values.map((value) => (high > low ? (value - low) / (high - low) : 0.5))
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 10) / 10
}
