// A table of any length that draws only the rows in sight. Native table elements with explicit roles, because rows
// are laid out as grids (so that columns keep their widths while rows come and go).

/** @typedef {import("./selection.mjs").View["sort"]} Sort */

/**
 * @typedef {Object} Column
 * @property {string} name also the class of its cells, `fb-col-<name>`
 * @property {string} label
 * @property {string} [title] what the number means
 * @property {boolean} [isSortable]
 * @property {boolean} [isNumber] set in tabular figures, to the right
 * @property {(row: number) => (Node | string)} cell
 */

/** Rows drawn above and below what is in sight. */
const OVERSCAN = 8

/**
 * Which rows to draw.
 * @param {number} scrollTop pixels scrolled
 * @param {number} height pixels in sight
 * @param {number} rowHeight pixels
 * @param {number} nRows
 * @returns {[first: number, stop: number]}
 */
export function rowsInSight(scrollTop, height, rowHeight, nRows) {
  const first = Math.floor(scrollTop / rowHeight) - OVERSCAN
  const stop = Math.ceil((scrollTop + height) / rowHeight) + OVERSCAN
  return [Math.max(0, Math.min(first, nRows)), Math.max(0, Math.min(stop, nRows))]
}

export class VirtualTable {
  /**
   * @param {Column[]} columns the first holds the row's main link
   * @param {string} label what the table lists, for screen readers
   * @param {(column: string, isAdding: boolean) => void} onSort
   */
  constructor(columns, label, onSort) {
    this.columns = columns
    this.onSort = onSort
    /** @type {(rows: number[]) => void} told of the rows that were just made */
    this.onDraw = () => undefined
    /** @type {ArrayLike<number>} */
    this.rows = []
    /** @type {Map<number, HTMLTableRowElement>} place in the order -> element */
    this.drawn = new Map()
    this.active = 0
    /** A row that shall get the focus as soon as it has its link, or −1. */
    this.wanted = -1
    this.rowHeight = 44

    this.element = document.createElement("div")
    this.element.className = "fb-rows"
    this.element.tabIndex = 0
    this.element.setAttribute("role", "region")
    this.element.setAttribute("aria-label", label)
    this.table = document.createElement("table")
    this.table.className = "fb-rows__table"
    this.table.setAttribute("role", "table")
    this.table.setAttribute("aria-label", label)
    this.body = document.createElement("tbody")
    this.body.setAttribute("role", "rowgroup")
    /** @type {Map<string, HTMLTableCellElement>} */
    this.heads = new Map()
    this.table.append(this.body)
    this.setColumns(columns)
    this.element.append(this.table)

    this.element.addEventListener("scroll", () => this.draw(), { passive: true })
    this.body.addEventListener("keydown", (event) => this.onKey(event))
    this.body.addEventListener("focusin", (event) => this.onFocus(event))
    this.body.addEventListener("focusout", () => requestAnimationFrame(() => this.draw()))
    new ResizeObserver(() => this.measure()).observe(this.element)
  }

  /**
   * Takes other columns; the rows are drawn with them by the next `show`.
   * @param {Column[]} columns the first holds the row's main link
   */
  setColumns(columns) {
    const names = columns.map(({ name }) => name).join(" ")
    if (this.table.tHead && names === this.table.dataset.columns) return
    this.table.dataset.columns = names
    this.columns = columns
    this.heads = new Map(columns.map((column) => [column.name, headCell(column, this.onSort)]))
    this.table.tHead?.remove()
    this.table.prepend(this.head())
    this.table.style.setProperty("--fb-columns", columns.map(({ name }) => `var(--fb-width-${name}, var(--fb-width-number))`).join(" "))
  }

  /** Draws rows again whose cells have more to show. @param {number[]} rows */
  redraw(rows) {
    const changed = new Set(rows)
    for (const [place, row] of this.drawn) {
      if (!changed.has(this.rows[place])) continue
      const isFocused = row.contains(document.activeElement)
      const made = this.makeRow(place)
      row.replaceWith(made)
      this.drawn.set(place, made)
      if (isFocused) made.querySelector("a")?.focus({ preventScroll: true })
    }
    this.markActive()
    if (this.wanted >= 0) this.goTo(this.wanted)
  }

  /** @returns {HTMLTableSectionElement} */
  head() {
    const head = document.createElement("thead")
    head.setAttribute("role", "rowgroup")
    const row = document.createElement("tr")
    row.setAttribute("role", "row")
    row.setAttribute("aria-rowindex", "1")
    row.append(...this.heads.values())
    head.append(row)
    return head
  }

  /**
   * Shows these rows from the top.
   * @param {ArrayLike<number>} rows
   * @param {Sort} sort
   */
  show(rows, sort) {
    this.rows = rows
    this.active = 0
    this.table.setAttribute("aria-rowcount", String(rows.length + 1))
    for (const row of this.drawn.values()) row.remove()
    this.drawn.clear()
    this.markSort(sort)
    this.element.scrollTop = 0
    this.measure()
  }

