/**
 * The box that finds everything: a combobox whose list holds links in groups (WAI-ARIA 1.2, combobox with a listbox popup).
 * Arrow keys move through the list while the cursor stays in the box; Enter follows what is marked, or opens all results.
 */
import { h } from "./elements.mjs"
import { groupsOf } from "./search-query.mjs"
import { SearchIndex } from "./search-index.mjs"
import { rehearse } from "./search-rehearsal.mjs"

/** @typedef {import("./main.mjs").Context} Context */

/** Milliseconds: a key that follows another one faster waits as long for the next, so that a burst asks once; any other is answered at
 * once. An answer that is overtaken is dropped. */
const PAUSE = 30
const limits = { channels: 6, tokens: 4, passages: 3 }

export class SearchBox {
  /**
   * @param {HTMLInputElement} input
   * @param {Context} context
   */
  constructor(input, context) {
    this.input = input
    this.context = context
    this.index = new SearchIndex(context)
    this.list = h("div", { class: "fb-search__list", id: "fb-search-list", role: "listbox", "aria-label": "Results", hidden: true })
    this.status = h("p", { class: "fb-hidden", role: "status" })
    /** @type {HTMLElement[]} */
    this.options = []
    this.marked = -1
    this.timer = 0
    this.lastKey = -PAUSE
    this.asked = 0
    input.setAttribute("role", "combobox")
    input.setAttribute("aria-autocomplete", "list")
    input.setAttribute("aria-controls", "fb-search-list")
    input.setAttribute("aria-expanded", "false")
    input.form?.append(this.list, this.status)
    input.addEventListener("input", () => this.later())
    input.addEventListener("focus", () => this.options.length && input.value.trim() && this.show())
    input.addEventListener("keydown", (event) => this.onKey(event))
    input.form?.addEventListener("focusout", (event) => {
      if (!input.form?.contains(/** @type {Node | null} */ (event.relatedTarget))) this.close()
    })
    this.list.addEventListener("pointerdown", (event) => event.preventDefault())
    this.index.head().then((head) => rehearse(input, head, context, limits)).catch(() => undefined)
    if (input.value.trim()) this.later()
  }

  later() {
    clearTimeout(this.timer)
    const isBurst = performance.now() - this.lastKey < PAUSE
    this.lastKey = performance.now()
    this.timer = setTimeout(() => void this.search(), isBurst ? PAUSE : 0)
  }

  async search() {
    const typed = this.input.value
    const turn = ++this.asked
    if (!typed.trim()) return this.close()
    try {
      const groups = await groupsOf(this.index, typed, limits, this.context)
      if (turn === this.asked) this.draw(typed, groups)
    } catch (error) {
      if (turn !== this.asked) return
      this.options = []
      this.list.replaceChildren(h("p", { class: "fb-search__none" }, `The search failed: ${error instanceof Error ? error.message : error}`))
      this.show()
    }
  }

  /**
   * @param {string} typed
   * @param {import("./search-results.mjs").Group[]} groups
   */
  draw(typed, groups) {
    const page = this.context.linkTo("search")
    const all = h("a", { class: "fb-hit fb-hit--all", href: `${page}?${new URLSearchParams({ q: typed })}` }, "All results, and the guide")
    const drawn = groups.map(({ title, hits, more }, number) => {
      const head = h("div", { class: "fb-search__head", id: `fb-search-group-${number}`, role: "presentation" }, title)
      const rest = more && h("a", { class: "fb-hit fb-hit--more", href: more.href }, more.text)
      return h("div", { role: "group", "aria-labelledby": head.id }, head, ...hits, rest)
    })
    const last = h("div", { role: "group", "aria-label": "More" }, all)
    this.list.replaceChildren(...drawn, last)
    this.options = [...this.list.querySelectorAll("a")]
    for (const [place, option] of this.options.entries()) {
      option.id = `fb-search-option-${place}`
      option.setAttribute("role", "option")
      option.setAttribute("aria-selected", "false")
      option.tabIndex = -1
    }
    const n = groups.reduce((sum, { hits }) => sum + hits.length, 0)
    if (!n) this.list.prepend(h("p", { class: "fb-search__none", role: "presentation" }, "Nothing found. Words find ids, labels, tokens and passages; quotes find a token exactly: \" Wait\"."))
    this.status.textContent = n ? `${n} results. Arrow keys choose.` : "Nothing found."
    this.mark(-1)
    this.show()
  }

  show() {
    if (document.activeElement !== this.input) return
    this.list.hidden = false
    this.input.setAttribute("aria-expanded", "true")
  }

  close() {
    clearTimeout(this.timer)
    this.asked++
    this.list.hidden = true
    this.input.setAttribute("aria-expanded", "false")
    this.mark(-1)
  }

  /** @param {number} place */
  mark(place) {
    this.options[this.marked]?.setAttribute("aria-selected", "false")
    this.marked = place
    const option = this.options[place]
    if (!option) return this.input.removeAttribute("aria-activedescendant")
    option.setAttribute("aria-selected", "true")
    option.scrollIntoView({ block: "nearest" })
    this.input.setAttribute("aria-activedescendant", option.id)
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    if (event.isComposing) return
    const isOpen = !this.list.hidden, n = this.options.length
    if (event.key === "Escape" && isOpen) this.close()
    else if (event.key === "ArrowDown" && n) {
      if (!isOpen) this.show()
      this.mark((this.marked + 1) % n)
    } else if (event.key === "ArrowUp" && isOpen && n) this.mark(this.marked <= 0 ? n - 1 : this.marked - 1)
    else if (event.key === "Enter" && isOpen && this.marked >= 0) this.options[this.marked].click()
    else return
    event.preventDefault()
    event.stopPropagation()
  }
}
