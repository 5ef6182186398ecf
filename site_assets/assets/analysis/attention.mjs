/** Attention over one text: a head, the mean of the heads, rollout as a matrix of query × key on a canvas; entropy as head × query. */
import { h, svg } from "../elements.mjs"
import { visible } from "../heatmap/tokens.mjs"
import { number, percent } from "../numbers.mjs"
import { choice, explained, rangeOf } from "./metrics.mjs"
import { layerPlayer } from "./player.mjs"
import { valueGrid } from "./value-grid.mjs"
import { between, channels, decodeWeights, ofHead, strongestKeys } from "./weights.mjs"

/** @typedef {import("../main.mjs").Context} Context */
/** @typedef {{view: string, layer: string, head: string, variant: string}} AttentionState */
/** @typedef {{n_tokens: number, n_layers: number, n_heads: number}} Shape */

/** @type {[string, string][]} */
const VIEWS = [["head", "One head"], ["mean", "Mean of the heads"], ["rollout", "Rollout from the input"], ["entropy", "Entropy of every head and query"]]
/** Keys listed for a query. */
const LISTED = 5
/** Side of the canvas in pixels, at most. */
const LARGEST = 560

export class AttentionView {
  /**
   * @param {string} id  of the text's shard
   * @param {Shape} shape
   * @param {string[]} tokens  display text of each token
   * @param {string[]} variants
   * @param {AttentionState} state
   * @param {() => void} keep
   * @param {Context} context
   */
  constructor(id, shape, tokens, variants, state, keep, context) {
    this.id = id
    this.shape = shape
    this.tokens = tokens.slice(0, shape.n_tokens).map((token) => visible(token))
    this.variants = variants
    this.state = state
    this.keep = keep
    this.context = context
    /** @type {Map<string, Promise<any>>} */
    this.fetched = new Map()
    /** @type {Float32Array} */
    this.matrix = new Float32Array()
    this.query = Math.max(0, shape.n_tokens - 1)
    this.key = 0
    this.hasLines = false
    this.turn = 0
    this.canvas = h("canvas", { class: "fb-attention__canvas", tabindex: "0", role: "img" })
    this.lines = h("div", { class: "fb-attention__lines" })
    this.said = h("div", { class: "fb-attention__said", "aria-live": "polite" })
    this.body = h("div", { class: "fb-attention__body" })
    this.controls = h("div", { class: "fb-toolbar fb-toolbar--quiet" })
    this.element = h("div", { class: "fb-attention" }, this.controls, this.body)
    this.listen()
    this.show()
  }

  get layer() {
    return Math.min(this.shape.n_layers - 1, Math.max(0, Number(this.state.layer) || 0))
  }

  get head() {
    return Math.min(this.shape.n_heads - 1, Math.max(0, Number(this.state.head) || 0))
  }

  get variant() {
    return this.variants.includes(this.state.variant) ? this.state.variant : this.variants[this.variants.length - 1]
  }

