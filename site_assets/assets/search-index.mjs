/** The inverted index of the site: what was typed to rows, passages and tokens, fetching a few small files. */
import { Rows } from "./search-rows.mjs"
import { asked } from "./search-words.mjs"
import { parseTyped } from "./search-typed.mjs"

/** @typedef {import("./main.mjs").Context} Context */
/**
 * @typedef {object} Head
 * @property {string[]} first  the word that each file begins with
 * @property {number} n_channels
 * @property {number} n_passages
 * @property {TokenHead} tokens
 * @property {number} rows_per_part
 * @property {number} passages_per_part
 * @property {{name: string, kind: string, n_channels: number}[]} collections
 * @property {number[]} layers
 */
/** @typedef {{bytes: string, count: number, n: number}} Brief  a token: how often it was measured, how many channels fire on it */
/**
 * @typedef {object} TokenHead
 * @property {string} first  the bytes that each file begins with, see `readBoundaries`
 * @property {number} n_tokens
 * @property {number} most  channels of a list, at most
 * @property {string[]} parts  collections of which some channels have no page
 */
/** @typedef {{words: string[], channels: string[], passages: string[], tokens: string[][]}} Leaf */
/**
 * @typedef {object} Token
 * @property {string} bytes  in hexadecimal
 * @property {number[]} token_ids
 * @property {boolean} is_special
 * @property {number} count
 * @property {number} n_firing  channels whose |mean| on it is at least their RMS
 * @property {{n_firing: number, row: number[], mean: number[]}} high  strongest first; the first n_firing as above
 * @property {{n_firing: number, row: number[], mean: number[]}} low
 * @property {{row: number[], value: number[], doc: number[], position: number[]}} peaks
 */
/**
 * @typedef {object} Passage
 * @property {number} doc
 * @property {string} doc_name
 * @property {number} start
 * @property {string[]} texts
 * @property {{id: string, position: number, value: number} | null} strongest
 */
/**
 * @typedef {object} Found
 * @property {Float32Array} scores  of each row; 0: not found
 * @property {number} nRows
 * @property {number[]} passages  numbers, in the order of the documents
 * @property {Brief[]} tokens  exact ones first
 * @property {{id: string, title: string, note: string}[]} places  layers and collections
 * @property {string[]} terms  the words that were looked for
 * @property {string[]} phrases  what stood in quotes
 */

/** Files that the end of a word may go on into. */
const OPEN_LEAVES = 3
/** Score of a word that goes on, against one that ends where the reader stopped. */
const OPEN_SCORE = 0.6
/** Tokens that are offered. */
const TOKENS = 8

export class SearchIndex {
  /** @param {Context} context */
  constructor(context) {
    this.context = context
    /** @type {Map<string, Promise<any>>} */
    this.fetched = new Map()
    /** @type {Rows | null} */
    this.rows = null
    /** @type {string[]} the bytes, in hexadecimal, that each file of tokens begins with */
    this.firstBytes = []
  }

  /** @param {string} id @returns {Promise<any>} */
  shard(id) {
    const known = this.fetched.get(id)
    if (known) return known
    const promise = this.context.fetchShard(id)
    this.fetched.set(id, promise)
    promise.catch(() => this.fetched.delete(id))
    return promise
  }

  /** @returns {Promise<Head>} */
  async head() {
    const head = await this.shard("search")
    if (!this.rows) {
      this.rows = new Rows(this.context, head.rows_per_part)
      this.firstBytes = readBoundaries(head.tokens.first)
    }
    return head
  }

