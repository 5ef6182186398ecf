/** The page of one channel: its examples, its statistics, and the panels that its shard holds. */
import { h, table } from "../elements.mjs"
import { count, number, percent } from "../numbers.mjs"
import { histogramChart } from "../chart.mjs"
import { legend } from "../heatmap.mjs"
import { linearScale, quantileScale } from "../heatmap/scale.mjs"
import { sourceText, groupTokens, stripOfExample } from "../heatmap/tokens.mjs"
import { openHelp } from "../keys.mjs"
import { copyFrom, exampleList, repaint } from "../examples.mjs"
import { drawPanels } from "../panels.mjs"
import { documentHash, formatState, parseState } from "../hash.mjs"

/** @typedef {import("../shards.mjs").ChannelShard} ChannelShard */
/** @typedef {import("../shards.mjs").Example} Example */
/** @typedef {import("../main.mjs").Context} Context */
/**
 * @typedef {object} View  what the address keeps
 * @property {string} show  "top", "bottom", "bands" or "random"
 * @property {string} text  "compact" or "whole"
 * @property {string} colour  "linear" or "quantile"
 * @property {string} order  "value" or "document"
 * @property {string} contains  only examples whose text contains this
 */

/** @type {View} */
const initial = { show: "top", text: "compact", colour: "linear", order: "value", contains: "" }

const choices = [
  { show: "top", label: "Positive" },
  { show: "bottom", label: "Negative" },
  { show: "bands", label: "Bands" },
  { show: "random", label: "Random" },
]

/**
 * @param {HTMLElement} element
 * @param {ChannelShard} shard
 * @param {Context} context
 */
export async function mount(element, shard, context) {
  const slot = (/** @type {string} */ name) =>
    /** @type {HTMLElement} */ (element.querySelector(`[data-slot="${name}"]`))
  new Examples(slot("examples"), shard, context)
  if (shard.histogram.counts.length) {
    const title = "Histogram of activations"
    slot("histogram").replaceWith(histogramChart(shard.histogram, { title }))
  }
  slot("stats").replaceChildren(...statRows(shard))
  slot("quantiles").replaceChildren(quantileTable(shard.stats, context))
  await drawPanels({ side: slot("tokens"), below: slot("panels") }, shard, context)
  connectCopyLink()
}

/**
 * The same rows that the static page shows (channel.html).
 * @param {ChannelShard} shard
 * @returns {HTMLElement[]}
 */
function statRows({ stats, write }) {
  const rows = [
    ["tokens", count(stats.n_tokens)],
    ["active", percent(stats.density), `share of tokens with |activation| above ${number(stats.threshold)}`],
    ["mean", number(stats.mean)],
    ["std", number(stats.std)],
    ["skewness", number(stats.skewness)],
    ["kurtosis", number(stats.kurtosis)],
    ["min", number(stats.min)],
    ["max", number(stats.max)],
    ["documents", count(stats.n_documents)],
    ["largest write", write && "max" in write ? number(write.max) : "–", "scaling · max|activation| · ‖write vector‖"],
    ...(stats.n_nonfinite ? [["not finite", count(stats.n_nonfinite)]] : []),
  ]
  return rows.map(([name, value, title]) => h("div", { title }, h("dt", {}, name), h("dd", {}, value)))
}

/**
 * The quantiles, folded.
 * @param {import("../shards.mjs").Stats} stats
 * @param {Context} context
 */
function quantileTable({ quantiles }, context) {
  const rows = Object.entries(quantiles)
    .sort(([a], [b]) => Number(a) - Number(b))
    .map(([level, value]) => [`${Number((Number(level) * 100).toPrecision(6))} %`, number(value)])
  return h(
    "details",
    { class: "fb-numbers" },
    h("summary", {}, "Quantiles and definitions"),
    h("p", { class: "fb-note" }, h("a", { href: `${context.root}statistics/` }, "What these numbers mean")),
    table("Quantiles", ["tokens below", "activation"], rows),
  )
}

/** The button of the static page head. */
function connectCopyLink() {
  const button = /** @type {HTMLElement | null} */ (document.querySelector('[data-action="copy-link"]'))
  if (!button || button.dataset.isConnected) return
  button.dataset.isConnected = "true"
  button.addEventListener("click", () => void copyFrom(button, "Copy link", location.href))
}

/**
 * The examples of one choice in display order: a list of (heading, examples).
 * @param {ChannelShard} shard
 * @param {View} view
 * @returns {{heading: string, examples: Example[]}[]}
 */
