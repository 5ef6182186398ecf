import { window } from "./dom.mjs"
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import test from "node:test"
import { Annotations, nextOf, parseRecord, today } from "../../site_assets/assets/annotations.mjs"
import { fileName, fileOffer, isGithub, issueOffer, LONGEST_ADDRESS } from "../../site_assets/assets/contribute.mjs"
import { bibtex, citationText } from "../../site_assets/assets/cite.mjs"
import { discussionLinks, frameCode } from "../../site_assets/assets/share.mjs"
import { panelsOf } from "../../site_assets/assets/embed.mjs"
import { blinded, reportOf } from "../../site_assets/assets/pages/annotate.mjs"
import { frameOf } from "../../site_assets/assets/pages/discuss.mjs"
import { opened } from "../../site_assets/assets/shards.mjs"
import { panel } from "../../site_assets/assets/panels/labels.mjs"

/** A storage of its own for every test. @param {number} [room] characters */
function storage(room = Infinity) {
  const held = new Map()
  return {
    held,
    getItem: (name) => held.get(name) ?? null,
    setItem(name, text) {
      if (text.length > room) throw new DOMException("full", "QuotaExceededError")
      held.set(name, text)
    },
  }
}
/** @param {ReturnType<typeof storage>} place */
const open = (place = storage()) => new Annotations(() => /** @type {any} */ (place), "k")
const shipped = readFileSync(new URL("../../labels/demo.jsonl", import.meta.url), "utf8")
const golden = opened(JSON.parse(readFileSync(new URL("../golden/site/shards/lora/L0/gate_proj.json", import.meta.url), "utf8")))

test("a label, a note, a star and a skip are kept, and what says nothing is dropped", () => {
  const place = storage(), mine = open(place)
  mine.sign(" Ada ")
  mine.change("sae/1", "positive", { text: "so far" })
  mine.change("sae/1", "both", { note: "a\nb", starred: true })
  mine.change("sae/2", "both", { skipped: true })
  const again = open(place)
  assert.equal(again.author, "Ada")
  assert.deepEqual(again.all(), mine.all())
  assert.deepEqual([again.isLabelled("sae/1"), again.isDone("sae/2"), again.isLabelled("sae/2"), again.isStarred("sae/1")], [true, true, false, true])
  assert.equal(again.toggleStar("sae/1"), false)
  again.change("sae/1", "both", { note: "" })
  again.change("sae/2", "both", { skipped: false })
  assert.deepEqual(again.all().map(({ id, polarity }) => `${id} ${polarity}`), ["sae/1 positive"])
})

test("a tab does not undo what another one wrote", () => {
  const place = storage(), one = open(place), other = open(place)
  one.change("a", "both", { starred: true })
  other.change("b", "both", { starred: true })
  one.change("c", "both", { starred: true })
  assert.deepEqual(open(place).all().map(({ id }) => id), ["a", "b", "c"])
})

test("a full storage is said at once, and what was written can still be exported", () => {
  const mine = open(storage(120))
  mine.sign("Ada")
  mine.change("sae/1", "positive", { text: "x".repeat(200) })
  assert.match(mine.failure ?? "", /full or switched off/)
  assert.equal(JSON.parse(mine.toJsonl("demo")).text.length, 200)
  mine.change("sae/2", "positive", { text: "more" })
  assert.equal(mine.all().length, 2)
})

test("without storage everything works until the page is closed", () => {
  const mine = new Annotations(() => { throw new DOMException("no", "SecurityError") }, "k")
  assert.match(mine.failure ?? "", /switched off/)
  mine.toggleStar("a")
  assert.equal(mine.isStarred("a"), true)
})

test("what cannot be read is left as it is", () => {
  const place = storage()
  place.held.set("k", "{broken")
  const mine = open(place)
  assert.match(mine.failure ?? "", /cannot be read/)
  assert.equal(place.held.get("k"), "{broken")
})

test("an exported file is read back as it was, and is one that Python reads", () => {
  const mine = open()
  mine.sign("Ada")
  mine.change("lora/L1/up_proj", "negative", { text: "“not” \u202e<b>" })
  mine.change("lora/L1/up_proj", "both", { note: "why", starred: true })
  const jsonl = mine.toJsonl("demo")
  for (const line of jsonl.trimEnd().split("\n")) {
    const record = JSON.parse(line)
    assert.deepEqual(Object.keys(record), Object.keys(record).toSorted())
    assert.deepEqual([record.author, record.source, record.run, record.date], ["Ada", "human", "demo", today()])
  }
  const other = open()
  assert.deepEqual(other.fromJsonl(jsonl, "demo"), { added: 2, same: 0, conflicts: [], others: 0, elsewhere: 0, faults: [], signed: "Ada" })
  assert.deepEqual([other.author, other.all()], ["Ada", mine.all()])
  assert.deepEqual([other.fromJsonl(jsonl, "demo").same, other.fromJsonl(jsonl, "demo").signed], [2, ""])
  assert.deepEqual([other.fromJsonl(jsonl, "another").elsewhere, other.fromJsonl(jsonl, "another").same], [2, 0])
})

