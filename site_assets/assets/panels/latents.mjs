import { h } from "../elements.mjs"
import { number, percent } from "../numbers.mjs"
import { readableId } from "../shards.mjs"
import { tokenList } from "../token-list.mjs"

/** @typedef {import("../main.mjs").Context} Context */
/** @typedef {{id: string, has_page: boolean, weight: number, share: number, top_tokens: string[]}} Latent */
/** @typedef {{positive: Latent[], negative: Latent[]}} Signs */

const SIDES = /** @type {const} */ ([
  { side: "write", titles: { positive: "Push it up", negative: "Push it down" }, noun: "decoder weight" },
  { side: "read", titles: { positive: "Fire with it", negative: "Silenced by it" }, noun: "encoder weight" },
])

/**
 * @param {Latent[]} latents
 * @param {string} title
 * @param {string} noun
 * @param {Context} context
 */
function list(latents, title, noun, context) {
  if (!latents.length) return null
  const head = ["latent", "weight", "share", "top tokens"].map((name) => h("th", { scope: "col" }, name))
  const rows = latents.map(({ id, has_page, weight, share, top_tokens }) => h("tr", {},
    h("td", {}, has_page ? h("a", { href: context.linkTo(id) }, readableId(id)) : readableId(id)),
    h("td", {}, number(weight, { sign: true })), h("td", {}, percent(share)),
    h("td", { class: "fb-latents__tokens" }, tokenList(top_tokens, "positive"))))
  return h("section", {}, h("h3", {}, title, " ", h("small", {}, `${noun}s`)),
    h("div", { class: "fb-table-box" }, h("table", { class: "fb-table fb-table--latents" }, h("caption", { class: "fb-hidden" }, `${title}: ${noun}s`),
      h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows))))
}

/** @type {import("../panels.mjs").Panel} */
export const panel = {
  title: "Latents that read and write it",
  caption: "The latents with the largest weights on this direction, of both signs. Share: how much of a latent’s own |weights| lies here.",
  anchor: "loadings",
  draw: (shard, context) => {
    const found = /** @type {({collection: string} & Record<"read" | "write", Signs>)[]} */ (/** @type {any} */ (shard).latents)
    return h("div", {}, ...found.map((one) => h("div", {},
      h("p", { class: "fb-note" }, "Dictionary ", h("a", { href: context.linkTo(one.collection) }, one.collection)),
      h("div", { class: "fb-grid fb-grid--latents" }, ...SIDES.flatMap(({ side, titles, noun }) =>
        /** @type {const} */ (["positive", "negative"]).map((sign) => list(one[side][sign], titles[sign], noun, context)))))))
  },
}
