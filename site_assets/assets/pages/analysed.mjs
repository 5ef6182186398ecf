/** One prompt or document under one model: predictions, logit lens, attribution, parts of the logit, attention, geometry. */
import { AttentionView } from "../analysis/attention.mjs"
import { attribution, logitLens, logitParts } from "../analysis/explain.mjs"
import { curves } from "../analysis/geometry.mjs"
import { section } from "../analysis/metrics.mjs"
import { continuations, predictionReader, textOf } from "../analysis/reading.mjs"
import { h } from "../elements.mjs"
import { formatState, hashOf, parseState } from "../hash.mjs"
import { count } from "../numbers.mjs"

/** @typedef {import("../main.mjs").Context} Context */

const INITIAL = { colour: "", t: "", view: "head", layer: "0", head: "0", variant: "", metric: "effective_rank", where: "" }

/**
 * @param {HTMLElement} element
 * @param {any} shard
 * @param {Context} context
 */
export function mount(element, shard, context) {
  const state = parseState(location.hash, INITIAL)
  const asked = location.hash.includes("view=")
  const keep = () => history.replaceState(history.state, "", hashOf(formatState(state, INITIAL)) || location.pathname + location.search)
  const { read, attention, model } = shard
  const drawAttention = () => new AttentionView(shard.id, attention, textOf(shard), model.variants, state, keep, context).element
  element.replaceChildren(
    h("p", { class: "fb-text-facts" }, read.n_read === read.n_tokens ? `${count(read.n_tokens)} tokens` : `${count(read.n_read)} of ${count(read.n_tokens)} tokens`,
      h("span", {}, model.architecture), shard.document ? h("a", { href: context.linkTo(shard.document) }, "The document with its channels") : ""),
    read.note ? h("p", { class: "fb-note" }, read.note) : "",
    section("Predictions", "predictions", model.kind === "masked" ? "What the model puts in each mask: point to one." : "Point to a token, or use the arrow keys: what was expected there, and what comes next.", shard.predictions,
      () => [predictionReader(shard, state, keep, context)]),
    shard.kind === "prompt" && !shard.continuations.undefined ? section("How it goes on", "continuations", "", shard.continuations, () => [continuations(shard)]) : "",
    section("Attention", "attention", "", attention, () => [drawAttention()]),
    section("Logit lens", "lens", "What each layer would predict if it were the last, at each token: the likeliest token, coloured by its probability.", shard.lens, () => [logitLens(shard, context)]),
    section("Which tokens made the prediction", "attribution", "", shard.attribution, () => [attribution(shard, context)]),
    section("Which parts made the prediction", "logit-parts", "", shard.logit_parts, () => [logitParts(shard, context)]),
    section("Geometry of this text", "geometry", "Of this text’s few tokens alone; compare with the whole corpus on the model’s page.", shard.geometry, () => [curves(shard.geometry, state, keep, context)]),
  )
  if (asked) element.querySelector("#attention")?.scrollIntoView()
}
