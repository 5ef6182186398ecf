/**
 * What the reader says of channels, kept in this browser: labels, notes, stars and skips, as the records of labels/*.jsonl
 * (docs/labels.md) without their author, who is the reader. Nothing is sent anywhere.
 */

/** @typedef {"positive" | "negative" | "both"} Polarity */
/**
 * @typedef {object} Kept  one record; stars, notes and skips stand in the one for both sides
 * @property {string} id
 * @property {Polarity} polarity
 * @property {string} date  2026-11-22
 * @property {string} [text]
 * @property {string} [note]
 * @property {boolean} [starred]
 * @property {boolean} [skipped]
 */
/** @typedef {Kept & {author: string, source: string, run?: string, score?: number, score_name?: string}} LabelRecord */
/**
 * @typedef {object} ImportReport
 * @property {number} added
 * @property {number} same  were here already
 * @property {string[]} conflicts
 * @property {number} others  by other people
 * @property {number} elsewhere  of other runs
 * @property {string[]} faults
 * @property {string} signed  the name taken from the file, where none had been given
 */

export const LONGEST_TEXT = 300
export const LONGEST_NOTE = 4000
const polarities = ["positive", "negative", "both"]
/** Every field of a record, and of which type it is. @type {Record<string, string>} */
const fields = {
  id: "string", polarity: "string", text: "string", author: "string", source: "string", date: "string", score: "number", score_name: "string",
  starred: "boolean", skipped: "boolean", note: "string", run: "string",
}
const days = /^\d{4}-\d\d-\d\d$/

/** The reader's records, and where they are kept. */
export class Annotations {
  /**
   * @param {() => Storage} storage  may throw, where the browser forbids it
   * @param {string} key
   */
  constructor(storage, key) {
    this.storage = storage
    this.key = key
    /** Why nothing can be kept; null while it can. @type {string | null} */
    this.failure = null
    /** What lies in the storage and cannot be read. @type {string | null} */
    this.unread = null
    this.author = ""
    /** @type {Map<string, Kept>} by id and polarity */
    this.records = new Map()
    /** @type {Set<() => void>} */
    this.listeners = new Set()
    this.load()
  }

  /** Reads what is kept; called again when another tab has written. */
  load() {
    let text = null
    try {
      text = this.storage().getItem(this.key)
    } catch {
      this.failure = "This browser keeps nothing for this site (its storage is switched off)."
      return
    }
    if (text === null) return
    try {
      const { author, records } = JSON.parse(text)
      const kept = /** @type {Kept[]} */ (records).map((record) => /** @type {const} */ ([identity(record), record]))
      this.records = new Map(kept)
      this.author = String(author)
    } catch {
      this.failure = `What this browser kept for this site cannot be read (${this.key}). It stays there until you write something, then under “${this.key} (unread)”.`
      this.unread = text
    }
  }

  /** Every record, by id and polarity. */
  all() {
    return [...this.records.values()].sort((a, b) => compare(a.id, b.id) || compare(a.polarity, b.polarity))
  }

  /** @param {string} id @param {Polarity} polarity @returns {Kept | undefined} */
  get(id, polarity) {
    return this.records.get(identity({ id, polarity }))
  }

  /** Whether the reader has given a channel a label. @param {string} id */
  isLabelled(id) {
    return polarities.some((polarity) => this.get(id, /** @type {Polarity} */ (polarity))?.text)
  }

  /** Whether the reader has labelled a channel or passed over it. @param {string} id */
  isDone(id) {
    return this.isLabelled(id) || Boolean(this.get(id, "both")?.skipped)
  }

  /** @param {string} id */
  isStarred(id) {
    return Boolean(this.get(id, "both")?.starred)
  }

  /** Stars a channel, or takes the star back. @param {string} id @returns {boolean} whether it is starred now */
  toggleStar(id) {
    const starred = !this.isStarred(id)
    this.change(id, "both", { starred })
    return starred
  }

  /**
   * Changes one record; what it does not name stays. A record that says nothing more is dropped.
   * @param {string} id
   * @param {Polarity} polarity
   * @param {{text?: string, note?: string, starred?: boolean, skipped?: boolean}} changes
   */
  change(id, polarity, changes) {
    if (!this.failure) this.load()
    const before = this.get(id, polarity)
    const after = tidy({ ...before, ...changes, id, polarity, date: today() })
    if (before && JSON.stringify({ ...after, date: before.date }) === JSON.stringify(tidy(before))) return
    if (says(after)) this.records.set(identity(after), after)
    else this.records.delete(identity(after))
    this.keep()
  }

  /** @param {string} author */
  sign(author) {
    if (!this.failure) this.load()
    this.author = author.trim().slice(0, 100)
    this.keep()
  }

  /** Writes to the browser's storage; a refusal is said, and what was written stays until the page is closed. */
  keep() {
    try {
      if (this.unread !== null) this.storage().setItem(`${this.key} (unread)`, this.unread)
      this.unread = null
      this.storage().setItem(this.key, JSON.stringify({ author: this.author, records: this.all() }))
      this.failure = null
    } catch {
      this.failure = "This browser could not keep the last change (its storage is full or switched off). Export now: it is lost when this page is closed."
    }
    for (const listener of this.listeners) listener()
  }