  listen() {
    const { canvas } = this
    const at = (/** @type {PointerEvent | MouseEvent} */ event) => {
      const box = canvas.getBoundingClientRect(), n = this.shape.n_tokens
      const place = (/** @type {number} */ offset, /** @type {number} */ size) => Math.min(n - 1, Math.max(0, Math.floor((offset / size) * n)))
      this.point(place(event.clientY - box.top, box.height), place(event.clientX - box.left, box.width))
    }
    canvas.addEventListener("pointermove", at)
    canvas.addEventListener("click", at)
    canvas.addEventListener("keydown", (event) => {
      /** @type {Record<string, [number, number]>} */
      const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }
      const step = steps[event.key], n = this.shape.n_tokens
      if (!step || event.altKey || event.ctrlKey || event.metaKey) return
      event.preventDefault()
      const clamp = (/** @type {number} */ value) => Math.min(n - 1, Math.max(0, value))
      this.point(clamp(this.query + step[0]), clamp(this.key + step[1]))
    })
    new MutationObserver(() => this.paint()).observe(document.body, { attributes: true, attributeFilter: ["data-md-color-scheme"] })
  }

  /** Draws the controls anew and what they ask for. */
  show() {
    const { state, shape } = this
    const change = (/** @type {Partial<AttentionState>} */ next) => {
      Object.assign(state, next)
      this.keep()
      this.show()
    }
    const lines = h("input", { type: "checkbox", checked: this.hasLines })
    lines.addEventListener("change", () => {
      this.hasLines = lines.checked
      this.drawLines()
    })
    const view = VIEWS.some(([name]) => name === state.view) ? state.view : "head"
    this.controls.replaceChildren(...[
      choice("Show", VIEWS, view, (next) => change({ view: next })),
      view === "head" ? choice("Head", Array.from({ length: shape.n_heads }, (_, head) => [String(head), String(head)]), String(this.head), (head) => change({ head })) : null,
      choice("Model", this.variants.map((one) => [one, one]), this.variant, (variant) => change({ variant })),
      view === "entropy" ? null : h("label", { class: "fb-switch" }, lines, "Lines"),
      layerPlayer(shape.n_layers, this.layer, (layer) => {
        state.layer = String(layer)
        this.keep()
        void this.load(view)
      }),
    ].filter((one) => one !== null))
    void this.load(view)
  }

  /** A shard, fetched once. @param {string} name */
  fetch(name) {
    const known = this.fetched.get(name) ?? this.context.fetchShard(`${this.id}/${name}`)
    this.fetched.set(name, known)
    known.catch(() => this.fetched.delete(name))
    return known
  }

  /** Fetches and draws the chosen view; an answer that came too late is dropped. @param {string} view */
  async load(view) {
    const turn = ++this.turn
    try {
      const shard = await this.fetch(view === "head" ? `heads-${this.layer}` : "attention")
      if (turn !== this.turn) return
      if (view === "entropy") return this.showEntropy(shard[this.variant].entropy[this.layer], shard)
      this.matrix = view === "head" ? ofHead(decodeWeights(shard[this.variant]), this.head, shard.n_tokens) : decodeWeights(shard[this.variant][view][this.layer])
      if (!this.body.contains(this.canvas)) {
        this.body.replaceChildren(h("div", { class: "fb-attention__matrix" }, h("p", { class: "fb-hint" }, "Rows attend (queries), columns are attended to (keys). Point, or use the arrow keys."), this.canvas), h("div", { class: "fb-attention__side" }, this.said, this.lines))
      }
      this.paint()
      this.point(this.query, this.key)
    } catch (error) {
      if (turn === this.turn) this.body.replaceChildren(h("p", { class: "fb-note", role: "alert" }, `The weights could not be fetched: ${error instanceof Error ? error.message : error}`))
    }
  }

  paint() {
    const n = this.shape.n_tokens, pen = this.canvas.getContext?.("2d")
    if (!pen || this.matrix.length !== n * n) return
    const cell = Math.max(2, Math.min(24, Math.floor(LARGEST / n)))
    this.canvas.width = this.canvas.height = n * cell
    const style = getComputedStyle(document.body)
    const page = channels(style.getPropertyValue("--fb-page")), full = channels(style.getPropertyValue("--fb-bar-positive"))
    for (let at = 0; at < n * n; at++) {
      if (this.matrix[at] === 0) continue
      pen.fillStyle = `rgb(${between(page, full, Math.sqrt(this.matrix[at])).join(",")})`
      pen.fillRect((at % n) * cell, Math.floor(at / n) * cell, cell, cell)
    }
    pen.strokeStyle = style.getPropertyValue("--fb-accent").trim() || "teal"
    pen.strokeRect(0.5, this.query * cell + 0.5, n * cell - 1, cell - 1)
    pen.strokeRect(this.key * cell + 0.5, this.query * cell + 0.5, cell - 1, cell - 1)
  }

  /** @param {number} query @param {number} key */
  point(query, key) {
    const n = this.shape.n_tokens
    this.query = query
    this.key = key
    this.paint()
    const weight = this.matrix[query * n + key]
    const name = (/** @type {number} */ token) => h("bdi", { class: "fb-token-mark", translate: "no" }, this.tokens[token])
    this.canvas.setAttribute("aria-label", `Attention, ${n} × ${n} tokens. Token ${query} ‘${this.tokens[query]}’ to token ${key} ‘${this.tokens[key]}’: ${percent(weight)}`)
    this.said.replaceChildren(
      h("p", {}, name(query), ` at ${query} → `, name(key), ` at ${key}: `, h("strong", { class: "fb-number" }, percent(weight))),
      h("ol", { class: "fb-attention__keys" }, ...strongestKeys(this.matrix, query, n, LISTED).map((one) =>
        h("li", {}, name(one.key), h("span", { class: "fb-number" }, ` ${percent(one.weight)} at ${one.key}`)))))
    this.drawLines()
  }

  /** From the query on the left to its keys on the right, as thick as the weight. */
  drawLines() {
    if (!this.hasLines) return this.lines.replaceChildren()
    const n = this.shape.n_tokens, row = 22
    const keys = new Set(strongestKeys(this.matrix, this.query, n, LISTED).map(({ key }) => key))
    const list = (/** @type {(token: number) => boolean} */ isMarked) => h("ol", { class: "fb-attention__tokens" }, ...this.tokens.map((token, index) =>
      h("li", { class: isMarked(index) ? "is-marked" : null }, h("bdi", { translate: "no" }, token))))
    const picture = svg("svg", { class: "fb-attention__threads", viewBox: `0 0 60 ${n * row}`, width: 60, height: n * row, "aria-hidden": "true" },
      ...strongestKeys(this.matrix, this.query, n, n).map(({ key, weight }) =>
        svg("line", { x1: 0, y1: (this.query + 0.5) * row, x2: 60, y2: (key + 0.5) * row, "stroke-width": Math.max(0.3, 5 * weight), "stroke-opacity": Math.max(0.15, weight) })))
    const queries = list((token) => token === this.query)
    queries.addEventListener("click", (event) => {
      const item = /** @type {Element} */ (event.target).closest("li")
      if (item) this.point(Array.prototype.indexOf.call(queries.children, item), this.key)
    })
    this.lines.replaceChildren(h("div", { class: "fb-attention__threaded", tabindex: "0", role: "region", "aria-label": "Lines from query to keys" }, queries, picture, list((token) => keys.has(token))))
  }

  /**
   * Head × query on the scale of all layers.
   * @param {number[][]} values
   * @param {any} shard
   */
  showEntropy(values, shard) {
    const [, high] = rangeOf(this.variants.flatMap((variant) => shard[variant].entropy.flat(2)))
    this.body.replaceChildren(h("div", {}, h("p", { class: "fb-hint" }, "Entropy of each head’s attention at each query, in nats, on one scale for all layers. ", explained("attention-entropy", "What it means", this.context)),
      valueGrid({
        caption: `Attention entropy, layer ${this.layer}: head × query`, corner: "head", values, low: 0, high, isBare: true,
        rows: values.map((_, head) => ({ text: String(head) })), columns: this.tokens.map((token, index) => ({ text: String(index), title: token })),
        tip: (head, query) => `head ${head}, token ${query} ‘${this.tokens[query]}’\n${number(values[head][query])} nats`,
      })))
  }
}
