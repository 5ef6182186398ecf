/**
 * The shell of a single file (python -m generator export --to single-file): a list of the chosen channels, and their pages drawn
 * from shards that stand in the file. The address is `#id=<id>` and the state of the page behind it.
 */
import { h } from "./elements.mjs"
import { startKeys } from "./keys.mjs"
import { visible } from "./heatmap/tokens.mjs"
import { number, percent, plural } from "./numbers.mjs"
import { opened, readableId } from "./shards.mjs"
import { thumbnail } from "./thumbnail.mjs"

/** @typedef {import("./main.mjs").Context} Context */
/** @typedef {import("./panels/labels.mjs").LabelRow} Label */
/** @typedef {import("./shards.mjs").ChannelShard & {labels?: Label[]}} ChannelShard */

/** @type {Map<string, HTMLElement>} id -> the element that holds its shard */
const held = new Map(Array.from(document.querySelectorAll("script[data-shard]"), (element) => [/** @type {HTMLElement} */ (element).dataset.shard ?? "", /** @type {HTMLElement} */ (element)]))
const about = JSON.parse(document.getElementById("fb-about")?.textContent ?? "{}")
const app = /** @type {HTMLElement} */ (document.getElementById("fb-app"))

/** @param {string} id */
function shardOf(id) {
  const element = held.get(id)
  if (!element) throw new Error(`${id} is not in this file`)
  return opened(JSON.parse(element.textContent ?? ""))
}

/** @type {Context} */
const context = {
  root: about.site_url || "#",
  fetchShard: async (id) => shardOf(id),
  linkTo: (id, hash = "") => address(id, hash),
}

/**
 * The place of an id in this file; its page of the site where it is not in the file and the site is known.
 * @param {string} id
 * @param {string} hash
 * @returns {any} null: no place
 */
function address(id, hash) {
  if (about.ids.includes(id)) return `#id=${id}${hash && `&${hash}`}`
  return about.site_url ? `${about.site_url}atlas/${id}/${hash && `#${hash}`}` : null
}

/** The id that the address asks for. */
function asked() {
  return new URLSearchParams(location.hash.slice(1)).get("id") ?? ""
}

/** @type {string | null} */
let drawn = null

async function route() {
  const id = asked()
  if (id === drawn) return
  drawn = id
  scrollTo(0, 0)
  if (!about.ids.includes(id)) return showList(id)
  document.title = `${readableId(id)} · ${about.title}`
  const shard = shardOf(id)
  const place = about.ids.indexOf(id)
  app.replaceChildren(head(shard, about.ids[place - 1], about.ids[place + 1]), ...frame(shard.is_dead))
  const { mount } = await import("./pages/channel.mjs")
  if (id !== drawn) return // the reader went on
  await mount(app, shard, context)
  app.classList.add("fb-mounted")
}

/** @param {ChannelShard} shard @param {string | undefined} previous @param {string | undefined} next */
function head(shard, previous, next) {
  const link = (/** @type {string | undefined} */ id, /** @type {string} */ rel, /** @type {string} */ name) => id !== undefined && h("a", { class: "fb-button", rel, href: `#id=${id}` }, name)
  const places = [shard.collection, shard.layer === null ? "" : `layer ${shard.layer}`].filter(Boolean)
  return h("header", { class: "fb-head" },
    h("nav", { class: "fb-crumbs", "aria-label": "Breadcrumb" }, h("a", { href: "#" }, about.title), ...places.flatMap((place) => [h("span", { "aria-hidden": "true" }, "›"), h("span", {}, place)])),
    h("div", { class: "fb-head__row" }, h("h1", { id: "feature" }, readableId(shard.id)), h("div", { class: "fb-head__actions" }, link(previous, "prev", "← Previous"), link(next, "next", "Next →"))),
    h("div", { class: "fb-labels" }, ...labelsOf(shard).map(([label, sign, side]) => h("p", { class: "fb-label" },
      sign && h("span", { class: `fb-label__sign fb-label__sign--${side}`, title: `${side} side` }, sign), h("bdi", { class: "fb-label__text" }, label.text), " ",
      h("span", { class: "fb-label__by" }, label.source === "model" && h("span", { class: "fb-badge" }, "model"), h("bdi", {}, label.author), `, ${label.date}`)))))
}

