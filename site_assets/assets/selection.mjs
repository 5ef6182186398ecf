// Which channels the explorer shows, in which order: pure functions over column arrays.
// Rows are numbers (indices into the columns); no object is made per channel.

/**
 * @typedef {Object} ExplorerColumns
 * @property {string[]} id
 * @property {(number | null)[]} layer
 * @property {string[]} module
 * @property {number[]} rank_index
 * @property {number[]} is_dead  1 for a latent that was active at no token
 * @property {string[]} collection
 * @property {string[]} kind
 * @property {(number | null)[]} density share of tokens with |activation| above the channel's threshold
 * @property {(number | null)[]} mean
 * @property {(number | null)[]} std
 * @property {(number | null)[]} skewness
 * @property {(number | null)[]} kurtosis
 * @property {(number | null)[]} min
 * @property {(number | null)[]} max
 * @property {(number | null)[]} max_write
 * @property {string[][]} top_tokens
 * @property {string[][]} bottom_tokens
 * @property {number[][]} histogram  counts of up to 32 bins of equal width
 * @property {(number | null)[]} histogram_low  left end of the first bin
 * @property {(number | null)[]} histogram_high  right end of the last bin
 */

/** @typedef {[low: number | null, high: number | null]} Range both ends belong to it; null is open */

/**
 * @typedef {Object} View what the address of the page says
 * @property {string} q words and "quoted phrases"
 * @property {string[]} collection none chosen = all
 * @property {string[]} module
 * @property {boolean} dead  whether dead latents are listed
 * @property {Range} layer
 * @property {Range} density as a share, 0 to 1
 * @property {Range} peak of the largest |activation|
 * @property {{column: string, descending: boolean}[]} sort first key first
 */

/** Columns that sort by number, and how a row's number is found. */
export const NUMERIC = /** @type {const} */ ([
  "layer", "density", "mean", "std", "skewness", "kurtosis", "min", "max", "max_write", "peak",
])

/** Columns that sort by text. */
export const TEXTUAL = /** @type {const} */ (["module", "collection"])

/** Every key that `sort=` understands; `id` is the order of the channel table (layer, module, rank). */
export const SORTABLE = ["id", ...TEXTUAL, ...NUMERIC]

/** @returns {View} all channels but dead latents, in the order of the channel table */
export function everything() {
  return {
    q: "", collection: [], module: [], dead: false,
    layer: [null, null], density: [null, null], peak: [null, null], sort: [],
  }
}

/**
 * Reads a view from the hash of the address; what it does not understand is left out.
 * @param {string} hash with or without the "#"
 * @returns {View}
 */
export function parseView(hash) {
  const words = new URLSearchParams(hash.replace(/^#/, ""))
  const view = everything()
  view.q = words.get("q") ?? ""
  view.collection = words.getAll("collection")
  view.module = words.getAll("module")
  view.dead = words.get("dead") === "1"
  for (const key of /** @type {const} */ (["layer", "density", "peak"])) view[key] = parseRange(words.get(key))
  view.sort = (words.get("sort") ?? "").split(",").filter(Boolean).map((key) => ({
    column: key.replace(/^-/, ""), descending: key.startsWith("-"),
  })).filter(({ column }) => SORTABLE.includes(column))
  return view
}

/**
 * The hash that `parseView` reads back; empty for everything.
 * @param {View} view
 * @returns {string} "q=wait&layer=3..5&sort=-max", without the "#"
 */
export function formatView(view) {
  const words = new URLSearchParams()
  if (view.q) words.set("q", view.q)
  for (const name of view.collection) words.append("collection", name)
  for (const name of view.module) words.append("module", name)
  if (view.dead) words.set("dead", "1")
  for (const key of /** @type {const} */ (["layer", "density", "peak"])) {
    const [low, high] = view[key]
    if (low !== null || high !== null) words.set(key, `${low ?? ""}..${high ?? ""}`)
  }
  const sort = view.sort.map(({ column, descending }) => (descending ? "-" : "") + column).join(",")
  if (sort) words.set("sort", sort)
  return words.toString()
}

/**
 * @param {string | null} text "3..5", "3..", "..5" or "3"
 * @returns {Range}
 */
export function parseRange(text) {
  if (!text) return [null, null]
  const [low, high = low] = text.split("..")
  return [toNumber(low), toNumber(high)]
}

/** @param {string} text @returns {number | null} */
function toNumber(text) {
  const value = Number(text)
  return text.trim() === "" || !Number.isFinite(value) ? null : value
}

/**
 * Splits what a reader typed: words match anywhere in the id or a token whatever their case; a phrase in double
 * quotes matches exactly, spaces and case included.
 * @param {string} q
 * @returns {{text: string, isExact: boolean}[]}
 */
export function parseQuery(q) {
  const terms = []
  for (const [, phrase, word] of q.matchAll(/"([^"]+)"?|([^\s"]+)/gu)) {
    terms.push(phrase === undefined
      ? { text: word.toLowerCase(), isExact: false } : { text: phrase, isExact: true })
  }
  return terms
}

/** The rows of a run, filtered and sorted as a view says. */
export class Selection {
  /** @param {ExplorerColumns} columns */
  constructor(columns) {
    this.columns = columns
    this.length = columns.id.length
    /** @type {Map<string, Float64Array>} one key array per sorted column, made when first needed */
    this.keys = new Map()
    /** @type {string[] | null} */
    this.texts = null
  }

  /**
   * The largest |activation| of a row.
   * @param {number} row
   * @returns {number | null}
   */
  peak(row) {
    const { min, max } = this.columns
    const low = min[row], high = max[row]
    return low === null || high === null ? null : Math.max(Math.abs(low), Math.abs(high))
  }

