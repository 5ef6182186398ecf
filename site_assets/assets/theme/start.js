// What has to run before the page is painted: the theme's globals, and the colours that the reader chose. Material's inline
// scripts of partials/javascripts/ and the part of its bundle that switches colours, in a file, so that the
// Content-Security-Policy needs no 'unsafe-inline' and generated pages no bundle. It stands in the head, before the styles: in the
// body it would wait for them, and the browser would paint half a header meanwhile.
// @ts-nocheck: plain globals by contract with the theme.
__md_scope = new URL(document.currentScript.dataset.base, location)
__md_hash = (text) => [...text].reduce((hash, char) => (hash << 5) - hash + char.charCodeAt(0), 0)
__md_get = (key, storage = localStorage, scope = __md_scope) => JSON.parse(storage.getItem(scope.pathname + "." + key))
__md_set = (key, value, storage, scope = __md_scope) => {
  try {
    ;(storage ?? localStorage).setItem(scope.pathname + "." + key, JSON.stringify(value))
  } catch {
    // storage is full or switched off: the choice lasts for this page only
  }
}
document.documentElement.classList.replace("no-js", "js")
{
  const isLight = matchMedia("(prefers-color-scheme: light)")
  const colours = (input) => Object.fromEntries(["media", "scheme", "primary", "accent"].map((name) => [name, input.getAttribute(`data-md-color-${name}`)]))
  /** The form for light and dark (partials/palette.html). */
  const connect = (form) => {
    const inputs = [...form.elements]
    const chosen = () => Math.max(0, inputs.findIndex(({ checked }) => checked))
    // The first one follows the system, with the colours of one of the others.
    const system = () => inputs.find((input) => colours(input).media === `(prefers-color-scheme: ${isLight.matches ? "light" : "dark"})`)
    const show = () => {
      inputs.forEach((input, place) => (input.nextElementSibling.hidden = place !== chosen()))
      const shown = (chosen() === 0 && system()) || inputs[chosen()]
      for (const [name, value] of Object.entries(colours(shown))) document.body.setAttribute(`data-md-color-${name}`, value)
    }
    let kept = null
    try {
      kept = __md_get("__palette")
    } catch {
      // storage is switched off: the system's colours
    }
    ;(inputs[kept?.index] ?? inputs[0]).checked = true
    show()
    isLight.addEventListener("change", show)
    form.addEventListener("change", () => {
      show()
      __md_set("__palette", { index: chosen(), color: colours(inputs[chosen()]) })
    })
  }
  // The form is whole when something stands behind it. The parser rests rarely; when it does, this comes before the next paint.
  const parsed = new MutationObserver(() => {
    const next = document.querySelector(".fb-schemes + *")
    if (next || document.readyState !== "loading") parsed.disconnect()
    if (next) connect(next.previousElementSibling)
  })
  parsed.observe(document, { childList: true, subtree: true })
}
