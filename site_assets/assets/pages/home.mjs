/** The home page: what was studied, the grid of all directions, picked directions, how to cite, how it was made. */
import { h } from "../elements.mjs"
import { bibtex, citationText } from "../cite.mjs"
import { copyButton } from "../examples.mjs"
import { bandsOf, strengthsOf } from "../grid.mjs"
import { attachHeatmap } from "../heatmap.mjs"
import { toneOf } from "../heatmap/scale.mjs"
import { visible } from "../heatmap/tokens.mjs"
import { Tooltip } from "../heatmap/tooltip.mjs"
import { count, number, percent, plural } from "../numbers.mjs"
import { readableId } from "../shards.mjs"
import { tokenList } from "../token-list.mjs"
import { snippet } from "../snippet.mjs"

/** @typedef {import("../main.mjs").Context} Context */
/**
 * @typedef {object} Grid
 * @property {number[]} layers
 * @property {string[]} modules
 * @property {boolean} is_folded  a module of high rank stands as its strongest writer
 * @property {(string | null)[][]} cells  layer, module
 * @property {(string[] | null)[][]} top_tokens
 * @property {Record<string, (number | null)[][]>} statistics
 */
/**
 * @typedef {object} Card
 * @property {string} id
 * @property {string | null} label
 * @property {number} scale
 * @property {number} max_abs
 * @property {boolean} is_signed
 * @property {string[]} top_tokens
 * @property {string[]} bottom_tokens
 * @property {import("../shards.mjs").Example | null} example
 */
/**
 * @typedef {object} HomeShard
 * @property {string} title
 * @property {string} description
 * @property {string} repository
 * @property {string} site_url
 * @property {string} name
 * @property {number} n_channels
 * @property {number} n_layers
 * @property {number} n_documents
 * @property {"full" | "compact"} preset
 * @property {{name: string, kind: string, n_channels: number, n_dead: number}[]} collections
 * @property {{base: string, adapter: string, facts?: Record<string, unknown>}} model  facts: as extraction described them
 * @property {{source: string, n_documents: number, n_tokens: number, n_measured: number, tokenizer: string}} corpus
 * @property {Grid} grid
 * @property {Card[]} cards
 * @property {string[]} tokens
 * @property {number[]} special
 * @property {string[]} notes
 * @property {{author: string, source: string, n_channels: number}[]} credits  who labelled how many channels
 * @property {import("../cite.mjs").Citation} citation
 * @property {{settings: unknown, seed: number, versions: Record<string, string | null>, keys: Record<string, string>}} provenance
 */

/** What a cell can be coloured by: words, how the number is written, whether it has two signs. */
const STATISTICS = /** @type {Record<string, {label: string, text: (value: number | null) => string, isSigned: boolean}>} */ ({
  max_write: { label: "largest write", text: number, isSigned: false },
  max_abs: { label: "largest |activation|", text: number, isSigned: false },
  density: { label: "density", text: percent, isSigned: false },
  std: { label: "standard deviation", text: number, isSigned: false },
  skewness: { label: "skewness", text: number, isSigned: true },
  kurtosis: { label: "excess kurtosis", text: number, isSigned: false },
})

/** Pixels: the least width of a cell, and the room that the modules' names take. */
const CELL = 28
const NAMES = 108
/** A cell this wide shows its first token. */
const WIDE_CELL = 88
const WIDEST_CELL = 180

/**
 * @param {HTMLElement} element
 * @param {HomeShard} shard
 * @param {Context} context
 */
export function mount(element, shard, context) {
  // A site made of imported latents has no layer × module grid.
  const overview = shard.grid.modules.length ? new Overview(shard.grid, context).element : null
  const picked = cards(shard, context)
  // On a phone the grid is long: the cards come first, in the order of reading as well as on the screen.
  const isNarrow = matchMedia("(max-width: 44.9844em)").matches
  const parts = [
    facts(shard, context),
    finder(context),
    ...(isNarrow ? [picked, overview] : [overview, picked]),
    h("div", { class: "fb-home-last" }, labelCredits(shard, context), citationBox(shard), provenance(shard)),
  ]
  element.replaceChildren(...parts.filter((part) => part !== null))
  attachHeatmap(element)
}

/**
 * What the members of a collection are called.
 * @param {string} kind
 */
function memberOf(kind) {
  return kind === "lora" ? "direction" : "latent"
}