test("importing: newer days win, one day's contradiction keeps the old text, others are counted, faults named", () => {
  const record = { id: "sae/1", polarity: "positive", text: "old", author: "Ada", source: "human", date: "2026-11-20" }
  const lines = (...changes) => changes.map((change) => JSON.stringify({ ...record, ...change })).join("\n")
  const mine = open()
  assert.equal(mine.fromJsonl(lines({})).added, 1)
  assert.equal(mine.fromJsonl(lines({ text: "new", date: "2026-11-21" })).added, 1)
  const report = mine.fromJsonl(`\ufeff${lines({ text: "stale" }, { author: "Bob" }, { polarity: "+" })}\n{\n`)
  assert.equal(mine.get("sae/1", "positive")?.text, "new")
  assert.equal(report.others, 1)
  assert.match(report.conflicts[0], /sae\/1 \(positive\): kept “new”, not “stale”/)
  assert.deepEqual(report.faults, ["Line 3: polarity “+”: take one of positive, negative, both", "Line 4: not JSON"])
  assert.match(reportOf(report), /1 in conflict.*2 unreadable/)
  assert.equal(mine.fromJsonl(lines({ text: "new", date: "2026-11-25" }), "").same, 1, "the same on another day is no contradiction")
})

test("the name is taken from one's own records, never from a model's", () => {
  const record = { id: "sae/1", polarity: "positive", text: "old", author: "Some model", source: "model", date: "2026-11-20" }
  const mine = open()
  assert.deepEqual([mine.fromJsonl(JSON.stringify(record), "").others, mine.author], [1, ""])
  assert.match(reportOf(mine.fromJsonl(JSON.stringify({ ...record, author: "Ada\u202e", source: "human" }), "")), /1 taken over\. You sign as “Ada\[RLO\]” now/)
})

test("a record that Python would refuse is refused here", () => {
  const record = { id: "sae/1", polarity: "positive", text: "old", author: "Ada", source: "human", date: "2026-11-20" }
  const refused = (/** @type {object} */ change) => parseRecord(JSON.stringify({ ...record, ...change }))
  assert.equal(refused({ date: "2026-02-31" }), "date “2026-02-31”: write a day as 2026-11-22")
  assert.equal(refused({ stars: 3 }), "unknown field “stars”")
  assert.equal(refused({ starred: "yes" }), "starred is no boolean")
  assert.equal(refused({ score: "high" }), "score is no number")
  assert.equal(refused({ text: "\ud83d" }), "text holds half a character")
  assert.equal(typeof refused({ score: null, text: "😀" }), "object")
})

test("what could not be read is set aside before something new is written", () => {
  const place = storage()
  place.held.set("k", "{broken")
  open(place).toggleStar("a")
  assert.deepEqual([place.held.get("k (unread)"), open(place).isStarred("a")], ["{broken", true])
})

test("every shipped record passes the browser's rules too", () => {
  for (const line of shipped.trimEnd().split("\n")) assert.equal(typeof parseRecord(line), "object")
  assert.equal(parseRecord('{"id":"a","polarity":"both","author":"x","source":"human","date":"2026-11-22"}'), "the record is empty")
  assert.match(String(parseRecord('{"id":"a","polarity":"both","text":"a\\nb","author":"x","source":"human","date":"2026-11-22"}')), /several lines/)
})

test("the next channel: in order, round the end, or any at random", () => {
  const ids = ["a", "b", "c", "d"], done = new Set(["b"])
  const isDone = (/** @type {string} */ id) => done.has(id)
  assert.equal(nextOf(ids, "a", isDone), "c")
  assert.equal(nextOf(ids, "d", isDone), "a")
  assert.equal(nextOf(ids, null, isDone), "a")
  assert.equal(nextOf(ids, null, isDone, () => 0.999), "d")
  assert.equal(nextOf(["b"], null, isDone), null)
})

test("blind: nothing of the shard tells which channel it is", () => {
  const text = JSON.stringify(blinded(golden))
  for (const word of ["lora/", "gate_proj", "next\":\"", "has_page\":true"]) assert.equal(text.includes(word), false, word)
})

