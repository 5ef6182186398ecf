/** A document as text to read: paragraphs, the values of a channel over it, and the way back from a selection on the
 * screen to the exact source. Pure functions; pages/document.mjs draws what they find. */
import { groupTokens, pieces } from "./heatmap/tokens.mjs"

/** @typedef {import("./heatmap/tokens.mjs").Group} Group */

/**
 * @typedef {object} DocumentChannel
 * @property {string} id
 * @property {boolean} has_page
 * @property {boolean} is_signed
 * @property {number} scale
 * @property {number} reference_rms
 * @property {number} max_here
 */
/**
 * @typedef {object} DocumentShard
 * @property {string} id
 * @property {number} doc
 * @property {string} name
 * @property {Record<string, unknown>} metadata
 * @property {number} n_tokens
 * @property {string[]} tokens
 * @property {number[]} special
 * @property {number[]} token_ids
 * @property {number[]} text
 * @property {number[]} is_measured  1 or 0 per token
 * @property {DocumentChannel[]} channels  strongest here first
 * @property {{channel: number[][], value: (number | null)[][], rarity: number[][]}} strongest
 * @property {Record<string, {at: number[], change: number[]}>} [effects]  by channel: what ablating it does to log p of the next token
 * @property {{base_adapted: number[], adapted_base: number[], surprise_change: (number | null)[]}} [divergence]
 * @property {string} [analysed]  id of the page on which the text is analysed
 */

/** @typedef {"value" | "rarity" | "effect"} Ranking */
/** @typedef {{channel: number, value: number | null, ratio: number | null, share: number, change: number | null}} Firing */

/** Tokens that a paragraph has at least, where the text has line breaks at all. */
const SHORTEST_BLOCK = 60
/** Quantised steps of a channel's largest |activation| (docs/shards.md). */
const STEPS = 1000
/** Tokens that are coloured in one go. */
const LONGEST_RUN = 400

/**
 * The display groups of a document.
 * @param {DocumentShard} shard
 * @returns {Group[]}
 */
export function groupsOf(shard) {
  const special = new Set(shard.special)
  return groupTokens({
    display: shard.text.map((index) => shard.tokens[index]),
    tokenIds: shard.text.map((index) => shard.token_ids[index]),
    values: shard.text.map(() => null),
    isSpecial: shard.text.map((index) => special.has(index)),
    start: 0, target: -1, precision: 0, source: shard.name,
  })
}

/**
 * What is shown of a text: itself, with characters that cannot be seen as labels in brackets.
 * @param {string} text
 */
export function shownText(text) {
  return pieces(text).map((piece) => (piece.kind === "chip" ? piece.label : piece.text)).join("")
}

/**
 * Paragraphs: cut after line breaks, each of some length; inside them runs that are coloured together.
 * @param {Group[]} groups
 * @returns {[first: number, end: number][][]}  paragraphs of runs of groups
 */
export function paragraphsOf(groups) {
  const paragraphs = []
  let first = 0
  for (let end = 1; end <= groups.length; end++) {
    const isBreak = groups[end - 1].text.endsWith("\n") && end - first >= SHORTEST_BLOCK
    if (!isBreak && end < groups.length) continue
    paragraphs.push(runsOf(first, end))
    first = end
  }
  return paragraphs
}

/** @param {number} first @param {number} end @returns {[number, number][]} */
function runsOf(first, end) {
  /** @type {[number, number][]} */
  const runs = []
  for (let at = first; at < end; at += LONGEST_RUN) runs.push([at, Math.min(end, at + LONGEST_RUN)])
  return runs
}

/**
 * The activations of one channel at every group: the member of largest |activation|. NaN where the channel is not
 * among the strongest that were kept.
 * @param {DocumentShard} shard
 * @param {Group[]} groups
 * @param {number} channel  index into the shard's channels
 * @returns {Float64Array}
 */
export function valuesOf(shard, groups, channel) {
  const { scale } = shard.channels[channel]
  return Float64Array.from(groups, ({ first, end }) => {
    let strongest = NaN
    for (let token = first; token < end; token++) {
      const place = shard.strongest.channel[token].indexOf(channel)
      const step = place < 0 ? null : shard.strongest.value[token][place]
      if (step === null) continue
      const value = step * scale
      if (!(Math.abs(value) <= Math.abs(strongest))) strongest = value
    }
    return strongest
  })
}

/**
 * The largest |activation| of a channel in the whole corpus, from its unit.
 * @param {{scale: number}} channel
 */
export function maximumOf(channel) {
  return channel.scale * STEPS
}

/**
 * What fires at a token: by |value| over RMS, by how few tokens of the corpus are as strong, or by what ablating it does to the
 * next token. What has no effect measured comes last.
 * @param {DocumentShard} shard
 * @param {number} token
 * @param {Ranking} [ranking]
 * @returns {Firing[]}  ratio: |value| / reference RMS; share: of measured tokens at least as strong
 */
