import { cosineMatrix } from "../chart.mjs"
import { countChart } from "../curves.mjs"
import { h, table } from "../elements.mjs"
import { visible } from "../heatmap/tokens.mjs"
import { count, number, percent } from "../numbers.mjs"
import { bar, placeNames, placeTable, relativeNorms, squareOf } from "../places.mjs"
import { collectionOf, readableId } from "../shards.mjs"

/** @typedef {import("../shards.mjs").ChannelShard} ChannelShard */
/** @typedef {import("../main.mjs").Context} Context */
/** @typedef {import("../places.mjs").Place} Place */
/** @typedef {{text: number[], value: number[]}} Tokens */
/** @typedef {{beta: (number | null)[], nu: number | null}} Beta */
/** @typedef {[layer: number, neuron: number, value: number]} Neuron */
/**
 * @typedef {object} Crosscoder
 * @property {Place[]} places
 * @property {number} n_models
 * @property {number} n_tokens
 * @property {(number | null)[]} norms
 * @property {number} peak
 * @property {number} n_active
 * @property {number | null} entropy
 * @property {(number | null)[] | null} cosines  upper triangle
 * @property {number | null} [relative_norm]
 * @property {"first" | "shared" | "second" | "between" | null} [class]
 * @property {number | null} [model_cosine]
 * @property {{own: number, reconstruction: Beta, error: Beta} | null} [scaling]
 * @property {({top: Tokens, bottom: Tokens} | null)[]} logits
 * @property {string | null} logits_undefined
 * @property {Neuron[][] | null} neurons
 * @property {{id: string, side: string, cosine: number, has_page: boolean}[][]} channels
 * @property {Neuron[] | null} correlated
 */

/** @type {import("../panels.mjs").Panel} */
export const panel = {
  title: "Where it lives",
  caption: "The places that this latent writes to: the length of its decoder at each, in units of the activations there.",
  anchor: "latents-over-hook-points",
  draw: (shard, context) => {
    const found = /** @type {Crosscoder} */ (/** @type {any} */ (shard).crosscoder)
    return h("div", { class: "fb-crosscoder" },
      profileSection(found),
      found.n_models === 2 ? modelsSection(found, shard, context) : null,
      cosineSection(found),
      logitSection(found, shard),
      neighbourSection(found, context),
      correlatedSection(found))
  },
}

/**
 * What the profile says in one sentence.
 * @param {Crosscoder} found
 */
export function profileSentence({ places, peak, n_active, entropy }) {
  if (entropy === null) return "It writes nothing."
  const name = placeNames(places)[peak]
  if (places.length === 1) return `It reads and writes one place, ${places[0].hook_point} of ${places[0].model}.`
  return `Longest at ${name}; active at ${count(n_active)} of ${count(places.length)} places (above 5 % of the peak). Entropy of the profile ${number(entropy)}: 0 is one place alone, 1 all alike.`
}

/** @param {Crosscoder} found */
function profileSection(found) {
  const { places, norms, peak } = found
  const relative = relativeNorms(norms, places), largest = Math.max(...relative) || 1
  const rows = placeNames(places).map((name, index) => ({
    isMarked: index === peak && places.length > 1,
    cells: [
      h("span", { title: `${places[index].hook_point} of ${places[index].model}` }, name),
      bar(relative[index] / largest, relative[index] <= 0.05 * largest), number(relative[index]), number(norms[index]), percent(places[index].fvu),
    ],
  }))
  return h("section", { class: "fb-crosscoder__profile" }, h("h3", {}, "Profile"), h("p", { class: "fb-note" }, profileSentence(found)),
    placeTable("Decoder norm by place", ["place", "", "norm / size", "norm", "FVU there"], rows))
}

const CLASSES = { first: "only", shared: "shared", second: "only", between: "between the classes" }

/**
 * The class by relative norm, with the model's name.
 * @param {Crosscoder} found
 */
