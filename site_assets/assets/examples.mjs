/** Examples: figures with one line of text around the peak that can be opened in place, and lists of them. */
import { folded, h } from "./elements.mjs"
import { number } from "./numbers.mjs"
import { attachHeatmap, captionOf, paint, tokenRun, tokenTable } from "./heatmap.mjs"
import { around, foldIdentical, groupTokens, sourceText, stripOfExample } from "./heatmap/tokens.mjs"

/** @typedef {import("./shards.mjs").Example} Example */
/** @typedef {import("./heatmap/scale.mjs").Scale} Scale */
/** @typedef {{example: Example, others: Example[]}} Folded */
/**
 * @typedef {object} Frame  what the examples of one channel share
 * @property {{tokens: string[], special: number[], scale: number}} shard
 * @property {Scale} scale
 * @property {(example: Example) => string | null} documentHref  address of the document at the example's peak
 * @property {(example: Example) => HTMLElement} [inDocument]  the whole document, drawn in place
 */
/** @typedef {"compact" | "whole" | "document"} Mode */

/** Tokens on each side of the peak in the compact form. */
const reach = 10

/**
 * One example: compact until it is opened.
 * @param {Folded} folded
 * @param {Frame} frame
 * @param {Mode} [mode]
 * @returns {HTMLElement}
 */
export function exampleFigure({ example, others }, frame, mode = "compact") {
  const href = example.has_page ? frame.documentHref(example) : null
  const strip = { ...stripOfExample(example, frame.shard), href }
  const groups = groupTokens(strip)
  const toggle = h("button", {
    class: "fb-example__toggle",
    type: "button",
    "aria-expanded": "false",
    "aria-label": "Show the whole example",
  })
  const text = h("div", { class: "fb-example__text" })
  const name = captionOf(strip, groups, example.value, example.group)
  const figure = h(
    "figure",
    { class: "fb-example", "aria-label": name, "data-doc": example.doc },
    toggle,
    text,
    h("span", { class: "fb-example__value" }, number(example.value, { sign: true })),
    h("span", { class: "fb-example__source" }, timesOf(others), sourceLink(example, href)),
  )
  /** @type {HTMLElement[]} what stands below the text when it is open, drawn when it is first opened */
  let below = []
  const draw = (/** @type {boolean} */ isOpen) => drawText(text, strip, groups, frame.scale, isOpen)
  const open = (/** @type {boolean} */ isOpen) => {
    figure.classList.toggle("is-open", isOpen)
    toggle.setAttribute("aria-expanded", String(isOpen))
    if (isOpen && !below.length) {
      below = [h("figcaption", {}, name), h("div", { class: "fb-example__more" }, ...details(example, others, strip, frame))]
      figure.append(...below)
    }
    for (const part of below) part.hidden = !isOpen
    if (!isOpen) leaveDocument(figure)
    draw(isOpen)
  }
  toggle.addEventListener("click", () => open(!figure.classList.contains("is-open")))
  figure.addEventListener("fb-open", () => open(true))
  figure.addEventListener("fb-close", () => open(false))
  figure.addEventListener("fb-expand", () => refocus(figure, () => open(!figure.classList.contains("is-open"))))
  figure.addEventListener("fb-table", () => refocus(figure, () => openTable(figure, open)))
  if (frame.inDocument) connectDocument(figure, example, frame.inDocument, open)
  if (mode !== "compact") open(true)
  else draw(false)
  if (mode === "document") nearing.observe(figure)
  return figure
}

/**
 * "fb-document" shows the example in its document, in place of its text, and back.
 * @param {HTMLElement} figure
 * @param {Example} example
 * @param {(example: Example) => HTMLElement} inDocument
 * @param {(isOpen: boolean) => void} open
 */
function connectDocument(figure, example, inDocument, open) {
  figure.addEventListener("fb-document", () => {
    const there = figure.querySelector(".fb-indoc")
    figure.classList.toggle("is-in-document", !there)
    if (there) return there.remove()
    open(true)
    figure.querySelector(".fb-example__more")?.before(inDocument(example))
  })
}

/** In document mode a document is fetched when its example comes near the window. */
const nearing = new IntersectionObserver((entries, observer) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue
    observer.unobserve(target)
    if (!target.querySelector(".fb-indoc")) target.dispatchEvent(new CustomEvent("fb-document"))
  }
}, { rootMargin: "300px" })

/** @param {HTMLElement} figure */
function leaveDocument(figure) {
  figure.querySelector(".fb-indoc")?.remove()
  figure.classList.remove("is-in-document")
}

/**
 * @param {HTMLElement} box
 * @param {import("./heatmap/tokens.mjs").Strip} strip
 * @param {import("./heatmap/tokens.mjs").Group[]} groups
 * @param {Scale} scale
 * @param {boolean} isOpen
 */
function drawText(box, strip, groups, scale, isOpen) {
  const range = isOpen ? undefined : around(groups, strip.target, reach)
  box.replaceChildren(tokenRun(strip, scale, { groups, range }))
  if (isOpen) {
    box.scrollLeft = 0
    centring.unobserve(box)
  } else centring.observe(box)
}

/**
 * Redrawing the text must not lose the reader's place in it.
 * @param {HTMLElement} figure
 * @param {() => void} change
 */
