/** The index of documents: a box that narrows the list. The list itself stands in the page. */
import { h } from "../elements.mjs"
import { count } from "../numbers.mjs"

/** @param {HTMLElement} element */
export function mount(element) {
  const rows = Array.from(element.querySelectorAll("li"), (row) => ({ row, text: (row.textContent ?? "").toLowerCase() }))
  const box = h("input", { type: "search", class: "fb-input", name: "q", placeholder: "name, kind or direction", autocomplete: "off" })
  const status = h("p", { class: "fb-count", role: "status" })
  const narrow = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean)
    let n = 0
    for (const { row, text } of rows) {
      row.hidden = !words.every((word) => text.includes(word))
      n += row.hidden ? 0 : 1
    }
    status.textContent = `${count(n)} of ${count(rows.length)} documents`
  }
  box.addEventListener("input", narrow)
  element.querySelector(".fb-list-filter")?.replaceChildren(h("label", { class: "fb-filter-text" }, h("span", {}, "Find"), box), status)
  narrow()
}
