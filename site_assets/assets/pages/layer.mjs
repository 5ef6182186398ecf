/** A layer: its modules side by side, each with its strongest examples of either sign, and how its directions relate. */
import { layerAnalysis } from "../analysis/layer.mjs"
import { cosine, cosineMatrix, thumbnail } from "../chart.mjs"
import { h } from "../elements.mjs"
import { strongestPairs } from "../grid.mjs"
import { attachHeatmap } from "../heatmap.mjs"
import { foldIdentical } from "../heatmap/tokens.mjs"
import { count, number, percent, plural } from "../numbers.mjs"
import { readableId } from "../shards.mjs"
import { snippet } from "../snippet.mjs"

/** @typedef {import("../main.mjs").Context} Context */
/** @typedef {import("../shards.mjs").Example} Example */
/**
 * @typedef {object} LayerChannel
 * @property {string} id
 * @property {number} rank_index
 * @property {boolean} is_signed
 * @property {string | null} label
 * @property {number} scale
 * @property {import("../shards.mjs").Stats} stats
 * @property {import("../shards.mjs").Histogram} histogram
 * @property {Example[]} top
 * @property {Example[]} bottom
 * @property {import("../shards.mjs").Write & {undefined?: string}} write
 */
/** @typedef {{collection: string, module: string, n_channels: number, channels: LayerChannel[]}} LayerModule */
/** @typedef {{space: string, members: {id: string, side: string}[], values: number[][]}} Cosines */
/**
 * @typedef {object} LayerShard
 * @property {string} id
 * @property {number} layer
 * @property {string | null} previous
 * @property {string | null} next
 * @property {string[]} tokens
 * @property {number[]} special
 * @property {LayerModule[]} modules
 * @property {Cosines[]} cosines
 * @property {import("../analysis/layer.mjs").LayerAnalysis} [analysis]
 */

/** Pairs listed above a matrix. */
const PAIRS = 6

/** Modules of attention by the last part of their name; all others stand with the MLP. */
const ATTENTION = /attn|attention|(^|[._])(q|k|v|o|qkv|query|key|value|query_key_value)(_|$)/i

/**
 * @param {HTMLElement} element
 * @param {LayerShard} shard
 * @param {Context} context
 */
export function mount(element, shard, context) {
  const isAttention = (/** @type {LayerModule} */ { module }) => ATTENTION.test(module)
  element.replaceChildren(
    ...band("MLP", shard.modules.filter((module) => !isAttention(module)), shard, context),
    ...band("Attention", shard.modules.filter(isAttention), shard, context),
    ...cosineSection(shard, context),
    ...(shard.analysis ? layerAnalysis(shard.analysis, shard.layer, shard.modules.length > 0, context) : []),
  )
  attachHeatmap(element)
}

/**
 * @param {string} title
 * @param {LayerModule[]} modules
 * @param {LayerShard} shard
 * @param {Context} context
 */
function band(title, modules, shard, context) {
  if (!modules.length) return []
  const columns = modules.map((module) => moduleColumn(module, shard, context))
  return [h("section", { class: "fb-layer-band", "aria-label": title }, h("h2", {}, title), h("div", { class: "fb-layer-band__columns" }, ...columns))]
}

/**
 * @param {LayerModule} module
 * @param {LayerShard} shard
 * @param {Context} context
 */
function moduleColumn(module, shard, context) {
  const { channels, n_channels } = module
  const title = shard.modules.some((other) => other.collection !== module.collection) ? `${module.collection} ${module.module}` : module.module
  if (n_channels === 1) {
    const heading = h("h3", {}, h("a", { href: context.linkTo(channels[0].id) }, title))
    return h("article", { class: "fb-module" }, heading, labelLine(channels[0]) ?? "", ...channelBody(channels[0], shard, context))
  }
  const explorer = `${context.linkTo("explorer")}#${new URLSearchParams({ layer: `${shard.layer}..${shard.layer}`, module: module.module })}`
  return h(
    "article",
    { class: "fb-module" },
    h("h3", {}, title, " ", h("span", { class: "fb-index__size" }, plural(n_channels, "direction"))),
    ...channels.map((channel, index) => rankEntry(channel, index === 0, shard, context)),
    n_channels > channels.length && h("p", {}, h("a", { href: explorer }, `All ${count(n_channels)} in the explorer`)),
  )
}

/** What people call a direction. @param {LayerChannel} channel */
function labelLine({ label }) {
  return label ? h("p", { class: "fb-named" }, h("bdi", {}, label)) : null
}

/**
 * One direction of several; its examples are drawn when it is opened.
 * @param {LayerChannel} channel
 * @param {boolean} isOpen
 * @param {LayerShard} shard
 * @param {Context} context
 */
function rankEntry(channel, isOpen, shard, context) {
  const summary = h(
    "summary",
    {},
    h("span", { class: "fb-rank__name" }, `r${channel.rank_index}`),
    thumbnail(channel.histogram, `Distribution of ${readableId(channel.id)}`),
    h("span", { class: "fb-number" }, `${number(channel.stats.min)} … ${number(channel.stats.max)}`),
  )
  const entry = h("details", { class: "fb-rank" }, summary)
  const fill = () => {
    if (entry.childElementCount > 1) return
    entry.append(h("div", {}, h("p", {}, h("a", { href: context.linkTo(channel.id) }, readableId(channel.id))), labelLine(channel) ?? "", ...channelBody(channel, shard, context, false)))
  }
  entry.addEventListener("toggle", fill)
  if (isOpen) {
    fill()
    entry.open = true
  }
  return entry
}

/**
 * @param {LayerChannel} channel
 * @param {LayerShard} shard
 * @param {Context} context
 * @param {boolean} [hasThumbnail]
 */
