/** The examples of a channel with their controls: which, how, and of what strength. The view stands in the address. */
import { h } from "./elements.mjs"
import { count, number, percent, plural } from "./numbers.mjs"
import { formatBrush, parseBrush } from "./brush.mjs"
import { legend, lightUp } from "./heatmap.mjs"
import { linearScale, quantileScale } from "./heatmap/scale.mjs"
import { sourceText, groupTokens, stripOfExample } from "./heatmap/tokens.mjs"
import { exampleList, repaint } from "./examples.mjs"
import { documentHash, formatState, hashOf, parseState } from "./hash.mjs"
import { quiet } from "./quiet.mjs"
import { needStyle } from "./styles.mjs"

/** @typedef {import("./shards.mjs").ChannelShard} ChannelShard */
/** @typedef {import("./shards.mjs").Example} Example */
/** @typedef {import("./main.mjs").Context} Context */
/**
 * @typedef {object} View  what the address keeps
 * @property {string} show  "top", "bottom", "bands" or "random"
 * @property {string} text  "compact", "whole" or "document"
 * @property {string} colour  "linear" or "quantile"
 * @property {string} order  "value" or "document"
 * @property {string} contains  only examples whose text contains this
 * @property {string} range  only examples with an activation in this range, "1..2", whatever their group
 */

/** @type {View} */
const initial = { show: "top", text: "compact", colour: "linear", order: "value", contains: "", range: "" }
/** What goes along to the next channel: how one looks, not what one looked for. */
const carried = /** @type {const} */ (["show", "text", "colour", "order"])

const choices = [
  { show: "top", label: "Positive" },
  { show: "bottom", label: "Negative" },
  { show: "bands", label: "Bands" },
  { show: "random", label: "Random" },
]
const modes = [
  { text: "compact", label: "Compact", title: "One line around the peak" },
  { text: "whole", label: "Expanded", title: "The whole window" },
  { text: "document", label: "Document", title: "The whole document, in place" },
]

/**
 * The examples of one choice in display order: a list of (heading, examples).
 * @param {ChannelShard} shard
 * @param {View} view
 * @returns {{heading: string, examples: Example[]}[]}
 */
