// Material's inline script of partials/javascripts/base.html, as a file, so that the
// Content-Security-Policy needs no 'unsafe-inline'. Its bundle reads these four globals.
// @ts-nocheck: plain globals by contract with the theme.
__md_scope = new URL(document.currentScript.dataset.base, location)
__md_hash = (text) => [...text].reduce((hash, char) => (hash << 5) - hash + char.charCodeAt(0), 0)
__md_get = (key, storage = localStorage, scope = __md_scope) => JSON.parse(storage.getItem(scope.pathname + "." + key))
__md_set = (key, value, storage = localStorage, scope = __md_scope) => {
  try {
    storage.setItem(scope.pathname + "." + key, JSON.stringify(value))
  } catch {
    // storage is full or switched off: the choice lasts for this page only
  }
}