/** @param {HomeShard} shard @param {Context} context */
function facts({ model, corpus, collections, n_layers, n_documents, preset }, context) {
  const sizes = /** @type {[string, number][]} */ ([...new Set(collections.map(({ kind }) => memberOf(kind)))].map((noun) =>
    [noun, collections.reduce((sum, one) => sum + (memberOf(one.kind) === noun ? one.n_channels : 0), 0)]))
  sizes.push(["layer", n_layers], ["document", n_documents])
  /** @type {[string, string, string | false][]} */
  const rows = [
    ["Model", model.base, modelWords(model.facts ?? {})],
    ["Adapter", model.adapter, adapterWords(model.facts ?? {})],
    ["Text", corpus.source, `${plural(corpus.n_documents, "document")}, ${count(corpus.n_tokens)} tokens (${count(corpus.n_measured)} measured)`],
    ["Pages", sizes.map(([noun, n]) => plural(n, noun)).join(", "), false],
  ]
  const links = collections.map(({ name, kind, n_channels: n, n_dead }) => h("small", {}, h("a", { href: context.linkTo(name) }, name),
    `: ${plural(n, memberOf(kind))}${n_dead ? `, ${count(n_dead)} of them dead` : ""}`))
  const shown = preset === "compact" ? "the strongest of what was measured" : "all that was measured"
  links.push(h("small", {}, h("a", { href: `${context.root}shards/#presets` }, `${preset} preset`), `: the pages of channels show ${shown}`))
  return h("dl", { class: "fb-home-facts" }, ...rows.map(([name, value, more]) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, h("bdi", {}, value), more && h("small", {}, more), ...(name === "Pages" ? links : [])))))
}

/** Architecture and size, as far as they are known. @param {Record<string, unknown>} known */
function modelWords({ architecture, n_parameters, n_layers }) {
  return [
    architecture,
    typeof n_parameters === "number" && `${number(n_parameters / 1e6)} million parameters`,
    typeof n_layers === "number" && plural(n_layers, "layer"),
  ].filter(Boolean).join(", ")
}

/** Kind, rank and modules, as far as they are known. @param {Record<string, unknown>} known */
function adapterWords({ adapter_type, ranks, targets }) {
  return [
    adapter_type,
    Array.isArray(ranks) && ranks.length > 0 && `rank ${ranks.join(", ")}`,
    Array.isArray(targets) && `on ${targets.join(", ")}`,
  ].filter(Boolean).join(", ")
}

/** A box that opens the page of results. @param {Context} context */
function finder(context) {
  const box = h("input", { type: "search", class: "fb-input", name: "q", autocomplete: "off", spellcheck: "false", placeholder: "a label, an id, words of the text, or \" Wait\" for an exact token" })
  return h("form", { class: "fb-finder", role: "search", "aria-label": "Find a direction", action: context.linkTo("search") },
    h("label", { class: "fb-filter-text" }, h("span", {}, "Find a direction"), box), h("button", { class: "fb-button" }, "Search"))
}

/** The layer × module grid; one tab stop, arrow keys between cells. */
class Overview {
  /**
   * @param {Grid} grid
   * @param {Context} context
   */
  constructor(grid, context) {
    this.grid = grid
    this.context = context
    const known = Object.keys(STATISTICS).filter((name) => name in grid.statistics)
    this.statistic = known[0]
    this.isByRank = false
    this.legend = h("span", { class: "fb-legend fb-overview__legend" })
    this.bands = h("div", { class: "fb-overview__bands" })
    this.choice = h("select", { class: "fb-input", name: "statistic" }, ...known.map((name) => h("option", { value: name }, STATISTICS[name].label)))
    this.rank = h("input", { type: "checkbox", name: "rank" })
    this.rankLabel = h("label", { class: "fb-check" }, this.rank, " by rank")
    this.width = 0
    /** @type {string} */
    this.layout = ""
    /** @type {Map<string, HTMLAnchorElement>} "row column" -> link */
    this.links = new Map()
    this.element = h("section", { class: "fb-panel fb-overview", "aria-labelledby": "overview" },
      h("div", { class: "fb-overview__bar" },
        h("h2", { id: "overview" }, "Every direction at a glance"),
        h("label", { class: "fb-select" }, "Colour: ", this.choice), this.rankLabel, this.legend),
      h("p", { class: "fb-caption" }, "Layers across, modules down. Each cell is a page.",
        grid.is_folded && " A module of several directions stands as the one that writes most."),
      this.bands)
    this.choice.addEventListener("change", () => this.recolour())
    this.rank.addEventListener("change", () => this.recolour())
    this.bands.addEventListener("keydown", (event) => this.onKey(event))
    for (const type of ["pointerover", "focusin"]) this.bands.addEventListener(type, (event) => this.onHover(event))
    for (const type of ["pointerleave", "focusout"]) this.bands.addEventListener(type, () => Tooltip.shared().leave())
    new ResizeObserver(([entry]) => this.arrange(entry.contentRect.width)).observe(this.bands)
  }

