/**
 * Charts: pure functions from numbers to SVG. Each has role="img" with a title and a description; the numbers stand
 * beside it as a table in a <details>. Bars stretch with their box; labels are HTML, so that no text shrinks with it.
 */
import { folded, h, svg, table } from "./elements.mjs"
import { count, number } from "./numbers.mjs"
import { toneOf } from "./heatmap/scale.mjs"

/** @typedef {import("./shards.mjs").Histogram} Histogram */

let lastId = 0

/**
 * Heights between 0 and 1 on a logarithmic scale on which a single count is still seen.
 * @param {number[]} counts
 */
export function logHeights(counts) {
  const top = Math.log1p(Math.max(1, ...counts))
  return counts.map((n) => Math.log1p(n) / top)
}

/**
 * Where a value lies between the first and the last edge, between 0 and 1.
 * @param {number[]} edges
 * @param {number} value
 */
export function along(edges, value) {
  const [low, high] = [edges[0], edges[edges.length - 1]]
  return high > low ? (value - low) / (high - low) : 0.5
}

/**
 * A signed histogram with logarithmic counts, the zero line, axis labels and a table.
 * @param {Histogram} histogram
 * @param {{title: string, across?: string}} options  across: what lies along the axis
 * @returns {HTMLElement}
 */
export function histogramChart(histogram, options) {
  const { edges, counts } = histogram
  const total = counts.reduce((sum, n) => sum + n, 0)
  const description = `${count(total)} tokens from ${number(edges[0])} to ${number(edges[edges.length - 1])}; the fullest bin holds ${count(Math.max(...counts))}. Counts are on a logarithmic scale.`
  const chart = picture(options.title, description, 100, "fb-chart__bars", histogramBars(histogram))
  return h(
    "div",
    { class: "fb-chart" },
    chart,
    valueAxis(edges),
    h("p", { class: "fb-chart__axes", "aria-hidden": "true" }, `${options.across ?? "activation"} → · tokens (log) ↑`),
    numbersBelow(
      ["from", "to", "tokens"],
      () => counts.map((n, bin) => [number(edges[bin]), number(edges[bin + 1]), count(n)]),
      options.title,
    ),
  )
}

/**
 * The bars of each side as one path: a browser lays out an element for each otherwise.
 * @param {Histogram} histogram
 * @returns {SVGElement[]}
 */
function histogramBars({ edges, counts }) {
  const paths = { negative: "", positive: "" }
  for (const [bin, height] of logHeights(counts).entries()) {
    const left = along(edges, edges[bin]) * 100
    const width = Math.max(0.2, (along(edges, edges[bin + 1]) * 100 - left) * 0.94)
    if (height) paths[edges[bin] + edges[bin + 1] < 0 ? "negative" : "positive"] += `M${short(left)} 100v${short(-height * 100)}h${short(width)}V100z`
  }
  const bars = Object.entries(paths).filter(([, d]) => d).map(([side, d]) => svg("path", { class: `fb-bar fb-bar--${side}`, d }))
  const zero = along(edges, 0) * 100
  return zero < 0 || zero > 100 ? bars : [...bars, line(zero, 0, zero, 100, "fb-zero")]
}

/**
 * The labels under a histogram: first edge, zero where it lies inside, last edge.
 * @param {number[]} edges
 */
function valueAxis(edges) {
  const zero = along(edges, 0)
  const axis = h(
    "div",
    { class: "fb-axis", "aria-hidden": "true" },
    h("span", {}, number(edges[0])),
    h("span", {}, number(edges[edges.length - 1], { sign: true })),
  )
  if (zero > 0.15 && zero < 0.85) {
    const label = h("span", { class: "fb-axis__zero" }, "0")
    label.style.insetInlineStart = `${short(zero * 100)}%`
    axis.append(label)
  }
  return axis
}

/**
 * A histogram as a picture of about 96 × 24 pixels, without labels: its title says the range.
 * @param {Histogram} histogram
 * @param {string} title
 * @returns {SVGElement}
 */
export function thumbnail(histogram, title) {
  return picture(title, "", 100, "fb-thumbnail", histogramBars(histogram))
}

/**
 * Mean per ordered bin (position in the text, step) as columns around the zero line.
 * @param {import("./shards.mjs").Profile} profile
 * @param {{title: string, axis: string}} options
 * @returns {HTMLElement}
 */
export function columnChart(profile, options) {
  const { names, mean, count: counts } = profile
  const high = Math.max(0, ...known(mean))
  const low = Math.min(0, ...known(mean))
  const toY = (/** @type {number} */ value) => (high > low ? (100 * (high - value)) / (high - low) : 100)
  const width = 100 / names.length
  const bars = mean.map((value, index) => column(index * width, width * 0.86, toY(0), toY(value ?? 0)))
  const description = `Mean activation between ${number(Math.min(...known(mean)))} and ${number(Math.max(...known(mean)))} over ${names.length} bins.`
  return h(
    "div",
    { class: "fb-chart" },
    picture(options.title, description, 100, "fb-chart__bars fb-chart__bars--low", [
      ...bars,
      line(0, toY(0), 100, toY(0), "fb-zero"),
    ]),
    h(
      "div",
      { class: "fb-axis", "aria-hidden": "true" },
      h("span", {}, String(names[0] ?? "")),
      h("span", {}, options.axis),
      h("span", {}, String(names.at(-1) ?? "")),
    ),
    h("p", { class: "fb-chart__axes", "aria-hidden": "true" }, `mean ↑, ${number(low)} to ${number(high)}`),
    numbersBelow(
      [options.axis, "mean", "tokens"],
      () => names.map((name, index) => [String(name), number(mean[index]), count(counts[index])]),
      options.title,
    ),
  )
}

