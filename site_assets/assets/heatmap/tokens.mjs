/**
 * Text of tokens, apart from the DOM: display groups, visible marks for what cannot be seen, exact source for copying.
 * A shard's token text is the real text; "" continues the character that the token before it began.
 */

/**
 * @typedef {object} Strip  a run of tokens with one activation each
 * @property {string[]} display  text of each token
 * @property {number[]} tokenIds
 * @property {(number | null)[]} values  activations; null where not finite or not measured
 * @property {boolean[]} isSpecial
 * @property {number} start  position of the first token in its document
 * @property {number} target  index of the token that the run is about, −1 for none
 * @property {number} precision  the values are right within ± this
 * @property {string} source  name of the document
 * @property {string | null} [href]  address of the document's page
 * @property {(token: number) => (HTMLElement | null)} [more]  what else the tooltip says of a token
 */
/**
 * @typedef {object} Group  tokens that make whole characters together: the unit that is drawn
 * @property {number} first  index of its first token in the run
 * @property {number} end  index after its last token
 * @property {string} text
 * @property {number | null} value  of the member of largest |activation|
 * @property {number} peak  index of that member
 * @property {boolean} isSpecial
 */
/** @typedef {{kind: "text" | "newline" | "tab" | "space" | "chip", text: string, label: string}} Piece */

/**
 * The run of tokens of an example.
 * @param {import("../shards.mjs").Example} example
 * @param {{tokens: string[], special: number[], scale: number}} shard
 * @returns {Strip}
 */
export function stripOfExample(example, shard) {
  return {
    display: example.text.map((index) => shard.tokens[index]),
    tokenIds: example.token_ids,
    values: example.values.map((value) => (value === null ? null : value * shard.scale)),
    isSpecial: example.text.map((index) => shard.special.includes(index)),
    start: example.start,
    target: example.position - example.start,
    precision: shard.scale / 2,
    source: example.doc_name,
  }
}

/**
 * Every token belongs to exactly one group.
 * @param {Strip} strip
 * @returns {Group[]}
 */
export function groupTokens(strip) {
  /** @type {Group[]} */
  const groups = []
  strip.display.forEach((text, index) => {
    const last = groups.at(-1)
    if (last && text === "" && !last.isSpecial && !strip.isSpecial[index]) join(last, index, strip.values[index])
    else
      groups.push({
        first: index,
        end: index + 1,
        text,
        value: strip.values[index],
        peak: index,
        isSpecial: strip.isSpecial[index],
      })
  })
  return groups
}

/**
 * @param {Group} group
 * @param {number} index
 * @param {number | null} value
 */
function join(group, index, value) {
  group.end = index + 1
  if (value !== null && (group.value === null || Math.abs(value) > Math.abs(group.value))) {
    group.value = value
    group.peak = index
  }
}

/**
 * The group that holds a token.
 * @param {Group[]} groups
 * @param {number} token
 */
export function groupOf(groups, token) {
  return groups.findIndex((group) => group.first <= token && token < group.end)
}

/**
 * The groups within ± `reach` tokens of the target, as a half-open range.
 * @param {Group[]} groups
 * @param {number} target  index of a token
 * @param {number} reach
 * @returns {[number, number]}
 */
export function around(groups, target, reach) {
  const from = groups.findIndex((group) => group.end > target - reach)
  const beyond = groups.findIndex((group) => group.first > target + reach)
  return [Math.max(0, from), beyond === -1 ? groups.length : beyond]
}

/**
 * The exact source text of a range of groups.
 * @param {Group[]} groups
 * @param {number} [from]
 * @param {number} [to]
 */
export function sourceText(groups, from = 0, to = groups.length) {
  return groups
    .slice(from, to)
    .map((group) => group.text)
    .join("")
}

/** Names of characters that have no shape of their own, or that change the order of the text around them. */
const chipNames = new Map(
  Object.entries({
    "\u00ad": "SHY",
    "\u034f": "CGJ",
    "\u061c": "ALM",
    "\u180e": "MVS",
    "\u200b": "ZWSP",
    "\u200c": "ZWNJ",
    "\u200d": "ZWJ",
    "\u200e": "LRM",
    "\u200f": "RLM",
    "\u2028": "LSEP",
    "\u2029": "PSEP",
    "\u202a": "LRE",
    "\u202b": "RLE",
    "\u202c": "PDF",
    "\u202d": "LRO",
    "\u202e": "RLO",
    "\u2060": "WJ",
    "\u2066": "LRI",
    "\u2067": "RLI",
    "\u2068": "FSI",
    "\u2069": "PDI",
    "\ufeff": "BOM",
    "\u007f": "DEL",
  }),
)
const c0 = "NUL SOH STX ETX EOT ENQ ACK BEL BS TAB LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US"
c0.split(" ").forEach((name, code) => {
  if (name !== "TAB" && name !== "LF") chipNames.set(String.fromCharCode(code), name)
})

