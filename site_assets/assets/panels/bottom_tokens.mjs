import { tokenMeans } from "../token-means.mjs"

/** @type {import("../panels.mjs").Panel} */
export const panel = {
  title: "Bottom tokens",
  caption: "",
  anchor: "tokens-top-and-bottom-tokens",
  draw: (shard) => tokenMeans("Tokens with the lowest mean", shard.bottom_tokens),
}