function refocus(figure, change) {
  change()
  const stop = /** @type {HTMLElement | null} */ (figure.querySelector('.fb-run [tabindex="0"]'))
  stop?.focus()
}

/**
 * @param {HTMLElement} figure
 * @param {(isOpen: boolean) => void} open
 */
function openTable(figure, open) {
  if (!figure.classList.contains("is-open")) open(true)
  const view = figure.querySelector("details")
  if (view) view.open = !view.open
}

/** @param {Example[]} others */
function timesOf(others) {
  if (!others.length) return null
  const title = `The same text stands in ${others.length + 1} places: ${others.map(nameOf).join(", ")}`
  return h("span", { class: "fb-times", title }, `×${others.length + 1}`)
}

/** @param {Example} example */
function nameOf(example) {
  return `${example.doc_name} at ${example.position}`
}

/**
 * @param {Example} example
 * @param {string | null} href
 */
function sourceLink(example, href) {
  const name = `doc ${example.doc}`
  return href
    ? h("a", { href, title: `Open ${example.doc_name} at token ${example.position}` }, name)
    : h("span", { title: `${example.doc_name}: this document has no page` }, name)
}

/**
 * What stands below an opened example: copy buttons, its other places, the table.
 * @param {Example} example
 * @param {Example[]} others
 * @param {import("./heatmap/tokens.mjs").Strip} strip
 * @param {Frame} frame
 * @returns {HTMLElement[]}
 */
function details(example, others, strip, frame) {
  const href = example.has_page ? frame.documentHref(example) : null
  const tableBox = folded("View as table", () => [tokenTable(strip)])
  const buttons = h(
    "div",
    { class: "fb-row" },
    copyButton("Copy text", () => sourceText(groupTokens(strip))),
    href && copyButton("Copy link", () => new URL(href, document.baseURI).href),
    copyButton("Copy JSON", () => JSON.stringify({ ...example, text: strip.display, scale: frame.shard.scale })),
    frame.inDocument && documentButton(),
    href && h("a", { class: "fb-button", href }, "Open the document"),
  )
  const places = others.length ? h("p", { class: "fb-note" }, `Also in ${others.map(nameOf).join(", ")}.`) : null
  return [places, buttons, tableBox].filter((element) => element !== null)
}

/** Shows the example in its document, and back. */
function documentButton() {
  const button = h("button", { type: "button", class: "fb-button" }, "In its document")
  button.addEventListener("click", () => button.closest(".fb-example")?.dispatchEvent(new CustomEvent("fb-document")))
  return button
}

/**
 * A button that copies a text and says so.
 * @param {string} label
 * @param {() => string} text
 * @returns {HTMLButtonElement}
 */
export function copyButton(label, text) {
  const button = h("button", { class: "fb-button", type: "button" }, label)
  button.addEventListener("click", () => void copyFrom(button, label, text()))
  return button
}

/**
 * @param {HTMLElement} button
 * @param {string} label
 * @param {string} text
 */
export async function copyFrom(button, label, text) {
  button.textContent = (await copyText(text)) ? "Copied" : "Copying is not allowed here"
  setTimeout(() => (button.textContent = label), 1600)
}

/**
 * Copies a text; a page that came by plain http has no clipboard, but may copy what is selected.
 * @param {string} text
 * @returns {Promise<boolean>} whether it was copied
 */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    const field = h("textarea", { class: "fb-hidden", "aria-hidden": "true" }, text), focused = document.activeElement
    const place = document.querySelector("dialog[open]") ?? document.body
    place.append(field)
    field.select()
    const isCopied = document.execCommand("copy")
    field.remove()
    if (focused instanceof HTMLElement) focused.focus({ preventScroll: true })
    return isCopied
  }
}

/**
 * A list of examples, identical windows folded.
 * @param {Example[]} examples
 * @param {Frame} frame
 * @param {Mode} [mode]
 * @param {number} [first]  how many are drawn at once; the others by `drawRest`
 * @returns {{list: HTMLElement, drawRest: () => void}}
 */
export function exampleList(examples, frame, mode = "compact", first = Infinity) {
  const folded = foldIdentical(examples)
  const figures = (/** @type {number} */ from, /** @type {number} */ to) => folded.slice(from, to).map((one) => exampleFigure(one, frame, mode))
  const list = h("div", { class: "fb-examples" }, ...figures(0, first))
  attachHeatmap(list)
  return { list, drawRest: () => list.append(...figures(first, Infinity)) }
}

/**
 * Colours every run below an element with another scale.
 * @param {HTMLElement} element
 * @param {Scale} scale
 */
export function repaint(element, scale) {
  for (const run of /** @type {NodeListOf<HTMLElement>} */ (element.querySelectorAll(".fb-run"))) paint(run, scale)
}

/** Keeps the peak of a line in the middle of its box. @param {HTMLElement} box */
export function keepCentred(box) {
  centring.observe(box)
}

/** Keeps the peak of every compact line in the middle of its box, when it is first shown and when the width changes. */
const centring = new ResizeObserver((entries) => {
  const moves = entries.map(({ target: box }) => {
    const peak = box.querySelector(".fb-token--target")?.getClientRects()[0]
    const frame = box.getBoundingClientRect()
    return { box, by: peak ? peak.left + peak.width / 2 - (frame.left + frame.width / 2) : 0 }
  })
  for (const { box, by } of moves) box.scrollLeft += by
})
