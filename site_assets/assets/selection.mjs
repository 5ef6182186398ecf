// Which channels the explorer shows, in which order: pure functions over column arrays.
// Rows are numbers (indices into the columns); no object is made per channel.

/**
 * @typedef {Object} ExplorerHead what the table knows of every row at once, as runs of equal values
 * @property {number} n_channels
 * @property {number} rows_per_part
 * @property {Runs} collection
 * @property {Runs} kind
 * @property {Runs} layer
 * @property {Runs} module
 * @property {Runs} is_dead
 * @property {Runs} is_labelled
 * @property {Runs} is_starred
 * @property {Runs} is_whole
 * @property {string[]} numbers columns that can be fetched
 */
/** @typedef {{values: any[], runs: number[]}} Runs runs: index into values, number of rows, and so on */

/**
 * @typedef {Object} ExplorerColumns
 * @property {number} length
 * @property {string[]} collection
 * @property {string[]} kind
 * @property {(number | null)[]} layer
 * @property {string[]} module
 * @property {number[]} is_dead  1 for a latent that was active at no token
 * @property {number[]} is_labelled
 * @property {number[]} is_starred  by the authors of labels
 * @property {number[]} is_whole  1 where the list of top examples is as long as the run asked for
 * @property {Map<string, Float64Array>} numbers  those that were fetched; NaN where there is no value
 */

/** @typedef {[low: number | null, high: number | null]} Range both ends belong to it; null is open */

/**
 * @typedef {Object} View what the address of the page says
 * @property {string} q words and "exact tokens", as in the search box
 * @property {string[]} collection none chosen = all
 * @property {string[]} module
 * @property {boolean} dead  whether dead latents are listed
 * @property {boolean} labelled  only those
 * @property {boolean} starred  only those
 * @property {boolean} whole  only those with a full list of examples
 * @property {Record<string, Range>} ranges by number, only those that are not open at both ends
 * @property {{column: string, descending: boolean}[]} sort first key first
 * @property {string[]} columns shown beside the name; none = the usual ones
 * @property {"table" | "map" | "grid"} show
 * @property {string} colour the number that colours the grid
 * @property {string} map  two numbers, "density,peak", or a collection with a map
 */

/** Columns that a reader sorts, filters and colours by. */
export const NUMBERS = /** @type {const} */ ([
  "density", "mean", "std", "skewness", "kurtosis", "min", "max", "peak", "max_write", "score", "ablation",
  "peak_layer", "relative_norm",
])

/** Numbers with a range in the address. */
export const RANGES = ["layer", ...NUMBERS]

/** Columns that sort by text. */
export const TEXTUAL = /** @type {const} */ (["module", "collection"])

/** Every key that `sort=` understands; `id` is the order of the channel table (layer, module, rank). */
export const SORTABLE = ["id", "layer", ...TEXTUAL, ...NUMBERS]

/** Columns that the reader chooses from, in their order in the table. */
export const CHOOSABLE = ["label", "histogram", "tokens", "snippet", "collection", "layer", "module", ...NUMBERS]

const FLAGS = /** @type {const} */ (["dead", "labelled", "starred", "whole"])
const SHOWS = /** @type {const} */ (["table", "map", "grid"])

