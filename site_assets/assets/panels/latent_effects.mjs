import { h } from "../elements.mjs"
import { attachHeatmap, legend, tokenRun } from "../heatmap.mjs"
import { linearScale } from "../heatmap/scale.mjs"
import { visible } from "../heatmap/tokens.mjs"
import { count, number, percent } from "../numbers.mjs"
import { placeTable } from "../places.mjs"

/** @typedef {import("../shards.mjs").ChannelShard} ChannelShard */
/** @typedef {import("../main.mjs").Context} Context */
/** @typedef {{text: number[], before: number[], after: number[]}} Moved */
/**
 * @typedef {object} Example
 * @property {number} doc
 * @property {string} doc_name
 * @property {boolean} has_page
 * @property {number} start
 * @property {number} position  of the peak
 * @property {number[]} text
 * @property {number[]} values  activations
 * @property {(number | null)[]} changes  of log p of the next token
 * @property {{at: number, up: Moved, down: Moved}[]} moved
 */
/** @typedef {{place: string, mean: number | null, n: number, method: string, examples: Example[]}} Effects */
/** @typedef {"changes" | "values"} Colour */

/** @type {import("../panels.mjs").Panel} */
export const panel = {
  title: "What ablating it does",
  caption: "The model run without this latent: how much more or less likely each true next token becomes.",
  anchor: "latents-over-hook-points",
  draw: (shard, context) => {
    const found = /** @type {Effects} */ (/** @type {any} */ (shard).latent_effects)
    const list = h("ol", { class: "fb-ablated" })
    const key = h("div", { class: "fb-ablated__key" })
    const show = (/** @type {Colour} */ colour) => {
      list.replaceChildren(...found.examples.map((example) => h("li", {}, exampleOf(example, colour, found, shard, context))))
      key.replaceChildren(legend(scaleOf(found, colour)))
    }
    const box = h("div", {}, h("p", { class: "fb-note" }, summary(found)),
      h("div", { class: "fb-toolbar" }, choice(show), key), list, h("p", { class: "fb-note" }, found.method))
    show("changes")
    attachHeatmap(box)
    return box
  },
}

/** @param {Effects} found */
export function summary({ place, mean, n }) {
  const told = mean === null ? "" : ` At the ${n === 1 ? "one shown token" : `${count(n)} shown tokens`} where it is active, log p of the true next token changes by ${number(mean, { sign: true })} nats on average: ${mean < 0 ? "it helps there" : mean > 0 ? "it is in the way there" : "it does nothing there"}.`
  return `Taken away at ${place}.${told}`
}

/** Buttons that say what colours the text. @param {(colour: Colour) => void} show */
function choice(show) {
  const group = h("div", { class: "fb-segments fb-segments--small", role: "group", "aria-label": "Coloured by" })
  for (const [colour, label] of /** @type {const} */ ([["changes", "Effect on the next token"], ["values", "Activation"]])) {
    const button = h("button", { type: "button", class: "fb-segment", "aria-pressed": String(colour === "changes") }, h("span", {}, label))
    button.addEventListener("click", () => {
      for (const other of group.children) other.setAttribute("aria-pressed", String(other === button))
      show(colour)
    })
    group.append(button)
  }
  return group
}

/**
 * One scale for all examples, so that they can be compared.
 * @param {Effects} found
 * @param {Colour} colour
 */
function scaleOf({ examples }, colour) {
  const largest = Math.max(0, ...examples.flatMap((example) => example[colour].map((value) => Math.abs(value ?? 0))))
  return linearScale(largest, colour === "changes" || examples.some(({ values }) => values.some((value) => value < 0)))
}

/**
 * @param {Example} example
 * @param {Colour} colour
 * @param {Effects} found
 * @param {ChannelShard} shard
 * @param {Context} context
 */
function exampleOf(example, colour, found, shard, context) {
  const special = new Set(shard.special)
  const href = example.has_page ? context.linkTo(`doc/${example.doc}`, `t=${example.position}`) : null
  const strip = {
    display: example.text.map((place) => shard.tokens[place]),
    tokenIds: example.text.map((place) => shard.token_ids[place]),
    values: example[colour],
    isSpecial: example.text.map((place) => special.has(place)),
    start: example.start,
    target: example.position - example.start,
    precision: 5e-5,
    source: example.doc_name,
    href,
    more: (/** @type {number} */ at) => beside(example, at, colour, shard),
  }
  return h("div", {}, h("p", { class: "fb-attribution__run" }, tokenRun(strip, scaleOf(found, colour))),
    h("p", { class: "fb-note" }, href ? h("a", { href }, example.doc_name) : example.doc_name),
    example.moved.length ? h("details", { class: "fb-fold" }, h("summary", {}, `Next tokens that move most, at ${count(example.moved.length)} tokens`), movedTable(example, shard)) : null)
}

/**
 * Of one token, for its tooltip: what the colour does not show, and the next tokens that move most.
 * @param {Example} example
 * @param {number} at
 * @param {Colour} colour
 * @param {ChannelShard} shard
 */
function beside({ values, changes, moved }, at, colour, shard) {
  const change = changes[at] === null ? "no next token here" : `log p of the true next token ${number(changes[at], { sign: true })}`
  const found = moved.find((one) => one.at === at)
  return h("div", {}, h("p", {}, colour === "values" ? change : `activation ${number(values[at])}`),
    found?.up.text.length ? h("p", {}, "without it more likely") : null, found ? side(found.up, shard) : null,
    found?.down.text.length ? h("p", {}, "without it less likely") : null, found ? side(found.down, shard) : null)
}

/** @param {number} place @param {ChannelShard} shard */
function text(place, shard) {
  return h("bdi", { class: "fb-text" }, visible(shard.tokens[place]))
}

/**
 * Next tokens with their probability before and after.
 * @param {Moved} moved
 * @param {ChannelShard} shard
 */
function side(moved, shard) {
  return h("ul", { class: "fb-place-tokens" }, ...moved.text.map((place, index) =>
    h("li", {}, text(place, shard), " ", h("span", { class: "fb-number" }, `${percent(moved.before[index])} → ${percent(moved.after[index])}`))))
}

/**
 * @param {Example} example
 * @param {ChannelShard} shard
 */
function movedTable(example, shard) {
  const rows = example.moved.map(({ at, up, down }) => ({ cells: [
    text(example.text[at], shard), at + 1 < example.text.length ? text(example.text[at + 1], shard) : "–",
    number(example.changes[at], { sign: true }), side(up, shard), side(down, shard),
  ] }))
  return placeTable("Next tokens that move most", ["after", "true next", "change of log p", "more likely without it", "less likely without it"], rows)
}
