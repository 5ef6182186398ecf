/** The analysis in the browser: weights, curves, matrices, and its pages drawn from shards in closed form. */
import "./dom.mjs"
import assert from "node:assert/strict"
import { test } from "node:test"

const { between, channels, decodeWeights, ofHead, strongestKeys } = await import("../../site_assets/assets/analysis/weights.mjs")
const { linePath } = await import("../../site_assets/assets/analysis/line-chart.mjs")
const { strengthOf, valueGrid } = await import("../../site_assets/assets/analysis/value-grid.mjs")
const { layerPlayer } = await import("../../site_assets/assets/analysis/player.mjs")
const { words, nWords, rangeOf } = await import("../../site_assets/assets/analysis/metrics.mjs")
const { placed } = await import("../../site_assets/assets/analysis/heads.mjs")
const { withDivergence, KL } = await import("../../site_assets/assets/analysis/document.mjs")
const { divergenceStrips } = await import("../../site_assets/assets/pages/analysis.mjs")
const { tokenText } = await import("../../site_assets/assets/analysis/reading.mjs")

test("a byte stands for the square of its share of 255", () => {
  const weights = decodeWeights(btoa(String.fromCharCode(0, 255, 128, 1)))
  assert.deepEqual([...weights].map((weight) => Number(weight.toFixed(6))), [0, 1, 0.251965, 0.000015])
  assert.deepEqual([...ofHead(Float32Array.of(0, 0, 0, 0, 1, 2, 3, 4), 1, 2)], [1, 2, 3, 4])
  assert.deepEqual(strongestKeys(Float32Array.of(0, 0.5, 0.25, 0.75), 1, 2, 5), [{ key: 1, weight: 0.75 }, { key: 0, weight: 0.25 }])
  assert.deepEqual(strongestKeys(Float32Array.of(1, 0, 0.5, 0.5), 0, 2, 5), [{ key: 0, weight: 1 }], "keys that are not attended to are left out")
  assert.deepEqual(between(channels("#000000"), channels(" #ff8000"), 0.5), [128, 64, 0])
})

test("a curve breaks where it is undefined, and its ends are those of the axes", () => {
  assert.equal(linePath([0, 1, null, 1], 0, 1), "M0 180L200 0M600 0")
  assert.equal(linePath([2], 2, 2), "M300 90")
})

test("values are said with their n or the reason why there is none", () => {
  const series = { variant: "base", values: [1.5, null], n: [7, 1], reasons: { 1: "undefined (n = 1)" }, warning: "" }
  assert.equal(words(series, 1.5, 0), "1.50 (n = 7)")
  assert.equal(words(series, null, 1), "undefined (n = 1)")
  assert.equal(nWords(series), "n = 1 to 7")
  assert.equal(nWords({ ...series, n: 1200 }), "n = 1,200")
  assert.deepEqual(rangeOf([]), [0, 0])
  assert.deepEqual(placed([2, 2]), [0.5, 0.5])
  assert.deepEqual(placed([1, 3, 2]), [0, 1, 0.5])
})

test("colours: a signed scale has zero in the middle, a flat one is no division by zero", () => {
  assert.equal(strengthOf(-1, { low: -1, high: 2, isSigned: true }), -0.5)
  assert.equal(strengthOf(3, { low: 3, high: 3 }), 0.5)
  assert.equal(strengthOf(null, { low: 0, high: 1 }), 0)
})

