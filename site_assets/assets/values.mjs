/** Values of channels on the documents that all channels share, token by token (docs/shards.md, "Compare shard"). */

/** @typedef {import("./main.mjs").Context} Context */
/** @typedef {{id: string, name: string, has_page: boolean, n_tokens: number}} SharedDocument */
/**
 * @typedef {object} Shared  what the values of all channels stand beside
 * @property {SharedDocument[]} documents
 * @property {number[]} unmeasured
 * @property {{space: string, members: [string, "read" | "write"][]}[]} spaces
 */
/** @typedef {{space: number, side: "read" | "write", thousandths: (number | null)[]}} CosineRow */
/** @typedef {{channel: string, scale: number, values: string | {at: number[], steps: number[]} | null, cosines: CosineRow[]}} ValuesShard */

/** What stands for a value that is not finite. */
const MISSING = -128

/** @type {Map<string, Promise<any>>} */
const fetched = new Map()

/** A shard, fetched once for a page. @param {string} id @param {Context} context @returns {Promise<any>} */
export function once(id, context) {
  const promise = fetched.get(id) ?? context.fetchShard(id)
  fetched.set(id, promise)
  promise.catch(() => fetched.delete(id))
  return promise
}

/** @param {Context} context @returns {Promise<Shared>} */
export function fetchShared(context) {
  return once("compare", context)
}

/** @param {string} id  of a channel @param {Context} context @returns {Promise<ValuesShard>} */
export function fetchValues(id, context) {
  return once(`values/${id}`, context)
}

/**
 * Where each shared document begins among the tokens.
 * @param {Shared} shared
 * @returns {number[]} one more than documents
 */
export function offsetsOf(shared) {
  const offsets = [0]
  for (const { n_tokens } of shared.documents) offsets.push(offsets[offsets.length - 1] + n_tokens)
  return offsets
}

/**
 * The activations of a channel at all shared tokens; NaN where not finite.
 * @param {ValuesShard} shard
 * @param {number} nTokens
 * @returns {Float32Array | null} null where the run kept none
 */
export function decode({ values, scale }, nTokens) {
  if (values === null) return null
  const result = new Float32Array(nTokens)
  if (typeof values === "string") {
    const bytes = atob(values)
    for (let at = 0; at < nTokens; at++) {
      const step = (bytes.charCodeAt(at) << 24) >> 24
      result[at] = step === MISSING ? NaN : step * scale
    }
  } else values.at.forEach((at, place) => (result[at] = values.steps[place] === MISSING ? NaN : values.steps[place] * scale))
  return result
}