  /** Cuts the layers into bands for a width. @param {number} width */
  arrange(width) {
    const { layers } = this.grid
    const bands = bandsOf(layers.length, width - NAMES, CELL)
    const widest = Math.max(1, ...bands.map(([first, stop]) => stop - first))
    const cell = (width - NAMES) / widest
    const layout = `${bands.length} ${cell >= WIDE_CELL}`
    if (layout === this.layout) return
    this.layout = layout
    this.links.clear()
    this.bands.replaceChildren(...bands.map(([first, stop]) => this.table(first, stop, cell >= WIDE_CELL)))
    const firstLink = this.links.values().next().value
    if (firstLink) firstLink.tabIndex = 0
    this.recolour()
  }

  /**
   * One band of layers.
   * @param {number} first
   * @param {number} stop  indices of layers
   * @param {boolean} isWide
   */
  table(first, stop, isWide) {
    const { layers, modules } = this.grid
    const inBand = layers.slice(first, stop)
    const heads = inBand.map((layer) =>
      h("th", { scope: "col" }, h("a", { href: this.context.linkTo(`layer/${layer}`), "aria-label": `Layer ${layer}` }, layer)))
    const rows = modules.map((module, column) =>
      h("tr", {}, h("th", { scope: "row", title: module }, module), ...inBand.map((_, index) => this.cell(first + index, column, isWide))))
    const table = h("table", { class: `fb-cells${isWide ? " fb-cells--wide" : ""}` },
      h("caption", { class: "fb-hidden" }, `Layers ${layers[first]} to ${layers[stop - 1]}`),
      h("thead", {}, h("tr", {}, h("th", { scope: "col", class: "fb-cells__corner" }, "Layer"), ...heads)),
      h("tbody", {}, ...rows))
    table.style.maxWidth = `${NAMES + inBand.length * WIDEST_CELL}px`
    return table
  }

  /**
   * @param {number} row  index of the layer
   * @param {number} column  index of the module
   * @param {boolean} isWide
   */
  cell(row, column, isWide) {
    const id = this.grid.cells[row][column]
    if (id === null) return h("td", { class: "fb-cells__none" })
    const token = this.grid.top_tokens[row][column]?.[0]
    const shown = isWide && token !== undefined ? visible(token) : ""
    const name = readableId(id) + (shown && `, ${shown}`)
    const link = h("a", { href: this.context.linkTo(id), tabindex: "-1", "data-cell": `${row} ${column}`, "aria-label": name },
      shown && h("bdi", { translate: "no" }, shown))
    this.links.set(`${row} ${column}`, link)
    return h("td", {}, link)
  }

  recolour() {
    this.statistic = this.choice.value
    const { text, isSigned } = STATISTICS[this.statistic]
    this.rankLabel.hidden = isSigned
    const values = this.grid.statistics[this.statistic]
    const n = this.grid.modules.length
    const { strengths, low, high } = strengthsOf(values.flat(), isSigned, this.rank.checked && !isSigned)
    for (const [key, link] of this.links) {
      const [row, column] = key.split(" ").map(Number)
      link.className = toneOf(strengths[row * n + column] || 0)
    }
    const steps = Array.from({ length: isSigned ? 33 : 17 }, (_, step) => h("i", { class: toneOf(isSigned ? (step - 16) / 16 : step / 16) }))
    this.legend.replaceChildren(h("span", {}, text(low)), h("span", { class: "fb-legend__bar", "aria-hidden": "true" }, ...steps), h("span", {}, text(high)))
  }

