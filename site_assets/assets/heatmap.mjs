/**
 * The token heatmap: runs of tokens coloured by activation, with values on hover, focus and tap.
 *
 *   const run = tokenRun(strip, scale)          an inline element, one <span> per display group
 *   const stop = attachHeatmap(container)       one set of listeners for all the runs inside
 *
 * The pure half (groups, marks, colour classes) lives in heatmap/tokens.mjs and heatmap/scale.mjs.
 */
import { h } from "./elements.mjs"
import { number, percent } from "./numbers.mjs"
import { legendTones, toneOf } from "./heatmap/scale.mjs"
import { groupOf, groupTokens, nextStrong, pieces, visible } from "./heatmap/tokens.mjs"
import { Tooltip } from "./heatmap/tooltip.mjs"
import { areShortcutsOn, offerKeys } from "./keys.mjs"

/** @typedef {import("./heatmap/tokens.mjs").Strip} Strip */
/** @typedef {import("./heatmap/tokens.mjs").Group} Group */
/** @typedef {import("./heatmap/scale.mjs").Scale} Scale */
/** @typedef {{strip: Strip, groups: Group[], scale: Scale, from: number, target: number}} RunState  target: its group, −1 for none */
/**
 * @typedef {object} Choice  what "fb-token" events carry in `detail`
 * @property {number} index  of the group's strongest token in the strip
 * @property {number} position  of that token in its document
 * @property {Group} group
 */

/** @type {WeakMap<Element, RunState>} */
const states = new WeakMap()

/**
 * A run of tokens. Copying from it gives the exact source text.
 * @param {Strip} strip
 * @param {Scale} scale
 * @param {{range?: [number, number], groups?: Group[]}} [options]  range: half-open range of groups to draw
 * @returns {HTMLElement}
 */
export function tokenRun(strip, scale, options = {}) {
  const groups = options.groups ?? groupTokens(strip)
  const [from, to] = options.range ?? [0, groups.length]
  const run = h("span", { class: "fb-run", dir: "auto", translate: "no", spellcheck: "false" })
  const target = strip.target < 0 ? -1 : groupOf(groups, strip.target)
  for (let index = from; index < to; index++) run.append(tokenSpan(groups[index], classesOf(groups[index], index === target, scale)))
  states.set(run, { strip, groups, scale, from, target })
  const stop = run.children[target < 0 ? 0 : target - from]
  stop?.setAttribute("tabindex", "0")
  return run
}

/**
 * @param {Group} group
 * @param {boolean} isTarget
 * @param {Scale} scale
 */
function classesOf(group, isTarget, scale) {
  const tone = group.value === null ? "fb-unmeasured" : toneOf(scale.t(group.value))
  return `fb-token${group.isSpecial ? " fb-token--special" : ""}${isTarget ? " fb-token--target" : ""}${tone && ` ${tone}`}`
}

/**
 * @param {Group} group
 * @param {string} classes
 */
function tokenSpan(group, classes) {
  const span = document.createElement("span")
  span.className = classes
  if (group.text === "") span.append(h("span", { class: "fb-chip", "data-source": "" }, "…"))
  for (const piece of pieces(group.text)) span.append(drawn(piece))
  return span
}

/** @param {import("./heatmap/tokens.mjs").Piece} piece */
function drawn(piece) {
  if (piece.kind === "text") return document.createTextNode(piece.text)
  if (piece.kind === "chip") return h("span", { class: "fb-chip", "data-source": piece.text }, piece.label)
  return h("span", { class: `fb-${piece.kind}` }, piece.text)
}

/**
 * Colours a run again, with another scale.
 * @param {HTMLElement} run
 * @param {Scale} scale
 */
export function paint(run, scale) {
  const state = /** @type {RunState} */ (states.get(run))
  state.scale = scale
  Array.from(run.children).forEach((span, place) => {
    const index = state.from + place
    span.className = classesOf(state.groups[index], index === state.target, scale)
  })
}

/**
 * The legend: −max, 0, +max and the colours between.
 * @param {Scale} scale
 * @returns {HTMLElement}
 */
