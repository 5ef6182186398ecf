/** The search box of every page. What it needs is fetched when the reader goes to it, not before. */
import { makeContext } from "./main.mjs"

const input = /** @type {HTMLInputElement | null} */ (document.getElementById("fb-search-input"))
const form = input?.form
if (input && form) {
  input.autocomplete = "off"
  input.spellcheck = false
  for (const name of ["autocapitalize", "autocorrect"]) input.setAttribute(name, "off")
  const context = makeContext(new URL(form.dataset.root ?? ".", document.baseURI).href)
  /** @type {Promise<void> | null} */
  let opened = null
  const open = () => {
    opened ??= import("./search-box.mjs").then(({ SearchBox }) => void new SearchBox(input, context))
  }
  if (document.activeElement === input) open()
  input.addEventListener("focus", open)
  form.addEventListener("pointerenter", open)
}
