/** A collection as a whole: how it was trained, how often its channels fire, how well it explains, its map. */
import { h } from "../elements.mjs"
import { cellGrid } from "../cell-grid.mjs"
import { countChart, curve } from "../curves.mjs"
import { placesTable, profileMap, relativeNormChart } from "../crosscoder-charts.mjs"
import { densityField, pointField } from "../map.mjs"
import { count, number, percent } from "../numbers.mjs"

/** @typedef {import("../main.mjs").Context} Context */
/** @typedef {import("../cell-grid.mjs").Places} Places */
/**
 * @typedef {object} CollectionShard
 * @property {string} name
 * @property {string} kind
 * @property {number} n_channels
 * @property {number} n_dead
 * @property {{edges: number[], counts: number[]}} density_histogram  edges: log10 of densities
 * @property {{id: string[], density: (number | null)[], max: (number | null)[]}} columns
 * @property {Places | null} grid
 * @property {Facts} facts
 * @property {import("../crosscoder-charts.mjs").CrosscoderFacts} [crosscoder]
 */
/**
 * @typedef {object} Facts  what the collection says of itself; every key may be absent
 * @property {Record<string, (number | null)[]>} [curves]
 * @property {{explained_variance?: (number | null)[], l0_counts?: number[], fvu?: number}} [held_out]
 * @property {{mean?: number, histogram?: {edges: number[], counts: number[]}}} [l0]
 */
/** @typedef {{columns: {id: string[], top_tokens: string[][]}, layout: {method: string, x: number[], y: number[]} | null}} PointsShard */

/** The longer axis of a layout (docs/shards.md). */
const PLACES = 1000

/**
 * @param {HTMLElement} element
 * @param {CollectionShard} shard
 * @param {Context} context
 */
export async function mount(element, shard, context) {
  const points = /** @type {PointsShard} */ (await context.fetchShard(`collection/${shard.name}/points`))
  const noun = shard.kind === "lora" ? "directions" : "latents"
  const parts = [
    mapPanel(points, shard, context),
    placesPanel(shard, context),
    trainingPanel(shard),
    firingPanel(shard, noun),
    gridPanel(shard, context),
    scatterPanel(shard, points, noun, context),
  ]
  const slot = /** @type {HTMLElement} */ (element.querySelector('[data-slot="charts"]'))
  slot.replaceChildren(...parts.filter((part) => part !== null))
}

/**
 * @param {string} id
 * @param {string} title
 * @param {string} caption
 * @param {...(HTMLElement | null)} content
 */
function section(id, title, caption, ...content) {
  return h("section", { class: "fb-panel", "aria-labelledby": id }, h("h2", { id }, title), h("p", { class: "fb-caption" }, caption), ...content)
}

/**
 * @param {PointsShard} points
 * @param {CollectionShard} shard
 * @param {Context} context
 */
function mapPanel({ columns, layout }, shard, context) {
  if (!layout || !columns.id.length) return null
  const deep = layout.y.reduce((a, b) => Math.max(a, b), 0) || PLACES
  const wide = layout.x.reduce((a, b) => Math.max(a, b), 0) || PLACES
  const field = pointField({
    id: columns.id,
    x: layout.x.map((x) => x / wide),
    y: layout.y.map((y) => y / deep),
    tokens: columns.top_tokens,
    marked: -1,
    label: "Map of the latents",
    note: (index) => `active at ${percent(shard.columns.density[index])} of tokens`,
  }, context, { aspect: Math.min(1, Math.max(0.5, deep / wide)) })
  const dead = shard.n_dead ? ` Not drawn: ${count(shard.n_dead)} dead.` : ""
  return section("map", "Map of the latents", `Each point is a latent and opens its page. ${layout.method}${dead}`, field)
}

/** @param {CollectionShard} shard @param {Context} context */
function placesPanel({ crosscoder: found }, context) {
  if (!found) return null
  const map = profileMap(found, context)
  return section("places", "Places",
    `Size: the root of the total variance of the activations there. FVU: what the dictionary leaves of it, over ${count(found.n_tokens)} tokens that were not held out. A latent peaks where its decoder is longest in units of the size.`,
    placesTable(found), found.relative_norms && h("h3", {}, "Between the models"), relativeNormChart(found),
    map && h("h3", {}, "Profiles"), map && h("p", { class: "fb-caption" }, "A column is a latent, a row a place: decoder norm in units of the latent’s own peak, latents sorted by peak. Each column opens a page."), map)
}

