/** A slider over the layers with a play button. Where less motion is preferred, the button moves one layer per press. */
import { h } from "../elements.mjs"

/** Milliseconds per layer. */
const STEP = 900

/**
 * @param {number} nLayers
 * @param {number} layer  to begin with
 * @param {(layer: number) => void} onLayer
 * @returns {HTMLElement}
 */
export function layerPlayer(nLayers, layer, onLayer) {
  const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches
  const slider = h("input", { type: "range", class: "fb-player__slider", min: 0, max: nLayers - 1, step: 1, value: layer, "aria-label": "Layer" })
  const shown = h("output", { class: "fb-number" }, `layer ${layer} of ${nLayers - 1}`)
  const button = h("button", { type: "button", class: "fb-button" }, isStill ? "Next layer" : "Play")
  let timer = 0
  const stop = () => {
    clearInterval(timer)
    timer = 0
    if (!isStill) button.textContent = "Play"
  }
  const go = (/** @type {number} */ to) => {
    slider.value = String(to)
    shown.textContent = `layer ${to} of ${nLayers - 1}`
    onLayer(to)
  }
  const next = () => {
    if (!button.isConnected) return stop()
    go((Number(slider.value) + 1) % nLayers)
    if (timer && Number(slider.value) === nLayers - 1) stop()
  }
  slider.addEventListener("input", () => {
    stop()
    go(Number(slider.value))
  })
  button.addEventListener("click", () => {
    if (isStill) return next()
    if (timer) return stop()
    button.textContent = "Pause"
    timer = window.setInterval(next, STEP)
    next()
  })
  return h("div", { class: "fb-player" }, button, slider, shown)
}
