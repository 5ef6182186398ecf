/**
 * The keys of the site: one registry, one listener, one list of what the page at hand offers ("?").
 *
 *   offerKeys("Examples", [{ keys: "j", does: "next example", run: () => step(1) }])
 *
 * A key without `run` is handled where the focus is (the heatmap's arrows, say) and only listed. Of several offers of one
 * key, the latest goes first; `run` may decline by returning false. Nothing happens while one types, in a dialog,
 * with Ctrl, Alt or Meta held, or when the reader has switched the keys of a single character off (WCAG 2.1.4): that
 * switch covers the theme's own keys too, whose listener stands behind this one.
 */
import { h } from "./elements.mjs"

/**
 * @typedef {object} Key
 * @property {string} keys  as the list shows them, separated by spaces
 * @property {string} does
 * @property {string[]} [on]  values of KeyboardEvent.key; the parts of `keys` when absent
 * @property {(key: string) => unknown} [run]  false: not now
 */
/** @typedef {{group: string, keys: Key[], when: () => boolean}} Offer */

const setting = "featurebook.shortcuts"
/** Keys that Material listens to on the window, beside those that we give another meaning. */
const themes = new Set(["f", "s", "/", "p", ",", "n", "."])
const typing = 'textarea, select, [contenteditable=""], [contenteditable="true"], input:not([type=checkbox], [type=radio], [type=range], [type=button], [type=submit], [type=reset])'

/** @type {Offer[]} */
const offers = []

/**
 * Adds keys to the registry and to the list.
 * @param {string} group  heading in the list
 * @param {Key[]} keys
 * @param {() => boolean} [when]  whether the page has a use for them just now
 * @returns {() => void} takes them back
 */
export function offerKeys(group, keys, when = () => true) {
  const offer = { group, keys, when }
  offers.push(offer)
  return () => void (offers.includes(offer) && offers.splice(offers.indexOf(offer), 1))
}

/** Whether single-character keys do something. */
export function areShortcutsOn() {
  try {
    return localStorage.getItem(setting) !== "off"
  } catch {
    return true
  }
}

/** @param {boolean} isOn */
export function switchShortcuts(isOn) {
  try {
    localStorage.setItem(setting, isOn ? "on" : "off")
  } catch {
    // storage is switched off: the choice cannot be kept
  }
}

/** What the page has a use for just now. @returns {Offer[]} */
export function offeredNow() {
  return offers.filter(({ when }) => when())
}

/**
 * Whether an element takes text, so that letters belong to it.
 * @param {EventTarget | null} target
 */
export function isTyping(target) {
  return target instanceof Element && target.closest(typing) !== null
}

/**
 * Runs what is registered for a key press. Listens below the window, where Material does, and after the elements
 * themselves, which may have taken the key.
 * @param {KeyboardEvent} event
 */
export function onKey(event) {
  const { key, target } = event
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return
  if (key === "Escape") return leaveField(target)
  if (isTyping(target) || document.querySelector("dialog[open]")) return
  if (key.length === 1 && !areShortcutsOn()) return themes.has(key) ? event.stopPropagation() : undefined
  const found = offeredNow().toReversed().flatMap(({ keys }) => keys).filter((one) => one.run && (one.on ?? one.keys.split(" ")).includes(key))
  for (const { run } of found) {
    if (run?.(key) === false) continue
    event.preventDefault()
    event.stopPropagation()
    return
  }
}

/** Escape leaves a field; what it held stays. @param {EventTarget | null} target */
function leaveField(target) {
  if (isTyping(target) && target instanceof HTMLElement) target.blur()
}

/** Goes to the page before or after this one, where the page names one. @param {"prev" | "next"} rel */
function follow(rel) {
  const link = /** @type {HTMLAnchorElement | null} */ (document.querySelector(`a[rel~="${rel}"]`))
  if (!link) return false
  link.click()
}

/** Puts the cursor into the search box. */
function search() {
  const box = /** @type {HTMLInputElement | null} */ (
    document.getElementById("fb-search-input") ?? document.querySelector(".md-search__input"))
  if (!box) return false
  box.focus()
  box.select()
}

/** Opens the list, which is fetched for the first time that somebody asks. */
const openHelp = () => void import("./keys-help.mjs").then(({ showHelp }) => showHelp())

/** The keys that every page has, and a button that lists them, at the foot of the page. */
export function startKeys() {
  offerKeys("Everywhere", [
    { keys: "/", does: "search", on: ["/", "s", "f"], run: search },
    { keys: "?", does: "this list", run: openHelp },
    { keys: "Esc", does: "close what is open, leave a field" },
  ])
  offerKeys("Pages", [
    { keys: "n", does: "next page", on: ["n", "."], run: () => follow("next") },
    { keys: "p", does: "previous page", on: ["p", ","], run: () => follow("prev") },
  ], () => document.querySelector('a[rel~="next"], a[rel~="prev"]') !== null)
  document.addEventListener("keydown", onKey)
  const button = h("button", { type: "button", class: "fb-button fb-footer__keys" }, "Keys ", h("kbd", {}, "?"))
  button.addEventListener("click", openHelp)
  document.querySelector(".fb-footer")?.append(button)
}
