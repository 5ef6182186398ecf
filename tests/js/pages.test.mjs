import assert from "node:assert/strict"
import test from "node:test"
import { bandsOf, strengthsOf, strongestPairs } from "../../site_assets/assets/grid.mjs"
import { firingAt, groupsOf, maximumOf, minimapOf, paragraphsOf, shownText, Source, strongestHere, valuesOf } from "../../site_assets/assets/reading.mjs"
import { everything, expand, formatView, nextSort, numbersNeeded, parseRange, parseView, Selection, toCsv } from "../../site_assets/assets/selection.mjs"
import { rowsInSight } from "../../site_assets/assets/table.mjs"
import { barsOf } from "../../site_assets/assets/thumbnail.mjs"

const numbers = { density: [0.02, 0.5, NaN, 0.1], std: [1, 2, 3, 4], skewness: [0.5, -0.5, 0.5, NaN], max: [3, 4, 2, NaN], peak: [3, 9, 2, NaN] }
const columns = {
  length: 4, layer: [0, 0, 1, null], module: ["q_proj", "gate_proj", "q_proj", "embed"],
  collection: ["lora", "lora", "lora", "lora"], kind: ["lora", "lora", "lora", "lora"],
  is_dead: [0, 0, 0, 0], is_labelled: [0, 1, 0, 0], is_starred: [1, 0, 0, 0], is_whole: [1, 1, 0, 1],
  numbers: new Map(Object.entries(numbers).map(([name, values]) => [name, Float64Array.from(values)])),
}
const selection = new Selection(columns)
/** @param {Partial<import("../../site_assets/assets/selection.mjs").View>} changes */
const shown = (changes, ...more) => Array.from(selection.rows({ ...everything(), ...changes }, ...more))

test("a view survives the address, and nothing unknown gets in", () => {
  const view = {
    q: "a & b \" Wait\"", collection: ["x,y"], module: ["gate_proj", "q=1"], dead: true, labelled: true, starred: true, whole: true,
    ranges: { layer: [3, 5], density: [null, 0.01], peak: [2.5, null], score: [0.5, 1] },
    sort: [{ column: "max", descending: true }, { column: "id", descending: false }],
    columns: ["label", "max"], show: "grid", colour: "std", map: "density,peak",
  }
  assert.deepEqual(parseView(`#${formatView(view)}`), view)
  assert.equal(formatView(everything()), "")
  assert.deepEqual(parseView("#sort=-constructor,max&layer=a..b&q=&show=x&colour=id&columns=toString"), { ...everything(), sort: [{ column: "max", descending: false }] })
  assert.deepEqual(parseRange("3"), [3, 3])
})

test("a view asks for the numbers that it filters and sorts by", () => {
  assert.deepEqual(numbersNeeded({ ...everything(), ranges: { layer: [1, 2], score: [0, 1] }, sort: [{ column: "max", descending: true }, { column: "module", descending: false }] }), ["max", "score"])
})

test("runs of equal values are one value per row", () => {
  assert.deepEqual(expand({ values: ["a", null], runs: [0, 2, 1, 1, 0, 1] }), ["a", "a", null, "a"])
})

test("filters: both ends belong to a range, what has no value is outside of it", () => {
  assert.deepEqual(shown({ ranges: { layer: [0, 0] } }), [0, 1])
  assert.deepEqual(shown({ ranges: { density: [0.02, 0.1] } }), [0, 3])
  assert.deepEqual(shown({ ranges: { peak: [3, null] } }), [0, 1])
  assert.deepEqual(shown({ module: ["q_proj"], ranges: { layer: [1, null] } }), [2])
  assert.deepEqual(shown({ ranges: { score: [0, 1] } }), [], "nobody measured one")
})

test("filters: what was found, labels, stars, whole lists of examples", () => {
  assert.deepEqual(shown({}, Float32Array.of(0, 2, 0.5, 0)), [1, 2])
  assert.deepEqual(shown({ labelled: true }), [1])
  assert.deepEqual(shown({ starred: true }), [0])
  assert.deepEqual(shown({ starred: true }, null, [0, 0, 0, 1]), [3])
  assert.deepEqual(shown({ whole: true }), [0, 1, 3])
})