  /**
   * The records as a label file.
   * @param {string} run
   */
  toJsonl(run) {
    const author = this.author || "anonymous"
    return this.all().map((record) => `${JSON.stringify(sorted({ ...record, author, source: "human", ...(run && { run }) }))}\n`).join("")
  }

  /**
   * Takes over the reader's own records of a label file. A newer day replaces an older one; of two texts of one day the
   * kept one stays. Records of other people and of other runs belong elsewhere and are only counted.
   * @param {string} text
   * @param {string} run  name of this site's run
   * @returns {ImportReport}
   */
  fromJsonl(text, run) {
    /** @type {ImportReport} */
    const report = { added: 0, same: 0, conflicts: [], others: 0, elsewhere: 0, faults: [], signed: "" }
    if (!this.failure) this.load()
    for (const [index, line] of text.replace(/^\ufeff/, "").split("\n").entries()) {
      if (!line.trim()) continue
      const read = parseRecord(line)
      if (typeof read === "string") report.faults.push(`Line ${index + 1}: ${read}`)
      else if (read.run && read.run !== run) report.elsewhere++
      else this.#take(read, report)
    }
    if (report.added || report.signed) this.keep()
    return report
  }

  /** @param {LabelRecord} read @param {ImportReport} report */
  #take({ author, source, run, ...kept }, report) {
    if (!this.author && source === "human") this.author = report.signed = author
    if (author !== this.author || source !== "human") return void report.others++
    const record = tidy(kept), before = this.records.get(identity(record))
    if (before && JSON.stringify(tidy({ ...before, date: record.date })) === JSON.stringify(record)) return void report.same++
    if (before && before.date >= record.date) return void report.conflicts.push(`${record.id} (${record.polarity}): kept “${before.text ?? ""}”, not “${record.text ?? ""}”`)
    this.records.set(identity(record), record)
    report.added++
  }
}

/** @param {{id: string, polarity: string}} record */
function identity({ id, polarity }) {
  return `${id}\n${polarity}`
}

/** @param {Kept} record */
function says({ text, note, starred, skipped }) {
  return Boolean(text || note || starred || skipped)
}

/** Only what says something, in one order. @param {Kept} record @returns {Kept} */
function tidy(record) {
  const entries = Object.entries(record).filter(([, value]) => value !== "" && value !== false && value !== undefined && value !== null)
  return /** @type {Kept} */ (sorted(Object.fromEntries(entries)))
}

/** @param {Record<string, unknown>} record */
function sorted(record) {
  return Object.fromEntries(Object.entries(record).sort(([a], [b]) => compare(a, b)))
}

/** @param {string} a @param {string} b */
function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0
}

/**
 * One line of a label file, or what is wrong with it: the rules of generator/publish/labels.py.
 * @param {string} line
 * @returns {LabelRecord | string}
 */
export function parseRecord(line) {
  let record
  try {
    record = JSON.parse(line)
  } catch {
    return "not JSON"
  }
  if (record === null || typeof record !== "object" || Array.isArray(record)) return "not an object"
  for (const [name, value] of Object.entries(record)) {
    if (!Object.hasOwn(fields, name)) return `unknown field “${name}”`
    if (typeof value !== fields[name] && !(name === "score" && value === null)) return `${name} is no ${fields[name]}`
    if (/\p{Surrogate}/u.test(String(value))) return `${name} holds half a character`
  }
  if (!record.id) return "id is missing"
  if (!polarities.includes(record.polarity)) return `polarity “${record.polarity}”: take one of ${polarities.join(", ")}`
  if (!record.author) return "author is missing"
  if (!["human", "model"].includes(record.source)) return `source “${record.source}”: take human or model`
  if (!isDay(record.date)) return `date “${record.date}”: write a day as 2026-11-22`
  for (const [name, longest] of /** @type {const} */ ([["text", LONGEST_TEXT], ["note", LONGEST_NOTE]])) {
    if ((record[name] ?? "").length > longest) return `${name} has more than ${longest} characters`
  }
  if (/[\n\r\u2028\u2029]/.test(record.text ?? "")) return "text has several lines: put the rest into note"
  return says(record) ? record : "the record is empty"
}

/** Whether a text is a day of the calendar, as 2026-11-22. @param {string | undefined} text */
function isDay(text = "") {
  const time = days.test(text) ? Date.parse(text) : NaN
  return !Number.isNaN(time) && new Date(time).toISOString().startsWith(text)
}

/** The reader's day. */
export function today(now = new Date()) {
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0")
  return `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`
}

/**
 * The next channel that waits for a label: after `from` in the order given, or any when `random` is given.
 * @param {string[]} ids
 * @param {string | null} from
 * @param {(id: string) => boolean} isDone
 * @param {() => number} [random]  from 0 to below 1
 * @returns {string | null}
 */
export function nextOf(ids, from, isDone, random) {
  const at = from === null ? -1 : ids.indexOf(from)
  const open = [...ids.slice(at + 1), ...ids.slice(0, Math.max(at, 0))].filter((id) => !isDone(id))
  return open.length ? open[random ? Math.floor(random() * open.length) : 0] : null
}

/** The records of this site; one for all modules of a page. */
export const annotations = new Annotations(() => localStorage, `featurebook.annotations ${new URL("..", import.meta.url).pathname}`)

/** @param {string} id */
export const isStarred = (id) => annotations.isStarred(id)
/** @param {string} id */
export const toggleStar = (id) => annotations.toggleStar(id)
export const all = () => annotations.all()