export function sections(shard, view) {
  const wanted = shard.groups.filter(({ group }) =>
    view.show === "bands" ? group.startsWith("band:") : group === view.show,
  )
  return wanted.map((group) => ({
    heading: view.show === "bands" ? bandHeading(group, shard.is_signed) : "",
    examples: ordered(
      shard.examples.filter((example) => example.group === group.group && isWanted(example, shard, view.contains)),
      view.order,
    ),
  }))
}

/**
 * @param {import("../shards.mjs").Group} group
 * @param {boolean} isSigned
 */
function bandHeading({ low, high, count: n, share, share_of_side }, isSigned) {
  const parts = isSigned ? percent(share) : `${percent(share_of_side)} of the active ones, ${percent(share)} of all`
  return `${number(low)} to ${number(high)} · ${count(n)} tokens, ${parts}`
}

/**
 * @param {Example} example
 * @param {ChannelShard} shard
 * @param {string} text
 */
function isWanted(example, shard, text) {
  if (!text) return true
  return sourceText(groupTokens(stripOfExample(example, shard))).toLowerCase().includes(text.toLowerCase())
}

/**
 * @param {Example[]} examples
 * @param {string} order
 */
function ordered(examples, order) {
  return order === "document" ? examples.toSorted((a, b) => a.doc - b.doc || a.position - b.position) : examples
}

/**
 * What to say where one sign never occurs: the list then holds the values nearest to it.
 * @param {ChannelShard} shard
 * @param {string} show
 */
export function oneSided({ groups, is_signed }, show) {
  if (!is_signed || groups.find(({ group }) => group === show)?.count !== 0) return null
  if (show === "top") return "Never above zero in this corpus: these are its highest values."
  return show === "bottom" ? "Never below zero in this corpus: these are its lowest values." : null
}

/**
 * What to say below a list from which the compact preset left examples out.
 * @param {ChannelShard} shard
 * @param {string} show
 */
export function leftOut({ groups, preset }, show) {
  const shown = groups.filter(({ group }) => (show === "bands" ? group.startsWith("band:") : group === show))
  const sum = (/** @type {"n_examples" | "n_found"} */ name) => shown.reduce((total, group) => total + group[name], 0)
  if (sum("n_examples") === sum("n_found")) return null
  return `${count(sum("n_examples"))} of ${count(sum("n_found"))} examples that were kept: this site has the ${preset} preset, with fewer and shorter examples.`
}

/** The examples with their controls. */
class Examples {
  /**
   * @param {HTMLElement} box
   * @param {ChannelShard} shard
   * @param {Context} context
   */
  constructor(box, shard, context) {
    this.shard = shard
    this.context = context
    this.view = this.#viewOf(location.hash)
    this.legend = h("div", { class: "fb-toolbar__legend" })
    this.list = h("div", { class: "fb-lists" })
    this.controls = h("div", {})
    box.replaceChildren(this.controls, this.list)
    addEventListener("hashchange", () => this.#set(this.#viewOf(location.hash)))
    this.#drawControls()
    this.#draw()
  }

  /** @param {string} hash */
  #viewOf(hash) {
    const view = parseState(hash, initial)
    return this.#choices().some(({ show }) => show === view.show) ? view : { ...view, show: "top" }
  }

