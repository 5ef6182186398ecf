"""Grids side by side on one scale: layer × layer, layer × head, layer × module."""

from typing import Any

import numpy as np
from jaxtyping import Float

from generator.publish.exchange.bundle.drawing import annotate, heatmap, ticks

MOST_ANNOTATED = 150
"""Cells of a grid that still carry their number."""


def draw_grids(
    grids: dict[str, Float[np.ndarray, "row column"]],
    area: Any,
    *,
    low: float,
    high: float,
    axes_names: tuple[str, str],
    is_signed: bool = False,
    names: tuple[list[str] | None, list[str] | None] = (None, None),
    n_rows: int = 1,
) -> None:
    """Grids side by side on one scale, with their numbers where there is room."""
    table = area.subplots(n_rows, len(grids) // n_rows, squeeze=False)
    image = None
    for axes, (title, grid) in zip(table.ravel(), grids.items()):
        image = heatmap(axes, grid, low=low, high=high, is_signed=is_signed)
        if grid.size <= MOST_ANNOTATED and grid.shape[1] <= 12:
            annotate(axes, grid, low, high, is_signed)
        axes.set_title(title)
        rows = names[0] or [str(i) for i in range(grid.shape[0])]
        columns = names[1] or [str(i) for i in range(grid.shape[1])]
        ticks(axes.yaxis, rows, fontsize=8)
        is_long = max(map(len, columns)) > 5
        style: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if is_long else {}
        ticks(axes.xaxis, columns, fontsize=8, **style)
        if axes in table[:, 0]:
            axes.set_ylabel(axes_names[0])
        if axes in table[-1]:
            axes.set_xlabel(axes_names[1])
    bar = area.colorbar(image, ax=table, shrink=0.9, pad=0.02, aspect=28)
    bar.outline.set_visible(False)


def words(name: str) -> str:
    """``effective_rank`` -> ``Effective rank``."""
    known = {
        "eigen": "of the eigenvalues",
        "corrected": "(corrected)",
        "text": "on text",
        "pca": "PCA",
        "twonn": "TwoNN",
        "mle": "(MLE)",
        "slope": "(slope)",
        "kl": "KL",
    }
    text = " ".join(known.get(word, word) for word in name.split("_"))
    return text[:1].upper() + text[1:]
