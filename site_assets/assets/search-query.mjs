/** From what was typed to groups of results. */
import { best } from "./search-index.mjs"
import { channelHit, marksIn, passageHit, placeHit, tokenHit } from "./search-results.mjs"
import { count } from "./numbers.mjs"

/** @typedef {import("./main.mjs").Context} Context */
/** @typedef {import("./search-index.mjs").Found} Found */
/** @typedef {import("./search-results.mjs").Group} Group */
/** @typedef {{channels: number, tokens: number, passages: number}} Limits */

/** Passages that are looked into for a phrase. */
const LOOKED_INTO = 96

/**
 * Everything found, grouped, the most telling group first.
 * @param {import("./search-index.mjs").SearchIndex} index
 * @param {string} typed
 * @param {Limits} limits
 * @param {Context} context
 * @returns {Promise<Group[]>}
 */
export async function groupsOf(index, typed, limits, context) {
  const head = await index.head()
  const found = await index.find(typed)
  const [channels, passages] = await Promise.all([
    channelsOf(index, best(found.scores, limits.channels)), passagesOf(index, found, limits.passages),
  ])
  const words = new URLSearchParams({ q: typed }).toString()
  const groups = [
    { title: "Places", hits: found.places.map((place) => placeHit(place, context)), more: null },
    { title: `Channels (${count(found.nRows)})`, hits: channels.map((row) => channelHit(row, head, context)),
      more: found.nRows > channels.length ? { text: `All ${count(found.nRows)} in the explorer`, href: `${context.linkTo("explorer")}#${words}` } : null },
    { title: "Tokens", hits: found.tokens.slice(0, limits.tokens).map((token) => tokenHit(token, context)), more: null },
    { title: passages.title, hits: passages.list.map((passage) => passageHit(passage, [...found.terms, ...found.phrases], context)), more: null },
  ]
  if (found.phrases.length) groups.splice(0, 3, groups[2], groups[0], groups[1])
  return groups.filter(({ hits }) => hits.length)
}

/** @param {import("./search-index.mjs").SearchIndex} index @param {number[]} rows */
async function channelsOf(index, rows) {
  await index.rows?.load(rows)
  return rows.flatMap((row) => index.rows?.get(row) ?? [])
}

/**
 * The first passages. A phrase must stand in the passage, or run over into the next one, to the letter.
 * @param {import("./search-index.mjs").SearchIndex} index
 * @param {Found} found
 * @param {number} limit
 */
async function passagesOf(index, { passages, phrases, terms }, limit) {
  const held = (await index.head()).n_passages
  if (!phrases.length) {
    // What holds a word only in its overlap with the next passage comes after what holds it itself.
    const list = await index.passages(passages.slice(0, limit))
    const isOwn = (/** @type {import("./search-index.mjs").Passage} */ { texts }) => marksIn(texts, terms).length > 0
    if (!list.every(isOwn)) list.push(...(await index.passages(passages.slice(limit, 2 * limit))))
    const own = list.filter(isOwn)
    return { list: [...own, ...list.filter((one) => !own.includes(one))].slice(0, limit), title: `Passages (${count(passages.length)})` }
  }
  /** @type {import("./search-index.mjs").Passage[]} */
  const list = []
  let looked = 0
  while (looked < Math.min(passages.length, LOOKED_INTO) && list.length < limit) {
    const turn = passages.slice(looked, looked + Math.max(limit, looked)) // twice as far each time: a turn waits for the network
    looked += turn.length
    list.push(...(await Promise.all(turn.map((n) => holding(index, n, n + 1 < held, phrases)))).filter((one) => one !== null))
  }
  return { list: list.slice(0, limit), title: looked >= passages.length ? `Passages (${count(list.length)})` : "Passages" }
}

/**
 * A passage in which every phrase begins, or null.
 * @param {import("./search-index.mjs").SearchIndex} index
 * @param {number} number
 * @param {boolean} hasNext
 * @param {string[]} phrases
 */
async function holding(index, number, hasNext, phrases) {
  const [one] = await index.passages([number])
  const own = one.texts.join("")
  if (phrases.every((phrase) => own.includes(phrase))) return one
  if (!hasNext) return null
  const [next] = await index.passages([number + 1])
  const both = own + (next.doc === one.doc ? next.texts.join("") : "")
  return phrases.every((phrase) => { const at = both.indexOf(phrase); return at >= 0 && at < own.length }) ? one : null
}
