/** Latents over hook points: names, matrices and sentences; the panels of the golden latent; ranking at a token. */
import "./dom.mjs"
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"

const { makeContext } = await import("../../site_assets/assets/main.mjs")
const { placeNames, relativeNorms, squareOf } = await import("../../site_assets/assets/places.mjs")
const { opened } = await import("../../site_assets/assets/shards.mjs")
const { firingAt } = await import("../../site_assets/assets/reading.mjs")
const { panel: crosscoder, profileSentence, className } = await import("../../site_assets/assets/panels/crosscoder.mjs")
const { panel: ablated, summary } = await import("../../site_assets/assets/panels/latent_effects.mjs")
const { panel: logits } = await import("../../site_assets/assets/panels/logits.mjs")
const { panel: attribution } = await import("../../site_assets/assets/panels/attribution.mjs")

const context = makeContext("https://example.org/book/")
/** @param {string} id */
const golden = (id) => opened(JSON.parse(readFileSync(new URL(`../golden/site/shards/${id}.json`, import.meta.url), "utf8")))
const place = (model, layer, name = "resid_post") => ({ model, layer, name, hook_point: `x.${layer}:output`, space: "residual", size: 2, fvu: 0.1 })

test("places are named by what tells them apart", () => {
  assert.deepEqual(placeNames([place("adapted", 0), place("adapted", 1)]), ["L0", "L1"])
  assert.deepEqual(placeNames([place("base", 3), place("adapted", 3)]), ["base", "adapted"])
  assert.deepEqual(placeNames([place("base", 0), place("base", 1), place("adapted", 0), place("adapted", 1)]), ["base L0", "base L1", "adapted L0", "adapted L1"])
  assert.deepEqual(placeNames([place("base", 0, "mlp_out"), place("base", 0, "attn_out")]), ["L0 mlp_out", "L0 attn_out"])
  assert.deepEqual(placeNames([place("base", -1, "norm")]), ["norm"])
})

test("norms are in units of each place, cosines a symmetric matrix", () => {
  assert.deepEqual(relativeNorms([4, null], [place("base", 0), { ...place("base", 1), size: 0 }]), [2, 0])
  assert.deepEqual(squareOf([0.1, 0.2, 0.3], 3), [[1, 0.1, 0.2], [0.1, 1, 0.3], [0.2, 0.3, 1]])
})

test("the golden latent says where it lives, in which model, and what it writes", () => {
  const shard = golden("sae/1")
  const found = shard.crosscoder
  assert.match(profileSentence(found), /Longest at base L1; active at 2 of 4 places/)
  assert.equal(className(found), "shared")
  assert.equal(className({ ...found, class: "second" }), "adapted only")
  const text = crosscoder.draw(shard, context).textContent
  for (const word of ["base L0", "adapted L1", "Latent scaling", "L0 neuron 5", "L1 neuron 7", "L0 o_proj", "25.0 %"]) assert.ok(text.includes(word), word)
})

test("ablation colours by effect or by activation, and lists what moves", () => {
  const shard = golden("sae/1")
  assert.match(summary(shard.latent_effects), /adapted model.layers.1:output.*−0.500 nats.*it helps there/)
  const box = ablated.draw(shard, context)
  const tones = () => [...box.querySelectorAll(".fb-token")].map((token) => token.className)
  const before = tones()
  assert.ok(before.some((name) => / n16/.test(name)) && before.some((name) => / p8/.test(name)), before.join())
  box.querySelectorAll(".fb-segment")[1].click()
  assert.ok(tones().some((name) => / p16/.test(name)) && !tones().some((name) => / n\d/.test(name)))
  assert.match(box.querySelector("table").textContent, /25\.0 % → 50\.0 %/)
})

test("logit effects and the attribution of the golden latent are drawn", () => {
  const shard = golden("sae/1")
  assert.match(logits.draw(shard, context).textContent, /5\.25/)
  const box = attribution.draw(shard, context)
  assert.equal(box.querySelectorAll(".fb-attribution__run .fb-token").length > 0, true)
  assert.match(box.textContent, /the scores share out \+2\.50/)
})

test("what fires at a token is ranked by value, rarity or effect", () => {
  const shard = {
    channels: [{ scale: 1, reference_rms: 1 }, { scale: 1, reference_rms: 2 }, { scale: 0.5, reference_rms: 0 }],
    strongest: { channel: [[0, 1, 2]], value: [[3, 4, null]], rarity: [[10, 30, 20]] },
    effects: { 0: { at: [0], change: [0.25] }, 2: { at: [0], change: [-0.5] }, 1: { at: [9], change: [7] } },
  }
  const order = (ranking) => firingAt(/** @type {any} */ (shard), 0, ranking).map(({ channel }) => channel)
  assert.deepEqual(order("value"), [0, 1, 2])
  assert.deepEqual(order("rarity"), [1, 2, 0])
  assert.deepEqual(order("effect"), [2, 0, 1])
  assert.deepEqual(firingAt(/** @type {any} */ (shard), 0)[1], { channel: 1, value: 4, ratio: 2, share: 0.001, change: null })
})
