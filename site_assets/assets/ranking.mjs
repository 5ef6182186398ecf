/** What the list of channels at a token is ranked by: the buttons that choose it. */
import { h } from "./elements.mjs"

/** @typedef {import("./reading.mjs").Ranking} Ranking */

/** What a button says, and what that means. */
export const RANKINGS = /** @type {const} */ ({
  value: ["Value", "|activation| over RMS, collection by collection"],
  rarity: ["Quantile", "how few tokens of the corpus are as strong"],
  effect: ["Effect", "the change of log p of the next token when it is ablated"],
})

/**
 * @param {Ranking} chosen
 * @param {boolean} hasEffects  whether effects were measured in this document
 * @param {(ranking: Ranking) => void} onChoose  draws the list anew; the button is focused again afterwards
 */
export function rankingButtons(chosen, hasEffects, onChoose) {
  const group = h("div", { class: "fb-segments fb-segments--small", role: "group", "aria-label": "Ranked by" })
  for (const [name, [label, title]] of Object.entries(RANKINGS)) {
    if (name === "effect" && !hasEffects) continue
    const button = h("button", { type: "button", class: "fb-segment", "data-ranking": name, title: `By ${title}`, "aria-pressed": String(name === chosen) }, h("span", {}, label))
    button.addEventListener("click", () => {
      const panel = group.parentElement
      onChoose(/** @type {Ranking} */ (name))
      const again = /** @type {HTMLElement | null | undefined} */ (panel?.querySelector(`[data-ranking="${name}"]`))
      again?.focus()
    })
    group.append(button)
  }
  return group
}
