/** Numbers as every page shows them: three significant digits, a true minus sign, tabular figures by CSS. */

const minus = "−"

/**
 * A measured value with three significant digits; true zero is "0", what is missing is "–".
 * @param {number | null | undefined} value
 * @param {{sign?: boolean}} [options]  sign: write "+" before positive values
 * @returns {string}
 */
export function number(value, options = {}) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–"
  if (value === 0) return "0"
  const sign = value < 0 ? minus : options.sign ? "+" : ""
  return sign + magnitude(Math.abs(value))
}

/** @param {number} size  above zero */
function magnitude(size) {
  if (size === Infinity) return "∞"
  const rounded = Number(size.toPrecision(3))
  if (rounded >= 1e6 || rounded < 1e-4) return scientific(rounded)
  if (rounded >= 1000) return count(rounded)
  return rounded.toPrecision(3)
}

/** @param {number} size  already rounded */
function scientific(size) {
  const [digits, power] = size.toExponential(2).split("e")
  return `${digits}e${power.startsWith("-") ? minus : ""}${power.replace(/^[+-]/, "")}`
}

/**
 * A whole number with thin spaces between thousands.
 * @param {number | null | undefined} value
 * @returns {string}
 */
export function count(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–"
  const digits = String(Math.round(Math.abs(value)))
  return (value < 0 ? minus : "") + digits.replace(/\B(?=(\d{3})+$)/g, "\u202f")
}

/**
 * A share as a percentage with three significant digits; a share that is not zero never shows as 0 %.
 * @param {number | null | undefined} share
 * @returns {string}
 */
export function percent(share) {
  if (share === null || share === undefined || Number.isNaN(share)) return "–"
  if (share === 0) return "0\u202f%"
  const value = share * 100
  if (value < 0.001) return "< 0.001\u202f%"
  return `${value >= 99.95 ? Number(value.toPrecision(4)) : Number(value.toPrecision(3))}\u202f%`
}

/**
 * "1 token", "2 tokens".
 * @param {number} n
 * @param {string} noun
 */
export function plural(n, noun) {
  return `${count(n)} ${noun}${n === 1 ? "" : "s"}`
}
