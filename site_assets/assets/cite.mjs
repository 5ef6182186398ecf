/** How to cite a page: as a sentence and as BibTeX, from what the run file says of the site. Pure functions. */

/**
 * @typedef {object} Citation  of the site (generator/publish/citation.py)
 * @property {string[]} authors
 * @property {string} title
 * @property {string} date  2026-11-22, or empty
 * @property {string} url
 * @property {string} version  of the measurements
 * @property {string} software
 */

/**
 * @param {Citation} site
 * @param {{title: string, url: string}} page
 */
export function citationText({ authors, title, date, version, software }, page) {
  const who = listed(authors), year = date.slice(0, 4)
  const begin = who ? `${who}${year && ` (${year})`}. ` : ""
  const whole = page.title && page.title !== title ? `“${page.title}.” In ${title}` : title
  const made = [!who && year, version && `version ${version}`, `made with ${software}`].filter(Boolean).join(", ")
  return `${begin}${whole}. ${made[0].toUpperCase()}${made.slice(1)}. ${page.url}`
}

/**
 * @param {Citation} site
 * @param {{title: string, url: string}} page
 */
export function bibtex({ authors, title, date, version, software }, page) {
  const isPart = page.title && page.title !== title
  const fields = [
    ["author", authors.map((name) => `{${tex(name)}}`).join(" and ")],
    ["title", `{${tex(isPart ? page.title : title)}}`],
    ["howpublished", isPart ? tex(title) : ""],
    ["year", date.slice(0, 4)],
    ["month", date && ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"][Number(date.slice(5, 7)) - 1]],
    ["version", tex(version)],
    ["url", page.url.replace(/[{}\\%#]/g, (char) => (char === "%" || char === "#" ? `\\${char}` : encodeURIComponent(char)))],
    ["note", `Made with ${tex(software)}`],
  ].filter(([, value]) => value)
  const lines = fields.map(([name, value]) => `  ${name} = ${name === "month" ? value : `{${value}}`},`)
  return [`@misc{${keyOf(authors, title, date, page)},`, ...lines, "}"].join("\n")
}

/** @param {string[]} names */
function listed(names) {
  return names.length < 3 ? names.join(" and ") : `${names.slice(0, -1).join(", ")}, and ${names.at(-1)}`
}

/**
 * @param {string[]} authors
 * @param {string} title
 * @param {string} date
 * @param {{title: string, url: string}} page
 */
function keyOf(authors, title, date, page) {
  const last = authors[0]?.split(/\s+/).at(-1) ?? title
  const id = page.url.split("/atlas/")[1] ?? ""
  return [last, date.slice(0, 4), id].map((part) => part.normalize("NFKD").replace(/[^A-Za-z0-9]+/g, "")).filter(Boolean).join("-") || "featurebook"
}

/** Characters that mean something to TeX. @param {string} text */
function tex(text) {
  /** @type {Record<string, string>} */
  const named = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}" }
  return text.replace(/[\\{}#$%&_~^]/g, (char) => named[char] ?? `\\${char}`)
}
