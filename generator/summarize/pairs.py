"""Correlation and co-activation of the channels of one collection."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int, Int64

from generator.summarize.lists import places
from generator.summarize.view import Scope, View

RowsOf = Callable[[slice], np.ndarray]

SAMPLE_TOKENS = 4096
"""Tokens, chosen by hash, on which the pairs of a collection too large for exact sums are compared."""


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
        self.both_active = np.zeros((c, c), np.int64)
        self.gaps: Float64[np.ndarray, "3 channel channel"] | None = None
        """[0]: tokens where i or j is missing; [1], [2]: sums of xᵢ and of xᵢ² over tokens where j is missing."""

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
            self._add_gaps(values, ~(view.finite if self.is_all else view.finite[:, self.members]))

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
        self.both_active += (flags.T @ flags).astype(np.int64)

    def _add_gaps(self, values: np.ndarray, missing: np.ndarray) -> None:
        """Adds a block with non-finite values, which are 0 in ``values``."""
        wide = values.astype(np.float64)
        self.product += wide.T @ wide
        self.total += wide.sum(axis=0)
        rows = np.flatnonzero(missing.any(axis=1))
        gap, x = missing[rows].astype(np.float64), values[rows].astype(np.float64)
        either = gap.sum(axis=0)[:, None] + gap.sum(axis=0) - gap.T @ gap
        added = np.stack([either, x.T @ gap, (x * x).T @ gap])
        self.gaps = added if self.gaps is None else self.gaps + added

    def merge(self, other: "ExactPairs") -> None:
        """Takes in another accumulator's tokens."""
        self.n += other.n
        self.total += other.total
        self.product += other.product
        self.both_active += other.both_active
        if other.gaps is not None:
            self.gaps = other.gaps if self.gaps is None else self.gaps + other.gaps

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to go on."""
        state = {"n": np.array(self.n), "total": self.total, "product": self.product}
        state["both_active"] = self.both_active
        return state if self.gaps is None else state | {"gaps": self.gaps}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Takes over what ``state`` gave."""
        self.n, self.total, self.product = int(state["n"]), state["total"], state["product"]
        self.both_active, self.gaps = state["both_active"], state.get("gaps")

    def correlation(self) -> Float64[np.ndarray, "channel channel"]:
        """Pearson's r of each pair; NaN where one of the two is constant."""
        c = len(self.total)
        either, sum_gap, square_gap = self.gaps if self.gaps is not None else np.zeros((3, c, c))
        n = np.maximum(self.n - either, 1)
        mean = (self.total[:, None] - sum_gap) / n  # of i over the tokens of the pair (i, j)
        second = (np.diag(self.product)[:, None] - square_gap) / n
        variance = second - mean**2
        variance[variance <= 1e-12 * second] = np.nan  # constant, up to rounding
        return (self.product / n - mean * mean.T) / np.sqrt(variance * variance.T)

    def coactivation(self) -> Float64[np.ndarray, "channel channel"]:
        """Jaccard index: tokens where both are active over tokens where at least one is; NaN where none is."""
        return _jaccard(self.both_active)

    def rows(self, kind: str) -> "RowsOf":
        """A function from a range of members to their similarities with all members."""
        matrix = self.correlation() if kind == "correlation" else self.coactivation()
        return lambda rows: matrix[rows]

    @property
    def n_sampled(self) -> int | None:
        """Tokens that were compared; None for all."""
        return None


