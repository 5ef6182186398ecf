"""Neuronpedia: the upload-batch JSON of its API and the bulk layout of its exports, both ways."""

import gzip
import re
from pathlib import Path
from typing import Any

from generator.artifacts import Writer, content_key, to_json
from generator.errors import FeaturebookError
from generator.publish.exchange.foreign import (
    TOP,
    ForeignFeature,
    ForeignSet,
    Interval,
    example_from,
    interval_of,
)
from generator.publish.exchange.saedashboard import (
    BINS,
    EMPTY,
    activations,
    bounds_of,
    read_feature,
)
from generator.publish.exchange.said import labels_of, logit_fields, logits_of, nearest
from generator.publish.exchange.shapes import Reading, files_named, load_json, load_lines
from generator.publish.exchange.shelf import (
    Shelf,
    Source,
    Window,
    active_histogram,
    has_range,
    rounded,
    window_of,
)

FEATURES_PER_UPLOAD = 128
LONGEST_EXAMPLE = 1024
"""Tokens; the API refuses more."""

MOST_LOGITS, LONGEST_EXPLANATION = 20, 512
"""The API refuses more tokens of a side, and more characters."""

LARGEST_INDEX = 10**7
"""The API refuses a larger index."""


def export(shelf: Shelf, sources: list[Source], writer: Writer) -> list[str]:
    """Writes ``upload/<source>/batch-<n>.json`` and ``bulk/<model>/<source>/…``."""
    n_dead = 0
    for source in sources:
        if max(source.ids) > LARGEST_INDEX:
            raise FeaturebookError(
                f"{source.name} has a feature of index {max(source.ids)}; Neuronpedia takes {LARGEST_INDEX:,} at most."
            )
        shards = list(shelf.features(source))
        batches = [shards[i : i + FEATURES_PER_UPLOAD] for i in range(0, len(shards), FEATURES_PER_UPLOAD)]
        uploaded = [[_uploaded(i, shard) for i, shard in batch if not shard["is_dead"]] for batch in batches]
        kept = [[f for f in batch if f["activations"]] for batch in uploaded]
        n_dead += len(shards) - sum(map(len, kept))
        for number, features in enumerate(batch for batch in kept if batch):
            content = {"modelId": shelf.model_id, "source": source.name, "features": features}
            writer.write(f"upload/{source.name}/batch-{number}.json", to_json(content))
        _write_bulk(shelf, source, batches, writer)
    return (
        [f"{n_dead} features without examples are only in the bulk layout: an upload must have one."]
        if n_dead
        else []
    )


def _uploaded(index: int, shard: dict[str, Any]) -> dict[str, Any]:
    """A feature for POST /api/feature/upload-batch."""
    found = []
    for example in shard["examples"]:
        window = window_of(shard, example)
        if window is None or not (example["group"] == "top" or has_range(shard, example["group"])):
            continue
        window = cut(window)
        entry: dict[str, Any] = {"tokens": window.tokens, "values": rounded(window.values)}
        if example["group"] != "top":
            names = ("quantileMin", "quantileMax", "quantileFraction")
            entry |= dict(zip(names, bounds_of(shard, example["group"])))
        found.append(entry)
    logits = logits_of(shard)
    said = {
        "density": shard["stats"]["density"],
        "topLogits": [{"token": text, "value": value} for text, value in logits.top[:MOST_LOGITS]],
        "bottomLogits": [{"token": text, "value": value} for text, value in logits.bottom[:MOST_LOGITS]],
        "explanations": [_explained(label) for label in labels_of(shard)],
    }
    return {"index": index, "activations": found} | {k: v for k, v in said.items() if v not in (None, [])}


def _explained(label: dict[str, Any]) -> dict[str, Any]:
    """A label for the API, which knows models by name and people by their account."""
    by = {"modelName": label["author"]} if label["source"] == "model" else {}
    return {"text": label["text"][:LONGEST_EXPLANATION], "methodName": label["source"], **by}


