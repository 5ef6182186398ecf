/** This run beside another one: every channel with its counterpart, sorted and filtered, with the view kept in the address. */
import { h } from "../elements.mjs"
import { copyFrom } from "../examples.mjs"
import { formatState, hashOf, parseState } from "../hash.mjs"
import { count, number, percent, plural } from "../numbers.mjs"
import { formatSort, INITIAL, parseSort, rowsOf } from "../runs.mjs"
import { nextSort } from "../selection.mjs"
import { readableId, pageUrl } from "../shards.mjs"
import { VirtualTable } from "../table.mjs"
import { tokenList } from "../token-list.mjs"

/** @typedef {import("../main.mjs").Context} Context */
/** @typedef {import("../runs.mjs").Columns} Columns */
/** @typedef {import("../runs.mjs").RunsShard} RunsShard */
/** @typedef {import("../table.mjs").Column} Column */

/** @type {[name: string, label: string, title: string][]} */
const COSINES = [
  ["read", "cos read", "Cosine of the vectors that read"],
  ["write", "cos write", "Cosine of the vectors that write"],
  ["correlation", "corr.", "Correlation of the activations on the same text"],
]
/** @type {[name: string, label: string, title: string][]} */
const CHANGES = [
  ["density", "Density", "Share of tokens at which it is active: here above, there below; sorted by their ratio"],
  ["skewness", "Skew", "Skewness: here above, there below; sorted by their difference"],
  ["max", "Max", "Highest activation: here above, there below; sorted by their difference"],
  ["max_write", "Write", "Size of the largest write, which no rescaling of A and B changes: here above, there below; sorted by their ratio"],
]
const SHOWS = [["all", "All channels"], ["paired", "With a counterpart"], ["alone", "Without one"]]

/**
 * @param {HTMLElement} element
 * @param {RunsShard} shard
 * @param {Context} context
 */
export function mount(element, shard, context) {
  const { columns } = shard
  const shown = tableColumns(shard, context)
  const sortable = shown.flatMap(({ name, isSortable }) => (isSortable ? [name] : []))
  let view = parseState(location.hash, INITIAL)
  const status = h("p", { class: "fb-count", role: "status" })
  const box = h("input", { type: "search", class: "fb-input", name: "q", placeholder: "id or token", autocomplete: "off" })
  const choice = h("select", { class: "fb-input" }, ...SHOWS.map(([value, text]) => h("option", { value }, text)))
  const table = new VirtualTable(shown, "Channels and their counterparts", (column, isAdding) =>
    change({ sort: formatSort(nextSort(parseSort(view.sort, sortable), column, isAdding)) }))
  table.element.classList.add("fb-rows--runs")
  const draw = () => {
    const sort = parseSort(view.sort, sortable), rows = rowsOf(columns, view, sort)
    box.value = view.q
    choice.value = view.show
    status.textContent = `${count(rows.length)} of ${plural(columns.id.length, "channel")}`
    table.show(rows, sort)
    table.element.classList.toggle("fb-rows-none", rows.length === 0)
  }
  const change = (/** @type {Partial<typeof view>} */ changes) => {
    view = { ...view, ...changes }
    history.replaceState(history.state, "", hashOf(formatState(view, INITIAL)) || location.pathname + location.search)
    draw()
  }
  box.addEventListener("input", () => change({ q: box.value }))
  choice.addEventListener("change", () => change({ show: choice.value }))
  addEventListener("hashchange", () => {
    view = parseState(location.hash, INITIAL)
    draw()
  })
  const bar = h("div", { class: "fb-table-bar" }, status,
    h("label", { class: "fb-select" }, h("span", {}, "Find"), " ", box), h("label", { class: "fb-select" }, h("span", {}, "Show"), " ", choice),
    h("p", { class: "fb-hint" }, "Click a heading to sort, with shift to sort by several."))
  element.replaceChildren(bar, table.element, ...unmatchedList(shard))
  draw()
  const copy = /** @type {HTMLElement | null} */ (document.querySelector('[data-action="copy-link"]'))
  copy?.addEventListener("click", () => void copyFrom(copy, "Copy link", location.href))
}

/**
 * @param {RunsShard} shard
 * @param {Context} context
 * @returns {Column[]}
 */
function tableColumns({ columns, site }, context) {
  const values = /** @type {Record<string, (number | null)[]>} */ (/** @type {unknown} */ (columns))
  const known = COSINES.filter(([name]) => values[name].some((value) => value !== null))
  return [
    { name: "id", label: "Channel", isSortable: true, title: "In the order of layers and modules", cell: (row) =>
      h("a", { href: context.linkTo(columns.id[row]) }, readableId(columns.id[row])) },
    { name: "other", label: "Counterpart", title: "In the other run, and how it was found", cell: (row) => counterpart(columns, row, site) },
    ...known.map(([name, label, title]) => ({
      name, label, title, isSortable: true, isNumber: true, cell: (/** @type {number} */ row) => cosine(values[name][row]),
    })),
    ...CHANGES.map(([name, label, title]) => ({
      name, label, title, isSortable: true, isNumber: true, cell: (/** @type {number} */ row) => both(name, values[name][row], values[`there_${name}`][row]),
    })),
    { name: "here", label: "Only here", title: "Strongest tokens that are not in the counterpart’s list", cell: (row) => tokens(columns.top_here[row], columns.bottom_here[row]) },
    { name: "there", label: "Only there", title: "Strongest tokens of the counterpart that are not in this channel’s list", cell: (row) => tokens(columns.top_there[row], columns.bottom_there[row]) },
  ]
}

/** @param {Columns} columns @param {number} row @param {string} site */
function counterpart(columns, row, site) {
  const id = columns.other[row]
  if (id === null) return h("span", { class: "fb-note" }, "none")
  const words = `by ${columns.how[row]}${columns.is_turned[row] ? ", turned" : ""}`
  return h("span", { class: "fb-both-tokens" }, site ? h("a", { href: pageUrl(site, id), rel: "noreferrer" }, readableId(id)) : h("span", {}, readableId(id)),
    h("span", { class: "fb-there", title: columns.is_turned[row] ? "Its numbers are shown with the opposite sign" : null }, words))
}

/** @param {string} name @param {number | null} here @param {number | null} there */
function both(name, here, there) {
  const text = (/** @type {number | null} */ value) => (name === "density" ? percent(value) : number(value))
  return h("span", { class: "fb-both-tokens" }, h("span", {}, h("span", { class: "fb-hidden" }, "here "), text(here)),
    h("span", { class: "fb-there" }, h("span", { class: "fb-hidden" }, "there "), text(there)))
}

/** @param {string[]} top @param {string[]} bottom */
function tokens(top, bottom) {
  if (!top.length && !bottom.length) return "–"
  return h("span", { class: "fb-both-tokens" }, tokenList(top, "positive"), tokenList(bottom, "negative"))
}

/** Three decimals, as cosines are shown everywhere. @param {number | null} value */
export function cosine(value) {
  return value === null ? "–" : `${value < 0 ? "−" : ""}${Math.abs(value).toFixed(3)}`
}

/** Channels of the other run that are nobody's counterpart. @param {RunsShard} shard */
function unmatchedList({ facts, unmatched, name }) {
  if (!facts.n_unmatched) return []
  const rest = facts.n_unmatched - unmatched.length
  return [h("details", { class: "fb-fold" },
    h("summary", {}, `${plural(facts.n_unmatched, "channel")} of `, h("bdi", {}, name), " without a counterpart here"),
    h("p", { class: "fb-unmatched" }, unmatched.map(readableId).join(", "), rest ? `, and ${count(rest)} more` : ""))]
}
