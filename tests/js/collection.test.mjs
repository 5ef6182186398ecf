/** The page of a collection and its parts, drawn from the golden shards that the Python tests check byte by byte. */
import "./dom.mjs"
import assert from "node:assert/strict"
import { readdirSync, readFileSync } from "node:fs"
import { test } from "node:test"

const { makeContext } = await import("../../site_assets/assets/main.mjs")
const { mount, l0Histogram } = await import("../../site_assets/assets/pages/collection.mjs")
const { logPlaces, nearestTo, nextInDirection, pointField } = await import("../../site_assets/assets/map.mjs")
const { cellGrid } = await import("../../site_assets/assets/cell-grid.mjs")
const { curve, curvePath, countChart } = await import("../../site_assets/assets/curves.mjs")
const { opened, readableId } = await import("../../site_assets/assets/shards.mjs")
const { panel: loadings } = await import("../../site_assets/assets/panels/loadings.mjs")
const { panel: latents } = await import("../../site_assets/assets/panels/latents.mjs")
const { inTurn } = await import("../../site_assets/assets/reading.mjs")
const { columnsOf, everything, formatView, parseView, Selection } = await import("../../site_assets/assets/selection.mjs")

const read = (/** @type {string} */ path) => readFileSync(new URL(path, import.meta.url), "utf8")
const shardOf = (/** @type {string} */ id) => opened(JSON.parse(read(`../golden/site/shards/${id}.json`)))
const context = { ...makeContext("https://example.org/book/"), fetchShard: async (id) => shardOf(id) }

function frame() {
  const element = document.createElement("div")
  const slot = document.createElement("div")
  slot.dataset.slot = "charts"
  element.append(slot)
  document.body.replaceChildren(element)
  return element
}

test("the page draws everything that the collection knows, and nothing of the run becomes markup", async () => {
  const element = frame()
  await mount(element, shardOf("collection/sae"), context)
  assert.deepEqual([...element.querySelectorAll("section h2")].map(({ id }) => id), ["map", "places", "training", "firing", "explained", "scatter"])
  assert.equal(element.querySelectorAll("img, script, [onerror]").length, 0)
  assert.match(element.querySelector("#map").parentElement.textContent, /Not drawn: 3 dead/)
})

test("a collection that says nothing of itself still has its densities", async () => {
  const element = frame()
  await mount(element, { ...shardOf("collection/sae"), facts: {}, grid: null }, context)
  assert.deepEqual([...element.querySelectorAll("section h2")].map(({ id }) => id), ["map", "places", "firing", "scatter"])
})

test("no map where the dictionary reads something else than channels", async () => {
  const element = frame()
  const bare = { ...context, fetchShard: async () => ({ ...shardOf("collection/sae/points"), layout: null }) }
  await mount(element, shardOf("collection/sae"), bare)
  assert.equal(element.querySelector("#map"), null)
})

test("points: the arrow keys go to the nearest point of a quarter turn", () => {
  const x = [0, 1, 0.2, -1, 0], y = [0, 0.1, 1, 0, -0.5]
  assert.equal(nextInDirection(x, y, 0, [1, 0]), 1)
  assert.equal(nextInDirection(x, y, 0, [0, 1]), 2)
  assert.equal(nextInDirection(x, y, 0, [-1, 0]), 3)
  assert.equal(nextInDirection(x, y, 0, [0, -1]), 4)
  assert.equal(nextInDirection(x, y, 1, [1, 0]), -1)
  assert.deepEqual(nearestTo(x, y, 0.9, 0.1, 1).index, 1)
  assert.ok(Math.abs(nearestTo([0], [1], 0, 0, 0.5).distance - 0.5) < 1e-12)
})

test("a logarithmic axis runs from the smallest to the largest value above zero", () => {
  const { at, low, high } = logPlaces([1, 10, 100, 0, null])
  assert.deepEqual([low, high], [1, 100])
  assert.ok([0, 0.5, 1, 0, 0].every((place, index) => Math.abs(at[index] - place) < 1e-12))
  assert.deepEqual([...logPlaces([3, 3]).at], [0.5, 0.5])
})

test("the field of points is one link, which the arrow keys move and which names its point", () => {
  const { columns, layout } = shardOf("collection/sae/points")
  const points = { id: columns.id, x: layout.x, y: layout.y, tokens: columns.top_tokens, note: () => "note", label: "Map", marked: -1 }
  const field = pointField(points, context)
  document.body.replaceChildren(field)
  const [link, ...others] = field.querySelectorAll("a")
  assert.equal(others.length, 0)
  assert.equal(link.getAttribute("href"), "https://example.org/book/atlas/sae/0/")
  const visited = new Set([link.href])
  for (const key of ["ArrowUp", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "ArrowUp"]) {
    link.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }))
    visited.add(link.href)
  }
  assert.ok(visited.size >= 3, [...visited].join(" "))
  assert.match(link.getAttribute("aria-label"), /^sae \d+, note/)
  const drawn = field.querySelector("path").getAttribute("d").match(/M/g).length
  assert.equal(drawn, columns.id.length)
})