/** @param {(number | null)[]} values */
function known(values) {
  const finite = /** @type {number[]} */ (values.filter((value) => value !== null))
  return finite.length ? finite : [0]
}

/**
 * @param {number} left
 * @param {number} width
 * @param {number} zero  where the axis lies, from the top
 * @param {number} end  where the bar ends, from the top
 */
function column(left, width, zero, end) {
  return svg("rect", {
    class: `fb-bar fb-bar--${end > zero ? "negative" : "positive"}`,
    x: short(left),
    width: short(width),
    y: short(Math.min(zero, end)),
    height: short(Math.abs(end - zero)),
  })
}

/**
 * Named values as a table with a bar beside each: token classes, neighbours.
 * @param {{name: import("./elements.mjs").Child, value: number | null, note?: string}[]} rows
 * @param {{caption: string, header: string[], reach?: number}} options  reach: the value of a full bar; the axis then
 *   stands in the middle, so that tables side by side can be compared
 * @returns {HTMLTableElement}
 */
export function barTable(rows, options) {
  const reach = options.reach ?? Math.max(1e-30, ...rows.map((row) => Math.abs(row.value ?? 0)))
  const zero = options.reach === undefined && rows.every((row) => (row.value ?? 0) >= 0) ? 0 : 50
  const hasNotes = rows.some((row) => row.note !== undefined)
  const result = table(
    options.caption,
    options.header,
    rows.map(({ name, value, note }) => [
      name,
      shareBar((value ?? 0) / reach, zero),
      number(value, { sign: true }),
      ...(hasNotes ? [note] : []),
    ]),
  )
  result.classList.add("fb-table--bars")
  return result
}

/**
 * @param {number} share  between −1 and 1
 * @param {number} zero  where the axis lies, from the left
 */
function shareBar(share, zero) {
  const size = Math.min(1, Math.abs(share)) * (100 - zero)
  return svg(
    "svg",
    { class: "fb-sharebar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", {
      class: `fb-bar fb-bar--${share < 0 ? "negative" : "positive"}`,
      x: short(share < 0 ? zero - size : zero),
      width: short(size),
      y: 0,
      height: 10,
    }),
    line(zero, 0, zero, 10, "fb-zero"),
  )
}

/**
 * A symmetric matrix of cosines as a table whose cells are coloured and hold their number.
 * @param {{label: string, href?: string}[]} members
 * @param {(number | null)[][]} values
 * @param {{caption: string}} options
 * @returns {HTMLTableElement}
 */
export function cosineMatrix(members, values, options) {
  const name = (/** @type {{label: string, href?: string}} */ member) =>
    member.href ? h("a", { href: member.href }, member.label) : member.label
  return h(
    "table",
    { class: "fb-matrix" },
    h("caption", { class: "fb-hidden" }, options.caption),
    h("thead", {}, h("tr", {}, h("td"), ...members.map((member) => h("th", { scope: "col" }, name(member))))),
    h(
      "tbody",
      {},
      ...values.map((row, index) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, name(members[index])),
          ...row.map((value) => h("td", { class: toneOf(value ?? 0) }, value === null ? "–" : cosine(value))),
        ),
      ),
    ),
  )
}

/**
 * A cosine with two decimals and a true minus sign.
 * @param {number} value
 */
export function cosine(value) {
  const text = Math.abs(value).toFixed(2)
  return value < 0 && text !== "0.00" ? `−${text}` : text
}

/**
 * @param {string} title
 * @param {string} description
 * @param {number} height
 * @param {string} className
 * @param {SVGElement[]} shapes
 */
function picture(title, description, height, className, shapes) {
  const id = `fb-picture-${++lastId}`
  return svg(
    "svg",
    {
      class: className,
      viewBox: `0 0 100 ${height}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-labelledby": `${id}-t`,
      "aria-describedby": description ? `${id}-d` : null,
    },
    svg("title", { id: `${id}-t` }, title),
    description && svg("desc", { id: `${id}-d` }, description),
    ...shapes,
  )
}

/**
 * @param {number} x1
 * @param {number} y1
 * @param {number} x2
 * @param {number} y2
 * @param {string} className
 */
function line(x1, y1, x2, y2, className) {
  return svg("line", { class: className, x1: short(x1), y1, x2: short(x2), y2, "vector-effect": "non-scaling-stroke" })
}

/**
 * @param {string[]} header
 * @param {() => string[][]} rows
 * @param {string} caption
 */
function numbersBelow(header, rows, caption) {
  return folded("Numbers", () => [table(caption, header, rows())])
}

/** @param {number} value */
function short(value) {
  return Number(value.toFixed(2))
}
