import { h, table } from "../elements.mjs"
import { count, number } from "../numbers.mjs"

/** @typedef {{value: number | null, n: number, reason?: string}} Value */
/** @typedef {{kind: string, key: string, divergence: Value, loss_change: Value}} Part */
/** @typedef {{divergence: Value, loss_change: Value, rank: number | null, n_directions: number, context: Part[], method: Record<string, unknown>}} Ablation */

/** What the parts are called that a direction belongs to. @type {Record<string, string>} */
const PARTS = { module: "its module", layer: "its layer", type: "all modules of its type", adapter: "the whole adapter" }

/** A value, or why there is none. @param {Value} value @param {boolean} [sign] */
function text({ value, reason }, sign = false) {
  return value === null ? (reason ?? "undefined") : number(value, { sign })
}

/** @type {import("../panels.mjs").Panel} */
export const panel = {
  title: "What zeroing it does",
  caption: "How far the model’s predictions move when this direction alone writes nothing, and when larger parts of the adapter do not: KL(full ‖ ablated) and the change of cross-entropy, in nats per token. Effects of parts do not add up.",
  anchor: "effect-of-zeroing",
  draw: (shard, context) => {
    const { divergence, loss_change, rank, n_directions, context: parts, method } = /** @type {Ablation} */ (/** @type {any} */ (shard).ablation)
    const rows = [{ kind: "direction", key: "", divergence, loss_change }, ...parts].map(({ kind, key, ...effect }) => [
      kind === "direction" ? h("strong", {}, "this direction") : h("span", { title: key }, PARTS[kind] ?? kind),
      text(effect.divergence), text(effect.loss_change, true),
    ])
    const place = rank === null || divergence.value === null ? "" : ` Rank ${count(rank)} of ${count(n_directions)} directions by KL.`
    return h("div", {},
      h("p", { class: "fb-note" }, `On ${count(divergence.n)} tokens${method.documents ? ` (documents: ${method.documents})` : ""}.${place} `,
        h("a", { href: `${context.root}metrics/ablation/` }, "What this measures")),
      h("div", { class: "fb-table-box" }, table("Effects of zeroing", ["without", "KL, nats", "loss, nats"], rows)))
  },
}
