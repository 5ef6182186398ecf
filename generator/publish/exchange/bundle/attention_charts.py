"""Charts of one text's attention: mean over the heads, rollout, entropy, single heads."""

import base64
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from generator.publish.exchange.bundle.analysis import Model, Text
from generator.publish.exchange.bundle.drawing import Chart, bounds, heatmap, ticks, token_labels
from generator.publish.visible import plain

CHOSEN = ("previous_token", "induction", "duplicate_token", "sink_mass", "distance")
"""Scores whose highest head has its attention drawn, each head once."""

MOST_TOKENS = 64
"""Tokens in a chart; the rest stand in the tables."""


def attention_charts(model: Model, text: Text) -> Iterator[Chart]:
    """Every chart of a text's attention."""
    found = text.file("attention.json")
    if found:
        yield _mean_attention(text, found)
        yield _rollout(text, found)
        yield _entropy(text, found)
        yield from _chosen_heads(model, text)


def _variants(found: dict[str, Any]) -> list[str]:
    return [variant for variant in ("base", "adapted") if variant in found]


def decoded(packed: str, shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
    """Weights from the bytes of ``sqrt8``: (q / 255)²."""
    return (np.frombuffer(base64.b64decode(packed), np.uint8).reshape(shape) / 255.0) ** 2


def named(text: Text, what: str) -> str:
    """The name of a chart of a text."""
    return f"{text.model}/texts/{text.id}/{what}"


def titled(text: Text, what: str) -> str:
    """What a chart shows, of which model and text."""
    return f"{what}: {text.model}, “{plain(text.facts['name'])}”"


def cut(text: Text, n_tokens: int) -> str:
    """A sentence where a chart shows a part of the text."""
    return "" if n_tokens <= MOST_TOKENS else f" The first {MOST_TOKENS} of {n_tokens} tokens."


def _mean_attention(text: Text, found: dict[str, Any]) -> Chart:
    n, n_layers = found["n_tokens"], found["n_layers"]
    variants = _variants(found)
    grids = {v: [decoded(m, (n, n))[:MOST_TOKENS, :MOST_TOKENS] for m in found[v]["mean"]] for v in variants}
    return Chart(
        named(text, "attention-mean"),
        titled(text, "Attention in each layer, mean over the heads"),
        f"Row: query, column: key, in the order of the text; on a scale of roots from 0 to 1. "
        f"n = {found['n_heads']} heads, {n} tokens.{cut(text, n)}",
        (0.5 + 1.35 * max(n_layers, 4), 0.35 + 1.4 * len(variants)),
        partial(_draw_layers, grids),
    )


def _draw_layers(grids: dict[str, list[Float[np.ndarray, "query key"]]], area: Any) -> None:
    n_layers = len(next(iter(grids.values())))
    table = area.subplots(len(grids), n_layers, squeeze=False, sharex=True, sharey=True)
    image = None
    for number, (row, (variant, layers)) in enumerate(zip(table, grids.items())):
        for layer, (axes, weights) in enumerate(zip(row, layers)):
            image = heatmap(axes, weights, low=0.0, high=1.0, gamma=0.5, aspect="equal")
            axes.set_xticks([])
            axes.set_yticks([])
            if number == 0:
                axes.set_title(f"layer {layer}", fontsize=8.5)
        row[0].set_ylabel(variant)
    area.colorbar(image, ax=table, shrink=0.8, pad=0.015, aspect=24).outline.set_visible(False)


def _rollout(text: Text, found: dict[str, Any]) -> Chart:
    n, tokens = found["n_tokens"], text.tokens[: min(found["n_tokens"], MOST_TOKENS)]
    variants = _variants(found)
    grids = {v: decoded(found[v]["rollout"][-1], (n, n))[: len(tokens), : len(tokens)] for v in variants}
    return Chart(
        named(text, "rollout"),
        titled(text, "Attention rollout from the input to the last layer"),
        "Mean over the heads, half of it the residual stream, multiplied over the layers (Abnar & Zuidema 2020). Row: "
        f"position, column: input token; on a scale of roots. n = {found['n_layers']} layers, {n} tokens.{cut(text, n)}",
        _square(len(variants), len(tokens)),
        partial(_draw_weights, grids, tokens),
    )


def _square(n_grids: int, n_tokens: int) -> tuple[float, float]:
    side = float(np.clip(1.2 + 0.13 * n_tokens, 2.6, 6.5))
    return 1.3 + (side + 0.3) * n_grids, side + 0.5


def _draw_weights(grids: dict[str, Float[np.ndarray, "query key"]], tokens: Sequence[str], area: Any) -> None:
    row = area.subplots(1, len(grids), squeeze=False, sharey=True)[0]
    labels = token_labels(tokens)
    image = None
    for axes, (title, weights) in zip(row, grids.items()):
        image = heatmap(axes, weights, low=0.0, high=1.0, gamma=0.5, aspect="equal")
        axes.set_title(title)
        ticks(axes.xaxis, labels, fontsize=6.5, rotation=90)
        ticks(axes.yaxis, labels, fontsize=6.5)
        axes.set_xlabel("key")
    row[0].set_ylabel("query")
    area.colorbar(image, ax=row, shrink=0.8, pad=0.015, aspect=28).outline.set_visible(False)


def _entropy(text: Text, found: dict[str, Any]) -> Chart:
    """All heads of all layers over the queries, on one scale."""
    n = min(found["n_tokens"], MOST_TOKENS)
    variants = _variants(found)
    grids = {v: np.array(found[v]["entropy"], float).reshape(-1, found["n_tokens"])[:, :n] for v in variants}
    labels = [f"{layer}.{head}" for layer in range(found["n_layers"]) for head in range(found["n_heads"])]
    height = float(np.clip(0.9 + 0.13 * len(labels), 2.4, 12))
    return Chart(
        named(text, "attention-entropy"),
        titled(text, "Entropy of the attention, head × query"),
        f"In nats, of the full rows; labels are layer.head. n = {len(labels)} heads, {found['n_tokens']} queries."
        + cut(text, found["n_tokens"]),
        (1.6 + len(variants) * float(np.clip(1 + 0.13 * n, 3.2, 6.5)), height),
        partial(_draw_entropy, grids, labels, text.tokens[:n], found["n_heads"]),
    )


def _draw_entropy(
    grids: dict[str, Float[np.ndarray, "head query"]],
    labels: list[str],
    tokens: Sequence[str],
    n_heads: int,
    area: Any,
) -> None:
    row = area.subplots(1, len(grids), squeeze=False, sharey=True)[0]
    low, high = bounds(list(grids.values()))
    image = None
    for axes, (title, grid) in zip(row, grids.items()):
        image = heatmap(axes, grid, low=low, high=high)
        axes.set_title(title)
        ticks(axes.xaxis, token_labels(tokens), fontsize=6.5, rotation=90)
        ticks(axes.yaxis, labels, fontsize=6.5, most=64)
        for edge in range(n_heads, len(labels), n_heads):
            axes.axhline(edge - 0.5, color="white", linewidth=1)
    area.colorbar(image, ax=row, pad=0.015, aspect=28, label="nats").outline.set_visible(False)


def _chosen_heads(model: Model, text: Text) -> Iterator[Chart]:
    """The head of the highest score for each of ``CHOSEN``, in the last variant."""
    variants = list(model.variants("heads"))
    if not variants:
        return
    chosen: dict[tuple[int, int], list[str]] = {}
    for metric in CHOSEN:
        scores = next((s for s in variants[-1][1]["scores"] if s["metric"] == metric), None)
        cells = [
            (cell["value"], -layer, -head)
            for layer, row in enumerate(scores["values"] if scores else [])
            for head, cell in enumerate(row)
            if cell["value"] is not None
        ]
        if cells:
            _, layer, head = max(cells)
            chosen.setdefault((-layer, -head), []).append(metric.replace("_", " "))
    for (layer, head), reasons in sorted(chosen.items()):
        found = text.file(f"heads-{layer}.json")
        if found:
            yield _head(text, found, head, reasons)


def _head(text: Text, found: dict[str, Any], head: int, reasons: list[str]) -> Chart:
    n = found["n_tokens"]
    shown = min(n, MOST_TOKENS)
    variants = _variants(found)
    grids = {v: decoded(found[v], (found["n_heads"], n, n))[head, :shown, :shown] for v in variants}
    return Chart(
        named(text, f"attention-head-{found['layer']}.{head}"),
        titled(text, f"Attention of head {found['layer']}.{head}"),
        f"The head of highest score on the corpus for: {', '.join(reasons)}. On a scale of roots from 0 to 1. n = {n} tokens."
        + cut(text, n),
        _square(len(variants), shown),
        partial(_draw_weights, grids, text.tokens[:shown]),
    )
