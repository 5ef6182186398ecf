"""The PDF report, set by Typst (extra ``export``) from the bundle's own figures and tables.

Everything that comes from a run reaches the template as JSON strings, which Typst shows as text and never reads as markup. The
document has no date and only the fonts that come with Typst and this package, so the same bundle gives the same bytes.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from generator.artifacts import to_json
from generator.publish.exchange.bundle.analysis import Analysis
from generator.publish.exchange.bundle.drawing import Chart, drawable, short
from generator.publish.exchange.bundle.grids import words
from generator.publish.exchange.bundle.provenance import warnings
from generator.publish.visible import chipped, plain

FONTS = Path(__file__).parents[2] / "fonts"
TEMPLATE = Path(__file__).parent / "report.typ"

MOST_ROWS = 32
"""Rows of a table in the report; all of them stand in the CSV file."""


def write_report(
    home: dict[str, Any],
    analysis: Analysis | None,
    charts: Iterable[Chart],
    figures: Path,
    out: Path,
    left_out: list[str],
) -> None:
    """Sets the report.

    Args:
        home: The shard of the home page.
        analysis: Of the run, if it has one.
        charts: The figures, in order; their SVG files lie below ``figures``.
        figures: Folder of the figures.
        out: The PDF file.
        left_out: Parts of the bundle that are missing, with the reason.
    """
    import typst

    (figures / "report.json").write_bytes(to_json(_content(home, analysis, list(charts), left_out)))
    (figures / "report.typ").write_bytes(TEMPLATE.read_bytes())
    try:
        typst.compile(
            str(figures / "report.typ"),
            output=str(out),
            root=str(figures),
            font_paths=[str(FONTS)],
            ignore_system_fonts=True,
        )
    finally:
        for name in ("report.json", "report.typ"):
            (figures / name).unlink()


def _content(
    home: dict[str, Any], analysis: Analysis | None, charts: list[Chart], left_out: list[str]
) -> dict[str, Any]:
    known = home["provenance"]
    return {
        "title": _shown(home["title"]),
        "description": _shown(home["description"]),
        "facts": [[name, _text(value)] for name, value in _facts(home)],
        "warnings": [_shown(text) for text in [*left_out, *warnings(home, analysis)]],
        "channels": [[_text(cell) for cell in row] for row in _cards(home)],
        "models": [_model(model, analysis, charts) for model in (analysis.models if analysis else [])],
        "versions": [[name, _text(value)] for name, value in sorted(known["versions"].items())],
        "keys": [[name, value] for name, value in sorted(known["keys"].items())],
    }


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return short(value) if isinstance(value, float) else _shown(str(value))


def _shown(text: str) -> str:
    """A text on one line, in characters that the fonts have."""
    return drawable(plain(text))


def _facts(home: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "Base model", home["model"]["base"]
    yield "Adapter", home["model"]["adapter"]
    yield "Corpus", home["corpus"]["source"]
    yield "Documents", home["corpus"]["n_documents"]
    yield "Tokens", home["corpus"]["n_tokens"]
    yield "Tokens that count", home["corpus"]["n_measured"]
    yield from ((f"Channels of {entry['name']}", entry["n_channels"]) for entry in home["collections"])
    yield "Seed", home["provenance"]["seed"]


def _cards(home: dict[str, Any]) -> Iterator[list[Any]]:
    """The channels of the home page: id, largest size, strongest tokens of either sign."""
    for card in home["cards"]:
        sides = [
            ", ".join(f"“{chipped(t if isinstance(t, str) else t['text'])}”" for t in card[side])
            for side in ("top_tokens", "bottom_tokens")
        ]
        yield [card["id"], card["max_abs"], *sides]


def _model(model: Any, analysis: Analysis | None, charts: list[Chart]) -> dict[str, Any]:
    named = ("architecture", "kind", "n_layers", "n_heads", "d", "n_parameters", "context")
    return {
        "name": _shown(model.name),
        "facts": [[name.replace("_", " "), _text(model.facts[name])] for name in named],
        "layers": _layer_table(model),
        "figures": [
            {"path": f"{chart.name}.svg", "alt": f"{plain(chart.title)}. {plain(chart.caption)}"}
            for chart in charts
            if chart.name.startswith(f"{model.name}/")
        ],
    }


def _layer_table(model: Any) -> dict[str, Any] | None:
    """Metrics at every layer, of the residual stream at ordinary positions, in the last variant."""
    variants = list(model.variants("layers"))
    if not variants:
        return None
    variant, entry = variants[-1]
    curves: dict[str, list[str]] = {}
    for curve in entry["curves"]:
        if curve["method"].get("point") == "residual" and curve["method"].get("positions") != "all":
            curves.setdefault(
                words(curve["metric"]), [_text(v["value"] and float(v["value"])) for v in curve["values"]]
            )
    n_layers = max(map(len, curves.values()))
    step = -(-n_layers // 13)
    columns = list(range(0, n_layers, step))
    return {
        "caption": f"Residual stream, ordinary positions, {variant}. Methods and n of every value: tables/layers.csv.",
        "head": ["", *(str(layer) for layer in columns)],
        "rows": [[name, *(values[layer] for layer in columns)] for name, values in curves.items()],
    }