export function className({ places, class: kind }) {
  if (!kind) return "writes nothing"
  if (kind === "first") return `${places[0].model} ${CLASSES.first}`
  if (kind === "second") return `${places[places.length - 1].model} ${CLASSES.second}`
  return CLASSES[kind]
}

/**
 * @param {Crosscoder} found
 * @param {ChannelShard} shard
 * @param {Context} context
 */
function modelsSection(found, shard, context) {
  const models = [found.places[0].model, found.places[found.places.length - 1].model]
  const half = found.norms.length / 2
  const size = (/** @type {number} */ model) => Math.hypot(...found.norms.slice(model * half, (model + 1) * half).map((norm) => norm ?? 0))
  const total = size(0) + size(1)
  const chart = h("div", {})
  void collectionOf(shard.collection, context, chart).then((collection) => {
    const drawn = relativeChart(/** @type {any} */ (collection).crosscoder, found.relative_norm ?? null, models)
    if (drawn) chart.replaceChildren(drawn)
  }).catch(() => chart.replaceChildren(h("p", { class: "fb-note" }, "The other latents could not be fetched.")))
  const rows = models.map((model, index) => [model, number(size(index)), percent(total ? size(index) / total : null)])
  return h("section", {}, h("h3", {}, `Between ${models[0]} and ${models[1]}`),
    h("p", { class: "fb-note" }, `Relative norm ${number(found.relative_norm)} (${className(found)}); cosine between its decoders in the two models ${number(found.model_cosine, { sign: true })}. `
      + "A class by norm is no proof: training may shrink a decoder to nothing although its model has the concept (complete shrinkage), or split one concept over two latents (latent decoupling). Latent scaling looks at the activations instead."),
    h("div", { class: "fb-grid fb-grid--logits" },
      h("div", {}, table("Decoder norm by model", ["model", "norm", "share"], rows), scalingTable(found, models)), chart))
}

/**
 * The histogram of relative norms over all latents of the collection, with this latent's place in words.
 * @param {{relative_norms: {edges: number[], counts: number[], classes: Record<string, number>} | null, n_latents: number} | undefined} crosscoder
 * @param {number | null} own
 * @param {string[]} models
 */
function relativeChart(crosscoder, own, models) {
  const norms = crosscoder?.relative_norms
  if (!norms || !crosscoder) return null
  const bin = own === null ? -1 : Math.min(norms.counts.length - 1, Math.floor(own * norms.counts.length))
  const below = norms.counts.slice(0, Math.max(0, bin)).reduce((a, b) => a + b, 0)
  const figure = countChart("Relative norm of all latents", norms.edges, norms.counts, { text: number, axis: `0 ${models[0]} · ½ both · 1 ${models[1]}`, noun: "latents", marked: bin })
  const place = own === null ? "" : ` This one is at ${number(own)}: ${count(below)} of ${count(crosscoder.n_latents)} latents stand in lower bins.`
  return h("div", {}, figure, h("p", { class: "fb-note" }, `Marked: the bin of this latent.${place}`))
}

/**
 * @param {Crosscoder} found
 * @param {string[]} models
 */
function scalingTable({ scaling, n_tokens }, models) {
  if (!scaling) return null
  const rows = /** @type {const} */ (["error", "reconstruction"]).map((name) => [name, ...scaling[name].beta.map((beta) => number(beta)), number(scaling[name].nu)])
  return h("div", {}, h("h4", {}, "Latent scaling"),
    table("Latent scaling", ["explains the", ...models.map((model) => `β ${model}`), "ν"], rows),
    h("p", { class: "fb-note" }, `How much of this latent, as it is in ${models[scaling.own]}, would explain of either model’s error and reconstruction, over ${count(n_tokens)} tokens; ν is the other model’s β over ${models[scaling.own]}’s. ν near 0 in both: only ${models[scaling.own]} has it. ν of the error near 1: the other model has it too, and its decoder was shrunk. ν of the reconstruction near 1: other latents carry it there. Any other value says neither.`))
}

