/** How one model behaves: geometry of its layers, its heads, what its adapter's parts do, where base and adapted model differ. */
import { correlations, curves, metricHeatmaps, similarity } from "../analysis/geometry.mjs"
import { headMap, headScores } from "../analysis/heads.mjs"
import { explained, knownOf, methodFold, metricLink, nameOf, rangeOf, section, words } from "../analysis/metrics.mjs"
import { valueGrid } from "../analysis/value-grid.mjs"
import { h, table } from "../elements.mjs"
import { formatState, hashOf, parseState } from "../hash.mjs"
import { count, number } from "../numbers.mjs"
import { readableId } from "../shards.mjs"

/** @typedef {import("../main.mjs").Context} Context */
/** @typedef {any} ModelShard */

const INITIAL = { metric: "effective_rank", where: "", score: "entropy", sink: "with" }

/**
 * @param {HTMLElement} element
 * @param {ModelShard} shard
 * @param {Context} context
 */
export function mount(element, shard, context) {
  const state = parseState(location.hash, INITIAL)
  const keep = () => history.replaceState(history.state, "", hashOf(formatState(state, INITIAL)) || location.pathname + location.search)
  const text = shard.texts[0]
  const headHref = (/** @type {number} */ layer, /** @type {number} */ head) =>
    text ? context.linkTo(text.id, `view=head&layer=${layer}&head=${head}`) : null
  const { layers, heads, ablation } = shard
  element.replaceChildren(
    section("Geometry of the layers", "geometry", "How the vectors of each layer spread: one metric at a time, base and adapted model on the same axes. Layer 0 is the input of the first layer.", layers,
      () => [curves(layers, state, keep, context)]),
    layers.undefined ? "" : section("Similarity of layers", "similarity", h("span", {}, "Debiased linear CKA of every pair of layers on the same tokens: ", metricLink("debiased_cka", context, "what it means"), "."), layers,
      () => [h("div", { class: "fb-analysis-pair" }, ...similarity(layers)), layers.cka[0] ? methodFold(layers.cka[0].method) : null]),
    layers.undefined ? "" : section("All metrics over the layers", "metrics", "Each row scaled to 0…1 over the layers: shapes can be compared, sizes cannot.", layers,
      () => [h("div", { class: "fb-analysis-pair" }, ...metricHeatmaps(layers, context))]),
    layers.undefined ? "" : section("Correlation of the metrics", "correlations", `Pearson correlation over ${count(shard.model.n_layers + 1)} layers: with so few, large values come by chance.`, layers,
      () => [h("div", { class: "fb-analysis-pair" }, ...correlations(layers, context))]),
    section("Attention heads", "heads", text ? "One score of every head, all on one scale. A cell opens that head on a text." : "One score of every head, all on one scale.", heads,
      () => [headScores(heads, state, keep, headHref, context)]),
    heads.undefined ? "" : section("Map of the heads", "head-map", "Heads whose scores are alike lie together. Clusters are named by the score that sets them apart.", heads,
      () => [h("div", { class: "fb-analysis-pair" }, ...heads.maps.map((/** @type {any} */ map) => headMap(map, headHref, context)))]),
    section("What the adapter’s parts do", "ablation", h("span", {}, "Each part is zeroed in turn: how far do the predictions move, and how does the loss change? Effects do not add up. ", explained("ablation", "What this measures", context)), ablation,
      () => ablationParts(ablation, context)),
    shard.divergence.length ? section("Where base and adapted model differ most", "divergence", h("span", {}, "KL(base ‖ adapted) at every token, in nats: where the adapter changes the model’s mind. Documents by their mean. ", explained("token-divergence", "What this measures", context)), null,
      () => [divergenceStrips(shard, context), divergenceTable(shard.divergence, context)]) : "",
  )
  scrollToHash(element)
}

/** @param {HTMLElement} element */
function scrollToHash(element) {
  const id = location.hash.slice(1)
  if (/^[a-z-]+$/.test(id)) element.querySelector(`#${id}`)?.scrollIntoView()
}

