import "./dom.mjs"
import assert from "node:assert/strict"
import { test } from "node:test"

const { attachHeatmap, captionOf, copySource, legend, paint, sourceOf, tokenRun, tokenTable } = await import(
  "../../site_assets/assets/heatmap.mjs"
)
const { groupTokens } = await import("../../site_assets/assets/heatmap/tokens.mjs")
const { linearScale } = await import("../../site_assets/assets/heatmap/scale.mjs")
const { exampleList } = await import("../../site_assets/assets/examples.mjs")

const display = [" wait", "<img src=x onerror=alert(1)>", "\u202e", "👍", "", "\n", "<|end|>"]
const strip = {
  display, values: [4, -4, 1, 0, 2, null, 0], tokenIds: [5, 6, 7, 8, 9, 10, 11], isSpecial: display.map((_, index) => index === 6),
  start: 100, target: 1, precision: 0.002, source: "doc one",
}
const scale = linearScale(4, true)

/** Which token of a run has the focus. */
const focused = (run) => [...run.children].indexOf(document.activeElement)
/** Which tokens of a run the Tab key reaches. */
const tabStops = (run) => [...run.children].flatMap((token, index) => (token.tabIndex === 0 && token.hasAttribute("tabindex") ? [index] : []))

test("a run draws one span per group, with colour classes and no inline style or markup from the text", () => {
  const run = tokenRun(strip, scale)
  assert.equal(run.children.length, 6)
  assert.equal(run.querySelectorAll("img").length, 0)
  assert.match(run.children[0].className, /\bp16\b/)
  assert.match(run.children[1].className, /fb-token--target.*\bn16\b/)
  assert.match(run.children[4].className, /fb-unmeasured/)
  assert.match(run.children[5].className, /fb-token--special/)
  assert.equal(run.querySelectorAll("[style]").length, 0)
  assert.equal(run.getAttribute("translate"), "no")
  assert.equal(run.getAttribute("dir"), "auto")
})

test("a run has one tab stop, on its target", () => {
  const run = tokenRun(strip, scale)
  assert.deepEqual(tabStops(run), [1])
})

test("no raw bidi control reaches the page's text; copying gives it back", () => {
  const run = tokenRun(strip, scale)
  assert.ok(!run.textContent.includes("\u202e"))
  assert.equal(sourceOf(run), display.join(""))
})

test("copying a selection across tokens puts the exact source on the clipboard", () => {
  const run = tokenRun(strip, scale)
  document.body.append(run)
  const range = document.createRange()
  range.setStart(run.children[0].firstChild, 1)
  range.setEnd(run.children[3].firstChild, 2)
  const selection = getSelection()
  selection.removeAllRanges()
  selection.addRange(range)
  const copied = {}
  let isPrevented = false
  copySource({ clipboardData: { setData: (kind, text) => (copied[kind] = text) }, preventDefault: () => (isPrevented = true) })
  assert.equal(copied["text/plain"], "wait<img src=x onerror=alert(1)>\u202e👍")
  assert.ok(isPrevented)
  run.remove()
})

test("painting with another scale replaces the colours and keeps the rest", () => {
  const run = tokenRun(strip, scale)
  paint(run, linearScale(8, true))
  assert.match(run.children[1].className, /^fb-token fb-token--target n8$/)
})

test("arrow keys move the single tab stop; Enter pins the value; Escape closes it", () => {
  const box = document.createElement("div")
  const run = tokenRun(strip, scale)
  box.append(run)
  document.body.append(box)
  attachHeatmap(box)
  const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }))
  run.children[1].focus()
  press("ArrowRight")
  assert.equal(focused(run), 2)
  assert.deepEqual(tabStops(run), [2])
  press("Home")
  assert.equal(focused(run), 0)
  press("End")
  assert.equal(focused(run), 5)
  run.children[3].focus()
  let choice = null
  box.addEventListener("fb-token", ({ detail }) => (choice = detail))
  press("Enter")
  const tooltip = document.getElementById("fb-tooltip")
  assert.equal(tooltip.hidden, false)
  assert.match(tooltip.textContent, /👍/)
  assert.match(tooltip.textContent, /id 8 · position 103/)
  assert.match(tooltip.textContent, /id 9 · position 104/)
  assert.match(tooltip.textContent, /\+2\.00 ± 0\.00200/)
  assert.equal(choice.position, 104)
  press("Escape")
  assert.equal(tooltip.hidden, true)
  box.remove()
})

test("single-character keys can be switched off", () => {
  const box = document.createElement("div")
  const run = tokenRun(strip, scale)
  box.append(run)
  document.body.append(box)
  attachHeatmap(box)
  const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }))
  run.children[1].focus()
  localStorage.setItem("featurebook.shortcuts", "off")
  press("[")
  assert.equal(focused(run), 1)
  localStorage.setItem("featurebook.shortcuts", "on")
  press("[")
  assert.equal(focused(run), 0)
  box.remove()
})

test("caption, table and legend hold what the tooltip holds", () => {
  assert.equal(captionOf({ ...strip, target: 0 }, groupTokens(strip), 4, "top"), "max +4.00 on ‘␣wait’ (token 100 of doc one)")
  const rows = [...tokenTable(strip).querySelectorAll("tbody tr")].map((row) => [...row.cells].map((cell) => cell.textContent))
  assert.deepEqual(rows[0], ["␣wait", "5", "100", "+4.00", "1"])
  assert.equal(rows[5][3], "–")
  assert.equal(legend(scale).getAttribute("aria-label"), "Colour scale from −4.00 to 4.00")
})

test("an example list folds identical windows and opens an example in place", () => {
  const example = {
    group: "top", doc: 3, doc_name: "doc three", position: 1, value: 2, start: 0, token_ids: [1, 2], text: [0, 1], values: [0, 1000], has_page: true,
  }
  const frame = {
    shard: { tokens: ["a", " b"], special: [], scale: 0.002 }, scale: linearScale(2, true),
    documentHref: ({ doc, position }) => `/doc/${doc}#${position}`,
  }
  const { list } = exampleList([example, { ...example, doc: 4 }], frame)
  assert.equal(list.querySelectorAll("figure").length, 1)
  assert.match(list.textContent, /×2/)
  assert.equal(list.querySelector("figure").getAttribute("aria-label"), "max +2.00 on ‘␣b’ (token 1 of doc three)")
  list.querySelector(".fb-example__toggle").click()
  assert.equal(list.querySelector("figcaption").textContent, "max +2.00 on ‘␣b’ (token 1 of doc three)")
  assert.equal(list.querySelector(".fb-example__toggle").getAttribute("aria-expanded"), "true")
  assert.match(list.querySelector(".fb-example__more").textContent, /Copy text/)
  assert.ok(list.querySelector('a[href="/doc/3#1"]'))
})
