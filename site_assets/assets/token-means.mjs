/** A short table of tokens with their mean activation and their count. */
import { folded, h, table } from "./elements.mjs"
import { count, number } from "./numbers.mjs"
import { visible } from "./heatmap/tokens.mjs"

/** Rows shown before "more". */
const shown = 5

/**
 * @param {string} caption
 * @param {import("./shards.mjs").TokenMean[]} tokens
 * @returns {HTMLElement | null}
 */
export function tokenMeans(caption, tokens) {
  if (!tokens.length) return null
  const rows = (/** @type {import("./shards.mjs").TokenMean[]} */ part) =>
    table(
      caption,
      ["token", "mean", "count"],
      part.map(({ text, token_id, mean, count: n }) => [
        h("bdi", { class: "fb-text", title: `id ${token_id}` }, visible(text)),
        number(mean, { sign: true }),
        count(n),
      ]),
    )
  const rest = tokens.slice(shown)
  return h(
    "div",
    { class: "fb-means" },
    rows(tokens.slice(0, shown)),
    rest.length > 0 && folded(`${rest.length} more`, () => [rows(rest)]),
  )
}
