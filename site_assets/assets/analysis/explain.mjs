/** Why a prediction was made: logit lens, attribution to the input tokens, direct parts of the logit. */
import { folded, h, table } from "../elements.mjs"
import { visible } from "../heatmap/tokens.mjs"
import { number, percent } from "../numbers.mjs"
import { choice, explained, knownOf, methodFold, rangeOf } from "./metrics.mjs"
import { entryText, textOf, tokenText } from "./reading.mjs"
import { valueGrid } from "./value-grid.mjs"

/** @typedef {import("../main.mjs").Context} Context */
/** @typedef {any} TextShard */

/** Positions of the lens shown at once. */
const WINDOW = 24
/** Characters of a token in a cell. */
const LONGEST = 10

/** A token cut to fit a cell. @param {string} text */
function cut(text) {
  const chars = [...visible(text)]
  return chars.length > LONGEST ? `${chars.slice(0, LONGEST - 1).join("")}…` : chars.join("")
}

/**
 * Layer × position: the top prediction of each layer by its probability.
 * @param {TextShard} shard
 * @param {Context} context
 */
export function logitLens(shard, context) {
  const { lens, model } = shard
  const tokens = textOf(shard), box = h("div", {})
  const variants = model.variants.filter((/** @type {string} */ variant) => lens[variant])
  let variant = variants.at(-1), start = Math.max(0, tokens.length - WINDOW)
  const draw = () => {
    const layers = lens[variant]
    const places = Array.from({ length: Math.min(WINDOW, tokens.length - start) }, (_, index) => start + index)
    const windows = Array.from({ length: Math.ceil(tokens.length / WINDOW) }, (_, index) => Math.max(0, tokens.length - (index + 1) * WINDOW)).toReversed()
    box.replaceChildren(
      h("div", { class: "fb-toolbar fb-toolbar--quiet" },
        choice("Model", variants.map((/** @type {string} */ one) => [one, one]), variant, (next) => {
          variant = next
          draw()
        }),
        choice("Tokens", windows.map((first) => [String(first), `${first}–${Math.min(tokens.length, first + WINDOW) - 1}`]), String(start), (next) => {
          start = Number(next)
          draw()
        })),
      valueGrid({
        caption: `Logit lens of ${variant}: layer by token`, corner: "layer", low: 0, high: 1,
        rows: layers.map((/** @type {any} */ { layer }, /** @type {number} */ index) => ({ text: index === layers.length - 1 ? `${layer} (model)` : String(layer) })),
        columns: places.map((place) => ({ text: cut(tokens[place]), title: `token ${place}` })),
        values: layers.map((/** @type {any} */ one) => places.map((place) => one.probability[place]?.[0] ?? null)),
        cell: (row, column) => cut(entryText(shard, layers[row].tokens[places[column]][0])),
        tip: (row, column) => {
          const one = layers[row], place = places[column]
          const top = one.tokens[place].map((/** @type {number} */ entry, /** @type {number} */ rank) => `${visible(entryText(shard, entry))} ${percent(one.probability[place][rank])}`)
          return [`layer ${one.layer}, after token ${place} ‘${visible(tokens[place])}’`, ...top, `entropy ${number(one.entropy[place])} nats, KL(final ‖ this) ${number(one.divergence[place])}`,
            ...(one.actual[place] === null ? [] : [`the token that follows: ${percent(one.actual[place])}`])].join("\n")
        },
      }),
      h("p", { class: "fb-note" }, explained("logit-lens", "What the logit lens is", context)), methodFold(lens.method))
  }
  draw()
  return box
}

/** @type {[string, string, string][]} */
const METHODS = [["integrated_gradients", "Integrated gradients", "integrated-gradients"], ["gradient_times_input", "Gradient × input", "gradient-times-input"]]

/**
 * The tokens coloured by their share in one logit.
 * @param {TextShard} shard
 * @param {Context} context
 */
