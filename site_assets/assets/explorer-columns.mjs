/** The columns of the explorer's table: what a row shows, from the parts that were fetched. */
import { h } from "./elements.mjs"
import { NAMES } from "./explorer-form.mjs"
import { count, number, percent } from "./numbers.mjs"
import { barsOfLevels } from "./search-rows.mjs"
import { snippetLine } from "./search-results.mjs"
import { readableId } from "./shards.mjs"
import { thumbnail } from "./thumbnail.mjs"
import { tokenList } from "./token-list.mjs"

/** @typedef {import("./main.mjs").Context} Context */
/** @typedef {import("./search-rows.mjs").Row} Row */
/** @typedef {import("./search-rows.mjs").Rows} Rows */
/** @typedef {import("./selection.mjs").ExplorerColumns} ExplorerColumns */
/** @typedef {import("./table.mjs").Column} Column */

/** Shown until the reader chooses. */
export const USUAL = ["label", "histogram", "tokens", "layer", "module", "density", "skewness", "min", "max", "score"]

/** @type {Record<string, string>} */
const MEANING = {
  density: "Share of tokens at which the channel is active", mean: "Mean activation", std: "Standard deviation of the activation",
  skewness: "Skewness of the activation", kurtosis: "Kurtosis in excess of the normal distribution's", min: "Lowest activation",
  max: "Highest activation", peak: "Largest size of an activation", max_write: "Size of the largest write: scaling · max |activation| · ‖B‖",
  score: "How well the label predicts the activations", ablation: "KL divergence between the model’s predictions with and without the direction, in nats per token",
  peak_layer: "Layer at which the latent’s decoder is longest, in units of the activations there", relative_norm: "0: only the first model has it; ½: both; 1: only the second",
}
/** @type {Record<string, string>} */
const SHORT = { density: "Density", skewness: "Skew", kurtosis: "Kurt.", peak: "|Max|", max_write: "Write", ablation: "KL zeroed" }

/**
 * Every column that this run can show, the name first.
 * @param {ExplorerColumns} columns
 * @param {string[]} numbers
 * @param {Rows} rows
 * @param {Context} context
 * @param {(row: number, id: string) => Node | null} star what can be done with a row: a star, a place in the comparison
 * @returns {Column[]}
 */
export function tableColumns(columns, numbers, rows, context, star) {
  /** @param {string} name @param {string} label @param {string} title @param {(row: Row) => Node | string} draw @returns {Column} */
  const fetched = (name, label, title, draw) => ({ name, label, title, cell: (row) => {
    const held = rows.get(row)
    return held ? draw(held) : h("span", { class: "fb-waiting" }, "…")
  } })
  const isLabelled = columns.is_labelled.includes(1)
  /** @type {(Column | false)[]} */
  const all = [
    { name: "id", label: "Channel", isSortable: true, title: "In the order of layers and modules", cell: (row) => {
      const held = rows.get(row)
      if (!held) return h("span", { class: "fb-waiting" }, "…")
      return h("span", {}, h("a", { href: context.linkTo(held.id) }, readableId(held.id)), star(row, held.id), held.label && h("bdi", { class: "fb-row-label" }, held.label))
    } },
    isLabelled && fetched("label", "Label", "What people or models say that it means", ({ label, author }) =>
      h("bdi", { title: author ? `by ${author}` : null }, label ?? "–")),
    fetched("histogram", "Activations", "Histogram of activations, log counts", (row) =>
      thumbnail(barsOfLevels(row.histogram), row.histogram_low, row.histogram_high)),
    fetched("tokens", "Top and bottom tokens", "Tokens by mean activation: highest, then lowest", (row) =>
      h("span", { class: "fb-both-tokens" }, tokenList(row.top_tokens, "positive"), tokenList(row.bottom_tokens, "negative"))),
    fetched("snippet", "Strongest example", "The example of largest activation", ({ snippet }) => (snippet ? snippetLine(snippet) : "–")),
    { name: "collection", label: "Collection", isSortable: true, cell: (row) => h("a", { href: context.linkTo(columns.collection[row]) }, columns.collection[row]) },
    { name: "layer", label: "Layer", isSortable: true, isNumber: true, cell: (row) => {
      const layer = columns.layer[row]
      return layer === null ? "–" : h("a", { href: context.linkTo(`layer/${layer}`), "aria-label": `Layer ${layer}` }, layer)
    } },
    { name: "module", label: "Module", isSortable: true, cell: (row) => columns.module[row] || "–" },
    ...numbers.map((name) => ({
      ...fetched(name, SHORT[name] ?? NAMES[name], MEANING[name], (row) =>
        textOf(name, /** @type {number | null} */ (/** @type {Record<string, unknown>} */ (/** @type {unknown} */ (row))[name]))),
      isSortable: true, isNumber: true,
    })),
  ]
  return all.filter((column) => column !== false)
}

/** @param {string} name @param {number | null} value */
export function textOf(name, value) {
  return name === "density" ? percent(value) : name === "peak_layer" ? count(value) : number(value)
}