  /** @param {Event} event */
  onHover(event) {
    const link = /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest("a[data-cell]"))
    if (!link) return Tooltip.shared().leave()
    const [row, column] = (link.dataset.cell ?? "").split(" ").map(Number)
    Tooltip.shared().show(link, () => this.describe(row, column))
  }

  /** @param {number} row @param {number} column */
  describe(row, column) {
    const { cells, top_tokens, statistics } = this.grid
    const { label, text } = STATISTICS[this.statistic]
    return h("div", {}, h("p", {}, h("strong", {}, readableId(cells[row][column] ?? ""))),
      h("p", {}, tokenList(top_tokens[row][column] ?? [], "positive")),
      h("p", { class: "fb-number" }, `${label} ${text(statistics[this.statistic][row][column])}`))
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const link = /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest("a[data-cell]"))
    /** @type {Record<string, [number, number]>} */
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }
    const step = steps[event.key]
    if (!link || !step || event.altKey || event.ctrlKey || event.metaKey) return
    event.preventDefault()
    let [row, column] = (link.dataset.cell ?? "").split(" ").map(Number)
    const { layers, modules } = this.grid
    do {
      row += step[0]
      column += step[1]
    } while (row >= 0 && row < layers.length && column >= 0 && column < modules.length && !this.links.has(`${row} ${column}`))
    const next = this.links.get(`${row} ${column}`)
    if (!next) return
    link.tabIndex = -1
    next.tabIndex = 0
    next.focus()
  }
}

/**
 * @param {HomeShard} shard
 * @param {Context} context
 */
function cards(shard, context) {
  if (!shard.cards.length) return null
  const items = shard.cards.map((card) => {
    const channel = { id: card.id, scale: card.scale, is_signed: card.is_signed }
    return h("li", { class: "fb-card" },
      h("h3", {}, h("a", { href: context.linkTo(card.id) }, card.label ?? readableId(card.id))),
      card.label && h("p", { class: "fb-card__id" }, readableId(card.id)),
      h("p", {}, tokenList(card.top_tokens, "positive")),
      card.bottom_tokens.length > 0 && h("p", {}, tokenList(card.bottom_tokens, "negative")),
      card.example && snippet(card.example, 1, channel, shard, context))
  })
  return h("section", { class: "fb-panel", "aria-labelledby": "picked" }, h("h2", { id: "picked" }, "Begin with these"), h("ul", { class: "fb-cards" }, ...items))
}

/** @param {HomeShard} shard */
function citationBox(shard) {
  const page = { title: "", url: shard.site_url || location.origin + location.pathname }
  const sentence = citationText(shard.citation, page), tex = bibtex(shard.citation, page)
  return h("section", { class: "fb-panel fb-cite", "aria-labelledby": "cite" }, h("h2", { id: "cite" }, "How to cite"), h("p", {}, sentence),
    h("pre", { tabindex: "0", "aria-label": "BibTeX entry" }, h("code", {}, tex)), copyButton("Copy the sentence", () => sentence), " ", copyButton("Copy BibTeX", () => tex))
}

/**
 * Whom the labels are owed to, and the way to write some.
 * @param {HomeShard} shard
 * @param {Context} context
 */
function labelCredits(shard, context) {
  const names = shard.credits.map(({ author, source, n_channels: n }) =>
    h("li", {}, h("bdi", {}, author), source === "model" && h("span", { class: "fb-badge" }, "model"), `: ${count(n)} ${n === 1 ? "channel" : "channels"}`))
  const feed = /** @type {HTMLLinkElement | null} */ (document.querySelector('link[type="application/atom+xml"]'))
  return h("section", { class: "fb-panel fb-credits", "aria-labelledby": "credits" }, h("h2", { id: "credits" }, "Labels"),
    names.length ? h("ul", {}, ...names) : h("p", {}, "Nobody has labelled anything yet."),
    h("p", {}, h("a", { href: context.linkTo("annotate") }, "Label some yourself"), feed && " · ", feed && h("a", { href: feed.href }, "Feed of new labels")))
}

/** @param {HomeShard} shard */
function provenance(shard) {
  const { versions, seed, settings, keys } = shard.provenance
  const named = Object.entries(versions).map(([name, version]) => `${name} ${version ?? "?"}`).join(" · ")
  return h("section", { class: "fb-panel", "aria-labelledby": "made" }, h("h2", { id: "made" }, "How it was made"),
    ...shard.notes.map((note) => h("p", {}, note)),
    h("p", {}, h("bdi", {}, named), `, seed ${seed}`),
    shard.repository && /^https?:\/\//.test(shard.repository) && h("p", {}, h("a", { href: shard.repository }, "Repository")),
    h("details", { class: "fb-fold" }, h("summary", {}, "Settings of the run"), pretty(settings)),
    h("details", { class: "fb-fold" }, h("summary", {}, "Model and adapter"), pretty(shard.model)),
    Object.keys(keys).length > 0 && h("details", { class: "fb-fold" }, h("summary", {}, "Content keys of the stages"), pretty(keys)))
}

/** @param {unknown} value */
function pretty(value) {
  return h("pre", { tabindex: "0" }, h("code", {}, JSON.stringify(value, null, 2)))
}