  /**
   * Looks for all words and all phrases.
   * @param {string} typed
   * @returns {Promise<Found>}
   */
  async find(typed) {
    const head = await this.head()
    const { plain, phrases } = parseTyped(typed)
    const terms = asked(plain)
    const inPhrases = phrases.flatMap(({ text }) => asked(text).slice(0, 8).map(({ word }) => ({ word, isOpen: false })))
    const isAlone = phrases.length === 1 && !plain.trim()
    const [found, exact, inText, near] = await Promise.all([
      Promise.all(terms.map((term) => this.word(head, term))),
      Promise.all(phrases.map(({ bytes }) => this.token(bytes))),
      Promise.all(inPhrases.map((term) => this.word(head, term))),
      isAlone ? this.tokensFrom(phrases[0].bytes, TOKENS) : [],
    ])
    const scores = all([...found.map(({ scores }) => scores), ...exact.map((token) => rowsOf(token, head.n_channels))], head.n_channels)
    const passages = common([...found, ...inText].map(({ passages }) => passages))
    const listed = phrases.length ? [] : [...new Set(found.flatMap(({ tokens }) => tokens))].slice(0, TOKENS).map(briefOf)
    return {
      scores, passages, terms: [...terms, ...inPhrases].map(({ word }) => word), phrases: phrases.map(({ text }) => text),
      nRows: held(scores),
      tokens: near.length ? near.map(({ bytes, count, n_firing }) => ({ bytes, count, n: n_firing })) : listed, places: placesOf(head, plain),
    }
  }

  /**
   * Where one word stands, and the words that begin with it when it may go on.
   * @param {Head} head
   * @param {{word: string, isOpen: boolean}} term
   */
  async word(head, { word, isOpen }) {
    const first = Math.max(0, lastAtMost(head.first, word))
    const last = isOpen && word.length > 1 ? Math.min(Math.max(first, lastAtMost(head.first, `${word}\uffff`)), first + OPEN_LEAVES - 1) : first
    const leaves = head.first.length ? await Promise.all(range(first, last + 1).map((leaf) => this.shard(`search/words/${leaf}`))) : []
    const scores = new Float32Array(head.n_channels)
    const passages = new Uint8Array(head.n_passages)
    /** @type {string[]} */
    const tokens = []
    for (const leaf of /** @type {Leaf[]} */ (leaves)) {
      for (const [index, known] of leaf.words.entries()) {
        const isSame = known === word
        if (!isSame && !(isOpen && known.startsWith(word))) continue
        readWeighted(leaf.channels[index], (row, weight) => {
          scores[row] = Math.max(scores[row], isSame ? weight : weight * OPEN_SCORE)
        })
        readRows(leaf.passages[index], (passage) => { passages[passage] = 1 })
        if (isSame) tokens.unshift(...leaf.tokens[index])
        else tokens.push(...leaf.tokens[index])
      }
    }
    return { scores, passages, tokens }
  }

  /**
   * A token by its bytes.
   * @param {string} bytes in hexadecimal
   * @returns {Promise<Token | null>}
   */
  async token(bytes) {
    return (await this.tokensFrom(bytes, 1)).find((token) => token.bytes === bytes) ?? null
  }

  /**
   * The tokens that begin with some bytes, that one first.
   * @param {string} bytes in hexadecimal
   * @param {number} limit
   * @returns {Promise<Token[]>}
   */
  async tokensFrom(bytes, limit) {
    await this.head()
    const leaf = lastAtMost(this.firstBytes, bytes)
    const goesOn = limit > 1 && this.firstBytes[leaf + 1]?.startsWith(bytes)
    const leaves = await Promise.all(range(Math.max(leaf, 0), leaf + (goesOn ? 2 : 1)).map((n) => this.shard(`search/tokens/${n}`)))
    return leaves.flatMap(({ tokens }) => tokens).filter((token) => token.bytes.startsWith(bytes)).slice(0, limit)
  }

  /**
   * @param {number[]} numbers
   * @returns {Promise<Passage[]>}
   */
  async passages(numbers) {
    const { passages_per_part } = await this.head()
    return Promise.all(numbers.map(async (n) =>
      (await this.shard(`search/passages/${Math.floor(n / passages_per_part)}`)).passages[n % passages_per_part]))
  }
}

/**
 * The rows of highest score, best first, equal ones in the order of the table.
 * @param {Float32Array} scores
 * @param {number} limit
 * @returns {number[]}
 */
export function best(scores, limit) {
  /** @type {number[]} */
  const kept = []
  for (let row = 0; row < scores.length; row++) {
    if (!(scores[row] > 0) || (kept.length === limit && scores[row] <= scores[kept[limit - 1]])) continue
    let place = kept.length
    while (place > 0 && scores[kept[place - 1]] < scores[row]) place--
    kept.splice(place, 0, row)
    kept.length = Math.min(kept.length, limit)
  }
  return kept
}

