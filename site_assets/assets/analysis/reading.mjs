/** A text under one model: its tokens coloured by surprise, entropy or KL, and what is predicted at the token one points to. */
import { h, table } from "../elements.mjs"
import { toneOf } from "../heatmap/scale.mjs"
import { pieces, visible } from "../heatmap/tokens.mjs"
import { number, percent } from "../numbers.mjs"
import { choice, explained, knownOf, rangeOf } from "./metrics.mjs"

/** @typedef {import("../main.mjs").Context} Context */
/** @typedef {any} TextShard */

/** Tokens listed in a prediction. */
const LISTED = 8

/** The display text of each token as read. @param {TextShard} shard @returns {string[]} */
export function textOf(shard) {
  return shard.text.map((/** @type {number} */ index) => shard.tokens[index])
}

/** The text of an entry that a section names. @param {TextShard} shard @param {number} entry @returns {string} */
export function entryText(shard, entry) {
  return shard.tokens[shard.vocabulary[entry]]
}

/**
 * A coloured text with one tab stop. `onPoint` is told of the token that the pointer, a tap or the arrow keys reached.
 * @param {TextShard} shard
 * @param {(token: number) => void} onPoint
 * @returns {{element: HTMLElement, colour: (values: (number | null)[], isSigned: boolean) => void, mark: (token: number) => void}}
 */
export function tokenText(shard, onPoint) {
  const special = new Set(shard.special)
  const spans = shard.text.map((/** @type {number} */ index) => {
    const span = h("span", { class: `fb-token${special.has(index) ? " fb-token--special" : ""}` })
    const text = shard.tokens[index]
    if (text === "") span.append(h("span", { class: "fb-chip", "data-source": "" }, "…"))
    for (const piece of pieces(text))
      span.append(piece.kind === "text" ? piece.text : piece.kind === "chip" ? h("span", { class: "fb-chip" }, piece.label) : h("span", { class: `fb-${piece.kind}` }, piece.text))
    return span
  })
  const element = h("p", { class: "fb-run fb-analysed-text", dir: "auto", translate: "no", spellcheck: "false" }, ...spans)
  const mark = (/** @type {number} */ token) => spans.forEach((/** @type {HTMLElement} */ span, /** @type {number} */ index) => {
    span.classList.toggle("fb-token--target", index === token)
    if (index === token) span.tabIndex = 0
    else span.removeAttribute("tabindex")
  })
  const tokenOf = (/** @type {Event} */ event) => spans.indexOf(/** @type {Element} */ (event.target).closest(".fb-token"))
  for (const type of ["pointerover", "click", "focusin"]) element.addEventListener(type, (event) => {
    const token = tokenOf(event)
    if (token >= 0) onPoint(token)
  })
  element.addEventListener("keydown", (event) => {
    const token = tokenOf(event)
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0
    if (token < 0 || !step || event.altKey || event.ctrlKey || event.metaKey || !spans[token + step]) return
    event.preventDefault()
    mark(token + step)
    spans[token + step].focus()
  })
  const colour = (/** @type {(number | null)[]} */ values, /** @type {boolean} */ isSigned) => {
    const [low, high] = rangeOf(knownOf(values))
    const reach = Math.max(Math.abs(low), Math.abs(high)) || 1
    spans.forEach((/** @type {HTMLElement} */ span, /** @type {number} */ index) => {
      const value = values[index]
      const kept = [...span.classList].filter((name) => !/^[pn]\d+$/.test(name))
      span.className = [...kept, value === null || value === undefined ? "" : toneOf(isSigned ? value / reach : Math.max(0, value) / reach)].filter(Boolean).join(" ")
    })
  }
  return { element, colour, mark }
}

/**
 * What a text can be coloured by: name, values per token, meaning.
 * @param {TextShard} shard
 * @returns {{name: string, label: string, page: string, isSigned: boolean, values: (number | null)[], note: string}[]}
 */
export function colourings(shard) {
  const found = []
  const { surprise, predictions, divergence } = shard
  for (const variant of shard.model.variants.toReversed()) {
    if (surprise[variant]) found.push({ name: `surprise-${variant}`, label: `Surprise, ${variant}`, page: "token-divergence", isSigned: false, values: surprise[variant], note: "−ln p of the token given those before it, in nats" })
  }
  if (divergence.base_adapted) {
    found.push({ name: "kl", label: "KL(base ‖ adapted)", page: "token-divergence", isSigned: false, values: divergence.base_adapted, note: "of the distributions predicted after the token, in nats" },
      { name: "change", label: "Change of surprise", page: "token-divergence", isSigned: true, values: [null, ...divergence.surprise_change.slice(0, -1)], note: "of the token, adapted less base, in nats: blue is expected more by the adapted model" })
  }
  for (const variant of shard.model.variants.toReversed()) {
    if (!predictions[variant]) continue
    /** @type {(number | null)[]} */
    const values = shard.text.map(() => null)
    predictions.positions.forEach((/** @type {number} */ position, /** @type {number} */ place) => (values[position] = predictions[variant].entropy[place]))
    found.push({ name: `entropy-${variant}`, label: `Entropy of the prediction, ${variant}`, page: "token-divergence", isSigned: false, values, note: predictions.kind === "masks" ? "at the masks, in nats" : "of what comes after the token, in nats" })
  }
  return found
}

