/** What was found, drawn: the same in the box of the header and on the page of all results. */
import { h } from "./elements.mjs"
import { documentHash } from "./hash.mjs"
import { pieces, visible } from "./heatmap/tokens.mjs"
import { count, number, plural } from "./numbers.mjs"
import { barsOfLevels } from "./search-rows.mjs"
import { escaped, percentOf, quotedOf, textOf } from "./search-typed.mjs"
import { fold } from "./search-words.mjs"
import { readableId } from "./shards.mjs"
import { thumbnail } from "./thumbnail.mjs"
import { tokenList } from "./token-list.mjs"

/** @typedef {import("./main.mjs").Context} Context */
/** @typedef {import("./search-index.mjs").Head} Head */
/** @typedef {import("./search-index.mjs").Found} Found */
/** @typedef {import("./search-index.mjs").Passage} Passage */
/** @typedef {import("./search-index.mjs").Brief} Brief */
/** @typedef {import("./search-rows.mjs").Row} Row */
/** @typedef {{title: string, hits: HTMLAnchorElement[], more: {text: string, href: string} | null}} Group */

/** Tokens of a passage before its first mark. */
const LEAD = 7
/** @type {Record<string, string>} */
const nouns = { lora: "direction", sae: "latent", crosscoder: "latent" }

/**
 * A channel: kind, name, label, thumbnail, strongest snippet.
 * @param {Row} row
 * @param {Head} head
 * @param {Context} context
 */
export function channelHit(row, head, context) {
  const collection = head.collections.find(({ name }) => row.id.startsWith(`${name}/`))
  const noun = nouns[collection?.kind ?? ""] ?? "channel"
  return h("a", { class: "fb-hit fb-hit--channel", href: context.linkTo(row.id) },
    h("span", { class: "fb-hit__text" },
      h("span", { class: "fb-hit__name" }, h("bdi", {}, row.label ?? readableId(row.id)), " ",
        h("span", { class: "fb-hit__kind" }, row.label ? readableId(row.id) : `${collection?.name ?? ""} ${noun}`)),
      row.snippet ? snippetLine(row.snippet) : h("span", { class: "fb-hit__line" }, tokenList(row.top_tokens.slice(0, 4), "positive") ?? "dead: never active")),
    thumbnail(barsOfLevels(row.histogram), row.histogram_low, row.histogram_high))
}

/** @param {NonNullable<Row["snippet"]>} snippet */
export function snippetLine({ before, peak, after, value }) {
  const tone = value < 0 ? "fb-hit__peak fb-hit__peak--negative" : "fb-hit__peak"
  return h("span", { class: "fb-hit__line" },
    h("bdi", { class: "fb-hit__before", translate: "no" }, h("span", { dir: "auto" }, running(before))), h("bdi", { class: tone, translate: "no" }, visible(peak)),
    h("bdi", { class: "fb-hit__after", translate: "no" }, running(after)),
    h("span", { class: "fb-number fb-hit__value" }, number(value, { sign: true })))
}

/**
 * A token: how often it occurs, how many channels list it.
 * @param {Brief} token
 * @param {Context} context
 */
export function tokenHit({ bytes, count: times, n }, context) {
  return h("a", { class: "fb-hit fb-hit--token", href: tokenLink(bytes, context), title: quotedOf(bytes) },
    h("bdi", { class: "fb-token-mark", translate: "no" }, visible(textOf(bytes) ?? escaped(bytes))),
    h("span", { class: "fb-hit__kind" }, `${plural(times, "time")} · ${plural(n, "channel")} ${n === 1 ? "fires" : "fire"} on it`))
}

/** @param {string} bytes @param {Context} context */
export function tokenLink(bytes, context) {
  return `${context.linkTo("token")}?t=${percentOf(bytes)}`
}

/**
 * A passage with what was looked for marked; it opens its document there, with the passage's strongest channel.
 * @param {Passage} passage
 * @param {string[]} terms
 * @param {Context} context
 */
export function passageHit(passage, terms, context) {
  const marked = marksIn(passage.texts, terms)
  const first = marked.length ? marked[0] : 0
  const from = Math.max(0, first - LEAD)
  const position = passage.start + first
  const hash = passage.strongest ? documentHash(position, passage.strongest.id) : `t=${position}`
  const isMarked = new Set(marked)
  const text = passage.texts.slice(from).map((piece, index) =>
    isMarked.has(from + index) ? h("mark", {}, running(piece)) : running(piece))
  return h("a", { class: "fb-hit fb-hit--passage", href: context.linkTo(`doc/${passage.doc}`, hash) },
    h("bdi", { class: "fb-hit__passage", translate: "no", dir: "auto" }, from > 0 && "…", ...text),
    h("span", { class: "fb-hit__kind" }, h("bdi", {}, passage.doc_name), ` · token ${count(position)}`,
      passage.strongest && ` · strongest ${readableId(passage.strongest.id)} ${number(passage.strongest.value, { sign: true })}`))
}

/**
 * @param {{id: string, title: string, note: string}} place
 * @param {Context} context
 */
export function placeHit({ id, title, note }, context) {
  return h("a", { class: "fb-hit fb-hit--place", href: context.linkTo(id) },
    h("span", { class: "fb-hit__name" }, h("bdi", {}, title)), h("span", { class: "fb-hit__kind" }, note))
}

/**
 * The tokens of a passage that words or phrases cover.
 * @param {string[]} texts
 * @param {string[]} terms
 * @returns {number[]} ascending
 */
export function marksIn(texts, terms) {
  const folded = texts.map((text) => fold(text).toLowerCase())
  const joined = folded.join("")
  const owner = folded.flatMap((text, index) => Array(text.length).fill(index))
  const marked = new Set()
  for (const term of terms) {
    const sought = fold(term).toLowerCase()
    for (let at = sought ? joined.indexOf(sought) : -1; at >= 0; at = joined.indexOf(sought, at + sought.length))
      for (let i = at; i < at + sought.length; i++) marked.add(owner[i])
  }
  return [...marked].sort((a, b) => a - b)
}

/** A piece of running text: what reorders a line or has no shape is named. @param {string} text */
export function running(text) {
  return pieces(text).map(({ kind, text: source, label }) =>
    kind === "chip" ? `[${label}]` : kind === "newline" ? "↵ " : kind === "tab" ? "→" : source).join("")
}
