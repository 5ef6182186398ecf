/** What two to four channels have in common, from their values on the documents that all channels share. Pure functions. */
import { offsetsOf } from "./values.mjs"

/** @typedef {import("./shards.mjs").ChannelShard} ChannelShard */
/** @typedef {import("./shards.mjs").Example} Example */
/** @typedef {import("./values.mjs").Shared} Shared */
/** @typedef {import("./values.mjs").ValuesShard} ValuesShard */
/**
 * @typedef {object} Row  one passage on which the channels stand side by side
 * @property {Example} example  with the text
 * @property {string} from  id of the channel whose example it is
 * @property {(number | null)[][]} values  per channel and token; null where not known
 * @property {(number | null)[]} peaks  per channel: the known value of largest size
 * @property {boolean} isWhole  whether every value is known
 */

/** Groups of examples that are compared, and how many of each. */
const GROUPS = ["top", "bottom"]
const PER_GROUP = 12
/** Tokens on either side of a place of a shared document. */
const REACH = 20

/**
 * Pearson's correlation over the measured tokens at which both values are finite.
 * @param {Float32Array} a
 * @param {Float32Array} b
 * @param {Set<number>} left  places that do not count
 * @returns {{value: number | null, n: number}}
 */
export function correlation(a, b, left) {
  let n = 0, meanA = 0, meanB = 0, sumA = 0, sumB = 0, both = 0
  for (let at = 0; at < a.length; at++) {
    if (left.has(at) || !Number.isFinite(a[at]) || !Number.isFinite(b[at])) continue
    n++
    const [stepA, stepB] = [a[at] - meanA, b[at] - meanB]
    meanA += stepA / n
    meanB += stepB / n
    sumA += stepA * (a[at] - meanA)
    sumB += stepB * (b[at] - meanB)
    both += stepA * (b[at] - meanB)
  }
  return { value: sumA > 0 && sumB > 0 ? both / Math.sqrt(sumA * sumB) : null, n }
}

/**
 * Per document the value of largest size, or the mean, over its measured tokens.
 * @param {Float32Array} values
 * @param {Shared} shared
 * @param {"peak" | "mean"} kind
 * @returns {(number | null)[]}
 */
export function byDocument(values, shared, kind) {
  const left = new Set(shared.unmeasured)
  const offsets = offsetsOf(shared)
  return shared.documents.map((_, doc) => {
    let n = 0, sum = 0, peak = 0
    for (let at = offsets[doc]; at < offsets[doc + 1]; at++) {
      if (left.has(at) || !Number.isFinite(values[at])) continue
      n++
      sum += values[at]
      if (Math.abs(values[at]) > Math.abs(peak)) peak = values[at]
    }
    return n ? (kind === "mean" ? sum / n : peak) : null
  })
}

/**
 * The cosine of the vectors of two channels on either side, where both stand in one space; else null.
 * @param {ValuesShard} a
 * @param {string} b  id
 * @param {Shared} shared
 * @param {"read" | "write"} side  of a
 * @param {"read" | "write"} other  of b
 * @returns {{value: number, space: string} | null}
 */
export function cosineOf(a, b, shared, side, other) {
  for (const row of a.cosines) {
    if (row.side !== side) continue
    const { members, space } = shared.spaces[row.space]
    const place = members.findIndex(([id, its]) => id === b && its === other)
    const value = place < 0 ? null : row.thousandths[place]
    if (value !== null) return { value: value / 1000, space }
  }
  return null
}

/**
 * Where the channels are strongest in the shared documents, at most `limit` places each, one per document.
 * @param {(Float32Array | null)[]} values
 * @param {Shared} shared
 * @param {number} limit
 * @returns {{doc: string, position: number, channel: number}[]}  channel: index; the same place only once
 */
export function peaksOf(values, shared, limit) {
  const left = new Set(shared.unmeasured)
  const offsets = offsetsOf(shared)
  /** @type {{doc: string, position: number, channel: number}[]} */
  const peaks = []
  values.forEach((all, channel) => {
    if (!all) return
    const found = shared.documents.map(({ id, has_page }, doc) => {
      let best = offsets[doc]
      for (let at = best; at < offsets[doc + 1]; at++) if (!left.has(at) && Math.abs(all[at]) > Math.abs(left.has(best) ? 0 : all[best])) best = at
      return { doc: id, has_page, position: best - offsets[doc], channel, size: Math.abs(all[best]) }
    })
    const strongest = found.filter(({ size, has_page }) => size > 0 && has_page).sort((a, b) => b.size - a.size).slice(0, limit)
    for (const { doc, position } of strongest)
      if (!peaks.some((one) => one.doc === doc && Math.abs(one.position - position) <= 2)) peaks.push({ doc, position, channel })
  })
  return peaks
}

/**
 * A place of a document as an example of a channel, with as much text around it as examples have.
 * @param {any} text  the document's shard
 * @param {number} position
 * @returns {any}
 */
