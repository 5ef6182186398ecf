/** What people and models said of a channel, first what counts most. */
import { h, table } from "../elements.mjs"

/** @typedef {{polarity: string, text: string, author: string, source: string, date: string, score: number | null, score_name: string, note: string}} LabelRow */

const sides = /** @type {Record<string, string>} */ ({ positive: "+ positive", negative: "− negative", both: "both" })

/** @type {import("../panels.mjs").Panel} */
export const panel = {
  title: "Labels",
  caption: "What people and models say it means: people first, then the newest.",
  anchor: "labels",
  draw(shard) {
    const { labels, is_signed: isSigned } = /** @type {{labels: LabelRow[], is_signed: boolean}} */ (/** @type {unknown} */ (shard))
    const header = [isSigned && "side", "label", "by", "score", "date"].filter((name) => name !== false)
    const rows = labels.map((label) => [
      isSigned && sides[label.polarity],
      h("div", {}, h("bdi", {}, label.text || "—"), label.note && h("p", { class: "fb-note fb-label__note" }, label.note)),
      h("span", {}, h("bdi", {}, label.author), label.source === "model" && h("span", { class: "fb-badge" }, "model")),
      label.score === null ? "–" : h("span", { title: label.score_name || "score" }, label.score.toFixed(2).replace("-", "−")),
      label.date,
    ].filter((cell) => cell !== false))
    const element = table("Labels", header, rows)
    element.classList.add("fb-table--labels")
    return element
  },
}