export function firingAt(shard, token, ranking = "value") {
  const found = shard.strongest.channel[token].flatMap((channel, place) => {
    if (channel < 0) return []
    const { scale, reference_rms } = shard.channels[channel]
    const step = shard.strongest.value[token][place]
    const value = step === null ? null : step * scale
    const effect = shard.effects?.[channel]
    const at = effect ? effect.at.indexOf(token) : -1
    return [{
      channel, value, ratio: value === null || !(reference_rms > 0) ? null : Math.abs(value) / reference_rms,
      share: 10 ** (-shard.strongest.rarity[token][place] / 10), change: effect && at >= 0 ? effect.change[at] : null,
    }]
  })
  if (ranking === "rarity") return found.sort((a, b) => a.share - b.share)
  const size = (/** @type {Firing} */ { change }) => (change === null ? -1 : Math.abs(change))
  return ranking === "effect" ? found.sort((a, b) => size(b) - size(a)) : found
}

/**
 * The channels of a document, one of each collection at a time, by their largest |activation| / reference RMS at the tokens that were measured (special
 * tokens mostly are not, and would come first in every document).
 * @param {DocumentShard} shard
 * @returns {{channel: number, value: number}[]}  strongest first, with its activation there
 */
export function strongestHere(shard) {
  const values = new Float64Array(shard.channels.length)
  for (const [token, channels] of shard.strongest.channel.entries()) {
    if (!shard.is_measured[token]) continue
    for (const [place, channel] of channels.entries()) {
      const value = (shard.strongest.value[token][place] ?? 0) * (shard.channels[channel]?.scale ?? 0)
      if (Math.abs(value) > Math.abs(values[channel])) values[channel] = value
    }
  }
  const ratio = (/** @type {number} */ channel) => Math.abs(values[channel]) / (shard.channels[channel].reference_rms || 1)
  const ordered = Array.from(values, (value, channel) => ({ channel, value }))
    .sort((a, b) => ratio(b.channel) - ratio(a.channel) || a.channel - b.channel)
  return inTurn(ordered, ({ channel }) => shard.channels[channel].id.split("/")[0])
}

/**
 * One of each kind at a time, in the order in which the kinds first come: collections are not compared, since what is
 * mostly silent has a small RMS.
 * @template T
 * @param {T[]} ordered
 * @param {(one: T) => string} kindOf
 * @returns {T[]}
 */
export function inTurn(ordered, kindOf) {
  const groups = [...new Set(ordered.map(kindOf))].map((kind) => ordered.filter((one) => kindOf(one) === kind))
  const longest = Math.max(0, ...groups.map((group) => group.length))
  return Array.from({ length: longest }, (_, place) => groups.flatMap((group) => group.slice(place, place + 1))).flat()
}

/**
 * The strongest value of each part of the text, for the minimap.
 * @param {Float64Array} values  per group, NaN for none
 * @param {number} nBins
 * @returns {{value: number, group: number}[]}  group: where it stands; value 0 where there is none
 */
export function minimapOf(values, nBins) {
  const n = Math.min(nBins, values.length)
  return Array.from({ length: n }, (_, bin) => {
    const first = Math.floor((bin * values.length) / n), end = Math.floor(((bin + 1) * values.length) / n)
    let group = first
    for (let at = first; at < end; at++) if (Math.abs(values[at] || 0) > Math.abs(values[group] || 0)) group = at
    return { value: values[group] || 0, group }
  })
}

/** From what stands on the screen to the source and back. */
export class Source {
  /** @param {Group[]} groups */
  constructor(groups) {
    this.groups = groups
    /** @type {Map<string, string>} most tokens occur many times */
    const known = new Map()
    this.shown = groups.map(({ text }) => {
      const shown = known.get(text) ?? shownText(text)
      known.set(text, shown)
      return shown
    })
    this.offsets = new Uint32Array(groups.length + 1)
    for (const [index, text] of this.shown.entries()) this.offsets[index + 1] = this.offsets[index] + text.length
  }

  /**
   * The group at a place of the shown text.
   * @param {number} offset
   * @returns {number}
   */
  groupAt(offset) {
    let low = 0, high = this.groups.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.offsets[middle + 1] <= offset) low = middle + 1
      else high = middle
    }
    return low
  }

  /**
   * The source of a part of the shown text. A group in which something is shown by a label is taken whole.
   * @param {number} from
   * @param {number} to  offsets in the shown text
   * @returns {string}
   */
  between(from, to) {
    let text = ""
    for (let group = this.groupAt(from); group < this.groups.length && this.offsets[group] < to; group++) {
      const source = this.groups[group].text
      text += this.shown[group] === source
        ? source.slice(Math.max(0, from - this.offsets[group]), to - this.offsets[group]) : source
    }
    return text
  }
}