/** @param {Crosscoder} found */
function cosineSection({ places, cosines }) {
  if (!cosines || places.length < 3) return null
  const members = placeNames(places).map((label) => ({ label }))
  const fold = h("details", { class: "fb-fold", open: places.length <= 12 }, h("summary", {}, `Decoder cosines, ${places.length} × ${places.length} places`),
    h("div", { class: "fb-scroll", tabindex: "0", role: "region", "aria-label": "Decoder cosines" },
      cosineMatrix(members, squareOf(cosines, places.length), { caption: "Cosines between the latent’s decoders at all places" })))
  return h("section", {}, h("h3", {}, "Does its direction stay?"), fold)
}

/**
 * @param {Crosscoder} found
 * @param {ChannelShard} shard
 */
function logitSection({ places, logits, logits_undefined }, shard) {
  if (logits_undefined) return h("section", {}, h("h3", {}, "Logits by place"), h("p", { class: "fb-note" }, logits_undefined))
  if (!logits.some((one) => one !== null)) return null
  const list = (/** @type {Tokens} */ { text, value }) => h("ol", { class: "fb-place-tokens" }, ...text.map((at, index) =>
    h("li", { title: `${number(value[index], { sign: true })}, id ${shard.token_ids[at]}` }, h("bdi", { class: "fb-text" }, visible(shard.tokens[at])))))
  const rows = placeNames(places).flatMap((name, index) => {
    const found = logits[index]
    return found ? [{ cells: [name, list(found.top), number(found.top.value[0], { sign: true }), list(found.bottom), number(found.bottom.value[0], { sign: true })] }] : []
  })
  return h("section", {}, h("h3", {}, "Logits by place"),
    h("p", { class: "fb-note" }, "Tokens that a unit of activation raises and lowers most on the straight way out from each place, centred over the vocabulary, with the largest effect."),
    placeTable("Logit effects by place", ["place", "raises", "most", "lowers", "most"], rows))
}

/**
 * @param {Crosscoder} found
 * @param {Context} context
 */
function neighbourSection({ places, neurons, channels }, context) {
  const names = placeNames(places)
  const hasAny = neurons?.some((list) => list.length) || channels.some((list) => list.length)
  if (!hasAny) return null
  const rows = names.flatMap((name, index) => {
    const near = neurons?.[index] ?? [], others = channels[index] ?? []
    return near.length + others.length ? [{ cells: [name, chips(near.map(neuronChip)), chips(others.map(({ id, side, cosine, has_page }) => [
      has_page ? h("a", { href: context.linkTo(id) }, readableId(id)) : readableId(id), ` ${side} `, h("span", { class: "fb-number" }, number(cosine, { sign: true }))]))] }] : []
  })
  return h("section", {}, h("h3", {}, "What writes along it"),
    h("p", { class: "fb-note" }, "Cosine of the decoder at each place with what MLP neurons of the layers so far write, and with channels of other collections in the residual stream."),
    placeTable("Most aligned with the decoder", ["place", "neurons", "channels"], rows))
}

/** @param {Neuron} neuron @returns {import("../elements.mjs").Child[]} */
function neuronChip([layer, neuron, value]) {
  return [`L${layer} neuron ${count(neuron)} `, h("span", { class: "fb-number" }, number(value, { sign: true }))]
}

/** @param {import("../elements.mjs").Child[][]} items */
function chips(items) {
  return h("ul", { class: "fb-place-tokens" }, ...items.map((item) => h("li", {}, ...item)))
}

/** @param {Crosscoder} found */
function correlatedSection({ correlated, n_tokens }) {
  if (!correlated?.length) return null
  return h("section", {}, h("h3", {}, "Correlated neurons"),
    h("p", { class: "fb-note" }, `Pearson’s r between the latent and MLP neurons over ${count(n_tokens)} tokens.`), chips(correlated.map(neuronChip)))
}
