/** The search over the golden shards, which the Python tests check byte by byte. */
import "./dom.mjs"
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"

const { best, lastAtMost, readBoundaries, readRows, readWeighted, SearchIndex } = await import("../../site_assets/assets/search-index.mjs")
const { groupsOf } = await import("../../site_assets/assets/search-query.mjs")
const { rehearse } = await import("../../site_assets/assets/search-rehearsal.mjs")
const { marksIn } = await import("../../site_assets/assets/search-results.mjs")
const { bytesOf, hexOf, parseTyped, percentOf, quotedOf } = await import("../../site_assets/assets/search-typed.mjs")
const { asked, words } = await import("../../site_assets/assets/search-words.mjs")
const { SearchBox } = await import("../../site_assets/assets/search-box.mjs")

const shardOf = (/** @type {string} */ id) => JSON.parse(readFileSync(new URL(`../golden/site/shards/${id}.json`, import.meta.url), "utf8"))
/** @type {string[]} */
const fetched = []
const context = {
  root: "/book/",
  fetchShard: async (/** @type {string} */ id) => { fetched.push(id); return shardOf(id) },
  linkTo: (/** @type {string} */ id, hash = "") => `/book/atlas/${id}/${hash && `#${hash}`}`,
}
const rows = ["explorer/rows/0", "explorer/rows/1", "explorer/rows/2"].flatMap((id) => {
  const { columns } = shardOf(id)
  return columns.id.map((/** @type {string} */ name, /** @type {number} */ at) => ({ id: name, label: columns.label[at], mean: columns.mean[at], std: columns.std[at], tokens: [...columns.top_tokens[at], ...columns.bottom_tokens[at]] }))
})
const rowsFound = (/** @type {Float32Array} */ scores) => [...scores.keys()].filter((row) => scores[row] > 0)

test("lists of rows are read as they were written", () => {
  const list = [], weights = []
  readRows("0-3,7", (row) => list.push(row))
  readWeighted("9:0-2;2:a", (row, weight) => weights.push([row, weight]))
  assert.deepEqual(list, [0, 1, 2, 10])
  assert.deepEqual(weights, [[0, 9], [1, 9], [10, 2]])
  readRows("", () => assert.fail())
  assert.equal(lastAtMost(["b", "d"], "c"), 0)
  assert.equal(lastAtMost(["b", "d"], "a"), -1)
})

test("files are told apart by boundaries written after one another", () => {
  assert.deepEqual(readBoundaries("0 0a6 171"), ["", "a6", "a71"])
  assert.deepEqual(readBoundaries(""), [])
})

test("the best rows, equal ones in the order of the table", () => {
  const scores = Float32Array.from({ length: 500 }, (_, row) => (row * 37) % 11)
  const want = [...scores.keys()].filter((row) => scores[row] > 0).sort((a, b) => scores[b] - scores[a] || a - b)
  assert.deepEqual(best(scores, 20), want.slice(0, 20))
})

test("a word finds every channel that has it in its id, label or tokens, and no other", async () => {
  const index = new SearchIndex(context)
  for (const word of ["wait", "carry", "gate", "sae", "привет", "你好", "مرحبا"]) {
    const { scores } = await index.find(`${word} `)
    const alone = words(word)[0]
    const want = rows.flatMap((row, at) => ([row.id, row.label ?? "", ...row.tokens].some((text) => words(text).includes(alone)) || word === "lora" ? [at] : []))
    for (const row of want) assert.ok(scores[row] > 0, `${word}: ${rows[row].id}`)
    assert.deepEqual(rowsFound(scores), want, word)
  }
})

test("the last word may go on, and all words must be there", async () => {
  const index = new SearchIndex(context)
  const open = await index.find("wai"), whole = await index.find("wait")
  assert.deepEqual(rowsFound(open.scores), rowsFound(whole.scores))
  assert.ok(open.nRows > 0)
  assert.equal((await index.find("wai ")).nRows, 0, "a space ends the word")
  const both = await index.find("gate wait")
  assert.ok(rowsFound(both.scores).every((row) => rows[row].id.includes("gate") && whole.scores[row] > 0))
  assert.equal((await index.find("unheardof wait")).nRows, 0)
})

test("a token in quotes is exact to the byte", async () => {
  const index = new SearchIndex(context)
  const exact = await index.find('" wait"')
  const token = await index.token(hexOf(" wait"))
  assert.ok(token)
  const lists = [token.high, token.low]
  assert.deepEqual(rowsFound(exact.scores), lists.flatMap(({ row, n_firing }) => row.slice(0, n_firing)).sort((a, b) => a - b))
  for (const { row, mean, n_firing } of lists) {
    row.forEach((at, place) => {
      const strength = Math.abs(mean[place]) / Math.hypot(rows[at].mean, rows[at].std)
      assert.ok(place < n_firing ? strength > 0.999 : strength < 1.001, "only channels whose |mean| is at least their RMS are found")
    })
  }
  assert.equal(await index.token(hexOf("wait")), null)
  const begun = await index.find('" w')
  assert.ok(begun.tokens.length > 0 && begun.tokens.every(({ bytes }) => bytes.startsWith(hexOf(" w"))))
})

