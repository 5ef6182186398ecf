import { histogramChart } from "../chart.mjs"
import { h, table } from "../elements.mjs"
import { visible } from "../heatmap/tokens.mjs"
import { number } from "../numbers.mjs"

/** @typedef {import("../shards.mjs").ChannelShard} ChannelShard */
/** @typedef {{text: number[], value: number[]}} Tokens */
/** @typedef {{top: Tokens, bottom: Tokens, histogram: {low: number, high: number, counts: number[]}, divisor: number | null, note: string}} Logits */

const SIDES = /** @type {const} */ ([["top", "Raises"], ["bottom", "Lowers"]])

/**
 * @param {string} title
 * @param {Tokens} tokens
 * @param {ChannelShard} shard
 * @param {number} largest  the activation of largest size
 */
function list(title, { text, value }, shard, largest) {
  const rows = text.map((place, index) => [
    h("bdi", { class: "fb-text", title: `id ${shard.token_ids[place]}` }, visible(shard.tokens[place])),
    number(value[index], { sign: true }), number(value[index] * largest, { sign: true }),
  ])
  return h("section", {}, h("h3", {}, title), h("div", { class: "fb-table-box" },
    table(`${title}: effects on logits`, ["token", "per unit", `at ${number(largest, { sign: true })}`], rows)))
}

/** The measured activation of largest size, with its sign. @param {ChannelShard} shard */
export function largestOf({ stats: { min, max } }) {
  return Math.abs(min ?? 0) > Math.abs(max ?? 0) ? (min ?? 0) : (max ?? 0)
}

/** @type {import("../panels.mjs").Panel} */
export const panel = {
  title: "Effects on the logits",
  caption: "What a unit of activation adds to each token’s logit on the straight way out, and what the largest measured activation adds: final norm’s gain folded in, centred over the vocabulary. Later layers may do otherwise.",
  anchor: "logit-effects",
  draw: (shard) => {
    const { histogram: { low, high, counts }, note, divisor, ...sides } = /** @type {Logits} */ (/** @type {any} */ (shard).logits)
    const edges = Array.from({ length: counts.length + 1 }, (_, bin) => low + ((high - low) * bin) / counts.length)
    const sign = shard.is_signed ? " A negative activation turns all signs around." : ""
    return h("div", {},
      h("p", { class: "fb-note" }, `${note} Divided by the final norm’s typical divisor, ${number(divisor)}.${sign}`),
      h("div", { class: "fb-grid fb-grid--logits" },
        ...SIDES.map(([side, title]) => list(title, sides[side], shard, largestOf(shard))),
        h("section", {}, h("h3", {}, "The whole vocabulary"), histogramChart({ edges, counts }, { title: "Effects per unit of activation", across: "effect per unit" }))))
  },
}