export function sections(shard, view) {
  const range = parseBrush(view.range)
  if (range) return [inRange(shard, view, range)]
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
 * The examples of all groups whose activation lies in a range, each once, the strongest first.
 * @param {ChannelShard} shard
 * @param {View} view
 * @param {[number, number]} range
 */
function inRange(shard, view, [low, high]) {
  const seen = new Set()
  const found = shard.examples.filter(({ doc, position, value }) => {
    const key = `${doc}/${position}`
    if (value < low || value > high || seen.has(key)) return false
    seen.add(key)
    return true
  })
  const kept = found.filter((example) => isWanted(example, shard, view.contains)).map((example) => ({ ...example, group: "range" }))
  const strongest = kept.toSorted((a, b) => Math.abs(b.value) - Math.abs(a.value))
  return {
    heading: `${plural(kept.length, "example")} kept from ${number(low)} to ${number(high)}, of all groups`,
    examples: ordered(strongest, view.order),
  }
}

/**
 * @param {import("./shards.mjs").Group} group
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

/** Pixels above the first example, at least, and of one: those that the window has room for are drawn with the page, the others when it
 * can already be used. */
const ABOVE = 240, ROW = 30

/** The examples with their controls. */
export class ExampleView {
  /**
   * @param {HTMLElement} box
   * @param {ChannelShard} shard
   * @param {Context} context
   */
  constructor(box, shard, context) {
    this.shard = shard
    this.context = context
    /** @type {import("./brush.mjs").Brush | null} */
    this.brush = null
    this.view = this.#viewOf(location.hash)
    this.legend = h("div", { class: "fb-toolbar__legend" })
    this.list = h("div", { class: "fb-lists" })
    this.controls = h("div", {})
    box.replaceChildren(this.controls, this.list)
    addEventListener("hashchange", () => this.#set(this.#viewOf(location.hash)))
    this.list.addEventListener("fb-value", (event) => this.brush?.point(/** @type {CustomEvent<number | null>} */ (event).detail))
    this.#drawControls()
    const rest = this.#draw(Math.ceil((innerHeight - ABOVE) / ROW))
    box.setAttribute("aria-busy", "true")
    void quiet().then(() => {
      rest()
      box.removeAttribute("aria-busy")
    })
    this.#carry()
  }

  /**
   * Takes the histogram's brush: what is chosen there filters the examples, and both point at each other.
   * @param {import("./brush.mjs").Brush} brush
   */
  connect(brush) {
    this.brush = brush
    brush.show(parseBrush(this.view.range))
  }

  /** Keeps the examples of a range. @param {[number, number] | null} range */
  keep(range) {
    this.#set({ range: formatBrush(range) })
  }

  /** Lights up the tokens whose value lies in a range. @param {[number, number] | null} range */
  light(range) {
    lightUp(this.list, range)
  }

  /** @param {string} hash */
  #viewOf(hash) {
    const view = parseState(hash, initial)
    const isKnown = this.#choices().some(({ show }) => show === view.show)
    const text = modes.some((mode) => mode.text === view.text) ? view.text : "compact"
    return { ...view, show: isKnown ? view.show : "top", text, range: parseBrush(view.range) ? view.range : "" }
  }

  /** The choices that this channel has: an unsigned one has no negative side. */
  #choices() {
    const has = (/** @type {string} */ show) =>
      this.shard.groups.some(({ group }) => (show === "bands" ? group.startsWith("band:") : group === show))
    const held = choices.filter(({ show }) => has(show))
    return this.shard.is_signed ? held : held.map((one) => (one.show === "top" ? { ...one, label: "Top" } : one))
  }

  /** @returns {import("./heatmap/scale.mjs").Scale} */
  #scale() {
    const { scale, is_signed, stats } = this.shard
    const maximum = Math.max(Math.abs(stats.max ?? 0), Math.abs(stats.min ?? 0)) || scale * this.shard.steps
    return this.view.colour === "quantile" ? quantileScale(maximum, is_signed, stats) : linearScale(maximum, is_signed)
  }

  /** @param {Partial<View>} change */
  #set(change) {
    const before = this.view
    this.view = { ...before, ...change }
    const hash = hashOf(formatState(this.view, initial))
    if (hash !== location.hash) history.replaceState(history.state, "", hash || location.pathname + location.search)
    const isOnlyColour = { ...before, colour: "" }
    if (before.range !== this.view.range) this.brush?.show(parseBrush(this.view.range))
    if (this.view.text !== "document" && JSON.stringify(isOnlyColour) === JSON.stringify({ ...this.view, colour: "" })) this.#recolour()
    else this.#draw()
    this.#mark()
    this.#carry()
  }

  /** The links to the neighbours keep the way of looking. */
  #carry() {
    const hash = formatState({ ...initial, ...Object.fromEntries(carried.map((name) => [name, this.view[name]])) }, initial)
    if (document.documentElement.dataset.single !== undefined) return
    for (const link of /** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll('.fb-head a[rel="prev"], .fb-head a[rel="next"]')))
      link.href = link.href.split("#")[0] + (hash && `#${hash}`)
  }

  #drawControls() {
    const segments = h("div", { class: "fb-segments", role: "group", "aria-label": "Which examples" })
    for (const { show, label } of this.#choices()) segments.append(this.#segment(show, label))
    this.controls.replaceChildren(
      h("div", { class: "fb-toolbar" }, segments, this.legend),
      h("div", { class: "fb-toolbar fb-toolbar--quiet" }, this.#modes(), this.#filter(), this.#menu()),
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
    button.addEventListener("click", () => this.#set({ show, range: "" }))
    return button
  }

  /** How much of the text is shown. */
  #modes() {
    const group = h("div", { class: "fb-segments fb-segments--small", role: "group", "aria-label": "How much text" })
    for (const { text, label, title } of modes) {
      const button = h("button", { type: "button", class: "fb-segment", "data-text": text, title }, h("span", {}, label))
      button.addEventListener("click", () => this.#set({ text }))
      group.append(button)
    }
    return group
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
    const box = h("div", { class: "fb-menu__box" })
    const menu = h("details", { class: "fb-menu" }, h("summary", { class: "fb-button" }, "View ▾"), box)
    menu.addEventListener("toggle", () => menu.open && box.replaceChildren(...this.#switches()))
    menu.addEventListener("keydown", (event) => event.key === "Escape" && (menu.open = false))
    document.addEventListener("pointerdown", ({ target }) => {
      if (!menu.contains(/** @type {Node} */ (target))) menu.open = false
    })
    return menu
  }

  /** @returns {HTMLElement[]} */
  #switches() {
    const { order, colour } = this.view
    return [
      this.#switch("By document", order === "document", (isOn) => this.#set({ order: isOn ? "document" : "value" })),
      this.#switch("Colour by quantile", colour === "quantile", (isOn) =>
        this.#set({ colour: isOn ? "quantile" : "linear" }),
      ),
      this.#switch("Show spaces", this.list.classList.contains("fb-show-spaces"), (isOn) => this.list.classList.toggle("fb-show-spaces", isOn)),
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

  /** Shows what is chosen. */
  #mark() {
    for (const button of this.controls.querySelectorAll("[data-show]"))
      button.setAttribute("aria-pressed", String(!this.view.range && button.getAttribute("data-show") === this.view.show))
    for (const button of this.controls.querySelectorAll("[data-text]"))
      button.setAttribute("aria-pressed", String(button.getAttribute("data-text") === this.view.text))
  }

  /**
   * Draws the examples anew.
   * @param {number} [first]  how many of each list, when the page opens; the function draws the others
   */
  #draw(first) {
    const scale = this.#scale()
    const documentHref = (/** @type {Example} */ { doc, position }) => this.context.linkTo(`doc/${doc}`, documentHash(position, this.shard.id))
    /** @type {(() => void)[]} */
    const waiting = []
    const lists = (/** @type {Example[]} */ examples) => {
      const { list, drawRest } = exampleList(examples, frame, mode, first)
      waiting.push(drawRest)
      return list
    }
    /** @type {import("./examples.mjs").Frame} */
    const frame = {
      shard: this.shard,
      scale,
      documentHref,
      inDocument: (/** @type {Example} */ example) => this.#inDocument(example, example.has_page ? documentHref(example) : null),
    }
    this.frame = frame
    const mode = /** @type {import("./examples.mjs").Mode} */ (this.view.text)
    const parts = sections(this.shard, this.view).flatMap(({ heading, examples }) => [
      heading && h("h3", { class: "fb-band" }, heading),
      examples.length ? lists(examples) : heading ? h("p", { class: "fb-note" }, "None.") : null,
    ])
    const nodes = parts.filter((part) => part instanceof HTMLElement)
    const note = this.view.range ? null : oneSided(this.shard, this.view.show)
    if (note && nodes.length) nodes.unshift(h("p", { class: "fb-note" }, note))
    const rest = leftOut(this.shard, this.view.show)
    if (rest && nodes.length) nodes.push(h("p", { class: "fb-note" }, rest, " ", h("a", { href: `${this.context.root}shards/#presets` }, "What is left out")))
    this.list.replaceChildren(...(nodes.length ? nodes : [h("p", { class: "fb-note" }, this.#emptyNote())]))
    this.legend.replaceChildren(legend(scale))
    return () => waiting.forEach((drawRest) => drawRest())
  }

  /** The box of an example's document; what draws it is fetched when somebody asks. @param {Example} example @param {string | null} href */
  #inDocument(example, href) {
    const box = h("div", { class: "fb-indoc" })
    void Promise.all([import("./in-document.mjs"), needStyle("prose")]).then(([{ inDocument }]) => box.replaceWith(inDocument(example, this.shard, this.#scale(), this.context, href)))
    return box
  }

  #emptyNote() {
    if (this.view.contains) return `No example here contains “${this.view.contains}”.`
    return "There are no examples."
  }

  #recolour() {
    const scale = this.#scale()
    if (this.frame) this.frame.scale = scale
    repaint(this.list, scale)
    this.legend.replaceChildren(legend(scale))
  }
}
