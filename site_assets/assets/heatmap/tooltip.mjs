/** One tooltip for the whole page (WCAG 1.4.13: it can be hovered, Escape closes it, focus opens it too). */
import { h } from "../elements.mjs"

const id = "fb-tooltip"
const gap = 8
/** Milliseconds that the pointer may take on its way from the token to the tooltip. */
const grace = 180

export class Tooltip {
  /** @type {Tooltip | null} */
  static #shared = null

  /** The page's tooltip. */
  static shared() {
    return (Tooltip.#shared ??= new Tooltip())
  }

  constructor() {
    this.box = h("div", { id, class: "fb-tooltip", role: "tooltip", hidden: true })
    /** @type {HTMLElement | null} */
    this.owner = null
    this.isPinned = false
    this.timer = 0
    document.body.append(this.box)
    this.box.addEventListener("pointerenter", () => clearTimeout(this.timer))
    this.box.addEventListener("pointerleave", () => this.leave())
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.hide())
    document.addEventListener("pointerdown", (event) => this.#closeFromOutside(event))
    addEventListener("scroll", () => this.owner && this.#place(this.owner), { passive: true, capture: true })
    document.addEventListener("focusin", () => this.owner && this.#place(this.owner))
  }

  /**
   * Shows what belongs to a token, unless another one is pinned.
   * @param {HTMLElement} owner
   * @param {() => HTMLElement} content
   */
  show(owner, content) {
    clearTimeout(this.timer)
    if (this.isPinned || owner === this.owner) return
    this.#open(owner, content)
  }

  /**
   * Keeps the tooltip of a token open until Escape or a tap elsewhere; a second call on the same token closes it.
   * @param {HTMLElement} owner
   * @param {() => HTMLElement} content
   */
  pin(owner, content) {
    if (this.isPinned && owner === this.owner) return this.hide()
    this.#open(owner, content)
    this.isPinned = true
    this.box.classList.add("is-pinned")
  }

  /** The pointer or the focus has left: closes soon, unless the pointer reaches the tooltip or it is pinned. */
  leave() {
    clearTimeout(this.timer)
    if (!this.isPinned) this.timer = window.setTimeout(() => this.hide(), grace)
  }

  hide() {
    clearTimeout(this.timer)
    this.owner?.removeAttribute("aria-describedby")
    this.owner = null
    this.isPinned = false
    this.box.hidden = true
    this.box.classList.remove("is-pinned")
  }

  /**
   * @param {HTMLElement} owner
   * @param {() => HTMLElement} content
   */
  #open(owner, content) {
    this.hide()
    this.owner = owner
    owner.setAttribute("aria-describedby", id)
    this.box.replaceChildren(content())
    this.box.hidden = false
    this.#place(owner)
  }

  /** @param {Event} event */
  #closeFromOutside(event) {
    const target = /** @type {Node} */ (event.target)
    if (this.isPinned && !this.box.contains(target) && !this.owner?.contains(target)) this.hide()
  }

  /**
   * Below the token, or above where there is no room; never over the edge of the window. Closed when its token has gone.
   * @param {HTMLElement} owner
   */
  #place(owner) {
    if (!owner.isConnected || !owner.checkVisibility()) return this.hide()
    const token = owner.getClientRects()[0] ?? owner.getBoundingClientRect()
    const { width, height } = this.box.getBoundingClientRect()
    const isRoomBelow = token.bottom + gap + height < innerHeight
    const top = isRoomBelow ? token.bottom + gap : Math.max(gap, token.top - gap - height)
    const left = Math.max(gap, Math.min(innerWidth - width - gap, token.left + token.width / 2 - width / 2))
    this.box.style.top = `${Math.round(top)}px`
    this.box.style.left = `${Math.round(left)}px`
  }
}
