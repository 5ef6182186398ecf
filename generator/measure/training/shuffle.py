"""Shuffled batches from rows that need not fit memory, in an order that a checkpoint can return to."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float

from generator.errors import FeaturebookError
from generator.measure.training.rows import RowFacts, Split


@dataclass(frozen=True)
class Place:
    """Where in the order of batches training stands."""

    epoch: int = 0
    fill: int = 0
    """Which filling of the buffer, in the epoch."""
    row: int = 0
    """Rows of the filled and shuffled buffer that were used."""
    carry: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    """Rows left over by the filling before, fewer than a batch; they lead the buffer."""


@dataclass(frozen=True)
class Batches:
    """Batches of equal size without end, each with the place after it.

    An epoch visits the groups in random order. As many as fit the memory bound are read into a buffer, which is
    shuffled and cut into batches; what remains leads the next filling. All is a function of seed, epoch and filling,
    so any place can be returned to by reading one buffer.
    """

    split: Split
    facts: RowFacts
    batch: int
    buffer_megabytes: float
    seed: int

    def __post_init__(self) -> None:
        if self.facts.n_rows < self.batch:
            raise FeaturebookError(
                f"There are {self.facts.n_rows} tokens to train on, fewer than a batch of {self.batch}. "
                "Use more text, a smaller batch, or hold out less."
            )

    @property
    def capacity(self) -> int:
        """Rows that the buffer may hold; shuffling needs a second copy, which is counted."""
        return max(self.batch, int(self.buffer_megabytes * 1e6 / (8 * self.split.rows.width)))

    def fills(self, epoch: int) -> list[list[int]]:
        """The groups of every filling of an epoch."""
        order = np.random.default_rng([self.seed, epoch]).permutation(self.split.rows.n_groups)
        fills: list[list[int]] = [[]]
        rows = 0
        for group in order.tolist():
            count = int(self.facts.n_per_group[group])
            if rows + count > self.capacity - self.batch and rows:
                fills.append([])
                rows = 0
            fills[-1].append(group)
            rows += count
        return fills

    def after(self, place: Place) -> Iterator[tuple[Float[np.ndarray, "token channel"], Place]]:
        """The batches from a place on."""
        epoch, fill, row, carry = place.epoch, place.fill, place.row, place.carry
        while True:
            fills = self.fills(epoch)
            for index in range(fill, len(fills)):
                buffer = self._filled(fills[index], epoch, index, carry)
                while row + self.batch <= len(buffer):
                    row += self.batch
                    yield buffer[row - self.batch : row], Place(epoch, index, row, carry)
                carry, row = buffer[row:].copy(), 0
            epoch, fill = epoch + 1, 0

    @cached_property
    def _whole(self) -> Float[np.ndarray, "token channel"] | None:
        """All rows in order where one buffer holds them, so that a model need not run again for every epoch."""
        if len(self.fills(0)) > 1:
            return None
        return np.concatenate([self.split.read(group) for group in range(self.split.rows.n_groups)])

    def _filled(self, groups: list[int], epoch: int, fill: int, carry: np.ndarray) -> np.ndarray:
        """The rows carried over and the groups' in random order."""
        n_rows = len(carry) + int(self.facts.n_per_group[groups].sum())
        order = np.random.default_rng([self.seed, epoch, fill + 1]).permutation(n_rows)
        if self._whole is None:
            return self._read(groups, n_rows, carry)[order]
        ends = np.cumsum(self.facts.n_per_group)
        rows = [np.arange(ends[group] - self.facts.n_per_group[group], ends[group]) for group in groups]
        place = order - len(carry)
        buffer = self._whole[np.concatenate(rows)[np.maximum(place, 0)]]
        buffer[place < 0] = carry.reshape(-1, buffer.shape[1])[order[place < 0]]
        return buffer

    def _read(self, groups: list[int], n_rows: int, carry: np.ndarray) -> np.ndarray:
        """Groups in one array, behind the rows carried over."""
        buffer = np.empty((n_rows, self.split.rows.width), np.float32)
        buffer[: len(carry)] = carry.reshape(-1, self.split.rows.width)
        row = len(carry)
        for group in groups:
            values = self.split.read(group)
            buffer[row : row + len(values)] = values
            row += len(values)
        return buffer
