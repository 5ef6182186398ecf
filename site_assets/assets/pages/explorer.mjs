/** The explorer: every channel of the run as a table, a map or a grid, filtered and sorted, with the view kept in the address. */
import { annotations } from "../annotations.mjs"
import { showTray, trayMark } from "../compare-tray.mjs"
import { h } from "../elements.mjs"
import { tableColumns, USUAL } from "../explorer-columns.mjs"
import { countFilters, fillForm, filterForm, NAMES, readForm } from "../explorer-form.mjs"
import { gridView, mapView } from "../explorer-views.mjs"
import { count } from "../numbers.mjs"
import { SearchIndex } from "../search-index.mjs"
import { Rows } from "../search-rows.mjs"
import { columnsOf, everything, formatView, nextSort, numbersNeeded, parseView, Selection, toCsv } from "../selection.mjs"
import { VirtualTable } from "../table.mjs"

/** @typedef {import("../main.mjs").Context} Context */
/** @typedef {import("../selection.mjs").ExplorerHead} ExplorerHead */
/** @typedef {import("../selection.mjs").View} View */

/** Milliseconds between the last key press and the new table. */
const PAUSE = 120
/** What one can do with what is shown. */
const HINTS = {
  table: "Click a heading to sort, with shift to sort by several.", map: "Every point opens its page.", grid: "Every cell opens its page.",
}
/** Rows fetched at once for a CSV. */
const BATCH = 640

/**
 * @param {HTMLElement} element
 * @param {ExplorerHead} head
 * @param {Context} context
 */
export async function mount(element, head, context) {
  await new Explorer(element, head, context).start()
}

class Explorer {
  /**
   * @param {HTMLElement} element
   * @param {ExplorerHead} head
   * @param {Context} context
   */
  constructor(element, head, context) {
    this.element = element
    this.head = head
    this.context = context
    this.columns = columnsOf(head)
    this.selection = new Selection(this.columns)
    this.search = new SearchIndex(context)
    this.rowStore = new Rows(context, head.rows_per_part)
    /** @type {Promise<string[]> | null} */
    this.ids = null
    /** @type {Map<string, Promise<import("../explorer-views.mjs").Layout | null>>} */
    this.layouts = new Map()
    /** @type {View} */
    this.view = everything()
    /** @type {Uint32Array} */
    this.rows = new Uint32Array(0)
    this.turn = 0
    this.timer = 0
    this.all = tableColumns(this.columns, head.numbers, this.rowStore, context, (row, id) => h("span", { class: "fb-row-actions" }, this.star(row, id), trayMark(id)))
    this.table = new VirtualTable(this.chosenColumns(), "Channels", (column, isAdding) =>
      void this.change({ sort: nextSort(this.view.sort, column, isAdding) }))
    this.table.onDraw = (rows) => this.need(rows)
    this.status = h("p", { class: "fb-count", role: "status" })
    this.form = filterForm(this.columns, head.numbers)
    this.plane = h("div", { class: "fb-plane", hidden: true })
    this.bar = this.makeBar()
  }

  async start() {
    this.form.addEventListener("submit", (event) => event.preventDefault())
    this.form.addEventListener("input", (event) => this.onInput(event))
    addEventListener("hashchange", () => void this.read())
    this.element.replaceChildren(this.form, this.bar.element, this.table.element, this.plane)
    // A link of the table leads away: who comes back finds the rows where they were.
    this.table.element.addEventListener("click", () => history.replaceState({ ...history.state, top: this.table.element.scrollTop }, ""))
    showTray(this.context)
    const { top = 0 } = history.state ?? {}
    await this.read()
    this.table.element.scrollTop = top
  }

  /** What stands above the view: count, views, columns, CSV. */
  makeBar() {
    const button = (/** @type {string} */ text, /** @type {() => void} */ run) => {
      const made = h("button", { type: "button", class: "fb-button" }, text)
      made.addEventListener("click", run)
      return made
    }
    const shows = /** @type {const} */ (["table", "map", "grid"]).map((show) => {
      const made = button(show === "table" ? "Table" : show === "map" ? "Map" : "Grid", () => void this.change({ show }))
      made.dataset.show = show
      return made
    })
    const chooser = h("details", { class: "fb-fold fb-columns-chooser" }, h("summary", {}, "Columns"), h("div", { class: "fb-choices fb-choices--many" },
      ...this.all.slice(1).map(({ name, label }) => h("label", {}, h("input", { type: "checkbox", value: name }), h("span", {}, label)))))
    chooser.addEventListener("change", () => this.choose(chooser))
    const options = h("span", { class: "fb-view-options" })
    const hint = h("p", { class: "fb-hint" })
    const clear = button("Clear all", () => {
      this.view = { ...everything(), show: this.view.show }
      void this.change({})
      fillForm(this.form, this.view)
    })
    const csv = button("Download CSV", () => void this.download(csv))
    const element = h("div", { class: "fb-table-bar" }, this.status, h("div", { class: "fb-shows", role: "group", "aria-label": "View" }, ...shows), options,
      chooser, hint, clear, csv)
    return { element, shows, chooser, options, hint }
  }

