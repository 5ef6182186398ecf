"""Sums by an integer key, where most keys never occur: what grows with active entries instead of with channels."""

import numpy as np
from jaxtyping import Int, Int64

_PENDING = 1 << 20
"""So many entries wait at least before they are sorted in."""


class KeyedSums:
    """For every key that occurred the sum of what was added under it, as one sorted list.

    Additions are sorted in when they have become as many as the list is long, so that each entry is sorted a logarithmic
    number of times, and memory is at most twice that of the keys that occur.

    Args:
        dtype: Of the sums: int64 for exact counts, float64.
    """

    def __init__(self, dtype: type = np.float64) -> None:
        self.keys = np.zeros(0, np.int64)
        self.sums: np.ndarray = np.zeros(0, dtype)
        self.pending: list[tuple[np.ndarray, np.ndarray]] = []
        self.n_pending = 0

    def add(self, keys: Int[np.ndarray, " n"], values: np.ndarray) -> None:
        """Adds a value under each key; keys may repeat."""
        if not len(keys):
            return
        keys, values = reduced(keys.astype(np.int64, copy=False), values.astype(self.sums.dtype, copy=False))
        self.pending.append((keys, values))
        self.n_pending += len(keys)
        if self.n_pending > max(_PENDING, len(self.keys)):
            self.compact()

    def count(self, keys: Int64[np.ndarray, " n"]) -> None:
        """Adds 1 under each key."""
        self.add(keys, np.ones(len(keys), self.sums.dtype))

    def compact(self) -> None:
        """Sorts in what waits."""
        if self.pending:
            parts = [(self.keys, self.sums), *self.pending]
            self.keys, self.sums = reduced(*(np.concatenate(column) for column in zip(*parts)))
            self.pending, self.n_pending = [], 0

    def merge(self, other: "KeyedSums") -> None:
        """Takes in another one's sums."""
        other.compact()
        self.add(other.keys, other.sums)

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to go on."""
        self.compact()
        return {"keys": self.keys, "sums": self.sums}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Takes over what ``state`` gave."""
        self.keys, self.sums = state["keys"], state["sums"]


def reduced(keys: Int64[np.ndarray, " n"], values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ascending keys, each once, with the sum of its values in the order in which they came."""
    if not len(keys):
        return keys, values
    order = np.argsort(keys, kind="stable")
    keys, values = keys[order], values[order]
    starts = np.flatnonzero(np.diff(keys, prepend=keys[0] - 1))
    return keys[starts], np.add.reduceat(values, starts)
