/** A document: its text with up to three channels drawn into it, and what fires at the token one points to. */
import { nextTokens, withDivergence } from "../analysis/document.mjs"
import { h } from "../elements.mjs"
import { legend } from "../heatmap.mjs"
import { linearScale, toneOf } from "../heatmap/scale.mjs"
import { areShortcutsOn, offerKeys } from "../keys.mjs"
import { groupOf, visible } from "../heatmap/tokens.mjs"
import { Tooltip } from "../heatmap/tooltip.mjs"
import { count, number } from "../numbers.mjs"
import { Prose } from "../prose.mjs"
import { RANKINGS, rankingButtons } from "../ranking.mjs"
import { firingAt, groupsOf, maximumOf, minimapOf, strongestHere, valuesOf } from "../reading.mjs"
import { readableId } from "../shards.mjs"

/** @typedef {import("../main.mjs").Context} Context */
/** @typedef {import("../reading.mjs").DocumentShard} DocumentShard */

/** Channels drawn at once: the first as background, the others as underlines. */
const MOST = 3
/** Channels offered before one types. */
const OFFERED = 12
/** Parts of the minimap. */
const PARTS = 160
/** |activation| / RMS at which the bar beside a channel is full. */
const FULL_BAR = 12

/**
 * @param {HTMLElement} element
 * @param {DocumentShard} shard
 * @param {Context} context
 */
export function mount(element, shard, context) {
  new Reader(element, shard, context).start()
}

class Reader {
  /**
   * @param {HTMLElement} element
   * @param {DocumentShard} shard
   * @param {Context} context
   */
  constructor(element, shard, context) {
    this.element = element
    this.shard = shard
    this.context = context
    this.groups = groupsOf(shard)
    this.prose = new Prose(this.groups)
    this.order = strongestHere(shard)
    /** @type {import("../analysis/document.mjs").NextTokens | null} */
    this.next = null
    /** @type {Map<number, number>} channel -> its strongest activation here */
    this.peaks = new Map(this.order.map(({ channel, value }) => [channel, value]))
    /** @type {number[]} indices into the shard's channels */
    this.chosen = []
    /** @type {Map<number, Float64Array>} */
    this.values = new Map()
    this.token = -1
    /** @type {import("../reading.mjs").Ranking} */
    this.ranking = "value"
    withDivergence(this)
    this.chosenList = h("ol", { class: "fb-chosen", "aria-label": "Channels drawn in the text" })
    this.filter = h("input", { type: "search", class: "fb-input", name: "channel", autocomplete: "off", placeholder: "Filter by id", "aria-label": "Filter the channels by id" })
    this.offers = h("ul", { class: "fb-offers" })
    this.offersCount = h("p", { class: "fb-hint", role: "status" })
    this.panel = h("section", { class: "fb-firing", "aria-label": "What fires at the token" })
    this.live = h("p", { class: "fb-hidden", "aria-live": "polite" })
    this.minimap = h("div", { class: "fb-minimap", "aria-hidden": "true", title: "Where the first channel is strong" })
  }

  start() {
    const { element, shard, prose } = this
    void nextTokens(shard, this.context).then((next) => {
      this.next = next
      if (this.token >= 0) this.showFiring()
    })
    const collections = new Set(shard.channels.map(({ id }) => id.split("/")[0]))
    element.replaceChildren(
      this.facts(),
      h("div", { class: "fb-document" },
        h("div", { class: "fb-reading" }, prose.element, this.minimap),
        h("aside", { class: "fb-document__side", "aria-label": "Channels" },
          this.panel,
          h("section", { class: "fb-chooser" }, h("h2", {}, "In the text"), this.chosenList,
            h("details", { class: "fb-fold", open: !matchMedia("(max-width: 59.9375em)").matches },
              h("summary", {}, `Choose channels (${count(shard.channels.length)} here)`), this.filter, this.offers, this.offersCount,
            h("p", { class: "fb-hint" }, `Known at each token are the channels strongest there${collections.size > 1 ? " in each collection" : ""}, by |activation| over its usual size (RMS). Elsewhere a channel is left uncoloured. The list has the strongest first by this measure${collections.size > 1 ? ", of each collection in turn" : ""}.`)))),
        this.live))
    this.listen()
    this.showFiring()
    this.read()
  }

