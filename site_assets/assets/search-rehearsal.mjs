/**
 * A made-up search on a made-up site, laid out but never painted, while the reader thinks of what to type: fonts are found and
 * code is compiled by then, which otherwise takes half of a first search.
 */
import { h } from "./elements.mjs"
import { quiet } from "./quiet.mjs"
import { SearchIndex } from "./search-index.mjs"
import { groupsOf } from "./search-query.mjs"

/** Letters and signs that lists often hold, of several fonts. */
const TEXT = "aé ␣↵→…− 等 ا"
const row = {
  id: "a/0", label: TEXT, histogram: "1", histogram_low: -1, histogram_high: 1, snippet: { before: TEXT, peak: TEXT, after: TEXT, value: 1.5 },
}
const fires = { n_firing: 1, row: [0], mean: [1] }
/** @type {Record<string, any>} */
const shards = {
  "search/words/0": { words: ["ae"], channels: ["9:0"], passages: ["0"], tokens: [["61c3a9:1:1"]] },
  "search/tokens/0": { tokens: [{ bytes: "61c3a9", count: 1, n_firing: 1, high: fires, low: fires }] },
  "explorer/rows/0": { columns: Object.fromEntries(Object.entries(row).map(([name, value]) => [name, [value]])) },
  "search/passages/0": { passages: [{ doc: 0, doc_name: TEXT, start: 0, texts: [...TEXT], strongest: { id: "a/0", position: 0, value: 1.5 } }] },
}

/**
 * @param {HTMLInputElement} input
 * @param {import("./search-index.mjs").Head} head  of the real site: as many rows are gone through
 * @param {import("./main.mjs").Context} context
 * @param {import("./search-query.mjs").Limits} limits
 * @returns {Promise<HTMLElement[]>} the results; none if the reader was faster
 */
export async function rehearse(input, head, context, limits) {
  await quiet()
  if (input.value) return []
  const made = { ...head, first: [""], tokens: { ...head.tokens, first: "0" } }
  const index = new SearchIndex({ ...context, fetchShard: async (id) => shards[id] ?? made })
  const hits = [...(await groupsOf(index, "aé ", limits, context)), ...(await groupsOf(index, '"aé"', limits, context))].flatMap((group) => group.hits)
  const list = h("div", { class: "fb-search__list" }, h("div", { class: "fb-search__head" }, TEXT), ...hits)
  input.form?.append(list)
  list.getBoundingClientRect()
  list.remove()
  return hits
}