const unseen = /[\p{Cc}\p{Cf}\p{Cs}\u034f\u2028\u2029]/u
/** Texts without any of these are drawn as they are: nearly all tokens, hence worth a test of its own. */
const needsMarks = /[\p{Cc}\p{Cf}\p{Cs}\u034f\u2028\u2029]| {2}| $/u
const joinedEmoji = /\p{Extended_Pictographic}[\ufe0f\u{1f3fb}-\u{1f3ff}]*\u200d\p{Extended_Pictographic}/u

/**
 * The label of a character that must not be shown as it is, or null. Format characters of scripts that need them to
 * be read (U+0600–U+0605 and the like, category Cf with a shape) are shown.
 * @param {string} char  one code point
 */
export function chipLabel(char) {
  if (char === "\n" || char === "\t" || !unseen.test(char)) return null
  const code = /** @type {number} */ (char.codePointAt(0))
  if ((code >= 0x600 && code <= 0x605) || code === 0x6dd || code === 0x70f || code === 0x8e2) return null
  return chipNames.get(char) ?? `U+${code.toString(16).toUpperCase().padStart(4, "0")}`
}

/** Characters of one token that are drawn: a browser lays out a line of a million for minutes. */
const MOST_DRAWN = 1000

/**
 * A text as pieces to draw. `text` is always the exact source; `label` is what a chip shows, also for what is too long to draw.
 * @param {string} text
 * @returns {Piece[]}
 */
export function pieces(text) {
  if (text.length > 2 * MOST_DRAWN) {
    const end = MOST_DRAWN + Number(/[\ud800-\udbff]/.test(text[MOST_DRAWN - 1]))
    const rest = text.slice(end)
    return [...pieces(text.slice(0, end)), { kind: "chip", text: rest, label: `[${rest.length.toLocaleString("en")} more characters]` }]
  }
  if (!needsMarks.test(text)) return text === "" ? [] : [{ kind: "text", text, label: text }]
  /** @type {Piece[]} */
  const result = []
  const chars = [...text]
  chars.forEach((char, index) => {
    const piece = pieceOf(chars, index)
    const last = result.at(-1)
    if (piece.kind === "text" && last?.kind === "text") last.text += char
    else result.push(piece)
  })
  return result
}

/**
 * @param {string[]} chars
 * @param {number} index
 * @returns {Piece}
 */
function pieceOf(chars, index) {
  const char = chars[index]
  if (char === "\n") return { kind: "newline", text: char, label: "↵" }
  if (char === "\t") return { kind: "tab", text: char, label: "→" }
  const isJoiner = char === "\u200d" && joinedEmoji.test(chars.slice(Math.max(0, index - 3), index + 2).join(""))
  const label = isJoiner ? null : chipLabel(char)
  if (label !== null) return { kind: "chip", text: char, label: `[${label}]` }
  const next = chars[index + 1]
  const isLooseSpace = char === " " && (chars[index - 1] === " " || next === " " || next === "\n" || next === undefined)
  return { kind: isLooseSpace ? "space" : "text", text: char, label: char }
}

/**
 * A short text on one line in which everything can be seen: for tooltips, captions and token lists. A combining mark that
 * begins it stands on a dotted circle, for many fonts draw nothing without a letter.
 * @param {string} text
 */
export function visible(text) {
  if (text === "") return "…"
  return pieces(/^(?!\u034f)\p{M}/u.test(text) ? `◌${text}` : text)
    .map((piece) => (piece.kind === "text" || piece.kind === "space" ? piece.text : piece.label))
    .join("")
    .replace(/^ | $/g, "␣")
    .replace(/ {2}/g, "␣␣")
}

/**
 * Identical windows (same tokens, same peak, same group) folded into one, in the order of their first appearance.
 * @template {{group: string, token_ids: number[], position: number, start: number}} E
 * @param {E[]} examples
 * @returns {{example: E, others: E[]}[]}
 */
export function foldIdentical(examples) {
  /** @type {Map<string, {example: E, others: E[]}>} */
  const folded = new Map()
  for (const example of examples) {
    const key = `${example.group}|${example.position - example.start}|${example.token_ids.join(",")}`
    const known = folded.get(key)
    if (known) known.others.push(example)
    else folded.set(key, { example, others: [] })
  }
  return [...folded.values()]
}

/**
 * The next group from `from` in a direction whose |t| is above one half; −1 when there is none.
 * @param {Group[]} groups
 * @param {import("./scale.mjs").Scale} scale
 * @param {number} from
 * @param {1 | -1} step
 */
export function nextStrong(groups, scale, from, step) {
  for (let index = from + step; index >= 0 && index < groups.length; index += step)
    if (Math.abs(scale.t(groups[index].value)) > 0.5) return index
  return -1
}
