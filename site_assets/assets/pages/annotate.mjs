/** Where a reader labels channels: progress, the next in turn, blind mode, export and import. */
import { h } from "../elements.mjs"
import { annotations, nextOf } from "../annotations.mjs"
import { annotationForm, progressOf } from "../annotate-form.mjs"
import { fileName, fileOffer, isGithub, issueOffer } from "../contribute.mjs"
import { copyButton } from "../examples.mjs"
import { offerKeys } from "../keys.mjs"
import { readableId } from "../shards.mjs"
import { mount as mountChannel } from "./channel.mjs"

/** @typedef {import("../main.mjs").Context} Context */
/** @typedef {{ids: string[], labelled: number[]}} Queue */
/** Parts of a channel's page that do not tell which channel it is. */
const silent = ["top_tokens", "bottom_tokens", "density"]

/**
 * @param {HTMLElement} element
 * @param {Queue} queue
 * @param {Context} context
 */
export async function mount(element, queue, context) {
  const about = await context.fetchShard("about")
  const unlabelled = queue.ids.filter((_, index) => !queue.labelled[index])
  const head = h("div", {}), blind = h("div", { class: "fb-blind" }), exchange = h("section", { class: "fb-panel" })
  const draw = () => {
    head.replaceChildren(...overview(queue, unlabelled, context, () => void showBlind(blind, unlabelled, context)))
    drawExchange(exchange, about)
  }
  annotations.listeners.add(draw)
  addEventListener("storage", ({ key }) => {
    if (key !== annotations.key) return
    annotations.load()
    draw()
  })
  offerKeys("Annotate", [{ keys: "Ctrl+Enter", does: "save the label and go to the next channel" }])
  draw()
  element.replaceChildren(head, blind, exchange)
  if (new URLSearchParams(location.search).has("blind")) await showBlind(blind, unlabelled, context)
}

/**
 * @param {Queue} queue
 * @param {string[]} unlabelled
 * @param {Context} context
 * @param {() => void} begin
 */
function overview(queue, unlabelled, context, begin) {
  const { labelled, skipped, total } = progressOf(queue.ids)
  const bar = h("progress", { max: total || 1, value: labelled, "aria-label": "Channels that you labelled" })
  const isDone = (/** @type {string} */ id) => annotations.isDone(id)
  const next = nextOf(unlabelled, null, isDone) ?? nextOf(queue.ids, null, isDone)
  const start = h("button", { type: "button", class: "fb-button" }, "Blind: a random channel")
  start.addEventListener("click", begin)
  const done = annotations.all().filter(({ text, note, starred }) => text || note || starred)
  return [
    annotations.failure && h("p", { class: "fb-failure", role: "alert" }, annotations.failure),
    h("p", { class: "fb-progress" }, bar, ` ${labelled} of ${total} labelled by you` + (skipped ? `, ${skipped} skipped` : "")
      + `. The repository's labels cover ${total - unlabelled.length}.`),
    h("div", { class: "fb-row" }, next && h("a", { class: "fb-button", href: `${context.linkTo(next)}?annotate=1` }, `Next: ${readableId(next)}`),
      unlabelled.some((id) => !annotations.isDone(id)) && start),
    h("p", { class: "fb-note" }, "Blind mode hides which channel it is until you have saved, so that layer and neighbours do not suggest the answer."),
    done.length > 0 && h("details", { class: "fb-numbers fb-yours" }, h("summary", {}, `What you wrote (${done.length})`), ...done.map((record) => yours(record, context))),
  ].filter((node) => node instanceof Node)
}

/**
 * @param {import("../annotations.mjs").Kept} record
 * @param {Context} context
 */
function yours({ id, polarity, text, note, starred }, context) {
  const sign = { positive: "+ ", negative: "− ", both: "" }[polarity]
  return h("p", {}, h("a", { href: `${context.linkTo(id)}?annotate=1` }, readableId(id)), ` ${starred ? "★ " : ""}${text ? sign : ""}`,
    h("bdi", {}, text ?? ""), note ? ` (${note})` : "")
}

/**
 * A random channel without a label, and nothing that tells which; after saving, its name.
 * @param {HTMLElement} box
 * @param {string[]} ids
 * @param {Context} context
 */
async function showBlind(box, ids, context) {
  const id = nextOf(ids, null, (other) => annotations.isDone(other), Math.random)
  if (!id) return box.replaceChildren(h("p", {}, "Every channel has a label, or you passed over it."))
  box.setAttribute("aria-busy", "true")
  const shard = blinded(await context.fetchShard(id))
  const reveal = h("p", { class: "fb-note", role: "status" })
  const slot = (/** @type {string} */ name) => h("div", { "data-slot": name })
  const frame = h("div", {}, h("div", { class: "fb-columns" },
    h("section", { class: "fb-main", "data-slot": "examples", "aria-label": "Examples" }),
    h("aside", { class: "fb-side", "aria-label": "Statistics" }, slot("histogram"), h("dl", { class: "fb-stats", "data-slot": "stats" }), slot("quantiles"),
      h("div", { class: "fb-pair", "data-slot": "tokens" }))), slot("panels"))
  const form = annotationForm({
    id, isSigned: shard.is_signed, onNext: () => void showBlind(box, ids, context),
    onSaved: () => reveal.replaceChildren("It was ", h("a", { href: context.linkTo(id) }, readableId(id)), ` (${id}).`),
  })
  await mountChannel(frame, shard, { ...context, linkTo: () => "#" })
  box.replaceChildren(h("h2", {}, "Which channel is this?"), h("div", { class: "fb-blind__form" }, form, reveal), frame)
  box.removeAttribute("aria-busy")
  box.scrollIntoView({ block: "start" })
  form.querySelector("input")?.focus({ preventScroll: true })
}

