/** What stands in the head of a page beside its name: star, annotate, share. Each loads what it needs when it is used. */
import { offerKeys } from "./keys.mjs"
import { embedPanel } from "./embed.mjs"

/** Connects the buttons that this page has. */
export function connectTools() {
  embedPanel()
  const share = /** @type {HTMLDetailsElement | null} */ (document.querySelector("details.fb-share"))
  share?.addEventListener("toggle", () => share.open && void import("./share.mjs").then(({ fillShare }) => fillShare(share)))
  const star = /** @type {HTMLElement | null} */ (document.querySelector("[data-star]"))
  if (star) void connectStar(star)
  const annotate = /** @type {HTMLElement | null} */ (document.querySelector("[data-annotate]"))
  if (annotate) connectAnnotate(annotate)
}

/** @param {HTMLElement} button */
async function connectStar(button) {
  const { annotations } = await import("./annotations.mjs")
  const id = button.dataset.star ?? ""
  const mark = () => {
    const isStarred = annotations.isStarred(id)
    button.setAttribute("aria-pressed", String(isStarred))
    button.title = isStarred ? "Starred in this browser" : "Star it in this browser"
  }
  button.addEventListener("click", () => {
    annotations.toggleStar(id)
    if (annotations.failure) button.title = annotations.failure
  })
  annotations.listeners.add(mark)
  addEventListener("storage", ({ key }) => {
    if (key !== annotations.key) return
    annotations.load()
    mark()
  })
  mark()
  offerKeys("Annotate", [{ keys: "*", does: "star this channel", run: () => button.click() }])
}

/** @param {HTMLElement} button */
function connectAnnotate(button) {
  const toggle = async () => {
    const { toggleDock } = await import("./annotate-dock.mjs")
    await toggleDock(button)
  }
  button.addEventListener("click", () => void toggle())
  offerKeys("Annotate", [
    { keys: "a", does: "label this channel", run: () => void toggle() },
    { keys: "Ctrl+Enter", does: "save the label and go to the next channel" },
  ])
  if (new URLSearchParams(location.search).has("annotate")) void toggle()
}
