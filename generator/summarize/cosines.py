"""Cosines between directions that live in the same space, and only there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from generator.blocks import Channel, Directions
from generator.summaries import CosineMatrix
from generator.summarize.neighbours import NeighbourList, in_order, nearest_by_product

MOST_MEMBERS = 2048
"""Members of the largest matrix that is written whole; a larger space is written layer by layer."""


@dataclass(frozen=True)
class _Member:
    channel: int
    side: str
    raw: np.ndarray
    """Its unit vector."""
    folded: np.ndarray | None
    """The one that meets write vectors, where the gain of a norm makes it another."""


def direction_neighbours(directions: Sequence[Directions], side: str, limit: int) -> NeighbourList:
    """The nearest channels by |cosine| of the read (or write) vectors, within each space.

    Vectors of unequal spaces are never compared: the neuron bases of two MLPs, for instance, are unrelated.
    """
    found = []
    for space in _spaces(directions):
        sets = [d for d in directions if d.space == space and d.side == side and len(d.channels)]
        if sets:
            unit = _unit(np.concatenate([d.vectors for d in sets]))
            channel = np.concatenate([d.channels for d in sets])
            found.append(nearest_by_product(unit, channel, limit))
    return in_order(found)


def cosine_matrices(
    directions: Sequence[Directions], channels: Sequence[Channel]
) -> tuple[list[CosineMatrix], list[str]]:
    """The cosines between all directions of each space, and notes on what was left out.

    Members go by layer, then by channel, read before write. Where a read vector meets a write vector, the gain of the
    norm in front of it is folded in (``Directions.folded``); two reads are compared as they are.
    """
    matrices, notes = [], []
    for space in _spaces(directions):
        members = _members([d for d in directions if d.space == space], channels)
        if len(members) <= MOST_MEMBERS:
            matrices += [_matrix(space, members)] if len(members) > 1 else []
            continue
        notes.append(
            f"The {space} space has {len(members):,} directions: cosines are given within each layer, not across layers."
        )
        for layer in sorted({channels[m.channel].layer for m in members}):
            of_layer = [m for m in members if channels[m.channel].layer == layer]
            if 1 < len(of_layer) <= MOST_MEMBERS:
                matrices.append(_matrix(space, of_layer))
            elif len(of_layer) > MOST_MEMBERS:
                notes.append(f"Layer {layer} alone has {len(of_layer):,} of them: its cosines are left out.")
    return matrices, notes


def _spaces(directions: Sequence[Directions]) -> list[str]:
    return list(dict.fromkeys(d.space for d in directions))


def _members(sets: Sequence[Directions], channels: Sequence[Channel]) -> list[_Member]:
    members = []
    for d in sets:
        raw = _unit(d.vectors)
        folded = None if d.folded is None or d.side == "write" else _unit(d.folded)
        for i, channel in enumerate(d.channels.tolist()):
            members.append(_Member(channel, d.side, raw[i], None if folded is None else folded[i]))
    return sorted(members, key=lambda m: (channels[m.channel].layer, m.channel, m.side))


def _matrix(space: str, members: list[_Member]) -> CosineMatrix:
    raw = np.stack([m.raw for m in members])
    values = raw @ raw.T
    folded = [i for i, m in enumerate(members) if m.folded is not None]
    if folded:
        writes = [i for i, m in enumerate(members) if m.side == "write"]
        meeting = np.stack([m.folded for m in members if m.folded is not None]) @ raw[writes].T
        values[np.ix_(folded, writes)], values[np.ix_(writes, folded)] = meeting, meeting.T
    np.round(values, 6, out=values)  # in place: a new array of this size costs as much as the products
    np.clip(values, -1, 1, out=values)
    return CosineMatrix(space, [(m.channel, m.side) for m in members], values)


def _unit(vectors: Float[np.ndarray, "channel d"]) -> Float64[np.ndarray, "channel d"]:
    """Rows of length 1; a zero or non-finite row gives NaN."""
    vectors = vectors.astype(np.float64)
    norm = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    return vectors / np.where((norm > 0) & np.isfinite(norm), norm, np.nan)
