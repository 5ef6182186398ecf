/** The golden shards, which the Python tests check byte by byte, drawn by the channel page: that file is the contract. */
import "./dom.mjs"
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"

const { makeContext } = await import("../../site_assets/assets/main.mjs")
const { mount } = await import("../../site_assets/assets/pages/channel.mjs")
const { opened } = await import("../../site_assets/assets/shards.mjs")
const { number } = await import("../../site_assets/assets/numbers.mjs")
const { groupTokens, pieces, stripOfExample } = await import("../../site_assets/assets/heatmap/tokens.mjs")
const { sourceOf } = await import("../../site_assets/assets/heatmap.mjs")

const ids = ["lora/L0/gate_proj", "lora/L1/q_proj/r1", "sae/1"]
/** @param {string} id */
const shardOf = (id) => opened(JSON.parse(readFileSync(new URL(`../golden/site/shards/${id}.json`, import.meta.url), "utf8")))

/** The frame of channel.html, as far as the page module needs it. */
function frame() {
  const element = document.createElement("div")
  for (const slot of ["examples", "histogram", "stats", "quantiles", "tokens", "panels"]) {
    const box = document.createElement("div")
    box.dataset.slot = slot
    element.append(box)
  }
  document.body.replaceChildren(element)
  return element
}

/** Waits until the panels below the examples stand. @param {HTMLElement} element */
async function settled(element) {
  while (element.querySelector("[aria-busy]")) await new Promise((go) => setTimeout(go, 5))
}

for (const id of ids) {
  test(`${id}: the page shows every group of examples with its values`, async () => {
    const shard = shardOf(id)
    location.hash = ""
    const element = frame()
    await mount(element, shard, makeContext("https://example.org/book/"))
    for (const [show, isShown] of [["top", (group) => group === "top"], ["bottom", (group) => group === "bottom"], ["bands", (group) => group.startsWith("band:")], ["random", (group) => group === "random"]]) {
      const button = element.querySelector(`[data-show="${show}"]`)
      if (!button) continue
      button.click()
      const wanted = shard.groups.flatMap(({ group }) => shard.examples.filter((example) => example.group === group && isShown(group)))
      const figures = [...element.querySelectorAll("figure")]
      const times = figures.reduce((sum, figure) => sum + Number(figure.querySelector(".fb-times")?.textContent.slice(1) ?? 1), 0)
      assert.equal(times, wanted.length, `${show}: examples shown, counting folded ones`)
      assert.equal(figures[0].querySelector(".fb-example__value").textContent, number(wanted[0].value, { sign: true }))
    }
  })

  test(`${id}: no text of the run became markup, and no bidi control reached the page`, async () => {
    const element = frame()
    await mount(element, shardOf(id), makeContext("https://example.org/book/"))
    await settled(element)
    assert.equal(element.querySelectorAll("img, script, [onerror], [style*=url]").length, 0)
    assert.doesNotMatch(element.textContent, /[\u202a-\u202e\u2066-\u2069\u200b]/)
  })

  test(`${id}: an opened example copies its exact source`, async () => {
    const shard = shardOf(id)
    const element = frame()
    location.hash = ""
    await mount(element, shard, makeContext("https://example.org/book/"))
    await settled(element)
    element.querySelectorAll(".fb-example__toggle").forEach((toggle) => toggle.click())
    const shown = [...element.querySelectorAll(".fb-example .fb-run")].map((run) => sourceOf(run))
    const sources = shard.examples.map((example) => example.text.map((index) => shard.tokens[index]).join(""))
    assert.ok(shown.length > 0)
    for (const text of shown) assert.ok(sources.includes(text), JSON.stringify(text))
  })

  test(`${id}: the peak of an example is its value within half a step`, () => {
    const shard = shardOf(id)
    for (const example of shard.examples) {
      const strip = stripOfExample(example, shard)
      assert.ok(Math.abs(strip.values[strip.target] - example.value) <= strip.precision * 1.000001)
      assert.equal(groupTokens(strip).reduce((n, group) => n + group.end - group.first, 0), example.token_ids.length)
      const text = strip.display.join("")
      assert.equal(pieces(text).map((piece) => piece.text).join(""), text)
    }
  })

  test(`${id}: each of its panels is drawn, and links lead to pages that exist`, async () => {
    const shard = shardOf(id)
    const element = frame()
    await mount(element, shard, makeContext("https://example.org/book/"))
    await settled(element)
    const panels = [...element.querySelectorAll(".fb-panel")].map((panel) => panel.id.replaceAll("-", "_"))
    assert.deepEqual(panels.toSorted(), shard.panels.toSorted())
    for (const link of element.querySelectorAll(".fb-panel a[href*=atlas]"))
      assert.match(link.getAttribute("href"), /^https:\/\/example\.org\/book\/atlas\/[\w.~/-]+\/(#t=\d+)?$/)
  })
}

test("a panel that is not defined says why; an empty one is not shown", async () => {
  const shard = { ...shardOf(ids[0]), write: { undefined: "No write vector is known." }, bottom_tokens: [] }
  const element = frame()
  await mount(element, shard, makeContext("https://example.org/book/"))
  await settled(element)
  assert.match(element.querySelector("#write").textContent, /No write vector is known\./)
  assert.equal(element.querySelectorAll("#bottom-tokens").length, 0)
})
