"""Which channel of another run is the same direction: by its vectors, by its activations on the same text, or by its id.

Only channels of one place are matched: of one collection (of one kind where the runs name it differently), layer and module.
The similarity of two directions with both vectors known is |cos(read) · cos(write)|, which for the rank-1 update scaling·B·A is the
cosine of the updates as matrices: the sign of a pair, and how its size divides between A and B, are conventions and do not count.
Of latents, which have a sign, a negative cosine is no similarity. Pairs are taken greedily, the most similar first: each channel
has one counterpart at most. An optimal assignment would need scipy, which is no dependency of Featurebook; where counterparts are
clear, the two agree.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from generator.blocks import Channel
from generator.publish.likeness import (
    Run,
    SharedText,
    Vectors,
    cosine_matrix,
    cosines_of_pairs,
    share_a_space,
    vectors_of,
)

ROWS = 1024
"""Channels whose similarities to all of the other run are held at once."""

CANDIDATES = 8
"""Most similar channels of the other run that a channel may be paired with, in places of more than ``ALL_PAIRS`` pairs."""

ALL_PAIRS = 2**20
"""Pairs of a place of which all are candidates."""

MOST_CORRELATIONS = 2**22
"""Pairs of a place of which correlations are computed where no vectors are known (2,048 latents in each run)."""

How = Literal["id", "cosine", "correlation"]


@dataclass(frozen=True)
class Matches:
    """For every channel of this run, its counterpart in the other and how alike the two are; NaN where not known."""

    other: Int[np.ndarray, " channel"]
    """Index into the other's channel table; −1 for none."""
    how: list[How | None]
    read: Float[np.ndarray, " channel"]
    """Cosine of the read vectors, after ``is_turned``; so are the next two."""
    write: Float[np.ndarray, " channel"]
    correlation: Float[np.ndarray, " channel"]
    """Pearson, over the measured tokens of the documents of which both runs keep every value."""
    is_turned: Bool[np.ndarray, " channel"]
    """The other's sign is the opposite one: its activations are read with the sign changed."""
    n_documents: int
    n_tokens: int
    """Of the correlations."""

    def without_counterpart(self, n_other: int) -> list[int]:
        """Channels of the other run, of ``n_other``, that are nobody's counterpart."""
        taken = set(self.other.tolist())
        return [index for index in range(n_other) if index not in taken]


def match(mine: Run, theirs: Run, by: Literal["nearest", "id"] = "nearest") -> Matches:
    """Pairs the channels of two runs; ``by`` says whether the nearest is taken, or the same id."""
    texts = SharedText(mine, theirs)
    vectors = vectors_of(mine, theirs), vectors_of(theirs, mine)
    n = len(mine.channels)
    other = np.full(n, -1)
    how: list[How | None] = [None] * n
    for a, b in _places(mine.channels, theirs.channels):
        pairs, by_what = _pairs_of(mine, theirs, vectors, texts, a, b, by)
        for first, second in pairs:
            other[first], how[first] = second, by_what
    known = np.flatnonzero(other >= 0)
    columns = {name: np.full(n, np.nan) for name in ("read", "write", "correlation")}
    for side in ("read", "write"):
        columns[side][known] = cosines_of_pairs(*vectors, side, known, other[known])
    columns["correlation"][known] = texts.correlations(known, other[known])
    is_turned = _turned(mine.channels, columns)
    signs = np.where(is_turned, -1.0, 1.0)
    turned = {name: column * signs for name, column in columns.items()}
    return Matches(
        other, how, **turned, is_turned=is_turned, n_documents=len(texts.docs), n_tokens=texts.n_tokens
    )


def _turned(channels: list[Channel], columns: dict[str, np.ndarray]) -> Bool[np.ndarray, " channel"]:
    """The sign of what is known first: of the reads, which decide the activation's, then of the activations, then of the writes."""
    is_signed = np.array([channel.is_signed for channel in channels], np.bool_)
    first = columns["read"]
    for name in ("correlation", "write"):
        first = np.where(np.isfinite(first) & (first != 0), first, columns[name])
    return is_signed & (first < 0)


