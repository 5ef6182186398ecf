/** One example on one line: its peak in the middle, its value at the end, which links to the document. */
import { h } from "./elements.mjs"
import { captionOf, tokenRun } from "./heatmap.mjs"
import { linearScale } from "./heatmap/scale.mjs"
import { around, groupTokens, stripOfExample } from "./heatmap/tokens.mjs"
import { documentHash } from "./hash.mjs"
import { number } from "./numbers.mjs"
import { maximumOf } from "./reading.mjs"

/** @typedef {import("./main.mjs").Context} Context */
/** @typedef {import("./shards.mjs").Example} Example */

/** Groups on either side of the peak. */
const REACH = 10

/**
 * One example on one line, its peak in the middle, the value at the end.
 * @param {Example} example
 * @param {number} times  identical windows
 * @param {{id: string, scale: number, is_signed: boolean}} channel
 * @param {{tokens: string[], special: number[]}} shard
 * @param {Context} context
 * @returns {HTMLElement}
 */
export function snippet(example, times, channel, shard, context) {
  const strip = {
    ...stripOfExample(example, { tokens: shard.tokens, special: shard.special, scale: channel.scale }),
    href: example.has_page ? context.linkTo(`doc/${example.doc}`, documentHash(example.position, channel.id)) : null,
  }
  const groups = groupTokens(strip)
  const range = around(groups, strip.target, REACH)
  const scale = linearScale(maximumOf(channel), channel.is_signed)
  const line = h("div", { class: "fb-snippet__line" }, tokenRun(strip, scale, { groups, range }))
  const value = h("span", { class: "fb-number fb-snippet__value" }, number(example.value, { sign: true }))
  const source = strip.href ? h("a", { href: strip.href, title: example.doc_name, class: "fb-snippet__link" }, value) : value
  requestAnimationFrame(() => centre(line, line.querySelector(".fb-token--target")))
  return h(
    "figure",
    { class: "fb-snippet" },
    line,
    source,
    times > 1 && h("span", { class: "fb-snippet__times" }, `×${times}`),
    h("figcaption", { class: "fb-hidden" }, captionOf(strip, groups, example.value, example.group)),
  )
}

/**
 * Scrolls a line sideways until an element stands in its middle.
 * @param {HTMLElement} line
 * @param {Element | null} middle
 */
function centre(line, middle) {
  if (!middle) return
  const box = line.getBoundingClientRect(), token = middle.getBoundingClientRect()
  line.scrollLeft += token.left + token.width / 2 - box.left - box.width / 2
}
