/** Two to four channels side by side: what they are, the same passages with the values of each, scatter, cosines, correlation. */
import { h, table } from "../elements.mjs"
import { cosine, histogramChart } from "../chart.mjs"
import { byDocument, correlation, cosineOf, maximumOf, passageOf, peaksOf, rowsOf, stripOf } from "../compare.mjs"
import { compareUrl, MOST, trayed } from "../compare-tray.mjs"
import { copyFrom, keepCentred } from "../examples.mjs"
import { attachHeatmap, legend, tokenRun } from "../heatmap.mjs"
import { linearScale } from "../heatmap/scale.mjs"
import { around, groupTokens, visible } from "../heatmap/tokens.mjs"
import { documentHash } from "../hash.mjs"
import { count, number, percent, plural } from "../numbers.mjs"
import { scatter } from "../scatter.mjs"
import { readableId } from "../shards.mjs"
import { decode, fetchValues, offsetsOf, once } from "../values.mjs"

/** @typedef {import("../main.mjs").Context} Context */
/** @typedef {import("../shards.mjs").ChannelShard} ChannelShard */
/** @typedef {import("../values.mjs").Shared} Shared */
/** @typedef {import("../values.mjs").ValuesShard} ValuesShard */
/** @typedef {{channel: ChannelShard, held: ValuesShard | null, values: Float32Array | null}} Column */

/** Rows drawn at first, and added at a time. */
const ROWS = 12
const REACH = 12
/** Places of each channel in the shared documents. */
const PLACES = 5
const LETTERS = "ABCD"

/**
 * @param {HTMLElement} element
 * @param {Shared} shared
 * @param {Context} context
 */
export async function mount(element, shared, context) {
  const box = /** @type {HTMLElement} */ (element.querySelector('[data-slot="compare"]'))
  const copy = /** @type {HTMLElement | null} */ (document.querySelector('[data-action="copy-link"]'))
  if (copy) copy.onclick = () => void copyFrom(copy, "Copy link", location.href)
  const asked = askedFor()
  const ids = asked.slice(0, MOST)
  if (!ids.length) return showChoice(box, [], context)
  const columns = await Promise.all(ids.map((id) => column(id, shared, context)))
  if (columns.length < 2) return showChoice(box, columns, context)
  const values = columns.map((one) => one.values)
  const places = peaksOf(values, shared, PLACES)
  const passages = await Promise.all(places.map(async ({ doc, position, channel }) => ({ passage: passageOf(await once(doc, context), position), from: ids[channel] })))
  const rows = rowsOf(columns.map(({ channel }) => channel), values, shared, passages)
  const tooMany = asked.length > MOST ? [h("p", { class: "fb-note" }, `${MOST} channels stand side by side at most; left out: ${asked.slice(MOST).map(readableId).join(", ")}`)] : []
  box.replaceChildren(...tooMany, ...new Comparison(columns, shared, rows, context).parts())
}

/** The ids in the address, else those in the tray. @returns {string[]} */
function askedFor() {
  const ids = (new URLSearchParams(location.search).get("ids") ?? "").split(",").map((id) => id.trim()).filter(Boolean)
  return [...new Set(ids.length ? ids : trayed())]
}

/** @param {string} id @param {Shared} shared @param {Context} context @returns {Promise<Column>} */
async function column(id, shared, context) {
  const offsets = offsetsOf(shared)
  const [channel, held] = await Promise.all([
    context.fetchShard(id).catch((error) => { throw new Error(`There is no channel “${id}” on this site (${error.message})`) }),
    fetchValues(id, context).catch(() => null),
  ])
  if (!channel.stats) throw new Error(`“${id}” is no channel`)
  return { channel, held, values: held && decode(held, offsets[offsets.length - 1]) }
}

/**
 * A form for those who come without a choice, or with one channel only.
 * @param {HTMLElement} box
 * @param {Column[]} columns
 * @param {Context} context
 */
function showChoice(box, columns, context) {
  const field = h("input", { class: "fb-input fb-compare__ids", name: "ids", "aria-label": "Ids of two to four channels", placeholder: "lora/L0/q_proj, lora/L0/k_proj", value: columns.map(({ channel }) => channel.id).join(", ") })
  const form = h("form", { class: "fb-row fb-compare__form" }, field, h("button", { class: "fb-button fb-button--main" }, "Compare"))
  form.addEventListener("submit", (event) => {
    event.preventDefault()
    location.href = compareUrl(field.value.split(/[\s,]+/).filter(Boolean), context)
  })
  const lead = box.querySelector(".fb-lead") ?? h("p", { class: "fb-lead" }, "Two to four channels, on the same text.")
  box.replaceChildren(lead, form, h("p", { class: "fb-note" }, "Or choose “Compare” on the pages of channels: what you put aside is kept at the foot of the window. ", h("a", { href: context.linkTo("explorer") }, "All channels")))
}

