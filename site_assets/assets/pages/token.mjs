/** What fires on one token: the channels with the highest and lowest mean on it, and the strongest examples that peak there. */
import { h } from "../elements.mjs"
import { documentHash } from "../hash.mjs"
import { visible } from "../heatmap/tokens.mjs"
import { count, number, plural } from "../numbers.mjs"
import { SearchIndex } from "../search-index.mjs"
import { barsOfLevels } from "../search-rows.mjs"
import { tokenLink } from "../search-results.mjs"
import { bytesOf, escaped, quotedOf, textOf } from "../search-typed.mjs"
import { readableId } from "../shards.mjs"
import { thumbnail } from "../thumbnail.mjs"

/** @typedef {import("../main.mjs").Context} Context */
/** @typedef {import("../search-index.mjs").Head} Head */
/** @typedef {import("../search-index.mjs").Token} Token */
/** @typedef {import("../search-rows.mjs").Row} Row */

/** Other tokens that are named. */
const OTHERS = 12

/**
 * @param {HTMLElement} element
 * @param {Head} head
 * @param {Context} context
 */
export async function mount(element, head, context) {
  const index = new SearchIndex(context)
  const bytes = bytesOf(location.search)
  const [token, near, alike] = await Promise.all([index.token(bytes), bytes ? index.tokensFrom(bytes, OTHERS) : [], variants(index, bytes)])
  if (token) await index.rows?.load([...token.high.row, ...token.low.row, ...token.peaks.row])
  const others = [...alike, ...near].filter((one, place, all) => one.bytes !== bytes && all.findIndex((other) => other.bytes === one.bytes) === place)
  document.title = `${quotedOf(bytes)} · ${document.title}`
  element.replaceChildren(
    ...(token ? known(token, ruleOf(head.tokens), index, context) : unknown(bytes, context)),
    ...(others.length ? [h("section", { class: "fb-panel", "aria-labelledby": "others" }, h("h2", { id: "others" }, "Other tokens"),
      h("ul", { class: "fb-token-links" }, ...others.slice(0, OTHERS).map((one) => h("li", {}, h("a", { href: tokenLink(one.bytes, context) },
        h("bdi", { class: "fb-token-mark", translate: "no" }, visible(textOf(one.bytes) ?? escaped(one.bytes)))), ` ${count(one.count)}`))))] : []),
  )
}

/**
 * Tokens with the same word, whatever their case and spaces.
 * @param {SearchIndex} index
 * @param {string} bytes
 */
async function variants(index, bytes) {
  const text = new TextDecoder().decode(Uint8Array.from(bytes.match(/../g) ?? [], (hex) => parseInt(hex, 16)))
  if (!/[\p{L}\p{N}]/u.test(text)) return []
  return (await index.find(text.trim().replaceAll('"', " "))).tokens
}

/** @param {string} bytes @param {Context} context */
function unknown(bytes, context) {
  return [
    h("header", { class: "fb-head" }, h("h1", {}, bytes ? h("code", {}, quotedOf(bytes)) : "Token")),
    h("p", { class: "fb-lead" }, bytes
      ? "The corpus does not hold this token where activations were measured, or no channel of this site is ever active on it."
      : "Which token? Type it in quotes into the search box: \" Wait\" with its space, \"\\n\" for a line break, \"\\xff\" for a byte."),
    h("p", {}, h("a", { href: context.linkTo("search") }, "Search")),
  ]
}

/** What the lists hold. @param {import("../search-index.mjs").TokenHead} tokens */
function ruleOf({ most, parts }) {
  const missing = parts.length ? ` Of ${parts.join(", ")} not every channel has a page, and one without a page may have taken another’s place.` : ""
  return `Of all channels, at most ${count(most)} whose mean here is largest against their own usual size (RMS), both over the whole corpus.${missing}`
}

/**
 * @param {Token} token
 * @param {string} rule
 * @param {SearchIndex} index
 * @param {Context} context
 */
