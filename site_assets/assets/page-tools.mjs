/** What stands in the head of a page beside its name: star, annotate, share, the way on. Each loads what it needs when it is used. */
import { fetchAhead } from "./ahead.mjs"
import { h } from "./elements.mjs"
import { offerKeys } from "./keys.mjs"
import { needStyle } from "./styles.mjs"

/** Connects the buttons that this page has. */
export function connectTools() {
  connectTop()
  void fetchAhead()
  if (new URLSearchParams(location.search).get("embed") === "1") {
    document.documentElement.classList.add("fb-embed")
    void needStyle("embed")
    void import("./embed.mjs").then(({ embedPanel }) => embedPanel())
  }
  const share = /** @type {HTMLDetailsElement | null} */ (document.querySelector("details.fb-share"))
  share?.addEventListener("toggle", () => share.open && void heard(share, import("./share.mjs").then(({ fillShare }) => fillShare(share))))
  const star = /** @type {HTMLElement | null} */ (document.querySelector("[data-star]"))
  if (star) connectStar(star)
  const annotate = /** @type {HTMLElement | null} */ (document.querySelector("[data-annotate]"))
  if (annotate) connectAnnotate(annotate)
}

/**
 * Says in the head of the page what went wrong; null when nothing did.
 * @param {HTMLElement} tool
 * @param {string | null} failure
 */
function say(tool, failure) {
  const head = tool.closest(".fb-head")
  head?.querySelector(":scope > .fb-failure")?.remove()
  if (failure !== null) head?.append(h("p", { class: "fb-failure", role: "alert" }, failure))
}

/**
 * Waits for what a tool needs; when it does not come, the next use of the tool asks again.
 * @param {HTMLElement} tool
 * @param {Promise<void>} work
 */
async function heard(tool, work) {
  await work.then(() => say(tool, null), (error) => say(tool, `This could not be loaded (${error instanceof Error ? error.message : error}). Try again.`))
}

/** The button back to the top is there once the head of the page is out of sight. */
function connectTop() {
  const button = /** @type {HTMLElement | null} */ (document.querySelector(".fb-top"))
  const head = document.querySelector(".fb-head, h1")
  if (!button || !head) return
  new IntersectionObserver(([{ isIntersecting }]) => (button.hidden = isIntersecting)).observe(head)
  button.addEventListener("click", () => scrollTo({ top: 0 }))
}

/**
 * A star needs what this browser keeps, which most readers have nothing of: then it is fetched for the first star.
 * @param {HTMLElement} button
 */
function connectStar(button) {
  offerKeys("Annotate", [{ keys: "*", does: "star this channel", run: () => button.click() }])
  /** @type {Promise<() => void> | undefined} */
  let star
  const wake = () => (star ??= wakeStar(button))
  if (keepsSomething()) void wake()
  button.addEventListener("click", () => void wake().then((toggle) => toggle()))
}

/** Whether this browser keeps annotations of any site at this address. */
function keepsSomething() {
  try {
    return Object.keys(localStorage).some((key) => key.startsWith("featurebook.annotations"))
  } catch {
    return false
  }
}

/** Shows whether the channel is starred. @param {HTMLElement} button @returns {Promise<() => void>} stars it, or takes the star back */
async function wakeStar(button) {
  const { annotations } = await import("./annotations.mjs")
  const id = decodeURIComponent(button.dataset.star ?? "")
  const mark = () => {
    const isStarred = annotations.isStarred(id)
    button.setAttribute("aria-pressed", String(isStarred))
    button.title = isStarred ? "Starred in this browser" : "Star it in this browser"
  }
  annotations.listeners.add(mark)
  addEventListener("storage", ({ key }) => {
    if (key !== annotations.key) return
    annotations.load()
    mark()
  })
  mark()
  return () => {
    annotations.toggleStar(id)
    say(button, annotations.failure)
  }
}

/** @param {HTMLElement} button */
function connectAnnotate(button) {
  const open = async () => {
    const [{ toggleDock }] = await Promise.all([import("./annotate-dock.mjs"), needStyle("annotate")])
    await toggleDock(button)
  }
  const toggle = () => heard(button, open())
  button.addEventListener("click", () => void toggle())
  offerKeys("Annotate", [
    { keys: "a", does: "label this channel", run: () => void toggle() },
    { keys: "Ctrl+Enter", does: "save the label and go to the next channel" },
  ])
  if (new URLSearchParams(location.search).has("annotate")) void toggle()
}