  /**
   * @param {View} view
   * @returns {Uint32Array} rows in order
   */
  rows(view) {
    return this.sorted(this.filtered(view), view.sort)
  }

  /**
   * @param {View} view
   * @returns {Uint32Array} rows in the order of the channel table
   */
  filtered(view) {
    const { columns } = this
    const terms = parseQuery(view.q)
    const collections = new Set(view.collection), modules = new Set(view.module)
    const rows = new Uint32Array(this.length)
    let n = 0
    for (let row = 0; row < this.length; row++) {
      if (!view.dead && columns.is_dead[row]) continue
      if (collections.size && !collections.has(columns.collection[row])) continue
      if (modules.size && !modules.has(columns.module[row])) continue
      if (!isWithin(columns.layer[row], view.layer)) continue
      if (!isWithin(columns.density[row], view.density)) continue
      if (!isWithin(this.peak(row), view.peak)) continue
      if (terms.length && !this.matches(row, terms)) continue
      rows[n++] = row
    }
    return rows.subarray(0, n)
  }

  /**
   * @param {number} row
   * @param {{text: string, isExact: boolean}[]} terms all of them must match
   */
  matches(row, terms) {
    const { id, top_tokens, bottom_tokens } = this.columns
    this.texts ??= id.map((name, i) => [name, ...top_tokens[i], ...bottom_tokens[i]].join("\0").toLowerCase())
    const text = this.texts[row]
    return terms.every((term) => term.isExact
      ? id[row].includes(term.text) || top_tokens[row].some((token) => token.includes(term.text))
        || bottom_tokens[row].some((token) => token.includes(term.text))
      : text.includes(term.text))
  }

  /**
   * Sorts rows in place: by the first key, ties by the next, in the end by the order of the channel table. Rows
   * without a value come last in either direction.
   * @param {Uint32Array} rows
   * @param {View["sort"]} sort
   */
  sorted(rows, sort) {
    const keys = sort.map(({ column, descending }) => ({ key: this.sortKey(column), sign: descending ? -1 : 1 }))
    if (!keys.length) return rows
    return rows.sort((a, b) => {
      for (const { key, sign } of keys) {
        const x = key[a], y = key[b]
        if (x === y) continue
        if (Number.isNaN(x) && Number.isNaN(y)) continue
        if (Number.isNaN(x)) return 1
        if (Number.isNaN(y)) return -1
        return x < y ? -sign : sign
      }
      return a - b
    })
  }

  /** @param {string} column @returns {Float64Array} NaN where there is no value */
  sortKey(column) {
    let key = this.keys.get(column)
    if (!key) {
      key = this.makeKey(column)
      this.keys.set(column, key)
    }
    return key
  }

  /** @param {string} column @returns {Float64Array} */
  makeKey(column) {
    if (column === "id") return Float64Array.from({ length: this.length }, (_, row) => row)
    if (column === "peak") return Float64Array.from({ length: this.length }, (_, row) => this.peak(row) ?? NaN)
    const values = /** @type {Record<string, (number | string | null)[]>} */ (/** @type {unknown} */ (this.columns))[column]
    if (column === "module" || column === "collection") {
      const order = new Map([...new Set(values)].sort().map((name, rank) => [name, rank]))
      return Float64Array.from(values, (name) => order.get(name) ?? NaN)
    }
    return Float64Array.from(/** @type {(number | null)[]} */ (values), (value) => value ?? NaN)
  }
}

/** @param {number | null} value @param {Range} range */
function isWithin(value, [low, high]) {
  if (low === null && high === null) return true
  return value !== null && (low === null || value >= low) && (high === null || value <= high)
}

/**
 * What a click on a column's head does: alone it makes this column the only key (first descending for numbers,
 * then ascending, then none); with shift it adds or turns this key and keeps the others.
 * @param {View["sort"]} sort
 * @param {string} column
 * @param {boolean} isAdding
 * @returns {View["sort"]}
 */
export function nextSort(sort, column, isAdding) {
  const isText = column === "id" || /** @type {readonly string[]} */ (TEXTUAL).includes(column)
  const present = sort.find((key) => key.column === column)
  const turned = !present ? { column, descending: !isText }
    : present.descending !== isText ? { column, descending: !present.descending } : null
  if (!isAdding) return turned ? [turned] : []
  if (!present) return turned ? [...sort, turned] : sort
  return sort.flatMap((key) => (key !== present ? [key] : turned ? [turned] : []))
}

const CSV_COLUMNS = /** @type {const} */ ([
  "id", "collection", "kind", "layer", "module", "rank_index", "is_dead", "density", "mean", "std", "skewness", "kurtosis",
  "min", "max", "max_write", "top_tokens", "bottom_tokens",
])

/**
 * The chosen rows as CSV (RFC 4180). Token lists are JSON arrays; a text that a spreadsheet would take for a formula
 * gets a leading apostrophe.
 * @param {ExplorerColumns} columns
 * @param {ArrayLike<number>} rows
 * @returns {string}
 */
export function toCsv(columns, rows) {
  const lines = [CSV_COLUMNS.join(",")]
  for (let i = 0; i < rows.length; i++) {
    lines.push(CSV_COLUMNS.map((name) => csvCell(columns[name][rows[i]])).join(","))
  }
  return lines.join("\r\n") + "\r\n"
}

/** @param {unknown} value */
function csvCell(value) {
  if (value === null || value === undefined) return ""
  if (typeof value === "number") return String(value)
  const text = Array.isArray(value) ? JSON.stringify(value) : String(value)
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}
