"""The layer transition as a moving picture: attention, mean over the heads, from the first layer to the last, as GIF and APNG.

Pillow writes both; frames last the same time and nothing in them names a date. GIF has 256 colours, all frames share one palette.
"""

import io
from pathlib import Path
from typing import Any

from generator.publish.exchange.bundle.analysis import Text
from generator.publish.exchange.bundle.attention_charts import decoded
from generator.publish.exchange.bundle.drawing import STYLE, Chart, composed, heatmap, ticks, token_labels
from generator.publish.visible import plain

MILLISECONDS = 900
"""Of each layer; the last one stays twice as long."""

MOST_TOKENS = 48
"""Tokens shown."""

MOST_FRAMES = 96
"""Layers shown: all, or evenly chosen ones of a deeper model."""


def animate(text: Text, folder: Path) -> list[Path]:
    """Writes ``<model>/texts/<text>/layers.gif`` and ``.apng`` (nothing for a text without attention); returns the paths."""
    found = text.file("attention.json")
    if not found or found["n_layers"] < 2:
        return []
    frames = _frames(text, found)
    durations = [MILLISECONDS] * (len(frames) - 1) + [2 * MILLISECONDS]
    base = folder / text.model / "texts" / text.id
    base.mkdir(parents=True, exist_ok=True)
    palette = frames[-1].quantize(256, method=0, dither=0)
    flat = [frame.quantize(palette=palette, dither=0) for frame in frames]
    gif, apng = base / "layers.gif", base / "layers.apng"
    flat[0].save(gif, save_all=True, append_images=flat[1:], duration=durations, loop=0, optimize=False)
    frames[0].save(apng, "PNG", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return [apng, gif]


def _frames(text: Text, found: dict[str, Any]) -> list[Any]:
    """A picture per layer: one figure, whose weights and heading change."""
    import matplotlib
    from PIL import Image

    n = found["n_tokens"]
    shown = min(n, MOST_TOKENS)
    step = -(-found["n_layers"] // MOST_FRAMES)
    layers = sorted({*range(0, found["n_layers"], step), found["n_layers"] - 1})
    variants = [v for v in ("base", "adapted") if v in found]
    images: dict[str, Any] = {}
    headings: list[Any] = []

    def draw(figure: Any) -> None:
        row = figure.subplots(1, len(variants), squeeze=False, sharey=True)[0]
        labels = token_labels(text.tokens[:shown])
        for axes, variant in zip(row, variants):
            weights = decoded(found[variant]["mean"][0], (n, n))[:shown, :shown]
            images[variant] = heatmap(axes, weights, low=0.0, high=1.0, gamma=0.5, aspect="equal")
            headings.append(axes.set_title(_heading(variant, 0, found["n_layers"])))
            ticks(axes.xaxis, labels, fontsize=6.5, rotation=90)
            ticks(axes.yaxis, labels, fontsize=6.5)
        bar = figure.colorbar(images[variants[0]], ax=row, shrink=0.8, pad=0.015, aspect=28)
        bar.outline.set_visible(False)

    side = min(5.6, max(2.8, 1.2 + 0.13 * shown))
    size = (1.2 + (side + 0.3) * len(variants), side + 0.4)
    title = f"Attention from layer to layer: {text.model}, “{plain(text.facts['name'])}”"
    caption = (
        f"Mean over {found['n_heads']} heads; row: query, column: key; on a scale of roots. n = {n} tokens."
    )
    pictures = []
    with matplotlib.rc_context(STYLE):
        figure = composed(Chart("", title, caption, size, draw))
        for layer in layers:
            for variant, heading in zip(variants, headings):
                images[variant].set_data(decoded(found[variant]["mean"][layer], (n, n))[:shown, :shown])
                heading.set_text(_heading(variant, layer, found["n_layers"]))
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
            pictures.append(Image.open(buffer).convert("RGB"))
    return pictures


def _heading(variant: str, layer: int, n_layers: int) -> str:
    marks = "●" * (layer + 1) + "○" * (n_layers - layer - 1) if n_layers <= 24 else ""
    return f"{variant} · layer {layer} of {n_layers - 1}  {marks}"
