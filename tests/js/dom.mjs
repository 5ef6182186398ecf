/** A browser's globals for the modules under test. Import it before them. */
import { Window } from "happy-dom"

const window = new Window({ url: "https://example.org/book/atlas/lora/L1/gate_proj/" })
const names = [
  "document", "location", "history", "localStorage", "navigator", "Node", "Element", "HTMLElement", "SVGElement",
  "CustomEvent", "matchMedia", "Event", "KeyboardEvent", "MouseEvent", "ResizeObserver", "MutationObserver", "IntersectionObserver", "getComputedStyle", "getSelection",
]
for (const name of names)
  Object.defineProperty(globalThis, name, {
    value: typeof window[name] === "function" && !/^[A-Z]/.test(name) ? window[name].bind(window) : window[name],
    configurable: true,
    writable: true,
  })
window.IntersectionObserver = class {
  /** @param {Function} tell */
  constructor(tell) {
    this.observe = () => queueMicrotask(() => tell([{ isIntersecting: true }], this))
    this.unobserve = this.disconnect = () => {}
  }
}
globalThis.IntersectionObserver = window.IntersectionObserver
globalThis.window = window
globalThis.addEventListener = window.addEventListener.bind(window)
globalThis.innerWidth = 1280
globalThis.innerHeight = 800

export { window }
