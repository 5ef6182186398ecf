/** Tokens in a row, each visible down to its spaces. */
import { h } from "./elements.mjs"
import { visible } from "./heatmap/tokens.mjs"

/**
 * One token outside its text.
 * @param {string} text
 * @returns {HTMLElement}
 */
export function tokenMark(text) {
  return h("bdi", { class: "fb-token-mark", translate: "no" }, visible(text))
}

/**
 * The strongest tokens of one side.
 * @param {string[]} tokens
 * @param {"positive" | "negative"} side
 * @returns {HTMLElement | null}  null when there are none
 */
export function tokenList(tokens, side) {
  if (!tokens.length) return null
  return h(
    "span",
    { class: `fb-token-list fb-token-list--${side}` },
    h("span", { class: "fb-sign", "aria-label": side, role: "img" }, side === "positive" ? "+" : "−"),
    ...tokens.map(tokenMark),
  )
}
