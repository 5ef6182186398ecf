/**
 * An example in its whole document, in place: the text with the channel's values, a minimap, and a threshold. Where the
 * document is shared by all channels every value is known; elsewhere those among the strongest of their token, and those in
 * the windows of the channel's own examples.
 */
import { h } from "./elements.mjs"
import { toneOf } from "./heatmap/scale.mjs"
import { groupOf, visible } from "./heatmap/tokens.mjs"
import { Tooltip } from "./heatmap/tooltip.mjs"
import { count, number, plural } from "./numbers.mjs"
import { Prose } from "./prose.mjs"
import { groupsOf, minimapOf, valuesOf } from "./reading.mjs"
import { decode, fetchShared, fetchValues, offsetsOf } from "./values.mjs"

/** @typedef {import("./main.mjs").Context} Context */
/** @typedef {import("./shards.mjs").Example} Example */
/** @typedef {import("./shards.mjs").ChannelShard} ChannelShard */
/** @typedef {import("./reading.mjs").DocumentShard} DocumentShard */
/** @typedef {import("./heatmap/scale.mjs").Scale} Scale */
/** @typedef {import("./heatmap/tokens.mjs").Group} Group */

const PARTS = 120
/** Steps of the slider from 0 to the maximum. */
const STEPS = 100

/**
 * The box in which a document will stand. It fetches what it needs at once.
 * @param {Example} example
 * @param {ChannelShard} shard
 * @param {Scale} scale
 * @param {Context} context
 * @param {string | null} href  of the document's page
 * @returns {HTMLElement}
 */
export function inDocument(example, shard, scale, context, href) {
  const box = h("div", { class: "fb-indoc" })
  if (!example.has_page) {
    box.append(h("p", { class: "fb-note" }, `Document ${example.doc} (${example.doc_name}) is not on this site: a run keeps some documents whole, chosen by hash (documents and document_megabytes in [summarize]). This is all of it that is known.`))
    return box
  }
  box.append(h("p", { class: "fb-note", role: "status" }, "Fetching the document…"))
  void fill(box, example, shard, scale, context, href)
  return box
}

/**
 * @param {HTMLElement} box
 * @param {Example} example
 * @param {ChannelShard} shard
 * @param {Scale} scale
 * @param {Context} context
 * @param {string | null} href
 */
async function fill(box, example, shard, scale, context, href) {
  try {
    /** @type {DocumentShard} */
    const text = await context.fetchShard(`doc/${example.doc}`)
    const known = await knownValues(example.doc, text, shard, context)
    box.replaceChildren(...new View(example, text, known, scale, href).parts())
  } catch (error) {
    const retry = h("button", { type: "button", class: "fb-button" }, "Try again")
    retry.addEventListener("click", () => void fill(box, example, shard, scale, context, href))
    box.replaceChildren(h("div", { class: "fb-failure", role: "alert" }, h("p", {}, "The document could not be drawn: ", error instanceof Error ? error.message : String(error)), retry))
  }
}

/**
 * The channel's values at the tokens of a document, and whether that is all of them.
 * @param {number} doc
 * @param {DocumentShard} text
 * @param {ChannelShard} shard
 * @param {Context} context
 * @returns {Promise<{values: Float64Array, isWhole: boolean}>}  per token, NaN where not known
 */
async function knownValues(doc, text, shard, context) {
  const whole = await sharedValues(doc, shard.id, context).catch(() => null)
  if (whole) return { values: whole, isWhole: true }
  return { values: partialValues(doc, text, shard), isWhole: false }
}

/** @param {number} doc @param {string} id @param {Context} context */
async function sharedValues(doc, id, context) {
  const shared = await fetchShared(context)
  const place = shared.documents.findIndex((one) => one.id === `doc/${doc}`)
  if (place < 0) return null
  const offsets = offsetsOf(shared)
  const values = decode(await fetchValues(id, context), offsets[offsets.length - 1])
  return values && Float64Array.from(values.subarray(offsets[place], offsets[place + 1]))
}

/**
 * What the document's own shard and the windows of the examples hold of a channel.
 * @param {number} doc
 * @param {DocumentShard} text
 * @param {ChannelShard} shard
 */
export function partialValues(doc, text, shard) {
  const values = new Float64Array(text.n_tokens).fill(NaN)
  const channel = text.channels.findIndex(({ id }) => id === shard.id)
  const alone = Array.from({ length: text.n_tokens }, (_, token) => ({ first: token, end: token + 1 }))
  if (channel >= 0) values.set(valuesOf(text, /** @type {Group[]} */ (alone), channel))
  for (const example of shard.examples) {
    if (example.doc !== doc) continue
    example.values.forEach((step, index) => (values[example.start + index] = step === null ? NaN : step * shard.scale))
  }
  return values
}

