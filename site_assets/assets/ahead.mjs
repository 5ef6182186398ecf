/**
 * The way on. Who came to a page from the one before mostly goes on to the next: that page and its shard are fetched while
 * the browser has nothing else to do, so that "n" waits for no server. Who comes from elsewhere fetches nothing ahead.
 */
import { h } from "./elements.mjs"
import { quiet } from "./quiet.mjs"

/**
 * The neighbour that a reader is on the way to; null for who came from neither.
 * @returns {HTMLAnchorElement | null}
 */
function onward() {
  const [back, on] = ["prev", "next"].map((rel) => /** @type {HTMLAnchorElement | null} */ (document.querySelector(`.fb-head a[rel="${rel}"]`)))
  const from = document.referrer.split("?")[0]
  const isFrom = (/** @type {HTMLAnchorElement | null} */ link) => link?.href.split("#")[0] === from
  return isFrom(back) ? on : isFrom(on) ? back : null
}

/** Fetches the page that the reader is on the way to, and what it will draw. */
export async function fetchAhead() {
  const page = onward()?.href.split("#")[0]
  const mount = /** @type {HTMLElement | null} */ (document.querySelector(".fb-mount"))
  if (!page || !mount) return
  await quiet()
  const root = new URL(`${mount.dataset.root}/`, document.baseURI).href
  const shard = page.replace(`${root}atlas/`, `${root}shards/`).replace(/\/$/, ".json")
  document.head.append(h("link", { rel: "prefetch", href: page }), h("link", { rel: "prefetch", as: "fetch", crossorigin: "", href: shard }))
}
