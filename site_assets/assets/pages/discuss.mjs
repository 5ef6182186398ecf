/**
 * Comments on one page of the site through giscus.app, in a frame that is made after a click. No script of giscus runs
 * here: the frame's address is what its own script would make (giscus, client.ts).
 */
import { h } from "../elements.mjs"
import { readableId } from "../shards.mjs"

/** @typedef {{repo: string, repo_id: string, category: string, category_id: string}} Giscus */
/** @typedef {import("../main.mjs").Context} Context */

const host = "https://giscus.app"

/**
 * @param {HTMLElement} element
 * @param {import("../share.mjs").About & {giscus: Giscus | null}} about
 * @param {Context} context
 */
export function mount(element, about, context) {
  const box = /** @type {HTMLElement} */ (element.querySelector(".fb-discuss"))
  const query = new URLSearchParams(location.search)
  const id = query.get("id")
  if (!about.giscus || !id) return box.replaceChildren(h("p", {}, "Open this page from the menu “Share” of another one."))
  const page = context.linkTo(id)
  const open = h("button", { type: "button", class: "fb-button" }, "Load comments from giscus.app")
  const note = h("p", { class: "fb-note" }, "The comments are a GitHub discussion, shown by giscus.app. Loading them tells giscus.app and GitHub your address.")
  const load = () => open.replaceWith(frameOf(/** @type {Giscus} */ (about.giscus), id, page, query.get("giscus") ?? ""))
  open.addEventListener("click", load)
  box.replaceChildren(h("p", {}, "On ", h("a", { href: page }, readableId(id)), ` (${id})`), note, open)
  if (query.has("giscus")) load() // back from signing in, which began with the click
}

/**
 * @param {Giscus} giscus
 * @param {string} id
 * @param {string} page
 * @param {string} session  what signing in gave
 */
export function frameOf(giscus, id, page, session) {
  const isDark = document.body.dataset.mdColorScheme === "slate"
  const query = new URLSearchParams({
    origin: location.origin + location.pathname + `?${new URLSearchParams({ id })}`,
    session,
    theme: isDark ? "dark" : "light",
    reactionsEnabled: "1",
    emitMetadata: "0",
    inputPosition: "top",
    repo: giscus.repo,
    repoId: giscus.repo_id,
    category: giscus.category,
    categoryId: giscus.category_id,
    strict: "1",
    description: "",
    backLink: page,
    term: id,
  })
  const frame = h("iframe", { class: "fb-giscus", title: "Comments", src: `${host}/en/widget?${query}` })
  addEventListener("message", ({ origin, source, data }) => {
    const height = data?.giscus?.resizeHeight
    if (origin === host && source === frame.contentWindow && Number.isFinite(height)) frame.height = String(Math.min(height, 20_000))
  })
  return frame
}
