/** The explorer: every channel of the run in one table, filtered and sorted, with the view kept in the address. */
import { h } from "../elements.mjs"
import { count, number, percent } from "../numbers.mjs"
import { formatView, nextSort, parseQuery, parseView, Selection, toCsv, everything } from "../selection.mjs"
import { VirtualTable } from "../table.mjs"
import { thumbnail } from "../thumbnail.mjs"
import { tokenList } from "../token-list.mjs"
import { readableId } from "../shards.mjs"

/** @typedef {import("../main.mjs").Context} Context */
/** @typedef {import("../selection.mjs").ExplorerColumns} ExplorerColumns */
/** @typedef {import("../selection.mjs").View} View */

/** Milliseconds between the last key press and the new table. */
const PAUSE = 120

/**
 * @param {HTMLElement} element
 * @param {{columns: ExplorerColumns}} shard
 * @param {Context} context
 */
export function mount(element, shard, context) {
  new Explorer(element, shard.columns, context).start()
}

class Explorer {
  /**
   * @param {HTMLElement} element
   * @param {ExplorerColumns} columns
   * @param {Context} context
   */
  constructor(element, columns, context) {
    this.element = element
    this.columns = columns
    this.selection = new Selection(columns)
    this.table = new VirtualTable(tableColumns(columns, this.selection, context), "Channels", (column, isAdding) =>
      this.change({ sort: nextSort(this.view.sort, column, isAdding) }),
    )
    /** @type {View} */
    this.view = everything()
    /** @type {Uint32Array} */
    this.rows = new Uint32Array(0)
    this.status = h("p", { class: "fb-count", role: "status" })
    this.form = filterForm(columns)
    this.timer = 0
  }

  start() {
    const download = h("button", { type: "button", class: "fb-button" }, "Download CSV")
    download.addEventListener("click", () => this.download())
    const clear = h("button", { type: "button", class: "fb-button" }, "Clear all")
    clear.addEventListener("click", () => {
      this.view = everything()
      this.change({})
      this.fill()
    })
    this.form.addEventListener("submit", (event) => event.preventDefault())
    this.form.addEventListener("input", (event) => this.onInput(event))
    addEventListener("hashchange", () => this.read())
    this.element.replaceChildren(
      this.form,
      h("div", { class: "fb-table-bar" }, this.status, h("p", { class: "fb-hint" },
        "Click a heading to sort, with shift to sort by several. ↑ ↓ move between rows."), clear, download),
      this.table.element,
    )
    this.read()
  }

  /** Takes the view from the address. */
  read() {
    this.view = parseView(location.hash)
    this.fill()
    this.show()
  }

  /**
   * Changes the view and the address with it; the list of pages visited does not grow.
   * @param {Partial<View>} changes
   */
  change(changes) {
    this.view = { ...this.view, ...changes }
    const hash = formatView(this.view)
    history.replaceState(history.state, "", hash ? `#${hash}` : location.pathname + location.search)
    this.show()
  }

  show() {
    this.rows = this.selection.rows(this.view)
    this.table.show(this.rows, this.view.sort)
    const n = this.rows.length, all = this.selection.length
    this.status.textContent = `${count(n)} of ${count(all)} channels`
    this.table.element.classList.toggle("fb-rows-none", n === 0)
  }

  /** @param {Event} event */
  onInput(event) {
    clearTimeout(this.timer)
    const isTyped = /** @type {HTMLInputElement} */ (event.target).type !== "checkbox"
    this.timer = setTimeout(() => this.change(readForm(this.form)), isTyped ? PAUSE : 0)
  }

  /** Sets the form to the view. */
  fill() {
    const { view, form } = this
    for (const input of form.querySelectorAll("input")) {
      const { name, dataset } = input
      if (name === "q") input.value = view.q
      else if (name === "module" || name === "collection") input.checked = view[name].includes(input.value)
      else if (name === "dead") input.checked = view.dead
      else if (name === "layer" || name === "density" || name === "peak") {
        const value = view[name][dataset.end === "high" ? 1 : 0]
        input.value = value === null ? "" : String(name === "density" ? plain(value * 100) : value)
      }
    }
  }

  download() {
    const address = URL.createObjectURL(new Blob([toCsv(this.columns, this.rows)], { type: "text/csv" }))
    const link = h("a", { href: address, download: "channels.csv" })
    link.click()
    setTimeout(() => URL.revokeObjectURL(address), 10_000)
  }
}

/** @param {number} value a percentage without the noise of binary fractions */
function plain(value) {
  return Number(value.toPrecision(12))
}

