/**
 * Numbers as every page shows them: three significant digits, a true minus sign, tabular figures by CSS. The same
 * forms as generator/publish/numbers.py, which writes what stands in the pages before their shards have come.
 */

const minus = "−"
const missing = "–"

/**
 * A measured value with three significant digits; true zero is "0", what is missing is "–".
 * @param {number | null | undefined} value
 * @param {{sign?: boolean}} [options]  sign: write "+" before positive values
 * @returns {string}
 */
export function number(value, options = {}) {
  if (value === null || value === undefined || Number.isNaN(value)) return missing
  if (value === 0) return "0"
  const sign = value < 0 ? minus : options.sign ? "+" : ""
  return sign + magnitude(Math.abs(value))
}

/** @param {number} size  above zero */
function magnitude(size) {
  if (size === Infinity) return "∞"
  const [mantissa, exponent] = size.toExponential(2).split("e")
  const power = Number(exponent)
  if (power <= -4 || power >= 6) return `${mantissa} × 10${superscript(power)}`
  return grouped(Number(`${mantissa}e${power}`).toFixed(Math.max(0, 2 - power)))
}

/** @param {number} power */
function superscript(power) {
  return [...String(power)].map((char) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(char)]).join("")
}

/** @param {string} digits */
function grouped(digits) {
  if (Number(digits) < 1000) return digits
  const [whole, part] = digits.split(".")
  return whole.replace(/\B(?=(\d{3})+$)/g, ",") + (part ? `.${part}` : "")
}

/**
 * A whole number with commas between thousands.
 * @param {number | null | undefined} value
 * @returns {string}
 */
export function count(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return missing
  return (value < 0 ? minus : "") + grouped(String(Math.round(Math.abs(value))))
}

/**
 * A share of one as a percentage with three significant digits.
 * @param {number | null | undefined} share
 * @returns {string}
 */
export function percent(share) {
  if (share === null || share === undefined || Number.isNaN(share)) return missing
  return `${number(share * 100)} %`
}

/**
 * "1 token", "2 tokens".
 * @param {number} n
 * @param {string} noun
 */
export function plural(n, noun) {
  return `${count(n)} ${noun}${n === 1 ? "" : "s"}`
}
