"""The nearest channels of every channel, by any similarity."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int, Int64

from generator.summarize.lists import places

ROUNDED = 1e-6
"""Similarities are compared as rounded to six decimals."""


PAIR_KINDS = ("correlation", "coactivation")
"""The two similarities of channels by what they do."""


@dataclass
class NeighbourList:
    """Nearest channels of many channels, one row per pair."""

    channel: Int64[np.ndarray, " n"]
    neighbour: Int64[np.ndarray, " n"]
    value: Float64[np.ndarray, " n"]


def nearest_in_rows(
    similarity: np.ndarray, rows: Int[np.ndarray, " row"], columns: Int[np.ndarray, " channel"], limit: int
) -> NeighbourList:
    """The ``limit`` largest |similarity| of each row, itself excluded, strongest first.

    Values are rounded to six decimals first, so that rounding noise does not decide the order; equal ones go by
    channel index. NaN and 0 are no neighbours.

    Args:
        similarity: One row per channel of ``rows``, one column per channel of ``columns``.
        rows: Channel index of each row.
        columns: Channel index of each column.
        limit: Neighbours per row.
    """
    size = np.abs(similarity)
    size[(rows[:, None] == columns) | ~(size > 0)] = 0.0
    n = min(limit, size.shape[1])
    # What may be among the first n after rounding; few others are.
    cut = np.partition(size, -n, axis=1)[:, -n] - 2 * ROUNDED if n else np.full(len(rows), np.inf)
    row, column = np.nonzero((size >= cut[:, None]) & (size > 0))
    found = NeighbourList(row, columns[column], similarity[row, column].astype(np.float64))
    found = strongest_of_each(found, limit)
    return NeighbourList(rows[found.channel], found.neighbour, found.value)


def strongest_of_each(found: NeighbourList, limit: int) -> NeighbourList:
    """Of each channel the ``limit`` pairs with the largest |value| after rounding, as ``nearest_in_rows`` orders them."""
    value = np.round(found.value, 6)
    kept = np.flatnonzero(value)
    kept = kept[np.lexsort((found.neighbour[kept], -np.abs(value[kept]), found.channel[kept]))]
    kept = kept[places(found.channel[kept]) < limit]
    return NeighbourList(found.channel[kept], found.neighbour[kept], value[kept])


def in_order(lists: list[NeighbourList]) -> NeighbourList:
    """One list of several whose channels do not overlap, sorted by channel."""
    found = joined(lists)
    order = np.argsort(found.channel, kind="stable")
    return NeighbourList(found.channel[order], found.neighbour[order], found.value[order])


def joined(lists: list[NeighbourList]) -> NeighbourList:
    """One list of several, in their order."""
    columns = [
        np.concatenate([np.zeros(0, dtype), *(getattr(part, name) for part in lists)])
        for name, dtype in (("channel", np.int64), ("neighbour", np.int64), ("value", np.float64))
    ]
    return NeighbourList(*columns)