test("issues and files are prefilled up to GitHub's longest address, then pasted", () => {
  const few = '{"text":"a ``` b"}\n', many = few.repeat(1000)
  const issue = new URL(issueOffer("https://github.com/o/n", "Ada", few).href)
  assert.equal(issue.pathname, "/o/n/issues/new")
  assert.ok(issue.searchParams.get("body")?.includes(`\`\`\`\`jsonl\n${few}\`\`\`\``))
  const file = new URL(fileOffer("https://github.com/o/n", "a/b", "Ada L.", few).href)
  assert.equal(file.pathname, "/o/n/new/a%2Fb")
  assert.deepEqual([file.searchParams.get("filename"), file.searchParams.get("value")], ["labels/ada-l.jsonl", few])
  for (const offer of [issueOffer("https://github.com/o/n", "Ada", many), fileOffer("https://github.com/o/n", "main", "Ada", many)]) {
    assert.equal(offer.isWhole, false)
    assert.ok(offer.href.length < LONGEST_ADDRESS)
  }
  assert.deepEqual([fileName("../../x"), fileName("中"), isGithub("https://github.com/o/n"), isGithub("javascript:alert(1)")],
    ["x.jsonl", "anonymous.jsonl", true, false])
})

const site = { authors: ["Ada Lovelace", "Alan Turing"], title: "A_Book", date: "2026-11-22", url: "https://e.org/", version: "abc", software: "Featurebook 0.1.0" }

test("citations name authors, page, version and address, safe for TeX", () => {
  const page = { title: "50% {x} \\y", url: "https://e.org/atlas/sae/1/" }
  assert.equal(citationText(site, page),
    "Ada Lovelace and Alan Turing (2026). “50% {x} \\y.” In A_Book. Version abc, made with Featurebook 0.1.0. https://e.org/atlas/sae/1/")
  const entry = bibtex(site, page)
  assert.ok(entry.startsWith("@misc{Lovelace-2026-sae1,"))
  assert.ok(entry.includes("title = {{50\\% \\{x\\} \\textbackslash{}y}}") && entry.includes("howpublished = {A\\_Book}") && entry.includes("month = nov,"))
  const bare = { ...site, authors: [], date: "", version: "" }
  assert.equal(citationText(bare, { title: "", url: "https://e.org/" }), "A_Book. Made with Featurebook 0.1.0. https://e.org/")
  assert.equal(bibtex(bare, { title: "", url: "https://e.org/" }).includes("year"), false)
})

test("the frame's address keeps the view and cannot break out of its attribute", () => {
  assert.equal(frameCode("https://e.org/a/?x=1#show=random", "examples", '"><script>', 300),
    '<iframe src="https://e.org/a/?x=1&#38;embed=1&#38;panel=examples#show=random" title="&#34;&#62;&#60;script&#62;" width="100%" height="300" loading="lazy"></iframe>')
})

test("discussions are linked only where the run file names them", () => {
  assert.deepEqual(discussionLinks({ discussions: "", giscus: null }, "sae/1", "x", "/"), [])
  assert.deepEqual(discussionLinks({ discussions: "javascript:alert(1)", giscus: null }, "sae/1", "x", "/"), [])
  const links = discussionLinks({ discussions: "https://github.com/o/n/discussions", giscus: {} }, "sae/1", "https://e.org/#a", "/r/")
  assert.deepEqual(links.map((link) => link.getAttribute("href")), ["/r/atlas/discuss/?id=sae%2F1",
    "https://github.com/o/n/discussions?discussions_q=%22sae%2F1%22",
    "https://github.com/o/n/discussions/new?category=general&title=sae%2F1&body=https%3A%2F%2Fe.org%2F%23a%0A%0A"])
})

test("comments are framed from giscus.app, with the id as their term", () => {
  const frame = frameOf({ repo: "o/n", repo_id: "R", category: "General", category_id: "C" }, "sae/1&x", "https://e.org/p", "s")
  const address = new URL(frame.getAttribute("src") ?? "")
  assert.equal(address.origin + address.pathname, "https://giscus.app/en/widget")
  assert.deepEqual([address.searchParams.get("term"), address.searchParams.get("repoId"), address.searchParams.get("session")], ["sae/1&x", "R", "s"])
})

test("the panel of labels shows every one as text, in the order of the shard", () => {
  const element = /** @type {HTMLElement} */ (panel.draw(golden, /** @type {any} */ ({})))
  assert.equal(element.querySelectorAll("tbody tr").length, golden.labels.length)
  assert.equal(element.querySelector("script, b, a"), null)
  assert.ok(element.textContent.includes("opens with <script>alert('label')</script> & {{ 7*7 }}"))
})

test("the parts of a page have names", () => {
  const page = window.document.createElement("article")
  page.innerHTML = '<section data-slot="examples"></section><section class="fb-panel" id="neighbours"><h2>What lies near</h2></section>'
  assert.deepEqual([...panelsOf(/** @type {any} */ (page))].map(([name, { title }]) => [name, title]), [["examples", "Examples"], ["neighbours", "What lies near"]])
})