test("what is typed in quotes has the escapes of code", () => {
  assert.deepEqual(parseTyped('a " Wait" b').phrases, [{ text: " Wait", bytes: "2057616974" }])
  assert.equal(parseTyped('a " Wait" b').plain.trim().split(/\s+/).join(), "a,b")
  assert.equal(parseTyped('"\\n\\t\\xff\\"\\\\"').phrases[0].bytes, "0a09ff225c")
  assert.equal(parseTyped("==").phrases[0].bytes, "3d3d")
  assert.deepEqual(parseTyped("plain words").phrases, [])
})

test("the bytes of a token survive its address and its quotes", () => {
  const tokens = ["20576169740a", "ff00", "22", "5c", "e2808d", "2b25", hexOf("等 مرحبا"), "0d1b7f"]
  for (const bytes of tokens) {
    assert.equal(bytesOf(`?x=1&t=${percentOf(bytes)}`), bytes)
    assert.equal(parseTyped(quotedOf(bytes)).phrases[0].bytes, bytes)
  }
})

test("what is asked: parts of names of code, pairs of characters, the last word open", () => {
  assert.deepEqual(asked("gate_pr").map(({ word, isOpen }) => `${word}${isOpen ? "…" : ""}`), ["gate", "pr…"])
  assert.deepEqual(asked("等一下").map(({ word }) => word), ["等一", "一下"])
  assert.deepEqual(asked("等"), [{ word: "等", isOpen: true }])
  assert.deepEqual(asked("wait "), [{ word: "wait", isOpen: false }])
})

test("marks cover the tokens that a word lies in", () => {
  assert.deepEqual(marksIn([" a", " Wai", "t", "ing", " wait"], ["wait"]), [1, 2, 4])
  assert.deepEqual(marksIn(["等", "一", "下"], ["一下"]), [1, 2])
  assert.deepEqual(marksIn(["x"], [""]), [])
})

test("results: passages hold the words and open at them, nothing becomes markup", async () => {
  const index = new SearchIndex(context)
  const groups = await groupsOf(index, "script", { channels: 9, tokens: 9, passages: 9 }, context)
  const passages = groups.find(({ title }) => title.startsWith("Passages"))
  assert.ok(passages)
  for (const hit of passages.hits) {
    assert.match(hit.getAttribute("href") ?? "", /^\/book\/atlas\/doc\/\d+\/#t=\d+/)
    assert.match(hit.querySelector("mark")?.textContent ?? "", /script/i)
  }
  for (const { hits } of groups) for (const hit of hits) {
    assert.equal(hit.querySelectorAll("script, img").length, 0)
    assert.doesNotMatch(hit.textContent ?? "", /[\u202a-\u202e\u2066-\u2069\u200b]/)
  }
})

test("the rehearsal draws a result of each kind, fetches nothing and leaves nothing behind", async () => {
  const form = document.createElement("form"), input = document.createElement("input")
  form.append(input)
  document.body.replaceChildren(form)
  fetched.length = 0
  const hits = await rehearse(input, shardOf("search"), context, { channels: 6, tokens: 4, passages: 3 })
  for (const kind of ["channel", "token", "passage"]) assert.equal(hits.filter((hit) => hit.classList.contains(`fb-hit--${kind}`)).length, 2, kind)
  assert.deepEqual(fetched, [])
  assert.equal(form.children.length, 1)
  input.value = "w"
  assert.deepEqual(await rehearse(input, shardOf("search"), context, { channels: 6, tokens: 4, passages: 3 }), [])
})

test("the box: arrows mark, Enter follows, Escape closes; the newest query wins", async () => {
  const form = document.createElement("form"), input = document.createElement("input")
  form.append(input)
  document.body.replaceChildren(form)
  const box = new SearchBox(input, context)
  input.focus()
  input.value = "wait"
  const slow = box.search()
  input.value = "gate"
  await Promise.all([slow, box.search()])
  const options = [...form.querySelectorAll("[role=option]")]
  assert.ok(options.length > 2)
  assert.match(options.at(-1)?.getAttribute("href") ?? "", /q=gate$/)
  const press = (/** @type {string} */ key) => input.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }))
  press("ArrowDown")
  assert.equal(input.getAttribute("aria-activedescendant"), options[0].id)
  assert.equal(options[0].getAttribute("aria-selected"), "true")
  press("ArrowUp")
  assert.equal(input.getAttribute("aria-activedescendant"), options.at(-1)?.id)
  let followed = ""
  options.at(-1)?.addEventListener("click", (event) => { event.preventDefault(); followed = "all" })
  press("Enter")
  assert.equal(followed, "all")
  press("Escape")
  assert.equal(input.getAttribute("aria-expanded"), "false")
  assert.equal(box.list.hidden, true)
})
