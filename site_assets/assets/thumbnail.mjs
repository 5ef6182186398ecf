/** A histogram small enough for a table row: log counts as bars, negative values apart from positive ones. */
import { svg } from "./elements.mjs"

const height = 24
/** Bins that the box has at least, so that a single one does not fill it. */
const FEWEST = 12

/**
 * Bars as two SVG paths in a box as wide as there are bins and 24 high.
 * @param {number[]} counts
 * @param {number | null} low  left end of the first bin
 * @param {number | null} high  right end of the last bin
 * @returns {{positive: string, negative: string, zero: number | null}} zero: where it lies, when inside
 */
export function barsOf(counts, low, high) {
  const tallest = Math.log1p(counts.reduce((a, b) => Math.max(a, b), 0))
  const isSplit = low !== null && high !== null && high > low
  const zero = isSplit ? (-low / (high - low)) * counts.length : null
  const paths = { positive: "", negative: "" }
  for (const [bin, count] of counts.entries()) {
    if (!count) continue
    const size = Math.max(1.5, (Math.log1p(count) / tallest) * height)
    const side = zero !== null && bin + 0.5 < zero ? "negative" : "positive"
    paths[side] += `M${bin} ${height}v${-round(size)}h1v${round(size)}z`
  }
  return { ...paths, zero: zero !== null && zero > 0 && zero < counts.length ? zero : null }
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 100) / 100
}

/**
 * The drawing. It has no text of its own: what it shows in numbers stands beside it wherever it is used.
 * @param {number[]} counts
 * @param {number | null} low
 * @param {number | null} high
 * @returns {SVGSVGElement}
 */
export function thumbnail(counts, low, high) {
  const { positive, negative, zero } = barsOf(counts, low, high)
  const n = Math.max(FEWEST, counts.length)
  const left = (counts.length - n) / 2
  return svg(
    "svg",
    { class: "fb-thumb", viewBox: `${left} 0 ${n} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true", focusable: "false" },
    negative && svg("path", { class: "fb-thumb-negative", d: negative }),
    positive && svg("path", { class: "fb-thumb-positive", d: positive }),
    zero !== null && svg("line", { class: "fb-thumb-zero", x1: zero, x2: zero, y1: 0, y2: height }),
  )
}
