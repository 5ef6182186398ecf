"""Tables of whole models: geometry of layers, heads, ablation, divergence."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from generator.publish.exchange.bundle.analysis import Analysis, Model
from generator.publish.exchange.bundle.csvs import Row, Table, with_methods

Rows = Iterator[tuple[Row, dict[str, Any]]]

VALUE = ("value", "n", "undefined")
"""Columns of a value of the analysis."""


def analysis_tables(analysis: Analysis) -> Iterator[Table]:
    """Every table of the analysis that does not belong to one text."""
    yield Table("models", "one analysed model", MODEL, map(_model_row, analysis.models))
    for name, about, columns, rows_of in TABLES:
        yield with_methods(name, about, columns, partial(rows_of, analysis))
    about = "KL between base and adapted model at one token of a document, in nats, and change of the next token's surprise"
    yield Table("divergence", about, DIVERGENCE, _divergence_rows(analysis))


MODEL = (
    "name", "base", "adapter", "architecture", "kind", "variants", "n_layers", "n_heads", "d", "n_parameters", "context",
    "n_documents", "n_tokens", "undefined",
)  # fmt: skip
DIVERGENCE = (
    "model", "doc", "name", "position", "token", "base_adapted", "adapted_base", "surprise_change", "convention",
)  # fmt: skip


def _model_row(model: Model) -> Row:
    reasons = {part: reason for part, reason in model.facts["parts"].items() if reason != "done"}
    return model.facts | {"undefined": reasons or None}


def value_columns(value: dict[str, Any]) -> Row:
    """The columns of a value."""
    return {"value": value["value"], "n": value["n"], "undefined": value.get("reason")}


def _geometries(analysis: Analysis) -> Rows:
    """What the geometry is of, and the geometry: of the corpus, then of each text."""
    for model in analysis.models:
        for variant, entry in model.variants("layers"):
            yield {"model": model.name, "of": "corpus", "variant": variant}, entry
        for text in model.texts():
            for entry in (text.section("geometry") or {}).get("variants", []):
                yield {"model": model.name, "of": text.id, "variant": entry["variant"]}, entry


def _curve_rows(analysis: Analysis, name: str) -> Rows:
    for head, entry in _geometries(analysis):
        for curve in entry.get(name, []):
            for layer, value in enumerate(curve["values"]):
                row = {"metric": curve["metric"], "layer": layer}
                yield head | row | value_columns(value), curve["method"]


def _cka_rows(analysis: Analysis) -> Rows:
    for head, entry in _geometries(analysis):
        for matrix in entry.get("cka", []):
            for a, values in enumerate(matrix["values"]):
                for b, value in enumerate(values):
                    yield head | {"layer_a": a, "layer_b": b} | value_columns(value), matrix["method"]


def _correlation_rows(analysis: Analysis) -> Rows:
    for head, entry in _geometries(analysis):
        matrix = entry.get("correlations") or {}
        names = matrix.get("method", {}).get("metrics", [])
        method = {key: value for key, value in matrix.get("method", {}).items() if key != "metrics"}
        for a, values in zip(names, matrix.get("values", [])):
            for b, value in zip(names, values):
                yield head | {"metric_a": a, "metric_b": b} | value_columns(value), method


def _head_rows(analysis: Analysis) -> Rows:
    for model in analysis.models:
        for variant, entry in model.variants("heads"):
            for matrix in entry["scores"]:
                for layer, values in enumerate(matrix["values"]):
                    for head, value in enumerate(values):
                        row = {"model": model.name, "variant": variant, "metric": matrix["metric"]}
                        yield row | {"layer": layer, "head": head} | value_columns(value), matrix["method"]


def _map_rows(analysis: Analysis) -> Rows:
    for model in analysis.models:
        for variant, entry in model.variants("heads"):
            found = entry.get("map") or {}
            if "undefined" in found:
                continue
            for (layer, head), (x, y), cluster in zip(
                found.get("heads", []), found["points"], found["cluster"]
            ):
                row = {"model": model.name, "variant": variant, "layer": layer, "head": head, "x": x, "y": y}
                yield row | {"cluster": cluster, "name": found["names"][cluster]}, found["method"]


def _ablation_rows(analysis: Analysis) -> Rows:
    for model in analysis.models:
        found = model.part("ablation") or {"effects": []}
        for effect in found["effects"]:
            row = {name: effect[name] or None for name in ("kind", "key", "module", "channel")}
            row |= {"model": model.name, "layer": effect["layer"] if effect["layer"] >= 0 else None}
            for quantity in ("divergence", "loss_change"):
                yield row | {"quantity": quantity} | value_columns(effect[quantity]), found["method"]


def _divergence_rows(analysis: Analysis) -> Iterator[Row]:
    for model in analysis.models:
        for entry, found in model.divergences():
            tokens = analysis.document_tokens(entry["doc"]) or [""] * len(found["base_adapted"])
            head = {"model": model.name, "doc": entry["doc"], "name": entry["name"]}
            head |= {"convention": found["method"].get("convention")}
            columns = found["base_adapted"], found["adapted_base"], found["surprise_change"]
            for position, (token, *values) in enumerate(zip(tokens, *columns)):
                measures = dict(zip(("base_adapted", "adapted_base", "surprise_change"), values))
                yield head | {"position": position, "token": token} | measures


_CURVE = ("model", "of", "variant", "metric", "layer", *VALUE)

TABLES: tuple[tuple[str, str, tuple[str, ...], Callable[[Analysis], Rows]], ...] = (
    ("layers", "one metric at one layer; `of` is the corpus or a text, layer 0 the input of the first layer",
     _CURVE, partial(_curve_rows, name="curves")),
    ("layers-normalised", "the same, each curve scaled to 0…1 over the layers",
     _CURVE, partial(_curve_rows, name="normalised")),
    ("cka", "debiased CKA of two layers", ("model", "of", "variant", "layer_a", "layer_b", *VALUE), _cka_rows),
    ("correlations", "correlation of two metrics over the layers",
     ("model", "of", "variant", "metric_a", "metric_b", *VALUE), _correlation_rows),
    ("heads", "one score of one attention head", ("model", "variant", "metric", "layer", "head", *VALUE), _head_rows),
    ("head-map", "place and cluster of one attention head",
     ("model", "variant", "layer", "head", "x", "y", "cluster", "name"), _map_rows),
    ("ablation", "effect on the predictions of taking out one direction, module, layer, module type or the adapter",
     ("model", "kind", "key", "layer", "module", "channel", "quantity", *VALUE), _ablation_rows),
)  # fmt: skip
"""Name, what a row is, its columns before those of the method, rows with their method."""