/**
 * Ascending rows as postings.py writes them.
 * @param {string} text "0-3,7"
 * @param {(row: number) => void} take
 */
export function readRows(text, take) {
  let after = 0
  if (!text) return
  for (const part of text.split(",")) {
    const dash = part.indexOf("-")
    const first = after + parseInt(part, 36)
    after = first + (dash < 0 ? 1 : parseInt(part.slice(dash + 1), 36))
    for (let row = first; row < after; row++) take(row)
  }
}

/**
 * @param {string} text "9:0-3;2:7"
 * @param {(row: number, weight: number) => void} take
 */
export function readWeighted(text, take) {
  if (!text) return
  for (const group of text.split(";")) {
    const at = group.indexOf(":"), weight = Number(group.slice(0, at))
    readRows(group.slice(at + 1), (row) => take(row, weight))
  }
}

/**
 * What each of some sorted files begins with, as postings.py writes it.
 * @param {string} text "0 0a6 171"
 */
export function readBoundaries(text) {
  let held = ""
  return text ? text.split(" ").map((part) => (held = held.slice(0, parseInt(part[0], 36)) + part.slice(1))) : []
}

/**
 * The last place whose entry is not beyond a key, or −1.
 * @param {string[]} sorted
 * @param {string} key
 */
export function lastAtMost(sorted, key) {
  let low = 0, high = sorted.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (sorted[middle] <= key) low = middle + 1
    else high = middle
  }
  return low - 1
}

/** @param {string} entry "2057:17:3" @returns {Brief} */
function briefOf(entry) {
  const [bytes, count, n] = entry.split(":")
  return { bytes, count: Number(count), n: Number(n) }
}

/** @param {number} first @param {number} stop */
function range(first, stop) {
  return Array.from({ length: stop - first }, (_, index) => first + index)
}

/**
 * Rows that every list holds, with the sum of their scores.
 * @param {Float32Array[]} lists
 * @param {number} n
 */
function all(lists, n) {
  if (lists.length === 1) return lists[0]
  const sum = new Float32Array(n)
  if (!lists.length) return sum
  for (let row = 0; row < n; row++) {
    let total = 0, isEverywhere = true
    for (const list of lists) {
      if (!(list[row] > 0)) { isEverywhere = false; break }
      total += list[row]
    }
    if (isEverywhere) sum[row] = total
  }
  return sum
}

/** How many rows have a score. @param {Float32Array} scores */
function held(scores) {
  let n = 0
  for (let row = 0; row < scores.length; row++) if (scores[row] > 0) n++
  return n
}

/** @param {Uint8Array[]} lists @returns {number[]} */
function common(lists) {
  /** @type {number[]} */
  const found = []
  lists[0]?.forEach((_, n) => { if (lists.every((list) => list[n])) found.push(n) })
  return found
}

/**
 * The channels whose |mean| on a token is at least their RMS; the stronger, the higher their score, from 2 down to 1.
 * @param {Token | null} token
 * @param {number} n
 */
function rowsOf(token, n) {
  const scores = new Float32Array(n)
  if (token) for (const { row, n_firing } of [token.low, token.high]) row.slice(0, n_firing).forEach((at, place) => { scores[at] = 2 - place / n_firing })
  return scores
}

/**
 * Layers and collections that the words name.
 * @param {Head} head
 * @param {string} plain
 */
function placesOf(head, plain) {
  const word = plain.trim().toLowerCase()
  if (!word) return []
  const layer = /^(?:layer |l)(\d+)$/.exec(word)?.[1]
  const layers = layer !== undefined && head.layers.includes(Number(layer)) ? [Number(layer)] : []
  return [
    ...layers.map((n) => ({ id: `layer/${n}`, title: `Layer ${n}`, note: "layer" })),
    ...head.collections.filter(({ name }) => name.toLowerCase().startsWith(word))
      .map(({ name, n_channels }) => ({ id: name, title: name, note: `collection of ${n_channels.toLocaleString("en")}` })),
  ]
}