class SampledPairs:
    """The values of the tokens with the lowest hash, for collections beyond ``exact_correlations``."""

    def __init__(self, scope: Scope, members: Int[np.ndarray, " channel"]) -> None:
        self.members, self.threshold = members, scope.threshold[members]
        self.hash = np.zeros(0, np.uint32)
        self.token = np.zeros(0, np.int64)
        self.values = np.zeros((0, len(members)), np.float32)

    def add(self, view: View) -> None:
        """Takes in the measured tokens of a block."""
        limit = self.hash[-1] if len(self.hash) >= SAMPLE_TOKENS else np.uint32(2**32 - 1)
        rows = np.flatnonzero(view.hash <= limit)
        self._keep(view.hash[rows], view.token[rows], view.zeroed[np.ix_(rows, self.members)])

    def merge(self, other: "SampledPairs") -> None:
        """Takes in another accumulator's tokens."""
        self._keep(other.hash, other.token, other.values)

    def _keep(self, hashes: np.ndarray, token: np.ndarray, values: np.ndarray) -> None:
        hashes, token = np.concatenate([self.hash, hashes]), np.concatenate([self.token, token])
        order = np.lexsort((token, hashes))[:SAMPLE_TOKENS]
        self.hash, self.token = hashes[order], token[order]
        self.values = np.concatenate([self.values, values])[order]

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to go on."""
        return {"hash": self.hash, "token": self.token, "values": self.values}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Takes over what ``state`` gave."""
        self.hash, self.token, self.values = state["hash"], state["token"], state["values"]

    def rows(self, kind: str) -> "RowsOf":
        """A function from a range of members to their similarities with all members."""
        return self._correlation if kind == "correlation" else self._coactivation

    @property
    def n_sampled(self) -> int | None:
        """Tokens that were compared; None for all."""
        return len(self.token)

    def _correlation(self, rows: slice) -> Float32[np.ndarray, "row channel"]:
        """Pearson's r of some channels with all, over the sampled tokens."""
        x = self.values - self.values.mean(axis=0) if len(self.values) else self.values
        norm = np.sqrt((x * x).sum(axis=0))
        x = x / np.where(norm > 0, norm, np.nan)
        return x[:, rows].T @ x

    def _coactivation(self, rows: slice) -> Float32[np.ndarray, "row channel"]:
        """Jaccard index of some channels with all, over the sampled tokens."""
        flags = (np.abs(self.values) > self.threshold).astype(np.float32)
        count = flags.sum(axis=0)
        both = flags[:, rows].T @ flags
        either = count[rows][:, None] + count - both
        return np.where(either > 0, both / np.maximum(either, 1), np.nan)


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

    def merge(self, other: "Pairs") -> None:
        """Takes in another accumulator's tokens."""
        for name, part in self.parts.items():
            part.merge(other.parts[name])  # type: ignore[arg-type]

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


@dataclass
class NeighbourList:
    """Nearest channels of many channels, one row per pair."""

    channel: Int64[np.ndarray, " n"]
    neighbour: Int64[np.ndarray, " n"]
    value: Float64[np.ndarray, " n"]


def nearest_in_rows(
    similarity: np.ndarray, rows: Int[np.ndarray, " row"], columns: Int[np.ndarray, " channel"], limit: int
) -> NeighbourList:
    """The ``limit`` largest |similarity| of each row, itself excluded, strongest first.

    Values are rounded to six decimals first, so that rounding noise does not decide the order; equal ones go by
    channel index. NaN and 0 are no neighbours.

    Args:
        similarity: One row per channel of ``rows``, one column per channel of ``columns``.
        rows: Channel index of each row.
        columns: Channel index of each column.
        limit: Neighbours per row.
    """
    value = np.round(similarity.astype(np.float64), 6)
    value[(rows[:, None] == columns) | np.isnan(value)] = 0.0
    n = min(limit, value.shape[1])
    size = np.abs(value)
    cut = np.partition(size, -n, axis=1)[:, -n] if n else np.full(len(rows), np.inf)
    row, column = np.nonzero((size >= cut[:, None]) & (size > 0))
    order = np.lexsort((columns[column], -size[row, column], row))
    row, column = row[order], column[order]
    kept = places(row) < limit
    row, column = row[kept], column[kept]
    return NeighbourList(rows[row], columns[column], value[row, column])


def _jaccard(both: Int64[np.ndarray, "channel channel"]) -> Float64[np.ndarray, "channel channel"]:
    alone = np.diag(both)
    either = alone[:, None] + alone - both
    return np.where(either > 0, both / np.maximum(either, 1), np.nan)
