"""The nearest channels of every channel, by any similarity."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int, Int64

from generator.summarize.lists import places

ROUNDED = 1e-6
"""Similarities are compared as rounded to six decimals."""

_TILE = 1 << 22
"""Products made at once: 16 MB of float32 stay in the last-level cache."""

_PAIRS = 1 << 15
"""Pairs whose products are taken again at once."""

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


def nearest_by_product(
    unit: Float64[np.ndarray, "channel d"], channel: Int[np.ndarray, " channel"], limit: int
) -> NeighbourList:
    """``nearest_in_rows`` of all products of unit vectors: float32 finds what may be among the first, float64 decides.

    A float32 product of unit vectors is off by less than (d + 3) · 2⁻²⁴ (Higham, Accuracy and Stability, section 3.1), so
    no neighbour is missed and values and order are those of float64, whatever the tiles.

    Args:
        unit: Rows of length 1, or of NaN, which have no neighbours.
        channel: Channel index of each row.
        limit: Neighbours per row.
    """
    narrow = np.nan_to_num(unit).astype(np.float32)
    slack = 2 * (ROUNDED + (unit.shape[1] + 3) * 2.0**-24)
    n, height = min(limit, len(unit)), max(1, _TILE // max(len(unit), 1))
    found = []
    for start in range(0, len(unit) if n else 0, height):
        size = narrow[start : start + height] @ narrow.T
        np.abs(size, out=size)
        size[channel[start : start + height, None] == channel] = 0
        cut = np.maximum(np.partition(size, -n, axis=1)[:, -n] - np.float32(slack), np.finfo(np.float32).tiny)
        row, column = np.divmod(np.flatnonzero(size >= cut[:, None]), len(unit))
        value = _products(unit, start + row, column)
        found.append(strongest_of_each(NeighbourList(start + row, channel[column], value), limit))
    every = joined(found)
    return NeighbourList(channel[every.channel], every.neighbour, every.value)


def _products(
    unit: Float64[np.ndarray, "channel d"], left: Int[np.ndarray, " n"], right: Int[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    """The products of some pairs of rows, each from its own two rows alone."""
    out = np.empty(len(left))
    for start in range(0, len(left), _PAIRS):
        pairs = slice(start, start + _PAIRS)
        np.einsum("nd,nd->n", unit[left[pairs]], unit[right[pairs]], out=out[pairs])
    return out


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
