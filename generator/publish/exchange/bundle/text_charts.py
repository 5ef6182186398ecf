"""Charts of one text: attention, logit lens, attribution, parts of a logit, predictions, surprise."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from generator.publish.exchange.bundle.analysis import Model, Text
from generator.publish.exchange.bundle.attention_charts import (
    MOST_TOKENS,
    attention_charts,
    cut,
    named,
    titled,
)
from generator.publish.exchange.bundle.drawing import (
    COLOURS,
    MARKERS,
    Chart,
    annotate,
    bounds,
    drawable,
    heatmap,
    method_sentence,
    ticks,
    token_labels,
)
from generator.publish.visible import plain

MOST_LISTED = 10
"""Predictions in a chart."""


def text_charts(model: Model, text: Text) -> Iterator[Chart]:
    """Every chart of one text."""
    yield from attention_charts(model, text)
    if text.section("lens"):
        yield from (_lens(text, variant, layers) for variant, layers in text.variants("lens"))
    if text.section("attribution"):
        yield _attribution(text)
    if text.section("logit_parts"):
        yield _logit_parts(text)
    if text.section("predictions"):
        yield _predictions(text)
    if text.section("surprise"):
        yield _surprise(text)


def _lens(text: Text, variant: str, layers: list[dict[str, Any]]) -> Chart:
    n = len(text.tokens)
    shown = min(n, MOST_TOKENS)
    top = [[text.vocabulary[tokens[0]] for tokens in found["tokens"][:shown]] for found in layers]
    grid = np.array([[shares[0] for shares in found["probability"][:shown]] for found in layers], float)
    return Chart(
        named(text, f"lens-{variant}"),
        titled(text, f"Logit lens ({variant})"),
        f"The most likely token after each position at each layer, and its probability; {method_sentence(text.facts['lens']['method'])}. "
        f"n = {n} positions.{cut(text, n)}",
        (2.2 + 0.42 * len(layers) * 1.6, 0.7 + 0.19 * shown),
        partial(_draw_lens, grid, top, text.tokens[:shown]),
    )


def _draw_lens(
    grid: Float[np.ndarray, "layer position"], top: list[list[str]], tokens: Sequence[str], area: Any
) -> None:
    axes = area.subplots()
    image = heatmap(axes, grid.T, low=0.0, high=1.0)
    for layer, row in enumerate(top):
        for position, label in enumerate(token_labels(row)):
            ink = "white" if grid[layer, position] < 0.55 else "#16191d"
            axes.text(layer, position, label[:9], ha="center", va="center", size=6, color=ink)
    ticks(axes.yaxis, token_labels(tokens), fontsize=6.5, most=MOST_TOKENS)
    ticks(axes.xaxis, [str(layer) for layer in range(len(top))], fontsize=8)
    axes.set_xlabel("layer")
    area.colorbar(image, ax=axes, pad=0.02, aspect=32, label="probability").outline.set_visible(False)


def _attribution(text: Text) -> Chart:
    section = text.facts["attribution"]
    target = drawable(plain(text.vocabulary[section["token"]]))
    found = dict(text.variants("attribution"))
    methods = ("gradient_times_input", "integrated_gradients")
    warnings = [
        f" Of the {name} model: {v[m]['warning']}"
        for name, v in found.items()
        for m in methods
        if v.get(m, {}).get("warning")
    ]
    gaps = [
        f"{name} {v['integrated_gradients']['gap']:.2g}"
        for name, v in found.items()
        if "gap" in v.get(methods[1], {})
    ]
    shown = min(len(text.tokens), MOST_TOKENS)
    return Chart(
        named(text, "attribution"),
        titled(text, f"Attribution of the logit of “{target}”"),
        f"After position {section['position']}. Gradient × input (Shrikumar et al. 2016) and integrated gradients (Sundararajan et "
        f"al. 2017); completeness gap of the latter: {', '.join(gaps) or 'unknown'}. n = {len(text.tokens)} tokens."
        + cut(text, len(text.tokens))
        + "".join(warnings),
        (7.2, 0.9 + 0.17 * shown),
        partial(_draw_attribution, found, text.tokens[:shown]),
    )


def _draw_attribution(found: dict[str, Any], tokens: Sequence[str], area: Any) -> None:
    row = area.subplots(1, 2, sharey=True)
    height = 0.8 / len(found)
    for axes, name in zip(row, ("gradient_times_input", "integrated_gradients")):
        for place, (variant, entry) in enumerate(found.items()):
            scores = entry.get(name, {}).get("scores", [])[: len(tokens)]
            places = np.arange(len(scores)) + (place - (len(found) - 1) / 2) * height
            axes.barh(places, scores, height=height, color=COLOURS[variant], label=variant)
        axes.axvline(0, color="#8a8f98", linewidth=0.8)
        axes.set_title(name.replace("_times_", " × ").replace("_", " "))
        axes.grid(axis="x")
        axes.set_axisbelow(True)
    ticks(row[0].yaxis, token_labels(tokens), fontsize=6.5, most=MOST_TOKENS)
    row[0].set_ylim(len(tokens) - 0.5, -0.5)
    handles, labels = row[0].get_legend_handles_labels()
    area.legend(handles, labels, loc="outside right center", fontsize=8)


def _logit_parts(text: Text) -> Chart:
    """Heads and MLPs of each layer as one grid per variant."""
    section = text.facts["logit_parts"]
    found = dict(text.variants("logit_parts"))
    grids = {
        v: np.column_stack([np.array(e["heads"], float), np.array(e["mlps"], float)])
        for v, e in found.items()
    }
    target = drawable(plain(text.vocabulary[section["token"]]))
    sums = ", ".join(f"{v}: logit {e['logit']:.2f}, embedding {e['embedding']:.2f}" for v, e in found.items())
    return Chart(
        named(text, "logit-parts"),
        titled(text, f"What writes the logit of “{target}”"),
        f"After position {section['position']}: {method_sentence(section['method'])}. {sums}. n = 1 position.",
        (
            1.6 + len(grids) * max(2.6, 0.5 + 0.42 * next(iter(grids.values())).shape[1]),
            0.9 + 0.28 * len(next(iter(grids.values()))),
        ),
        partial(_draw_parts, grids),
    )


def _draw_parts(grids: dict[str, Float[np.ndarray, "layer part"]], area: Any) -> None:
    row = area.subplots(1, len(grids), squeeze=False, sharey=True)[0]
    low, high = bounds(list(grids.values()), is_signed=True)
    image = None
    for axes, (variant, grid) in zip(row, grids.items()):
        image = heatmap(axes, grid, low=low, high=high, is_signed=True)
        if grid.shape[1] <= 13:
            annotate(axes, grid, low, high, is_signed=True)
        names = [str(head) for head in range(grid.shape[1] - 1)]
        ticks(axes.xaxis, [*names, "MLP"], fontsize=8)
        ticks(axes.yaxis, [str(layer) for layer in range(len(grid))], fontsize=8)
        axes.axvline(grid.shape[1] - 1.5, color="#8a8f98", linewidth=0.8)
        axes.set(title=variant, xlabel="head")
    row[0].set_ylabel("layer")
    area.colorbar(image, ax=row, pad=0.02, aspect=24, label="logit").outline.set_visible(False)


def _predictions(text: Text) -> Chart:
    """The most likely tokens at the last position that was asked for."""
    section = text.facts["predictions"]
    listed = {
        variant: [(text.vocabulary[t], p) for t, p in zip(found["tokens"][-1], found["probability"][-1])][
            :MOST_LISTED
        ]
        for variant, found in text.variants("predictions")
    }
    where = "the last position" if section["kind"] == "next" else "the last mask"
    return Chart(
        named(text, "predictions"),
        titled(text, f"Most likely tokens at {where}"),
        f"{method_sentence(section['method'])}. n = 1 position ({section['positions'][-1]}).",
        (1.4 + 2.9 * len(listed), 0.6 + 0.2 * MOST_LISTED),
        partial(_draw_predictions, listed),
    )


def _draw_predictions(listed: dict[str, list[tuple[str, float]]], area: Any) -> None:
    row = area.subplots(1, len(listed), squeeze=False)[0]
    for axes, (variant, entries) in zip(row, listed.items()):
        places = range(len(entries))
        axes.barh(places, [share for _, share in entries], color=COLOURS[variant], height=0.7)
        axes.set_yticks(places, token_labels([token for token, _ in entries]), fontsize=8)
        for place, (_, share) in enumerate(entries):
            axes.text(share + 0.01, place, f"{share:.1%}", va="center", size=7)
        axes.set(title=variant, xlim=(0, 1.12), xticks=(0, 0.5, 1))
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()


def _surprise(text: Text) -> Chart:
    found = {
        v: [np.nan if s is None else s for s in values][:MOST_TOKENS]
        for v, values in text.variants("surprise")
    }
    divergence = (text.section("divergence") or {}).get("base_adapted", [])[:MOST_TOKENS]
    n = len(text.tokens)
    return Chart(
        named(text, "surprise"),
        titled(text, "Surprise at each token"),
        f"−ln p of the token given those before, in nats; bars: KL(base ‖ adapted) of the prediction after the token. n = {n} tokens."
        if divergence
        else f"−ln p of the token given those before, in nats. n = {n} tokens.{cut(text, n)}",
        (float(np.clip(1.2 + 0.15 * n, 5.5, 10.5)), 2.9),
        partial(_draw_surprise, found, divergence, text.tokens[:MOST_TOKENS]),
    )


def _draw_surprise(
    found: dict[str, list[float]], divergence: Sequence[float], tokens: Sequence[str], area: Any
) -> None:
    axes = area.subplots()
    if len(divergence):
        axes.bar(range(len(divergence)), divergence, color="#d5d8dd", label="KL(base ‖ adapted)", width=0.8)
    for variant, values in found.items():
        marker = MARKERS[variant]
        axes.plot(
            range(len(values)), values, color=COLOURS[variant], marker=marker, markersize=3.5, label=variant
        )
    ticks(axes.xaxis, token_labels(tokens), fontsize=6.5, rotation=90, most=MOST_TOKENS)
    axes.set_ylabel("nats")
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.margins(x=0.01)
    area.legend(loc="outside right center", fontsize=8)