export function legend(scale) {
  const swatches = legendTones(scale.isSigned).map((tone) => h("i", { class: tone }))
  const name = scale.mode === "quantile" ? " (by quantile)" : ""
  return h(
    "span",
    {
      class: "fb-legend",
      role: "img",
      "aria-label": `Colour scale from ${scale.isSigned ? number(-scale.maximum) : "0"} to ${number(scale.maximum)}${name}`,
    },
    h("span", {}, scale.isSigned ? number(-scale.maximum) : "0"),
    h("span", { class: "fb-legend__bar" }, ...swatches),
    h("span", {}, number(scale.maximum, { sign: scale.isSigned })),
  )
}

/**
 * A sentence about the peak of an example: the figure's caption.
 * @param {Strip} strip
 * @param {Group[]} groups  its tokens
 * @param {number} value
 * @param {string} group
 */
export function captionOf(strip, groups, value, group) {
  const text = visible(groups[groupOf(groups, strip.target)]?.text ?? "")
  const kind = group === "top" ? "max " : group === "bottom" ? "min " : ""
  return `${kind}${number(value, { sign: true })} on ‘${text}’ (token ${strip.start + strip.target} of ${strip.source})`
}

/**
 * The tokens of a run as a table: token, id, position, activation, rank.
 * @param {Strip} strip
 * @returns {HTMLTableElement}
 */
export function tokenTable(strip) {
  const order = strip.values
    .map((value, index) => ({ index, size: Math.abs(value ?? -1) }))
    .sort((a, b) => b.size - a.size)
  const rank = new Map(order.map(({ index }, place) => [index, place + 1]))
  const rows = strip.display.map((text, index) =>
    h(
      "tr",
      { class: index === strip.target ? "is-target" : null },
      h("td", { dir: "auto", class: "fb-text" }, text === "" ? "(continues)" : visible(text)),
      ...[strip.tokenIds[index], strip.start + index, number(strip.values[index], { sign: true }), rank.get(index)].map(
        (cell) => h("td", {}, cell),
      ),
    ),
  )
  const header = ["Token", "Id", "Position", "Activation", "Rank"].map((name) => h("th", { scope: "col" }, name))
  return h("table", { class: "fb-table" }, h("thead", {}, h("tr", {}, ...header)), h("tbody", {}, ...rows))
}

/**
 * Listens to all the runs inside a container, present and future: tooltip, pin, keyboard, exact copy. A click or Enter on
 * a token sends "fb-token" (a CustomEvent<Choice> that bubbles) from its run.
 * @param {HTMLElement} container
 * @returns {() => void} takes the listeners off again
 */
export function attachHeatmap(container) {
  const tooltip = Tooltip.shared()
  listKeys()
  const off = new AbortController()
  const options = { signal: off.signal }
  container.addEventListener("pointerover", (event) => event.pointerType !== "touch" && hover(tooltip, event), options)
  container.addEventListener("pointerleave", () => {
    tooltip.leave()
    tellValue(container, null)
  }, options)
  container.addEventListener("focusin", (event) => hover(tooltip, event), options)
  container.addEventListener("focusout", () => {
    tooltip.leave()
    tellValue(container, null)
  }, options)
  container.addEventListener("click", (event) => choose(tooltip, event), options)
  container.addEventListener("keydown", (event) => press(tooltip, container, event), options)
  container.addEventListener("copy", copySource, options)
  return () => off.abort()
}

let isListed = false

/** The keys of runs, in the page's list once there is a run. */
function listKeys() {
  if (isListed) return
  isListed = true
  offerKeys("Examples", [
    { keys: "j", does: "next example", run: () => stepRun(1) },
    { keys: "k", does: "previous example", run: () => stepRun(-1) },
  ])
  offerKeys("In an example", [
    { keys: "← →", does: "previous, next token" },
    { keys: "↑ ↓", does: "previous, next example" },
    { keys: "Home End", does: "first, last token" },
    { keys: "[ ]", does: "previous, next token above half of the maximum" },
    { keys: "Enter", does: "keep the value open; Esc closes it" },
    { keys: "e", does: "the whole example, or one line" },
    { keys: "d", does: "the example in its document" },
    { keys: "t", does: "the example as a table" },
  ])
}

/**
 * Goes to the next or previous run of the page: from the one in focus, else from the top of the window.
 * @param {1 | -1} step
 */
