/** The search box of every page. What it needs is fetched when the reader goes to it, not before. */
import { needStyle } from "./styles.mjs"

/** @param {(root: string) => import("./main.mjs").Context} makeContext */
export function connectSearch(makeContext) {
  const input = /** @type {HTMLInputElement | null} */ (document.getElementById("fb-search-input"))
  const form = input?.form
  if (!input || !form) return
  input.autocomplete = "off"
  input.spellcheck = false
  for (const name of ["autocapitalize", "autocorrect"]) input.setAttribute(name, "off")
  const context = makeContext(new URL(form.dataset.root ?? ".", document.baseURI).href)
  /** @type {Promise<void> | null} */
  let opened = null
  const open = () => {
    opened ??= Promise.all([import("./search-box.mjs"), needStyle("search")]).then(([{ SearchBox }]) => void new SearchBox(input, context))
      .catch(() => void (opened = null)) // asked for again by the next key; Enter opens the page of results in any case
  }
  if (document.activeElement === input) open()
  for (const type of ["focus", "input"]) input.addEventListener(type, open)
  form.addEventListener("pointerenter", open)
}
