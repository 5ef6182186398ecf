"""Charts of a whole model: curves over the layers, similarity of layers, heads, ablation, divergence."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from generator.publish.exchange.bundle.analysis import Model
from generator.publish.exchange.bundle.drawing import (
    COLOURS,
    MARKERS,
    Chart,
    bounds,
    count_sentence,
    drawable,
    grid_of,
    heatmap,
    method_sentence,
    ticks,
)
from generator.publish.exchange.bundle.grids import draw_grids, words
from generator.publish.exchange.bundle.head_charts import head_charts

MOST_DIRECTIONS = 24
"""Directions in the chart of the largest effects."""

POINTS = {"residual": "residual stream", "normed": "after the model's own norm"}


def model_charts(model: Model) -> Iterator[Chart]:
    """Every chart of a model that does not belong to one text."""
    layers = dict(model.variants("layers"))
    if layers:
        yield from _curves(model, layers)
        for place, matrix in enumerate(next(iter(layers.values()))["cka"]):
            yield _cka(model, layers, place, matrix["method"])
        yield _metric_map(model, layers, "correlations")
        yield _metric_map(model, layers, "normalised")
    yield from head_charts(model)
    ablation = model.part("ablation")
    if ablation:
        yield from (_ablation_grid(model, matrix) for matrix in ablation["grids"])
        yield _largest_effects(model, ablation)
    if model.facts["divergence"]:
        yield _divergence(model)


# --- layers ----------------------------------------------------------------------------------------------------


def _curves(model: Model, layers: dict[str, dict[str, Any]]) -> Iterator[Chart]:
    """One chart per metric: a panel per point, base and adapted on the same axes, all positions dashed."""
    first = next(iter(layers.values()))["curves"]
    for metric in dict.fromkeys(curve["metric"] for curve in first):
        found = [(v, c) for v, entry in layers.items() for c in entry["curves"] if c["metric"] == metric]
        method = found[0][1]["method"]
        counts = [value["n"] for _, curve in found for value in curve["values"]]
        about = {k: v for k, v in method.items() if k not in ("point", "positions")}
        warnings = dict.fromkeys(c["method"]["warning"] for _, c in found if c["method"].get("warning"))
        caption = f"{method_sentence(about)}. {count_sentence(counts, 'tokens')}; layer 0 is the input of the first layer."
        yield Chart(
            f"{model.name}/layers/{metric}",
            f"{words(metric)} over the layers of {model.name}",
            " ".join([caption, *(f"{w[:1].upper()}{w[1:]}." for w in warnings)]),
            (7.2, 2.9),
            partial(_draw_curves, found),
        )


def _draw_curves(found: list[tuple[str, dict[str, Any]]], area: Any) -> None:
    points = list(dict.fromkeys(curve["method"].get("point") for _, curve in found))
    row = area.subplots(1, len(points), sharey=len(points) > 1, squeeze=False)[0]
    for axes, point in zip(row, points):
        for variant, curve in found:
            if curve["method"].get("point") != point:
                continue
            is_all = curve["method"].get("positions") == "all"
            values = grid_of([curve["values"]])[0]
            label = f"{variant}, {'all positions' if is_all else 'ordinary positions'}"
            line = {"linestyle": (0, (4, 2)) if is_all else "-", "linewidth": 1.1 if is_all else 1.8}
            face = "white" if is_all else COLOURS[variant]
            marker = {"marker": MARKERS[variant], "markersize": 4.5, "markerfacecolor": face}
            axes.plot(range(len(values)), values, color=COLOURS[variant], label=label, **line, **marker)
        axes.set_title(POINTS.get(point, str(point)))
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("layer")
    handles, labels = row[0].get_legend_handles_labels()
    area.legend(handles, labels, loc="outside right center", fontsize=8)


def _cka(model: Model, layers: dict[str, dict[str, Any]], place: int, method: dict[str, Any]) -> Chart:
    grids = {variant: grid_of(entry["cka"][place]["values"]) for variant, entry in layers.items()}
    point = method.get("point", "residual")
    return Chart(
        f"{model.name}/layers/cka-{point}",
        f"Similarity of the layers of {model.name}: debiased CKA, {POINTS.get(point, point)}",
        f"{method_sentence(method)}. n = {method.get('n')} tokens; 1 is the same up to rotation and scale.",
        (1.4 + 3.2 * len(grids), 3.0),
        partial(
            draw_grids,
            grids,
            low=min(0.0, bounds(list(grids.values()))[0]),
            high=1.0,
            axes_names=("layer", "layer"),
        ),
    )


def _metric_map(model: Model, layers: dict[str, dict[str, Any]], name: str) -> Chart:
    is_signed = name == "correlations"
    first = next(iter(layers.values()))[name]
    metrics = first["method"]["metrics"] if is_signed else [curve["metric"] for curve in first]
    grids = {
        variant: grid_of(entry[name]["values"] if is_signed else [curve["values"] for curve in entry[name]])
        for variant, entry in layers.items()
    }
    labels = [words(metric) for metric in metrics]
    shown = partial(
        draw_grids,
        grids,
        low=-1.0 if is_signed else 0.0,
        high=1.0,
        is_signed=is_signed,
        axes_names=("", "" if is_signed else "layer"),
        names=(labels, labels if is_signed else None),
    )
    n = (
        f"n = {grids[next(iter(grids))].shape[1]} layers"
        if not is_signed
        else f"n = {len(first['values'])} metrics over the layers"
    )
    title = "Correlation of the metrics over the layers" if is_signed else "All metrics on one scale"
    how = (
        "Pearson's r." if is_signed else "Each curve scaled to 0…1 over the layers; hatched where undefined."
    )
    return Chart(
        f"{model.name}/layers/{name}",
        f"{title}: {model.name}",
        f"{how} Residual stream, all positions but special tokens and first ones. {n}.",
        (2.6 + len(grids) * (3.9 if is_signed else 3.0), 4.9 if is_signed else 3.7),
        shown,
    )


# --- ablation, divergence --------------------------------------------------------------------------------------


def _ablation_grid(model: Model, matrix: dict[str, Any]) -> Chart:
    method, quantity = matrix["method"], matrix["method"]["quantity"]
    is_signed = quantity != "divergence"
    grid = grid_of(matrix["values"])
    low, high = bounds([grid], is_signed=is_signed)
    counts = [cell["n"] for row in matrix["values"] for cell in row]
    what = "Change of the loss" if is_signed else "Divergence"
    labels = [str(layer) for layer in method["layers"]], [drawable(name) for name in method["modules"]]
    return Chart(
        f"{model.name}/ablation/{quantity}",
        f"{what} when a module of the adapter is taken out: {model.name}",
        f"{method_sentence(method)}. {count_sentence(counts, 'tokens')}; nats.",
        (1.9 + 0.62 * grid.shape[1], 1.1 + 0.33 * grid.shape[0]),
        partial(
            draw_grids,
            {"": grid},
            low=low,
            high=high,
            is_signed=is_signed,
            axes_names=("layer", "module"),
            names=labels,
        ),
    )


def _largest_effects(model: Model, found: dict[str, Any]) -> Chart:
    defined = [
        e for e in found["effects"] if e["kind"] == "direction" and e["divergence"]["value"] is not None
    ]
    largest = sorted(defined, key=lambda e: (-e["divergence"]["value"], e["channel"]))[:MOST_DIRECTIONS]
    return Chart(
        f"{model.name}/ablation/directions",
        f"The {len(largest)} directions whose removal changes the predictions most: {model.name}",
        f"{method_sentence(found['method'])}. {count_sentence([e['divergence']['n'] for e in largest], 'tokens')}.",
        (6.8, 0.8 + 0.2 * len(largest)),
        partial(_draw_effects, largest),
    )


def _draw_effects(largest: list[dict[str, Any]], area: Any) -> None:
    left, right = area.subplots(1, 2, sharey=True)
    places = range(len(largest))
    left.barh(places, [e["divergence"]["value"] for e in largest], color="#5b5f66", height=0.7)
    changes = [e["loss_change"]["value"] or 0.0 for e in largest]
    hues = [COLOURS["adapted"] if change > 0 else COLOURS["base"] for change in changes]
    right.barh(places, changes, color=hues, height=0.7)
    right.axvline(0, color="#8a8f98", linewidth=0.8)
    left.set_title("KL(full ‖ ablated), nats")
    right.set_title("change of the loss, nats")
    left.set_yticks(places, [drawable(e["channel"]) for e in largest], fontsize=7.5)
    left.invert_yaxis()
    for axes in (left, right):
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)


def _divergence(model: Model) -> Chart:
    entries = list(model.divergences())[:MOST_DIRECTIONS]
    longest = max(len(found["base_adapted"]) for _, found in entries)
    grid = np.full((len(entries), longest), np.nan)
    for row, (_, found) in zip(grid, entries):
        row[: len(found["base_adapted"])] = found["base_adapted"]
    labels = [drawable(entry["name"])[:28] for entry, _ in entries]
    convention = entries[0][1]["method"].get("convention", "")
    return Chart(
        f"{model.name}/divergence",
        f"Where the adapter changes the model's mind: {model.name}",
        f"KL(base ‖ adapted) at every token, {convention}, in nats, on a scale of roots; documents by their mean. "
        f"n = {int(np.isfinite(grid).sum()):,} tokens of {len(entries)} documents.",
        (7.6, 0.9 + 0.24 * len(entries)),
        partial(_draw_divergence, grid, labels),
    )


def _draw_divergence(grid: Float[np.ndarray, "row column"], labels: list[str], area: Any) -> None:
    axes = area.subplots()
    low, high = bounds([grid])
    image = heatmap(axes, grid, low=low, high=high, gamma=0.5)
    ticks(axes.yaxis, labels, fontsize=8)
    axes.set_xlabel("position in the document, in tokens")
    area.colorbar(image, ax=axes, pad=0.02, aspect=28, label="nats").outline.set_visible(False)
