"""The channels that fire most strongly on each vocabulary entry: the means of all channels at all tokens, read by token."""

import numpy as np
from jaxtyping import Float, Int

from generator.summaries import ByToken, Ragged

_WAITING = 1 << 22
"""So many means wait at least before the strongest are chosen among them."""


class StrongestByToken:
    """Takes the means of one channel after another and keeps, of every vocabulary entry, the strongest of either sign.

    Strength is |mean| / RMS, the RMS over all measured tokens of the corpus. For an entry that makes up the share p of the corpus it
    is at most 1 / √p, which a channel reaches that fires on this entry alone and always equally (Cauchy-Schwarz).

    Args:
        n_vocabulary: Number of vocabulary entries.
        limit: Channels kept of an entry and sign; of equally strong ones those that came first.
    """

    def __init__(self, n_vocabulary: int, limit: int) -> None:
        self.limit = limit
        self.n_firing = np.zeros(n_vocabulary, np.int64)
        self.least = np.zeros((2, n_vocabulary))
        """What a channel must surpass to be kept, by sign (low, high) and entry."""
        self.columns: list[np.ndarray] = [
            np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0), np.zeros(0)
        ]  # fmt: skip
        """Entry, channel, mean and signed strength of what is kept."""
        self.waiting: list[list[np.ndarray]] = []
        self.n_waiting = 0

    def add(
        self, channel: int, ids: Int[np.ndarray, " n"], mean: Float[np.ndarray, " n"], rms: float
    ) -> None:
        """Takes the means of a channel at distinct entries; NaN and 0 are no means, and an RMS of 0 or NaN no channel."""
        if not rms > 0:
            return
        strength = mean / rms
        self.n_firing[ids[np.abs(strength) >= 1]] += 1
        kept = np.flatnonzero(np.abs(strength) > self.least[(strength > 0).astype(np.int64), ids])
        self.waiting.append([ids[kept], np.full(len(kept), channel, np.int32), mean[kept], strength[kept]])
        self.n_waiting += len(kept)
        if self.n_waiting > max(_WAITING, len(self.columns[0])):
            self._choose()

    def result(self) -> ByToken:
        """What was kept, by entry."""
        self._choose()
        ids, channel, mean, _ = self.columns
        offsets = np.searchsorted(ids, np.arange(len(self.n_firing) + 1))
        return ByToken(Ragged(offsets, {"channel": channel, "mean": mean}), self.n_firing)

    def _choose(self) -> None:
        """Sorts in what waits, and drops what is no longer among the strongest."""
        ids, channel, mean, strength = (
            np.concatenate([held, *new]) for held, *new in zip(self.columns, *self.waiting)
        )
        is_high = strength > 0
        order = np.lexsort((channel, -np.abs(strength), is_high, ids))
        list_of = 2 * ids[order] + is_high[order]
        rank = np.arange(len(order)) - np.searchsorted(list_of, list_of)
        last = np.flatnonzero(rank == self.limit - 1)
        self.least[list_of[last] % 2, list_of[last] // 2] = np.abs(strength[order[last]])
        kept = order[rank < self.limit]
        self.columns = [ids[kept], channel[kept], mean[kept], strength[kept]]
        self.waiting, self.n_waiting = [], 0