/** @param {any} ablation @param {Context} context */
function ablationParts(ablation, context) {
  const single = new Map()
  for (const { kind, layer, module, channel } of ablation.effects)
    if (kind === "direction") single.set(`${layer} ${module}`, single.has(`${layer} ${module}`) ? "" : channel)
  const grids = ablation.grids.map((/** @type {any} */ grid) => {
    const { layers, modules } = grid.method
    const known = knownOf(grid.values)
    const isSigned = known.some((value) => value < 0)
    const [low, high] = rangeOf([...known, 0])
    return h("figure", { class: "fb-analysis-figure" }, h("figcaption", {}, metricLink(grid.metric, context), ", nats"),
      valueGrid({
        caption: `${nameOf(grid.metric)} when a module is zeroed, layer by module`, corner: "layer", values: grid.values, low, high, isSigned,
        rows: layers.map((/** @type {number} */ layer) => ({ text: String(layer), href: context.linkTo(`layer/${layer}`) })), columns: modules.map((/** @type {string} */ text) => ({ text })),
        href: (row, column) => {
          const channel = single.get(`${layers[row]} ${modules[column]}`)
          return context.linkTo(channel || `layer/${layers[row]}`)
        },
        tip: (row, column) => `layer ${layers[row]}, ${modules[column]}\n${words(grid, grid.values[row][column], row * modules.length + column)}`,
      }))
  })
  const larger = ablation.effects.filter((/** @type {any} */ one) => ["layer", "type", "adapter"].includes(one.kind))
  const directions = ablation.effects.filter((/** @type {any} */ one) => one.kind === "direction" && one.divergence.value !== null)
    .sort((/** @type {any} */ a, /** @type {any} */ b) => b.divergence.value - a.divergence.value).slice(0, 12)
  return [h("div", { class: "fb-analysis-pair" }, ...grids),
    h("div", { class: "fb-analysis-pair" },
      directions.length ? h("div", {}, h("h3", {}, "Directions with the largest effect"), effectTable("Directions", directions, context)) : null,
      larger.length ? h("div", {}, h("h3", {}, "Layers, module types, the whole adapter"), effectTable("Larger parts", larger, context)) : null),
    methodFold(ablation.method)]
}

/** @param {string} caption @param {any[]} effects @param {Context} context */
function effectTable(caption, effects, context) {
  return h("div", { class: "fb-table-box" }, table(caption, ["zeroed", "KL", "loss", "n"], effects.map((one) => [
    one.channel ? h("a", { href: context.linkTo(one.channel) }, readableId(one.channel)) : one.kind === "layer" ? h("a", { href: context.linkTo(`layer/${one.layer}`) }, one.key) : one.key,
    one.divergence.value === null ? one.divergence.reason : number(one.divergence.value),
    one.loss_change.value === null ? one.loss_change.reason : number(one.loss_change.value, { sign: true }), count(one.divergence.n)])))
}

/** Each document as a strip of cells; a cell opens the document at its largest token. @param {ModelShard} shard @param {Context} context */
export function divergenceStrips({ divergence, strips: { width, at, largest } }, context) {
  const n = Math.max(...largest.map((/** @type {number[]} */ row) => row.length))
  const href = (/** @type {number} */ row, /** @type {string} */ hash) =>
    divergence[row].has_page ? context.linkTo(`doc/${divergence[row].doc}`, hash) : null
  return h("figure", { class: "fb-analysis-figure" },
    h("figcaption", {}, explained("token-divergence", "KL(base ‖ adapted)", context), width > 1 ? `, the largest of every ${count(width)} tokens` : "", "; a cell opens the document there"),
    valueGrid({
      caption: "KL of base and adapted model along each document", corner: "from token", isBare: true, low: 0, high: Math.max(...largest.flat()),
      values: largest.map((/** @type {number[]} */ row) => Array.from({ length: n }, (_, cell) => row[cell] ?? null)),
      rows: divergence.map((/** @type {any} */ { name }, /** @type {number} */ row) => ({ text: name, title: name, href: href(row, "") ?? undefined })),
      columns: Array.from({ length: n }, (_, cell) => ({ text: cell % 4 ? "" : count(cell * width) })),
      tip: (row, cell) => cell < largest[row].length
        ? `${divergence[row].name}, tokens ${count(cell * width)} to ${count(Math.min((cell + 1) * width, divergence[row].n) - 1)}\nKL ${number(largest[row][cell])} nats at token ${count(at[row][cell])}`
        : `${divergence[row].name}\nends before`,
      href: (row, cell) => cell < largest[row].length ? href(row, `t=${at[row][cell]}`) : null,
    }))
}

/** @param {any[]} documents @param {Context} context */
function divergenceTable(documents, context) {
  return h("div", { class: "fb-table-box" }, table("Documents by KL", ["document", "tokens", "mean KL", "largest", "at token"], documents.map(({ doc, name, n, mean, max, at, has_page }) => {
    const id = `doc/${doc}`
    return [has_page ? h("a", { href: context.linkTo(id) }, h("bdi", {}, name)) : h("bdi", {}, name), count(n), number(mean), number(max),
      has_page ? h("a", { href: context.linkTo(id, `t=${at}`) }, count(at)) : count(at)]
  })))
}
