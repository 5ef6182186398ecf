/** What a reader types: words, and in double quotes a token exact to the byte, with \n, \t, \xNN, \" and \\ as in code. */

const escapes = /** @type {Record<string, string>} */ ({ n: "\n", t: "\t", r: "\r", "0": "\0", '"': '"', "\\": "\\" })

/**
 * Words and phrases apart. Text without any letter or digit (an operator, say) is a phrase too: no word leads to it.
 * @param {string} typed
 * @returns {{plain: string, phrases: {text: string, bytes: string}[]}}
 */
export function parseTyped(typed) {
  /** @type {{text: string, bytes: string}[]} */
  const phrases = []
  const plain = typed.replace(/"((?:[^"\\]|\\.)*)"?/gsu, (_, inside) => {
    if (inside) phrases.push(unescaped(inside))
    return " "
  })
  if (!phrases.length && plain.trim() && !/[\p{L}\p{N}]/u.test(plain)) return { plain: "", phrases: [unescaped(plain.trim())] }
  return { plain: phrases.length ? plain.trim() : plain, phrases }
}

/**
 * @param {string} inside
 * @returns {{text: string, bytes: string}}  bytes in hexadecimal
 */
function unescaped(inside) {
  let bytes = "", text = ""
  for (const [, hex, escape, char] of inside.matchAll(/\\x([0-9a-fA-F]{2})|\\(.)|([^\\]|\\$)/gsu)) {
    const plain = hex === undefined ? (escape === undefined ? char : escapes[escape] ?? `\\${escape}`) : ""
    bytes += hex === undefined ? hexOf(plain) : hex.toLowerCase()
    text += hex === undefined ? plain : `\\x${hex.toLowerCase()}`
  }
  return { text, bytes }
}

/**
 * The UTF-8 bytes of a text in hexadecimal.
 * @param {string} text
 */
export function hexOf(text) {
  return Array.from(new TextEncoder().encode(text), (byte) => byte.toString(16).padStart(2, "0")).join("")
}

/**
 * Bytes as an address carries them: ` Wait` is `%20Wait`.
 * @param {string} bytes in hexadecimal
 */
export function percentOf(bytes) {
  return (bytes.match(/../g) ?? []).map((hex) => {
    const char = String.fromCharCode(parseInt(hex, 16))
    return /[A-Za-z0-9_.-]/.test(char) ? char : `%${hex.toUpperCase()}`
  }).join("")
}

/**
 * The bytes that `?t=` names, in hexadecimal. `+` stands for itself: an address that we write has no other use for it.
 * @param {string} query  of the address, "?t=%20Wait"
 */
export function bytesOf(query) {
  const value = /[?&]t=([^&]*)/.exec(query)?.[1] ?? ""
  return [...value.matchAll(/%([0-9a-fA-F]{2})|([^%]|%)/gsu)].map(([, hex, char]) => hex?.toLowerCase() ?? hexOf(char)).join("")
}

/**
 * The text of some bytes, or null where they are no UTF-8.
 * @param {string} bytes in hexadecimal
 */
export function textOf(bytes) {
  try {
    const raw = Uint8Array.from(bytes.match(/../g) ?? [], (hex) => parseInt(hex, 16))
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(raw)
  } catch {
    return null
  }
}

/** @param {string} bytes in hexadecimal */
export function escaped(bytes) {
  return (bytes.match(/../g) ?? []).map((hex) => `\\x${hex}`).join("")
}

/**
 * A token as the search box takes it: `" Wait"`.
 * @param {string} bytes in hexadecimal
 */
export function quotedOf(bytes) {
  const text = textOf(bytes)
  const inside = text === null ? escaped(bytes) : text.replace(/[\\"]/g, "\\$&")
  // eslint-disable-next-line no-control-regex
  return `"${inside.replace(/\n/g, "\\n").replace(/\t/g, "\\t").replace(/\r/g, "\\r").replace(/[\x00-\x1f\x7f]/g, (c) => `\\x${hexOf(c)}`)}"`
}