test("dead latents are listed when asked for", () => {
  const some = new Selection({ ...columns, is_dead: [0, 1, 0, 0] })
  assert.deepEqual(Array.from(some.rows(everything())), [0, 2, 3])
  assert.deepEqual(Array.from(some.rows({ ...everything(), dead: true })), [0, 1, 2, 3])
})

test("sorting: by several keys, missing values last in both directions, ties in table order", () => {
  const by = (/** @type {string[]} */ ...keys) => shown({ sort: keys.map((key) => ({ column: key.replace("-", ""), descending: key.startsWith("-") })) })
  assert.deepEqual(by("max"), [2, 0, 1, 3])
  assert.deepEqual(by("-max"), [1, 0, 2, 3])
  assert.deepEqual(by("-skewness"), [0, 2, 1, 3])
  assert.deepEqual(by("-skewness", "-std"), [2, 0, 1, 3])
  assert.deepEqual(by("module", "-layer"), [3, 1, 2, 0])
  assert.deepEqual(by("-id"), [3, 2, 1, 0])
})

test("a heading turns: numbers first descending, text first ascending, then the other way, then off", () => {
  const max = [{ column: "max", descending: true }]
  assert.deepEqual(nextSort([], "max", false), max)
  assert.deepEqual(nextSort(max, "max", false), [{ column: "max", descending: false }])
  assert.deepEqual(nextSort([{ column: "max", descending: false }], "max", false), [])
  assert.deepEqual(nextSort(max, "module", true), [...max, { column: "module", descending: false }])
  assert.deepEqual(nextSort([...max, { column: "module", descending: true }], "module", true), max)
})