  /** @param {Sort} sort */
  markSort(sort) {
    for (const [name, cell] of this.heads) {
      const place = sort.findIndex((key) => key.column === name)
      const direction = place < 0 ? "" : sort[place].descending ? "descending" : "ascending"
      cell.dataset.sort = direction
      cell.dataset.place = place > 0 || (place === 0 && sort.length > 1) ? String(place + 1) : ""
      // The attribute may stand on one head only; the others say it in words.
      if (place === 0) cell.setAttribute("aria-sort", direction)
      else cell.removeAttribute("aria-sort")
      const words = cell.querySelector(".fb-hidden")
      if (words) words.textContent = place > 0 ? `, then sorted ${direction}, key ${place + 1}` : ""
    }
  }

  measure() {
    const asked = parseFloat(getComputedStyle(this.element).getPropertyValue("--fb-row-height"))
    this.rowHeight = asked > 0 ? asked : 44
    this.body.style.height = `${this.rows.length * this.rowHeight}px`
    for (const [place, row] of this.drawn) row.style.transform = `translateY(${place * this.rowHeight}px)`
    this.draw()
  }

  draw() {
    const { scrollTop, clientHeight } = this.element
    const [first, stop] = rowsInSight(scrollTop, clientHeight, this.rowHeight, this.rows.length)
    const focused = document.activeElement
    for (const [place, row] of this.drawn) {
      if ((place < first || place >= stop) && !row.contains(focused)) {
        row.remove()
        this.drawn.delete(place)
      }
    }
    /** @type {HTMLTableRowElement | null} */
    let after = null
    for (const [place, row] of this.drawn) if (place >= stop) after = row
    /** @type {number[]} */
    const made = []
    for (let place = stop - 1; place >= first; place--) {
      const known = this.drawn.get(place)
      const row = known ?? this.body.insertBefore(this.makeRow(place), after)
      if (!known) made.push(this.rows[place])
      this.drawn.set(place, row)
      after = row
    }
    this.markActive()
    if (made.length) this.onDraw(made)
  }

  /** @param {number} place @returns {HTMLTableRowElement} */
  makeRow(place) {
    const row = document.createElement("tr")
    row.setAttribute("role", "row")
    row.setAttribute("aria-rowindex", String(place + 2))
    row.dataset.place = String(place)
    row.style.transform = `translateY(${place * this.rowHeight}px)`
    for (const [index, column] of this.columns.entries()) {
      const cell = document.createElement(index ? "td" : "th")
      cell.setAttribute("role", index ? "cell" : "rowheader")
      cell.className = `fb-col-${column.name}${column.isNumber ? " fb-number" : ""}`
      cell.append(column.cell(this.rows[place]))
      row.append(cell)
    }
    return row
  }

  /** One row's links are in the tab order; the arrow keys change the row. */
  markActive() {
    if (!this.drawn.has(this.active)) {
      const { scrollTop } = this.element
      this.active = Math.min(Math.ceil(scrollTop / this.rowHeight), Math.max(0, this.rows.length - 1))
    }
    for (const [place, row] of this.drawn) {
      const tabIndex = place === this.active ? 0 : -1
      for (const link of row.querySelectorAll("a")) link.tabIndex = tabIndex
    }
  }

  /** @param {FocusEvent} event */
  onFocus(event) {
    const row = /** @type {Element} */ (event.target).closest("tr")
    if (!row) return
    this.active = Number(row.dataset.place)
    this.markActive()
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.rowHeight) - 2)
    /** @type {Record<string, number>} */
    const steps = {
      ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity,
    }
    const step = steps[event.key]
    if (step === undefined || event.ctrlKey || event.metaKey || event.altKey) return
    event.preventDefault()
    this.goTo(Math.max(0, Math.min(this.rows.length - 1, this.active + step)))
  }

  /** @param {number} place the row that gets the focus */
  goTo(place) {
    const head = /** @type {HTMLElement} */ (this.table.tHead).offsetHeight
    const top = place * this.rowHeight, box = this.element
    const room = box.clientHeight - head - this.rowHeight
    if (top < box.scrollTop) box.scrollTop = top
    else if (top > box.scrollTop + room) box.scrollTop = top - room
    this.draw()
    this.active = place
    this.markActive()
    const link = this.drawn.get(place)?.querySelector("a")
    link?.focus({ preventScroll: true })
    this.wanted = link ? -1 : place
  }
}

/**
 * @param {Column} column
 * @param {(column: string, isAdding: boolean) => void} onSort
 * @returns {HTMLTableCellElement}
 */
function headCell(column, onSort) {
  const cell = document.createElement("th")
  cell.scope = "col"
  cell.setAttribute("role", "columnheader")
  cell.className = `fb-col-${column.name}${column.isNumber ? " fb-number" : ""}`
  if (column.title) cell.title = column.title
  if (!column.isSortable) {
    cell.textContent = column.label
    return cell
  }
  const button = document.createElement("button")
  button.type = "button"
  const words = document.createElement("span")
  words.className = "fb-hidden"
  button.append(column.label, words)
  button.addEventListener("click", (event) => onSort(column.name, event.shiftKey))
  cell.append(button)
  return cell
}
