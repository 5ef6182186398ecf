"""Products of sparse rows, and pairs of collections too large for a sum of every pair: candidates on sampled tokens."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, Int64

from generator.summarize.entries import Entries, by_channel, ranges
from generator.summarize.neighbours import (
    PAIR_KINDS,
    ROUNDED,
    NeighbourList,
    joined,
    nearest_in_rows,
    strongest_of_each,
)
from generator.summarize.view import Scope, View

SAMPLE_TOKENS = 4096
"""Tokens, chosen by hash, on which the pairs of a collection too large for exact sums are compared at least."""

SAMPLE_ENTRIES = 1 << 22
"""Where they have fewer values other than 0 than this, more tokens: as many as have so many values."""

NO_LIMIT = 2**32
"""Above every hash."""

_CROWDED = 1 / 16
"""Above this share of values other than 0, matrix products are faster than lists."""

_ROWS = 512
"""Channels whose similarities with all others are computed at once then."""


@dataclass(frozen=True)
class SparseRows:
    """The values other than 0 of some tokens, by token: a CSR matrix over the members of a collection."""

    offsets: Int64[np.ndarray, " offset"]
    member: Int64[np.ndarray, " k"]
    value: Float32[np.ndarray, " k"]
    is_active: Bool[np.ndarray, " k"]
    n_members: int

    @property
    def n(self) -> int:
        """Number of tokens."""
        return len(self.offsets) - 1

    @classmethod
    def of(cls, view: Entries, members: Int[np.ndarray, " channel"]) -> "SparseRows":
        """The measured, finite entries of the members in a sparse block."""
        row, channel, value = view.by_token
        if len(members) == view.scope.n_channels:
            member = channel
        else:
            place = np.full(view.scope.n_channels, -1, np.int64)
            place[members] = np.arange(len(members))
            kept = np.flatnonzero(place[channel] >= 0)
            row, value, member = row[kept], value[kept], place[channel[kept]]
            channel = channel[kept]
        is_active = np.abs(value) > view.scope.threshold[channel]
        return cls(np.searchsorted(row, np.arange(view.n + 1)), member, value, is_active, len(members))

    @classmethod
    def of_dense(
        cls, values: Float32[np.ndarray, "token channel"], threshold: Float32[np.ndarray, " channel"]
    ) -> "SparseRows":
        """The values other than 0 of a dense array."""
        row, member = np.nonzero(values)
        value = values[row, member]
        offsets = np.searchsorted(row, np.arange(len(values) + 1))
        return cls(offsets, member, value, np.abs(value) > threshold[member], values.shape[1])

    @classmethod
    def joined(cls, parts: list["SparseRows"]) -> "SparseRows":
        """The tokens of several, one after another."""
        lengths = np.concatenate([np.diff(p.offsets) for p in parts])
        return cls(
            offsets=np.concatenate([[0], np.cumsum(lengths)]),
            member=np.concatenate([p.member for p in parts]),
            value=np.concatenate([p.value for p in parts]),
            is_active=np.concatenate([p.is_active for p in parts]),
            n_members=parts[0].n_members,
        )

    def select(self, rows: Int[np.ndarray, " n"]) -> "SparseRows":
        """Some of the tokens."""
        count = np.diff(self.offsets)[rows]
        at = ranges(self.offsets[rows], count)
        offsets = np.concatenate([[0], np.cumsum(count)])
        return SparseRows(offsets, self.member[at], self.value[at], self.is_active[at], self.n_members)

    def dense(self, rows: Int[np.ndarray, " n"]) -> Float32[np.ndarray, "token channel"]:
        """Some of the tokens with all their zeros."""
        part = self.select(rows)
        out = np.zeros((len(rows), self.n_members), np.float32)
        out[part.row, part.member] = part.value
        return out

    @cached_property
    def row(self) -> Int64[np.ndarray, " k"]:
        """The token of every value."""
        return np.repeat(np.arange(self.n), np.diff(self.offsets))

    def column_sums(self, power: int = 1) -> Float64[np.ndarray, " channel"]:
        """Of every member Σ valueᵖ."""
        values = self.value.astype(np.float64) ** power
        total = np.bincount(self.member, weights=values, minlength=self.n_members)
        return total.astype(np.float64, copy=False)  # bincount of nothing gives integers

    def products(
        self, *, is_half: bool = False
    ) -> Iterator[tuple[int, Float64[np.ndarray, " channel"], Int64[np.ndarray, " channel"]]]:
        """For each member with a value: its products with all, Σ xᵢxⱼ, and the tokens where both are active.

        Gustavson's row-by-row product (ACM TOMS 4(3), 1978): the work is Σ over tokens of (values)², and one row of the result
        stays in the cache. Large temporary arrays are made once: fresh pages for every member would cost more than the sums.

        Args:
            is_half: Only products with the member itself and those after it; the others are 0.
        """
        order = by_channel(self.member, self.n_members)
        bounds = np.searchsorted(self.member[order], np.arange(self.n_members + 1))
        first = np.arange(len(self.member)) if is_half else self.offsets[self.row]
        lengths = self.offsets[self.row + 1] - first
        most = int(np.bincount(self.member, weights=lengths).max()) if len(order) else 0
        counter, places, others, weights = np.arange(most), *np.empty((2, most), np.int64), np.empty(most)
        both = (self.member << 32) | self.value.view(
            np.uint32
        )  # side by side: one miss of the cache, not two
        all_active = bool(self.is_active.all())
        for member in np.flatnonzero(np.diff(bounds)).tolist():
            mine = order[bounds[member] : bounds[member + 1]]
            count = lengths[mine]
            ends = np.cumsum(count)
            at, other, weight = places[: ends[-1]], others[: ends[-1]], weights[: ends[-1]]
            np.add(counter[: ends[-1]], np.repeat(first[mine] - (ends - count), count), out=at)
            found = both.take(at)
            np.right_shift(found, 32, out=other)
            value = found.astype(np.uint32).view(np.float32)
            np.multiply(value, np.repeat(self.value[mine].astype(np.float64), count), out=weight)
            product = np.bincount(other, weights=weight, minlength=self.n_members)
            if not all_active:
                other = other[np.repeat(self.is_active[mine], count) & self.is_active[at]]
            yield member, product, np.bincount(other, minlength=self.n_members)


class SampledPairs:
    """The values of the tokens with the lowest hash, for collections beyond ``exact_correlations``.

    Candidates are the pairs that are active together at one of these tokens at least; their similarities are those on the
    sampled tokens.
    """

    def __init__(self, scope: Scope, members: Int[np.ndarray, " channel"]) -> None:
        self.members, self.threshold = members, scope.threshold[members]
        self.limit = NO_LIMIT
        """The lowest hash of a token that was left out."""
        self.hash, self.token = np.zeros(0, np.uint32), np.zeros(0, np.int64)
        nothing = np.zeros((0, len(members)), np.float32)
        self.rows = SparseRows.of_dense(nothing, self.threshold)
        self.waiting: list[tuple[np.ndarray, np.ndarray, SparseRows]] = []

    def add(self, view: View) -> None:
        """Takes in the measured tokens of a block."""
        chosen = np.flatnonzero(view.hash < self.limit)
        values = view.zeroed[np.ix_(chosen, self.members)]
        self._keep(view.hash[chosen], view.token[chosen], SparseRows.of_dense(values, self.threshold))

    def add_sparse(self, view: Entries) -> None:
        """Takes in the measured tokens of a sparse block."""
        chosen = np.flatnonzero(view.hash < self.limit)
        rows = SparseRows.of(view, self.members).select(chosen)
        self._keep(view.hash[chosen], view.token[chosen], rows)

    def merge(self, other: "SampledPairs") -> None:
        """Takes in another accumulator's tokens."""
        other._trim()
        self.limit = min(self.limit, other.limit)
        self._keep(other.hash, other.token, other.rows)

    def _keep(self, hashes: np.ndarray, token: np.ndarray, rows: SparseRows) -> None:
        self.waiting.append((hashes, token, rows))
        if sum(len(part[2].member) for part in self.waiting) > SAMPLE_ENTRIES:
            self._trim()

    def _trim(self) -> None:
        """Keeps the tokens with the lowest hash, as many as the limits allow: a set that no order of arrival changes."""
        if not self.waiting:
            return
        parts = [(self.hash, self.token, self.rows), *self.waiting]
        hashes, token = (np.concatenate([p[i] for p in parts]) for i in range(2))
        rows = SparseRows.joined([p[2] for p in parts])
        order = np.lexsort((token, hashes))
        n_values = np.cumsum(np.diff(rows.offsets)[order])
        n_kept = max(SAMPLE_TOKENS, int(np.searchsorted(n_values, SAMPLE_ENTRIES, side="right")))
        if n_kept < len(order):
            self.limit = min(self.limit, int(hashes[order[n_kept]]))
        order = order[: np.searchsorted(hashes[order], self.limit)]
        self.hash, self.token, self.rows, self.waiting = hashes[order], token[order], rows.select(order), []

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to go on."""
        self._trim()
        columns = {name: getattr(self.rows, name) for name in ("offsets", "member", "value")}
        return {"limit": np.array(self.limit), "hash": self.hash, "token": self.token} | columns

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Takes over what ``state`` gave."""
        self.limit, self.hash, self.token = int(state["limit"]), state["hash"], state["token"]
        offsets, member, value = (state[name] for name in ("offsets", "member", "value"))
        is_active = np.abs(value) > self.threshold[member]
        self.rows = SparseRows(offsets, member, value, is_active, len(self.members))

    @property
    def n_sampled(self) -> int | None:
        """Tokens that were compared; None for all."""
        self._trim()
        return len(self.token) if self.limit < NO_LIMIT else None

    def nearest(self, limit: int) -> dict[str, list[NeighbourList]]:
        """The nearest candidates of each member by ``correlation`` and by ``coactivation``."""
        self._trim()
        is_crowded = len(self.rows.member) > _CROWDED * self.rows.n * len(self.members)
        return self._by_matrix(limit) if is_crowded else self._by_lists(limit)

    def _by_lists(self, limit: int) -> dict[str, list[NeighbourList]]:
        found: dict[str, list[NeighbourList]] = {kind: [] for kind in PAIR_KINDS}
        n, mean, spread, alone = self._columns()
        for member, product, both in self.rows.products():
            other = np.flatnonzero(both)
            other = other[other != member]
            spreads = spread[member] * spread[other]
            r = (product[other] / n - mean[member] * mean[other]) / np.sqrt(spreads)
            r[np.isnan(r)] = 0
            jaccard = both[other] / (alone[member] + alone[other] - both[other])
            for kind, value in zip(PAIR_KINDS, (r, jaccard)):
                found[kind].append(_best(self.members[member], self.members[other], value, limit))
        return {kind: [strongest_of_each(joined(lists), limit)] for kind, lists in found.items()}

    def _by_matrix(self, limit: int) -> dict[str, list[NeighbourList]]:
        found: dict[str, list[NeighbourList]] = {kind: [] for kind in PAIR_KINDS}
        n, mean, spread, alone = self._columns()
        dense, flags = self.rows.dense(np.arange(self.rows.n)), np.zeros((self.rows.n, len(mean)), np.float32)
        active = self.rows.is_active
        flags[self.rows.row[active], self.rows.member[active]] = 1
        deviation = dense - mean.astype(np.float32)
        rest = deviation.mean(axis=0, dtype=np.float64)
        for start in range(0, len(mean), _ROWS):
            rows = slice(start, start + _ROWS)
            both = (flags[:, rows].T @ flags).astype(np.float64)
            product = (deviation[:, rows].T @ deviation) / n - np.outer(rest[rows], rest)
            r = product / np.sqrt(np.outer(spread[rows], spread))
            jaccard = both / np.maximum(alone[rows, None] + alone - both, 1)
            for kind, value in zip(PAIR_KINDS, (np.where(both > 0, r, np.nan), jaccard)):
                found[kind].append(nearest_in_rows(value, self.members[rows], self.members, limit))
        return found

    def _columns(self) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
        """Number of tokens; mean, variance (NaN for constant ones) and active tokens of every member."""
        n = max(self.rows.n, 1)
        mean, second = self.rows.column_sums() / n, self.rows.column_sums(2) / n
        variance = second - mean**2
        alone = np.bincount(self.rows.member[self.rows.is_active], minlength=len(self.members))
        return n, mean, np.where(variance > 1e-12 * second, variance, np.nan), alone


def _best(mine: int, others: np.ndarray, value: np.ndarray, limit: int) -> NeighbourList:
    """What may be among the first ``limit`` after rounding; few others are."""
    if len(others) > limit:
        size = np.abs(value)
        kept = size >= np.partition(size, -limit)[-limit] - 2 * ROUNDED
        others, value = others[kept], value[kept]
    return NeighbourList(np.full(len(others), mine), others, value)
