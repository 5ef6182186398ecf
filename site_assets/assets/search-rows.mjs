/** Rows of the channel table, fetched sixteen at a time and kept. The explorer and the search show the same ones. */

/** @typedef {import("./main.mjs").Context} Context */
/**
 * @typedef {object} Row
 * @property {string} id
 * @property {string | null} label
 * @property {string | null} author
 * @property {string[]} top_tokens
 * @property {string[]} bottom_tokens
 * @property {string} histogram  one character per bar, see `barsOfLevels`
 * @property {number | null} histogram_low
 * @property {number | null} histogram_high
 * @property {{before: string, peak: string, after: string, value: number} | null} snippet
 * @property {number | null} density
 * @property {number | null} mean
 * @property {number | null} std
 * @property {number | null} skewness
 * @property {number | null} kurtosis
 * @property {number | null} min
 * @property {number | null} max
 * @property {number | null} peak
 * @property {number | null} max_write
 * @property {number | null} [ablation]
 * @property {number | null} score
 */

export class Rows {
  /** @param {Context} context @param {number} perPart */
  constructor(context, perPart) {
    this.context = context
    this.perPart = perPart
    /** @type {Map<number, Row>} */
    this.held = new Map()
    /** @type {Map<number, Promise<void>>} */
    this.fetched = new Map()
  }

  /** @param {number} row @returns {Row | undefined} */
  get(row) {
    return this.held.get(row)
  }

  /**
   * Fetches the parts that hold some rows.
   * @param {Iterable<number>} rows
   * @returns {Promise<void>}
   */
  async load(rows) {
    const parts = new Set([...rows].map((row) => Math.floor(row / this.perPart)))
    await Promise.all([...parts].map((part) => this.part(part)))
  }

  /** @param {number} part */
  part(part) {
    const known = this.fetched.get(part)
    if (known) return known
    const promise = this.context.fetchShard(`explorer/rows/${part}`).then(({ columns }) => {
      const names = Object.keys(columns)
      for (const index of columns.id.keys())
        this.held.set(part * this.perPart + index, /** @type {Row} */ (Object.fromEntries(names.map((name) => [name, columns[name][index]]))))
    })
    this.fetched.set(part, promise)
    promise.catch(() => this.fetched.delete(part))
    return promise
  }
}

/**
 * Counts that draw as the bars of a row's thumbnail: a character is the height, in base 36, of log(1 + count).
 * @param {string} histogram
 * @returns {number[]}
 */
export function barsOfLevels(histogram) {
  return [...histogram].map((level) => Math.expm1(parseInt(level, 36)))
}
