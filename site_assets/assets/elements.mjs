/** Building DOM nodes. Text goes in as text nodes only, so no string of a run can become markup. */

/** @typedef {Node | string | number | null | undefined | false} Child */

const svgNamespace = "http://www.w3.org/2000/svg"

/**
 * An HTML element. Attributes with the value null, undefined or false are left out; true gives an empty attribute.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string | number | boolean | null | undefined>} [attributes]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children)
}

/**
 * An SVG element.
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string | number | boolean | null | undefined>} [attributes]
 * @param {...Child} children
 * @returns {SVGElementTagNameMap[K]}
 */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(svgNamespace, tag), attributes, children)
}

/**
 * @template {Element} E
 * @param {E} element
 * @param {Record<string, string | number | boolean | null | undefined>} attributes
 * @param {Child[]} children
 * @returns {E}
 */
function fill(element, attributes, children) {
  for (const name in attributes) {
    const value = attributes[name]
    if (value !== null && value !== undefined && value !== false)
      element.setAttribute(name, value === true ? "" : String(value))
  }
  for (const child of children)
    if (child !== null && child !== undefined && child !== false)
      element.append(typeof child === "number" ? String(child) : child)
  return element
}

/**
 * A part that is folded, drawn when it is first opened: most never are.
 * @param {string} summary
 * @param {() => Child[]} draw
 * @returns {HTMLDetailsElement}
 */
export function folded(summary, draw) {
  const box = h("details", { class: "fb-numbers" }, h("summary", {}, summary))
  box.addEventListener("toggle", () => box.children.length === 1 && fill(box, {}, draw()))
  return box
}

/**
 * A table whose first row is a header; numbers are set in tabular figures.
 * @param {string} caption  read out, not shown
 * @param {string[]} header
 * @param {Child[][]} rows
 * @returns {HTMLTableElement}
 */
export function table(caption, header, rows) {
  return h(
    "table",
    { class: "fb-table" },
    h("caption", { class: "fb-hidden" }, caption),
    h("thead", {}, h("tr", {}, ...header.map((name) => (name ? h("th", { scope: "col" }, name) : h("td"))))),
    h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map((cell) => h("td", {}, cell))))),
  )
}