  facts() {
    const { n_tokens, metadata } = this.shard
    const entries = Object.entries(metadata ?? {}).filter(([, value]) => ["string", "number", "boolean"].includes(typeof value))
    return h("p", { class: "fb-text-facts" }, `${count(n_tokens)} tokens`,
      ...entries.slice(0, 6).map(([name, value]) => h("span", {}, h("bdi", {}, name), ": ", h("bdi", {}, String(value).slice(0, 80)))),
      this.shard.analysed ? h("a", { href: this.context.linkTo(this.shard.analysed) }, "Analysis of this text") : null)
  }

  listen() {
    const { prose } = this
    prose.element.addEventListener("click", (event) => {
      const group = prose.groupAt(event.target)
      if (group >= 0 && getSelection()?.isCollapsed) this.choose(group, null)
    })
    prose.element.addEventListener("pointerover", (event) => event.pointerType !== "touch" && this.hover(event.target))
    prose.element.addEventListener("pointerleave", () => Tooltip.shared().leave())
    prose.element.addEventListener("keydown", (event) => this.onKey(event))
    this.filter.addEventListener("input", () => this.showOffers())
    this.minimap.addEventListener("click", (event) => {
      const part = /** @type {HTMLElement} */ (event.target).dataset.group
      if (part !== undefined) this.choose(Number(part), "center")
    })
    this.panel.addEventListener("keydown", (event) => event.key === "Escape" && prose.element.focus())
    addEventListener("hashchange", () => this.read())
    offerKeys("In the text", [
      { keys: "← →", does: "previous, next token" },
      { keys: "[ ]", does: "previous, next token above half of the strongest value of the first channel" },
      { keys: "Enter", does: "to the list of what fires at the token; Esc goes back" },
    ])
  }

  /** Takes the token and the channels from the address: `#t=57&c=lora/L3/q_proj`. */
  read() {
    const words = new URLSearchParams(location.hash.slice(1))
    const asked = words.getAll("c").map((id) => this.shard.channels.findIndex((channel) => channel.id === id)).filter((index) => index >= 0)
    this.chosen = asked.length ? asked.slice(0, MOST) : this.chosen.length || !this.shard.channels.length ? this.chosen : [this.order[0].channel]
    this.colour()
    const token = words.has("t") ? Number(words.get("t")) : NaN
    if (token >= 0 && token < this.shard.n_tokens && token !== this.token) {
      this.choose(groupOf(this.groups, Math.floor(token)), "center", Math.floor(token))
    }
  }

  /** Keeps the view in the address, without growing the list of pages visited. */
  write() {
    const words = new URLSearchParams()
    if (this.token >= 0) words.set("t", String(this.token))
    for (const channel of this.chosen) words.append("c", this.shard.channels[channel].id)
    history.replaceState(history.state, "", `#${words}`)
  }

  /** @param {number} channel */
  valuesOf(channel) {
    const known = this.values.get(channel) ?? valuesOf(this.shard, this.groups, channel)
    this.values.set(channel, known)
    return known
  }

  colour() {
    this.prose.colour(this.chosen.map((channel) => ({ values: this.valuesOf(channel), maximum: maximumOf(this.shard.channels[channel]) })))
    this.showChosen()
    this.showOffers()
    this.showMinimap()
    if (this.token >= 0) this.showFiring()
  }

  /** Draws a channel into the text, or takes it out. @param {number} channel */
  toggle(channel) {
    const isDrawn = this.chosen.includes(channel)
    const others = this.chosen.filter((other) => other !== channel)
    this.chosen = isDrawn ? others : [...others.slice(0, MOST - 1), channel]
    this.colour()
    this.write()
  }

  /**
   * Points to a group of tokens.
   * @param {number} group
   * @param {"center" | "nearest" | null} block  how to bring it into sight
   * @param {number} [token]  which of its tokens; the first when not said
   */
  choose(group, block, token = this.groups[group].first) {
    this.token = token
    this.prose.goTo(group, block)
    this.showFiring()
    this.write()
    const firing = firingAt(this.shard, token)[0]
    this.live.textContent = `Token ${token}, ${visible(this.groups[group].text)}` +
      (firing ? `: strongest ${readableId(this.shard.channels[firing.channel].id)} ${number(firing.value, { sign: true })}` : "")
  }

