"""Histograms whose bins depend on no data: exact counts, quantiles with a stated error, exact bands.

Bins are read off the bits of the float32 value: sign, exponent, and the first six bits of the mantissa. Within an
octave [2^e, 2^(e+1)) there are 64 bins of width 2^(e−6), so a bin is at most 1/64 as wide as the values in it are large.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int32, Int64

from generator.summarize.entries import Entries
from generator.summarize.keyed import KeyedSums, reduced
from generator.summarize.view import Scope, View

MANTISSA_BITS = 6
LOWEST_EXPONENT, HIGHEST_EXPONENT = -30, 34
"""Magnitudes from 2^−30 to 2^34 are resolved. Smaller ones share a bin, (0, 2^−30); larger ones fall into the last."""

PER_OCTAVE = 1 << MANTISSA_BITS
LAST = 1 + (HIGHEST_EXPONENT - LOWEST_EXPONENT) * PER_OCTAVE
"""Code of the last bin: 0 is exactly zero, ±1 is (0, 2^−30), ±2 … ±LAST are the bins of the octaves. The sign of the
code is the sign of the value; negative bins mirror the positive: [a, b) becomes (−b, −a]."""

MAX_BINS = 100
"""Bins of the histogram that is shown."""

_WIDTH = 2 * LAST + 1
"""Codes of one channel: a key is channel · _WIDTH + LAST + code."""

_SHIFT = 23 - MANTISSA_BITS
_RAW = 1 << (8 + MANTISSA_BITS)
_BASE = ((127 + LOWEST_EXPONENT) << MANTISSA_BITS) - 1


def codes_of(values: Float[np.ndarray, "*shape"]) -> Int32[np.ndarray, "*shape"]:
    """The bin of each finite float32 value, from −LAST to LAST."""
    bits = values.view(np.int32)
    code = bits & 0x7FFFFFFF
    is_nonzero = code != 0
    code >>= _SHIFT
    code -= _BASE
    np.clip(code, 0, LAST - 1, out=code)
    code += is_nonzero
    sign = bits >> 31
    code ^= sign
    code -= sign
    return code


def low_edges(code: Int[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """The smallest magnitude of the bins of non-negative ``code`` (0 for zero and for (0, 2^−30)).

    ``low_edges(code + 1)`` is the upper edge, and for ``LAST`` the nominal one, 2^34.
    """
    octave, fraction = np.divmod(np.maximum(code - 2, 0), PER_OCTAVE)
    edge = np.ldexp(1 + fraction / PER_OCTAVE, octave + LOWEST_EXPONENT)
    return np.where(code >= 2, edge, 0.0)


class FineHistogram:
    """Counts of every bin and channel.

    Dense blocks are counted in rows by sign and magnitude, of which only the octaves that occur are allocated; the entries of
    sparse ones in a list of the (channel, bin) pairs that occur.
    """

    def __init__(self, scope: Scope) -> None:
        self.sides: list[Int64[np.ndarray, "channel bin"]] = [
            np.zeros((scope.n_channels, 1), np.int64) for _ in range(2)
        ]
        """Counts by code, of values ≥ 0 and of values < 0 (by the code of their magnitude)."""
        self.sparse = KeyedSums(np.int64)

    def add(self, view: View) -> None:
        """Counts the measured, finite values of a block."""
        if not view.n:
            return
        for side in range(2):
            self._widen(side, PER_OCTAVE)
        self._cover(0, float(view.tile_max.max()))
        self._cover(1, -float(view.tile_min.min()))
        for channel, values in view.columns():
            bits = values.view(np.uint32)
            raw = np.bincount(bits >> np.uint32(_SHIFT), minlength=2 * _RAW)
            for side, half in enumerate((raw[:_RAW], raw[_RAW:])):
                _add_raw(self.sides[side][channel], half)
                if half[0]:
                    zeros = np.count_nonzero(bits == np.uint32(side << 31))
                    self.sides[side][channel, 1] -= zeros
                    self.sides[0][channel, 0] += zeros

    def add_sparse(self, view: Entries) -> None:
        """Counts the measured, finite values of a sparse block."""
        self.sparse.count(view.channel * _WIDTH + LAST + codes_of(view.value))
        self.sides[0][:, 0] += view.n_finite - view.n_entries

    def merge(self, other: "FineHistogram") -> None:
        """Takes in another accumulator's tokens."""
        self.sparse.merge(other.sparse)
        for side, counts in enumerate(other.sides):
            self._widen(side, counts.shape[1])
            self.sides[side][:, : counts.shape[1]] += counts

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to go on."""
        sparse = {f"sparse/{key}": array for key, array in self.sparse.state().items()}
        return {"positive": self.sides[0], "negative": self.sides[1]} | sparse

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Takes over what ``state`` gave."""
        self.sides = [state["positive"], state["negative"]]
        self.sparse.restore({key: state[f"sparse/{key}"] for key in ("keys", "sums")})

    def result(self) -> "Counts":
        """The counts of the bins that hold something."""
        self.sparse.compact()
        keys, counts = [self.sparse.keys], [self.sparse.sums]
        for side, sign in zip(self.sides, (1, -1)):
            channel, code = np.nonzero(side)
            keys.append(channel * _WIDTH + LAST + sign * code)
            counts.append(side[channel, code])
        key, count = reduced(np.concatenate(keys), np.concatenate(counts))
        channel, code = np.divmod(key, _WIDTH)
        return Counts(np.searchsorted(channel, np.arange(len(self.sides[0]) + 1)), code - LAST, count)

    def _cover(self, side: int, magnitude: float) -> None:
        """Makes room for values up to this magnitude."""
        if magnitude > 0:
            code = int(codes_of(np.array([magnitude], np.float32))[0])
            self._widen(side, min(-(-(code + 1) // PER_OCTAVE) * PER_OCTAVE, LAST + 1))

    def _widen(self, side: int, width: int) -> None:
        counts = self.sides[side]
        if width > counts.shape[1]:
            self.sides[side] = np.zeros((len(counts), width), np.int64)
            self.sides[side][:, : counts.shape[1]] = counts


def _add_raw(counts: Int64[np.ndarray, " bin"], raw: Int64[np.ndarray, " raw"]) -> None:
    """Adds counts by exponent and upper mantissa bits to the codes of one side; zeros go with (0, 2^−30) for now."""
    start, n = _BASE + 1, len(counts) - 2
    counts[1] += raw[:start].sum()
    counts[2:] += raw[start : start + n]
    if len(counts) == LAST + 1:
        counts[LAST] += raw[start + n :].sum()


@dataclass(frozen=True)
class ShownHistograms:
    """The histograms as pages show them: bin i of channel c spans (first[c] + i)·step[c] to (first[c] + i + 1)·step[c]."""

    step: Float64[np.ndarray, " channel"]
    first: Int64[np.ndarray, " channel"]
    offsets: Int64[np.ndarray, " channel_bound"]
    count: Int64[np.ndarray, " bin"]
    """Of channel c at ``offsets[c]:offsets[c + 1]``."""


@dataclass(frozen=True)
class Counts:
    """The finished histogram, and what is read from it: the bins that hold something, by channel, ascending."""

    offsets: Int64[np.ndarray, " channel_bound"]
    code: Int64[np.ndarray, " bin"]
    count: Int64[np.ndarray, " bin"]

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return len(self.offsets) - 1

    @cached_property
    def channel(self) -> Int64[np.ndarray, " bin"]:
        """The channel of every bin."""
        return np.repeat(np.arange(self.n_channels), np.diff(self.offsets))

    def positive(self) -> Int64[np.ndarray, " channel"]:
        """Values above 0, exactly."""
        return self._total(self.code > 0)

    def negative(self) -> Int64[np.ndarray, " channel"]:
        """Values below 0, exactly."""
        return self._total(self.code < 0)

    def has_zero(self) -> Bool[np.ndarray, " channel"]:
        """Whether a value was exactly 0."""
        return self._total(self.code == 0) > 0

    def _total(self, chosen: np.ndarray) -> Int64[np.ndarray, " channel"]:
        total = np.zeros(self.n_channels, np.int64)
        np.add.at(total, self.channel[chosen], self.count[chosen])
        return total

    def quantiles(
        self, levels: Float64[np.ndarray, " quantile"], low: np.ndarray, high: np.ndarray
    ) -> Float64[np.ndarray, "channel quantile"]:
        """Quantiles as the inverse of the distribution function: the ⌈level · n⌉-th smallest value.

        The estimate lies in the same bin as that value, interpolated by rank and clamped to [low, high], so it differs
        from it by less than 1/64 of its magnitude (or 2^−30 when that is more) below 2^34.
        """
        cumulative = np.concatenate([[0], self.count.cumsum()])
        before = cumulative[self.offsets[:-1], None]
        n = cumulative[self.offsets[1:], None] - before
        rank = np.clip(np.ceil(levels * n).astype(np.int64), 1, np.maximum(n, 1))
        out = np.full((self.n_channels, len(levels)), np.nan)
        used = np.flatnonzero(n[:, 0])
        at = np.searchsorted(cumulative, (before + rank)[used]) - 1
        part = ((before + rank)[used] - cumulative[at] - 0.5) / self.count[at]
        left, right = signed_edges(self.code[at])
        out[used] = np.clip(left + part * (right - left), low[used, None], high[used, None])
        return out

    def shown(self) -> ShownHistograms:
        """At most ``MAX_BINS`` bins of every channel with exact counts.

        The step is the smallest power of two with at most ``MAX_BINS`` bins over the values that is not below
        2^(e−6), where 2^e is the octave of the largest magnitude: then every edge is an edge of the fine bins, for
        within each octave up to that one all multiples of the step are. Zero belongs to bin 0, a positive value to
        the bin whose lower edge it reaches, a negative value mirrors the positive.
        """
        used = np.flatnonzero(np.diff(self.offsets))
        least, most = self.code[self.offsets[used]], self.code[self.offsets[used + 1] - 1]
        octave = np.maximum(np.maximum(np.abs(least), np.abs(most)) - 2, 0) // PER_OCTAVE
        step, first = np.ones(self.n_channels), np.zeros(self.n_channels, np.int64)
        n_bins = np.zeros(self.n_channels, np.int64)
        size = np.exp2(np.maximum(octave + LOWEST_EXPONENT - MANTISSA_BITS, LOWEST_EXPONENT).astype(float))
        while True:
            start, stop = _coarse_bins(least, size), _coarse_bins(most, size) + 1
            is_long = stop - start > MAX_BINS
            if not is_long.any():
                break
            size[is_long] *= 2
        step[used], first[used], n_bins[used] = size, start, stop - start
        offsets = np.concatenate([[0], np.cumsum(n_bins)])
        count = np.zeros(offsets[-1], np.int64)
        bins = _coarse_bins(self.code, step[self.channel]) - first[self.channel]
        np.add.at(count, offsets[self.channel] + bins, self.count)
        return ShownHistograms(step, first, offsets, count)


def signed_edges(code: Int[np.ndarray, "*shape"]) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper edge of bins on the number line."""
    magnitude = np.abs(code)
    inner = low_edges(magnitude)
    outer = np.where(
        magnitude > 0, np.where(magnitude == 1, 2.0**LOWEST_EXPONENT, low_edges(magnitude + 1)), 0
    )
    return np.where(code < 0, -outer, inner), np.where(code < 0, -inner, outer)


def _coarse_bins(code: Int[np.ndarray, " n"], step: Float64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Index of the bin of width ``step`` that holds each fine bin whole."""
    within = np.floor(low_edges(np.abs(code)) / step).astype(np.int64)
    return np.where(code < 0, -within - 1, within)
