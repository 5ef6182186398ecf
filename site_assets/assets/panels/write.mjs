import { h } from "../elements.mjs"
import { number } from "../numbers.mjs"

/**
 * "residual" → "the residual stream" and the like; other names stay as they are.
 * @param {string | null} space
 */
function spaceName(space) {
  return space ? space.replaceAll("_", " ") : "–"
}

/** @type {import("../panels.mjs").Panel} */
export const panel = {
  title: "Where it lives",
  caption: "What it reads and writes, and how large its largest write to its module's output is.",
  anchor: "size-of-the-write",
  draw: (shard) => {
    const write = /** @type {import("../shards.mjs").Write} */ (shard.write)
    const rows = [
      ["largest write", number(write.max), "scaling · max|a| · ‖write‖"],
      ["scaling", number(write.scaling), "alpha / r, or alpha / √r for rsLoRA"],
      ["‖read‖", number(write.read_norm), `reads ${spaceName(write.read_space)}`],
      ["‖write‖", number(write.write_norm), `writes ${spaceName(write.write_space)}`],
    ]
    return h(
      "div",
      {},
      h(
        "dl",
        { class: "fb-facts" },
        ...rows.map(([name, value, note]) => h("div", {}, h("dt", {}, name), h("dd", {}, value), h("dd", { class: "fb-note" }, note))),
      ),
      shard.basis_note ? h("p", { class: "fb-note" }, shard.basis_note) : null,
    )
  },
}
