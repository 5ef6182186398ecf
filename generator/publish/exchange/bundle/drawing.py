"""How charts of the bundle look, and how one becomes a PNG and an SVG with the same bytes every time.

matplotlib (extra ``export``) draws without a display. SVG files carry their letters as paths and no script; neither kind names
a date or a version. Base is a blue line with circles, adapted an orange one with squares, so hue is never alone; sizes run
through cividis, signed numbers from blue over white to orange, as on the site.
"""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from generator.publish.visible import visible

COLOURS = {"base": "#2f7fb3", "adapted": "#c8690a"}
MARKERS = {"base": "o", "adapted": "s"}
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8f98",
    "axes.grid": False,
    "grid.color": "#e3e6ea",
    "xtick.color": "#40454d",
    "ytick.color": "#40454d",
    "text.color": "#16191d",
    "text.parse_math": False,  # "$" in a token is a dollar
    "axes.unicode_minus": True,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "featurebook",
    "figure.dpi": 150,  # that of the PNG: hinted letters are wider at some sizes, and places are found once
    "savefig.dpi": 150,
    "image.interpolation": "nearest",
}
CAPTION_CHARACTERS = 17.5
"""Of a caption's line, for each inch of the chart's width."""

LONGEST_LABEL = 14
"""Characters of a token on an axis."""


@dataclass(frozen=True)
class Chart:
    """One figure."""

    name: str  # "main/layers/effective_rank"
    title: str
    caption: str
    """What is shown, of how many, by which method."""
    size: tuple[float, float]
    """Width and height in inches, without title and caption."""
    draw: Callable[[Any], None]
    """Draws into a matplotlib Figure."""


def render(chart: Chart, folder: Path, kinds: Sequence[str] = ("png", "svg")) -> list[Path]:
    """Writes a chart as ``<name>.png`` and ``<name>.svg`` below a folder."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        figure = composed(chart)
        paths = [folder / f"{chart.name}.{kind}" for kind in kinds]
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        for path in paths:
            metadata = {"Software": None} if path.suffix == ".png" else {"Date": None, "Creator": None}
            figure.savefig(path, metadata=metadata)
    return paths


def composed(chart: Chart) -> Any:
    """A chart as a matplotlib Figure: title, drawing, caption. Call it inside the style."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    width, height = chart.size
    title = textwrap.wrap(drawable(chart.title), round(width * 11)) or [""]
    caption = textwrap.wrap(drawable(sentence(chart.caption)), round(width * CAPTION_CHARACTERS))
    above, below = 0.12 + 0.2 * len(title), 0.14 + 0.135 * len(caption)
    figure = Figure((width, height + above + below), facecolor="white")
    full = height + above + below
    figure.text(
        0.1 / width, 1 - 0.1 / full, "\n".join(title), size=11, weight="bold", va="top", linespacing=1.15
    )
    figure.text(
        0.1 / width, 0.08 / full, "\n".join(caption), size=7.5, color="#40454d", va="bottom", linespacing=1.2
    )
    room = (0.0, below / full, 1.0, height / full)
    engine = ConstrainedLayoutEngine(rect=room, w_pad=0.06, h_pad=0.05)
    figure.set_layout_engine(engine)
    chart.draw(figure)
    engine.execute(figure)
    figure.set_layout_engine(None)  # places are found once, not for each kind of file
    return figure


def heatmap(
    axes: Any,
    values: Float[np.ndarray, "row column"],
    *,
    low: float,
    high: float,
    is_signed: bool = False,
    gamma: float = 1.0,
    aspect: str = "auto",
) -> Any:
    """A grid of cells on a scale from ``low`` to ``high``; cells without a number are hatched.

    A ``gamma`` of 0.5 spreads small numbers: the place on the scale is the root.
    """
    from matplotlib.colors import PowerNorm

    axes.set_facecolor("#f1f2f4")
    if np.isnan(values).any():
        axes.patch.set(hatch="////", edgecolor="#c2c6cc", linewidth=0)
    image = axes.imshow(values, norm=PowerNorm(gamma, low, high), cmap=colours(is_signed), aspect=aspect)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return image


def annotate(
    axes: Any, values: Float[np.ndarray, "row column"], low: float, high: float, is_signed: bool = False
) -> None:
    """Writes the number into each cell, in black or white, whichever can be read."""
    scale = colours(is_signed)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            red, green, blue, _ = scale((value - low) / ((high - low) or 1.0))
            is_dark = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2 < 0.18
            ink = "white" if is_dark else "#16191d"
            axes.text(column, row, short(value), ha="center", va="center", size=6.5, color=ink)


@cache
def colours(is_signed: bool) -> Any:
    """The scale of colours."""
    import matplotlib
    from matplotlib.colors import LinearSegmentedColormap

    if is_signed:
        return LinearSegmentedColormap.from_list("signed", ["#1d5f8f", "#ffffff", "#b35900"])
    return matplotlib.colormaps["cividis"]


def bounds(
    grids: Sequence[Float[np.ndarray, "row column"]], *, is_signed: bool = False
) -> tuple[float, float]:
    """One scale for several grids: from 0 (or the least, if below) to the largest; around 0 if signed."""
    finite = np.concatenate([np.zeros(1), *(grid[np.isfinite(grid)] for grid in grids)])
    if is_signed:
        most = float(np.abs(finite).max()) or 1.0
        return -most, most
    low, high = float(min(finite.min(), 0.0)), float(finite.max())
    return low, high if high > low else low + 1.0


def grid_of(values: list[list[dict[str, Any]]]) -> Float[np.ndarray, "row column"]:
    """A matrix of values as an array, NaN where undefined."""
    return np.array(
        [[np.nan if cell["value"] is None else cell["value"] for cell in row] for row in values], float
    )


def token_labels(tokens: Sequence[str]) -> list[str]:
    """Tokens as labels of an axis."""
    shown = [drawable(visible(token)) for token in tokens]
    return [text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…" for text in shown]


def ticks(axis: Any, labels: Sequence[str], *, most: int = 48, **style: Any) -> None:
    """Labels of the cells of an axis; every second, third, … when there are too many."""
    step = -(-len(labels) // most) or 1
    axis.set_ticks(range(0, len(labels), step), labels[::step], **style)


def drawable(text: str) -> str:
    """A text whose characters the font can draw; others as ``\\\\uXXXX``."""
    if text.isascii():
        return text
    return "".join(char if ord(char) < 128 or ord(char) in _drawn() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):x}"


@cache
def _drawn() -> frozenset[int]:
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(findfont("DejaVu Sans")).get_charmap())


def short(value: float) -> str:
    """Three digits at most."""
    text = f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 100 else f"{value:,.0f}"
    return text.replace("-", "−")


def sentence(text: str) -> str:
    """With a capital where a word begins it; a symbol (``A_ij``, ``p(x)``) stays as it is."""
    return text[:1].upper() + text[1:] if text[:2].isalpha() else text


def method_sentence(method: dict[str, Any]) -> str:
    """Convention, conditions and source of a number, as the caption says them."""
    names = ("convention", "method", "point", "positions", "position_0", "documents", "source")
    named = {"point": "{} stream", "position_0": "position 0 {}", "documents": "documents: {}"}
    parts = [named.get(name, "{}").format(method[name]) for name in names if method.get(name)]
    return "; ".join(parts)


def count_sentence(counts: Sequence[int], unit: str) -> str:
    """``n = 4,058 tokens``, or from the least to the most."""
    least, most = min(counts, default=0), max(counts, default=0)
    return f"n = {least:,}{'' if least == most else f' to {most:,}'} {unit}"
