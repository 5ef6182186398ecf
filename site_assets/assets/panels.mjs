/**
 * The panels of a channel page. A shard names the panels that it holds; each is drawn by panels/<name>.mjs, which
 * exports one `panel`. An empty panel is not shown; an undefined one says why in one line. Those beside the examples come
 * with the page; those below it are fetched and drawn one by one while the browser has nothing else to do.
 */
import { h } from "./elements.mjs"
import { panel as bottomTokens } from "./panels/bottom_tokens.mjs"
import { panel as topTokens } from "./panels/top_tokens.mjs"
import { quiet } from "./quiet.mjs"
import { needStyle } from "./styles.mjs"

/** @typedef {import("./shards.mjs").ChannelShard} ChannelShard */
/** @typedef {import("./main.mjs").Context} Context */
/**
 * @typedef {object} Panel
 * @property {string} title
 * @property {string} caption  one line that says what it means
 * @property {string} anchor  of its definition in docs/statistics.md
 * @property {(shard: ChannelShard, context: Context) => HTMLElement | null} draw
 */

const panelName = /^[a-z_]+$/
const usual = new Set(["ablation", "labels", "latents", "logits", "neighbours", "profiles", "write"])
/** @type {Record<string, Panel>} what stands on the first screen */
const beside = { top_tokens: topTokens, bottom_tokens: bottomTokens }

/**
 * Draws the panels of a shard beside its examples.
 * @param {HTMLElement} slot
 * @param {ChannelShard} shard
 * @param {Context} context
 */
export function drawPanelsBeside(slot, shard, context) {
  const drawn = shard.panels.filter((name) => name in beside).map((name) => drawPanel(name, beside[name], shard, context))
  slot.replaceChildren(...drawn.filter((element) => element !== null))
}

/**
 * Draws the other panels of a shard, in its order; the slot is busy until the last one stands.
 * @param {HTMLElement} slot
 * @param {ChannelShard} shard
 * @param {Context} context
 */
export async function drawPanelsBelow(slot, shard, context) {
  slot.setAttribute("aria-busy", "true")
  slot.replaceChildren()
  await quiet()
  const waiting = shard.panels.filter((name) => panelName.test(name) && !(name in beside)).map((name) => ({ name, asked: panelOf(name) }))
  /** @type {HTMLElement[]} set out together at the end: each alone would lay out the page again */
  const drawn = []
  for (const { name, asked } of waiting) {
    try {
      const panel = await asked
      await quiet()
      const element = drawPanel(name, panel, shard, context)
      if (element) drawn.push(element)
    } catch (error) {
      console.error(error)
      drawn.push(h("p", { class: "fb-failure", role: "alert" }, `The part “${name.replaceAll("_", " ")}” could not be drawn: ${error instanceof Error ? error.message : error}`))
    }
  }
  slot.append(...drawn)
  slot.removeAttribute("aria-busy")
}

/** @param {string} name @returns {Promise<Panel>} */
function panelOf(name) {
  const asked = usual.has(name)
    ? import("./usual-panels.mjs").then((module) => module.usual[name])
    : Promise.all([import(`./panels/${name}.mjs`), needStyle("collection")]).then(([{ panel }]) => panel)
  asked.catch(() => undefined) // heard of when its turn has come
  return asked
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
