/** The form at the foot of a channel's page, so that its examples stay in sight while one writes. */
import { h } from "./elements.mjs"
import { annotations, nextOf } from "./annotations.mjs"
import { annotationForm, progressOf } from "./annotate-form.mjs"
import { makeContext } from "./main.mjs"
import { count } from "./numbers.mjs"

/**
 * Opens the dock, or closes it.
 * @param {HTMLElement} button
 */
export async function toggleDock(button) {
  const open = document.querySelector(".fb-dock")
  if (open) return closeDock(button)
  const id = decodeURIComponent(button.dataset.annotate ?? "")
  const mount = /** @type {HTMLElement} */ (document.querySelector(".fb-mount"))
  const context = makeContext(new URL(mount.dataset.root ?? ".", document.baseURI).href)
  const progress = h("p", { class: "fb-note fb-dock__progress" })
  const close = h("button", { type: "button", class: "fb-button" }, "Close")
  close.addEventListener("click", () => closeDock(button))
  const dock = h("section", { class: "fb-dock", "aria-label": "Annotate" })
  const queue = await context.fetchShard("annotate").catch(() => ({ ids: [id], labelled: [0] }))
  const showProgress = () => {
    const { labelled, total } = progressOf(queue.ids)
    progress.replaceChildren(annotations.failure ?? `${count(labelled)} of ${count(total)} labelled by you · `,
      h("a", { href: `${context.root}atlas/annotate/` }, "queue, export"))
  }
  const form = annotationForm({ id, isSigned: await isSigned(context, id), onSaved: showProgress, onNext: () => {
    const next = nextOf(queue.ids, id, (other) => annotations.isDone(other))
    location.assign(next ? withDock(context.linkTo(next)) : `${context.root}atlas/annotate/`)
  } })
  dock.append(h("div", { class: "fb-dock__head" }, h("h2", {}, "Annotate"), progress, close), form)
  dock.addEventListener("keydown", (event) => event.key === "Escape" && closeDock(button))
  showProgress()
  document.body.append(dock)
  document.documentElement.classList.add("fb-docked")
  button.setAttribute("aria-expanded", "true")
  form.querySelector("input")?.focus({ preventScroll: true })
}

/** The address of a page that opens with the form. @param {string} address */
function withDock(address) {
  return `${address}?annotate=1`
}

/** @param {HTMLElement} button */
function closeDock(button) {
  document.querySelector(".fb-dock")?.remove()
  document.documentElement.classList.remove("fb-docked")
  button.setAttribute("aria-expanded", "false")
  button.focus({ preventScroll: true })
}

/**
 * Whether a channel has two sides; its shard has come already and is read from the browser's cache.
 * @param {import("./main.mjs").Context} context
 * @param {string} id
 */
async function isSigned(context, id) {
  const shard = await context.fetchShard(id).catch(() => null)
  return shard ? Boolean(shard.is_signed) : true
}