function stepRun(step) {
  const runs = /** @type {HTMLElement[]} */ (Array.from(document.querySelectorAll(".fb-run"))).filter((run) => run.checkVisibility?.() ?? true)
  const now = runs.findIndex((run) => run.contains(document.activeElement))
  const below = runs.findIndex((run) => run.getBoundingClientRect().top > topOfText())
  const next = now >= 0 ? runs[now + step] : step > 0 ? runs[below] : runs[(below < 0 ? runs.length : below) - 1]
  const stop = /** @type {HTMLElement | null | undefined} */ (next?.querySelector('[tabindex="0"]'))
  if (!stop) return false
  stop.focus({ preventScroll: true })
  next.scrollIntoView({ block: "nearest" })
}

/** Where the page begins below its header that stays. */
function topOfText() {
  return document.querySelector(".md-header")?.getBoundingClientRect().bottom ?? 0
}

/**
 * The run and the token that an event came from.
 * @param {Event} event
 * @returns {{run: HTMLElement, token: HTMLElement, state: RunState, index: number} | null}
 */
function hit(event) {
  const token = /** @type {Element} */ (event.target).closest?.(".fb-token")
  const run = token?.parentElement
  const state = run && states.get(run)
  if (!token || !run || !state) return null
  const index = state.from + Array.prototype.indexOf.call(run.children, token)
  return { run, token: /** @type {HTMLElement} */ (token), state, index }
}

/**
 * @param {Tooltip} tooltip
 * @param {Event} event
 */
function hover(tooltip, event) {
  const found = hit(event)
  if (found) {
    tooltip.show(found.token, () => describe(found.state, found.index))
    tellValue(found.run, found.state.groups[found.index].value)
  } else tooltip.leave()
}

/**
 * Says which value the pointer or the focus is at: "fb-value" bubbles from the run, null when it has left.
 * @param {Element} run
 * @param {number | null} value
 */
function tellValue(run, value) {
  run.dispatchEvent(new CustomEvent("fb-value", { bubbles: true, detail: value }))
}

/**
 * Marks the tokens of all drawn runs whose value lies in a range; none for null.
 * @param {HTMLElement} container
 * @param {[number, number] | null} range
 */
export function lightUp(container, range) {
  for (const run of container.querySelectorAll(".fb-run")) {
    const state = states.get(run)
    if (!state) continue
    Array.from(run.children).forEach((span, index) => {
      const { value } = state.groups[state.from + index]
      span.classList.toggle("is-lit", range !== null && value !== null && value >= range[0] && value < range[1])
    })
  }
}

/**
 * @param {Tooltip} tooltip
 * @param {Event} event
 */
function choose(tooltip, event) {
  const found = hit(event)
  if (!found || !getSelection()?.isCollapsed) return
  tooltip.pin(found.token, () => describe(found.state, found.index))
  announce(found.run, found.state, found.index)
}

/**
 * @param {HTMLElement} run
 * @param {RunState} state
 * @param {number} index  of the group
 */
function announce(run, state, index) {
  const group = state.groups[index]
  /** @type {Choice} */
  const detail = { index: group.peak, position: state.strip.start + group.peak, group }
  run.dispatchEvent(new CustomEvent("fb-token", { bubbles: true, detail }))
}

/**
 * The tooltip of a group: every member with id, position, value and t; the document.
 * @param {RunState} state
 * @param {number} index
 * @returns {HTMLElement}
 */
function describe({ strip, groups, scale }, index) {
  const group = groups[index]
  const members = Array.from({ length: group.end - group.first }, (_, offset) => group.first + offset)
  const name = h("strong", { class: "fb-text", dir: "auto" }, `‘${visible(group.text)}’`)
  return h(
    "div",
    {},
    h("p", {}, name, group.isSpecial ? " special token" : null),
    ...members.flatMap((token) => [memberLine(strip, scale, token), strip.more?.(token) ?? null]),
    h("p", { class: "fb-tooltip__source" }, strip.href ? h("a", { href: strip.href }, strip.source) : strip.source),
  )
}

/**
 * @param {Strip} strip
 * @param {Scale} scale
 * @param {number} token
 */
function memberLine(strip, scale, token) {
  const value = strip.values[token]
  const shown =
    value === null
      ? "not measured"
      : `${number(value, { sign: scale.isSigned })} ± ${number(strip.precision)} · ${percent(Math.abs(scale.t(value)))} of the scale`
  return h(
    "p",
    {},
    h("span", { class: "fb-tooltip__value" }, shown),
    h("br"),
    `id ${strip.tokenIds[token]} · position ${strip.start + token}`,
  )
}

