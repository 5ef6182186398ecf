/** Styles that only some readers need, fetched with what they dress. */

/**
 * Adds a style sheet of this folder to the page, once.
 * @param {string} name
 * @returns {Promise<void>} when it can be used; a failure leaves the part plain
 */
export function needStyle(name) {
  if (document.documentElement.dataset.single !== undefined) return Promise.resolve() // they all stand in the file
  const href = new URL(`./${name}.css`, import.meta.url).href
  if ([...document.querySelectorAll("link[rel=stylesheet]")].some((link) => /** @type {HTMLLinkElement} */ (link).href === href)) return Promise.resolve()
  const link = document.createElement("link")
  Object.assign(link, { rel: "stylesheet", href })
  return new Promise((done) => {
    link.addEventListener("load", () => done())
    link.addEventListener("error", () => done())
    document.head.append(link)
  })
}
