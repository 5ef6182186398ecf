"""What every statistic needs of a dense block, computed once: the measured rows, their documents, their extremes."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int, UInt32

from generator.blocks import Block, Channel, Corpus
from generator.config import SummarizeTable
from generator.summarize.hashing import channel_multiplier, token_hash

TILE = 64
"""Rows whose largest and smallest values are taken first. A tile below the k-th best value is never looked at again."""

_TILED_ROWS, _TRANSPOSED_ROWS = 2048, 128
_MANY_WINDOWS = 8192
"""More windows than this are worth a transposed copy of the block."""

STRIP = 256
"""Rows worked on at once where several passes are needed: 448 channels · 256 rows · 8 bytes stay in the L2 cache."""


@dataclass(frozen=True)
class Scope:
    """What a run of the summary is about; the same for all its accumulators."""

    channels: list[Channel]
    corpus: Corpus
    settings: SummarizeTable
    seed: int

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return len(self.channels)

    @cached_property
    def threshold(self) -> Float32[np.ndarray, " channel"]:
        """The channel is active where |value| exceeds this."""
        return np.array([c.threshold for c in self.channels], np.float32)

    @cached_property
    def is_signed(self) -> Bool[np.ndarray, " channel"]:
        """Whether negative values mean something."""
        return np.array([c.is_signed for c in self.channels], bool)

    @cached_property
    def multiplier(self) -> UInt32[np.ndarray, " channel"]:
        """See ``hashing.channel_multiplier``."""
        return channel_multiplier(self.seed, [c.id for c in self.channels])

    @cached_property
    def collections(self) -> dict[str, Int[np.ndarray, " channel"]]:
        """Channel indices of every collection, in the order of the table."""
        members: dict[str, list[int]] = {}
        for index, channel in enumerate(self.channels):
            members.setdefault(channel.collection, []).append(index)
        return {name: np.array(m) for name, m in members.items()}


class Rows:
    """The measured tokens of a block, in the order of the corpus: what dense and sparse blocks have in common."""

    def __init__(self, start: int, is_measured: Bool[np.ndarray, " token"], scope: Scope) -> None:
        self.scope, self.start, self.stop = scope, start, start + len(is_measured)
        self.token: Int[np.ndarray, " token"] = (
            np.flatnonzero(is_measured) + start
        )  # global index of each row

    @property
    def n(self) -> int:
        """Number of measured tokens."""
        return len(self.token)

    @cached_property
    def doc(self) -> Int[np.ndarray, " token"]:
        """Document of each row."""
        return self.scope.corpus.doc[self.token]

    @cached_property
    def position(self) -> Int[np.ndarray, " token"]:
        """Position of each row in its document."""
        return self.scope.corpus.position[self.token]

    @cached_property
    def doc_starts(self) -> Int[np.ndarray, " doc"]:
        """First row of each document that has a measured token here."""
        return np.flatnonzero(np.diff(self.doc, prepend=-1))

    @cached_property
    def hash(self) -> UInt32[np.ndarray, " token"]:
        """32 bits for each row."""
        return token_hash(self.scope.seed, self.doc, self.position)

    def cut_windows(
        self, windows: Float32[np.ndarray, "n window"], token: Int[np.ndarray, " n"]
    ) -> Float32[np.ndarray, "n window"]:
        """Puts NaN where a window around a token leaves its document or is not finite; in place."""
        context, corpus = self.scope.settings.context, self.scope.corpus
        windows[~np.isfinite(windows)] = np.nan
        doc = corpus.doc[token]
        before, after = token - corpus.doc_offsets[doc], corpus.doc_offsets[doc + 1] - 1 - token
        is_cut = np.flatnonzero((before < context) | (after < context))
        offset = np.arange(-context, context + 1)
        outside = (offset < -before[is_cut, None]) | (offset > after[is_cut, None])
        windows[is_cut] = np.where(outside, np.float32(np.nan), windows[is_cut])
        return windows


class View(Rows):
    """The measured rows of one dense block. ``values`` is a copy only where tokens are excluded."""

    def __init__(self, block: Block, scope: Scope) -> None:
        super().__init__(block.start, block.is_measured, scope)
        self.block = block
        is_whole = self.n == len(block.values)
        self.values: Float32[np.ndarray, "token channel"] = (
            block.values if is_whole else block.values[self.token - block.start]
        )

    @cached_property
    def tile_max(self) -> Float32[np.ndarray, "tile channel"]:
        """Largest value of each run of ``TILE`` rows; a non-finite value counts as −∞."""
        return self._tiles[0]

    @cached_property
    def tile_min(self) -> Float32[np.ndarray, "tile channel"]:
        """Smallest value of each run of ``TILE`` rows; a non-finite value counts as +∞."""
        return self._tiles[1]

    @cached_property
    def finite(self) -> Bool[np.ndarray, "token channel"] | None:
        """Which values are finite; None when all are, the usual case, found out without a pass of its own."""
        high, low = self._raw_tiles
        if np.isfinite(high).all() and np.isfinite(low).all():
            return None
        return np.isfinite(self.values)

    def filled(self, value: float) -> Float32[np.ndarray, "token channel"]:
        """The values with ``value`` in place of non-finite ones."""
        return self.values if self.finite is None else np.where(self.finite, self.values, np.float32(value))

    @cached_property
    def zeroed(self) -> Float32[np.ndarray, "token channel"]:
        """The values with 0 in place of non-finite ones."""
        return self.filled(0.0)

    @cached_property
    def n_finite(self) -> Int[np.ndarray, " channel"]:
        """Number of finite values of each channel."""
        if self.finite is None:
            return np.full(self.scope.n_channels, self.n, np.int64)
        return column_counts(self.finite)

    @cached_property
    def active(self) -> Bool[np.ndarray, "token channel"]:
        """Where |value| exceeds the channel's threshold; nowhere where it is not finite."""
        out = np.empty(self.values.shape, bool)
        for rows in self.strips():
            np.greater(np.abs(self.zeroed[rows]), self.scope.threshold, out=out[rows])
        return out

    def strips(self) -> Iterator[slice]:
        """Runs of ``STRIP`` rows."""
        for start in range(0, self.n, STRIP):
            yield slice(start, min(start + STRIP, self.n))

    @cached_property
    def transposed(self) -> Float32[np.ndarray, "channel padded"]:
        """All values of the block, measured or not, one contiguous row per channel, ``context`` NaN before and after.

        One pass of a few milliseconds (128 rows at a time, so that reads and writes stay in the cache); afterwards a window
        is one contiguous read instead of one cache line per token.
        """
        values, context = self.block.values, self.scope.settings.context
        out = np.empty((values.shape[1], len(values) + 2 * context), np.float32)
        out[:, :context] = out[:, len(values) + context :] = np.nan
        for start in range(0, len(values), _TRANSPOSED_ROWS):
            part = values[start : start + _TRANSPOSED_ROWS]
            out[:, context + start : context + start + len(part)] = part.T
        return out

    def columns(self) -> Iterator[tuple[int, Float32[np.ndarray, " token"]]]:
        """Every channel's index with its measured, finite values, contiguous and in the order of the corpus."""
        context, rows = self.scope.settings.context, self.token - self.start
        is_whole = self.n == len(self.block.values)
        for channel, padded in enumerate(self.transposed):
            column = padded[context : len(padded) - context]
            if not is_whole:
                column = column[rows]
            if self.finite is not None:
                column = column[np.isfinite(column)]
            yield channel, column

    def windows(
        self, token: Int[np.ndarray, " n"], channel: Int[np.ndarray, " n"]
    ) -> Float32[np.ndarray, "n window"]:
        """The activations within ``context`` tokens of each given token, of its channel.

        Taken while the block passes, so that no second pass is needed. Tokens that are not measured are shown too.

        Returns:
            Column ``context`` is the token itself; NaN beyond the ends of the document and where not finite.
        """
        context, at = self.scope.settings.context, token - self.start
        if len(at) > _MANY_WINDOWS or "transposed" in vars(self):
            windows = np.lib.stride_tricks.sliding_window_view(self.transposed, 2 * context + 1, axis=1)
            return self.cut_windows(windows[channel, at], token)
        rows = at[:, None] + np.arange(-context, context + 1)
        return self.cut_windows(
            self.block.values[np.clip(rows, 0, len(self.block.values) - 1), channel[:, None]], token
        )

    @cached_property
    def _raw_tiles(self) -> tuple[np.ndarray, np.ndarray]:
        return tile_extremes(self.values)

    @cached_property
    def _tiles(self) -> tuple[np.ndarray, np.ndarray]:
        if self.finite is None:
            return self._raw_tiles
        return tile_extremes(self.filled(-np.inf))[0], tile_extremes(self.filled(np.inf))[1]


