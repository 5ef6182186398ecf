import assert from "node:assert/strict"
import { test } from "node:test"
import { legendTones, linearScale, quantileScale, toneOf } from "../../site_assets/assets/heatmap/scale.mjs"

test("one symmetric linear scale: the weaker side does not saturate", () => {
  const scale = linearScale(8, true)
  assert.equal(scale.t(8), 1)
  assert.equal(scale.t(-2), -0.25)
  assert.equal(scale.t(null), 0)
  assert.equal(scale.t(-80), -1)
  assert.equal(linearScale(0, true).t(0), 0)
})

test("16 classes per sign; below 1/32 there is none", () => {
  assert.equal(toneOf(1), "p16")
  assert.equal(toneOf(-1), "n16")
  assert.equal(toneOf(1 / 32 - 1e-9), "")
  assert.equal(toneOf(-1 / 32), "n1".replace("n1", toneOf(-1 / 32)))
  assert.equal(toneOf(0.5), "p8")
  const all = new Set(Array.from({ length: 2001 }, (_, index) => toneOf(index / 1000 - 1)))
  assert.equal(all.size, 33)
})

test("the class never decreases with the value", () => {
  const order = legendTones(true)
  const places = Array.from({ length: 401 }, (_, index) => order.indexOf(toneOf(index / 200 - 1)))
  assert.deepEqual(places, places.toSorted((a, b) => a - b))
  assert.ok(places.every((place) => place >= 0))
})

test("an unsigned channel has a sequential legend", () => {
  assert.equal(legendTones(false).length, 17)
  assert.ok(legendTones(false).every((tone) => !tone.startsWith("n")))
})

test("the quantile scale keeps the sign and gives the share of weaker tokens of the same sign", () => {
  const stats = { min: -4, max: 100, quantiles: { 0.25: -1, 0.5: 0, 0.75: 1, 0.99: 2 } }
  const scale = quantileScale(100, true, stats)
  assert.equal(scale.t(1), 0.5)
  assert.equal(scale.t(-1), -0.5)
  assert.equal(scale.t(100), 1)
  assert.equal(scale.t(-4), -1)
  assert.equal(scale.t(0), 0)
  assert.ok(scale.t(1.5) > 0.5 && scale.t(1.5) < 1)
  assert.ok(linearScale(100, true).t(2) < 0.05, "what the linear scale hides")
})
