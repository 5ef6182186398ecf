/** Pairs of channels of two runs: which rows are shown, in which order. Pure functions over the columns of a `runs/…` shard. */

/** @typedef {"id" | "cosine" | "correlation"} How */
/**
 * @typedef {object} Pair a channel and its counterpart in another run
 * @property {string | null} other its id; null for none
 * @property {How | null} how
 * @property {boolean} is_turned its numbers are shown with the opposite sign
 * @property {number | null} read
 * @property {number | null} write
 * @property {number | null} correlation
 * @property {number | null} there_density
 * @property {number | null} there_skewness
 * @property {number | null} there_min
 * @property {number | null} there_max
 * @property {number | null} there_max_write
 * @property {string[]} top_here
 * @property {string[]} top_there
 * @property {string[]} bottom_here
 * @property {string[]} bottom_there
 */
/** @typedef {{id: string, density: number | null, skewness: number | null, min: number | null, max: number | null, max_write: number | null} & Pair} Row */
/** @typedef {{[name in keyof Row]: Row[name][]}} Columns */
/**
 * @typedef {object} RunsShard
 * @property {string} id
 * @property {string} name
 * @property {string} site
 * @property {{n_channels: number, n_there: number, n_unmatched: number}} facts
 * @property {Columns} columns
 * @property {string[]} unmatched
 */

/** What a link keeps: words, "all" | "paired" | "alone", and "-read,max". */
export const INITIAL = { q: "", show: "all", sort: "" }

/** Sizes, compared by their ratio; other changes are differences. */
const SIZES = ["density", "max_write"]

/**
 * A number by which rows are sorted: the cosine itself, or how much a statistic changed; NaN where one is not known.
 * @param {Columns} columns
 * @param {string} name
 * @param {number} row
 */
export function sortKey(columns, name, row) {
  const here = number(columns, name, row)
  if (!(`there_${name}` in columns)) return here
  const there = number(columns, `there_${name}`, row)
  if (SIZES.includes(name)) return there === 0 ? (here === 0 ? 1 : Infinity) : here / there
  return here - there
}

/** @param {Columns} columns @param {string} name @param {number} row */
function number(columns, name, row) {
  const value = /** @type {unknown[] | undefined} */ (/** @type {any} */ (columns)[name])?.[row]
  return typeof value === "number" ? value : NaN
}

/**
 * "-read,max" as the table's sort; unknown names are left out.
 * @param {string} text
 * @param {string[]} known
 * @returns {{column: string, descending: boolean}[]}
 */
export function parseSort(text, known) {
  return text.split(",").map((key) => ({ column: key.replace(/^-/, ""), descending: key.startsWith("-") })).filter(({ column }) => known.includes(column))
}

/** @param {{column: string, descending: boolean}[]} sort */
export function formatSort(sort) {
  return sort.map(({ column, descending }) => (descending ? "-" : "") + column).join(",")
}

/**
 * The rows of a view; what is not known comes last, and ties keep the order of the channels.
 * @param {Columns} columns
 * @param {{q: string, show: string}} view
 * @param {{column: string, descending: boolean}[]} sort
 * @returns {number[]}
 */
export function rowsOf(columns, { q, show }, sort) {
  const words = q.toLowerCase().split(/\s+/).filter(Boolean)
  const rows = columns.id.map((_, row) => row).filter((row) => {
    if (show !== "all" && (columns.other[row] !== null) !== (show === "paired")) return false
    return !words.length || words.every((word) => textOf(columns, row).includes(word))
  })
  const keys = sort.map(({ column, descending }) => ({
    sign: descending ? -1 : 1, values: columns.id.map((_, row) => (column === "id" ? row : sortKey(columns, column, row))),
  }))
  return rows.sort((a, b) => keys.reduce((order, { sign, values }) => order || compare(values[a], values[b], sign), 0) || a - b)
}

/** @param {number} a @param {number} b @param {number} sign */
function compare(a, b, sign) {
  if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(a)) - Number(Number.isNaN(b))
  return a === b ? 0 : a < b ? -sign : sign
}

/** @param {Columns} columns @param {number} row */
function textOf(columns, row) {
  const lists = [columns.top_here, columns.top_there, columns.bottom_here, columns.bottom_there]
  return [columns.id[row], columns.other[row] ?? "", ...lists.flatMap((list) => list[row])].join("\n").toLowerCase()
}