/** @param {HTMLFormElement} form @returns {Partial<View>} */
function readForm(form) {
  const filled = new FormData(form)
  /** @param {string} name @param {number} unit @returns {import("../selection.mjs").Range} */
  const range = (name, unit) => {
    const [low, high] = filled.getAll(name).map(String)
    return [low === "" ? null : Number(low) / unit, high === "" ? null : Number(high) / unit]
  }
  return {
    q: parseQuery(String(filled.get("q"))).length ? String(filled.get("q")) : "",
    collection: filled.getAll("collection").map(String),
    module: filled.getAll("module").map(String),
    dead: filled.has("dead"),
    layer: range("layer", 1),
    density: range("density", 100),
    peak: range("peak", 1),
  }
}

/** @param {ExplorerColumns} columns @returns {HTMLFormElement} */
function filterForm(columns) {
  const layers = columns.layer.filter((layer) => layer !== null)
  const lastLayer = layers.reduce((a, b) => Math.max(a, b), 0)
  const collections = [...new Set(columns.collection)]
  const nDead = columns.is_dead.reduce((sum, isDead) => sum + isDead, 0)
  return h(
    "form",
    { class: "fb-filters", role: "search", "aria-label": "Filter channels" },
    h("label", { class: "fb-filter-text" },
      h("span", {}, "Id or token"),
      h("input", {
        type: "search", class: "fb-input", name: "q", autocomplete: "off", spellcheck: "false",
        placeholder: "gate_proj, wait, \" Wait\" for an exact token",
      })),
    h("details", { class: "fb-filters-more", open: !matchMedia("(max-width: 44.9375em)").matches },
      h("summary", {}, "Filters"),
      h("div", { class: "fb-filters-row" },
        choices("module", "Module", [...new Set(columns.module)].filter(Boolean)),
        collections.length > 1 && choices("collection", "Collection", collections),
        nDead > 0 && h("fieldset", { class: "fb-choices" }, h("legend", {}, "Dead latents"),
          h("label", {}, h("input", { type: "checkbox", name: "dead" }), h("span", {}, `show ${count(nDead)}`))),
        layers.length > 0 && rangeField("layer", `Layer (0–${lastLayer})`, "1"),
        rangeField("density", "Density, %", "any"),
        rangeField("peak", "Largest |activation|", "any"))),
  )
}

/** @param {string} name @param {string} title @param {string[]} values */
function choices(name, title, values) {
  return h(
    "fieldset",
    { class: "fb-choices" },
    h("legend", {}, title),
    ...values.map((value) => h("label", {}, h("input", { type: "checkbox", name, value }), h("span", {}, value || "–"))),
  )
}

/** @param {string} name @param {string} title @param {string} step */
function rangeField(name, title, step) {
  /** @param {string} end @param {string} word */
  const input = (end, word) => h("input", {
    type: "number", class: "fb-input", name, step, min: "0", "data-end": end, "aria-label": `${title}, ${word}`, placeholder: word,
  })
  return h("fieldset", { class: "fb-range" }, h("legend", {}, title), input("low", "from"), input("high", "to"))
}

/**
 * @param {ExplorerColumns} columns
 * @param {Selection} selection
 * @param {Context} context
 * @returns {import("../table.mjs").Column[]}
 */
function tableColumns(columns, selection, context) {
  /** @param {string} name @param {string} label @param {(row: number) => string} text @param {string} title */
  const figure = (name, label, text, title) => ({ name, label, title, isSortable: true, isNumber: true, cell: text })
  return [
    { name: "id", label: "Channel", isSortable: true, title: "In the order of layers and modules",
      cell: (row) => h("a", { href: context.linkTo(columns.id[row]) }, readableId(columns.id[row])) },
    { name: "histogram", label: "Activations", title: "Histogram of activations, log counts",
      cell: (row) => thumbnail(columns.histogram[row], columns.histogram_low[row], columns.histogram_high[row]) },
    { name: "tokens", label: "Top and bottom tokens", title: "Tokens by mean activation: highest, then lowest",
      cell: (row) => h("span", { class: "fb-both-tokens" },
        tokenList(columns.top_tokens[row], "positive"), tokenList(columns.bottom_tokens[row], "negative")) },
    { name: "layer", label: "Layer", isSortable: true, isNumber: true, cell: (row) => {
      const layer = columns.layer[row]
      return layer === null ? "–" : h("a", { href: context.linkTo(`layer/${layer}`), "aria-label": `Layer ${layer}` }, layer)
    } },
    { name: "module", label: "Module", isSortable: true, cell: (row) => columns.module[row] || "–" },
    figure("density", "Density", (row) => percent(columns.density[row]), "Share of tokens at which the channel is active"),
    figure("std", "Std", (row) => number(columns.std[row]), "Standard deviation of the activation"),
    figure("skewness", "Skew", (row) => number(columns.skewness[row]), "Skewness of the activation"),
    figure("min", "Min", (row) => number(columns.min[row]), "Lowest activation"),
    figure("max", "Max", (row) => number(columns.max[row]), "Highest activation"),
    figure("max_write", "Write", (row) => number(columns.max_write[row]),
      "Size of the largest write: scaling · max |activation| · ‖B‖"),
  ]
}