  /** The choices that this channel has: an unsigned one has no negative side. */
  #choices() {
    const has = (/** @type {string} */ show) =>
      this.shard.groups.some(({ group }) => (show === "bands" ? group.startsWith("band:") : group === show))
    const held = choices.filter(({ show }) => has(show))
    return this.shard.is_signed ? held : held.map((one) => (one.show === "top" ? { ...one, label: "Top" } : one))
  }

  /** @returns {import("../heatmap/scale.mjs").Scale} */
  #scale() {
    const { scale, is_signed, stats } = this.shard
    const maximum = Math.max(Math.abs(stats.max ?? 0), Math.abs(stats.min ?? 0)) || scale * this.shard.steps
    return this.view.colour === "quantile" ? quantileScale(maximum, is_signed, stats) : linearScale(maximum, is_signed)
  }

  /** @param {Partial<View>} change */
  #set(change) {
    const before = this.view
    this.view = { ...before, ...change }
    const hash = formatState(this.view, initial)
    if (hash !== location.hash.slice(1)) history.replaceState(history.state, "", hash ? `#${hash}` : location.pathname + location.search)
    const isOnlyColour = { ...before, colour: "" }
    if (JSON.stringify(isOnlyColour) === JSON.stringify({ ...this.view, colour: "" })) this.#recolour()
    else this.#draw()
    this.#mark()
  }

  #drawControls() {
    const segments = h("div", { class: "fb-segments", role: "group", "aria-label": "Which examples" })
    for (const { show, label } of this.#choices()) segments.append(this.#segment(show, label))
    this.controls.replaceChildren(
      h("div", { class: "fb-toolbar" }, segments, this.legend),
      h("div", { class: "fb-toolbar fb-toolbar--quiet" }, this.#filter(), this.#menu()),
    )
    this.#mark()
  }

  /**
   * @param {string} show
   * @param {string} label
   */
  #segment(show, label) {
    const group = this.shard.groups.find((one) => one.group === show)
    const button = h(
      "button",
      { type: "button", class: "fb-segment", "data-show": show },
      h("span", {}, label),
      group &&
        show !== "random" &&
        h("small", {}, h("span", { class: "fb-segment__count" }, `${count(group.count)} · `), percent(group.share)),
    )
    button.addEventListener("click", () => this.#set({ show }))
    return button
  }

  #filter() {
    const input = h("input", {
      type: "search",
      class: "fb-input",
      placeholder: "Text contains…",
      "aria-label": "Only examples whose text contains",
      value: this.view.contains,
    })
    input.addEventListener("input", () => this.#set({ contains: input.value }))
    return input
  }

  /** How the examples look: rarely changed, hence folded. */
  #menu() {
    const help = h("button", { type: "button", class: "fb-button" }, "Keys…")
    help.addEventListener("click", openHelp)
    const menu = h(
      "details",
      { class: "fb-menu" },
      h("summary", { class: "fb-button" }, "View ▾"),
      h("div", { class: "fb-menu__box" }, ...this.#switches(), help),
    )
    menu.addEventListener("keydown", (event) => event.key === "Escape" && (menu.open = false))
    document.addEventListener("pointerdown", ({ target }) => {
      if (!menu.contains(/** @type {Node} */ (target))) menu.open = false
    })
    return menu
  }

  /** @returns {HTMLElement[]} */
  #switches() {
    const { text, order, colour } = this.view
    return [
      this.#switch("Whole text", text === "whole", (isOn) => this.#set({ text: isOn ? "whole" : "compact" })),
      this.#switch("By document", order === "document", (isOn) => this.#set({ order: isOn ? "document" : "value" })),
      this.#switch("Colour by quantile", colour === "quantile", (isOn) =>
        this.#set({ colour: isOn ? "quantile" : "linear" }),
      ),
      this.#switch("Show spaces", false, (isOn) => this.list.classList.toggle("fb-show-spaces", isOn)),
    ]
  }

  /**
   * @param {string} label
   * @param {boolean} isOn
   * @param {(isOn: boolean) => void} change
   */
  #switch(label, isOn, change) {
    const box = h("input", { type: "checkbox", checked: isOn })
    box.addEventListener("change", () => change(box.checked))
    return h("label", { class: "fb-switch" }, box, label)
  }

  /** Shows which segment is chosen. */
  #mark() {
    for (const button of this.controls.querySelectorAll(".fb-segment"))
      button.setAttribute("aria-pressed", String(button.getAttribute("data-show") === this.view.show))
  }

  #draw() {
    const frame = {
      shard: this.shard,
      scale: this.#scale(),
      documentHref: (/** @type {Example} */ { doc, position }) =>
        this.context.linkTo(`doc/${doc}`, documentHash(position, this.shard.id)),
    }
    const isOpen = this.view.text === "whole"
    const parts = sections(this.shard, this.view).flatMap(({ heading, examples }) => [
      heading && h("h3", { class: "fb-band" }, heading),
      examples.length ? exampleList(examples, frame, { isOpen }) : heading ? h("p", { class: "fb-note" }, "None.") : null,
    ])
    const nodes = parts.filter((part) => part instanceof HTMLElement)
    const note = oneSided(this.shard, this.view.show)
    if (note && nodes.length) nodes.unshift(h("p", { class: "fb-note" }, note))
    const rest = leftOut(this.shard, this.view.show)
    if (rest && nodes.length) nodes.push(h("p", { class: "fb-note" }, rest, " ", h("a", { href: `${this.context.root}shards/#presets` }, "What is left out")))
    this.list.replaceChildren(...(nodes.length ? nodes : [h("p", { class: "fb-note" }, this.#emptyNote())]))
    this.legend.replaceChildren(legend(frame.scale))
  }

  #emptyNote() {
    if (this.view.contains) return `No example here contains “${this.view.contains}”.`
    return "There are no examples."
  }

  #recolour() {
    const scale = this.#scale()
    repaint(this.list, scale)
    this.legend.replaceChildren(legend(scale))
  }
}
