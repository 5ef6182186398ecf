/** All results of a search: channels, tokens, passages, and the hand-written pages from the index that the theme's search plugin makes. */
import { h } from "../elements.mjs"
import { count } from "../numbers.mjs"
import { SearchIndex } from "../search-index.mjs"
import { groupsOf } from "../search-query.mjs"
import { fold } from "../search-words.mjs"

/** @typedef {import("../main.mjs").Context} Context */
/** @typedef {{location: string, title: string, text: string}} Section */

const PAUSE = 150
const FIRST = 12
/** Characters shown around a match of the guide. */
const AROUND = 90

/**
 * @param {HTMLElement} element
 * @param {unknown} head
 * @param {Context} context
 */
export async function mount(element, head, context) {
  await new SearchPage(element, context).start()
}

class SearchPage {
  /** @param {HTMLElement} element @param {Context} context */
  constructor(element, context) {
    this.context = context
    this.index = new SearchIndex(context)
    this.input = h("input", { type: "search", class: "fb-input", name: "q", autocomplete: "off", spellcheck: "false" })
    this.status = h("p", { class: "fb-count", role: "status" })
    this.results = h("div", { class: "fb-found" })
    this.limit = FIRST
    this.turn = 0
    this.timer = 0
    /** @type {Promise<Section[]> | null} */
    this.guide = null
    const form = h("form", { role: "search", "aria-label": "All results" },
      h("label", { class: "fb-filter-text" }, h("span", {}, "Words, or a token in quotes: \" Wait\""), this.input))
    form.addEventListener("submit", (event) => event.preventDefault())
    this.input.addEventListener("input", () => {
      clearTimeout(this.timer)
      this.timer = setTimeout(() => void this.change(), PAUSE)
    })
    element.replaceChildren(form, this.status, this.results)
  }

  async start() {
    this.input.value = new URLSearchParams(location.search).get("q") ?? ""
    await this.search()
  }

  async change() {
    const words = this.input.value ? `?${new URLSearchParams({ q: this.input.value })}` : ""
    history.replaceState(history.state, "", location.pathname + words)
    this.limit = FIRST
    await this.search()
  }

  async search() {
    const typed = this.input.value, turn = ++this.turn
    if (!typed.trim()) {
      this.results.replaceChildren()
      this.status.textContent = ""
      return
    }
    const limits = { channels: this.limit, tokens: this.limit, passages: this.limit }
    const [groups, sections] = await Promise.all([groupsOf(this.index, typed, limits, this.context), this.sections(typed)])
    if (turn !== this.turn) return
    const guide = { title: `Guide (${count(sections.length)})`, hits: sections.slice(0, this.limit).map((one) => this.sectionHit(one, typed)), more: null }
    const shown = [...groups, guide].filter(({ hits }) => hits.length)
    this.status.textContent = shown.length ? "" : "Nothing found."
    const isFull = shown.some(({ hits }) => hits.length >= this.limit)
    const more = h("button", { type: "button", class: "fb-button" }, "Show more")
    more.addEventListener("click", () => {
      this.limit *= 3
      void this.search()
    })
    this.results.replaceChildren(...shown.map((group, number) => section(group, number)), ...(isFull ? [more] : []))
  }

  /**
   * The sections of the hand-written pages that hold every word, those that hold them in their title first.
   * @param {string} typed
   * @returns {Promise<Section[]>}
   */
  async sections(typed) {
    this.guide ??= fetch(`${this.context.root}search/search_index.json`)
      .then((answer) => (answer.ok ? answer.json() : { docs: [] })).then(({ docs }) => docs, () => [])
    const terms = termsOf(typed)
    const all = await this.guide
    const found = all.filter(({ title, text }) => {
      const held = fold(`${title} ${text}`).toLowerCase()
      return terms.length > 0 && terms.every((term) => held.includes(term))
    })
    const isTitled = (/** @type {Section} */ { title }) => terms.every((term) => fold(title).toLowerCase().includes(term))
    return [...found.filter(isTitled), ...found.filter((one) => !isTitled(one))]
  }

  /** @param {Section} one @param {string} typed */
  sectionHit({ location: place, title, text }, typed) {
    const plain = plainText(text)
    const at = Math.max(0, ...termsOf(typed).map((term) => plain.toLowerCase().indexOf(term)))
    const from = Math.max(0, at - AROUND)
    return h("a", { class: "fb-hit fb-hit--guide", href: this.context.root + place },
      h("span", { class: "fb-hit__name" }, plainText(title)),
      h("span", { class: "fb-hit__passage" }, (from ? "…" : "") + plain.slice(from, at + AROUND)))
  }
}

/** @param {string} typed */
function termsOf(typed) {
  return fold(typed.replaceAll('"', " ")).toLowerCase().split(/\s+/).filter(Boolean)
}

/** The text of a section, which the plugin keeps as HTML; parsed apart from the page, so that nothing in it can run. @param {string} html */
function plainText(html) {
  return new DOMParser().parseFromString(html, "text/html").body.textContent?.replace(/\s+/g, " ").trim() ?? ""
}

/** @param {import("../search-results.mjs").Group} group @param {number} number */
function section({ title, hits, more }, number) {
  const id = `found-${number}`
  return h("section", { class: "fb-panel", "aria-labelledby": id }, h("h2", { id }, title),
    h("ul", { class: "fb-found__list" }, ...hits.map((hit) => h("li", {}, hit))),
    more && h("p", {}, h("a", { href: more.href }, more.text)))
}
