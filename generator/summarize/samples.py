"""Examples chosen by hash: a random sample of each channel, and a sample spread over all magnitudes for the bands.

A hash of (seed, document, position, channel) decides, never the order of arrival: keeping the entries with the lowest
hash gives the same uniform sample whatever way the corpus was split.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int, Int64, UInt32

from generator.summarize.histogram import LAST, codes_of
from generator.summarize.view import Scope, View, capture_windows

STRATUM_BINS = 16
"""Fine bins per stratum: a quarter of an octave."""

N_SIDE = (LAST >> 4) + 1
N_STRATA = 2 * N_SIDE
"""Strata of one channel: those of negative values first, mirrored."""

_PLENTY = np.uint32(2**32 // 128)
"""A stratum whose worst kept hash is below this has been filled from many tokens."""

_COLUMNS = ("group", "hash", "token", "value", "window")


@dataclass(frozen=True)
class Entries:
    """Sampled tokens, sorted by group, hash and token."""

    group: Int64[np.ndarray, " n"]  # channel, or channel · N_STRATA + stratum
    hash: UInt32[np.ndarray, " n"]
    token: Int64[np.ndarray, " n"]  # global index
    value: Float32[np.ndarray, " n"]
    window: Float32[np.ndarray, "n window"]

    def select(self, rows: np.ndarray) -> "Entries":
        """Some of them."""
        return Entries(*(getattr(self, name)[rows] for name in _COLUMNS))


class Reservoir:
    """For each group the ``limit`` entries with the lowest hash; at most one per document when ``is_spread``."""

    def __init__(self, scope: Scope, n_groups: int, limit: int, *, is_spread: bool) -> None:
        width = 2 * scope.settings.context + 1
        self.scope, self.limit, self.is_spread = scope, limit, is_spread
        self.worst = np.full(n_groups, 2**32 - 1 if limit else 0, np.uint32)
        """A new entry must have a hash not above this to matter."""
        empty = np.zeros(0, np.int64)
        self.kept = Entries(
            empty, empty.astype(np.uint32), empty, empty.astype(np.float32), np.zeros((0, width), np.float32)
        )
        self.waiting: list[Entries] = []
        self.n_waiting = 0

    def offer(self, entries: Entries) -> None:
        """Adds entries; they are sorted in when enough have come together."""
        self.waiting.append(entries)
        self.n_waiting += len(entries.group)
        if self.n_waiting > max(20_000, len(self.kept.group) // 2):
            self.settle()

    def settle(self) -> Entries:
        """Sorts in what waits and returns what is kept."""
        if self.waiting:
            parts = [self.kept, *self.waiting]
            joined = Entries(*(np.concatenate([getattr(p, name) for p in parts]) for name in _COLUMNS))
            self.waiting, self.n_waiting = [], 0
            self.kept = self._lowest(joined)
            self._update_worst()
        return self.kept

    def _lowest(self, entries: Entries) -> Entries:
        if self.is_spread:
            doc = self.scope.corpus.doc[entries.token]
            order = np.lexsort((entries.token, entries.hash, doc, entries.group))
            group, doc = entries.group[order], doc[order]
            is_first = np.ones(len(order), bool)
            is_first[1:] = (group[1:] != group[:-1]) | (doc[1:] != doc[:-1])
            entries = entries.select(order[is_first])
        order = np.lexsort((entries.token, entries.hash, entries.group))
        rank = ranks(entries.group[order])
        return entries.select(order[rank < self.limit])

    def _update_worst(self) -> None:
        is_last = ranks(self.kept.group) == self.limit - 1
        self.worst[self.kept.group[is_last]] = self.kept.hash[is_last]

    def state(self, prefix: str) -> dict[str, np.ndarray]:
        """Everything needed to go on."""
        kept = self.settle()
        return {f"{prefix}_{name}": getattr(kept, name) for name in _COLUMNS}

    def restore(self, prefix: str, state: dict[str, np.ndarray]) -> None:
        """Takes over what ``state`` gave."""
        self.kept = Entries(*(state[f"{prefix}_{name}"] for name in _COLUMNS))
        self._update_worst()


def ranks(group: Int[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """0, 1, 2, … within each run of equal entries."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    return np.arange(len(group)) - np.repeat(starts, np.diff(np.append(starts, len(group))))


