/** Words of a text as the search index holds them: the twin of generator/publish/search/words.py, which says why. */

/** Characters of a word; what is longer is cut. */
const LONGEST = 40

const dropped = /[\u0300-\u036f\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed\u00ad\u200b-\u200f\u2060\ufeff]/gu
/** @type {Record<string, string>} */
const letters = { ß: "ss", ς: "σ", ı: "i", ٱ: "ا", ى: "ي", ی: "ي", ک: "ك" }
const replaced = new RegExp(`[${Object.keys(letters).join("")}]`, "gu")
const chunk = /[\p{L}\p{N}\p{M}_]+/gu
const unspaced = /([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\u{20000}-\u{3134f}]+)/u
const part = /[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^A-Za-z0-9_]+/gu
// eslint-disable-next-line no-control-regex
const ascii = /^[\x00-\x7f]*$/

/**
 * A text with compatibility forms, accents and signs that need not be typed folded; its case is kept.
 * @param {string} text
 */
export function fold(text) {
  if (ascii.test(text)) return text
  return text.normalize("NFKD").replace(dropped, "").normalize("NFC").replace(replaced, (letter) => letters[letter])
}

/**
 * The distinct words of a text, in order.
 * @param {string} text
 * @returns {string[]}
 */
export function words(text) {
  const found = new Set(chunksOf(text).flatMap(({ whole, parts }) => (parts.length > 1 ? [whole, ...parts] : [whole])))
  return [...found]
}

/**
 * What a reader typed, as words that all must be found. A name of code is asked for in its parts. The last word may go on.
 * @param {string} text
 * @returns {{word: string, isOpen: boolean}[]}
 */
export function asked(text) {
  const list = chunksOf(text).flatMap(({ whole, parts, isTail }) => (isTail ? [] : parts.length ? parts : [whole]))
  const isOpen = /[\p{L}\p{N}\p{M}_]$/u.test(text)
  return [...new Set(list)].map((word, index, all) => ({ word, isOpen: isOpen && index === all.length - 1 }))
}

/**
 * @param {string} text
 * @returns {{whole: string, parts: string[], isTail: boolean}[]}  isTail: the last character of a run of pairs
 */
function chunksOf(text) {
  return [...fold(text).matchAll(chunk)].flatMap(([found]) =>
    found.split(unspaced).flatMap((piece, place) => (place % 2 ? pairsOf(piece) : namesOf(piece))))
}

/** @param {string} run */
function pairsOf(run) {
  const chars = [...run]
  return chars.map((char, index) => ({
    whole: char + (chars[index + 1] ?? ""), parts: [], isTail: index > 0 && index === chars.length - 1,
  }))
}

/** @param {string} name */
function namesOf(name) {
  const whole = name.replace(/^_+|_+$/g, "").toLowerCase()
  if (!whole) return []
  return [{ whole: cut(whole), parts: (name.match(part) ?? []).map((piece) => cut(piece.toLowerCase())), isTail: false }]
}

/** @param {string} word */
function cut(word) {
  return [...word].slice(0, LONGEST).join("")
}
