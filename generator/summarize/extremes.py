"""The k strongest examples of either sign, equal to a full sort over all activations.

Order: by value, then document, then position; a value of exactly 0 is no example (and ``finish`` ends a list
where one would follow). Walking down that order, a token is
taken if its document has given fewer than ``per_document`` tokens and none of these lies within ``context`` tokens;
``per_document = 0`` takes all.

Why one pass suffices: the two limits act within a document and blocks hold whole documents, so each document's own
list does not depend on other documents, and the result is the best k of all those lists. And only tokens beyond the k-th
best so far matter: what suppresses a token is always stronger than it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int, Int64

from generator.errors import FeaturebookError
from generator.summarize.entries import Entries
from generator.summarize.lists import EMPTY, TOKEN_LIMIT, BestLists, by_list, make_keys, rank_of, token_of
from generator.summarize.view import TILE, Rows, Scope, View, column_counts

_MANY_TILES = 16
"""A channel that beats its threshold in more tiles of a block than this is searched document by document instead."""


def keys_of(value: Float32[np.ndarray, " n"], token: Int[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Keys that sort like (value ascending, token descending): the float's bits made monotonic, and the token.

    Negative zero equals zero.
    """
    bits = (value + np.float32(0)).view(np.int32)
    return make_keys(bits ^ ((bits >> 31) & 0x7FFFFFFF), token)


