"""The panels of findings that need the model: effects on logits, and the input tokens that an activation comes from."""

from typing import Any

import numpy as np

from generator.publish.numbers import significant
from generator.publish.records import FeatureRecord


def logits(record: FeatureRecord) -> dict[str, Any] | None:
    """The tokens whose logits a unit of activation raises and lowers most, and the histogram over the vocabulary."""
    findings, found = _finding(record, "logits")
    if found is None or "undefined" in found:
        return found
    return {
        **{side: tokens_alone(record, found[side]) for side in ("top", "bottom")},
        "histogram": {name: found[name] for name in ("low", "high", "counts")},
        "divisor": significant(findings.get("divisor")),
        "note": found["note"],
    }


def attribution(record: FeatureRecord) -> dict[str, Any] | None:
    """Scores of the input tokens around the peak of the strongest example."""
    findings, found = _finding(record, "attribution")
    if found is None or "undefined" in found:
        return found
    ids = np.array(found["token_ids"], np.int64)
    doc = found["doc"]
    return {
        "doc": doc,
        "doc_name": record.book.doc_names[doc],
        "has_page": doc in record.book.documents,
        "start": found["start"],
        "position": found["position"],
        "text": record.strings.indices(ids, np.array([0, len(ids)])),
        "scores": found["scores"],
        **{name: found[name] for name in NUMBERS},
        "warning": found["warning"],
        "method": findings.get("method", ""),
    }


def ablation(record: FeatureRecord) -> dict[str, Any] | None:
    """What zeroing the direction does to the predictions, its rank among all, and the parts that it belongs to."""
    findings, found = _finding(record, "ablation")
    if found is None or "undefined" in found:
        return found
    return {**found, "method": findings.get("method", {})}


NUMBERS = ("elsewhere", "n_elsewhere", "n_tokens", "value", "measured", "baseline_value", "gap", "n_nodes")
"""Fields of an attribution that are shown as they were found."""


def _finding(record: FeatureRecord, panel: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """What holds for all channels, and what was found of this one."""
    findings = record.book.findings.get(panel)
    return (findings.facts, findings.of(record.channel.id)) if findings else ({}, None)


def tokens_alone(record: FeatureRecord, pairs: list[list[Any]]) -> dict[str, Any]:
    """Tokens alone, as indices into the shard's table, with their values."""
    ids = np.array([token for token, _ in pairs], np.int64)
    text = record.strings.indices(ids, np.arange(len(ids) + 1))
    return {"text": text, "value": [value for _, value in pairs]}
