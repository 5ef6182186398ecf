/** The keys of the heatmap, and the switch that turns single-character keys off (WCAG 2.1.4). */
import { h, table } from "../elements.mjs"

const setting = "featurebook.shortcuts"

const keys = [
  ["← →", "previous, next token"],
  ["↑ ↓", "previous, next example"],
  ["Home End", "first, last token"],
  ["Enter", "pin the value; Esc closes it"],
  ["[ ]", "previous, next token above half of the maximum"],
  ["e", "whole example, or one line"],
  ["t", "the example as a table"],
  ["?", "this list"],
]

/** Whether single-character keys do something. */
export function areShortcutsOn() {
  try {
    return localStorage.getItem(setting) !== "off"
  } catch {
    return true
  }
}

/** @param {boolean} isOn */
function keepSetting(isOn) {
  try {
    localStorage.setItem(setting, isOn ? "on" : "off")
  } catch {
    // storage is switched off: the choice cannot be kept
  }
}

/** Opens the list of keys. */
export function openHelp() {
  const box = h("input", { type: "checkbox", checked: areShortcutsOn() })
  box.addEventListener("change", () => keepSetting(box.checked))
  const close = h("button", { class: "fb-button", value: "close" }, "Close")
  const dialog = h(
    "dialog",
    { class: "fb-dialog", "aria-label": "Keys" },
    h("form", { method: "dialog" }, h("h2", {}, "Keys"), table("Keys", ["Key", "What it does"], keys), h("p", {}, h("label", {}, box, " Keys of a single character are on")), close),
  )
  dialog.addEventListener("close", () => dialog.remove())
  document.querySelector(".md-typeset")?.append(dialog)
  dialog.showModal()
}