function channelBody(channel, shard, context, hasThumbnail = true) {
  const { stats, histogram, write } = channel
  const distribution = `Activations of ${readableId(channel.id)}, from ${number(stats.min)} to ${number(stats.max)}, log counts`
  return [
    hasThumbnail && h("div", { class: "fb-module__histogram" }, thumbnail(histogram, distribution), rangeLine(stats)),
    examplesOf("positive", sideTitle("positive", channel), channel.top, channel, shard, context),
    channel.is_signed && examplesOf("negative", sideTitle("negative", channel), channel.bottom, channel, shard, context),
    h("details", { class: "fb-module__stats" }, h("summary", {}, "Statistics"), statList(stats, write)),
  ]
}

/** @param {import("../shards.mjs").Stats} stats */
function rangeLine(stats) {
  return h("p", { class: "fb-range-line fb-number", "aria-hidden": "true" },
    h("span", {}, number(stats.min)), h("span", {}, `${percent(stats.density)} active`), h("span", {}, number(stats.max, { sign: true })))
}

/**
 * @param {import("../shards.mjs").Stats} stats
 * @param {LayerChannel["write"]} write
 */
function statList(stats, write) {
  /** @type {[string, string][]} */
  const rows = [
    ["tokens", count(stats.n_tokens)],
    ["documents where active", count(stats.n_documents)],
    ["mean", number(stats.mean)],
    ["standard deviation", number(stats.std)],
    ["skewness", number(stats.skewness)],
    ["excess kurtosis", number(stats.kurtosis)],
    ["density", percent(stats.density)],
    ["share above 0", percent(stats.share_positive)],
    ["largest write", write.undefined ? "–" : number(write.max)],
    ["scaling", write.undefined ? "–" : number(write.scaling)],
    ["norm of the write vector", write.undefined ? "–" : number(write.write_norm)],
  ]
  if (stats.n_nonfinite) rows.splice(1, 0, ["not finite", count(stats.n_nonfinite)])
  return h("dl", { class: "fb-stat-list" }, ...rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))))
}

/**
 * What stands above the examples of a side: a channel that never has this sign shows the values nearest to it.
 * @param {"positive" | "negative"} side
 * @param {{stats: {min: number | null, max: number | null}, is_signed: boolean}} channel
 */
export function sideTitle(side, { stats, is_signed }) {
  if (!is_signed) return "Top"
  if (side === "positive") return stats.max !== null && stats.max <= 0 ? "Highest, never above 0" : "Positive"
  return stats.min !== null && stats.min >= 0 ? "Lowest, never below 0" : "Negative"
}

/**
 * @param {"positive" | "negative"} side
 * @param {string} title
 * @param {Example[]} examples
 * @param {LayerChannel} channel
 * @param {LayerShard} shard
 * @param {Context} context
 */
function examplesOf(side, title, examples, channel, shard, context) {
  if (!examples.length) return h("p", { class: `fb-side-title fb-side-title--${side}` }, `${title}: none`)
  return h(
    "div",
    { class: "fb-snippets" },
    h("h4", { class: `fb-side-title fb-side-title--${side}` }, title),
    ...foldIdentical(examples).map(({ example, others }) => snippet(example, 1 + others.length, channel, shard, context)),
  )
}

/**
 * @param {LayerShard} shard
 * @param {Context} context
 */
function cosineSection(shard, context) {
  if (!shard.cosines.length) return []
  return [
    h(
      "section",
      { class: "fb-panel", "aria-label": "Cosines" },
      h("h2", {}, "How its directions relate"),
      h("p", { class: "fb-caption" }, "Cosines between directions that live in one space, and only there. Signs are a convention: compare sizes."),
      ...shard.cosines.map((cosines) => cosinePanel(cosines, shard, context)),
    ),
  ]
}

/**
 * @param {Cosines} cosines
 * @param {LayerShard} shard
 * @param {Context} context
 */
function cosinePanel(cosines, shard, context) {
  const members = cosines.members.map(({ id, side }) => ({
    label: `${shortId(id)} ${side === "read" ? "A" : "B"}`, href: context.linkTo(id),
  }))
  const name = spaceName(cosines.space)
  const pairs = strongestPairs(cosines.values, PAIRS).map(({ first, second, value }) =>
    h("li", {}, h("span", { class: "fb-number" }, cosine(value)), " ",
      h("a", { href: members[first].href }, members[first].label), " · ", h("a", { href: members[second].href }, members[second].label)))
  const matrix = h("details", { class: "fb-fold" }, h("summary", {}, `Matrix of ${members.length} × ${members.length}`))
  const draw = () => {
    if (matrix.childElementCount > 1) return
    matrix.append(h("div", { class: "fb-scroll", tabindex: "0", role: "region", "aria-label": `Cosines: ${name}` },
      cosineMatrix(members, cosines.values, { caption: `Cosines: ${name}. A reads, B writes.` })))
  }
  matrix.addEventListener("toggle", draw)
  if (members.length <= 16) {
    draw()
    matrix.open = true
  }
  return h("section", { class: "fb-cosines" }, h("h3", {}, name), h("p", { class: "fb-caption" }, "Strongest pairs (A reads, B writes):"),
    h("ol", { class: "fb-pairs" }, ...pairs), matrix)
}

/** @param {string} id "lora/L3/q_proj/r2" -> "q_proj r2" */
function shortId(id) {
  return id.split("/").slice(2).join(" ") || readableId(id)
}

/** @param {string} space */
function spaceName(space) {
  if (space === "residual") return "In the residual stream"
  return /\.mlp$/.test(space) ? "Between the neurons of this layer’s MLP" : `In the space ${space}`
}