  /** Takes the view from the address. */
  async read() {
    this.view = parseView(location.hash)
    fillForm(this.form, this.view)
    await this.show()
  }

  /**
   * Changes the view and the address with it; the list of pages visited does not grow.
   * @param {Partial<View>} changes
   */
  async change(changes) {
    this.view = { ...this.view, ...changes }
    const hash = formatView(this.view)
    history.replaceState({ ...history.state, top: 0 }, "", hash ? `#${hash}` : location.pathname + location.search)
    await this.show()
  }

  async show() {
    const { view } = this, turn = ++this.turn
    this.status.classList.remove("fb-count--failed")
    try {
      const [matches, starred] = await Promise.all([this.matches(view.q), this.starred(view.starred), ...numbersNeeded(view).map((name) => this.number(name))])
      if (turn !== this.turn) return
      this.rows = this.selection.rows(view, matches, starred)
      this.status.textContent = `${count(this.rows.length)} of ${count(this.selection.length)} channels`
      for (const made of this.bar.shows) made.setAttribute("aria-pressed", String(made.dataset.show === view.show))
      const isTable = view.show === "table"
      this.table.element.hidden = this.bar.chooser.hidden = !isTable
      this.plane.hidden = isTable
      this.bar.hint.textContent = HINTS[view.show]
      if (isTable) this.showTable()
      else await this.showPlane(turn)
    } catch (error) {
      if (turn === this.turn) this.say(error instanceof Error ? error.message : String(error))
    }
  }

  /** Says what failed in place of the count. @param {string} failure */
  say(failure) {
    this.status.textContent = failure
    this.status.classList.add("fb-count--failed")
  }

  showTable() {
    const columns = this.chosenColumns()
    this.table.setColumns(columns)
    for (const box of this.bar.chooser.querySelectorAll("input")) box.checked = columns.some(({ name }) => name === box.value)
    this.bar.options.replaceChildren()
    this.table.show(this.rows, this.view.sort)
    this.table.element.classList.toggle("fb-rows-none", this.rows.length === 0)
  }

  /** @param {number} turn */
  async showPlane(turn) {
    const { view, head, columns, context } = this
    const isMap = view.show === "map"
    const colour = head.numbers.includes(view.colour) ? view.colour : head.numbers.includes("max_write") ? "max_write" : head.numbers[0]
    const layout = isMap && this.dictionaries().includes(view.map) ? await this.layout(view.map) : null
    const axes = axesOf(view.map, head.numbers)
    const [ids] = await Promise.all([this.allIds(), ...(isMap ? axes : [colour]).map((name) => this.number(name))])
    if (turn !== this.turn) return
    this.plane.replaceChildren(isMap
      ? mapView({ rows: this.rows, ids, columns, axes, layout }, context) : gridView({ rows: this.rows, ids, columns, colour }, context))
    this.bar.options.replaceChildren(...(isMap ? this.mapOptions(axes) : [
      select("Coloured by", head.numbers.map((name) => [name, NAMES[name]]), colour, (name) => void this.change({ colour: name }))]))
  }

  /** @param {[string, string]} axes */
  mapOptions(axes) {
    const { view, head } = this
    const dictionaries = this.dictionaries()
    const isLayout = dictionaries.includes(view.map)
    const numbers = head.numbers.map((name) => /** @type {[string, string]} */ ([name, NAMES[name]]))
    const across = select("Across", [...numbers, ...dictionaries.map((name) => /** @type {[string, string]} */ ([`map:${name}`, `Map of ${name}`]))],
      isLayout ? `map:${view.map}` : axes[0], (name) => void this.change({ map: name.startsWith("map:") ? name.slice(4) : `${name},${axes[1]}` }))
    return isLayout ? [across] : [across, select("Up", numbers, axes[1], (name) => void this.change({ map: `${axes[0]},${name}` }))]
  }

  /** The collections that have a map. */
  dictionaries() {
    return [...new Set(this.columns.collection.filter((_, row) => this.columns.kind[row] !== "lora"))]
  }

  /** The map of a dictionary, from its points' shard. @param {string} name */
  layout(name) {
    const known = this.layouts.get(name) ?? this.context.fetchShard(`collection/${name}/points`).then(({ columns, layout }) => layout && {
      method: layout.method,
      places: new Map(columns.id.map((/** @type {string} */ id, /** @type {number} */ index) => [id, [layout.x[index], layout.y[index]]])),
    })
    this.layouts.set(name, known)
    return known
  }

  /** Rows that hold what was typed; null for all. @param {string} q */
  async matches(q) {
    return q.trim() ? (await this.search.find(q)).scores : null
  }

