"""Comparing channels: every value of a channel on the documents that all channels share, and its cosines to the others.

``compare`` says once what the values stand beside: the documents, the tokens left out of the statistics, the members of each
space. ``values/<id>`` is one channel's part, fetched when somebody compares it or reads an example in its document.
"""

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from generator.publish.book import SCHEMA, Book
from generator.publish.documents import doc_id
from generator.publish.records import link_to
from generator.summaries import CosineMatrix, SharedValues

STEPS = 127
"""Quantised values run from −127 to 127 over the measured range of a channel; −128 stands for a value that is not finite."""

SPARSE_BELOW = 0.2
"""Share of values that are not zero, below which only those are listed."""

MOST_MEMBERS = 1024
"""Members of a space whose cosines are written for each of them."""

COMPARE = "compare"


@dataclass(frozen=True)
class Place:
    """Where a vector of a channel stands."""

    space: int
    """In the list of ``compare_shard``."""
    matrix: CosineMatrix
    row: int
    side: str


def values_id(identifier: str) -> str:
    """The id of the shard with a channel's values on the shared documents."""
    return f"values/{identifier}"


def compared(book: Book) -> dict[int, list[Place]]:
    """Published channels whose values on the shared documents are known, or whose cosines are, with their places in spaces."""
    places: dict[int, list[Place]] = {}
    for space, matrix in enumerate(_spaces(book)):
        for row, (channel, side) in enumerate(matrix.members):
            places.setdefault(channel, []).append(Place(space, matrix, row, side))
    alive = [index for index in book.published if not book.is_dead(index)]
    return {i: places.get(i, []) for i in alive if i in places or shared_of(book, i)}


def shared_of(book: Book, index: int) -> SharedValues | None:
    """Where the values of a channel are."""
    return next((shared for shared in book.summary.shared if shared.holds(index)), None)


def compare_shard(book: Book) -> dict[str, Any]:
    """What the values of all channels stand beside."""
    shared = book.summary.shared[0] if book.summary.shared else None
    docs = shared.doc.tolist() if shared else []
    tokens = [np.arange(*book.corpus.doc_offsets[[doc, doc + 1]]) for doc in docs]
    is_measured = book.corpus.is_measured[np.concatenate([np.zeros(0, np.int64), *tokens])]
    return {
        "schema": SCHEMA,
        "id": COMPARE,
        "documents": [
            {
                "id": doc_id(doc),
                "name": book.doc_names[doc],
                "has_page": doc in book.documents,
                "n_tokens": len(t),
            }
            for doc, t in zip(docs, tokens)
        ],
        "unmeasured": np.flatnonzero(~is_measured),
        "spaces": [
            {
                "space": matrix.space,
                "members": [[book.summary.channels[c].id, side] for c, side in matrix.members],
            }
            for matrix in _spaces(book)
        ],
    }


def values_shard(book: Book, index: int, places: list[Place]) -> dict[str, Any]:
    """A channel's values at every token of the shared documents, one document after another, and its cosines."""
    shared = shared_of(book, index)
    return {
        "schema": SCHEMA,
        "id": values_id(book.summary.channels[index].id),
        "channel": book.summary.channels[index].id,
        **(_encoded(shared.of(index), book.largest(index)) if shared else {"scale": 0.0, "values": None}),
        "cosines": [
            {"space": p.space, "side": p.side, "thousandths": _thousandths(p.matrix.values[p.row])}
            for p in places
        ],
    }


def _encoded(values: Float[np.ndarray, " token"], largest: float) -> dict[str, Any]:
    """Steps of the channel's largest measured size: all of them as base64 of int8, or those that are not zero as lists.

    A value beyond the measured range (at a token that was left out of the statistics) is cut to it.
    """
    scale = (largest or float(np.abs(values[np.isfinite(values)]).max(initial=0.0))) / STEPS
    is_finite = np.isfinite(values)
    steps = np.rint(np.where(is_finite, values, 0) / (scale or 1.0))
    steps = np.where(is_finite, np.clip(steps, -STEPS, STEPS), -STEPS - 1).astype(np.int8)
    at = np.flatnonzero(steps)
    if len(at) < SPARSE_BELOW * len(steps):
        return {"scale": scale, "values": {"at": at, "steps": steps[at].astype(np.int64)}}
    return {"scale": scale, "values": base64.b64encode(steps.tobytes()).decode("ascii")}


def _thousandths(row: Float[np.ndarray, " member"]) -> list[int | None]:
    return [None if not np.isfinite(c) else round(1000 * c) for c in row.tolist()]


def _spaces(book: Book) -> list[CosineMatrix]:
    return [matrix for matrix in book.summary.cosines if len(matrix.members) <= MOST_MEMBERS]


def compare_head(book: Book) -> dict[str, Any]:
    """The front matter of the page: two channels to begin with, for who comes without a choice."""
    first = book.published[:1]
    near = book.summary.neighbours.get("correlation")
    others = near.of(first[0])["channel"].tolist() if near and first else []
    pair = (
        first
        + [
            other
            for other in [*others, *book.published]
            if other in book.published_set and other not in first
        ][:1]
    )
    return {"example": [link_to(book.summary.channels[i].id) for i in pair]}
