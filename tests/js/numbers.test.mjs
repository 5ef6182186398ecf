import assert from "node:assert/strict"
import { test } from "node:test"
import { count, number, percent, plural } from "../../site_assets/assets/numbers.mjs"

test("three significant digits, a true minus, the same forms as generator/publish/numbers.py", () => {
  const cases = [
    [-0.01234, "−0.0123"], [98412, "98,400"], [null, "–"], [undefined, "–"], [NaN, "–"], [-0, "0"], [0, "0"],
    [3.2149, "3.21"], [1, "1.00"], [999.6, "1,000"], [0.000123, "1.23 × 10⁻⁴"], [0.00123, "0.00123"],
    [1234567, "1.23 × 10⁶"], [-1e-12, "−1.00 × 10⁻¹²"], [Infinity, "∞"], [99.95, "100"], [9.995e5, "1.00 × 10⁶"],
  ]
  for (const [value, text] of cases) assert.equal(number(value), text, `number(${value})`)
})

test("the sign of a positive value is shown on demand, never on zero", () => {
  assert.equal(number(3.2, { sign: true }), "+3.20")
  assert.equal(number(0, { sign: true }), "0")
})

test("counts, shares and nouns", () => {
  assert.equal(count(1234567), "1,234,567")
  assert.equal(count(-1000), "−1,000")
  assert.equal(count(999), "999")
  assert.equal(percent(0.02314), "2.31 %")
  assert.equal(percent(null), "–")
  assert.equal(percent(0), "0 %")
  assert.equal(plural(1, "token"), "1 token")
  assert.equal(plural(1200, "token"), "1,200 tokens")
})
