/** The short page of a dead latent: what is left to show are its panels. */
import { drawPanels } from "../panels.mjs"

/**
 * @param {HTMLElement} element
 * @param {import("../shards.mjs").ChannelShard} shard
 * @param {import("../main.mjs").Context} context
 */
export async function mount(element, shard, context) {
  const below = /** @type {HTMLElement} */ (element.querySelector('[data-slot="panels"]'))
  await drawPanels({ side: below, below }, shard, context)
}