/**
 * What a channel is called: the first label of each side, or one for both, as under its name on the site.
 * @param {ChannelShard} shard
 * @returns {[label: Label, sign: string, side: string][]}
 */
function labelsOf({ labels = [], is_signed }) {
  const best = (/** @type {string} */ side) => labels.find(({ polarity, text }) => text && (polarity === side || polarity === "both"))
  const up = best("positive"), down = is_signed ? best("negative") : undefined
  if (up && (up === down || !is_signed)) return [[up, "", "positive"]]
  return [...(up ? [/** @type {const} */ ([up, "+", "positive"])] : []), ...(down ? [/** @type {const} */ ([down, "−", "negative"])] : [])].map((one) => [...one])
}

/** The slots that pages/channel.mjs fills, as channel.html has them. @param {boolean} isDead */
function frame(isDead) {
  const slot = (/** @type {string} */ name, /** @type {string} */ tag = "div", /** @type {string} */ className = "") => h(/** @type {"div"} */ (tag), { class: className || null, "data-slot": name })
  const panels = slot("panels", "div", "fb-panels")
  if (isDead) return [h("p", { class: "fb-lead" }, "A dead latent: it was active at no measured token."), panels]
  const side = h("aside", { class: "fb-side", "aria-label": "Statistics" }, slot("histogram"), slot("stats", "dl", "fb-stats"), slot("quantiles", "div", "fb-quantiles"), slot("tokens", "div", "fb-pair"))
  return [h("div", { class: "fb-columns" }, h("section", { class: "fb-main", "aria-label": "Examples", "data-slot": "examples" }), side), panels]
}

/** @param {string} missing  an id that was asked for and is not here */
function showList(missing) {
  document.title = about.title
  const rows = about.ids.map((/** @type {string} */ id) => ({ id, row: rowOf(id) }))
  const filter = h("input", { type: "search", class: "fb-input", id: "fb-search-input", placeholder: "Filter by id, label or token", "aria-label": "Filter by id, label or token" })
  const found = h("p", { class: "fb-note", role: "status" })
  const narrow = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean)
    let n = 0
    for (const { row } of rows) {
      row.hidden = !words.every((word) => row.textContent?.toLowerCase().includes(word))
      n += Number(!row.hidden)
    }
    found.textContent = n < rows.length ? `${n} of ${plural(rows.length, "channel")}` : plural(n, "channel")
  }
  filter.addEventListener("input", narrow)
  narrow()
  const names = ["Channel", "Histogram", "Top tokens", "Active", "Min", "Max"]
  app.replaceChildren(
    h("h1", {}, about.title), about.description ? h("p", { class: "fb-lead" }, about.description) : "",
    missing ? h("p", { role: "alert" }, `${missing} is not in this file.`) : "",
    h("div", { class: "fb-row" }, filter, found),
    h("div", { class: "fb-single__scroll" }, h("table", { class: "fb-table fb-single" }, h("thead", {}, h("tr", {}, ...names.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, ...rows.map((/** @type {{row: HTMLElement}} */ { row }) => row)))),
    about.note ? h("p", { class: "fb-note" }, about.note) : "")
}

/** @param {string} id */
function rowOf(id) {
  const shard = /** @type {ChannelShard} */ (shardOf(id)), { stats, histogram, top_tokens } = shard
  const tokens = top_tokens.slice(0, 5).map(({ text }) => h("bdi", { class: "fb-token-mark", translate: "no" }, visible(text)))
  return h("tr", {}, h("td", {}, h("a", { href: `#id=${id}` }, readableId(id)), " ", h("small", {}, id.split("/")[0]), ...labelsOf(shard).map(([{ text }]) => h("bdi", { class: "fb-single__label" }, text))),
    h("td", {}, thumbnail(histogram.counts, histogram.edges[0] ?? null, histogram.edges.at(-1) ?? null)), h("td", {}, h("span", { class: "fb-single__tokens" }, ...tokens)),
    ...[percent(stats.density), number(stats.min), number(stats.max)].map((cell) => h("td", {}, cell)))
}

function startColours() {
  const dark = matchMedia("(prefers-color-scheme: dark)")
  const show = () => document.body.setAttribute("data-md-color-scheme", dark.matches ? "slate" : "default")
  dark.addEventListener("change", show)
  show()
}

startColours()
startKeys()
addEventListener("hashchange", () => void route())
void route()
