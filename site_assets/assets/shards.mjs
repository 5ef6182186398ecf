/** The shards: their addresses, how they are fetched, and the types of what they hold (docs/shards.md). */

/** The schema these modules read. */
export const SCHEMA = 1

/**
 * @typedef {object} Example
 * @property {string} group  "top", "bottom", "band:…" or "random"
 * @property {number} doc
 * @property {string} doc_name
 * @property {number} position  of the peak, in tokens from the document's start
 * @property {number} value  at the peak
 * @property {number} start  position of the window's first token
 * @property {number[]} token_ids
 * @property {number[]} text  indices into the shard's `tokens`
 * @property {(number | null)[]} values  activation = integer × scale; null where not finite
 * @property {boolean} has_page
 */
/**
 * Examples as a shard holds them: one list per column (docs/shards.md).
 * @typedef {{doc: number[], position: number[], peak: number[], value: number[], text: number[][], values: (number | null)[][]}} Examples
 */
/** @typedef {{group: string, count: number, share: number, share_of_side: number | null, low: number | null, high: number | null, n_examples: number, n_found: number}} Group */
/** @typedef {{edges: number[], counts: number[]}} Histogram */
/** @typedef {{token_id: number, text: string, mean: number, count: number}} TokenMean */
/** @typedef {{names: (string | number)[], mean: (number | null)[], count: number[]}} Profile */
/** @typedef {{id: string, value: number, label?: string, has_page?: boolean}} Neighbour */
/**
 * @typedef {object} Stats
 * @property {number} n_tokens
 * @property {number} n_nonfinite
 * @property {number} n_documents
 * @property {number | null} mean
 * @property {number | null} std
 * @property {number | null} skewness
 * @property {number | null} kurtosis
 * @property {number | null} min
 * @property {number | null} max
 * @property {number | null} density
 * @property {number | null} threshold
 * @property {number | null} share_positive
 * @property {number | null} share_negative
 * @property {Record<string, number | null>} quantiles
 */
/**
 * @typedef {object} Write
 * @property {number | null} scaling
 * @property {number | null} read_norm
 * @property {number | null} write_norm
 * @property {number | null} max
 * @property {string | null} read_space
 * @property {string | null} write_space
 */
/**
 * @typedef {object} ChannelShard
 * @property {number} schema
 * @property {string} id
 * @property {string} collection
 * @property {string} kind
 * @property {number | null} layer
 * @property {string} module
 * @property {number} rank_index
 * @property {number} rank
 * @property {string} basis
 * @property {string} basis_note  what the choice of this direction means
 * @property {string[]} panels  names of the panels that the shard holds, in display order
 * @property {boolean} is_signed
 * @property {boolean} is_dead
 * @property {string | null} previous
 * @property {string | null} next
 * @property {"full" | "compact"} preset
 * @property {number} steps  of the largest measured size: the integers of `values` go that far
 * @property {string[]} tokens  "" = continues the character begun by the token before it
 * @property {number[]} token_ids  of `tokens`
 * @property {number[]} special  indices into `tokens`
 * @property {number} scale  activation per integer step; the error is at most scale / 2
 * @property {Stats} stats
 * @property {Histogram} histogram
 * @property {Example[]} examples
 * @property {Group[]} groups
 * @property {Record<string, Neighbour[]>} neighbours
 * @property {TokenMean[]} top_tokens
 * @property {TokenMean[]} bottom_tokens
 * @property {Record<string, Profile> | Undefined} [profiles]
 * @property {Write | Undefined} write
 */

/**
 * Address of the shard of an id.
 * @param {string} root  ending in "/"
 * @param {string} id
 */
export function shardUrl(root, id) {
  return `${root}shards/${pathOf(id)}.json`
}

/**
 * Address of the page of an id.
 * @param {string} root  ending in "/"
 * @param {string} id
 */
export function pageUrl(root, id) {
  return `${root}atlas/${pathOf(id)}/`
}

