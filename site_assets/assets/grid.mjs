/** The layer × module overview and the cosine tables: pure functions over numbers. */

/**
 * The strength of each number on its scale: signed statistics keep zero in the middle, others run from their lowest to
 * their highest value.
 * @param {(number | null)[]} values
 * @param {boolean} isSigned
 * @param {boolean} isByRank  even steps in rank instead of even steps in value (unsigned only)
 * @returns {{strengths: Float64Array, low: number, high: number}}  −1 … 1 per value, NaN for none
 */
export function strengthsOf(values, isSigned, isByRank = false) {
  const present = /** @type {number[]} */ (values.filter((value) => value !== null && Number.isFinite(value)))
  const low = present.reduce((a, b) => Math.min(a, b), Infinity)
  const high = present.reduce((a, b) => Math.max(a, b), -Infinity)
  const limit = Math.max(Math.abs(low), Math.abs(high))
  const ordered = isByRank ? Float64Array.from(present).sort() : null
  const strengths = Float64Array.from(values, (value) => {
    if (value === null || !Number.isFinite(value)) return NaN
    if (isSigned) return value / (limit || 1)
    if (ordered) return countBelow(ordered, value) / Math.max(1, ordered.length - 1)
    return (value - low) / (high - low || 1)
  })
  return { strengths, low: isSigned ? -limit : low, high: isSigned ? limit : high }
}

/** @param {Float64Array} ordered @param {number} value */
function countBelow(ordered, value) {
  let low = 0, high = ordered.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (ordered[middle] < value) low = middle + 1
    else high = middle
  }
  return low
}

/**
 * Cuts the layers into bands of about equal length that fit the width.
 * @param {number} nLayers
 * @param {number} room pixels for the cells of one band
 * @param {number} cell smallest width of a cell in pixels
 * @returns {[first: number, stop: number][]}
 */
export function bandsOf(nLayers, room, cell) {
  const fitting = Math.max(1, Math.floor(room / cell))
  const nBands = Math.ceil(nLayers / fitting)
  return Array.from({ length: nBands }, (_, band) => [
    Math.round((band * nLayers) / nBands), Math.round(((band + 1) * nLayers) / nBands),
  ])
}

/**
 * The matrix of cosines in which only the members with the strongest partner are left, in their old order.
 * @param {number[][]} values
 * @param {number} limit
 * @returns {number[]} indices
 */
export function mostRelated(values, limit) {
  if (values.length <= limit) return values.map((_, index) => index)
  const best = values.map((row, i) => Math.max(...row.map((value, j) => (i === j ? 0 : Math.abs(value)))))
  return best.map((_, index) => index).sort((a, b) => best[b] - best[a] || a - b).slice(0, limit).sort((a, b) => a - b)
}

/**
 * The pairs of a symmetric matrix by |value|, strongest first.
 * @param {(number | null)[][]} values
 * @param {number} limit
 * @returns {{first: number, second: number, value: number}[]}
 */
export function strongestPairs(values, limit) {
  const pairs = []
  for (const [first, row] of values.entries()) {
    for (let second = first + 1; second < row.length; second++) {
      const value = row[second]
      if (value !== null) pairs.push({ first, second, value })
    }
  }
  return pairs.sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, limit)
}
