// Material's inline script of partials/javascripts/palette.html, as a file. It runs before the page is
// painted, so that a reader who chose dark colours sees no flash of light.
// @ts-nocheck: plain globals by contract with the theme.
{
  let palette = null
  try {
    palette = __md_get("__palette")
  } catch {
    // storage is switched off: the default colours stand
  }
  if (palette && palette.color) {
    if (palette.color.media === "(prefers-color-scheme)") {
      const isLight = matchMedia("(prefers-color-scheme: light)").matches
      const input = document.querySelector(
        `[data-md-color-media='(prefers-color-scheme: ${isLight ? "light" : "dark"})']`,
      )
      for (const name of ["media", "scheme", "primary", "accent"])
        palette.color[name] = input.getAttribute("data-md-color-" + name)
    }
    for (const [name, value] of Object.entries(palette.color))
      document.body.setAttribute("data-md-color-" + name, value)
  } else if (matchMedia("(prefers-color-scheme: dark)").matches) {
    document.body.setAttribute("data-md-color-scheme", "slate")
  }
}