/**
 * A shard that does not say whose it is.
 * @param {any} shard
 */
export function blinded(shard) {
  const panels = shard.panels.filter((/** @type {string} */ name) => silent.includes(name))
  const telling = shard.panels.filter((/** @type {string} */ name) => !silent.includes(name))
  const gone = Object.fromEntries(telling.map((/** @type {string} */ name) => [name, undefined]))
  return { ...shard, ...gone, id: "", layer: null, module: "", rank_index: 0, previous: null, next: null, neighbours: {}, panels,
    examples: shard.examples.map((/** @type {object} */ example) => ({ ...example, has_page: false })) }
}

/**
 * @param {HTMLElement} box
 * @param {import("../share.mjs").About} about
 */
function drawExchange(box, about) {
  const jsonl = annotations.toJsonl(about.run), name = fileName(annotations.author)
  const author = h("input", { class: "fb-input", maxlength: 100, autocomplete: "nickname", value: annotations.author })
  author.addEventListener("change", () => annotations.sign(author.value))
  const status = h("p", { class: "fb-note", role: "status" })
  box.replaceChildren(
    h("h2", {}, "Export and import"),
    h("p", { class: "fb-caption" }, "Your records as a label file, ready for ", h("code", {}, `labels/${name}`), "."),
    h("label", { class: "fb-filter-text" }, h("span", {}, "Your name, for credit"), author),
    h("div", { class: "fb-row" }, ...(jsonl ? exports(jsonl, name, about, status) : [h("p", { class: "fb-note" }, "There is nothing to export yet.")]), importButton(status)),
    status,
  )
}

/**
 * @param {string} jsonl
 * @param {string} name
 * @param {import("../share.mjs").About} about
 * @param {HTMLElement} status
 */
function exports(jsonl, name, { repository, branch }, status) {
  const file = h("button", { type: "button", class: "fb-button" }, "Download the file")
  file.addEventListener("click", () => download(name, jsonl))
  const offers = isGithub(repository)
    ? [link("Open a GitHub issue", issueOffer(repository, annotations.author, jsonl), jsonl, status),
       link("Propose the file on GitHub", fileOffer(repository, branch, annotations.author, jsonl), jsonl, status)]
    : []
  return [file, copyButton("Copy", () => jsonl), ...offers]
}

/**
 * @param {string} label
 * @param {import("../contribute.mjs").Offer} offer
 * @param {string} jsonl
 * @param {HTMLElement} status
 */
function link(label, { href, isWhole }, jsonl, status) {
  const element = h("a", { class: "fb-button", href, target: "_blank", rel: "noopener" }, label)
  if (!isWhole) element.addEventListener("click", () => {
    void navigator.clipboard.writeText(jsonl).then(
      () => (status.textContent = "The records are too long for an address: they were copied, paste them into the page that opened."),
      () => (status.textContent = "The records are too long for an address: download the file and paste it into the page that opened."))
  })
  return element
}

/**
 * @param {string} name
 * @param {string} text
 */
function download(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "application/x-ndjson" }))
  const anchor = h("a", { href: address, download: name })
  anchor.click()
  setTimeout(() => URL.revokeObjectURL(address), 10_000)
}

/** @param {HTMLElement} status */
function importButton(status) {
  const input = h("input", { type: "file", accept: ".jsonl,application/x-ndjson,text/plain", class: "fb-hidden", tabindex: "-1", "aria-label": "Label file" })
  const button = h("button", { type: "button", class: "fb-button" }, "Import a file…")
  button.addEventListener("click", () => input.click())
  input.addEventListener("change", async () => {
    const file = input.files?.[0]
    if (!file) return
    const said = reportOf(annotations.fromJsonl(await file.text()))
    const current = document.querySelector(".fb-panel > [role=status]") ?? status
    current.textContent = said
  })
  return h("span", {}, button, input)
}

/** @param {import("../annotations.mjs").ImportReport} report */
export function reportOf({ added, same, conflicts, others, faults }) {
  const parts = [`${added} taken over`, same && `${same} were here already`, others && `${others} by other people left out (they belong into the repository)`,
    conflicts.length && `${conflicts.length} in conflict: ${conflicts.slice(0, 3).join("; ")}`, faults.length && `${faults.length} unreadable: ${faults.slice(0, 3).join("; ")}`]
  return `${parts.filter(Boolean).join(". ")}.`
}