test("a matrix: one tab stop, arrow keys, undefined cells say why, hostile names stay text", () => {
  const grid = valueGrid({ caption: "m", corner: "", rows: [{ text: "<b>r</b>" }, { text: "s" }], columns: [{ text: "a" }, { text: "b" }], values: [[1, null], [2, 3]], low: 1, high: 3,
    tip: (row, column) => (row === 0 && column === 1 ? "undefined (n = 1)" : `cell ${row}${column}`) })
  document.body.replaceChildren(grid)
  const cells = [...grid.querySelectorAll("[data-cell]")]
  assert.deepEqual(cells.map((cell) => cell.tabIndex), [0, -1, -1, -1])
  assert.equal(cells[1].getAttribute("aria-label"), "undefined (n = 1)")
  assert.equal(cells[1].textContent, "–")
  cells[0].dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true }))
  assert.equal(cells[2].tabIndex, 0)
  assert.equal(grid.querySelector("b"), null)
  assert.doesNotMatch(grid.textContent, /NaN|undefined/)
})

test("the slider goes through the layers", () => {
  const seen = []
  const player = layerPlayer(3, 1, (layer) => seen.push(layer))
  document.body.replaceChildren(player)
  const slider = player.querySelector("input")
  slider.value = "2"
  slider.dispatchEvent(new Event("input"))
  assert.deepEqual(seen, [2])
  assert.match(player.textContent, /layer 2 of 2/)
})

test("KL joins the channels of a document: the largest member of a group, full scale at its largest", () => {
  const reader = {
    shard: { channels: [{ id: "a" }], divergence: { base_adapted: [0.5, 2, 1], adapted_base: [], surprise_change: [] } },
    groups: [{ first: 0, end: 2 }, { first: 2, end: 3 }], order: [{ channel: 0, value: 3 }], peaks: new Map(), values: new Map(),
  }
  withDivergence(reader)
  assert.equal(reader.shard.channels[1].id, KL)
  assert.deepEqual([...reader.values.get(1)], [2, 1])
  assert.deepEqual(reader.order, [{ channel: 0, value: 3 }, { channel: 1, value: 2 }])
  assert.equal(reader.shard.channels[1].scale * 1000, 2)
})

test("an analysed text: tokens as they are, a continued character as a mark, markup as text, arrow keys between tokens", () => {
  const reached = []
  const shard = { tokens: ["<i>x</i>", "\u202e", "", " b"], special: [], text: [0, 1, 2, 3] }
  const text = tokenText(shard, (token) => reached.push(token))
  document.body.replaceChildren(text.element)
  text.mark(0)
  text.colour([null, 1, 0, 2], false)
  assert.equal(text.element.querySelector("i"), null)
  assert.equal(text.element.textContent, "<i>x</i>[RLO]… b")
  assert.match(text.element.children[3].className, /\bp16\b/)
  text.element.children[0].dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }))
  assert.equal(text.element.children[1].tabIndex, 0)
})

test("a document's strip shows the largest KL of each cell, opens it there, and ends where the document ends", () => {
  const shard = {
    divergence: [{ doc: 7, name: "<b>long</b>", n: 5, has_page: true }, { doc: 8, name: "short", n: 2, has_page: false }],
    strips: { width: 2, at: [[1, 2, 4], [0]], largest: [[0.5, 4, 1], [2]] },
  }
  const figure = divergenceStrips(shard, { linkTo: (id, hash = "") => `/${id}/#${hash}`, rootLink: (path) => path })
  const [first, second] = figure.querySelectorAll("tbody tr")
  assert.equal(first.querySelector("th").textContent, "<b>long</b>")
  const cells = [...first.querySelectorAll("a[data-cell]")]
  assert.deepEqual(cells.map((cell) => cell.getAttribute("href")), ["/doc/7/#t=1", "/doc/7/#t=2", "/doc/7/#t=4"])
  assert.match(cells[1].getAttribute("aria-label"), /tokens 2 to 3, KL 4.00 nats at token 2/)
  assert.match(cells[1].className, /\bp16\b/)
  assert.match(cells[2].getAttribute("aria-label"), /tokens 4 to 4/)
  const ended = [...second.querySelectorAll("a[data-cell]")].map((cell) => [cell.className, cell.getAttribute("href")])
  assert.deepEqual(ended.slice(1), [["fb-value-grid__none", null], ["fb-value-grid__none", null]])
})
