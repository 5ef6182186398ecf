/**
 * A long text with colours, fast: every run of tokens stands as one text node until it comes near the window; then it
 * becomes spans, with the same text. So the page can be searched and copied from the start, and nothing moves.
 */
import { h } from "./elements.mjs"
import { toneOf } from "./heatmap/scale.mjs"
import { pieces } from "./heatmap/tokens.mjs"
import { paragraphsOf, Source } from "./reading.mjs"

/** @typedef {import("./heatmap/tokens.mjs").Group} Group */
/**
 * @typedef {object} Layer  one channel over the text
 * @property {Float64Array} values  per group, NaN for none
 * @property {number} maximum
 */

/** How far from the window runs become spans. */
const MARGIN = "1200px"
/** Characters that fit on a line, for the height of paragraphs that were not laid out yet. */
const LINE = 80

export class Prose {
  /** @param {Group[]} groups */
  constructor(groups) {
    this.groups = groups
    this.source = new Source(groups)
    /** @type {Layer[]} the first as background, two more as underlines */
    this.layers = []
    this.cursor = -1
    this.element = h("div", {
      class: "fb-prose", translate: "no", spellcheck: "false", tabindex: "0", role: "group",
      "aria-label": "Text. Arrow keys go from token to token, Enter to the list of what fires there.",
    })
    /** @type {{element: HTMLElement, first: number, end: number}[]} */
    this.runs = []
    /** @type {Map<Element, number>} */
    this.runOf = new Map()
    this.near = new IntersectionObserver((entries) => this.onNear(entries), { rootMargin: MARGIN })
    for (const paragraph of paragraphsOf(groups)) this.element.append(this.paragraph(paragraph))
    this.element.addEventListener("copy", (event) => this.onCopy(event))
    addEventListener("beforeprint", () => this.runs.forEach((_, index) => this.wake(index)))
  }

  /** @param {[number, number][]} runs */
  paragraph(runs) {
    const [start, end] = [runs[0][0], runs[runs.length - 1][1]]
    const element = h("div", { class: "fb-prose__paragraph", dir: "auto" })
    const text = this.source.shown.slice(start, end).join("")
    const lines = text.split("\n").reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / LINE)), 0)
    element.style.containIntrinsicBlockSize = `auto ${(lines * 1.9).toFixed(1)}em`
    for (const [first, stop] of runs) {
      const run = h("span", { class: "fb-prose__run" }, this.source.shown.slice(first, stop).join(""))
      this.runOf.set(run, this.runs.length)
      this.runs.push({ element: run, first, end: stop })
      this.near.observe(run)
      element.append(run)
    }
    return element
  }

  /** @param {IntersectionObserverEntry[]} entries */
  onNear(entries) {
    for (const { target, isIntersecting } of entries) if (isIntersecting) this.wake(this.runOf.get(target) ?? -1)
  }

  /** Turns a run into spans, once. @param {number} index */
  wake(index) {
    const run = this.runs[index]
    if (!run || run.element.dataset.awake) return
    run.element.dataset.awake = "true"
    this.near.unobserve(run.element)
    const spans = []
    for (let group = run.first; group < run.end; group++) spans.push(this.span(group))
    run.element.replaceChildren(...spans)
  }

  /** @param {number} group */
  span(group) {
    const { text, isSpecial } = this.groups[group]
    const span = h("span", { "data-group": group })
    if (this.source.shown[group] === text && !/[\n\t]/.test(text)) span.textContent = text
    else span.append(...pieces(text).map(drawn))
    span.className = this.classOf(group, isSpecial)
    return span
  }

  /**
   * @param {number} group
   * @param {boolean} isSpecial
   */
  classOf(group, isSpecial) {
    const names = ["fb-token"]
    if (isSpecial) names.push("fb-token--special")
    if (group === this.cursor) names.push("fb-token--target")
    for (const [place, { values, maximum }] of this.layers.entries()) {
      const t = Number.isNaN(values[group]) || !(maximum > 0) ? 0 : Math.max(-1, Math.min(1, values[group] / maximum))
      const tone = toneOf(t)
      if (!tone) continue
      if (place === 0) names.push(tone)
      else names.push(`fb-line-${place}`, `fb-line-${place}--${Math.ceil(Math.abs(t) * 4)}`, ...(t < 0 ? [`fb-line-${place}--negative`] : []))
    }
    return names.join(" ")
  }

  /** Colours the text. @param {Layer[]} layers */
  colour(layers) {
    this.layers = layers
    for (const { element } of this.runs) if (element.dataset.awake) for (const span of element.children) this.repaint(/** @type {HTMLElement} */ (span))
  }

  /** @param {HTMLElement} span */
  repaint(span) {
    const group = Number(span.dataset.group)
    span.className = this.classOf(group, this.groups[group].isSpecial)
  }

  /**
   * The span of a group; its run becomes spans when it is not yet.
   * @param {number} group
   * @returns {HTMLElement | null}
   */
  spanOf(group) {
    const index = this.runs.findIndex(({ first, end }) => group >= first && group < end)
    if (index < 0) return null
    this.wake(index)
    return /** @type {HTMLElement} */ (this.runs[index].element.children[group - this.runs[index].first])
  }

  /**
   * Marks a group and brings it into sight.
   * @param {number} group
   * @param {"center" | "nearest" | null} block  null: do not scroll
   */
  goTo(group, block) {
    const before = this.cursor
    this.cursor = group
    const old = before < 0 ? null : this.spanOf(before), now = this.spanOf(group)
    if (old) this.repaint(old)
    if (!now) return
    this.repaint(now)
    if (block) now.scrollIntoView({ block, inline: "nearest" })
  }

  /**
   * The group at an event's target.
   * @param {EventTarget | null} target
   * @returns {number} −1 for none
   */
  groupAt(target) {
    const span = target instanceof Element ? /** @type {HTMLElement | null} */ (target.closest("[data-group]")) : null
    return span ? Number(span.dataset.group) : -1
  }

  /** Puts the exact source of what is selected on the clipboard. @param {ClipboardEvent} event */
  onCopy(event) {
    const selection = getSelection()
    if (!selection || selection.isCollapsed || !event.clipboardData) return
    const range = selection.getRangeAt(0)
    const from = this.offsetOf(range.startContainer, range.startOffset), to = this.offsetOf(range.endContainer, range.endOffset)
    event.clipboardData.setData("text/plain", this.source.between(from, to))
    event.preventDefault()
  }

  /**
   * Where a boundary of a selection lies in the shown text.
   * @param {Node} node
   * @param {number} offset
   */
  offsetOf(node, offset) {
    const before = document.createRange()
    before.selectNodeContents(this.element)
    const place = before.comparePoint(node, offset)
    if (place < 0) return 0
    if (place === 0) before.setEnd(node, offset)
    return before.toString().length
  }
}

/** @param {import("./heatmap/tokens.mjs").Piece} piece */
function drawn(piece) {
  if (piece.kind === "chip") return h("span", { class: "fb-chip", "data-source": piece.text }, piece.label)
  // the marks of line breaks and tabs are generated by CSS: no text is added
  return piece.kind === "newline" || piece.kind === "tab" ? h("span", { class: `fb-${piece.kind}` }, piece.text) : piece.text
}
