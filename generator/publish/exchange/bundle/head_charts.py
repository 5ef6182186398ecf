"""Charts of a model's attention heads: scores, and the map of what they do."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from generator.publish.exchange.bundle.analysis import Model
from generator.publish.exchange.bundle.drawing import (
    Chart,
    bounds,
    count_sentence,
    drawable,
    grid_of,
    method_sentence,
)
from generator.publish.exchange.bundle.grids import draw_grids, words

SHAPES = "osD^vP*X<>hd"


def head_charts(model: Model) -> Iterator[Chart]:
    """Every chart of the heads."""
    heads = dict(model.variants("heads"))
    if not heads:
        return
    yield from _scores(model, heads)
    for variant, entry in heads.items():
        if "points" in (entry.get("map") or {}):
            yield _head_map(model, variant, entry["map"])


def _scores(model: Model, heads: dict[str, dict[str, Any]]) -> Iterator[Chart]:
    """One chart per score: rows with and without position 0, columns base and adapted, one scale."""
    every = [(v, s) for v, entry in heads.items() for s in entry["scores"]]
    for metric in dict.fromkeys(score["metric"] for _, score in every):
        found = [(v, s) for v, s in every if s["metric"] == metric]
        rows = list(dict.fromkeys(s["method"].get("position_0", "") for _, s in found))
        ordered = [(v, s) for row in rows for v, s in found if s["method"].get("position_0", "") == row]
        grids = {_score_title(v, s["method"]): grid_of(s["values"]) for v, s in ordered}
        n_rows = len(rows) if len(grids) % len(rows) == 0 else 1
        method = found[0][1]["method"]
        about = {k: v for k, v in method.items() if k != "position_0"}
        counts = [cell["n"] for _, s in found for row in s["values"] for cell in row]
        uniform = method.get("uniform_attention")
        low, high = bounds(list(grids.values()))
        height = max(1.5, 0.24 * len(found[0][1]["values"]) + 0.7)
        yield Chart(
            f"{model.name}/heads/{metric}",
            f"{words(metric)} of the attention heads of {model.name}",
            f"{method_sentence(about)}. {count_sentence(counts, 'queries')}."
            + (f" Uniform attention would score {uniform:.3g}." if uniform is not None else ""),
            (max(5.2, 1.6 + 3.0 * (len(grids) // n_rows)), height * n_rows),
            partial(draw_grids, grids, low=low, high=high, axes_names=("layer", "head"), n_rows=n_rows),
        )


def _score_title(variant: str, method: dict[str, Any]) -> str:
    position_0 = method.get("position_0", "")
    return (
        variant
        if not position_0
        else f"{variant}, {'with' if position_0 == 'included' else 'without'} position 0"
    )


def _head_map(model: Model, variant: str, found: dict[str, Any]) -> Chart:
    return Chart(
        f"{model.name}/heads/map-{variant}",
        f"Attention heads of {model.name} ({variant}), clustered by what they do",
        f"{found['method']['map']}, {sum(found['explained']):.0%} of the variance; {found['method']['clusters']}; "
        f"features {', '.join(found['method']['features'])}; labels are layer.head. n = {len(found['heads'])} heads.",
        (6.4, 3.9),
        partial(_draw_map, found),
    )


def _draw_map(found: dict[str, Any], area: Any) -> None:
    axes = area.subplots()
    points, clusters = np.array(found["points"], float), np.array(found["cluster"])
    hues = ("#2f7fb3", "#c8690a", "#5b5f66", "#8c4fa3", "#2f7d4f", "#b0305c", "#8a6d00", "#1b1f24")
    for number, name in enumerate(found["names"]):
        inside = points[clusters == number]
        style = {"marker": SHAPES[number % len(SHAPES)], "color": hues[number % len(hues)]}
        axes.scatter(inside[:, 0], inside[:, 1], s=34, label=drawable(name), **style)
    for (layer, head), (x, y) in zip(found["heads"], points) if len(points) <= 200 else ():
        axes.annotate(
            f"{layer}.{head}", (x, y), xytext=(4, 3), textcoords="offset points", size=6.5, color="#40454d"
        )
    axes.axhline(0, color="#e3e6ea", linewidth=0.8, zorder=0)
    axes.axvline(0, color="#e3e6ea", linewidth=0.8, zorder=0)
    axes.set_xlabel(f"component 1 ({found['explained'][0]:.0%})")
    axes.set_ylabel(f"component 2 ({found['explained'][1]:.0%})")
    area.legend(loc="outside right center", fontsize=8, title="cluster", title_fontsize=8, alignment="left")
