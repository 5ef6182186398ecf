/** The menu “Share”: links to this view, the frame of one part, a citation, a discussion. */
import { h } from "./elements.mjs"
import { copyButton, copyFrom } from "./examples.mjs"
import { bibtex, citationText } from "./cite.mjs"
import { panelsOf } from "./embed.mjs"
import { makeContext } from "./main.mjs"

/**
 * @typedef {object} About  the shard about.json
 * @property {string} run
 * @property {string} title
 * @property {string} repository
 * @property {string} branch
 * @property {string} discussions
 * @property {object | null} giscus
 * @property {import("./cite.mjs").Citation} citation
 */

/**
 * Fills the menu, once.
 * @param {HTMLDetailsElement} menu
 */
export async function fillShare(menu) {
  const box = /** @type {HTMLElement} */ (menu.querySelector(".fb-menu__box"))
  if (box.hasChildNodes()) return
  const { root = "." } = menu.dataset, id = decodeURIComponent(menu.dataset.id ?? "")
  const canonical = document.querySelector("link[rel=canonical]")?.getAttribute("href") ?? undefined
  const context = makeContext(new URL(root, document.baseURI).href)
  const title = document.querySelector("h1")?.textContent?.trim() ?? document.title
  const address = () => here(canonical)
  box.append(
    item("Copy link to this view", (button) => copyFrom(button, "Copy link to this view", address())),
    item("Copy as Markdown", (button) => copyFrom(button, "Copy as Markdown", `[${title.replace(/[[\]\\]/g, "\\$&")}](${address()})`)),
    item("Embed…", () => {
      menu.open = false
      openEmbed(title, address)
    }),
  )
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return
    menu.open = false
    menu.querySelector("summary")?.focus()
  })
  document.addEventListener("pointerdown", ({ target }) => {
    if (!menu.contains(/** @type {Node} */ (target))) menu.open = false
  })
  try {
    const about = /** @type {About} */ (await context.fetchShard("about"))
    box.append(item("Cite…", () => {
      menu.open = false
      openCitation(about, { title: headTitle(about), url: address().split("#")[0] })
    }))
    box.append(...discussionLinks(about, id, address(), context.root))
  } catch (error) {
    box.append(h("p", { class: "fb-note" }, String(error instanceof Error ? error.message : error)))
  }
}

/**
 * The address of what is seen: the site's own one where the page was opened from a copy (another host, a mirror).
 * @param {string | undefined} canonical
 */
function here(canonical) {
  const query = new URLSearchParams(location.search)
  for (const name of ["embed", "panel", "annotate"]) query.delete(name)
  const rest = (query.size ? `?${query}` : "") + location.hash
  return (canonical ?? location.origin + location.pathname) + rest
}

/** The page's title without the site's. @param {About} about */
function headTitle(about) {
  return document.title.replace(` · ${about.title}`, "")
}

/**
 * @param {string} label
 * @param {(button: HTMLButtonElement) => unknown} run
 */
function item(label, run) {
  const button = h("button", { type: "button", class: "fb-button" }, label)
  button.addEventListener("click", () => void run(button))
  return button
}

/**
 * Where people talk about this page.
 * @param {About} about
 * @param {string} id
 * @param {string} address
 * @param {string} root
 */
export function discussionLinks({ discussions, giscus }, id, address, root) {
  const links = []
  if (giscus) links.push(link("Comments", `${root}atlas/discuss/?${new URLSearchParams({ id })}`))
  if (/^https:\/\//.test(discussions)) {
    const begin = new URLSearchParams({ category: "general", title: id, body: `${address}\n\n` })
    links.push(link("Find discussions", `${discussions}?${new URLSearchParams({ discussions_q: `"${id}"` })}`))
    links.push(link("Start a discussion", `${discussions}/new?${begin}`))
  }
  return links
}

/** @param {string} label @param {string} href */
function link(label, href) {
  return h("a", { class: "fb-button", href, rel: "noopener" }, label)
}

/**
 * Chooses a part and copies the frame that shows it.
 * @param {string} title
 * @param {() => string} address
 */
function openEmbed(title, address) {
  const parts = panelsOf()
  const select = h("select", { class: "fb-input" }, h("option", { value: "" }, "The whole page"),
    ...[...parts].map(([name, part]) => h("option", { value: name }, part.title)))
  if (parts.has("examples")) select.value = "examples"
  const height = h("input", { class: "fb-input", type: "number", min: 120, max: 2000, step: 20, value: 420 })
  const code = h("pre", { class: "fb-code", tabindex: "0" })
  const draw = () => (code.textContent = frameCode(address(), select.value, title, Number(height.value) || 420))
  select.addEventListener("change", draw)
  height.addEventListener("input", draw)
  draw()
  openDialog("Embed a part of this page",
    h("div", { class: "fb-fields" }, h("label", {}, h("span", {}, "Part"), select), h("label", {}, h("span", {}, "Height in pixels"), height)),
    code, copyButton("Copy the frame", () => code.textContent ?? ""))
}

/**
 * The HTML of a frame.
 * @param {string} address  with its hash, without a query of embedding
 * @param {string} panel  empty for the whole page
 * @param {string} title
 * @param {number} height
 */
export function frameCode(address, panel, title, height) {
  const url = new URL(address)
  url.searchParams.set("embed", "1")
  if (panel) url.searchParams.set("panel", panel)
  const escaped = (/** @type {string} */ text) => text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`)
  return `<iframe src="${escaped(url.href)}" title="${escaped(title)}" width="100%" height="${height}" loading="lazy"></iframe>`
}

/**
 * @param {About} about
 * @param {{title: string, url: string}} page
 */
function openCitation({ citation }, page) {
  const text = citationText(citation, page), tex = bibtex(citation, page)
  openDialog("How to cite this page",
    h("p", { class: "fb-citation" }, text), copyButton("Copy the sentence", () => text),
    h("pre", { class: "fb-code", tabindex: "0" }, tex), copyButton("Copy BibTeX", () => tex))
}

/**
 * @param {string} title
 * @param {...Node} content
 */
function openDialog(title, ...content) {
  const close = h("button", { class: "fb-button", value: "close" }, "Close")
  const dialog = h("dialog", { class: "fb-dialog fb-dialog--wide", "aria-label": title }, h("h2", {}, title), ...content, h("form", { method: "dialog" }, close))
  dialog.addEventListener("close", () => dialog.remove())
  const article = document.querySelector("article") ?? document.body
  article.append(dialog)
  dialog.showModal()
}
