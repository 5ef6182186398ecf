import { h } from "../elements.mjs"
import { number } from "../numbers.mjs"

/**
 * A space's name in words; a dictionary's own inputs and outputs have none that would tell more.
 * @param {string | null} space
 * @param {string} collection
 */
function spaceName(space, collection) {
  if (space === `${collection}.in` || space === `${collection}.out`) return "in the dictionary’s own inputs"
  return space ? `in ${space.replaceAll("_", " ")}` : "–"
}

/** @type {import("../panels.mjs").Panel} */
export const panel = {
  title: "What it reads and writes",
  caption: "The length of its vectors, and how large its largest write is.",
  anchor: "size-of-the-write",
  draw: (shard) => {
    const write = /** @type {import("../shards.mjs").Write} */ (shard.write)
    const isDirection = shard.kind === "lora"
    const rows = [
      ["largest write", number(write.max), isDirection ? "scaling · max|a| · ‖write‖" : "max|a| · ‖write‖"],
      ...(isDirection ? [["scaling", number(write.scaling), "alpha / r, or alpha / √r for rsLoRA"]] : []),
      ["‖read‖", number(write.read_norm), spaceName(write.read_space, shard.collection)],
      ["‖write‖", number(write.write_norm), spaceName(write.write_space, shard.collection)],
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
