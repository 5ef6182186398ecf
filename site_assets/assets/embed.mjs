/**
 * Embed mode: `?embed=1&panel=neighbours` shows one part of a page without anything around it, for an iframe. The parts
 * are named by `panelsOf`. Links open in a tab of their own.
 */
import { h } from "./elements.mjs"

/**
 * The parts of a page that can stand alone, by name.
 * @param {ParentNode} page
 * @returns {Map<string, {title: string, element: HTMLElement}>}
 */
export function panelsOf(page = document) {
  /** @type {Map<string, {title: string, element: HTMLElement}>} */
  const found = new Map()
  const examples = /** @type {HTMLElement | null} */ (page.querySelector('[data-slot="examples"]'))
  if (examples) found.set("examples", { title: "Examples", element: examples })
  const chart = /** @type {HTMLElement | null} */ (page.querySelector(".fb-side > .fb-chart"))
  if (chart) found.set("histogram", { title: "Histogram", element: chart })
  const stats = /** @type {HTMLElement | null} */ (page.querySelector('[data-slot="stats"]'))
  if (stats) found.set("statistics", { title: "Statistics", element: stats })
  for (const element of /** @type {NodeListOf<HTMLElement>} */ (page.querySelectorAll("section.fb-panel"))) {
    const head = element.querySelector("h2"), name = element.id || head?.id
    if (name) found.set(name, { title: head?.textContent ?? name, element })
  }
  return found
}

/** Takes everything but one part away, once the page is drawn. */
export function embedPanel() {
  const query = new URLSearchParams(location.search)
  document.addEventListener("click", openOutside, { capture: true })
  const article = document.querySelector("article")
  if (!article) return
  const isolate = () => isolatePanel(article, query.get("panel"))
  const mount = article.querySelector(".fb-mount")
  if (!mount || mount.classList.contains("fb-mounted")) return isolate()
  const watch = new MutationObserver(() => {
    if (!mount.classList.contains("fb-mounted")) return
    watch.disconnect()
    isolate()
  })
  watch.observe(mount, { attributes: true, attributeFilter: ["class"] })
}

/**
 * @param {HTMLElement} article
 * @param {string | null} name
 */
function isolatePanel(article, name) {
  const panels = panelsOf(article)
  const panel = name === null ? undefined : panels.get(name)
  const title = document.querySelector("h1")?.textContent ?? document.title
  if (name !== null && !panel) {
    const known = panels.size ? ` It has: ${[...panels.keys()].join(", ")}.` : " It has none: leave “panel” away."
    article.replaceChildren(h("p", { class: "fb-note" }, `This page has no part “${name}”.${known}`))
  }
  for (let element = panel?.element; element && element !== article; element = /** @type {HTMLElement} */ (element.parentElement))
    for (const other of element.parentElement?.children ?? []) if (other !== element) other.classList.add("fb-unembedded")
  const address = location.pathname + location.hash
  article.append(h("p", { class: "fb-embed__source" }, h("a", { href: address }, `${title} · ${document.querySelector(".fb-header__name")?.textContent ?? ""}`)))
}

/** A link inside a frame leads to a tab, not into the frame. @param {MouseEvent} event */
function openOutside(event) {
  const link = /** @type {Element} */ (event.target).closest?.("a[href]")
  if (!(link instanceof HTMLAnchorElement)) return
  link.target = "_blank"
  link.rel = "noopener"
}
