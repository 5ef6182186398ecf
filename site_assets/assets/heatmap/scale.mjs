/** From an activation to a colour class: one scale per channel, shared by all its examples. */

const bins = 16

/**
 * @typedef {object} Scale
 * @property {number} maximum  largest |activation| of the channel
 * @property {boolean} isSigned  a channel with both signs has a diverging scale
 * @property {"linear" | "quantile"} mode
 * @property {(value: number | null) => number} t  signed strength between −1 and 1; 0 for what is missing
 */

/**
 * The linear scale, t = a / max|a|.
 * @param {number} maximum
 * @param {boolean} isSigned
 * @returns {Scale}
 */
export function linearScale(maximum, isSigned) {
  /** @param {number | null} value */
  const t = (value) => (value === null || !(maximum > 0) ? 0 : clamp(value / maximum))
  return { maximum, isSigned, mode: "linear", t }
}

/**
 * The quantile scale: |t| is the share of the tokens of the same sign that are weaker. It shows what is unusual for
 * this channel even where one outlier flattens the linear scale.
 * @param {number} maximum
 * @param {boolean} isSigned
 * @param {{min: number | null, max: number | null, quantiles: Record<string, number | null>}} stats
 * @returns {Scale}
 */
export function quantileScale(maximum, isSigned, stats) {
  const knots = knotsOf(stats)
  const atZero = shareBelow(knots, 0)
  /** @param {number | null} value */
  const t = (value) => {
    if (value === null || value === 0 || knots.length < 2) return 0
    const share = shareBelow(knots, value)
    return value > 0
      ? clamp((share - atZero) / (1 - atZero || 1))
      : clamp((share - atZero) / (atZero || 1))
  }
  return { maximum, isSigned, mode: "quantile", t }
}

/**
 * The distribution as rising (value, share of tokens below) pairs.
 * @param {{min: number | null, max: number | null, quantiles: Record<string, number | null>}} stats
 * @returns {{value: number, share: number}[]}
 */
function knotsOf(stats) {
  const known = Object.entries(stats.quantiles).map(([share, value]) => ({ value, share: Number(share) }))
  const all = [{ value: stats.min, share: 0 }, ...known, { value: stats.max, share: 1 }]
  return /** @type {{value: number, share: number}[]} */ (all.filter((knot) => knot.value !== null)).sort(
    (a, b) => a.share - b.share,
  )
}

/**
 * @param {{value: number, share: number}[]} knots
 * @param {number} value
 */
function shareBelow(knots, value) {
  const above = knots.findIndex((knot) => knot.value > value)
  if (above === 0) return 0
  if (above === -1) return 1
  const [low, high] = [knots[above - 1], knots[above]]
  return low.share + ((high.share - low.share) * (value - low.value)) / (high.value - low.value)
}

/** @param {number} t */
function clamp(t) {
  return Math.max(-1, Math.min(1, t))
}

/**
 * The CSS class of a strength: p1…p16 above zero, n1…n16 below, "" where |t| < 1/32.
 * @param {number} t
 */
export function toneOf(t) {
  const bin = Math.min(bins, Math.round(Math.abs(t) * bins))
  return bin === 0 ? "" : (t < 0 ? "n" : "p") + bin
}

/**
 * The classes of the legend's swatches, from the lowest to the highest value.
 * @param {boolean} isSigned
 */
export function legendTones(isSigned) {
  const steps = Array.from({ length: bins }, (_, index) => index + 1)
  return [...(isSigned ? steps.toReversed().map((bin) => `n${bin}`) : []), "", ...steps.map((bin) => `p${bin}`)]
}
