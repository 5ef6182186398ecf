/** The state of a page in its address, so that a link reproduces what is seen. */

/**
 * Reads "#show=random&order=document"; what is not there, or not known, keeps its initial value.
 * @template {{[name: string]: string}} S
 * @param {string} hash
 * @param {S} initial
 * @returns {S}
 */
export function parseState(hash, initial) {
  const query = new URLSearchParams(hash.replace(/^#/, ""))
  const entries = Object.entries(initial).map(([name, value]) => [name, query.get(name) ?? value])
  return Object.fromEntries(entries)
}

/**
 * Writes only what differs from the initial state, without "#".
 * @template {{[name: string]: string}} S
 * @param {S} state
 * @param {S} initial
 */
export function formatState(state, initial) {
  const changed = Object.entries(state).filter(([name, value]) => value !== initial[name])
  return new URLSearchParams(changed).toString()
}

/**
 * The hash of a state: in a single file (assets/single.mjs) the id stands before it.
 * @param {string} state  as `formatState` gives it
 * @returns {string} with "#", or ""
 */
export function hashOf(state) {
  const id = document.documentElement.dataset.single === undefined ? null : new URLSearchParams(location.hash.slice(1)).get("id")
  const parts = [id && `id=${id}`, state].filter(Boolean)
  return parts.length ? `#${parts.join("&")}` : ""
}

/**
 * Where a document page opens: at a token, with a channel's colours.
 * @param {number} position
 * @param {string} id
 */
export function documentHash(position, id) {
  return new URLSearchParams({ t: String(position), c: id }).toString()
}
