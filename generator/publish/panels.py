"""The panels of a channel page: what each writes into the shard under its own name.

To add one: a function here and its line in ``PANELS``, one module ``site_assets/assets/panels/<name>.mjs``, and a
paragraph in docs/shards.md. A function returns None when there is nothing to show, and ``{"undefined": reason}`` (one
sentence) when what it shows is not defined for this channel.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from generator.errors import FeaturebookError, nearest
from generator.publish.about import label_rows
from generator.publish.crosscoder import crosscoder
from generator.publish.dictionaries import density, latents, loadings
from generator.publish.effects import ablation, attribution, logits
from generator.publish.latent_effects import latent_effects
from generator.publish.numbers import significant
from generator.publish.records import FeatureRecord
from generator.publish.runs import runs
from generator.summaries import Ragged


def top_tokens(record: FeatureRecord) -> list[dict[str, Any]] | None:
    """Tokens with the highest mean activation, highest first."""
    return _tokens(record, record.book.summary.top_tokens)


def bottom_tokens(record: FeatureRecord) -> list[dict[str, Any]] | None:
    """Tokens with the lowest mean activation, lowest first; a channel that is never negative has none."""
    return _tokens(record, record.book.summary.bottom_tokens) if record.channel.is_signed else None


def write(record: FeatureRecord) -> dict[str, Any] | None:
    """How much the direction adds to the output of its module: scaling · |activation| · ‖write vector‖.

    A latent of a dictionary over channels adds to no module's output: ``loadings`` says what it writes. Of a latent that
    was read from another tool's files, no vector is known, and nothing is shown.
    """
    channel, book = record.channel, record.book
    if record.index in book.loadings_of:
        return None
    largest = book.max_write(record.index)
    if largest is None and book.is_latent(record.index):
        return None
    if largest is None:
        return {"undefined": "The vector that this direction writes is zero or not known."}
    return {
        "scaling": channel.scaling,
        "read_norm": channel.read_norm,
        "write_norm": channel.write_norm,
        "max": largest,
        "read_space": book.spaces.get((record.index, "read")),
        "write_space": book.spaces.get((record.index, "write")),
    }


def neighbours(record: FeatureRecord) -> dict[str, Any] | None:
    """The nearest channels by read and by write direction, the most correlated, the most co-active."""
    book = record.book
    most = book.preset.neighbours
    lists = {}
    for name, ragged in book.summary.neighbours.items():
        rows = ragged.of(record.index)
        lists[name] = [
            {
                "id": book.summary.channels[other].id,
                "value": significant(value),
                **({} if other in book.published_set else {"has_page": False}),
                **_named(book.labels.text(book.summary.channels[other].id)),
            }
            for other, value in zip(rows["channel"].tolist()[:most], rows["value"].tolist())
        ]
    return lists if any(lists.values()) else None


def profiles(record: FeatureRecord) -> dict[str, Any] | None:
    """Mean activation by position, by token class and by step of the document."""
    shown = {}
    for name, profile in record.book.summary.profiles.items():
        filled = np.flatnonzero(profile.count[record.index])
        if len(filled):
            held = slice(int(filled[-1]) + 1)  # the bins after it are of longer texts than there are
            shown[name] = {
                "names": profile.names[held],
                "mean": [significant(mean) for mean in profile.mean[record.index, held].tolist()],
                "count": profile.count[record.index, held],
            }
    return shown or None


def labels(record: FeatureRecord) -> list[dict[str, Any]] | None:
    """What people and models say of the channel, first what counts most (docs/labels.md)."""
    return label_rows(record.book, record.channel.id) or None


PANELS: list[tuple[str, Callable[[FeatureRecord], Any]]] = [
    ("top_tokens", top_tokens),
    ("bottom_tokens", bottom_tokens),
    ("loadings", loadings),
    ("write", write),
    ("crosscoder", crosscoder),
    ("latent_effects", latent_effects),
    ("logits", logits),
    ("ablation", ablation),
    ("attribution", attribution),
    ("latents", latents),
    ("density", density),
    ("neighbours", neighbours),
    ("runs", runs),
    ("profiles", profiles),
    ("labels", labels),
]
"""All panels in their order on the page."""

ALWAYS: dict[str, Any] = {"top_tokens": [], "bottom_tokens": [], "neighbours": {}}
"""Fields that other tools read: present, though empty, where their panel shows nothing."""


def selected_panels(wanted: list[str] | None) -> list[tuple[str, Callable[[FeatureRecord], Any]]]:
    """The panels that ``publish.panels`` asks for, in its order; all when None.

    Raises:
        FeaturebookError: an unknown panel.
    """
    if wanted is None:
        return PANELS
    known = dict(PANELS)
    for name in wanted:
        if name not in known:
            raise FeaturebookError(f"publish.panels: unknown panel {name!r}. {nearest(name, known)}")
    return [(name, known[name]) for name in dict.fromkeys(wanted)]


def _named(label: str | None) -> dict[str, str]:
    """The label of a channel in a list; nothing without one."""
    return {"label": label} if label else {}


def _tokens(record: FeatureRecord, ragged: Ragged) -> list[dict[str, Any]] | None:
    rows = ragged.of(record.index)
    texts = record.book.texts.alone
    return [
        {"token_id": token, "text": texts[token], "mean": significant(mean), "count": count}
        for token, mean, count in zip(
            rows["token_id"].tolist()[: record.book.preset.tokens],
            rows["mean"].tolist(),
            rows["count"].tolist(),
        )
    ] or None
