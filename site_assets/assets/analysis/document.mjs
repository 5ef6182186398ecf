/** What the analysis adds to a document's page: KL of base and adapted model as a channel, and what comes next at each token. */
import { h, table } from "../elements.mjs"
import { visible } from "../heatmap/tokens.mjs"
import { percent } from "../numbers.mjs"
import { entryText } from "./reading.mjs"

/** @typedef {import("../main.mjs").Context} Context */
/** @typedef {import("../reading.mjs").DocumentShard} DocumentShard */
/** @typedef {{at: (token: number) => HTMLElement | null}} NextTokens */

/** The id under which the KL can be chosen; it has no page. */
export const KL = "KL(base ‖ adapted)"
/** Steps of a channel's largest value (docs/shards.md). */
const STEPS = 1000
/** Tokens listed per variant. */
const LISTED = 5

/**
 * Adds the KL to the channels that can be drawn into a text.
 * @param {{shard: DocumentShard, groups: import("../heatmap/tokens.mjs").Group[], order: {channel: number, value: number}[], peaks: Map<number, number>, values: Map<number, Float64Array>}} reader
 */
export function withDivergence(reader) {
  const kl = reader.shard.divergence?.base_adapted
  if (!kl) return
  const largest = kl.reduce((a, b) => Math.max(a, b), 0)
  const channel = reader.shard.channels.length
  reader.shard = { ...reader.shard, channels: [...reader.shard.channels, { id: KL, has_page: false, is_signed: false, scale: largest / STEPS, reference_rms: 0, max_here: largest }] }
  reader.order = [...reader.order.slice(0, 3), { channel, value: largest }, ...reader.order.slice(3)]
  reader.peaks.set(channel, largest)
  reader.values.set(channel, Float64Array.from(reader.groups, ({ first, end }) => kl.slice(first, end).reduce((a, b) => Math.max(a, b), 0)))
}

/**
 * The predictions after each token of an analysed text, fetched once; null where the text was not analysed.
 * @param {DocumentShard} shard
 * @param {Context} context
 * @returns {Promise<NextTokens | null>}
 */
export async function nextTokens({ analysed }, context) {
  if (!analysed) return null
  const text = await context.fetchShard(analysed).catch(() => null)
  if (!text || text.predictions.kind !== "next") return null
  const { predictions, model } = text
  return {
    at: (token) => {
      const place = predictions.positions.indexOf(token)
      if (place < 0) return null
      const variants = model.variants.filter((/** @type {string} */ variant) => predictions[variant])
      return h("section", { class: "fb-next-tokens" }, h("h3", {}, "What comes next"), ...variants.map((/** @type {string} */ variant) =>
        table(`What comes next: ${variant}`, [variant, ""], predictions[variant].tokens[place].slice(0, LISTED).map((/** @type {number} */ entry, /** @type {number} */ rank) =>
          [h("bdi", { class: "fb-text", translate: "no" }, visible(entryText(text, entry))), percent(predictions[variant].probability[place][rank])]))))
    },
  }
}
