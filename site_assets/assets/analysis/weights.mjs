/** Attention weights as the shards hold them: 8 bits per weight, (q / 255)². Pure functions. */

/**
 * The weights of a base64 string.
 * @param {string} encoded
 * @returns {Float32Array}
 */
export function decodeWeights(encoded) {
  const bytes = atob(encoded)
  const weights = new Float32Array(bytes.length)
  for (let at = 0; at < bytes.length; at++) weights[at] = (bytes.charCodeAt(at) / 255) ** 2
  return weights
}

/**
 * The weights of one head.
 * @param {Float32Array} weights  head after head
 * @param {number} head
 * @param {number} n  tokens
 */
export function ofHead(weights, head, n) {
  return weights.subarray(head * n * n, (head + 1) * n * n)
}

/**
 * The keys that a query attends to most.
 * @param {Float32Array} matrix
 * @param {number} query
 * @param {number} n
 * @param {number} most
 * @returns {{key: number, weight: number}[]}
 */
export function strongestKeys(matrix, query, n, most) {
  return Array.from({ length: n }, (_, key) => ({ key, weight: matrix[query * n + key] }))
    .filter(({ weight }) => weight > 0).sort((a, b) => b.weight - a.weight || a.key - b.key).slice(0, most)
}

/**
 * A colour between two, as red, green, blue.
 * @param {number[]} from
 * @param {number[]} to
 * @param {number} share
 */
export function between(from, to, share) {
  return from.map((value, index) => Math.round(value + (to[index] - value) * share))
}

/** "#f28e2b" -> [242, 142, 43] @param {string} hex */
export function channels(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.trim().slice(at, at + 2), 16) || 0)
}