/**
 * The text with its colouring chooser and the panel of predictions.
 * @param {TextShard} shard
 * @param {{colour: string, t: string}} state
 * @param {() => void} keep
 * @param {Context} context
 */
export function predictionReader(shard, state, keep, context) {
  const offers = colourings(shard)
  const panel = h("aside", { class: "fb-analysed-panel", "aria-label": "Predictions at the token" })
  const above = h("div", {})
  const isMasks = shard.predictions.kind === "masks"
  const start = isMasks ? shard.predictions.positions[0] : shard.text.length - 1
  const point = (/** @type {number} */ token, isKept = true) => {
    text.mark(token)
    panel.replaceChildren(...predictionsAt(shard, token, offers))
    if (isKept && state.t !== String(token)) {
      state.t = String(token)
      keep()
    }
  }
  const text = tokenText(shard, point)
  const paint = () => {
    const offer = offers.find(({ name }) => name === state.colour) ?? offers[0]
    if (!offer) return
    const [low, high] = rangeOf(knownOf(offer.values))
    text.colour(offer.values, offer.isSigned)
    above.replaceChildren(h("div", { class: "fb-toolbar fb-toolbar--quiet" },
      choice("Colour by", offers.map(({ name, label }) => [name, label]), offer.name, (name) => {
        state.colour = name
        keep()
        paint()
      })), h("p", { class: "fb-analysis-name" }, explained(offer.page, offer.label, context), ` · ${offer.note} · ${low === high ? number(low) : `from ${number(low)} to ${number(high)}`}`))
  }
  paint()
  const asked = state.t === "" ? NaN : Number(state.t)
  point(asked >= 0 && asked < shard.text.length ? Math.floor(asked) : start, false)
  return h("div", {}, above, h("div", { class: "fb-analysed-reader" }, text.element, panel))
}

/** @param {TextShard} shard @param {number} token @param {{label: string, values: (number | null)[]}[]} offers */
function predictionsAt(shard, token, offers) {
  const place = shard.predictions.positions?.indexOf(token) ?? -1
  const values = offers.flatMap(({ label, values: all }) => (all[token] === null || all[token] === undefined ? [] : [h("div", {}, h("dt", {}, label), h("dd", {}, number(all[token])))]))
  const title = shard.predictions.kind === "masks" ? "Fills the mask" : "What comes next"
  const lists = place < 0 ? [h("p", { class: "fb-note" }, shard.predictions.undefined ?? "Predictions are made at the masks only.")]
    : shard.model.variants.filter((/** @type {string} */ variant) => shard.predictions[variant]).map((/** @type {string} */ variant) => h("section", {},
      h("h3", {}, shard.model.variants.length > 1 ? `${title}, ${variant}` : title), topTable(shard, shard.predictions[variant], place, shard.text[token + 1])))
  return [h("h2", {}, "At ", h("bdi", { class: "fb-token-mark", translate: "no" }, visible(textOf(shard)[token])), h("small", {}, ` token ${token}`)),
    h("dl", { class: "fb-stat-list" }, ...values), ...lists]
}

/** @param {TextShard} shard @param {any} prediction @param {number} place @param {number | undefined} actual  the string of the token that follows */
function topTable(shard, prediction, place, actual) {
  const rows = prediction.tokens[place].slice(0, LISTED).map((/** @type {number} */ entry, /** @type {number} */ rank) => {
    const isActual = shard.predictions.kind === "next" && actual !== undefined && shard.vocabulary[entry] === actual
    return [h("bdi", { class: "fb-text", translate: "no" }, visible(entryText(shard, entry))), percent(prediction.probability[place][rank]), isActual ? "← follows" : ""]
  })
  return h("div", { class: "fb-table-box" }, table("Top predictions", ["token", "probability", ""], rows))
}

/**
 * Sampled continuations, each token titled with its probability.
 * @param {TextShard} shard
 */
export function continuations(shard) {
  const { continuations: found, model } = shard
  const { seed, temperature, top_k } = found.method ?? {}
  return h("div", {}, h("p", { class: "fb-note" }, `Sampled with seed ${seed}, temperature ${temperature}, from the ${top_k} likeliest tokens.`),
    h("div", { class: "fb-analysis-pair" }, ...model.variants.filter((/** @type {string} */ variant) => found[variant]).map((/** @type {string} */ variant) => h("div", {}, h("h3", {}, variant),
      h("ol", { class: "fb-continuations" }, ...found[variant].map((/** @type {any} */ one) => h("li", {}, h("span", { class: "fb-text", dir: "auto", translate: "no" },
        ...one.tokens.map((/** @type {number} */ entry, /** @type {number} */ index) => h("span", { title: percent(one.probability[index]) }, entryText(shard, entry) === "" ? "…" : pieces(entryText(shard, entry)).map(({ kind, text, label }) => (kind === "text" || kind === "space" || kind === "newline" ? text : label)).join("")))),
        one.is_finished ? "" : " …")))))))
}
