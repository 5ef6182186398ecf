/** The form in which a reader says what a channel means: a text for each side, a note, star, skip. */
import { h } from "./elements.mjs"
import { annotations, LONGEST_NOTE, LONGEST_TEXT } from "./annotations.mjs"

/** @typedef {import("./annotations.mjs").Polarity} Polarity */
/**
 * @typedef {object} FormOptions
 * @property {string} id
 * @property {boolean} isSigned
 * @property {() => void} onNext  after saving or skipping
 * @property {() => void} [onSaved]
 */

/**
 * @param {FormOptions} options
 * @returns {HTMLFormElement}
 */
export function annotationForm(options) {
  const { id, isSigned } = options
  /** @type {[Polarity, string][]} */
  const sides = isSigned ? [["positive", "Positive side"], ["negative", "Negative side"]] : [["positive", "What makes it fire?"]]
  if (annotations.get(id, "both")?.text) sides.push(["both", "Both sides"])
  const fields = sides.map(([polarity, label]) => ({ polarity, input: textField(annotations.get(id, polarity)?.text ?? ""), label }))
  const note = h("textarea", { class: "fb-input", rows: 2, maxlength: LONGEST_NOTE }, annotations.get(id, "both")?.note ?? "")
  const author = h("input", { class: "fb-input", maxlength: 100, autocomplete: "nickname", value: annotations.author, placeholder: "Your name, for credit" })
  const status = h("p", { class: "fb-note", role: "status" })
  const star = h("button", { type: "button", class: "fb-button fb-star" }, "Star")
  const mark = () => star.setAttribute("aria-pressed", String(annotations.isStarred(id)))
  const save = () => {
    if (author.value.trim() !== annotations.author) annotations.sign(author.value)
    for (const { polarity, input } of fields) annotations.change(id, polarity, { text: oneLine(input.value) })
    annotations.change(id, "both", { note: note.value.trim(), ...(annotations.isLabelled(id) && { skipped: false }) })
    status.textContent = annotations.failure ?? "Saved in this browser."
    options.onSaved?.()
  }
  const form = h("form", { class: "fb-annotation" },
    h("div", { class: "fb-fields" }, ...fields.map(({ input, label }) => h("label", {}, h("span", {}, label), input))),
    h("details", { class: "fb-numbers", open: Boolean(note.value || !annotations.author) }, h("summary", {}, "Note and name"),
      h("div", { class: "fb-fields" }, h("label", {}, h("span", {}, "Note"), note), h("label", {}, h("span", {}, "Your name"), author))),
    h("div", { class: "fb-row" },
      button("Save", "submit", () => {}), button("Save and next", "button", () => (save(), options.onNext()), "Ctrl+Enter"),
      button("Skip", "button", () => {
        annotations.change(id, "both", { skipped: true })
        options.onNext()
      }), star, status))
  star.addEventListener("click", () => {
    annotations.toggleStar(id)
    mark()
  })
  form.addEventListener("submit", (event) => {
    event.preventDefault()
    save()
  })
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return
    event.preventDefault()
    save()
    options.onNext()
  })
  annotations.listeners.add(mark)
  mark()
  return form
}

/** @param {string} value */
function textField(value) {
  return h("input", { class: "fb-input", maxlength: LONGEST_TEXT, autocomplete: "off", value })
}

/** @param {string} text */
function oneLine(text) {
  return text.replace(/[\n\r\u2028\u2029]+/g, " ").trim()
}

/**
 * @param {string} label
 * @param {"submit" | "button"} type
 * @param {() => void} run
 * @param {string} [title]
 */
function button(label, type, run, title) {
  const element = h("button", { type, class: title ? "fb-button fb-button--main" : "fb-button", title }, label)
  element.addEventListener("click", run)
  return element
}

/**
 * How far the reader has come.
 * @param {string[]} ids
 */
export function progressOf(ids) {
  const labelled = ids.filter((id) => annotations.isLabelled(id)).length
  const skipped = ids.filter((id) => !annotations.isLabelled(id) && annotations.isDone(id)).length
  return { labelled, skipped, total: ids.length }
}
