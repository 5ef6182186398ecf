/**
 * The panels of a channel page. A shard names the panels that it holds; each is drawn by panels/<name>.mjs, which
 * exports one `panel`. An empty panel is not shown; an undefined one says why in one line.
 */
import { h } from "./elements.mjs"

/** @typedef {import("./shards.mjs").ChannelShard} ChannelShard */
/** @typedef {import("./main.mjs").Context} Context */
/**
 * @typedef {object} Panel
 * @property {string} title
 * @property {string} caption  one line that says what it means
 * @property {string} anchor  of its definition in docs/statistics.md
 * @property {"side" | "below"} place
 * @property {(shard: ChannelShard, context: Context) => HTMLElement | null} draw
 */

const panelName = /^[a-z_]+$/

/**
 * Draws the panels of a shard, in its order.
 * @param {{side: HTMLElement, below: HTMLElement}} slots
 * @param {ChannelShard} shard
 * @param {Context} context
 */
export async function drawPanels(slots, shard, context) {
  const names = shard.panels.filter((name) => panelName.test(name))
  const modules = await Promise.all(
    names.map((name) => /** @type {Promise<{panel: Panel}>} */ (import(`./panels/${name}.mjs`))),
  )
  const drawn = modules.map(({ panel }, index) => ({
    place: panel.place,
    element: drawPanel(names[index], panel, shard, context),
  }))
  for (const place of /** @type {const} */ (["side", "below"])) {
    const elements = drawn.flatMap((one) => (one.place === place && one.element ? [one.element] : []))
    slots[place].replaceChildren(...elements)
  }
}

/**
 * @param {string} name
 * @param {Panel} panel
 * @param {ChannelShard} shard
 * @param {Context} context
 * @returns {HTMLElement | null}
 */
function drawPanel(name, panel, shard, context) {
  const content = /** @type {{undefined?: string}} */ (/** @type {any} */ (shard)[name])
  const body = content?.undefined ? h("p", { class: "fb-note" }, content.undefined) : panel.draw(shard, context)
  if (!body) return null
  const definition = h("a", { href: `${context.root}statistics/#${panel.anchor}` }, "Definition")
  return h(
    "section",
    { class: "fb-panel", id: name.replaceAll("_", "-") },
    h("h2", {}, panel.title),
    panel.caption ? h("p", { class: "fb-caption" }, panel.caption, " ", definition) : null,
    body,
  )
}
