import { tokenMeans } from "../token-means.mjs"

/** @type {import("../panels.mjs").Panel} */
export const panel = {
  title: "Top tokens",
  caption: "",
  anchor: "tokens-top-and-bottom-tokens",
  draw: (shard) => tokenMeans("Tokens with the highest mean", shard.top_tokens),
}
