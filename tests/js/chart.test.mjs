import "./dom.mjs"
import assert from "node:assert/strict"
import { test } from "node:test"
import { along, barTable, columnChart, cosine, cosineMatrix, histogramChart, logHeights, thumbnail } from "../../site_assets/assets/chart.mjs"

/** Left end, height and width of the bars of one side. */
const bars = (/** @type {Element} */ picture, /** @type {string} */ side) =>
  [...(picture.querySelector(`.fb-bar--${side}`)?.getAttribute("d") ?? "").matchAll(/M([\d.]+) 100v-([\d.]+)h([\d.]+)V100z/g)].map((bar) => bar.slice(1).map(Number))

test("log heights show a single count beside a million", () => {
  const [none, one, many] = logHeights([0, 1, 1e6])
  assert.equal(none, 0)
  assert.ok(one > 0.04)
  assert.equal(many, 1)
})

test("a histogram is a named picture with a zero line and its numbers as a table", () => {
  const chart = histogramChart({ edges: [-2, -1, 0, 1], counts: [1, 10, 100] }, { title: "Histogram" })
  const picture = chart.querySelector("svg")
  assert.equal(picture.getAttribute("role"), "img")
  assert.equal(picture.querySelector("title").textContent, "Histogram")
  assert.match(picture.querySelector("desc").textContent, /111 tokens from −2.00 to 1.00/)
  assert.equal(bars(picture, "negative").length, 2)
  assert.deepEqual(bars(picture, "positive"), [[66.67, 100, 31.33]])
  assert.equal(Number(picture.querySelector(".fb-zero").getAttribute("x1")), 66.67)
  const fold = chart.querySelector("details")
  assert.equal(fold.querySelector("table"), null, "drawn when it is opened")
  for (let times = 0; times < 2; times++) fold.dispatchEvent(new Event("toggle"))
  assert.deepEqual([...chart.querySelectorAll("tbody tr")].map((row) => row.textContent), ["−2.00−1.001", "−1.00010", "01.00100"])
})

test("positions along an axis, also a degenerate one", () => {
  assert.equal(along([-1, 0, 3], 0), 0.25)
  assert.equal(along([2, 2], 2), 0.5)
})

test("columns rise and fall from zero, which stands where the values need it", () => {
  const chart = columnChart({ names: [0, 1, 2], mean: [2, -1, null], count: [5, 5, 0] }, { title: "By step", axis: "step" })
  const columns = [...chart.querySelectorAll("rect")].map((bar) => ["y", "height"].map((name) => Number(bar.getAttribute(name))))
  assert.deepEqual(columns, [[0, 66.67], [66.67, 33.33], [66.67, 0]])
  const rising = columnChart({ names: [0, 1], mean: [2, 1], count: [5, 5] }, { title: "By step", axis: "step" })
  assert.equal(rising.querySelector(".fb-zero").getAttribute("y1"), "100")
})

test("bar tables hold the numbers as text", () => {
  const table = barTable([{ name: "digit", value: -0.5, note: "12" }], { caption: "c", header: ["kind", "", "mean", "n"], reach: 1 })
  assert.deepEqual([...table.querySelectorAll("tbody td")].map((cell) => cell.textContent), ["digit", "", "−0.500", "12"])
  assert.equal(table.querySelector("rect").getAttribute("x"), "25")
})

test("a cosine matrix colours its cells and writes their values", () => {
  const matrix = cosineMatrix([{ label: "gate", href: "/g" }, { label: "up" }], [[1, -0.5], [-0.5, 1]], { caption: "c" })
  const cells = [...matrix.querySelectorAll("tbody td")]
  assert.deepEqual(cells.map((cell) => cell.textContent), ["1.00", "−0.50", "−0.50", "1.00"])
  assert.deepEqual(cells.map((cell) => cell.className), ["p16", "n8", "n8", "p16"])
  assert.equal(cosine(-0.001), "0.00")
})

test("a thumbnail is a picture named by its title", () => {
  const picture = thumbnail({ edges: [-1, 0, 1], counts: [1, 2] }, "−1 to 1")
  assert.equal(bars(picture, "negative").length + bars(picture, "positive").length, 2)
  assert.equal(picture.querySelector("title").textContent, "−1 to 1")
})
