/** Metrics of the analysis: how they are called, where they are explained, how their values are looked up. */
import { h } from "../elements.mjs"
import { count, number } from "../numbers.mjs"

/** @typedef {import("../main.mjs").Context} Context */
/** @typedef {{variant: string, values: any[], n: number | number[], reasons: Record<string, string>, warning: string, low?: number | null, high?: number | null}} Series */
/** @typedef {{metric: string, method: Record<string, any>, series: Series[]}} Measure */

/** Name, and page below metrics/. @type {Record<string, [name: string, page: string]>} */
const METRICS = {
  effective_rank: ["Effective rank", "effective-rank"],
  effective_rank_eigen: ["Effective rank (eigenvalues)", "effective-rank"],
  participation_ratio: ["Participation ratio", "participation-ratio"],
  participation_ratio_corrected: ["Participation ratio (corrected)", "participation-ratio"],
  pca_dimension: ["PCA dimension", "pca-dimension"],
  anisotropy: ["Anisotropy", "anisotropy"],
  usage_entropy: ["Activation entropy (usage)", "activation-entropy"],
  histogram_entropy: ["Activation entropy (histogram)", "activation-entropy"],
  norm: ["Norm", "norm-growth"],
  norm_growth: ["Norm growth", "norm-growth"],
  cosine_to_input: ["Cosine to the input", "cosine-to-input"],
  cosine_to_previous: ["Cosine to the layer before", "cosine-to-input"],
  twonn_mle: ["Intrinsic dimension (TwoNN)", "twonn"],
  twonn_slope: ["Intrinsic dimension (TwoNN, slope)", "twonn"],
  debiased_cka: ["Similarity of layers (CKA)", "cka"],
  distance: ["Attention distance", "attention-distance"],
  entropy: ["Attention entropy", "attention-entropy"],
  entropy_share: ["Attention entropy, share of the largest", "attention-entropy"],
  sink_mass: ["Sink mass", "sink-mass"],
  previous_token: ["Previous-token score", "previous-token"],
  duplicate_token: ["Duplicate-token score", "duplicate-token"],
  duplicate_text: ["Duplicate-token score on the corpus", "duplicate-token"],
  induction: ["Induction score", "induction"],
  induction_text: ["Induction score on the corpus", "induction"],
  kl_adapted: ["Change by the adapter (KL)", "attention-kl"],
  ablation_divergence: ["KL(full ‖ ablated)", "ablation"],
  ablation_loss_change: ["Change of loss", "ablation"],
}

/** @param {string} metric */
export function nameOf(metric) {
  return METRICS[metric]?.[0] ?? metric.replaceAll("_", " ")
}

/**
 * A link to the page that explains a metric.
 * @param {string} metric
 * @param {Context} context
 * @param {string} [text]
 */
export function metricLink(metric, context, text = nameOf(metric)) {
  const page = METRICS[metric]?.[1]
  return page ? explained(page, text, context) : h("span", {}, text)
}

/** @param {string} page @param {string} text @param {Context} context */
export function explained(page, text, context) {
  return h("a", { href: `${context.root}metrics/${page}/` }, text)
}

/** How many observations stand behind a value. @param {Series} series @param {number} place */
export function nAt({ n }, place) {
  return Array.isArray(n) ? n[place] : n
}

/**
 * A value in words: the number and its n, or why it is undefined.
 * @param {Series} series
 * @param {number | null} value
 * @param {number} place  counted through the rows of a matrix
 */
export function words(series, value, place) {
  if (value === null) return series.reasons[String(place)] ?? "undefined"
  return `${number(value)} (n = ${count(nAt(series, place))})`
}

/** Smallest and largest n of a series, in words. @param {Series} series */
export function nWords({ n }) {
  if (!Array.isArray(n)) return `n = ${count(n)}`
  const low = Math.min(...n), high = Math.max(...n)
  return low === high ? `n = ${count(low)}` : `n = ${count(low)} to ${count(high)}`
}

/** What a method says that is worth quoting. @param {Record<string, any>} method */
export function methodWords(method) {
  const shown = ["convention", "positions", "point", "position_0", "centring", "dtype", "source", "documents", "removed", "features", "map", "clusters", "names", "scaling"]
  return shown.filter((key) => method[key]).map((key) =>
    `${key.replaceAll("_", " ")}: ${Array.isArray(method[key]) ? method[key].map((one) => nameOf(String(one))).join(", ") : method[key]}`).join(" · ")
}

/** The method of a chart, folded. @param {Record<string, any>} method */
export function methodFold(method) {
  return h("details", { class: "fb-numbers" }, h("summary", {}, "Method"), h("p", { class: "fb-note" }, methodWords(method)))
}

/** All numbers of a nested list, without what is undefined. @param {any[]} values @returns {number[]} */
export function knownOf(values) {
  return values.flat(3).filter((value) => value !== null && value !== undefined)
}

/**
 * The least and the largest of many numbers.
 * @param {number[]} values
 * @returns {[number, number]}
 */
export function rangeOf(values) {
  let low = Infinity, high = -Infinity
  for (const value of values) {
    if (value < low) low = value
    if (value > high) high = value
  }
  return values.length ? [low, high] : [0, 0]
}

/**
 * A labelled choice; nothing to choose draws nothing.
 * @param {string} label
 * @param {[value: string, text: string][]} options
 * @param {string} chosen
 * @param {(value: string) => void} onChoose
 */
export function choice(label, options, chosen, onChoose) {
  if (options.length < 2) return null
  const select = h("select", { class: "fb-input" }, ...options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)))
  select.addEventListener("change", () => onChoose(select.value))
  return h("label", { class: "fb-analysis-choice" }, h("span", {}, label), select)
}

/**
 * A section of a page; what is undefined says why in one line.
 * @param {string} title
 * @param {string} id
 * @param {import("../elements.mjs").Child} caption
 * @param {any} part
 * @param {() => import("../elements.mjs").Child[]} draw
 */
export function section(title, id, caption, part, draw) {
  const body = part?.undefined ? [h("p", { class: "fb-note" }, part.undefined)] : draw()
  return h("section", { class: "fb-panel", id }, h("h2", {}, title), caption && h("p", { class: "fb-caption" }, caption), ...body)
}