export function passageOf(text, position) {
  const start = Math.max(0, position - REACH)
  const end = Math.min(text.n_tokens, position + REACH + 1)
  const indices = text.text.slice(start, end)
  const special = new Set(text.special)
  return {
    group: "shared", doc: text.doc, doc_name: text.name, has_page: true, position, start, value: 0, text: indices,
    token_ids: indices.map((/** @type {number} */ index) => text.token_ids[index]),
    values: indices.map(() => null),
    display: indices.map((/** @type {number} */ index) => text.tokens[index]),
    isSpecial: indices.map((/** @type {number} */ index) => special.has(index)),
  }
}

/**
 * The passages to compare: places of the shared documents, then the strongest examples of every channel, a passage only once.
 * Those come first that are known to all channels, then those at which the second strongest channel is strongest, in units of
 * each channel's maximum.
 * @param {ChannelShard[]} channels
 * @param {(Float32Array | null)[]} values  on the shared documents
 * @param {Shared} shared
 * @param {{passage: any, from: string}[]} passages  of shared documents
 * @returns {Row[]}
 */
export function rowsOf(channels, values, shared, passages = []) {
  const rows = passages.map(({ passage, from }) => rowOf(passage, from, channels, values, shared))
  for (const channel of channels)
    for (const example of strongest(channel)) {
      const isSeen = rows.some((row) => row.example.doc === example.doc && Math.abs(row.example.position - example.position) <= 2)
      if (!isSeen) rows.push(rowOf(tokenised(example, channel), channel.id, channels, values, shared))
    }
  return rows.toSorted((a, b) => Number(b.isWhole) - Number(a.isWhole) || together(b, channels) - together(a, channels))
}

/** @param {ChannelShard} channel @returns {Example[]} */
function strongest(channel) {
  return GROUPS.flatMap((group) => channel.examples.filter((example) => example.group === group).slice(0, PER_GROUP))
}

/**
 * @param {any} example  with its text as strings
 * @param {string} from
 * @param {ChannelShard[]} channels
 * @param {(Float32Array | null)[]} values
 * @param {Shared} shared
 * @returns {Row}
 */
function rowOf(example, from, channels, values, shared) {
  const place = shared.documents.findIndex(({ id }) => id === `doc/${example.doc}`)
  const offset = place < 0 ? -1 : offsetsOf(shared)[place] + example.start
  const known = channels.map((channel, index) => {
    const all = values[index]
    // the channel's own windows hold more digits than its values on the shared documents
    const own = windowsOf(channel, example)
    return example.values.map((/** @type {unknown} */ _, /** @type {number} */ token) => own[token] ?? (all && offset >= 0 ? finite(all[offset + token]) : null))
  })
  return {
    example,
    from,
    values: known,
    peaks: known.map(peakOf),
    isWhole: offset >= 0 && values.every((one) => one !== null),
  }
}

/**
 * The values of a channel in a window, as far as the windows of its own examples reach.
 * @param {ChannelShard} channel
 * @param {Example} window
 */
function windowsOf(channel, window) {
  /** @type {(number | null)[]} */
  const found = window.values.map(() => null)
  for (const example of channel.examples) {
    if (example.doc !== window.doc) continue
    example.values.forEach((step, index) => {
      const token = example.start + index - window.start
      if (token >= 0 && token < found.length && step !== null) found[token] = step * channel.scale
    })
  }
  return found
}

/** An example whose text stands as strings, apart from its shard. @param {Example} example @param {ChannelShard} shard @returns {any} */
function tokenised(example, shard) {
  const special = new Set(shard.special)
  return { ...example, display: example.text.map((index) => shard.tokens[index]), isSpecial: example.text.map((index) => special.has(index)) }
}

/** @param {number} value */
function finite(value) {
  return Number.isFinite(value) ? value : null
}

/** @param {(number | null)[]} values @returns {number | null} */
function peakOf(values) {
  const known = /** @type {number[]} */ (values.filter((value) => value !== null))
  return known.length ? known.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a)) : null
}

/** How strong the second strongest channel is. @param {Row} row @param {ChannelShard[]} channels */
function together({ peaks }, channels) {
  const shares = peaks.map((peak, index) => Math.abs(peak ?? 0) / (maximumOf(channels[index]) || 1)).sort((a, b) => b - a)
  return shares[1] + shares[0] / 1000
}

/** The largest measured |activation|. @param {ChannelShard} channel */
export function maximumOf({ stats, scale, steps }) {
  return Math.max(Math.abs(stats.max ?? 0), Math.abs(stats.min ?? 0)) || scale * steps
}

/**
 * A row as a run of tokens of one of its channels.
 * @param {Row} row
 * @param {number} index  of the channel
 * @param {ChannelShard} channel
 * @returns {import("./heatmap/tokens.mjs").Strip}
 */
export function stripOf(row, index, channel) {
  const example = /** @type {any} */ (row.example)
  return {
    display: example.display,
    tokenIds: example.token_ids,
    values: row.values[index],
    isSpecial: example.isSpecial,
    start: example.start,
    target: example.position - example.start,
    precision: row.isWhole ? maximumOf(channel) / 254 : channel.scale / 2,
    source: example.doc_name,
  }
}