def cut(window: Window) -> Window:
    """The window without its ends, when it is longer than Neuronpedia takes; the peak stays."""
    start = max(0, min(window.peak - LONGEST_EXAMPLE // 2, len(window.tokens) - LONGEST_EXAMPLE))
    kept = slice(start, start + LONGEST_EXAMPLE)
    return Window(window.tokens[kept], window.values[kept], window.peak - start)


# --- the bulk layout -------------------------------------------------------------------------------------------


def _write_bulk(
    shelf: Shelf, source: Source, batches: list[list[tuple[int, dict[str, Any]]]], writer: Writer
) -> None:
    root = f"bulk/{shelf.model_id}/{source.name}"
    model, set_name = (
        shelf.model_id,
        source.name.split("-", 1)[-1] if source.layer is not None else source.name,
    )
    corpus = shelf.home["corpus"]
    for name, row in {
        "release": {"name": set_name, "description": shelf.home["description"], "urls": []},
        "model": {"id": model},
        "sourceset": {
            "modelId": model,
            "name": set_name,
            "description": "",
            "type": source.collection,
            "urls": [],
        },
        "source": {
            "id": source.name,
            "modelId": model,
            "setName": set_name,
            "hasDashboards": True,
            "inferenceEnabled": False,
            "num_prompts": corpus["n_documents"],
            "num_tokens_in_prompt": round(corpus["n_measured"] / max(1, corpus["n_documents"])),
            "dataset": corpus["source"],
        },
    }.items():
        writer.write(f"{root}/{name}.jsonl", to_json(row))
    for number, batch in enumerate(batches):
        place = {"modelId": model, "layer": source.name}
        rows = [_row(place, set_name, source, index, shard) for index, shard in batch]
        examples = [row for index, shard in batch for row in _activation_rows(place, index, shard)]
        writer.write(f"{root}/features/batch-{number}.jsonl.gz", _lines(rows))
        writer.write(f"{root}/activations/batch-{number}.jsonl.gz", _lines(examples))
        explained = [row for index, shard in batch for row in _explanation_rows(place, index, shard)]
        writer.write(f"{root}/explanations/batch-{number}.jsonl.gz", _lines(explained))


def _row(
    place: dict[str, str], set_name: str, source: Source, index: int, shard: dict[str, Any]
) -> dict[str, Any]:
    """A row of the table Neuron."""
    centres, counts = active_histogram(shard, BINS)
    indices, values = nearest(source, shard, "correlation")
    alike, cosines = nearest(source, shard, "write_cosine")
    return {
        **{name: [] for name in EMPTY},
        **logit_fields(shard),
        **place,
        "index": str(index),
        "sourceSetName": set_name,
        "maxActApprox": shard["stats"]["max"] or 0.0,
        "hasVector": False,
        "topkCosSimIndices": alike,
        "topkCosSimValues": cosines,
        "correlated_features_indices": indices,
        "correlated_features_pearson": values,
        "frac_nonzero": shard["stats"]["density"] or 0.0,
        "freq_hist_data_bar_values": centres,
        "freq_hist_data_bar_heights": counts,
    }


def _activation_rows(place: dict[str, str], index: int, shard: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table Activation; their ids are made of the content, so that they stay."""
    rows = []
    for number, entry in enumerate(activations(shard) if not shard["is_dead"] else []):
        values = entry["values"]
        largest = max(values)
        rows.append(
            {
                **place,
                "id": content_key(place, index, number)[:25],
                "index": str(index),
                "tokens": entry["tokens"],
                "values": values,
                "maxValue": largest,
                "maxValueTokenIndex": values.index(largest),
                "minValue": min(values),
                "binMin": entry["bin_min"],
                "binMax": entry["bin_max"],
                "binContains": entry["bin_contains"],
                "qualifyingTokenIndex": entry["qualifying_token_index"],
                "dfaValues": [],
                "lossValues": [],
                "logitContributions": None,
            }
        )
    return rows


def _explanation_rows(place: dict[str, str], index: int, shard: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table Explanation: the labels, with the side that they speak of as a note."""
    return [
        {
            **place,
            "id": content_key(place, index, label)[:25],
            "index": str(index),
            "description": label["text"],
            "authorId": label["author"],
            "notes": f"{label['polarity']} activations" if shard["is_signed"] else "",
            "typeName": label["source"],
            "explanationModelName": label["author"] if label["source"] == "model" else None,
            "scoreV1": label["score"],
            "scores": [],
            "createdAt": label["date"],
        }
        for label in labels_of(shard)
    ]


def _lines(rows: list[dict[str, Any]]) -> bytes:
    """One object a line, compressed without a time in the header."""
    return gzip.compress(b"".join(map(to_json, rows)), mtime=0)


# --- reading ---------------------------------------------------------------------------------------------------


def read(source: Path) -> ForeignSet:
    """The features of an upload-batch file, of answers of ``GET /api/feature/…``, or of a bulk export, in a folder or alone.

    A folder that holds a bulk layout is read as that.

    Raises:
        FeaturebookError: no such files, or one of another shape.
    """
    bulk = sorted(source.rglob("features")) if source.is_dir() else []
    bulk = [folder for folder in bulk if any(folder.glob("batch-*.jsonl*"))]
    if bulk:
        return _read_bulk(bulk)
    features: list[ForeignFeature] = []
    facts: dict[str, Any] = {}
    for path in [p for p in files_named(source, "*.json") if p.name != "featurebook.json"]:
        content = Reading(load_json(path), str(path))
        facts |= {"model": content.text("modelId")}
        if "features" in content.value:
            features += [
                _read_uploaded(entry, content.text("source")) for entry in content.records("features")
            ]
        else:
            features.append(_read_row(content))
            for entry in content.records("activations"):
                _take_activation(features[-1], entry)
    return ForeignSet("neuronpedia", features, facts)


def _place(source: str) -> tuple[int, str]:
    """Layer and set of a source's id: ``6-res-jb`` is layer 6 of ``res-jb``."""
    match = re.fullmatch(r"(\d{1,6})-(.+)", source, re.DOTALL)
    return (int(match[1]), match[2]) if match else (-1, source)


def _read_uploaded(entry: Reading, source: str) -> ForeignFeature:
    feature = ForeignFeature(entry.integer("index"), *_place(source))
    feature.density = entry.number("density", float("nan"))
    for activation in entry.records("activations"):
        low, high = (activation.number(name, None) for name in ("quantileMin", "quantileMax"))
        share = activation.number("quantileFraction", float("nan"))
        interval = None if low is None or high is None else Interval(low, high, share)
        feature.add(example_from(activation, "tokens", "values", None), interval)
    return feature


def _read_row(entry: Reading) -> ForeignFeature:
    feature = read_feature(entry, entry.integer("index"), *_place(entry.text("layer")))
    feature.maximum = entry.number("maxActApprox", float("nan"))
    return feature


def _take_activation(feature: ForeignFeature, entry: Reading) -> None:
    peak = entry.integer("qualifyingTokenIndex", None)
    peak = entry.integer("maxValueTokenIndex", None) if peak is None else peak
    low, high, share = (entry.number(name, TOP) for name in ("binMin", "binMax", "binContains"))
    feature.add(example_from(entry, "tokens", "values", peak), interval_of(low, high, share))


def _read_bulk(folders: list[Path]) -> ForeignSet:
    features: dict[tuple[str, int], ForeignFeature] = {}
    facts: dict[str, Any] = {}
    for folder in folders:
        n_tokens = 0
        for row in _optional_lines(folder.parent / "source.jsonl"):
            n_tokens = row.integer("num_prompts", 0) * row.integer("num_tokens_in_prompt", 0)
            facts |= {"dataset": row.text("dataset", "")}
        for path in files_named(folder, "batch-*.jsonl", "batch-*.jsonl.gz"):
            for row in load_lines(path):
                place = (row.text("layer"), row.integer("index"))
                features[place] = _read_row(row)
                features[place].n_tokens = n_tokens
                facts |= {"model": row.text("modelId")}
        _read_bulk_activations(folder.parent / "activations", features)
    return ForeignSet("neuronpedia", list(features.values()), facts)


def _optional_lines(path: Path) -> list[Reading]:
    return load_lines(path) if path.exists() else []


def _read_bulk_activations(folder: Path, features: dict[tuple[str, int], ForeignFeature]) -> None:
    for path in files_named(folder, "batch-*.jsonl", "batch-*.jsonl.gz"):
        for row in load_lines(path):
            place = (row.text("layer"), row.integer("index"))
            if place not in features:
                raise FeaturebookError(
                    f"{row.where}: an example of feature {place[1]} of {place[0]!r}, which is in no file of features/."
                )
            _take_activation(features[place], row)