/** @param {CollectionShard} shard */
function trainingPanel({ facts }) {
  const curves = facts.curves
  const steps = /** @type {number[] | undefined} */ (curves?.tokens ?? curves?.step)
  if (!curves || !steps?.length) return null
  const axis = curves.tokens ? "tokens" : "steps"
  const drawn = /** @type {const} */ ([["fvu", "FVU", number], ["l0", "L0", number], ["dead_share", "dead", percent], ["loss", "loss", number]])
    .map(([name, title, text]) => (curves[name] ? curve(title, axis, steps, curves[name], text) : null))
    .filter((part) => part !== null)
  if (!drawn.length) return null
  return section("training", "Training", "Fraction of variance unexplained, latents active per token, share of dead latents and loss, per step.",
    h("div", { class: "fb-curves" }, ...drawn))
}

/** @param {CollectionShard} shard @param {string} noun */
function firingPanel(shard, noun) {
  const { edges, counts } = shard.density_histogram
  const power = (/** @type {number} */ edge) => percent(10 ** edge)
  const l0 = l0Histogram(shard.facts)
  const charts = [
    countChart("Density", edges, counts, { text: power, axis: "share of tokens (log)", noun }),
    l0 && countChart("Active per token (L0)", l0.edges, l0.counts, { text: (edge) => (Number.isInteger(edge) ? count(edge) : number(edge)), axis: "latents", noun: "tokens" }),
  ].filter((part) => part !== null)
  if (!charts.length) return null
  const dead = shard.n_dead ? ` ${count(shard.n_dead)} of ${count(shard.n_channels)} were never active and stand in no bin.` : ""
  return section("firing", "How often they fire", `Number of ${noun} by the share of tokens at which they are active.${dead}`, h("div", { class: "fb-curves" }, ...charts))
}

/**
 * The distribution of L0: as the collection gives it, else from the held-out documents.
 * @param {Facts} facts
 */
export function l0Histogram({ l0, held_out }) {
  if (l0?.histogram?.counts.length) return l0.histogram
  const counts = held_out?.l0_counts
  if (!counts?.length) return null
  const stride = Math.ceil(counts.length / 60)
  const summed = Array.from({ length: Math.ceil(counts.length / stride) }, (_, bin) =>
    counts.slice(bin * stride, (bin + 1) * stride).reduce((a, b) => a + b, 0))
  return { edges: Array.from({ length: summed.length + 1 }, (_, bin) => bin * stride), counts: summed }
}

/** @param {CollectionShard} shard @param {Context} context */
function gridPanel({ grid, facts, kind, columns }, context) {
  if (!grid) return null
  const explained = facts.held_out?.explained_variance
  if (explained?.length === grid.ids.length)
    return section("explained", "What it explains", "Explained variance of every direction on held-out documents: 1 − the squared error over the variance. Below zero, the mean alone would do better.",
      cellGrid(grid, explained, { caption: "Explained variance", isSigned: explained.some((value) => (value ?? 0) < 0), text: number, noun: "explained variance" }, context))
  if (kind !== "lora") return null
  const density = new Map(columns.id.map((id, index) => [id, columns.density[index]]))
  return section("grid", "Layers × modules", "Share of tokens at which each direction is active; each cell is a page.",
    cellGrid(grid, grid.ids.map((id) => density.get(id) ?? null), { caption: "Density", isSigned: false, text: percent, noun: "active at" }, context))
}

/**
 * @param {CollectionShard} shard
 * @param {PointsShard} points
 * @param {string} noun
 * @param {Context} context
 */
function scatterPanel({ columns }, points, noun, context) {
  if (!columns.id.length) return null
  return section("scatter", "Density against maximum", `Every point is one of the ${noun} and opens its page: upwards its largest |activation|, to the right how often it is active; both logarithmic.`,
    densityField(columns, { tokens: points.columns.top_tokens, marked: null }, context))
}