  /**
   * Rows that the reader of this browser or an author of labels starred; where each stands is known from the ids.
   * @param {boolean} isAsked
   */
  async starred(isAsked) {
    const flags = Uint8Array.from(this.columns.is_starred)
    if (isAsked) for (const [row, id] of (await this.allIds()).entries()) if (annotations.isStarred(id)) flags[row] = 1
    return flags
  }

  /** The star of a row, as a button. @param {number} row @param {string} id */
  star(row, id) {
    const button = h("button", { type: "button", class: "fb-row-mark fb-row-star", "aria-label": `Star ${id}` })
    const draw = () => {
      const isOwn = annotations.isStarred(id)
      button.setAttribute("aria-pressed", String(isOwn))
      button.title = isOwn ? "Starred in this browser" : this.columns.is_starred[row] ? "Starred by an author of labels" : "Star, kept in this browser"
      button.textContent = isOwn || this.columns.is_starred[row] ? "★" : "☆"
    }
    button.addEventListener("click", () => {
      annotations.toggleStar(id)
      draw()
      if (annotations.failure) this.say(annotations.failure)
    })
    draw()
    return button
  }

  /** Fetches one number of every row. @param {string} name */
  async number(name) {
    if (this.columns.numbers.has(name)) return
    if (!this.head.numbers.includes(name)) return void this.columns.numbers.set(name, new Float64Array(this.columns.length).fill(NaN))
    const { values } = await this.context.fetchShard(`explorer/columns/${name}`)
    this.columns.numbers.set(name, Float64Array.from(values, (value) => value ?? NaN))
  }

  /** @returns {Promise<string[]>} */
  allIds() {
    this.ids ??= this.context.fetchShard("explorer/columns/id").then(({ values }) => values)
    return this.ids
  }

  /** Fetches the rows that were drawn without their texts, then draws them again. @param {number[]} rows */
  need(rows) {
    const missing = rows.filter((row) => !this.rowStore.get(row))
    if (missing.length) void this.rowStore.load(missing).then(() => this.table.redraw(missing)).catch(() => undefined)
  }

  chosenColumns() {
    const wanted = this.view.columns.length ? this.view.columns : USUAL
    return this.all.filter(({ name }) => name === "id" || wanted.includes(name))
  }

  /** @param {HTMLElement} chooser */
  choose(chooser) {
    const wanted = [...chooser.querySelectorAll("input")].filter((box) => box.checked).map((box) => box.value)
    const usual = this.all.slice(1).map(({ name }) => name).filter((name) => USUAL.includes(name))
    void this.change({ columns: String(wanted) === String(usual) ? [] : wanted })
  }

  /** @param {Event} event */
  onInput(event) {
    clearTimeout(this.timer)
    const isTyped = /** @type {HTMLInputElement} */ (event.target).type !== "checkbox"
    this.timer = setTimeout(() => {
      void this.change(readForm(this.form, this.view))
      countFilters(this.form, this.view)
    }, isTyped ? PAUSE : 0)
  }

  /** Fetches every row of the selection, in turns, and offers them as a file. @param {HTMLButtonElement} button */
  async download(button) {
    const label = button.textContent, rows = Array.from(this.rows)
    button.disabled = true
    try {
      for (let start = 0; start < rows.length; start += BATCH) {
        await this.rowStore.load(rows.slice(start, start + BATCH))
        button.textContent = `${count(Math.min(rows.length, start + BATCH))} of ${count(rows.length)}`
      }
      const { collection, kind, layer, module, is_dead } = this.columns
      const table = rows.map((row) => ({ ...this.rowStore.get(row), collection: collection[row], kind: kind[row], layer: layer[row], module: module[row], is_dead: is_dead[row] }))
      const address = URL.createObjectURL(new Blob([toCsv(table)], { type: "text/csv" }))
      h("a", { href: address, download: "channels.csv" }).click()
      setTimeout(() => URL.revokeObjectURL(address), 10_000)
    } catch (error) {
      this.say(`The rows could not be fetched: ${error instanceof Error ? error.message : error}`)
    } finally {
      button.disabled = false
      button.textContent = label
    }
  }
}

/**
 * The two numbers of a scatter.
 * @param {string} map "density,peak"
 * @param {string[]} numbers
 * @returns {[string, string]}
 */
function axesOf(map, numbers) {
  const [across, up] = map.split(",")
  return [numbers.includes(across) ? across : "density", numbers.includes(up) ? up : "peak"]
}

/**
 * @param {string} label
 * @param {[string, string][]} options value, text
 * @param {string} chosen
 * @param {(value: string) => void} take
 */
function select(label, options, chosen, take) {
  const box = h("select", { class: "fb-input" }, ...options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)))
  box.addEventListener("change", () => take(box.value))
  return h("label", { class: "fb-select" }, h("span", {}, label), " ", box)
}