const plain = /^[A-Za-z0-9._-]*$/
const meaningful = /^(\..*|index|readme|con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?$/i

/**
 * The path of an id below atlas/ and shards/: the same escape as `path_of` in generator/publish/addresses.py.
 * @param {string} id
 */
export function pathOf(id) {
  return id.split("/").map(escapeSegment).join("/")
}

/** @param {string} segment */
function escapeSegment(segment) {
  const tilde = (/** @type {number} */ byte) => `~${byte.toString(16).padStart(2, "0")}`
  const escaped = plain.test(segment) ? segment : Array.from(new TextEncoder().encode(segment))
    .map((byte) => (plain.test(String.fromCharCode(byte)) ? String.fromCharCode(byte) : tilde(byte)))
    .join("")
  const safe = meaningful.test(escaped) ? tilde(escaped.charCodeAt(0)) + escaped.slice(1) : escaped
  return safe.endsWith(".") ? `${safe.slice(0, -1)}~2e` : safe
}

/**
 * Fetches a shard and checks its schema.
 * @param {string} address
 * @returns {Promise<any>}
 * @throws when the shard is not there, is not JSON, or has another schema: the message says which
 */
export async function fetchJson(address) {
  const response = await fetch(address).catch(() => {
    throw new Error(`${address} could not be fetched (is the network there?)`)
  })
  if (!response.ok) throw new Error(`${address} answered ${response.status}`)
  const record = await response.json().catch(() => {
    throw new Error(`${address} is not valid JSON`)
  })
  if (record.schema !== SCHEMA)
    throw new Error(
      `${address} has schema ${record.schema}, this site reads ${SCHEMA}: build again with “python -m generator build”`,
    )
  return opened(record)
}

/**
 * A shard as pages work with it: each example a record, each histogram with the edges of its bins. The twin of `opened`
 * in generator/publish/reading.py.
 * @param {any} shard
 */
export function opened(shard) {
  if (shard.groups) {
    const groups = shard.groups.flatMap((/** @type {Group} */ one) => Array(one.n_examples).fill(one.group))
    return {
      ...shard,
      examples: records(shard, shard.examples, groups),
      groups: shard.groups.map((/** @type {Group} */ one) => ({ ...one, ...shares(one, shard.stats) })),
      histogram: withEdges(shard.histogram),
    }
  }
  if (shard.cards) {
    const card = (/** @type {any} */ one) => ({ ...one, example: records(shard, one.example, [one.example_group])[0] ?? null })
    return { ...shard, cards: shard.cards.map(card) }
  }
  if (shard.modules) {
    const module = (/** @type {any} */ one) => ({ ...one, channels: one.channels.map((/** @type {any} */ channel) => openedChannel(shard, channel)) })
    return { ...shard, modules: shard.modules.map(module) }
  }
  if (shard.strongest) return { ...shard, channels: rows(shard.channels) }
  return shard
}

/**
 * The channels of a document, one record each.
 * @param {Record<string, any[]>} table
 */
function rows(table) {
  return table.id.map((id, row) => ({
    id,
    has_page: Boolean(table.has_page[row]),
    is_signed: Boolean(table.is_signed[row]),
    scale: table.scale[row],
    reference_rms: table.reference_rms[row],
    max_here: table.max_here[row],
  }))
}

/**
 * @param {any} shard
 * @param {any} channel  of a layer
 */
function openedChannel(shard, channel) {
  const side = (/** @type {"top" | "bottom"} */ name) => records(shard, channel[name], channel[name].doc.map(() => name))
  return { ...channel, top: side("top"), bottom: side("bottom"), histogram: withEdges(channel.histogram) }
}

/**
 * A group's share of the measured tokens and, of a band, of those with the same sign.
 * @param {Group} group
 * @param {Stats} stats
 */
function shares({ group, count }, { n_tokens, share_positive, share_negative }) {
  const sign = group.startsWith("band:") ? group[5] : ""
  const ofSide = sign === "+" ? share_positive : sign === "-" ? share_negative : null
  const nSide = Math.round((ofSide ?? 0) * n_tokens)
  return { share: n_tokens ? count / n_tokens : null, share_of_side: nSide ? count / nSide : null }
}

/**
 * @param {{first: number, step: number, counts: number[]}} histogram
 * @returns {Histogram}
 */
function withEdges({ first, step, counts }) {
  return { counts, edges: counts.length ? Array.from({ length: counts.length + 1 }, (_, bin) => (first + bin) * step) : [] }
}

/**
 * @param {{token_ids: number[], doc_names: Record<string, string>, doc_pages: number[]}} shard
 * @param {Examples} table
 * @param {string[]} groups  of each example
 * @returns {Example[]}
 */
function records({ token_ids, doc_names, doc_pages }, table, groups) {
  return table.doc.map((doc, row) => ({
    group: groups[row],
    doc,
    doc_name: doc_names[doc],
    has_page: doc_pages.includes(doc),
    position: table.position[row],
    value: table.value[row],
    start: table.position[row] - table.peak[row],
    token_ids: table.text[row].map((index) => token_ids[index]),
    text: table.text[row],
    values: table.values[row],
  }))
}

/** @type {Map<string, Promise<any>>} */
const collections = new Map()

/**
 * The shard of a collection, fetched once for all panels of a page, when the first part that needs it is nearly seen: of a
 * large dictionary it weighs more than the page.
 * @param {string} name
 * @param {import("./main.mjs").Context} context
 * @param {HTMLElement} part
 * @returns {Promise<any>}
 */
export async function collectionOf(name, context, part) {
  await nearlySeen(part)
  const id = `collection/${name}`
  const fetched = collections.get(id) ?? context.fetchShard(id)
  collections.set(id, fetched)
  return fetched
}

/** Waits until an element comes near the window, or the page is printed. @param {HTMLElement} element */
function nearlySeen(element) {
  return /** @type {Promise<void>} */ (new Promise((seen) => {
    const watch = new IntersectionObserver(([{ isIntersecting }]) => {
      if (!isIntersecting) return
      watch.disconnect()
      seen()
    }, { rootMargin: "300px" })
    watch.observe(element)
    addEventListener("beforeprint", () => seen(), { once: true })
  }))
}

/**
 * @typedef {{undefined: string}} Undefined  a panel that is not defined for this channel: the reason, in one sentence
 */

/**
 * An id as people read it: "L12 gate_proj", "L12 q_proj r3", "sae 1234", "layer 4", "document 42"; nothing unseen in it.
 * @param {string} id
 */
export function readableId(id) {
  const [collection, ...rest] = id.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, "").split("/")
  if (collection === "layer") return `layer ${rest.join(" ")}`
  if (collection === "doc") return `document ${rest.join(" ")}`
  if (!rest.length) return collection
  if (rest.length === 1 && /^\d+$/.test(rest[0])) return `${collection} ${rest[0]}`
  return rest.join(" ")
}
