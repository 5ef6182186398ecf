"""Correlation and co-activation of the channels of one collection."""

from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int

from generator.summarize.entries import Entries
from generator.summarize.neighbours import PAIR_KINDS, NeighbourList, nearest_in_rows
from generator.summarize.sampled import SampledPairs, SparseRows
from generator.summarize.view import Scope, View

_ROWS = 512
"""Channels whose similarities with all others are computed at once."""

_BUFFERED_TOKENS = 65_536
"""Tokens of sparse blocks that are gathered before their products are added: adding costs a pass over all pairs."""


class ExactPairs:
    """Sums over tokens of products of two channels, and of tokens where both are active.

    A token counts for a pair where both values are finite (pairwise complete). While all values are finite, the sums need
    only the Gram matrix; what non-finite values take away is kept in ``gaps``, allocated when the first one comes.
    """

    def __init__(self, scope: Scope, members: Int[np.ndarray, " channel"]) -> None:
        c = len(members)
        self.members, self.is_all = members, c == scope.n_channels
        self.n = 0
        self.total = np.zeros(c)
        self.product = np.zeros((c, c))
        self.both_active = np.zeros((c, c), np.uint32)
        self.gaps: Float64[np.ndarray, "3 channel channel"] | None = None
        """[0]: tokens where i or j is missing; [1], [2]: sums of xᵢ and of xᵢ² over tokens where j is missing."""
        self.buffer: list[SparseRows] = []
        self.is_half = False
        """Whether the sums of sparse rows were added to pairs i ≤ j alone since the two halves were last equal."""

    def add(self, view: View) -> None:
        """Takes in the measured values of a block."""
        values, active = view.zeroed, view.active
        if not self.is_all:
            values, active = values[:, self.members], active[:, self.members]
        self.n += view.n
        self._add_active(active)
        if view.finite is None:
            self._add_products(values)
        else:
            missing = ~(view.finite if self.is_all else view.finite[:, self.members])
            wide = values.astype(np.float64)
            self.product += wide.T @ wide
            self.total += wide.sum(axis=0)
            rows = np.flatnonzero(missing.any(axis=1))
            self._add_gaps(wide[rows], missing[rows])

    def add_sparse(self, view: Entries) -> None:
        """Takes in the measured values of a sparse block."""
        rows = SparseRows.of(view, self.members)
        self.n += view.n
        self.total += rows.column_sums()
        self.buffer.append(rows)
        if sum(part.n for part in self.buffer) >= _BUFFERED_TOKENS:
            self._empty_buffer()
        channel, broken = view.broken
        if len(broken):
            tokens, row = np.unique(broken, return_inverse=True)
            missing = np.zeros((len(tokens), len(view.n_finite)), bool)
            missing[row, channel] = True
            missing = missing[:, self.members]
            self._add_gaps(rows.dense(tokens).astype(np.float64), missing)

    def _add_products(self, values: Float32[np.ndarray, "token channel"]) -> None:
        """Adds XᵀX. The deviations from the block's mean are multiplied in float32, the rest is float64.

        With d = x − m: Σ xᵢxⱼ = Σ dᵢdⱼ + mᵢ Σ dⱼ + mⱼ Σ dᵢ + n mᵢmⱼ, so a large mean costs no digits.
        """
        mean = values.mean(axis=0, dtype=np.float64).astype(np.float32)
        m = mean.astype(np.float64)
        deviation = values - mean
        rest = deviation.sum(axis=0, dtype=np.float64)
        self.product += deviation.T @ deviation
        self.product += np.outer(m, rest) + np.outer(rest, m) + len(values) * np.outer(m, m)
        self.total += rest + len(values) * m

    def _add_active(self, active: np.ndarray) -> None:
        flags = active.astype(np.float32)  # sums of 0 and 1 are exact in float32 up to 2^24 tokens
        self.both_active += (flags.T @ flags).astype(np.uint32)

    def _empty_buffer(self) -> None:
        """Adds the products of the sparse rows that wait, channel by channel."""
        if not self.buffer:
            return
        rows, self.buffer, self.is_half = SparseRows.joined(self.buffer), [], True
        for channel, product, both in rows.products(is_half=True):
            self.product[channel] += product
            self.both_active[channel] += both.astype(np.uint32)

    def _settle(self) -> None:
        """Adds what waits, and makes the sums of (j, i) those of (i, j)."""
        self._empty_buffer()
        if self.is_half:
            for sums in (self.product, self.both_active):
                for start in range(0, len(sums), _ROWS):
                    rows = slice(start, start + _ROWS)
                    sums[rows, :start] = sums[:start, rows].T
                    corner = sums[rows, rows]
                    corner[:] = np.triu(corner) + np.triu(corner, 1).T
            self.is_half = False

    def _add_gaps(self, x: Float64[np.ndarray, "token channel"], missing: np.ndarray) -> None:
        """Notes what the pairs miss of some tokens with non-finite values, which are 0 in ``x``."""
        gap = missing.astype(np.float64)
        either = gap.sum(axis=0)[:, None] + gap.sum(axis=0) - gap.T @ gap
        added = np.stack([either, x.T @ gap, (x * x).T @ gap])
        self.gaps = added if self.gaps is None else self.gaps + added

    def merge(self, other: "ExactPairs") -> None:
        """Takes in another accumulator's tokens."""
        self._settle()
        other._settle()
        self.n += other.n
        self.total += other.total
        self.product += other.product
        self.both_active += other.both_active
        if other.gaps is not None:
            self.gaps = other.gaps if self.gaps is None else self.gaps + other.gaps

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to go on."""
        self._settle()
        state = {"n": np.array(self.n), "total": self.total, "product": self.product}
        state["both_active"] = self.both_active
        return state if self.gaps is None else state | {"gaps": self.gaps}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Takes over what ``state`` gave."""
        self.n, self.total, self.product = int(state["n"]), state["total"], state["product"]
        self.both_active, self.gaps = state["both_active"], state.get("gaps")

    def correlation(self, rows: slice = slice(None)) -> Float64[np.ndarray, "row channel"]:
        """Pearson's r of some channels with all; NaN where one of the two is constant."""
        self._settle()
        product, square = self.product[rows], np.diag(self.product)
        n, mean, other = np.maximum(self.n, 1), self.total[rows, None], self.total[None, :]
        second, other_second = square[rows, None], square[None, :]
        if self.gaps is not None:  # sums over the tokens of the pair (i, j)
            n = np.maximum(self.n - self.gaps[0][rows], 1)
            mean, other = mean - self.gaps[1][rows], other - self.gaps[1].T[rows]
            second, other_second = second - self.gaps[2][rows], other_second - self.gaps[2].T[rows]
        mean, other = mean / n, other / n
        spread = _spread(second / n, mean) * _spread(other_second / n, other)
        return (product / n - mean * other) / np.sqrt(spread)

    def coactivation(self, rows: slice = slice(None)) -> Float64[np.ndarray, "row channel"]:
        """Jaccard index: tokens where both are active over tokens where at least one is; NaN where none is."""
        self._settle()
        both, alone = self.both_active[rows].astype(np.int64), np.diag(self.both_active).astype(np.int64)
        either = alone[rows, None] + alone - both
        return np.where(either > 0, both / np.maximum(either, 1), np.nan)

    def nearest(self, limit: int) -> dict[str, list[NeighbourList]]:
        """The nearest members of each member by ``correlation`` and by ``coactivation``."""
        n = len(self.members)
        found: dict[str, list[NeighbourList]] = {kind: [] for kind in PAIR_KINDS}
        for rows in [slice(start, min(start + _ROWS, n)) for start in range(0, n, _ROWS)]:
            for kind, value in zip(PAIR_KINDS, (self.correlation(rows), self.coactivation(rows))):
                found[kind].append(nearest_in_rows(value, self.members[rows], self.members, limit))
        return found

    @property
    def n_sampled(self) -> int | None:
        """Tokens that were compared; None for all."""
        return None


