import { h } from "../elements.mjs"
import { densityField } from "../map.mjs"
import { collectionOf } from "../shards.mjs"

/** @type {import("../panels.mjs").Panel} */
export const panel = {
  title: "Among all latents",
  caption: "How often every latent of the collection is active, against its largest activation; this one is marked.",
  anchor: "activity-density-documents",
  draw: (shard, context) => {
    const box = h("div", { class: "fb-density-panel" })
    void collectionOf(shard.collection, context, box)
      .then(({ columns }) => box.replaceChildren(densityField(columns, { tokens: null, marked: shard.id, aspect: 0.45 }, context)))
      .catch(() => box.replaceChildren(h("p", { class: "fb-note" }, "The other latents could not be fetched.")))
    return box
  },
}
