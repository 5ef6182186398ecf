import { tokenMeans } from "../token-means.mjs"

/** @type {import("../panels.mjs").Panel} */
export const panel = {
  title: "Bottom tokens",
  caption: "",
  anchor: "top-tokens",
  place: "side",
  draw: (shard) => tokenMeans("Tokens with the lowest mean", shard.bottom_tokens),
}