/**
 * @param {Tooltip} tooltip
 * @param {HTMLElement} container
 * @param {KeyboardEvent} event
 */
function press(tooltip, container, event) {
  const found = hit(event)
  if (!found || event.ctrlKey || event.metaKey || event.altKey) return
  const action = actionOf(found, event.key)
  if (action === null) return
  event.preventDefault()
  if (typeof action === "number") focusToken(found.run, action - found.state.from)
  else if (action === "pin") {
    tooltip.pin(found.token, () => describe(found.state, found.index))
    announce(found.run, found.state, found.index)
  } else if (action === "next" || action === "previous") focusRun(container, found.run, action === "next" ? 1 : -1)
  else found.run.dispatchEvent(new CustomEvent(`fb-${action}`, { bubbles: true }))
}

/**
 * What a key does: the number of the group to go to, or a word.
 * @param {{run: HTMLElement, state: RunState, index: number}} found
 * @param {string} key
 * @returns {number | "pin" | "next" | "previous" | "table" | "expand" | "document" | null}
 */
function actionOf({ run, state, index }, key) {
  const { groups, scale, from } = state
  const end = from + run.children.length - 1
  const forward = getComputedStyle(run).direction === "rtl" ? "ArrowLeft" : "ArrowRight"
  if (key === "ArrowLeft" || key === "ArrowRight") return clampTo(index + (key === forward ? 1 : -1), from, end)
  if (key === "Home") return from
  if (key === "End") return end
  if (key === "ArrowDown") return "next"
  if (key === "ArrowUp") return "previous"
  if (key === "Enter") return "pin"
  if (!areShortcutsOn()) return null
  if (key === "[" || key === "]") {
    const strong = nextStrong(groups, scale, index, key === "]" ? 1 : -1)
    return strong < from || strong > end ? null : strong
  }
  return key === "t" ? "table" : key === "e" ? "expand" : key === "d" ? "document" : null
}

/**
 * @param {number} index
 * @param {number} low
 * @param {number} high
 */
function clampTo(index, low, high) {
  return Math.max(low, Math.min(high, index))
}

/**
 * Moves the run's single tab stop to a token and focuses it.
 * @param {HTMLElement} run
 * @param {number} child
 */
function focusToken(run, child) {
  run.querySelector('[tabindex="0"]')?.removeAttribute("tabindex")
  const token = /** @type {HTMLElement} */ (run.children[child])
  token.setAttribute("tabindex", "0")
  token.focus()
}

/**
 * @param {HTMLElement} container
 * @param {HTMLElement} run
 * @param {1 | -1} step
 */
function focusRun(container, run, step) {
  const runs = Array.from(container.querySelectorAll(".fb-run")).filter((one) => one.checkVisibility?.() ?? true)
  const next = runs[runs.indexOf(run) + step]
  const stop = /** @type {HTMLElement | null | undefined} */ (next?.querySelector('[tabindex="0"]'))
  stop?.focus()
}

/**
 * Puts the exact source on the clipboard: chips give the character that they stand for.
 * @param {ClipboardEvent} event
 */
export function copySource(event) {
  const selection = getSelection()
  if (!selection || selection.isCollapsed || !event.clipboardData) return
  const range = selection.getRangeAt(0)
  const inside = /** @type {Element | null} */ (
    range.commonAncestorContainer instanceof Element
      ? range.commonAncestorContainer
      : range.commonAncestorContainer.parentElement
  )
  if (!inside?.closest(".fb-run")) return
  event.clipboardData.setData("text/plain", sourceOf(range.cloneContents(), inside))
  event.preventDefault()
}

/**
 * The source text of a piece of a run.
 * @param {DocumentFragment | Element} fragment
 * @param {Element} [inside]  the element that the selection lies in, when the fragment was cut out of one chip
 * @returns {string}
 */
export function sourceOf(fragment, inside) {
  const chip = /** @type {HTMLElement | null | undefined} */ (inside?.closest("[data-source]"))
  if (chip) return chip.dataset.source ?? ""
  return Array.from(fragment.childNodes, (node) => {
    if (!(node instanceof HTMLElement)) return node.textContent ?? ""
    return node.dataset.source ?? sourceOf(node)
  }).join("")
}