  /** Shows the values of the drawn channels at a token. @param {EventTarget | null} target */
  hover(target) {
    const group = this.prose.groupAt(target)
    const span = group < 0 ? null : this.prose.spanOf(group)
    if (!span || !this.chosen.length) return Tooltip.shared().leave()
    Tooltip.shared().show(span, () =>
      h("div", {}, h("p", {}, h("strong", { class: "fb-text", dir: "auto" }, `‘${visible(this.groups[group].text)}’`), ` position ${this.groups[group].first}`),
        ...this.chosen.map((channel) => h("p", { class: "fb-number" }, `${readableId(this.shard.channels[channel].id)}: ${this.valueWords(channel, group)}`))))
  }

  /**
   * @param {number} channel
   * @param {number} group
   */
  valueWords(channel, group) {
    const value = this.valuesOf(channel)[group]
    return Number.isNaN(value) ? "not among the strongest here" : `${number(value, { sign: true })} ± ${number(this.shard.channels[channel].scale / 2)}`
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return
    const { cursor } = this.prose
    const last = this.groups.length - 1
    const isStrong = event.key === "[" || event.key === "]"
    if (event.key === "Enter") {
      this.panel.querySelector("a")?.focus()
      event.preventDefault()
      return
    }
    const span = cursor < 0 ? null : this.prose.spanOf(cursor)
    const forward = span && getComputedStyle(span).direction === "rtl" ? "ArrowLeft" : "ArrowRight"
    let next = -1
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") next = cursor + (event.key === forward || cursor < 0 ? 1 : -1)
    else if (isStrong && areShortcutsOn()) next = this.nextStrong(cursor, event.key === "]" ? 1 : -1)
    else return
    event.preventDefault()
    if (next >= 0 && next <= last) this.choose(next, isStrong ? "center" : "nearest")
  }

  /**
   * The next group at which the first channel is above half of its strongest value here.
   * @param {number} from
   * @param {1 | -1} step
   */
  nextStrong(from, step) {
    if (!this.chosen.length) return -1
    const values = this.valuesOf(this.chosen[0])
    const half = Math.abs(this.peaks.get(this.chosen[0]) ?? 0) / 2
    for (let at = from + step; at >= 0 && at < values.length; at += step) if (Math.abs(values[at]) > half) return at
    return -1
  }

  /** @param {number} channel @param {string} [label] */
  link(channel, label) {
    const { id, has_page } = this.shard.channels[channel]
    const text = label ?? readableId(id)
    return has_page === false ? h("span", {}, text) : h("a", { href: this.context.linkTo(id) }, text)
  }

  /** @param {number} channel */
  switchOf(channel) {
    const place = this.chosen.indexOf(channel)
    const { id, is_signed } = this.shard.channels[channel], name = readableId(id)
    const button = h("button", {
      type: "button", class: `fb-draw${place < 0 ? "" : ` fb-draw--${place}`}${is_signed ? "" : " fb-draw--unsigned"}`, "data-channel": channel,
      "aria-pressed": String(place >= 0), "aria-label": `Draw ${name} in the text`, title: place < 0 ? "Draw in the text" : "Take out of the text",
    })
    button.addEventListener("click", () => {
      const list = button.closest(".fb-firing, .fb-offers, .fb-chosen")
      this.toggle(channel)
      const again = /** @type {HTMLElement | null | undefined} */ (list?.querySelector(`[data-channel="${channel}"]`))
      if (!button.isConnected) again?.focus()
    })
    return button
  }

  showChosen() {
    this.chosenList.replaceChildren(...this.chosen.map((channel, place) => {
      const scale = linearScale(maximumOf(this.shard.channels[channel]), this.shard.channels[channel].is_signed)
      return h("li", {}, this.switchOf(channel), h("span", {}, this.link(channel), " ",
        h("small", { class: "fb-number" }, `strongest here ${number(this.peaks.get(channel), { sign: true })}`)),
        place === 0 ? legend(scale) : h("small", {}, place === 1 ? "upper line" : "lower line", ", dashed below 0"))
    }))
  }