# --- places ----------------------------------------------------------------------------------------------------


def _places(
    mine: list[Channel], theirs: list[Channel]
) -> Iterator[tuple[Int[np.ndarray, " channel"], Int[np.ndarray, " k"]]]:
    """Channels of this run and of the other that may be counterparts of one another."""
    common = {channel.collection for channel in mine} & {channel.collection for channel in theirs}
    held = []
    for channels in (mine, theirs):
        members: dict[tuple[str, str, int, str], list[int]] = defaultdict(list)
        for index, c in enumerate(channels):
            collection = c.collection if c.collection in common else ""
            members[(collection, c.kind, c.layer, c.module)].append(index)
        held.append(members)
    for key, indices in held[0].items():
        if key in held[1]:
            yield np.array(indices), np.array(held[1][key])


def _pairs_of(
    mine: Run,
    theirs: Run,
    vectors: tuple[Vectors, Vectors],
    texts: SharedText,
    a: Int[np.ndarray, " channel"],
    b: Int[np.ndarray, " k"],
    by: str,
) -> tuple[list[tuple[int, int]], How]:
    """The pairs of one place, and by what they were found."""
    if by == "nearest":
        is_signed = mine.channels[int(a[0])].is_signed
        if any(share_a_space(*vectors, side, a, b) for side in ("read", "write")):
            blocks = (
                _similarity(vectors, rows, b, is_signed) for rows in np.split(a, range(ROWS, len(a), ROWS))
            )
            return _greedy(blocks, a, b), "cosine"
        if texts.n_tokens and len(a) * len(b) <= MOST_CORRELATIONS:
            found = texts.correlation_matrix(a, b)
            return _greedy(iter([np.abs(found) if is_signed else np.maximum(found, 0)]), a, b), "correlation"
    places = {theirs.channels[index].id.split("/", 1)[-1]: index for index in b.tolist()}
    names = ((index, mine.channels[index].id.split("/", 1)[-1]) for index in a.tolist())
    return [(index, places[name]) for index, name in names if name in places], "id"


def _greedy(
    blocks: Iterator[Float[np.ndarray, "channel k"]], a: Int[np.ndarray, " channel"], b: Int[np.ndarray, " k"]
) -> list[tuple[int, int]]:
    """Pairs, the most similar first; ties go to the lower index. What is not known (NaN) pairs with nothing."""
    rows, columns, values = [], [], []
    most = len(b) if len(a) * len(b) <= ALL_PAIRS else min(CANDIDATES, len(b))
    start = 0
    for block in blocks:
        filled = np.where(np.isfinite(block), block, -1.0)
        nearest = np.argsort(-filled, axis=1, kind="stable")[:, :most]
        kept = np.take_along_axis(filled, nearest, axis=1)
        row, place = np.nonzero(kept >= 0)
        rows.append(row + start)
        columns.append(nearest[row, place])
        values.append(kept[row, place])
        start += len(block)
    row, column = np.concatenate(rows), np.concatenate(columns)
    order = np.lexsort((column, row, -np.concatenate(values)))
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for first, second in zip(row[order].tolist(), column[order].tolist()):
        if first not in pairs and second not in taken:
            pairs[first] = second
            taken.add(second)
    return [(int(a[first]), int(b[second])) for first, second in sorted(pairs.items())]


def _similarity(
    vectors: tuple[Vectors, Vectors], a: np.ndarray, b: np.ndarray, is_signed: bool
) -> Float[np.ndarray, "channel k"]:
    """How alike, from 0 to 1; NaN where neither side is known of both."""
    read, write = (cosine_matrix(*vectors, side, a, b) for side in ("read", "write"))
    if not is_signed:
        read, write = np.maximum(read, 0), np.maximum(write, 0)
    product = np.where(
        np.isfinite(read) & np.isfinite(write), read * write, np.where(np.isfinite(read), read, write)
    )
    return np.abs(product)
