/** A crosscoder as a whole: its places, the relative norms of its latents, and their profiles as a heatmap. */
import { countChart } from "./curves.mjs"
import { h } from "./elements.mjs"
import { toneOf } from "./heatmap/scale.mjs"
import { Tooltip } from "./heatmap/tooltip.mjs"
import { count, number, percent } from "./numbers.mjs"
import { bar, placeNames, placeTable } from "./places.mjs"
import { readableId } from "./shards.mjs"

/** @typedef {import("./main.mjs").Context} Context */
/** @typedef {import("./places.mjs").Place} Place */
/**
 * @typedef {object} CrosscoderFacts
 * @property {Place[]} places
 * @property {number} n_models
 * @property {number} n_tokens
 * @property {number} n_latents
 * @property {number[]} peaks
 * @property {{edges: number[], counts: number[], classes: Record<string, number>} | null} relative_norms
 * @property {{ids: string[], values: number[][], steps: number}} profiles
 */

/**
 * The places with their error, and how many latents peak at each.
 * @param {CrosscoderFacts} facts
 */
export function placesTable({ places, peaks, n_latents }) {
  const largest = Math.max(1, ...peaks)
  const rows = placeNames(places).map((name, index) => ({ cells: [
    h("span", { title: `${places[index].hook_point} of ${places[index].model}` }, name), number(places[index].size), percent(places[index].fvu),
    count(peaks[index]), bar(peaks[index] / largest, false), percent(n_latents ? peaks[index] / n_latents : null),
  ] }))
  return placeTable("Places", ["place", "size", "FVU", "latents that peak here", "", "share"], rows)
}

/**
 * Relative norms of all latents, with the number in each class.
 * @param {CrosscoderFacts} facts
 */
export function relativeNormChart({ places, relative_norms }) {
  if (!relative_norms) return null
  const { edges, counts, classes } = relative_norms
  const [first, second] = [places[0].model, places[places.length - 1].model]
  return h("div", {}, countChart("Relative norm", edges, counts, { text: number, axis: `0 ${first} · ½ both · 1 ${second}`, noun: "latents" }),
    h("p", { class: "fb-note" }, `${count(classes.first)} ${first} only (up to 0.1), ${count(classes.shared)} shared (0.4 to 0.6), ${count(classes.second)} ${second} only (from 0.9), ${count(classes.between)} between. `
      + "A class by norm is no proof: training may shrink a decoder to nothing although its model has the concept (complete shrinkage), or split one concept over two latents (latent decoupling). Latent scaling, on each latent’s page, looks at the activations instead."))
}

/**
 * Profiles of latents as a canvas-free heatmap: one column of links per latent would be too many, so rows are places, columns latents.
 * @param {CrosscoderFacts} facts
 * @param {Context} context
 */
export function profileMap({ places, profiles }, context) {
  const { ids, values, steps } = profiles
  if (!ids.length || places.length < 2) return null
  const canvas = h("canvas", { class: "fb-profile-map__canvas", width: ids.length, height: places.length, role: "img", tabindex: "0",
    "aria-label": `Profiles of ${count(ids.length)} latents over ${count(places.length)} places, sorted by peak. Arrow keys choose a latent, Enter opens its page.` })
  const live = h("p", { class: "fb-hidden", "aria-live": "polite" })
  const names = placeNames(places)
  const box = h("div", { class: "fb-profile-map" },
    h("ol", { class: "fb-profile-map__places", "aria-hidden": "true" }, ...names.map((name) => h("li", {}, name))), canvas, live)
  let chosen = -1
  const show = (/** @type {number} */ column) => {
    const asked = Math.max(0, Math.min(ids.length - 1, column))
    if (asked === chosen && Tooltip.shared().owner === canvas) return
    chosen = asked
    const row = values[chosen]
    const words = `${readableId(ids[chosen])}: longest at ${names[row.indexOf(Math.max(...row))]}`
    live.textContent = words
    const cells = names.map((name, place) => h("p", { class: "fb-number" }, `${name} ${percent(row[place] / steps)}`))
    Tooltip.shared().hide() // of another column: one canvas owns them all
    Tooltip.shared().show(canvas, () => h("div", {}, h("p", {}, h("strong", {}, readableId(ids[chosen]))), ...(places.length <= 12 ? cells : [h("p", {}, words)])))
  }
  const at = (/** @type {MouseEvent} */ event) => Math.floor(((event.clientX - canvas.getBoundingClientRect().left) / canvas.clientWidth) * ids.length)
  canvas.addEventListener("pointermove", (event) => show(at(event)))
  canvas.addEventListener("pointerleave", () => Tooltip.shared().leave())
  canvas.addEventListener("blur", () => Tooltip.shared().leave())
  canvas.addEventListener("click", (event) => open(ids[Math.max(0, Math.min(ids.length - 1, at(event)))], context))
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20 }[event.key]
    if (step) show(chosen + step)
    else if (event.key === "Enter" && chosen >= 0) open(ids[chosen], context)
    else return
    event.preventDefault()
  })
  const draw = () => paintProfiles(canvas, values, steps, box)
  new ResizeObserver(draw).observe(box)
  new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ["data-md-color-scheme"] })
  return box
}

/** @param {string} id @param {Context} context */
function open(id, context) {
  location.href = context.linkTo(id)
}

/**
 * One pixel for each value, in the colours of the heatmap's classes.
 * @param {HTMLCanvasElement} canvas
 * @param {number[][]} values  latent, place
 * @param {number} steps
 * @param {HTMLElement} box
 */
function paintProfiles(canvas, values, steps, box) {
  const picture = canvas.getContext("2d")
  if (!picture) return
  const probe = h("i", { class: "fb-profile-map__probe" })
  box.append(probe)
  const colours = new Map()
  for (let step = 0; step <= 16; step++) {
    const tone = toneOf(step / 16)
    probe.className = `fb-profile-map__probe ${tone}`
    colours.set(tone, getComputedStyle(probe).backgroundColor)
  }
  probe.remove()
  picture.clearRect(0, 0, canvas.width, canvas.height)
  for (const [column, row] of values.entries()) {
    for (const [place, value] of row.entries()) {
      picture.fillStyle = colours.get(toneOf(value / steps))
      picture.fillRect(column, place, 1, 1)
    }
  }
}