test("a cell of the grid links to its page and says its value; places without a channel are empty", () => {
  const { grid } = shardOf("collection/sae")
  const values = grid.ids.map((_, index) => index - 3)
  const look = { caption: "c", isSigned: true, text: String, noun: "weight" }
  const element = cellGrid(grid, values, look, context)
  const links = [...element.querySelectorAll("td a")]
  assert.equal(links.length, grid.ids.length)
  const byLabel = new Map(links.map((link) => [link.getAttribute("aria-label"), link]))
  for (const [index, id] of grid.ids.entries()) {
    const link = byLabel.get(`${readableId(id)}: ${values[index]}`)
    assert.equal(link.getAttribute("href"), context.linkTo(id))
    assert.match(link.className, values[index] < 0 ? /^n\d+$/ : values[index] > 0 ? /^p\d+$/ : /^$/)
  }
  assert.equal(links.filter((link) => link.tabIndex === 0).length, 1)
  const unpublished = cellGrid({ ...grid, has_page: grid.has_page.map(() => 0) }, values, look, context)
  assert.equal(unpublished.querySelectorAll("td a[href]").length, 0)
})

test("curves break where a value is missing and hold their numbers", () => {
  assert.equal(curvePath([0, 1, 2, 3], [1, null, 0, 1], { low: 0, high: 1 }).match(/M/g).length, 2)
  const chart = curve("FVU", "steps", [1, 2, 3], [null, 0.5, 0.25])
  assert.match(chart.textContent, /FVU 0\.250/)
  chart.querySelector("details").dispatchEvent(new Event("toggle"))
  assert.equal(chart.querySelectorAll("tbody tr").length, 3)
  assert.equal(curve("FVU", "steps", [1], [null]), null)
  assert.equal(countChart("L0", [], [], { text: String, axis: "", noun: "" }), null)
})

test("the distribution of L0 comes from the collection, else from the held-out documents, in at most 60 bins", () => {
  assert.deepEqual(l0Histogram({ l0: { histogram: { edges: [0, 1], counts: [2] } }, held_out: { l0_counts: [9] } }), { edges: [0, 1], counts: [2] })
  assert.deepEqual(l0Histogram({ held_out: { l0_counts: [1, 2] } }), { edges: [0, 1, 2], counts: [1, 2] })
  const long = l0Histogram({ held_out: { l0_counts: Array.from({ length: 130 }, () => 1) } })
  assert.ok(long.counts.length <= 60)
  assert.equal(long.counts.reduce((a, b) => a + b), 130)
  assert.equal(l0Histogram({}), null)
})

test("loadings name the strongest directions of both sides, then the whole grid", async () => {
  const shard = shardOf("sae/1")
  const element = loadings.draw(shard, context)
  document.body.replaceChildren(element)
  await new Promise((resolve) => setTimeout(resolve, 20))
  const [writes, reads] = element.querySelectorAll("section")
  for (const [section, side] of [[writes, "write"], [reads, "read"]]) {
    const links = [...section.querySelectorAll(".fb-table a")].map((link) => link.getAttribute("href"))
    assert.deepEqual(links, shard.loadings[side].strongest.map(({ id }) => context.linkTo(id)))
    assert.equal(section.querySelectorAll("td a[data-cell]").length, shard.loadings.n_inputs)
  }
})

test("a direction lists latents of both signs of both sides", () => {
  const shard = shardOf("lora/L0/gate_proj")
  const element = latents.draw(shard, context)
  const tables = [...element.querySelectorAll("table")]
  assert.equal(tables.length, 4)
  const [one] = shard.latents
  const want = [one.write.positive, one.write.negative, one.read.positive, one.read.negative]
  tables.forEach((table, index) => assert.equal(table.querySelectorAll("tbody tr").length, want[index].length))
  assert.equal(element.querySelectorAll("img, script").length, 0)
})

test("the explorer leaves out dead latents until it is asked for them", () => {
  const columns = columnsOf(shardOf("explorer"))
  const selection = new Selection(columns)
  const nDead = columns.is_dead.reduce((a, b) => a + b)
  assert.ok(nDead > 0)
  assert.equal(selection.rows(everything()).length, columns.length - nDead)
  const view = parseView("dead=1&collection=sae")
  assert.equal(view.dead, true)
  assert.equal(selection.rows(view).length, columns.collection.filter((name) => name === "sae").length)
  assert.equal(formatView(view), "collection=sae&dead=1")
})

test("channels of several collections take turns", () => {
  const ordered = ["sae/1", "sae/2", "sae/3", "lora/L0/a", "lora/L0/b"]
  assert.deepEqual(inTurn(ordered, (id) => id.split("/")[0]), ["sae/1", "lora/L0/a", "sae/2", "lora/L0/b", "sae/3"])
  assert.deepEqual(inTurn([], String), [])
})

test("a latent is named with its collection", () => {
  assert.equal(readableId("sae/1234"), "sae 1234")
  assert.equal(readableId("sae"), "sae")
  assert.equal(readableId("lora/L1/q_proj/r1"), "L1 q_proj r1")
})

test("every panel's definition is a heading of docs/statistics.md", async () => {
  const headings = read("../../docs/statistics.md").split("\n").filter((line) => line.startsWith("## "))
  const slugs = headings.map((line) => line.slice(3).toLowerCase().replace(/[^\w\s-]/g, "").trim().replace(/[-\s]+/g, "-"))
  const folder = new URL("../../site_assets/assets/panels/", import.meta.url)
  for (const file of readdirSync(folder)) {
    const { panel } = await import(new URL(file, folder).href)
    if (panel.caption) assert.ok(slugs.includes(panel.anchor), `${file}: ${panel.anchor}`)
  }
})