  showOffers() {
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean)
    const found = this.order.filter(({ channel }) => words.every((word) => this.shard.channels[channel].id.toLowerCase().includes(word)))
    const shown = found.slice(0, OFFERED)
    this.offersCount.textContent = found.length > shown.length ? `${count(shown.length)} of ${count(found.length)}` : ""
    this.offers.replaceChildren(...shown.map(({ channel, value }) =>
      h("li", {}, this.switchOf(channel), this.link(channel), h("span", { class: "fb-number" }, number(value, { sign: true })))))
  }

  showMinimap() {
    if (!this.chosen.length) return this.minimap.replaceChildren()
    const maximum = Math.max(Math.abs(this.peaks.get(this.chosen[0]) ?? 0), 1e-30)
    this.minimap.replaceChildren(...minimapOf(this.valuesOf(this.chosen[0]), PARTS).map(({ value, group }) =>
      h("i", { class: toneOf(Math.max(-1, Math.min(1, value / maximum))), "data-group": group })))
  }

  showFiring() {
    if (this.token < 0) {
      this.panel.replaceChildren(h("h2", {}, "At a token"), h("p", { class: "fb-hint" }, "Click a token, or go to the text and use the arrow keys: the channels that fire there are listed here."))
      return
    }
    const { shard, token } = this
    const group = this.groups[groupOf(this.groups, token)]
    const members = Array.from({ length: group.end - group.first }, (_, index) => group.first + index)
    const firing = firingAt(shard, token, this.ranking)
    const hasEffects = firing.some(({ change }) => change !== null)
    this.panel.replaceChildren(
      h("div", { class: "fb-firing__head" },
        h("h2", {}, "At ", h("bdi", { class: "fb-token-mark", translate: "no" }, visible(group.text))), this.closeButton()),
      h("p", { class: "fb-hint" }, `Token ${count(token)} of ${count(shard.n_tokens)}, id ${shard.token_ids[shard.text[token]]}`, group.isSpecial && ", special", shard.is_measured[token] === 0 && ", left out of the statistics"),
      members.length > 1 ? this.memberButtons(members) : "",
      firing.length > 1 ? rankingButtons(this.ranking, shard.effects !== undefined, (ranking) => {
        this.ranking = ranking
        this.showFiring()
      }) : "",
      firing.length
        ? h("table", { class: "fb-firing__table" },
          h("caption", { class: "fb-hidden" }, `Channels by ${RANKINGS[this.ranking][1]}`),
          h("thead", {}, h("tr", {}, ...["Draw", "Channel", "Value", "× RMS", "As strong", ...(hasEffects ? ["Effect"] : [])].map((name, index) => h("th", { scope: "col" }, index ? name : h("span", { class: "fb-hidden" }, name))))),
          h("tbody", {}, ...firing.map((one) => this.firingRow(one, hasEffects))))
        : h("p", {}, "No activation is known at this token."),
      this.next?.at(token) ?? "")
  }

  /** Closes the list, which covers the foot of a narrow window. */
  closeButton() {
    const button = h("button", { type: "button", class: "fb-button fb-firing__close", "aria-label": "Close the list" }, "×")
    button.addEventListener("click", () => {
      this.token = -1
      this.showFiring()
      this.write()
      this.prose.element.focus({ preventScroll: true })
    })
    return button
  }

  /** The tokens of one character. @param {number[]} members */
  memberButtons(members) {
    return h("p", { class: "fb-hint fb-members" }, "Tokens of this character: ", ...members.map((token) => {
      const button = h("button", { type: "button", class: "fb-button", "aria-pressed": String(token === this.token) }, `id ${this.shard.token_ids[this.shard.text[token]]}`)
      button.addEventListener("click", () => this.choose(this.prose.cursor, null, token))
      return button
    }))
  }

  /**
   * @param {import("../reading.mjs").Firing} one
   * @param {boolean} hasEffects
   */
  firingRow({ channel, value, ratio, share, change }, hasEffects) {
    const size = Math.max(1, Math.min(8, Math.round(((ratio ?? 0) / FULL_BAR) * 8)))
    return h("tr", {},
      h("td", {}, this.switchOf(channel)),
      h("th", { scope: "row" }, this.link(channel)),
      h("td", { class: "fb-number" }, number(value, { sign: true })),
      h("td", { class: `fb-number fb-ratio fb-ratio--${size} fb-ratio--${(value ?? 0) < 0 ? "negative" : "positive"}` }, number(ratio)),
      h("td", { class: "fb-number", title: "Share of measured tokens on which it is at least as strong" }, `${Number((100 * share).toPrecision(2))} %`),
      hasEffects ? h("td", { class: "fb-number", title: "Change of log p of the next token without it" }, change === null ? "–" : number(change, { sign: true })) : null)
  }
}