export function attribution(shard, context) {
  const { attribution: found, model } = shard
  const tokens = textOf(shard), box = h("div", {})
  const variants = model.variants.filter((/** @type {string} */ variant) => found[variant])
  let variant = variants.at(-1), method = METHODS[0][0]
  const said = h("p", { class: "fb-analysis-said", role: "status" })
  const draw = () => {
    const one = found[variant][method]
    const text = tokenText(shard, (token) => {
      text.mark(token)
      said.textContent = `Token ${token} ‘${visible(tokens[token])}’: ${number(one.scores[token], { sign: true })}`
    })
    text.colour(one.scores, true)
    text.mark(found.position)
    const order = one.scores.map((/** @type {number} */ score, /** @type {number} */ token) => ({ score, token }))
      .sort((/** @type {any} */ a, /** @type {any} */ b) => Math.abs(b.score) - Math.abs(a.score)).slice(0, 10)
    const sum = one.scores.reduce((/** @type {number} */ a, /** @type {number} */ b) => a + b, 0)
    const page = METHODS.find(([name]) => name === method)
    box.replaceChildren(
      h("div", { class: "fb-toolbar fb-toolbar--quiet" },
        choice("Method", METHODS.map(([name, label]) => [name, label]), method, (next) => {
          method = next
          draw()
        }),
        choice("Model", variants.map((/** @type {string} */ name) => [name, name]), variant, (next) => {
          variant = next
          draw()
        })),
      h("p", {}, "The logit of ", h("bdi", { class: "fb-token-mark", translate: "no" }, visible(entryText(shard, found.token))), ` at token ${found.position} is ${number(found[variant].value)} in the ${variant} model; the scores add up to ${number(sum)}.`,
        one.gap === undefined ? "" : ` From the baseline, at ${number(one.baseline_value)}, ${number(found[variant].value - one.baseline_value)} was to be explained.`, " ",
        page ? explained(page[2], page[1], context) : ""),
      one.warning ? h("p", { class: "fb-analysis-warning", role: "note" }, one.warning) : "",
      text.element, said,
      folded("Largest scores", () => [table("Largest scores", ["token", "at", "score"], order.map((/** @type {any} */ { score, token }) =>
        [h("bdi", { class: "fb-text" }, visible(tokens[token])), String(token), number(score, { sign: true })]))]),
      methodFold(one.method))
  }
  draw()
  return box
}

/**
 * Heads, MLPs and embedding, which add up to the logit.
 * @param {TextShard} shard
 * @param {Context} context
 */
export function logitParts(shard, context) {
  const { logit_parts: parts, model } = shard
  const variants = model.variants.filter((/** @type {string} */ variant) => parts[variant])
  const reach = rangeOf(knownOf(variants.map((/** @type {string} */ variant) => [parts[variant].heads, parts[variant].mlps])))
  return h("div", {},
    h("p", {}, "The logit of ", h("bdi", { class: "fb-token-mark", translate: "no" }, visible(entryText(shard, parts.token))), ` at token ${parts.position}, centred over the vocabulary, as a sum of what each part writes. `, explained("direct-logit-attribution", "What this means", context)),
    h("div", { class: "fb-analysis-pair" }, ...variants.map((/** @type {string} */ variant) => {
      const one = parts[variant]
      const values = one.heads.map((/** @type {number[]} */ row, /** @type {number} */ layer) => [...row, one.attention_bias[layer], one.mlps[layer]])
      const columns = [...one.heads[0].map((/** @type {number} */ _, /** @type {number} */ head) => ({ text: String(head), title: `head ${head}` })), { text: "bias", title: "bias of attention" }, { text: "MLP" }]
      return h("figure", { class: "fb-analysis-figure" }, h("figcaption", {}, variant),
        valueGrid({
          caption: `Parts of the logit in the ${variant} model, layer by head`, corner: "layer", rows: values.map((/** @type {any} */ _, /** @type {number} */ layer) => ({ text: String(layer) })), columns, values,
          low: reach[0], high: reach[1], isSigned: true, isBare: columns.length > 14,
          tip: (layer, column) => `layer ${layer}, ${column < one.heads[0].length ? `head ${column}` : (columns[column].title ?? columns[column].text)}\n${number(values[layer][column], { sign: true })}`,
        }),
        h("p", { class: "fb-note fb-number" }, `embedding ${number(one.embedding, { sign: true })}, bias ${number(one.bias, { sign: true })}, together ${number(one.logit)} (missing ${number(one.gap)})`))
    })), methodFold(parts.method))
}
