"""What dictionaries over hook points show beyond a latent's statistics: profiles over places, models compared, neurons."""

from typing import Any

import numpy as np

from generator.publish.book import Book
from generator.publish.effects import tokens_alone
from generator.publish.numbers import significant
from generator.publish.records import FeatureRecord

PANEL = "crosscoder"

CLASSES = (("first", 0.0, 0.1), ("shared", 0.4, 0.6), ("second", 0.9, 1.0))
"""By relative norm, as Minder et al. 2025 (arXiv:2504.02922) draw the lines: one model only, both, the other only."""

BINS = 40
"""Of the histogram of relative norms."""

ROWS = 1200
"""Latents of the heatmap of profiles, at most; of more, evenly spaced ones of the sorted order."""

STEPS = 99
"""Heatmap values run from 0 to this, in units of each latent's peak."""


def crosscoder(record: FeatureRecord) -> dict[str, Any] | None:
    """A latent over the places of its dictionary."""
    findings = record.book.findings.get(PANEL)
    found = findings.of(record.channel.id) if findings else None
    if findings is None or found is None:
        return None
    facts = findings.facts["collections"][record.channel.collection]
    shown = {name: found.get(name) for name in ("norms", "peak", "n_active", "entropy", "cosines")}
    if "relative_norm" in found:
        shown |= {
            "relative_norm": found["relative_norm"],
            "class": class_of(found["relative_norm"]),
            "model_cosine": found["model_cosine"],
            "scaling": found.get("scaling"),
        }
    return shown | {
        "places": facts["places"],
        "n_models": facts["n_models"],
        "n_tokens": facts["n_tokens"],
        "logits": [_sides(record, one) for one in found.get("logits", [])],
        "logits_undefined": facts.get("logits", {}).get("undefined"),
        "neurons": found.get("neurons"),
        "channels": [[_channel(record.book, *one) for one in place] for place in found.get("channels", [])],
        "correlated": found.get("correlated"),
    }


def class_of(relative_norm: float | None) -> str | None:
    """``first``, ``shared`` or ``second``; ``between`` outside of them, None where nothing is written."""
    if relative_norm is None:
        return None
    return next((name for name, low, high in CLASSES if low <= relative_norm <= high), "between")


def _sides(record: FeatureRecord, found: dict[str, Any] | None) -> dict[str, Any] | None:
    return found and {side: tokens_alone(record, found[side]) for side in ("top", "bottom")}


def _channel(book: Book, identifier: str, side: str, cosine: float) -> dict[str, Any]:
    has_page = book.index_of.get(identifier) in book.published_set
    return {"id": identifier, "side": side, "cosine": cosine, "has_page": has_page}


def crosscoder_number(book: Book, name: str, index: int) -> float | None:
    """``peak_layer`` or ``relative_norm`` of a channel; None for any other."""
    found = book.crosscoder_numbers.get(book.summary.channels[index].id)
    return None if found is None or found[name] is None else float(found[name])


def crosscoder_of_collection(book: Book, name: str) -> dict[str, Any] | None:
    """Of a collection's page: its places, peaks, relative norms and the profiles of its latents.

    Returns:
        None for a collection that is no dictionary over hook points, or whose effects were not asked for.
    """
    findings = book.findings.get(PANEL)
    facts = findings.facts["collections"].get(name) if findings else None
    if findings is None or facts is None:
        return None
    alive = [index for index in book.collections[name] if not book.is_dead(index)]
    ids = [book.summary.channels[index].id for index in alive]
    numbers = [book.crosscoder_numbers.get(identifier) for identifier in ids]
    kept = [(identifier, one) for identifier, one in zip(ids, numbers) if one is not None]
    sizes = np.array([place["size"] or 1.0 for place in facts["places"]])
    norms = np.array([one["norms"] for _, one in kept], float).reshape(-1, len(sizes)) / np.where(
        sizes > 0, sizes, 1.0
    )
    norms = np.nan_to_num(norms)
    return {
        "places": facts["places"],
        "n_models": facts["n_models"],
        "n_tokens": facts["n_tokens"],
        "n_latents": len(kept),
        "peaks": np.bincount(norms.argmax(1), minlength=len(sizes)) if len(kept) else [],
        "relative_norms": _relative_norms([one["relative_norm"] for _, one in kept])
        if facts["n_models"] == 2
        else None,
        "profiles": _profiles([identifier for identifier, _ in kept], norms),
    }


def _relative_norms(values: list[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    counts, edges = np.histogram(known, bins=BINS, range=(0.0, 1.0))
    classes = [class_of(value) for value in known]
    return {
        "edges": [significant(float(edge)) for edge in edges],
        "counts": counts,
        "classes": {name: classes.count(name) for name in ("first", "shared", "second", "between")},
    }


def _profiles(ids: list[str], norms: np.ndarray) -> dict[str, Any]:
    """Latents sorted by peak, then by centre of mass, each in units of its own peak."""
    if not ids:
        return {"ids": [], "values": [], "steps": STEPS}
    largest = norms.max(1)
    centre = (norms * np.arange(norms.shape[1])).sum(1) / np.where(largest > 0, norms.sum(1), 1.0)
    order = np.lexsort((np.arange(len(ids)), centre, norms.argmax(1)))
    if len(order) > ROWS:
        order = order[np.unique(np.linspace(0, len(order) - 1, ROWS).round().astype(int))]
    values = np.rint(norms[order] / np.where(largest > 0, largest, 1.0)[order, None] * STEPS).astype(int)
    return {"ids": [ids[i] for i in order.tolist()], "values": values.tolist(), "steps": STEPS}