function known(token, rule, index, context) {
  const { high, low, peaks } = token
  return [
    h("header", { class: "fb-head" },
      h("nav", { class: "fb-crumbs", "aria-label": "Breadcrumb" }, h("a", { href: context.linkTo("search") }, "Search"), h("span", { "aria-hidden": "true" }, "›"), h("span", {}, "token")),
      h("h1", {}, h("code", { class: "fb-token-title", translate: "no" }, h("bdi", {}, visible(textOf(token.bytes) ?? escaped(token.bytes)))))),
    h("dl", { class: "fb-facts" },
      fact("as typed", h("code", { translate: "no" }, h("bdi", {}, visible(quotedOf(token.bytes))))),
      fact("bytes", h("code", {}, (token.bytes.match(/../g) ?? []).join(" ") || "none")),
      fact(token.token_ids.length > 1 ? "token ids" : "token id", token.token_ids.join(", ")),
      fact("measured", plural(token.count, "time")),
      fact("fire on it", h("span", { title: "Channels whose |mean| here is at least their RMS over the corpus." }, plural(token.n_firing, "channel"))),
      token.is_special && fact("kind", "special token")),
    means("Fires high on it", `Positive means. ${rule}`, high, index, context),
    means("Fires low on it", `Negative means, of signed channels. ${rule}`, low, index, context),
    peaks.row.length > 0 && examples(peaks, index, context),
  ].filter((part) => part instanceof HTMLElement)
}

/** @param {string} name @param {Node | string} value */
function fact(name, value) {
  return h("div", {}, h("dt", {}, name), h("dd", {}, value))
}

/**
 * @param {string} title
 * @param {string} caption
 * @param {Token["high"]} list
 * @param {SearchIndex} index
 * @param {Context} context
 */
function means(title, caption, { row, mean }, index, context) {
  if (!row.length) return null
  const rows = row.map((at, place) => {
    const held = /** @type {Row} */ (index.rows?.get(at))
    return h("tr", {}, nameCell(held, context), thumbCell(held), figure(number(mean[place], { sign: true })),
      figure(`${number(Math.abs(mean[place]) / Math.hypot(held.mean ?? NaN, held.std ?? NaN))} ×`), figure(`${number(held.min)} … ${number(held.max)}`))
  })
  return tableOf(title, caption, ["Channel", "Activations", "Mean here", "Against RMS", "Its range"], rows)
}

/** @param {Token["peaks"]} peaks @param {SearchIndex} index @param {Context} context */
function examples({ row, value, doc, position }, index, context) {
  const rows = row.map((at, place) => {
    const held = /** @type {Row} */ (index.rows?.get(at))
    const link = doc[place] < 0 ? `position ${count(position[place])}`
      : h("a", { href: context.linkTo(`doc/${doc[place]}`, documentHash(position[place], held.id)) }, `document ${doc[place]}, token ${count(position[place])}`)
    return h("tr", {}, nameCell(held, context), thumbCell(held), figure(number(value[place], { sign: true })), h("td", {}, link))
  })
  return tableOf("Peaks on it", "Channels with this token under the peak of one of their strongest examples, each with the strongest of these.", ["Channel", "Activations", "Activation", "Where"], rows)
}

/** @param {Row} row @param {Context} context */
function nameCell(row, context) {
  return h("th", { scope: "row" }, h("a", { href: context.linkTo(row.id) }, h("bdi", {}, row.label ?? readableId(row.id))),
    row.label && h("span", { class: "fb-hit__kind" }, ` ${readableId(row.id)}`))
}

/** @param {Row} row */
function thumbCell(row) {
  return h("td", {}, thumbnail(barsOfLevels(row.histogram), row.histogram_low, row.histogram_high))
}

/** @param {string} text */
function figure(text) {
  return h("td", { class: "fb-number" }, text)
}

/** @param {string} title @param {string} caption @param {string[]} heads @param {HTMLElement[]} rows */
function tableOf(title, caption, heads, rows) {
  const id = title.toLowerCase().replaceAll(" ", "-")
  return h("section", { class: "fb-panel", "aria-labelledby": id }, h("h2", { id }, title), h("p", { class: "fb-caption" }, caption),
    h("div", { class: "fb-token-table", tabindex: "0", role: "region", "aria-labelledby": id },
      h("table", { class: "fb-table" }, h("thead", {}, h("tr", {}, ...heads.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, ...rows))))
}
