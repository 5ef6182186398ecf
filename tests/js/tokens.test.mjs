import assert from "node:assert/strict"
import { test } from "node:test"
import { linearScale } from "../../site_assets/assets/heatmap/scale.mjs"
import {
  around, chipLabel, foldIdentical, groupOf, groupTokens, nextStrong, pieces, sourceText, visible,
} from "../../site_assets/assets/heatmap/tokens.mjs"

/** @param {string[]} display @param {(number | null)[]} values */
function strip(display, values, special = []) {
  return {
    display, values, tokenIds: display.map((_, index) => index), isSpecial: display.map((_, index) => special.includes(index)),
    start: 10, target: 1, precision: 0.001, source: "a document",
  }
}

test("tokens of a split character make one group, with the value of its largest member and its sign", () => {
  const groups = groupTokens(strip([" ", "👍", "", "", " ok"], [0, 1, -3, null, 2]))
  assert.deepEqual(groups.map(({ first, end, value, peak }) => [first, end, value, peak]), [
    [0, 1, 0, 0], [1, 4, -3, 2], [4, 5, 2, 4],
  ])
  assert.equal(sourceText(groups), " 👍 ok")
  assert.equal(groupOf(groups, 3), 1)
})

test("every token belongs to exactly one group, also when the window begins inside a character", () => {
  const groups = groupTokens(strip(["", "a", ""], [null, null, 4]))
  assert.deepEqual(groups.map(({ first, end }) => [first, end]), [[0, 1], [1, 3]])
  assert.equal(groups[1].value, 4)
})

test("a special token is a group of its own", () => {
  const groups = groupTokens(strip(["a", "<|end|>", ""], [1, 2, 3], [1]))
  assert.deepEqual(groups.map((group) => group.isSpecial), [false, true, false])
})

test("the compact range holds ten tokens on either side, whole groups only", () => {
  const groups = groupTokens(strip(Array.from({ length: 50 }, () => "x"), Array(50).fill(0)))
  assert.deepEqual(around(groups, 25, 10), [15, 36])
  assert.deepEqual(around(groups, 2, 10), [0, 13])
  assert.deepEqual(around(groups, 49, 10), [39, 50])
})

test("what cannot be seen, or reorders the text, becomes a chip; its source stays", () => {
  const chips = {
    "\u202e": "RLO", "\u202c": "PDF", "\u2066": "LRI", "\u200b": "ZWSP", "\ufeff": "BOM", "\u0007": "BEL", "\u007f": "DEL",
    "\u2028": "LSEP", "\u00ad": "SHY", "\ud800": "U+D800", "\u0085": "U+0085", "\u{e0041}": "U+E0041", "\r": "CR",
  }
  for (const [char, label] of Object.entries(chips)) assert.equal(chipLabel(char), label)
  for (const char of ["a", "é", "م", " ", "\n", "\t", "你", "👍", "\ufe0f", "\u0600"]) assert.equal(chipLabel(char), null)
  const drawn = pieces("a\u202eb\n\tc")
  assert.deepEqual(drawn.map(({ kind }) => kind), ["text", "chip", "text", "newline", "tab", "text"])
  assert.equal(drawn.map(({ text }) => text).join(""), "a\u202eb\n\tc")
})

test("the pieces of any text join to the exact source", () => {
  const texts = ["  two  spaces ", "👨\u200d👩\u200d👧", "می\u200cخواهم", "</script>", "{{ x }}", "\\xff", "e\u0301", " \n", ""]
  for (const text of texts) assert.equal(pieces(text).map((piece) => piece.text).join(""), text)
})

test("an emoji joined by zero-width joiners stays whole; a lone joiner shows", () => {
  assert.deepEqual(pieces("👨\u200d👩\u200d👧").map(({ kind }) => kind), ["text"])
  assert.equal(pieces("a\u200db")[1].label, "[ZWJ]")
})

test("a token on one line shows its spaces and breaks", () => {
  assert.equal(visible(" wait"), "␣wait")
  assert.equal(visible("\n\n"), "↵↵")
  assert.equal(visible("\u202e"), "[RLO]")
  assert.equal(visible("\u0e34"), "◌\u0e34")
  assert.equal(visible("e\u0301"), "e\u0301")
  assert.equal(visible("\u034f"), "[CGJ]")
})

test("identical windows are folded within their group, in order", () => {
  const example = (group, doc, token_ids, position = 1) => ({ group, doc, token_ids, position, start: 0 })
  const folded = foldIdentical([
    example("top", 1, [1, 2]), example("top", 2, [1, 3]), example("top", 3, [1, 2]), example("random", 4, [1, 2]),
    example("top", 5, [1, 2], 0),
  ])
  assert.deepEqual(folded.map(({ example: { doc }, others }) => [doc, others.map((other) => other.doc)]), [
    [1, [3]], [2, []], [4, []], [5, []],
  ])
})

test("[ and ] go to the next token above half of the maximum", () => {
  const groups = groupTokens(strip(["a", "b", "c", "d", "e"], [3, 1, -4, null, 1.9]))
  const scale = linearScale(4, true)
  assert.equal(nextStrong(groups, scale, 0, 1), 2)
  assert.equal(nextStrong(groups, scale, 2, 1), -1)
  assert.equal(nextStrong(groups, scale, 4, -1), 2)
})

test("of a token of a million characters a thousand are drawn, the others stand in a chip that copies them", () => {
  const long = "a".repeat(999) + "😀" + "b".repeat(999_000)
  const drawn = pieces(long)
  assert.equal(drawn.map(({ text }) => text).join(""), long)
  assert.deepEqual(drawn.map(({ kind, label }) => [kind, label.length > 40 ? label.length : label]), [["text", 1001], ["chip", "[999,000 more characters]"]])
})