class Samples:
    """The random sample of every channel, and per stratum of magnitude the sample from which bands are filled.

    The random sample is drawn from all measured, finite tokens; for an unsigned channel from those where it is active.
    Its hash is the complement of the other's, so that the two do not pick the same tokens.
    """

    def __init__(self, scope: Scope) -> None:
        c, settings = scope.n_channels, scope.settings
        self.scope = scope
        self.random = Reservoir(scope, c, settings.random, is_spread=False)
        self.strata = Reservoir(scope, c * N_STRATA, settings.per_band, is_spread=True)

    def add(self, view: View) -> None:
        """Takes in the measured, finite values of a block."""
        quiet_low, quiet_high, quiet_hash = self._quiet()
        for rows in view.strips():
            values = view.zeroed[rows]
            drawn = view.hash[rows, None] * self.scope.multiplier
            self._offer_random(view, rows, drawn)
            size = np.abs(values)
            mask = drawn <= quiet_hash
            mask |= size < quiet_low
            mask |= size > quiet_high
            self._offer_strata(view, rows, drawn, mask)

    def merge(self, other: "Samples") -> None:
        """Takes in another accumulator's samples."""
        self.random.offer(other.random.settle())
        self.strata.offer(other.strata.settle())

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to go on."""
        return self.random.state("random") | self.strata.state("strata")

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Takes over what ``state`` gave."""
        self.random.restore("random", state)
        self.strata.restore("strata", state)

    def _quiet(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Per channel a range of magnitudes whose strata are all well filled, and the highest hash that one still takes.

        Nearly all values lie in it and have a higher hash, which three comparisons find out. The range is the longest
        run of well-filled strata of both signs.
        """
        worst = self.strata.worst.reshape(-1, 2, N_SIDE)
        worst = np.where(
            self.scope.is_signed[:, None], np.maximum(worst[:, 0, ::-1], worst[:, 1]), worst[:, 1]
        )
        is_full = worst <= _PLENTY
        low, high = longest_runs(is_full)
        inside = (np.arange(N_SIDE) >= low[:, None]) & (np.arange(N_SIDE) < high[:, None])
        hashes = np.where(inside, worst, 0).max(axis=1).astype(np.uint32)
        return stratum_edge(low), stratum_edge(high), hashes

    def _offer_random(self, view: View, rows: slice, drawn: UInt32[np.ndarray, "token channel"]) -> None:
        inverse = ~drawn
        mask = inverse <= self.random.worst
        row, channel = np.divmod(np.flatnonzero(mask), mask.shape[1])
        if not len(row) or not self.random.limit:
            return
        hashes, row = inverse[row, channel], row + rows.start
        value = view.values[row, channel]
        kept = np.isfinite(value)
        kept &= self.scope.is_signed[channel] | (np.abs(value) > self.scope.threshold[channel])
        self._offer(self.random, view, row[kept], channel[kept], channel[kept], hashes[kept])

    def _offer_strata(self, view: View, rows: slice, drawn: np.ndarray, mask: np.ndarray) -> None:
        if not self.strata.limit:
            return
        row, channel = np.divmod(np.flatnonzero(mask), mask.shape[1])
        hashes, row = drawn[row, channel], row + rows.start
        value = view.values[row, channel]
        group = channel * N_STRATA + stratum_of(value)
        kept = np.isfinite(value) & (value != 0) & (self.scope.is_signed[channel] | (value > 0))
        group = np.where(kept, group, 0)
        kept &= hashes <= self.strata.worst[group]
        self._offer(self.strata, view, row[kept], channel[kept], group[kept], hashes[kept])

    def _offer(
        self,
        reservoir: Reservoir,
        view: View,
        row: np.ndarray,
        channel: np.ndarray,
        group: np.ndarray,
        hashes: np.ndarray,
    ) -> None:
        if not len(row):
            return
        best = _lowest_of_block(group, hashes, row, view.doc[row], reservoir)
        row, channel, group, hashes = row[best], channel[best], group[best], hashes[best]
        token = view.token[row]
        window = capture_windows(view, token, channel)
        reservoir.offer(
            Entries(group.astype(np.int64), hashes, token, view.values[row, channel] + np.float32(0), window)
        )


def _lowest_of_block(
    group: np.ndarray, hashes: np.ndarray, row: np.ndarray, doc: np.ndarray, reservoir: Reservoir
) -> np.ndarray:
    """Of many candidates those that can stay, so that few windows are captured."""
    order = np.lexsort((row, hashes, group))
    if reservoir.is_spread:
        _, first = np.unique(group[order] * (int(doc.max()) + 1) + doc[order], return_index=True)
        order = order[np.sort(first)]
    return order[ranks(group[order]) < reservoir.limit]


def stratum_of(value: Float32[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """0 … N_STRATA − 1, ascending with the value."""
    side = np.abs(codes_of(value)) // STRATUM_BINS
    return np.where(value < 0, N_SIDE - 1 - side, N_SIDE + side)


def stratum_edge(side: Int[np.ndarray, " n"]) -> Float32[np.ndarray, " n"]:
    """The smallest magnitude of the strata at this distance from zero."""
    from generator.summarize.histogram import low_edges

    return low_edges(side * STRATUM_BINS).astype(np.float32)


def longest_runs(mask: np.ndarray) -> tuple[Int64[np.ndarray, " row"], Int64[np.ndarray, " row"]]:
    """Start and stop of the longest run of true entries in each row; both 0 where there is none."""
    run = np.zeros(mask.shape[0], np.int64)
    length, stop = run.copy(), run.copy()
    for column in range(mask.shape[1]):
        run = np.where(mask[:, column], run + 1, 0)
        is_longer = run > length
        length = np.where(is_longer, run, length)
        stop = np.where(is_longer, column + 1, stop)
    return stop - length, stop
