/** The page of one channel: its examples, its statistics, and the panels that its shard holds; of a dead latent, the panels alone. */
import { folded, h, table } from "../elements.mjs"
import { count, number, percent } from "../numbers.mjs"
import { histogramChart } from "../chart.mjs"
import { Brush } from "../brush.mjs"
import { offerCompare } from "../compare-tray.mjs"
import { copyFrom } from "../examples.mjs"
import { ExampleView } from "../example-view.mjs"
import { drawPanelsBelow, drawPanelsBeside } from "../panels.mjs"

/** @typedef {import("../shards.mjs").ChannelShard} ChannelShard */
/** @typedef {import("../main.mjs").Context} Context */
/**
 * @param {HTMLElement} element
 * @param {ChannelShard} shard
 * @param {Context} context
 */
export async function mount(element, shard, context) {
  const slot = (/** @type {string} */ name) =>
    /** @type {HTMLElement} */ (element.querySelector(`[data-slot="${name}"]`))
  if (shard.is_dead) return drawPanelsBelow(slot("panels"), shard, context)
  const examples = new ExampleView(slot("examples"), shard, context)
  if (shard.histogram.counts.length) {
    const chart = histogramChart(shard.histogram, { title: "Histogram of activations" })
    slot("histogram").replaceWith(chart)
    examples.connect(new Brush(chart, shard.histogram.edges, { onRange: (range) => examples.keep(range), onBin: (bin) => examples.light(bin) }))
  }
  slot("stats").replaceChildren(...statRows(shard))
  slot("quantiles").replaceChildren(quantileTable(shard.stats, context))
  drawPanelsBeside(slot("tokens"), shard, context)
  connectCopyLink()
  void offerCompare(shard.id, context)
  const below = drawPanelsBelow(slot("panels"), shard, context)
  if (document.documentElement.classList.contains("fb-embed")) await below // one of them may be all that is wanted
}

/**
 * The same rows that the static page shows (channel.html).
 * @param {ChannelShard} shard
 * @returns {HTMLElement[]}
 */
function statRows({ stats, write }) {
  const rows = [
    ["tokens", count(stats.n_tokens)],
    ["active", percent(stats.density), `share of tokens with |activation| above ${number(stats.threshold)}`],
    ["mean", number(stats.mean)],
    ["std", number(stats.std)],
    ["skewness", number(stats.skewness)],
    ["kurtosis", number(stats.kurtosis)],
    ["min", number(stats.min)],
    ["max", number(stats.max)],
    ["documents", count(stats.n_documents)],
    ["largest write", write && "max" in write ? number(write.max) : "–", "scaling · max|activation| · ‖write vector‖"],
    ...(stats.n_nonfinite ? [["not finite", count(stats.n_nonfinite)]] : []),
  ]
  return rows.map(([name, value, title]) => h("div", { title }, h("dt", {}, name), h("dd", {}, value)))
}

/**
 * The quantiles, folded.
 * @param {import("../shards.mjs").Stats} stats
 * @param {Context} context
 */
function quantileTable({ quantiles }, context) {
  const rows = () =>
    Object.entries(quantiles)
      .sort(([a], [b]) => Number(a) - Number(b))
      .map(([level, value]) => [`${Number((Number(level) * 100).toPrecision(6))} %`, number(value)])
  return folded("Quantiles and definitions", () => [
    h("p", { class: "fb-note" }, h("a", { href: `${context.root}statistics/` }, "What these numbers mean")),
    table("Quantiles", ["tokens below", "activation"], rows()),
  ])
}

/** The button of the static page head. */
function connectCopyLink() {
  const button = /** @type {HTMLElement | null} */ (document.querySelector('[data-action="copy-link"]'))
  if (!button || button.dataset.isConnected) return
  button.dataset.isConnected = "true"
  button.addEventListener("click", () => void copyFrom(button, "Copy link", location.href))
}