def tile_extremes(
    values: Float32[np.ndarray, "token channel"],
) -> tuple[Float32[np.ndarray, "tile channel"], Float32[np.ndarray, "tile channel"]]:
    """Largest and smallest value of each run of ``TILE`` rows, the last run possibly shorter.

    Both are taken while a strip is in the cache. (``np.maximum.reduceat`` along the first axis is not vectorised: ten
    times slower.) NaN wins in both.
    """
    n, width = values.shape
    n_tiles = -(-n // TILE)
    high, low = np.empty((n_tiles, width), np.float32), np.empty((n_tiles, width), np.float32)
    whole = n // TILE
    step = _TILED_ROWS // TILE
    for first in range(0, whole, step):
        last = min(first + step, whole)
        strip = values[first * TILE : last * TILE].reshape(last - first, TILE, width)
        np.maximum.reduce(strip, axis=1, out=high[first:last])
        np.minimum.reduce(strip, axis=1, out=low[first:last])
    if whole < n_tiles:
        values[whole * TILE :].max(axis=0, out=high[whole])
        values[whole * TILE :].min(axis=0, out=low[whole])
    return high, low


def column_counts(mask: Bool[np.ndarray, "token channel"]) -> Int[np.ndarray, " channel"]:
    """Number of true entries of each column; bytes are added 255 rows at a time, where they cannot overflow."""
    total = np.zeros(mask.shape[1], np.int64)
    bytes_ = mask.view(np.uint8)
    for start in range(0, len(mask), 255):
        total += np.add.reduce(bytes_[start : start + 255], axis=0, dtype=np.uint8)
    return total


def float64_mean(
    total: Float64[np.ndarray, "..."], count: Int[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
    """``total / count``, NaN where the count is 0."""
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=np.asarray(count) > 0)