class View {
  /**
   * @param {Example} example
   * @param {DocumentShard} text
   * @param {{values: Float64Array, isWhole: boolean}} known
   * @param {Scale} scale
   * @param {string | null} href
   */
  constructor(example, text, known, scale, href) {
    this.example = example
    this.text = text
    this.known = known
    this.scale = scale
    this.href = href
    this.groups = groupsOf(text)
    this.values = Float64Array.from(this.groups, ({ first, end }) => strongestOf(known.values.subarray(first, end)))
    this.prose = new Prose(this.groups)
    this.minimap = h("div", { class: "fb-minimap", "aria-hidden": "true", title: "Where the channel is strong" })
    this.slider = h("input", { type: "range", min: 0, max: STEPS, value: 0, class: "fb-slider", "aria-label": "Colour only from this size of activation" })
    this.shown = h("output", { class: "fb-number" })
  }

  parts() {
    const { prose, example, text } = this
    const scroller = h("div", { class: "fb-indoc__text" }, prose.element, this.minimap)
    const label = h("label", { class: "fb-indoc__threshold" }, "Threshold", this.slider, this.shown)
    const open = this.href && h("a", { class: "fb-button", href: this.href }, "Open the document")
    const note = this.known.isWhole ? null : h("p", { class: "fb-note" }, "Known here are the tokens at which this channel is among the strongest, and the windows of its examples; the rest is left uncoloured.")
    this.#listen(scroller)
    this.#colour()
    requestAnimationFrame(() => this.#toPeak(scroller))
    return [
      h("div", { class: "fb-indoc__bar" }, h("span", { class: "fb-note" }, `${text.name}, ${plural(text.n_tokens, "token")}, peak at ${count(example.position)}`), label, open),
      scroller, ...(note ? [note] : []),
    ]
  }

  /** @param {HTMLElement} scroller */
  #listen(scroller) {
    this.slider.addEventListener("input", () => this.#colour())
    this.minimap.addEventListener("click", ({ target }) => {
      const group = /** @type {HTMLElement} */ (target).dataset.group
      if (group !== undefined) this.#show(scroller, Number(group))
    })
    this.prose.element.addEventListener("pointerover", ({ target, pointerType }) => pointerType !== "touch" && this.#hover(target))
    this.prose.element.addEventListener("click", ({ target }) => this.#hover(target))
    this.prose.element.addEventListener("pointerleave", () => Tooltip.shared().leave())
    this.prose.element.addEventListener("keydown", (event) => this.#onKey(event, scroller))
  }

  /** @param {KeyboardEvent} event @param {HTMLElement} scroller */
  #onKey(event, scroller) {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return
    event.preventDefault()
    const next = Math.max(0, Math.min(this.groups.length - 1, this.prose.cursor + (event.key === "ArrowRight" ? 1 : -1)))
    this.#show(scroller, next)
    this.#hover(this.prose.spanOf(next))
  }

  get threshold() {
    return (Number(this.slider.value) / STEPS) * this.scale.maximum
  }

  #colour() {
    const { threshold, values, scale } = this
    const kept = values.map((value) => (Math.abs(value) >= threshold ? value : NaN))
    const isAbove = threshold > 0 ? kept.reduce((n, value) => n + Number(!Number.isNaN(value)), 0) : 0
    this.prose.colour([{ values: kept.map((value) => scale.t(Number.isNaN(value) ? null : value)), maximum: 1 }])
    this.shown.textContent = threshold > 0 ? `${number(threshold)}: ${plural(isAbove, "token")}` : "all"
    this.slider.setAttribute("aria-valuetext", this.shown.textContent)
    this.minimap.replaceChildren(...minimapOf(kept, PARTS).map(({ value, group }) => h("i", { class: toneOf(scale.t(value)), "data-group": group })))
  }

  /** The document's scroller moves, never the page. @param {HTMLElement} scroller @param {number} group */
  #show(scroller, group) {
    this.prose.goTo(group, null)
    const span = this.prose.spanOf(group)
    if (!span) return
    const [box, token] = [scroller.getBoundingClientRect(), span.getBoundingClientRect()]
    scroller.scrollTop += token.top + token.height / 2 - box.top - box.height / 2
  }

  /** @param {HTMLElement} scroller */
  #toPeak(scroller) {
    this.#show(scroller, groupOf(this.groups, this.example.position))
  }

  /** @param {EventTarget | null} target */
  #hover(target) {
    const group = this.prose.groupAt(target)
    const span = group < 0 ? null : this.prose.spanOf(group)
    if (!span) return Tooltip.shared().leave()
    const value = this.values[group]
    Tooltip.shared().show(span, () => h("div", {},
      h("p", {}, h("strong", { class: "fb-text", dir: "auto" }, `‘${visible(this.groups[group].text)}’`), ` position ${count(this.groups[group].first)}`),
      h("p", { class: "fb-number" }, Number.isNaN(value) ? "not known here" : number(value, { sign: this.scale.isSigned }))))
  }
}

/** @param {Float64Array} values */
function strongestOf(values) {
  let found = NaN
  for (const value of values) if (!(Math.abs(value) <= Math.abs(found)) && !Number.isNaN(value)) found = value
  return found
}
