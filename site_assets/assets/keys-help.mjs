/** The list of the keys that the page at hand offers, and the switch for those of a single character. */
import { h, table } from "./elements.mjs"
import { areShortcutsOn, offeredNow, switchShortcuts } from "./keys.mjs"

/** Opens the list; `?` closes it again. */
export function showHelp() {
  if (document.querySelector(".fb-keys")) return
  const box = h("input", { type: "checkbox", checked: areShortcutsOn() })
  box.addEventListener("change", () => switchShortcuts(box.checked))
  const close = h("button", { class: "fb-button", value: "close" }, "Close")
  const held = offeredNow()
  const groups = [...new Set(held.map(({ group }) => group))]
  const lists = groups.map((group) => {
    const rows = held.filter((offer) => offer.group === group).flatMap(({ keys }) => keys.map(({ keys, does }) => [caps(keys), does]))
    return h("section", {}, h("h3", {}, group), table(group, ["Key", "What it does"], rows))
  })
  const dialog = h("dialog", { class: "fb-dialog fb-keys", "aria-label": "Keys" },
    h("form", { method: "dialog" }, h("h2", {}, "Keys"), ...lists,
      h("p", {}, h("label", { class: "fb-switch" }, box, " Keys of a single character are on")), close))
  dialog.addEventListener("close", () => dialog.remove())
  dialog.addEventListener("keydown", (event) => event.key === "?" && dialog.close())
  ;(document.querySelector(".md-typeset") ?? document.body).append(dialog)
  dialog.showModal()
}

/** @param {string} keys */
function caps(keys) {
  const parts = keys.split(" ").flatMap((key, index) => [index ? " " : null, h("kbd", {}, key)])
  return h("span", {}, ...parts)
}
