/** From this browser into the repository: a file, a prefilled GitHub issue, or a new file in a pull request. */

/** Longest address that GitHub takes; it answers 414 somewhat above 8,000 characters. */
export const LONGEST_ADDRESS = 7500

/** Whether issues and files can be prefilled there: github.com, or a company's own GitHub. @param {string} repository */
export function isGithub(repository) {
  return /^https:\/\/github\.[^/]+\/[^/]+\/[^/]+$/.test(repository)
}

/** The name of one's label file. @param {string} author */
export function fileName(author) {
  const name = author.normalize("NFKD").toLowerCase().replace(/[^a-z0-9._-]+/g, "-").replace(/^[-.]+|[-.]+$/g, "")
  return `${name || "anonymous"}.jsonl`
}

/**
 * @typedef {object} Offer
 * @property {string} href
 * @property {boolean} isWhole  false: the records did not fit and have to be pasted
 */

/**
 * An issue with the records as its text.
 * @param {string} repository
 * @param {string} author
 * @param {string} jsonl
 * @returns {Offer}
 */
export function issueOffer(repository, author, jsonl) {
  const title = `Labels by ${author || "anonymous"}`
  const fence = "`".repeat(Math.max(3, ...[...jsonl.matchAll(/`+/g)].map(([run]) => run.length + 1)))
  const body = (/** @type {string} */ records) => `Records for \`labels/${fileName(author)}\`:\n\n${fence}jsonl\n${records}${fence}\n`
  const address = (/** @type {string} */ records) => `${repository}/issues/new?${new URLSearchParams({ title, body: body(records) })}`
  return offer(address(jsonl), address("(paste the records here)\n"))
}

/**
 * A new file with the records, which GitHub turns into a pull request.
 * @param {string} repository
 * @param {string} branch
 * @param {string} author
 * @param {string} jsonl
 * @returns {Offer}
 */
export function fileOffer(repository, branch, author, jsonl) {
  const address = (/** @type {string} */ value) =>
    `${repository}/new/${encodeURIComponent(branch)}?${new URLSearchParams({ filename: `labels/${fileName(author)}`, value })}`
  return offer(address(jsonl), address(""))
}

/**
 * @param {string} whole
 * @param {string} empty
 */
function offer(whole, empty) {
  const isWhole = whole.length <= LONGEST_ADDRESS
  return { href: isWhole ? whole : empty, isWhole }
}