test("CSV quotes what must be quoted and disarms formulas", () => {
  const row = { label: null, author: null, collection: "lora", kind: "lora", layer: 0, module: "q_proj", is_dead: 0, density: 0.02, top_tokens: [" Wait", " wait"] }
  const lines = toCsv([{ ...row, id: "=1+1" }, { ...row, id: "a,b" }]).split("\r\n")
  assert.equal(lines.length, 4)
  assert.match(lines[0], /^id,label,author,collection,/)
  assert.match(lines[1], /^'=1\+1,,,lora,lora,0,q_proj,0,0\.02,/)
  assert.match(lines[2], /^"a,b",/)
  assert.match(lines[1], /"\[""\ Wait"","" wait""\]"/)
})

test("rows in sight, with some above and below", () => {
  assert.deepEqual(rowsInSight(0, 400, 40, 32000), [0, 18])
  assert.deepEqual(rowsInSight(40_000, 400, 40, 32000), [992, 1018])
  assert.deepEqual(rowsInSight(1e9, 400, 40, 5), [5, 5])
})

test("a thumbnail keeps the signs apart, and a single count is seen", () => {
  const { positive, negative, zero } = barsOf([1, 0, 100, 3], -2, 2)
  assert.equal(zero, 2)
  assert.equal(negative.split("M").length - 1, 1)
  assert.equal(positive.split("M").length - 1, 2)
  assert.ok(Number(/v-([\d.]+)/.exec(negative)?.[1]) >= 1.5)
})

test("strengths: signed around zero, unsigned from lowest to highest, by rank", () => {
  assert.deepEqual(Array.from(strengthsOf([-2, 0, 1, null], true).strengths), [-1, 0, 0.5, NaN])
  assert.deepEqual(Array.from(strengthsOf([1, 2, 5], false).strengths), [0, 0.25, 1])
  assert.deepEqual(Array.from(strengthsOf([1, 2, 500], false, true).strengths), [0, 0.5, 1])
  assert.deepEqual(Array.from(strengthsOf([7, 7], false).strengths), [0, 0])
})

test("bands: all layers once, about equally many, as wide as fits", () => {
  assert.deepEqual(bandsOf(64, 1120, 28), [[0, 32], [32, 64]])
  assert.deepEqual(bandsOf(6, 1000, 28), [[0, 6]])
  assert.deepEqual(bandsOf(3, 0, 28), [[0, 1], [1, 2], [2, 3]])
})

test("strongest pairs by size, whatever the sign", () => {
  const pairs = strongestPairs([[1, 0.2, -0.9], [0.2, 1, 0.1], [-0.9, 0.1, 1]], 2)
  assert.deepEqual(pairs.map(({ first, second }) => [first, second]), [[0, 2], [0, 1]])
})

const document = {
  id: "doc/1", doc: 1, name: "one", metadata: {}, n_tokens: 6,
  tokens: ["a", "👍", "", "\u202e", "\n", " b"], special: [], token_ids: [9, 8, 7, 6, 5, 4], text: [0, 1, 2, 3, 4, 5],
  is_measured: [1, 1, 1, 1, 1, 1],
  channels: [
    { id: "x", has_page: true, scale: 0.01, reference_rms: 0.5, max_here: -3 },
    { id: "y", has_page: true, scale: 0.1, reference_rms: 0, max_here: 1 },
  ],
  strongest: {
    channel: [[0], [0, 1], [0], [1, 0], [], [0]],
    value: [[100], [-50, 10], [-300], [5, null], [], [0]],
    rarity: [[20], [10, 0], [30], [0, 0], [], [0]],
  },
}
const groups = groupsOf(document)

test("a document's values: the strongest member of a character, NaN where not among the strongest", () => {
  assert.deepEqual(groups.map(({ text }) => text), ["a", "👍", "\u202e", "\n", " b"])
  assert.deepEqual(Array.from(valuesOf(document, groups, 0)), [1, -3, NaN, NaN, 0])
  assert.deepEqual(Array.from(valuesOf(document, groups, 1)), [NaN, 1, 0.5, NaN, NaN])
  assert.equal(maximumOf(document.channels[0]), 10)
})

test("what fires at a token, with the size relative to the usual one", () => {
  assert.deepEqual(firingAt(document, 1), [
    { channel: 0, value: -0.5, ratio: 1, share: 0.1, change: null }, { channel: 1, value: 1, ratio: null, share: 1, change: null }])
  assert.deepEqual(firingAt(document, 4), [])
})

test("the strongest channels are those of measured tokens", () => {
  assert.deepEqual(strongestHere(document), [{ channel: 0, value: -3 }, { channel: 1, value: 1 }])
  assert.deepEqual(strongestHere({ ...document, is_measured: [0, 1, 0, 0, 0, 0] }), [{ channel: 0, value: -0.5 }, { channel: 1, value: 1 }])
})

test("a part of the shown text gives the exact source", () => {
  const source = new Source(groups)
  assert.equal(shownText("\u202ex"), "[RLO]x")
  const all = source.shown.join("")
  assert.equal(all, "a👍[RLO]\n b")
  assert.equal(source.between(0, all.length), "a👍\u202e\n b")
  assert.equal(source.between(all.indexOf("LO]"), all.length - 1), "\u202e\n ")
  assert.equal(source.between(2, 2), "")
})

test("paragraphs cover every group once and end at line breaks", () => {
  const many = Array.from({ length: 3000 }, (_, first) => ({
    first, end: first + 1, text: first % 100 === 99 ? "\n" : "x", value: null, peak: first, isSpecial: false,
  }))
  const runs = paragraphsOf(many).flat()
  assert.deepEqual(runs.map(([first]) => first), [0, ...runs.slice(0, -1).map(([, end]) => end)])
  assert.equal(runs.at(-1)?.[1], 3000)
  assert.ok(paragraphsOf(many).every((paragraph) => many[paragraph[paragraph.length - 1][1] - 1].text === "\n"))
  assert.ok(paragraphsOf(many.map((group) => ({ ...group, text: "x" }))).flat().every(([first, end]) => end - first <= 400))
  assert.deepEqual(paragraphsOf([]), [])
})

test("the minimap keeps the strongest value of each part", () => {
  assert.deepEqual(minimapOf(Float64Array.of(1, -5, NaN, 2), 2), [{ value: -5, group: 1 }, { value: 2, group: 3 }])
  assert.deepEqual(minimapOf(new Float64Array(0), 10), [])
})
