import "./dom.mjs"
import assert from "node:assert/strict"
import { test } from "node:test"
import { formatState, parseState } from "../../site_assets/assets/hash.mjs"
import { fetchJson, pageUrl, pathOf, readableId, shardUrl } from "../../site_assets/assets/shards.mjs"
import { makeContext, mountElement } from "../../site_assets/assets/main.mjs"
import { leftOut, oneSided, sections } from "../../site_assets/assets/example-view.mjs"

test("ids become paths as in generator/publish/addresses.py", () => {
  assert.equal(pathOf("lora/L12/gate_proj"), "lora/L12/gate_proj")
  assert.equal(pathOf("lora/../x y"), "lora/~2e~2e/x~20y")
  assert.equal(pathOf("lora/index"), "lora/~69ndex")
  assert.equal(pathOf("a/é"), "a/~c3~a9")
  assert.equal(shardUrl("https://e.org/b/", "doc/4"), "https://e.org/b/shards/doc/4.json")
  assert.equal(pageUrl("/", "doc/4"), "/atlas/doc/4/")
})

test("ids as people read them", () => {
  assert.equal(readableId("lora/L12/gate_proj/r3"), "L12 gate_proj r3")
  assert.equal(readableId("layer/4"), "layer 4")
  assert.equal(readableId("doc/42"), "document 42")
})

test("a page's state survives the way through its address", () => {
  const initial = { show: "top", contains: "", range: "" }
  const state = { show: "bands", contains: "a & b=c #", range: "" }
  assert.deepEqual(parseState("#" + formatState(state, initial), initial), state)
  assert.equal(formatState(initial, initial), "")
  assert.deepEqual(parseState("#unknown=1", initial), initial)
})

test("a context links and fetches below the site's root", () => {
  const context = makeContext("https://e.org/book")
  assert.equal(context.linkTo("lora/L1/up_proj"), "https://e.org/book/atlas/lora/L1/up_proj/")
  assert.equal(context.linkTo("doc/1", "token=4"), "https://e.org/book/atlas/doc/1/#token=4")
})

test("a shard of another schema, a missing one and a broken one say so", async () => {
  const answers = { "/old": [200, '{"schema": 0}'], "/gone": [404, ""], "/broken": [200, "<html>"] }
  globalThis.fetch = async (address) => new Response(answers[address][1], { status: answers[address][0] })
  await assert.rejects(fetchJson("/old"), /schema 0, this site reads 1: build again/)
  await assert.rejects(fetchJson("/gone"), /answered 404/)
  await assert.rejects(fetchJson("/broken"), /not valid JSON/)
})

test("a mount point that fails keeps its frame, says what failed and offers a retry", async () => {
  const element = document.createElement("div")
  Object.assign(element.dataset, { page: "channel", shard: "x.json", root: "." })
  element.append("frame")
  globalThis.fetch = async () => new Response("", { status: 500 })
  const { error } = console
  console.error = () => {}
  await mountElement(element)
  console.error = error
  assert.match(element.textContent, /answered 500.*Try again.*frame/)
  assert.equal(element.querySelectorAll('[role="alert"]').length, 1)
})

test("the sections of a channel page: groups in order, filtered by text, by value or by document", () => {
  const example = (group, doc, text) => ({ group, doc, doc_name: "", position: 0, start: 0, value: 1, token_ids: [text], text: [text], values: [1], has_page: false })
  const shard = {
    tokens: ["alpha", "Beta"], special: [], scale: 1, is_signed: true,
    groups: [
      { group: "top", count: 2, share: 0.1, low: 0, high: 2 },
      { group: "band:+", count: 5, share: 0.5, low: 0, high: 1 },
      { group: "band:-", count: 4, share: 0.4, low: -1, high: 0 },
    ],
    examples: [example("top", 2, 0), example("top", 1, 1), example("band:-", 3, 1)],
  }
  const view = { show: "top", text: "compact", colour: "linear", order: "value", contains: "", range: "" }
  const docs = (parts) => parts.map(({ examples }) => examples.map(({ doc }) => doc))
  assert.deepEqual(docs(sections(shard, view)), [[2, 1]])
  assert.deepEqual(docs(sections(shard, { ...view, order: "document" })), [[1, 2]])
  assert.deepEqual(docs(sections(shard, { ...view, contains: "beta" })), [[1]])
  assert.deepEqual(docs(sections(shard, { ...view, show: "bands" })), [[], [3]])
  assert.equal(sections(shard, { ...view, show: "bands" })[0].heading, "0 to 1.00 · 5 tokens, 50.0 %")
})

test("a direction of one sign says so beside the list of the other", () => {
  const shard = { is_signed: true, groups: [{ group: "top", count: 9 }, { group: "bottom", count: 0 }, { group: "random", count: 0 }] }
  assert.equal(oneSided(shard, "top"), null)
  assert.match(oneSided(shard, "bottom"), /^Never below zero/)
  assert.equal(oneSided(shard, "random"), null)
  assert.equal(oneSided({ ...shard, is_signed: false }, "bottom"), null)
})

test("what the compact preset leaves out of a list is counted", () => {
  const shard = { preset: "compact", groups: [
    { group: "top", n_examples: 6, n_found: 32 }, { group: "band:+1", n_examples: 1, n_found: 4 },
    { group: "band:+2", n_examples: 1, n_found: 1 }, { group: "random", n_examples: 3, n_found: 3 },
  ] }
  assert.match(leftOut(shard, "top"), /^6 of 32 examples .* compact preset/)
  assert.match(leftOut(shard, "bands"), /^2 of 5 /)
  assert.equal(leftOut(shard, "random"), null)
})