def value_of(key: Int64[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """The value in a key."""
    ordered = rank_of(key).astype(np.int32)
    return (ordered ^ ((ordered >> 31) & 0x7FFFFFFF)).view(np.float32)


@dataclass
class Candidates:
    """Tokens that may enter the lists, as rows of a view."""

    channel: Int[np.ndarray, " n"]
    row: Int[np.ndarray, " n"]
    value: Float32[np.ndarray, " n"]  # times the sign of the side: larger is better

    def select(self, rows: np.ndarray) -> "Candidates":
        """Some of them."""
        return Candidates(self.channel[rows], self.row[rows], self.value[rows])


@dataclass(frozen=True)
class ExtremeExamples:
    """The lists of one side, best first."""

    channel: Int[np.ndarray, " n"]
    token: Int[np.ndarray, " n"]  # global index
    value: Float32[np.ndarray, " n"]
    window: Float32[np.ndarray, "n window"]


class Extremes:
    """The best k examples of one side; ``sign`` is 1 for the top and −1 for the bottom."""

    sign = 1

    def __init__(self, scope: Scope) -> None:
        if scope.corpus.n_tokens >= TOKEN_LIMIT:
            raise FeaturebookError(
                f"The corpus has {scope.corpus.n_tokens} tokens; at most 2^32 − 1 can be summarised. Set max_documents."
            )
        self.scope = scope
        self.lists = BestLists(scope, 1, scope.settings.k)
        floor = 0.0 if self.sign > 0 else np.inf
        self.floor = np.where(scope.is_signed, -np.inf, floor).astype(np.float32)

    def add(self, view: View) -> None:
        """Takes in the measured, finite values of a block."""
        if not view.n:
            return
        threshold = self._threshold(int(view.token[0]))
        tiles = view.tile_max if self.sign > 0 else -view.tile_min
        hits = tiles > threshold
        is_crowded = column_counts(hits) > _MANY_TILES
        if is_crowded.any():
            hits[:, is_crowded] = False
            self._insert(view, self._by_document(view, np.flatnonzero(is_crowded), threshold))
        found = self._in_tiles(view, hits, threshold)
        self._insert(view, self._limit_documents(view, found))
        self.lists.capture(view)

    def add_sparse(self, view: Entries) -> None:
        """Takes in the measured, finite values of a sparse block."""
        if not view.n:
            return
        value = view.value * np.float32(self.sign)
        better = np.flatnonzero(value > self._threshold(int(view.token[0]))[view.channel])
        found = Candidates(view.channel[better], view.row[better], value[better])
        self._insert(view, self._limit_documents(view, found))
        self.lists.capture(view)

    def merge(self, other: "Extremes") -> None:
        """Takes in another accumulator's lists."""
        self.lists.merge(other.lists)

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to go on."""
        return self.lists.state()

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Takes over what ``state`` gave."""
        self.lists.restore(state)

    def result(self) -> ExtremeExamples:
        """The finished lists."""
        channel, keys, window = self.lists.entries()
        value = value_of(keys) * np.float32(self.sign)
        return ExtremeExamples(channel, token_of(keys), value + np.float32(0), window)

    def _threshold(self, first_token: int) -> Float32[np.ndarray, " channel"]:
        """What a value must exceed. Where the k-th entry comes later in the corpus, an equal value suffices."""
        last = self.lists.worst
        is_full = last != EMPTY
        worst = value_of(np.where(is_full, last, 0))
        tie_wins = token_of(last) > first_token
        worst = np.where(tie_wins, np.nextafter(worst, np.float32(-np.inf)), worst)
        return np.maximum(np.where(is_full, worst, -np.inf), self.floor).astype(np.float32)

    def _comparable(self, view: View) -> np.ndarray:
        """Values in which what is not finite cannot win."""
        return view.filled(-np.inf * self.sign)

    def _in_tiles(
        self, view: View, hits: Bool[np.ndarray, "tile channel"], threshold: np.ndarray
    ) -> Candidates:
        """Every token above its channel's threshold in the tiles that have one."""
        tile, channel = np.divmod(np.flatnonzero(hits), hits.shape[1])
        row = tile[:, None] * TILE + np.arange(TILE)
        value = self._comparable(view)[np.minimum(row, view.n - 1), channel[:, None]]
        if self.sign < 0:
            value = -value
        is_better = (value > threshold[channel][:, None]) & (value != 0) & (row < view.n)
        hit, offset = np.divmod(np.flatnonzero(is_better), TILE)
        return Candidates(channel[hit], row[hit, offset], value[hit, offset])

    def _by_document(
        self, view: View, channels: Int[np.ndarray, " channel"], threshold: np.ndarray
    ) -> Candidates:
        """The lists of each document, for channels in which most documents have something to give."""
        values = self._comparable(view)
        per_document = self.scope.settings.per_document
        if per_document == 0:
            return self._best_of_block(values[:, channels], channels, threshold)
        bounds = np.append(view.doc_starts, view.n)
        best = np.stack([self._best(values[a:b]) for a, b in zip(bounds, bounds[1:])])
        if (
            not best.all()
        ):  # zeros are no examples; where a document's best is none of them, the others do no harm
            values = np.where(values == 0, np.float32(-np.inf * self.sign), values)
            best = np.stack([self._best(values[a:b]) for a, b in zip(bounds, bounds[1:])])
        wanted = best > self._bound(best, threshold)
        wanted[:, np.setdiff1d(np.arange(best.shape[1]), channels)] = False
        parts = []
        for doc in np.flatnonzero(wanted.any(axis=1)):
            rows = slice(bounds[doc], bounds[doc + 1])
            if per_document == 1:
                found = self._peaks(values[rows], np.where(wanted[doc], best[doc], np.float32(np.nan)))
            else:
                chosen = np.flatnonzero(wanted[doc])
                part = values[rows][:, chosen] * np.float32(self.sign)
                found = self._walk(part, view.position[rows], per_document)
                found.channel = chosen[found.channel]
            found.row += bounds[doc]
            parts.append(found)
        joined = _join(parts)
        return joined.select(joined.value > threshold[joined.channel])

    def _best(self, rows: Float32[np.ndarray, "token channel"]) -> Float32[np.ndarray, " channel"]:
        return rows.max(axis=0) if self.sign > 0 else -rows.min(axis=0)

    def _bound(self, best: Float32[np.ndarray, "doc channel"], threshold: np.ndarray) -> np.ndarray:
        """Raises the threshold to just below the k-th best document: each gives at least its best token."""
        k = self.scope.settings.k
        if len(best) <= k:
            return threshold
        kth = np.partition(best, len(best) - k, axis=0)[len(best) - k]
        return np.maximum(threshold, np.nextafter(kth, np.float32(-np.inf)))

    def _peaks(
        self, values: Float32[np.ndarray, "token channel"], best: Float32[np.ndarray, " channel"]
    ) -> Candidates:
        """The first token that has the best value of its document, for each channel in which ``best`` is not NaN."""
        channel = np.flatnonzero(~np.isnan(best))
        row = _first_equal(values, best * np.float32(self.sign))
        return Candidates(channel, row[channel], best[channel])

    def _walk(
        self, values: Float32[np.ndarray, "token channel"], position: np.ndarray, rounds: int
    ) -> Candidates:
        """The list of one document, best first: take the best, strike out its surroundings, repeat."""
        context, k = self.scope.settings.context, self.scope.settings.k
        rounds = min(rounds, k)
        parts = []
        for left in range(rounds, 0, -1):
            best = values.max(axis=0)
            if not best.all():
                values[values == 0] = -np.inf
                best = values.max(axis=0)
            row = _first_equal(values, best)
            channel = np.flatnonzero(best > -np.inf)
            parts.append(Candidates(channel, row[channel], best[channel]))
            if left == 1 or not len(channel):
                break
            first = np.searchsorted(position, position[row] - context)
            last = np.searchsorted(position, position[row] + context, side="right")
            for c in channel:
                values[first[c] : last[c], c] = -np.inf
        return _join(parts)

    def _best_of_block(
        self, values: Float32[np.ndarray, "token channel"], channels: np.ndarray, threshold: np.ndarray
    ) -> Candidates:
        """At least the best k tokens of a block, without any limit per document."""
        values = values * np.float32(self.sign)
        values[values == 0] = -np.inf
        bound = self._bound(values, threshold[channels])
        row, column = np.divmod(np.flatnonzero(values > bound), values.shape[1])
        return Candidates(channels[column], row, values[row, column])

    def _limit_documents(self, view: Rows, found: Candidates) -> Candidates:
        """Applies both limits to tokens of which every stronger one of the same document is present."""
        per_document, context = self.scope.settings.per_document, self.scope.settings.context
        if per_document == 0 or not len(found.row):
            return found
        doc, position = view.doc[found.row], view.position[found.row]
        first = int(doc.min())
        lists = found.channel * (int(doc.max()) - first + 1) + doc - first
        order = by_list(lists, keys_of(found.value, found.row))
        taken: list[np.ndarray] = []
        for _ in range(per_document):
            is_first = np.diff(lists[order], prepend=-1) != 0
            taken.append(order[is_first])
            leader = position[order[is_first]][np.cumsum(is_first) - 1]
            order = order[np.abs(position[order] - leader) > context]
            if not len(order):
                break
        return found.select(np.concatenate(taken))

    def _insert(self, view: Rows, found: Candidates) -> None:
        self.lists.offer(found.channel, keys_of(found.value, view.token[found.row]))


class Top(Extremes):
    """The largest values."""

    sign = 1


class Bottom(Extremes):
    """The smallest values."""

    sign = -1


def _first_equal(
    values: Float32[np.ndarray, "token channel"], best: Float32[np.ndarray, " channel"]
) -> Int64[np.ndarray, " channel"]:
    """The first row of each column that equals ``best``.

    With the maximum this is faster along the first axis than ``argmax``, for few entries equal it.
    """
    rows, columns = np.divmod(np.flatnonzero(values == best), values.shape[1])
    first = np.zeros(values.shape[1], np.int64)
    first[columns[::-1]] = rows[::-1]
    return first


def _join(parts: list[Candidates]) -> Candidates:
    if not parts:
        return Candidates(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    return Candidates(*(np.concatenate([getattr(p, n) for p in parts]) for n in ("channel", "row", "value")))