class Pairs:
    """Exact or sampled pairs of every collection; pairs of different collections are not compared."""

    def __init__(self, scope: Scope) -> None:
        limit = scope.settings.exact_correlations
        self.parts: dict[str, ExactPairs | SampledPairs] = {
            name: (ExactPairs if len(members) <= limit else SampledPairs)(scope, members)
            for name, members in scope.collections.items()
        }

    def add(self, view: View) -> None:
        """Takes in the measured values of a block."""
        if view.n:
            for part in self.parts.values():
                part.add(view)

    def add_sparse(self, view: Entries) -> None:
        """Takes in the measured values of a sparse block."""
        if view.n:
            for part in self.parts.values():
                part.add_sparse(view)

    def merge(self, other: "Pairs") -> None:
        """Takes in another accumulator's tokens."""
        for name, part in self.parts.items():
            theirs: Any = other.parts[name]
            part.merge(theirs)

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to go on."""
        return {
            f"{i}/{key}": a for i, part in enumerate(self.parts.values()) for key, a in part.state().items()
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Takes over what ``state`` gave."""
        for i, part in enumerate(self.parts.values()):
            prefix = f"{i}/"
            part.restore({k.removeprefix(prefix): a for k, a in state.items() if k.startswith(prefix)})


def _spread(second: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The variance; NaN where the channel is constant, up to rounding."""
    variance = second - mean**2
    return np.where(variance > 1e-12 * second, variance, np.nan)
