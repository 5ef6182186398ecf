import { folded, h, table } from "../elements.mjs"
import { attachHeatmap, legend, tokenRun } from "../heatmap.mjs"
import { linearScale } from "../heatmap/scale.mjs"
import { visible } from "../heatmap/tokens.mjs"
import { count, number, percent } from "../numbers.mjs"

/** @typedef {import("../shards.mjs").ChannelShard} ChannelShard */
/**
 * @typedef {object} Attribution
 * @property {number} doc
 * @property {string} doc_name
 * @property {boolean} has_page
 * @property {number} start  of the tokens shown, in the document
 * @property {number} position  of the peak
 * @property {number[]} text
 * @property {number[]} scores
 * @property {number} elsewhere  the sum over tokens that are not shown
 * @property {number} n_elsewhere
 * @property {number} n_tokens  that were read
 * @property {number} value
 * @property {number} measured  in the whole document
 * @property {number} baseline_value
 * @property {number} gap
 * @property {number} n_nodes
 * @property {string} warning
 * @property {string} method
 */

/** Above this difference between the cut text's activation and the document's, the page says so. */
const DIFFERENCE = 0.05

/**
 * The scores as a strip of tokens.
 * @param {Attribution} found
 * @param {ChannelShard} shard
 * @param {string | null} href
 * @returns {import("../heatmap/tokens.mjs").Strip}
 */
export function stripOf(found, shard, href) {
  const special = new Set(shard.special)
  const largest = Math.max(...found.scores.map(Math.abs))
  return {
    display: found.text.map((place) => shard.tokens[place]),
    tokenIds: found.text.map((place) => shard.token_ids[place]),
    values: found.scores,
    isSpecial: found.text.map((place) => special.has(place)),
    start: found.start,
    target: found.position - found.start,
    precision: largest * 5e-5,
    source: found.doc_name,
    href,
  }
}

/**
 * What the numbers beside the heatmap say, a sentence each.
 * @param {Attribution} found
 */
export function sentences(found) {
  const change = found.value - found.baseline_value
  const told = [
    `From ${number(found.baseline_value, { sign: true })} at the baseline to ${number(found.value, { sign: true })}: the scores share out ${number(change, { sign: true })}.`,
  ]
  if (found.n_elsewhere) told.push(`${count(found.n_elsewhere)} tokens that are not shown have ${number(found.elsewhere, { sign: true })} of it.`)
  told.push(`The sum is off by ${number(found.gap, { sign: true })} (${percent(Math.abs(found.gap / (change || 1)))}; ${count(found.n_nodes)} nodes).`)
  if (Math.abs(found.value - found.measured) > DIFFERENCE * Math.abs(found.measured))
    told.push(`Read from these ${count(found.n_tokens)} tokens alone; in the whole document the activation is ${number(found.measured, { sign: true })}.`)
  return told
}

/**
 * The scores as a table, in the order of the text.
 * @param {import("../heatmap/tokens.mjs").Strip} strip
 */
function numbersOf({ display, values, start }) {
  return table("Shares of the tokens", ["token", "position", "share"], display.map((text, index) => [
    h("bdi", { class: "fb-text" }, visible(text)), count(start + index), number(values[index], { sign: true }),
  ]))
}

/** @type {import("../panels.mjs").Panel} */
export const panel = {
  title: "Where its strongest activation comes from",
  caption: "Each token’s share in the activation at the outlined token, in units of the activation; negative shares held it down.",
  anchor: "attribution-to-tokens",
  draw: (shard, context) => {
    const found = /** @type {Attribution} */ (/** @type {any} */ (shard).attribution)
    const href = found.has_page ? context.linkTo(`doc/${found.doc}`) : null
    const strip = stripOf(found, shard, href)
    const scale = linearScale(Math.max(...found.scores.map(Math.abs)), true)
    const box = h("div", { class: "fb-attribution" },
      h("p", { class: "fb-attribution__run" }, tokenRun(strip, scale)), legend(scale),
      found.warning ? h("p", { class: "fb-warning", role: "note" }, found.warning) : null,
      h("p", { class: "fb-note" }, `${sentences(found).join(" ")} ${found.method}`, " ",
        href ? h("a", { href }, found.doc_name) : found.doc_name),
      folded("Numbers", () => [numbersOf(strip)]))
    attachHeatmap(box)
    return box
  },
}
