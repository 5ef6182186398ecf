"""What every statistic needs of a sparse block: its measured, finite entries by channel, and windows around them."""

from functools import cached_property

import numpy as np
from jaxtyping import Float32, Float64, Int, Int64

from generator.blocks import SparseBlock
from generator.summarize.view import Rows, Scope


class Entries(Rows):
    """The entries of one sparse block, ordered by channel, then by token.

    Everything that is not an entry is 0, and a statistic accounts for all zeros of a channel by their number: work and memory
    grow with the entries. What a dense block with the same zeros would give comes out: counts, lists and samples bit for bit.
    """

    def __init__(self, block: SparseBlock, scope: Scope) -> None:
        super().__init__(block.start, block.is_measured, scope)
        self._block = block
        order, token = by_channel(block.channel, scope.n_channels), block.token
        channel, token = block.channel[order].astype(np.int64), token[order]
        self._n_tokens, self._values = max(block.n_tokens, 1), block.values[order]
        self._keys = channel * self._n_tokens + token
        is_finite = np.isfinite(self._values)
        kept = block.is_measured[token]
        self._broken = np.flatnonzero(kept & ~is_finite)
        kept &= is_finite
        row = np.cumsum(block.is_measured) - 1
        self._row_of = row
        self.channel: Int64[np.ndarray, " k"] = channel[kept]
        self.row: Int64[np.ndarray, " k"] = row[token[kept]]
        self.value: Float32[np.ndarray, " k"] = self._values[kept]

    @property
    def broken(self) -> tuple[Int64[np.ndarray, " k"], Int64[np.ndarray, " k"]]:
        """Channel and row of the measured entries that are not finite."""
        channel, token = np.divmod(self._keys[self._broken], self._n_tokens)
        return channel, self._row_of[token]

    @cached_property
    def by_token(
        self,
    ) -> tuple[Int64[np.ndarray, " k"], Int64[np.ndarray, " k"], Float32[np.ndarray, " k"]]:
        """Row, channel and value of the measured, finite entries, ordered by token, then by channel."""
        token, channel, value = self._block.token, self._block.channel.astype(np.int64), self._block.values
        kept = self._block.is_measured[token] & np.isfinite(value)
        if not kept.all():
            token, channel, value = token[kept], channel[kept], value[kept]
        return self._row_of[token], channel, value

    @cached_property
    def wide(self) -> Float64[np.ndarray, " k"]:
        """The values in float64."""
        return self.value.astype(np.float64)

    @cached_property
    def n_finite(self) -> Int64[np.ndarray, " channel"]:
        """Measured tokens of each channel with a finite value, zeros included."""
        missing = np.bincount(self.broken[0], minlength=self.scope.n_channels)
        return self.n - missing

    @cached_property
    def n_entries(self) -> Int64[np.ndarray, " channel"]:
        """Measured, finite entries of each channel."""
        return np.bincount(self.channel, minlength=self.scope.n_channels)

    @cached_property
    def is_active(self) -> np.ndarray:
        """Of every entry, whether its |value| exceeds its channel's threshold."""
        return np.abs(self.value) > self.scope.threshold[self.channel]

    def sums(self, values: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " channel"]:
        """Sums of something by channel."""
        total = np.bincount(self.channel, weights=values, minlength=self.scope.n_channels)
        return total.astype(np.float64, copy=False)  # bincount of nothing gives integers

    def by_row(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Token, channel and value of all entries of the global tokens ``start:stop``, measured or not, ordered by token."""
        bounds = self._block.offsets[start - self.start : stop - self.start + 1]
        part = slice(bounds[0], bounds[-1])
        token = np.repeat(np.arange(start, stop), np.diff(bounds))
        return token, self._block.channel[part].astype(np.int64), self._block.values[part]

    def windows(
        self, token: Int[np.ndarray, " n"], channel: Int[np.ndarray, " n"]
    ) -> Float32[np.ndarray, "n window"]:
        """The activations within ``context`` tokens of each given token, of its channel; as ``View.windows``."""
        context = self.scope.settings.context
        at, base = token - self.start, channel * self._n_tokens
        low = base + np.maximum(at - context, 0)
        high = base + np.minimum(at + context, self._n_tokens - 1)
        first = np.searchsorted(self._keys, low)
        count = np.searchsorted(self._keys, high, side="right") - first
        windows = np.zeros((len(token), 2 * context + 1), np.float32)
        window, entry = np.repeat(np.arange(len(token)), count), ranges(first, count)
        windows[window, self._keys[entry] - (base + at - context)[window]] = self._values[entry]
        return self.cut_windows(windows, token)


def ranges(start: Int[np.ndarray, " n"], count: Int[np.ndarray, " n"]) -> Int64[np.ndarray, " k"]:
    """``start[0], start[0] + 1, …`` (``count[0]`` numbers), then those from ``start[1]``, and so on."""
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(start - (ends - count), count)


def by_channel(channel: Int[np.ndarray, " k"], n_channels: int) -> Int64[np.ndarray, " k"]:
    """What sorts entries by channel and leaves those of one in their order. numpy sorts integers of 16 bits by radix."""
    order = np.argsort(channel.astype(np.uint16), kind="stable")
    if n_channels > 1 << 16:
        order = order[np.argsort((channel >> 16).astype(np.uint16)[order], kind="stable")]
    return order