class Comparison {
  /** @param {Column[]} columns @param {Shared} shared @param {import("../compare.mjs").Row[]} rows @param {Context} context */
  constructor(columns, shared, rows, context) {
    this.columns = columns
    this.channels = columns.map(({ channel }) => channel)
    this.shared = shared
    this.context = context
    this.left = new Set(shared.unmeasured)
    this.scales = this.channels.map((channel) => linearScale(maximumOf(channel), channel.is_signed))
    this.rows = rows
    this.nTokens = offsetsOf(shared).at(-1) ?? 0
  }

  parts() {
    return [this.#heads(), this.#pairs(), this.#passages()]
  }

  #heads() {
    return h("div", { class: `fb-compare__heads fb-compare__heads--${this.columns.length}` }, ...this.channels.map((channel, index) => this.#head(channel, index)))
  }

  /** @param {ChannelShard} channel @param {number} index */
  #head(channel, index) {
    const { stats, top_tokens, bottom_tokens } = channel
    const others = this.channels.filter((other) => other !== channel).map(({ id }) => id)
    const remove = h("a", { class: "fb-button", href: compareUrl(others, this.context), "aria-label": `Leave out ${readableId(channel.id)}`, title: "Leave out" }, "×")
    const tokens = (/** @type {string} */ name, /** @type {import("../shards.mjs").TokenMean[]} */ list) => list.length ? h("p", { class: "fb-compare__tokens" }, h("span", { class: "fb-note" }, name), ...list.slice(0, 5).map(({ text }) => h("bdi", { class: "fb-token-mark", translate: "no" }, visible(text)))) : null
    return h("section", { class: "fb-compare__head", "aria-label": channel.id },
      h("div", { class: "fb-compare__title" }, h("span", { class: "fb-compare__letter" }, LETTERS[index]), h("h2", {}, h("a", { href: this.context.linkTo(channel.id) }, readableId(channel.id))), readableId(channel.id).startsWith(channel.collection) ? null : h("span", { class: "fb-note" }, channel.collection), this.columns.length > 2 ? remove : null),
      channel.histogram.counts.length ? histogramChart(channel.histogram, { title: `Histogram of ${readableId(channel.id)}` }) : null,
      h("dl", { class: "fb-stats" }, ...[["active", percent(stats.density)], ["documents", count(stats.n_documents)], ["min", number(stats.min)], ["max", number(stats.max)]].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
      tokens("top ", top_tokens), tokens("bottom ", bottom_tokens))
  }

  /** One part per pair: numbers and the scatter. */
  #pairs() {
    const pairs = this.columns.flatMap((a, i) => this.columns.slice(i + 1).map((b, j) => this.#pair(a, b, i, i + 1 + j)))
    return h("section", { class: "fb-panel" }, h("h2", {}, "In pairs"),
      h("p", { class: "fb-caption" }, this.nTokens
        ? `Correlation and scatter over ${plural(this.shared.documents.length, "document")} (${count(this.nTokens)} tokens) on which every channel is known; one dot per document. Cosines only inside one space.`
        : "This run kept no values for comparing channels (value_tokens in [summarize]). Cosines only inside one space."),
      h("div", { class: "fb-grid fb-compare__pairs" }, ...pairs))
  }

  /** @param {Column} a @param {Column} b @param {number} i @param {number} j */
  #pair(a, b, i, j) {
    const [first, second] = [LETTERS[i], LETTERS[j]]
    const rows = [["correlation", this.#correlationOf(a, b)], ...this.#cosinesOf(a, b)]
    return h("div", { class: "fb-compare__pair" },
      h("h3", {}, `${first} and ${second}`),
      table(`${first} and ${second}`, ["", "value"], rows),
      a.values && b.values ? this.#scatterOf(a, b, first, second) : null)
  }

  /** On the shared documents; else what the list of the most correlated holds. @param {Column} a @param {Column} b */
  #correlationOf(a, b) {
    const listed = a.channel.neighbours.correlation?.find(({ id }) => id === b.channel.id)?.value
    if (!a.values || !b.values) return listed === undefined ? "not known" : `${cosine(listed)} (whole corpus)`
    const { value, n } = correlation(a.values, b.values, this.left)
    const here = value === null ? "not defined" : cosine(value)
    return listed === undefined ? `${here} (${count(n)} tokens)` : `${here} (${count(n)} tokens), ${cosine(listed)} (whole corpus)`
  }

  /** @param {Column} a @param {Column} b @returns {string[][]} */
  #cosinesOf(a, b) {
    const sides = /** @type {const} */ (["read", "write"])
    const found = sides.flatMap((side) => sides.map((other) => ({ side, other, hit: a.held && cosineOf(a.held, b.channel.id, this.shared, side, other) })))
    const rows = found.flatMap(({ side, other, hit }) => (hit ? [[side === other ? `cosine of ${side}s` : `cosine of ${side} and ${other}`, `${cosine(hit.value)} (${hit.space.replaceAll("_", " ")})`]] : []))
    return rows.length ? rows : [["cosine", "not defined: their vectors share no space"]]
  }

  /** @param {Column} a @param {Column} b @param {string} first @param {string} second */
  #scatterOf(a, b, first, second) {
    const [x, y] = [a, b].map(({ values }) => byDocument(/** @type {Float32Array} */ (values), this.shared, "peak"))
    const points = this.shared.documents.flatMap(({ id, name, has_page }, doc) =>
      x[doc] === null || y[doc] === null ? [] : [{ x: /** @type {number} */ (x[doc]), y: /** @type {number} */ (y[doc]), name, href: has_page ? this.context.linkTo(id, new URLSearchParams([["c", a.channel.id], ["c", b.channel.id]]).toString()) : null }])
    return points.length ? scatter(points, { title: `Strongest activation per document, ${first} and ${second}`, x: first, y: second }) : null
  }

  #passages() {
    const list = h("div", { class: "fb-compare__rows" })
    const more = h("button", { type: "button", class: "fb-button" }, "More passages")
    let shown = 0
    const grow = () => {
      list.append(...this.rows.slice(shown, shown + ROWS).map((row) => this.#row(row)))
      shown = Math.min(this.rows.length, shown + ROWS)
      more.hidden = shown >= this.rows.length
    }
    more.addEventListener("click", grow)
    grow()
    attachHeatmap(list)
    const whole = this.rows.filter(({ isWhole }) => isWhole).length
    return h("section", { class: "fb-panel" }, h("h2", {}, "On the same passages"),
      h("p", { class: "fb-caption" }, `${count(this.rows.length)} passages at which one of them is strong; those come first that are strong for two. Of ${count(whole)}, every value is known; of the others, which are examples from elsewhere in the corpus, only what a channel’s own examples hold: the rest is crossed out.`),
      h("div", { class: "fb-toolbar__legend" }, ...this.scales.map((scale, index) => h("span", { class: "fb-compare__legend" }, `${LETTERS[index]} `, legend(scale)))),
      list, more)
  }

  /** @param {import("../compare.mjs").Row} row */
  #row(row) {
    const { doc, doc_name, position, has_page } = row.example
    const hash = documentHash(position, row.from)
    const name = `${doc_name} at ${count(position)}`
    const owner = LETTERS[this.channels.findIndex(({ id }) => id === row.from)]
    return h("figure", { class: "fb-compare__row", "data-doc": doc },
      h("figcaption", {}, has_page ? h("a", { href: this.context.linkTo(`doc/${doc}`, hash) }, name) : name, ` · strong for ${owner}`, row.isWhole ? null : " · known in part"),
      ...this.channels.map((channel, index) => this.#line(row, index, channel)))
  }

  /** @param {import("../compare.mjs").Row} row @param {number} index @param {ChannelShard} channel */
  #line(row, index, channel) {
    const strip = { ...stripOf(row, index, channel), href: row.example.has_page ? this.context.linkTo(`doc/${row.example.doc}`, documentHash(row.example.position, channel.id)) : null }
    const groups = groupTokens(strip)
    const value = row.values[index][strip.target]
    const text = h("div", { class: "fb-compare__text" }, tokenRun(strip, this.scales[index], { groups, range: around(groups, strip.target, REACH) }))
    keepCentred(text)
    return h("div", { class: "fb-compare__line" },
      h("span", { class: "fb-compare__letter" }, LETTERS[index]), text,
      h("span", { class: "fb-number", title: "at the token in the middle" }, value === null ? "?" : number(value, { sign: true })))
  }
}
