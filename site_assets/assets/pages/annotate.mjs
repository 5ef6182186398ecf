/** Where a reader labels channels: progress, the next in turn, blind mode, export and import. */
import { h } from "../elements.mjs"
import { annotations, nextOf } from "../annotations.mjs"
import { annotationForm, progressOf } from "../annotate-form.mjs"
import { fileName, fileOffer, isGithub, issueOffer } from "../contribute.mjs"
import { copyFrom, copyText } from "../examples.mjs"
import { offerKeys } from "../keys.mjs"
import { visible } from "../heatmap/tokens.mjs"
import { count } from "../numbers.mjs"
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
  const head = h("div", {}), blind = h("div", { class: "fb-blind" }), { element: exchange, update } = exchangeOf(about)
  const draw = () => {
    const isOpen = head.querySelector("details")?.open ?? false
    head.replaceChildren(...overview(queue, unlabelled, isOpen, context, () => void showBlind(blind, unlabelled, context)))
    update()
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
 * @param {boolean} isOpen  whether what was written is listed
 * @param {Context} context
 * @param {() => void} begin
 */
function overview(queue, unlabelled, isOpen, context, begin) {
  const { labelled, skipped, total } = progressOf(queue.ids)
  const bar = h("progress", { max: total || 1, value: labelled, "aria-label": "Channels that you labelled" })
  const isDone = (/** @type {string} */ id) => annotations.isDone(id)
  const next = nextOf(unlabelled, null, isDone) ?? nextOf(queue.ids, null, isDone)
  const start = h("button", { type: "button", class: "fb-button" }, "Blind: a random channel")
  start.addEventListener("click", begin)
  const done = annotations.all().filter(({ text, note, starred }) => text || note || starred)
  return [
    annotations.failure && h("p", { class: "fb-failure", role: "alert" }, annotations.failure),
    h("p", { class: "fb-progress" }, bar, ` ${count(labelled)} of ${count(total)} labelled by you` + (skipped ? `, ${count(skipped)} skipped` : "")
      + `. The repository’s labels cover ${count(total - unlabelled.length)}.`),
    h("div", { class: "fb-row" }, next && h("a", { class: "fb-button", href: `${context.linkTo(next)}?annotate=1` }, `Next: ${readableId(next)}`),
      unlabelled.some((id) => !annotations.isDone(id)) && start),
    h("p", { class: "fb-note" }, "Blind mode hides which channel it is until you have saved, so that layer and neighbours do not suggest the answer."),
    done.length > 0 && h("details", { class: "fb-numbers fb-yours", open: isOpen }, h("summary", {}, `What you wrote (${count(done.length)})`), ...done.map((record) => yours(record, context))),
  ].filter((node) => node instanceof Node)
}

/**
 * @param {import("../annotations.mjs").Kept} record
 * @param {Context} context
 */
function yours({ id, polarity, text, note, starred }, context) {
  const sign = { positive: "+ ", negative: "− ", both: "" }[polarity]
  return h("p", {}, h("a", { href: `${context.linkTo(id)}?annotate=1` }, readableId(id)), ` ${starred ? "★ " : ""}${text ? sign : ""}`,
    h("bdi", {}, visible(text ?? "")), note ? ` (${visible(note)})` : "")
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
 * The reader's name, and the ways out of this browser and into it. Made once: what is focused stays so while records change.
 * @param {import("../share.mjs").About} about
 */
function exchangeOf(about) {
  const jsonl = () => annotations.toJsonl(about.run), name = () => fileName(annotations.author)
  const place = h("code", {}), none = h("p", { class: "fb-note" }, "There is nothing to export yet."), status = h("p", { class: "fb-note", role: "status" })
  const author = h("input", { class: "fb-input", maxlength: 100, autocomplete: "nickname" })
  author.addEventListener("change", () => annotations.sign(author.value))
  const file = action("Download the file", () => download(name(), jsonl()))
  const copy = action("Copy", () => void copyFrom(copy, "Copy", jsonl()))
  const issue = offerLink("Open a GitHub issue", (text) => issueOffer(about.repository, annotations.author, text), jsonl, status)
  const proposal = offerLink("Propose the file on GitHub", (text) => fileOffer(about.repository, about.branch, annotations.author, text), jsonl, status)
  const offers = isGithub(about.repository) ? [issue, proposal] : []
  const ways = [file, copy, ...offers.map(({ element }) => element)]
  const element = h("section", { class: "fb-panel" },
    h("h2", {}, "Export and import"),
    h("p", { class: "fb-caption" }, "Your records as a label file, ready for ", place, "."),
    h("label", { class: "fb-filter-text" }, h("span", {}, "Your name, for credit"), author),
    h("div", { class: "fb-row fb-exchange" }, none, ...ways, importButton(about.run, status)),
    status,
  )
  const update = () => {
    const text = jsonl()
    place.textContent = `labels/${name()}`
    if (document.activeElement !== author) author.value = annotations.author
    none.hidden = text !== ""
    for (const way of ways) way.hidden = text === ""
    for (const offer of offers) offer.update(text)
  }
  return { element, update }
}

/** @param {string} label @param {() => void} run */
function action(label, run) {
  const button = h("button", { type: "button", class: "fb-button" }, label)
  button.addEventListener("click", run)
  return button
}

/**
 * A link to a page of GitHub that holds the records, or has them pasted where they are too long for an address.
 * @param {string} label
 * @param {(jsonl: string) => import("../contribute.mjs").Offer} make
 * @param {() => string} jsonl
 * @param {HTMLElement} status
 */
function offerLink(label, make, jsonl, status) {
  const element = h("a", { class: "fb-button", target: "_blank", rel: "noopener" }, label)
  let isWhole = true
  element.addEventListener("click", async () => {
    if (isWhole) return
    status.textContent = (await copyText(jsonl())) ? "The records are too long for an address: they were copied, paste them into the page that opened."
      : "The records are too long for an address: download the file and paste it into the page that opened."
  })
  const update = (/** @type {string} */ text) => {
    const offer = make(text)
    element.href = offer.href
    isWhole = offer.isWhole
  }
  return { element, update }
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

/** @param {string} run @param {HTMLElement} status */
function importButton(run, status) {
  const input = h("input", { type: "file", accept: ".jsonl,application/x-ndjson,text/plain", class: "fb-hidden", tabindex: "-1", "aria-label": "Label file" })
  input.addEventListener("change", async () => {
    const file = input.files?.[0]
    if (file) status.textContent = reportOf(annotations.fromJsonl(await file.text(), run))
    input.value = ""
  })
  return h("span", {}, action("Import a file…", () => input.click()), input)
}

/** @param {import("../annotations.mjs").ImportReport} report */
export function reportOf({ added, same, conflicts, others, elsewhere, faults, signed }) {
  const parts = [`${count(added)} taken over`, same && `${count(same)} were here already`, others && `${count(others)} by other people left out (they belong into the repository)`,
    elsewhere && `${count(elsewhere)} of another run left out`, signed && `You sign as “${signed}” now`, conflicts.length && `${conflicts.length} in conflict: ${conflicts.slice(0, 3).join("; ")}`, faults.length && `${faults.length} unreadable: ${faults.slice(0, 3).join("; ")}`]
  return visible(`${parts.filter(Boolean).join(". ")}.`)
}
