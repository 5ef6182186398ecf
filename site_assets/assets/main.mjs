/**
 * Finds every mount point of the page and hands it to its page module:
 *
 *   <div class="fb-mount" data-page="channel" data-shard="../../shards/….json" data-root="../..">
 *
 * imports ./pages/channel.mjs and calls its `mount(element, shard, context)`. What stands inside the mount point is
 * the frame: static HTML that says something without JavaScript and reserves the space of what will be drawn.
 */
import { h } from "./elements.mjs"
import { connectTools } from "./page-tools.mjs"
import { startKeys } from "./keys.mjs"
import { connectSearch } from "./search.mjs"
import { fetchJson, shardUrl, pageUrl } from "./shards.mjs"

/**
 * @typedef {object} Context  what a page module gets beside its shard
 * @property {string} root  address of the site's root, ending in "/"
 * @property {(id: string) => Promise<any>} fetchShard  fetches `/shards/<id>.json`
 * @property {(id: string, hash?: string) => string} linkTo  address of the page of a channel, layer or document
 */

/** @typedef {{mount: (element: HTMLElement, shard: any, context: Context) => Promise<void> | void}} PageModule */

const pageName = /^[a-z]+$/

/**
 * The context of a mount point.
 * @param {string} root  absolute address of the site's root
 * @returns {Context}
 */
export function makeContext(root) {
  const base = root.endsWith("/") ? root : `${root}/`
  return {
    root: base,
    fetchShard: (id) => fetchJson(shardUrl(base, id)),
    linkTo: (id, hash = "") => pageUrl(base, id) + (hash && `#${hash}`),
  }
}

/**
 * Loads the page module and the shard of one mount point and mounts it; a failure is shown in place, with a retry.
 * @param {HTMLElement} element
 */
export async function mountElement(element) {
  const { page = "", shard = "", root = "." } = element.dataset
  element.setAttribute("aria-busy", "true")
  try {
    if (!pageName.test(page)) throw new Error(`“${page}” is no page module`)
    const address = new URL(shard, document.baseURI).href
    const [module, record] = await Promise.all([
      /** @type {Promise<PageModule>} */ (import(`./pages/${page}.mjs`)),
      shard ? fetchJson(address) : null,
    ])
    await module.mount(element, record, makeContext(new URL(root, document.baseURI).href))
    element.querySelectorAll(":scope > .fb-failure").forEach((box) => box.remove())
    element.classList.add("fb-mounted")
  } catch (error) {
    showFailure(element, error)
  } finally {
    element.removeAttribute("aria-busy")
  }
}

/**
 * Says what failed above the frame, which stays as it is, and offers a retry.
 * @param {HTMLElement} element
 * @param {unknown} error
 */
function showFailure(element, error) {
  console.error(error)
  element.querySelectorAll(":scope > .fb-failure").forEach((box) => box.remove())
  const retry = h("button", { type: "button", class: "fb-button" }, "Try again")
  retry.addEventListener("click", () => void mountElement(element))
  const reason = error instanceof Error ? error.message : String(error)
  element.prepend(
    h(
      "div",
      { class: "fb-failure", role: "alert" },
      h("p", {}, "This part of the page could not be drawn: ", reason),
      retry,
    ),
  )
}

/** Mounts every mount point that is not mounted yet. */
export function mountAll() {
  for (const element of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".fb-mount")))
    if (!element.dataset.isMounting) {
      element.dataset.isMounting = "true"
      void mountElement(element)
    }
}

function start() {
  startKeys()
  mountAll()
  connectTools()
  connectSearch(makeContext)
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start)
else start()
