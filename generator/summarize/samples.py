"""Examples chosen by hash: a random sample of each channel, and a sample spread over all magnitudes for the bands.

A hash of (seed, document, position, channel) decides, never the order of arrival: keeping the entries with the lowest
hash gives the same uniform sample whatever way the corpus was split.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, Int64, UInt32

from generator.summarize.entries import Entries
from generator.summarize.histogram import LAST, PER_OCTAVE, codes_of, low_edges
from generator.summarize.lists import EMPTY, BestLists, make_keys, rank_of, token_of
from generator.summarize.view import STRIP, Scope, View

N_SIDE = 32
N_STRATA = 2 * N_SIDE
"""Strata of one channel: ``N_SIDE`` of values > 0, then as many of values < 0.

Magnitudes are taken relative to the channel's reference RMS: the first stratum holds everything below a quarter of it, six
of half an octave reach to twice of it, and from there each is a quarter of an octave; the last has no upper end.
"""

INNER_FACTOR = 4
"""The first stratum keeps so many times the entries of another one: for a sparse channel it holds most values."""

_FINE_FROM, _COARSE_FROM = PER_OCTAVE, -2 * PER_OCTAVE
_N_COARSE = (_FINE_FROM - _COARSE_FROM) // (PER_OCTAVE // 2)

_FIRST_ROWS = 64
"""Rows offered at once in the beginning; then as many as were seen before, so that few are offered in vain."""


@dataclass(frozen=True)
class Sampled:
    """Sampled tokens, sorted by channel, then by hash within each of its lists."""

    channel: Int64[np.ndarray, " n"]
    hash: Int64[np.ndarray, " n"]
    token: Int64[np.ndarray, " n"]  # global index
    value: Float32[np.ndarray, " n"]
    window: Float32[np.ndarray, "n window"]


class Samples:
    """The random sample of every channel, and per stratum of magnitude the sample from which bands are filled.

    The random sample is drawn from all measured, finite tokens where the value is not 0; for an unsigned channel from those
    where it is active.
    Its hash is the complement of the other's, so that the two do not pick the same tokens.
    """

    def __init__(self, scope: Scope) -> None:
        settings = scope.settings
        self.scope, self.n_seen = scope, 0
        self.lists = {
            "random": BestLists(scope, 1, settings.random),
            "inner": BestLists(scope, 2, settings.per_band * INNER_FACTOR),
            "outer": BestLists(scope, N_STRATA, settings.per_band),
        }
        self.base = reference_codes(scope)

    def add(self, view: View) -> None:
        """Takes in the measured, finite values of a block."""
        for rows in self._stages(view.n):
            is_random, is_banded = self._filter(view, rows)
            self._take_random(*self._candidates(view, rows, is_random))
            self._take_strata(*self._candidates(view, rows, is_banded))
        for lists in self.lists.values():
            lists.capture(view)

    def add_sparse(self, view: Entries) -> None:
        """Takes in the measured, finite values of a sparse block."""
        self.n_seen += view.n
        hashes = view.hash[view.row] * self.scope.multiplier[view.channel]
        token = view.token[view.row]
        self._take_random(view.channel, view.value, hashes, token)
        self._take_strata(view.channel, view.value, hashes, token)
        for lists in self.lists.values():
            lists.capture(view)

    def merge(self, other: "Samples") -> None:
        """Takes in another accumulator's samples."""
        self.n_seen += other.n_seen
        for name, lists in self.lists.items():
            lists.merge(other.lists[name])

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to go on."""
        state = {f"{name}/{k}": a for name, lists in self.lists.items() for k, a in lists.state().items()}
        return state | {"n_seen": np.array(self.n_seen)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Takes over what ``state`` gave."""
        self.n_seen = int(state["n_seen"])
        for name, lists in self.lists.items():
            lists.restore({k: state[f"{name}/{k}"] for k in ("list", "key", "window")})

    def random(self) -> Sampled:
        """The random sample, lowest hash first."""
        return self._entries(["random"])

    def strata(self) -> Sampled:
        """Everything kept for the bands."""
        return self._entries(["inner", "outer"])

    def _entries(self, names: list[str]) -> Sampled:
        parts = []
        for name in names:
            lists, keys, windows = self.lists[name].entries()
            parts.append((lists // self.lists[name].per_channel, _hash_of(keys), token_of(keys), windows))
        channel, hashes, token, window = (np.concatenate(column) for column in zip(*parts))
        order = np.argsort(channel, kind="stable")
        window = window[order]
        value = window[:, self.scope.settings.context] + np.float32(0)
        return Sampled(channel[order], hashes[order], token[order], value, window)

    def _stages(self, n: int) -> Iterator[slice]:
        start = 0
        while start < n:
            stop = min(n, start + max(self.n_seen, _FIRST_ROWS))
            yield slice(start, stop)
            self.n_seen += stop - start
            start = stop

    def _candidates(
        self, view: View, rows: slice, wanted: Bool[np.ndarray, "token channel"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Channel, value, hash and global index of the tokens marked."""
        row, channel = np.divmod(np.flatnonzero(wanted), wanted.shape[1])
        row += rows.start
        value = view.values[row, channel]
        return channel, value, view.hash[row] * self.scope.multiplier[channel], view.token[row]

    def _filter(self, view: View, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Which tokens may enter a random sample, and which a stratum; few others are among them."""
        shape = (rows.stop - rows.start, self.scope.n_channels)
        is_random, is_banded = np.empty(shape, bool), np.empty(shape, bool)
        least = ~_limit(self.lists["random"].worst)  # the random sample takes hashes from the upper end
        quiet_hash, quiet_size = self._quiet()
        for start in range(rows.start, rows.stop, STRIP):
            strip = slice(start, min(start + STRIP, rows.stop))
            out = slice(strip.start - rows.start, strip.stop - rows.start)
            hashes = view.hash[strip, None] * self.scope.multiplier
            np.greater_equal(hashes, least, out=is_random[out])
            np.less_equal(hashes, quiet_hash, out=is_banded[out])
            is_banded[out] |= np.abs(view.values[strip]) >= quiet_size
        return is_random, is_banded

    def _take_random(
        self, channel: np.ndarray, value: np.ndarray, hashes: np.ndarray, token: np.ndarray
    ) -> None:
        """Offers tokens to the random samples."""
        lists = self.lists["random"]
        hashes = ~hashes
        few = np.flatnonzero(hashes <= _limit(lists.worst)[channel])
        channel, value, hashes, token = (column[few] for column in (channel, value, hashes, token))
        is_drawn = np.where(
            self.scope.is_signed[channel], value != 0, np.abs(value) > self.scope.threshold[channel]
        )
        kept = np.flatnonzero(is_drawn & np.isfinite(value))
        keys, channel = _keys(hashes[kept], token[kept]), channel[kept]
        kept = keys > lists.worst[channel]
        lists.offer(channel[kept], keys[kept])

    def _take_strata(
        self, channel: np.ndarray, value: np.ndarray, hashes: np.ndarray, token: np.ndarray
    ) -> None:
        """Offers tokens to the strata of their magnitude."""
        inner, outer = self.lists["inner"], self.lists["outer"]
        kept = np.isfinite(value) & (value != 0) & (self.scope.is_signed[channel] | (value > 0))
        stratum = strata_of(value, self.base[channel])
        keys = _keys(hashes, token)
        is_inner = stratum % N_SIDE == 0
        list_of = np.where(is_inner, 2 * channel + stratum // N_SIDE, N_STRATA * channel + stratum)
        for lists, side in ((inner, is_inner), (outer, ~is_inner)):
            chosen = np.flatnonzero(kept & side)
            chosen = chosen[keys[chosen] > lists.worst[list_of[chosen]]]
            lists.offer(list_of[chosen], keys[chosen])

    def _quiet(self) -> tuple[UInt32[np.ndarray, " channel"], Float32[np.ndarray, " channel"]]:
        """Per channel a magnitude below which all strata are well filled, and the highest hash that one still takes.

        Nearly all values are smaller and have a higher hash, which two comparisons find out.
        """
        if not self.scope.settings.per_band:
            return np.zeros(self.scope.n_channels, np.uint32), np.full(
                self.scope.n_channels, np.inf, np.float32
            )
        inner, outer = self.lists["inner"].worst.reshape(-1, 2), self.lists["outer"].worst
        worst = _limit(outer).reshape(-1, 2, N_SIDE)
        worst[:, :, 0] = _limit(inner)
        worst = np.where(self.scope.is_signed[:, None], worst.max(axis=1), worst[:, 0])
        n_filled = _cheapest_prefix(worst / 2**32, self.scope.settings.per_band, max(self.n_seen, 1))
        hashes = np.where(np.arange(N_SIDE) < n_filled[:, None], worst, 0).max(axis=1)
        size = low_edges(np.clip(self.base + _lowest_offset(n_filled), 0, 2 * LAST)).astype(np.float32)
        return hashes.astype(np.uint32), np.where(n_filled > 0, size, np.float32(0))


def reference_codes(scope: Scope) -> Int64[np.ndarray, " channel"]:
    """The fine code of each channel's reference RMS (of 1 where it has none)."""
    rms = np.array([c.reference_rms for c in scope.channels], np.float64)
    rms = np.where(np.isfinite(rms) & (rms > 0), rms, 1.0)
    return codes_of(np.minimum(rms, 1e30).astype(np.float32)).astype(np.int64)


def _cheapest_prefix(
    worst: Float64[np.ndarray, "channel k"], limit: int, n_seen: int
) -> Int64[np.ndarray, " channel"]:
    """How many of the inner strata to filter by hash alone, so that the fewest tokens are looked at closely.

    Filtering strata by hash lets through a share of the tokens equal to the worst hash among them; the strata beyond are
    looked at in full, and a stratum whose ``limit`` lowest hashes reach up to w has about limit / w tokens.
    """
    share = limit / worst / n_seen
    beyond = share.sum(axis=1, keepdims=True) - np.cumsum(share, axis=1)
    cost = np.maximum.accumulate(worst, axis=1) + beyond
    return np.where(cost.min(axis=1) < 1, cost.argmin(axis=1) + 1, 0)


def strata_of(value: Float32[np.ndarray, " n"], base: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """The stratum of each value; ``base`` is the fine code of its channel's reference RMS."""
    offset = np.abs(codes_of(value)) - base
    coarse = 1 + (offset - _COARSE_FROM) // (PER_OCTAVE // 2)
    fine = 1 + _N_COARSE + (offset - _FINE_FROM) // (PER_OCTAVE // 4)
    side = np.clip(np.where(offset < _FINE_FROM, coarse, fine), 0, N_SIDE - 1)
    return side + N_SIDE * (value < 0)


def _lowest_offset(side: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """The smallest code relative to the reference of each stratum, counted outwards; beyond the last, a huge one."""
    coarse = _COARSE_FROM + (side - 1) * (PER_OCTAVE // 2)
    fine = _FINE_FROM + (side - 1 - _N_COARSE) * (PER_OCTAVE // 4)
    offset = np.where(side <= _N_COARSE, coarse, fine)
    return np.where(side >= N_SIDE, 2 * LAST, offset)


def _keys(hashes: UInt32[np.ndarray, " n"], token: Int[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Keys by which the lowest hash is the best."""
    return make_keys(2**31 - 1 - hashes.astype(np.int64), token)


def _hash_of(keys: Int64[np.ndarray, "*shape"]) -> Int64[np.ndarray, "*shape"]:
    return 2**31 - 1 - rank_of(keys)


def _limit(worst: Int64[np.ndarray, "*shape"]) -> UInt32[np.ndarray, "*shape"]:
    """The highest hash that can still enter a list whose worst key is given."""
    return np.where(worst == EMPTY, 2**32 - 1, _hash_of(worst)).astype(np.uint32)
