/**
 * The tray: channels put aside to be compared, kept while the browser's tab lives. A line at the foot of the window with
 * what it holds and the way to the page that compares.
 */
import { h } from "./elements.mjs"
import { quiet } from "./quiet.mjs"
import { readableId } from "./shards.mjs"

/** @typedef {import("./main.mjs").Context} Context */

/** Channels that stand side by side at most. */
export const MOST = 4
const place = "featurebook.compare"

/** The ids in the tray. @returns {string[]} */
export function trayed() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(place) ?? "[]")
    return Array.isArray(kept) ? kept.filter((id) => typeof id === "string").slice(0, MOST) : []
  } catch {
    return []
  }
}

/** @param {string[]} ids */
function keep(ids) {
  try {
    sessionStorage.setItem(place, JSON.stringify(ids))
  } catch {
    // storage is switched off: the tray lasts for this page
  }
  document.dispatchEvent(new CustomEvent("fb-tray", { detail: ids }))
}

/**
 * Puts a channel into the tray or takes it out; the oldest gives way when it is full.
 * @param {string} id
 */
export function toggle(id) {
  const ids = trayed()
  keep(ids.includes(id) ? ids.filter((one) => one !== id) : [...ids.slice(-(MOST - 1)), id])
}

/**
 * The address of the page that compares.
 * @param {string[]} ids
 * @param {Context} context
 */
export function compareUrl(ids, context) {
  return `${context.linkTo("compare")}?ids=${ids.map(encodeURIComponent).join(",").replaceAll("%2F", "/")}`
}

/**
 * Makes a button show whether a channel is in the tray.
 * @param {HTMLElement} button
 * @param {string} id
 */
function marked(button, id) {
  const show = () => {
    const isIn = trayed().includes(id)
    button.setAttribute("aria-pressed", String(isIn))
    button.textContent = isIn ? "✓ Compare" : "Compare"
    button.title = isIn ? "Take out of the comparison" : "Put aside, to compare with others"
  }
  document.addEventListener("fb-tray", show)
  show()
}

/**
 * The same as a mark in a row of a table. It hears of the tray as long as it is in the page: rows come and go.
 * @param {string} id
 * @returns {HTMLButtonElement}
 */
export function trayMark(id) {
  const button = h("button", { type: "button", class: "fb-row-mark fb-row-tray", "aria-label": `Compare ${id}`, title: "Put aside, to compare with others" })
  const show = () => {
    const isIn = trayed().includes(id)
    button.setAttribute("aria-pressed", String(isIn))
    button.textContent = isIn ? "✓" : "⇄"
  }
  const hear = () => (button.isConnected ? show() : document.removeEventListener("fb-tray", hear))
  document.addEventListener("fb-tray", hear)
  button.addEventListener("click", () => toggle(id))
  show()
  return button
}

/**
 * The button in the head of a channel's page, and the tray. What is in the tray can wait: asking the browser for it holds the page up.
 * @param {string} id
 * @param {Context} context
 */
export async function offerCompare(id, context) {
  if (document.documentElement.dataset.single !== undefined) return
  const button = /** @type {HTMLElement | null} */ (document.querySelector(".fb-tray-button"))
  button?.addEventListener("click", () => toggle(id))
  await quiet()
  if (button) marked(button, id)
  showTray(context)
}

/** Shows the tray where it holds something. @param {Context} context */
export function showTray(context) {
  if (document.querySelector(".fb-tray")) return
  const tray = h("aside", { class: "fb-tray", "aria-label": "Channels to compare" })
  const draw = () => {
    const ids = trayed()
    tray.hidden = !ids.length
    tray.replaceChildren(...ids.map((id) => chip(id, context)), ...ends(ids, context))
  }
  document.addEventListener("fb-tray", draw)
  ;(document.querySelector(".fb-atlas") ?? document.body).append(tray)
  draw()
}

/** @param {string} id @param {Context} context */
function chip(id, context) {
  const button = h("button", { type: "button", class: "fb-tray__remove", "aria-label": `Take out ${readableId(id)}` }, "×")
  button.addEventListener("click", () => toggle(id))
  return h("span", { class: "fb-tray__chip" }, h("a", { href: context.linkTo(id) }, readableId(id)), button)
}

/** @param {string[]} ids @param {Context} context */
function ends(ids, context) {
  const clear = h("button", { type: "button", class: "fb-button" }, "Clear")
  clear.addEventListener("click", () => keep([]))
  const open = ids.length > 1
    ? h("a", { class: "fb-button fb-button--main", href: compareUrl(ids, context) }, `Compare ${ids.length}`)
    : h("span", { class: "fb-note" }, "Choose another one to compare with")
  return [open, clear]
}
