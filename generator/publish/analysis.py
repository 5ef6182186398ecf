"""The analysis of models (build/analysis, docs/analysis.md) as a publication reads it: which models and texts there are, their ids.

Nothing is read before a page asks for it, and only files that ``analysis.json`` lists.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from generator.errors import FeaturebookError
from generator.publish.numbers import significant

SCHEMA = 1
"""Version of the files that are read."""

MAIN = "main"
"""The model of ``[model]``, to which layers, documents and channels belong."""

ANALYSIS = "analysis"
"""The id of the list of models, and where all ids of the analysis begin."""

REMEDY = "Build it again: python -m generator build --only analyze,publish."

DIGITS = 5
"""Significant digits of a number on a page; files for further computing are in the export."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Analysis:
    """A finished folder of the stage ``analyze``."""

    folder: Path
    facts: dict[str, Any]
    """``analysis.json``."""

    @property
    def models(self) -> dict[str, dict[str, Any]]:
        """Name -> what is known of the model, the main one first."""
        return {model["name"]: model for model in self.facts["models"]}

    @property
    def texts(self) -> dict[str, dict[str, Any]]:
        """Id -> prompt or document."""
        return {text["id"]: text for text in self.facts["texts"]}

    @cached_property
    def n_layers(self) -> int:
        """Layers of the main model; 0 when it was not analysed."""
        return int(self.models.get(MAIN, {}).get("n_layers", 0))

    def read(self, model: str, *path: str) -> dict[str, Any] | None:
        """One file of a model; None when it is not there.

        Raises:
            FeaturebookError: it is no JSON, or of another schema.
        """
        return _read(self.folder.joinpath(model, *path))

    def part(self, model: str, name: str) -> dict[str, Any]:
        """A part of a model's analysis, or why it does not exist."""
        reason = self.models[model]["parts"].get(name, "done")
        missing = "This was not computed." if reason == "done" else reason
        return self.read(model, f"{name}.json") or {"undefined": missing}

    @cached_property
    def layers(self) -> dict[str, Any]:
        """``layers.json`` of the main model."""
        return self.part(MAIN, "layers")

    @cached_property
    def heads(self) -> dict[str, Any]:
        """``heads.json`` of the main model."""
        return self.part(MAIN, "heads")

    @cached_property
    def ablation(self) -> dict[str, Any]:
        """``ablation.json`` of the main model."""
        return self.part(MAIN, "ablation")

    def text_pages(self) -> Iterator[tuple[str, str]]:
        """Every analysed (model, text)."""
        for name, model in self.models.items():
            for text in model["texts"]:
                yield name, text

    def text_of_document(self, doc: int) -> str | None:
        """The id of a document's page under the main model's analysis."""
        wanted = self.models.get(MAIN, {}).get("texts", [])
        found = [t["id"] for t in self.facts["texts"] if t["doc"] == doc and t["id"] in wanted]
        return text_id(MAIN, found[0]) if found else None


def open_analysis(folder: Path | None) -> Analysis | None:
    """Opens the folder of the stage; None when there is none, or no model in it.

    Raises:
        FeaturebookError: another schema, or a name that is no plain name: it would become a path.
    """
    facts = _read(folder / "analysis.json") if folder else None
    if folder is None or facts is None or not facts["models"]:
        return None
    names = [m["name"] for m in facts["models"]] + [t["id"] for t in facts["texts"]]
    names += [text for model in facts["models"] for text in model["texts"]]
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise FeaturebookError(
                f"{folder / 'analysis.json'} names a model or text {name!r}: letters, digits, '.', '_' and '-' are allowed. {REMEDY}"
            )
    return Analysis(folder, facts)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, orjson.JSONDecodeError) as error:
        raise FeaturebookError(f"{path} cannot be read: {error}. {REMEDY}") from error
    if "schema" in found and found["schema"] != SCHEMA:
        raise FeaturebookError(f"{path} has schema {found['schema']}, this version reads {SCHEMA}. {REMEDY}")
    return found


def model_id(model: str) -> str:
    """The id of a model's page."""
    return f"{ANALYSIS}/{model}"


def text_id(model: str, text: str) -> str:
    """The id of the page of one prompt or document under one model."""
    return f"{ANALYSIS}/{model}/{text}"


def model_facts(model: dict[str, Any]) -> dict[str, Any]:
    """What a page says of a model at its head."""
    names = ("name", "base", "adapter", "architecture", "kind", "variants", "n_layers", "n_heads", "d", "n_parameters", "context",
             "n_documents", "n_tokens", "parts")  # fmt: skip
    return {name: model.get(name) for name in names}


def measured(matrix: list[Any]) -> dict[str, Any]:
    """Values of the files' form as columns: ``values`` rounded, ``n``, and ``reasons`` by the place of what is undefined.

    ``n`` is one number where all are alike, as they mostly are. Places count through the rows of a matrix.

    >>> measured([{"value": 0.5, "n": 3}, {"value": None, "n": 1, "reason": "undefined (n = 1)"}])
    {'values': [0.5, None], 'n': [3, 1], 'reasons': {'1': 'undefined (n = 1)'}}
    """
    flat = [value for row in matrix for value in row] if matrix and isinstance(matrix[0], list) else matrix
    counts = [value["n"] for value in flat]
    reasons = {str(at): value["reason"] for at, value in enumerate(flat) if value.get("reason")}
    return {
        "values": _rounded(matrix),
        "n": counts[0] if len(set(counts)) == 1 else counts,
        "reasons": reasons,
    }


def _rounded(value: Any) -> Any:
    return [_rounded(v) for v in value] if isinstance(value, list) else significant(value["value"], DIGITS)


def rounded(value: Any) -> Any:
    """JSON with every float rounded to the digits that a page shows."""
    if isinstance(value, float):
        return significant(value, DIGITS)
    if isinstance(value, list):
        return [rounded(entry) for entry in value]
    return {key: rounded(entry) for key, entry in value.items()} if isinstance(value, dict) else value
