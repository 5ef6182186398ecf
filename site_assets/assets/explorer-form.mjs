/** The explorer's filters as a form: made from the columns, read into a view, filled from one. */
import { h } from "./elements.mjs"
import { count } from "./numbers.mjs"
import { isBounded, RANGES } from "./selection.mjs"

/** @typedef {import("./selection.mjs").ExplorerColumns} ExplorerColumns */
/** @typedef {import("./selection.mjs").View} View */
/** @typedef {import("./selection.mjs").Range} Range */

/** Choices of one filter that stand side by side; with more of them they are folded into a list. */
const SIDE_BY_SIDE = 12

/** How numbers are called, everywhere in the explorer. */
export const NAMES = /** @type {Record<string, string>} */ ({
  layer: "Layer", density: "Density", mean: "Mean", std: "Std", skewness: "Skewness", kurtosis: "Kurtosis", min: "Min", max: "Max",
  peak: "Largest |activation|", max_write: "Largest write", score: "Score", ablation: "KL when zeroed",
  peak_layer: "Peak layer", relative_norm: "Relative norm",
})

/** Ranges that stand in the form; the others are in the address only until set there. */
const OFFERED = ["layer", "density", "peak", "skewness", "score"]

/**
 * @param {ExplorerColumns} columns
 * @param {string[]} numbers  that this run has
 * @returns {HTMLFormElement}
 */
export function filterForm(columns, numbers) {
  const layers = columns.layer.filter((layer) => layer !== null)
  const collections = [...new Set(columns.collection)]
  const n = (/** @type {number[]} */ flags) => flags.reduce((sum, flag) => sum + flag, 0)
  const nDead = n(columns.is_dead), nLabelled = n(columns.is_labelled)
  const flags = [
    nDead > 0 && flag("dead", `show ${count(nDead)} dead`),
    nLabelled > 0 && flag("labelled", `${count(nLabelled)} labelled`),
    flag("starred", "starred"),
    n(columns.is_whole) < columns.length && flag("whole", "full example lists"),
  ].filter((one) => one !== false)
  return h("form", { class: "fb-filters", role: "search", "aria-label": "Filter channels" },
    h("label", { class: "fb-filter-text" }, h("span", {}, "Id, label or token"),
      h("input", { type: "search", class: "fb-input", name: "q", autocomplete: "off", spellcheck: "false", placeholder: "gate_proj, wait, \" Wait\" for an exact token" })),
    h("details", { class: "fb-filters-more", open: !matchMedia("(max-width: 44.9375em)").matches },
      h("summary", {}, "Filters"),
      h("div", { class: "fb-filters-row" },
        choices("module", "Module", [...new Set(columns.module)].filter(Boolean)),
        collections.length > 1 && choices("collection", "Collection", collections),
        h("fieldset", { class: "fb-choices" }, h("legend", {}, "Only, or also"), ...flags),
        ...OFFERED.filter((name) => (name === "layer" ? layers.length > 0 : numbers.includes(name))).map((name) =>
          rangeField(name, name === "layer" ? `Layer (0–${layers.reduce((a, b) => Math.max(a, b), 0)})` : name === "density" ? "Density, %" : NAMES[name])))))
}

/** @param {string} name @param {string} text */
function flag(name, text) {
  return h("label", {}, h("input", { type: "checkbox", name }), h("span", {}, text))
}

/** @param {string} name @param {string} title @param {string[]} values */
function choices(name, title, values) {
  if (!values.length) return null
  const labels = values.map((value) => h("label", {}, h("input", { type: "checkbox", name, value }), h("span", {}, value || "–")))
  if (values.length <= SIDE_BY_SIDE) return h("fieldset", { class: "fb-choices" }, h("legend", {}, title), ...labels)
  return h("fieldset", {}, h("legend", {}, title), h("details", { class: "fb-fold" }, h("summary", {}, `Choose of ${count(values.length)}`), h("div", { class: "fb-choices fb-choices--many" }, ...labels)))
}

/** @param {string} name @param {string} title */
function rangeField(name, title) {
  /** @param {string} end @param {string} word */
  const input = (end, word) => h("input", {
    type: "number", class: "fb-input", name, step: name === "layer" ? "1" : "any", "data-end": end, "aria-label": `${title}, ${word}`, placeholder: word,
  })
  return h("fieldset", { class: "fb-range" }, h("legend", {}, title), input("low", "from"), input("high", "to"))
}

/** @param {string} name a density is typed in percent */
function unitOf(name) {
  return name === "density" ? 100 : 1
}

/**
 * What the form says; ranges that it does not offer stay as they are.
 * @param {HTMLFormElement} form
 * @param {View} view
 * @returns {Partial<View>}
 */
export function readForm(form, view) {
  const filled = new FormData(form)
  const ranges = { ...view.ranges }
  for (const name of RANGES) {
    const typed = filled.getAll(name).map(String)
    if (typed.length < 2) continue
    const range = /** @type {Range} */ (typed.map((text) => (text === "" || Number.isNaN(Number(text)) ? null : Number(text) / unitOf(name))))
    if (isBounded(range)) ranges[name] = range
    else delete ranges[name]
  }
  return {
    q: String(filled.get("q")).trim() ? String(filled.get("q")) : "", ranges,
    collection: filled.getAll("collection").map(String), module: filled.getAll("module").map(String),
    dead: filled.has("dead"), labelled: filled.has("labelled"), starred: filled.has("starred"), whole: filled.has("whole"),
  }
}

/**
 * Says how many filters a view has, beside its words: they may be folded.
 * @param {HTMLFormElement} form
 * @param {View} view
 */
export function countFilters(form, { collection, module, ranges, dead, labelled, starred, whole }) {
  const n = [collection.length, module.length, dead, labelled, starred, whole].filter(Boolean).length + Object.keys(ranges).length
  const summary = form.querySelector("summary")
  if (summary) summary.textContent = n ? `Filters (${n})` : "Filters"
}

/**
 * Sets the form to a view.
 * @param {HTMLFormElement} form
 * @param {View} view
 */
export function fillForm(form, view) {
  const row = form.querySelector(".fb-filters-row")
  for (const name of Object.keys(view.ranges)) if (!form.elements.namedItem(name)) row?.append(rangeField(name, NAMES[name])) // a filter can be seen
  countFilters(form, view)
  for (const input of form.querySelectorAll("input")) {
    const { name, dataset } = input
    if (name === "q") input.value = view.q
    else if (name === "module" || name === "collection") input.checked = view[name].includes(input.value)
    else if (name === "dead" || name === "labelled" || name === "starred" || name === "whole") input.checked = view[name]
    else if (RANGES.includes(name)) {
      const value = view.ranges[name]?.[dataset.end === "high" ? 1 : 0] ?? null
      input.value = value === null ? "" : String(Number((value * unitOf(name)).toPrecision(12)))
    }
  }
}