/** @returns {View} all channels but dead latents, in the order of the channel table */
export function everything() {
  return {
    q: "", collection: [], module: [], dead: false, labelled: false, starred: false, whole: false,
    ranges: {}, sort: [], columns: [], show: "table", colour: "", map: "",
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
  for (const flag of FLAGS) view[flag] = words.get(flag) === "1"
  for (const name of RANGES) {
    const range = parseRange(words.get(name))
    if (isBounded(range)) view.ranges[name] = range
  }
  view.sort = listOf(words.get("sort")).map((key) => ({
    column: key.replace(/^-/, ""), descending: key.startsWith("-"),
  })).filter(({ column }) => SORTABLE.includes(column))
  view.columns = listOf(words.get("columns")).filter((name) => CHOOSABLE.includes(name))
  view.show = SHOWS.find((name) => name === words.get("show")) ?? "table"
  view.colour = /** @type {readonly string[]} */ (NUMBERS).includes(words.get("colour") ?? "") ? words.get("colour") ?? "" : ""
  view.map = words.get("map") ?? ""
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
  for (const flag of FLAGS) if (view[flag]) words.set(flag, "1")
  for (const name of RANGES) {
    const [low, high] = view.ranges[name] ?? [null, null]
    if (low !== null || high !== null) words.set(name, `${low ?? ""}..${high ?? ""}`)
  }
  const sort = view.sort.map(({ column, descending }) => (descending ? "-" : "") + column).join(",")
  if (sort) words.set("sort", sort)
  if (view.columns.length) words.set("columns", view.columns.join(","))
  if (view.show !== "table") words.set("show", view.show)
  if (view.colour) words.set("colour", view.colour)
  if (view.map) words.set("map", view.map)
  return words.toString()
}

/** @param {string | null} text */
function listOf(text) {
  return (text ?? "").split(",").filter(Boolean)
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

/** @param {Range} range */
export function isBounded([low, high]) {
  return low !== null || high !== null
}

/**
 * The columns of the head, one value per row.
 * @param {ExplorerHead} head
 * @returns {ExplorerColumns}
 */
export function columnsOf(head) {
  const { collection, kind, layer, module, is_dead, is_labelled, is_starred, is_whole } = head
  return {
    length: head.n_channels, collection: expand(collection), kind: expand(kind), layer: expand(layer), module: expand(module),
    is_dead: expand(is_dead), is_labelled: expand(is_labelled), is_starred: expand(is_starred), is_whole: expand(is_whole),
    numbers: new Map(),
  }
}

/** @param {Runs} runs @returns {any[]} */
export function expand({ values, runs }) {
  const rows = []
  for (let at = 0; at < runs.length; at += 2) for (let n = 0; n < runs[at + 1]; n++) rows.push(values[runs[at]])
  return rows
}

/**
 * The numbers that a view needs before its rows are known.
 * @param {View} view
 * @returns {string[]}
 */
export function numbersNeeded(view) {
  const used = [...Object.keys(view.ranges), ...view.sort.map(({ column }) => column)]
  return NUMBERS.filter((name) => used.includes(name))
}

/** The rows of a run, filtered and sorted as a view says. */
export class Selection {
  /** @param {ExplorerColumns} columns */
  constructor(columns) {
    this.columns = columns
    this.length = columns.length
    /** @type {Map<string, Float64Array>} one key array per sorted column of the head, made when first needed */
    this.keys = new Map()
  }

  /**
   * @param {View} view
   * @param {ArrayLike<number> | null} [matches] above 0 for the rows that hold what `view.q` asks for; null for all
   * @param {ArrayLike<number>} [starred] 1 for the rows that count as starred
   * @returns {Uint32Array} rows in order
   */
  rows(view, matches = null, starred = this.columns.is_starred) {
    return this.sorted(this.filtered(view, matches, starred), view.sort)
  }

  /**
   * @param {View} view
   * @param {ArrayLike<number> | null} matches
   * @param {ArrayLike<number>} starred
   * @returns {Uint32Array} rows in the order of the channel table
   */
  filtered(view, matches, starred) {
    const { columns } = this
    const collections = new Set(view.collection), modules = new Set(view.module)
    const ranges = Object.entries(view.ranges).map(([name, range]) => /** @type {const} */ ([this.sortKey(name), range]))
    const rows = new Uint32Array(this.length)
    let n = 0
    for (let row = 0; row < this.length; row++) {
      if (!view.dead && columns.is_dead[row]) continue
      if (view.labelled && !columns.is_labelled[row]) continue
      if (view.starred && !starred[row]) continue
      if (view.whole && !columns.is_whole[row]) continue
      if (collections.size && !collections.has(columns.collection[row])) continue
      if (modules.size && !modules.has(columns.module[row])) continue
      if (matches && !(matches[row] > 0)) continue
      if (!ranges.every(([values, range]) => isWithin(values[row], range))) continue
      rows[n++] = row
    }
    return rows.subarray(0, n)
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
    const number = this.columns.numbers.get(column)
    if (number) return number
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
    if (column === "layer") return Float64Array.from(this.columns.layer, (layer) => layer ?? NaN)
    if (column !== "module" && column !== "collection") return new Float64Array(this.length).fill(NaN)
    const values = this.columns[column]
    const order = new Map([...new Set(values)].sort().map((name, rank) => [name, rank]))
    return Float64Array.from(values, (name) => order.get(name) ?? NaN)
  }
}

/** @param {number} value @param {Range} range */
function isWithin(value, [low, high]) {
  return !Number.isNaN(value) && (low === null || value >= low) && (high === null || value <= high)
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

const CSV_COLUMNS = ["id", "label", "author", "collection", "kind", "layer", "module", "is_dead", ...NUMBERS, "top_tokens", "bottom_tokens"]

/**
 * Rows as CSV (RFC 4180). Token lists are JSON arrays; a text that a spreadsheet would take for a formula gets a
 * leading apostrophe.
 * @param {Record<string, unknown>[]} rows
 * @returns {string}
 */
export function toCsv(rows) {
  const lines = [CSV_COLUMNS, ...rows.map((row) => CSV_COLUMNS.map((name) => csvCell(row[name])))]
  return lines.map((cells) => `${cells.join(",")}\r\n`).join("")
}

/** @param {unknown} value */
function csvCell(value) {
  if (value === null || value === undefined) return ""
  if (typeof value === "number") return String(value)
  const text = Array.isArray(value) ? JSON.stringify(value) : String(value)
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}
