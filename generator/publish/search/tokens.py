"""Which channels fire on a token, exact to the byte: the strongest of all channels, from their means over the whole corpus.

The mean of a channel at a token is over all its measured occurrences, hence exact; channels are compared by |mean| / RMS. A
channel also stands with a token that is under the peak of one of its strongest examples.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from generator.publish.book import SCHEMA, Book
from generator.publish.numbers import significant
from generator.publish.search.postings import boundaries, cut
from generator.summaries import Ragged

LEAST = 8
"""Channels of a token and sign, at least, where so many fire on it."""
MOST_PEAKS = 48
"""Channels of a token whose examples peak there."""
LEAF_BYTES = 24_000
"""What a file of tokens holds at most, about; a query reads one or two."""

HIGH, LOW = 0, 1


@dataclass(frozen=True)
class TokenIndex:
    """All tokens on which some published channel fires, by their bytes."""

    book: Book

    @cached_property
    def tokens(self) -> list[tuple[str, list[int]]]:
        """Bytes in hexadecimal, ascending, and the vocabulary entries that have them."""
        found: dict[str, list[int]] = {}
        for token in sorted({*np.flatnonzero(self._n_rows).tolist(), *self._peaks}):
            found.setdefault(self.book.corpus.token_bytes[token].hex(), []).append(token)
        return sorted(found.items())

    @cached_property
    def leaves(self) -> list[list[tuple[str, list[int]]]]:
        """The tokens of each file."""
        sizes = [
            150 + 18 * sum(int(self._n_rows[i]) + min(MOST_PEAKS, len(self._peaks.get(i, ()))) for i in ids)
            for _, ids in self.tokens
        ]
        return [list(part) for part in cut(self.tokens, sizes, LEAF_BYTES)]

    def n_firing(self, ids: list[int]) -> int:
        """Channels of the run whose |mean| on a token is at least their RMS."""
        return int(self.book.summary.by_token.n_firing[ids].sum())

    def head(self) -> dict[str, Any]:
        """Which bytes each file begins with, and how many channels a list holds at most."""
        return {
            "n_leaves": len(self.leaves),
            "first": boundaries([(leaf[0][0], leaf[-1][0]) for leaf in self.leaves]),
            "n_tokens": len(self.tokens),
            "most": self.most,
            "parts": self._parts(),
        }

    def leaf(self, number: int) -> dict[str, Any]:
        """One file of tokens."""
        entries = [self._entry(key, ids) for key, ids in self.leaves[number]]
        return {"schema": SCHEMA, "id": f"search/tokens/{number}", "tokens": entries}

    @property
    def most(self) -> int:
        """Channels of a token and sign: what summarising kept, fewer where the index would outgrow the site."""
        return self._ranked[1]

    def _parts(self) -> list[str]:
        """Collections of which some channels have no page: for them the strongest of all may be missing from a list."""
        measured = [channel.collection for channel in self.book.summary.channels]
        return [name for name, held in self.book.collections.items() if len(held) < measured.count(name)]

    def _entry(self, key: str, ids: list[int]) -> dict[str, Any]:
        corpus = self.book.corpus
        return {
            "bytes": key,
            "token_ids": ids,
            "is_special": bool(corpus.is_special[ids].all()),
            "count": int(self.counts[ids].sum()),
            "n_firing": self.n_firing(ids),
            "high": self._means(HIGH, ids),
            "low": self._means(LOW, ids),
            "peaks": self._examples(ids),
        }

    def _means(self, side: int, ids: list[int]) -> dict[str, Any]:
        parts = [self._lists.of(2 * i + side) for i in ids]
        held = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        order = np.lexsort((held["row"], -held["strength"])) if len(ids) > 1 else slice(None)
        held = {name: column[order][: self.most] for name, column in held.items()}
        digits = self.book.preset.token_digits
        return {
            "n_firing": int((held["strength"] >= 1).sum()),
            "row": held["row"].tolist(),
            "mean": [significant(mean, digits) for mean in held["mean"].tolist()],
        }

    def _examples(self, ids: list[int]) -> dict[str, list[Any]]:
        peaks = sorted((p for i in ids for p in self._peaks.get(i, {}).values()), key=lambda p: (-p[4], p[0]))
        peaks = peaks[:MOST_PEAKS]
        return {
            "row": [row for row, *_ in peaks],
            "value": [significant(value, self.book.preset.token_digits) for _, value, *_ in peaks],
            "doc": [doc if doc in self.book.documents else -1 for _, _, doc, *_ in peaks],
            "position": [position for *_, position, _ in peaks],
        }

    @cached_property
    def counts(self) -> Int[np.ndarray, " vocabulary"]:
        """How often each vocabulary entry occurs among the measured tokens."""
        corpus = self.book.corpus
        return np.bincount(corpus.token_ids[corpus.is_measured], minlength=len(corpus.token_bytes))

    @cached_property
    def _row_of(self) -> Int[np.ndarray, " channel"]:
        """Row of the table of each channel; −1 without a page, or dead."""
        rows = np.full(len(self.book.summary.channels), -1, np.int32)
        rows[self.book.published] = np.arange(len(self.book.published))
        rows[self.book.dead] = -1
        return rows

    @cached_property
    def _rms(self) -> Float[np.ndarray, " channel"]:
        """Over the measured tokens of the corpus; 1 where it is not known."""
        statistics = self.book.summary.statistics
        rms = np.hypot(statistics["mean"], statistics["std"])
        return np.where(rms > 0, rms, 1.0)

    @property
    def _lists(self) -> Ragged:
        """Two lists per vocabulary entry, high and low. Columns ``row``, ``mean``, ``strength``: strongest first."""
        return self._ranked[0]

    @cached_property
    def _n_rows(self) -> Int[np.ndarray, " vocabulary"]:
        """Rows of both lists of each vocabulary entry."""
        return np.diff(self._lists.offsets[::2])

    @cached_property
    def _ranked(self) -> tuple[Ragged, int]:
        """All lists, cut, and how many rows one of them has at most."""
        held = self.book.summary.by_token.strongest
        token = np.repeat(np.arange(len(held.offsets) - 1, dtype=np.int32), np.diff(held.offsets))
        row, mean = self._row_of[held.columns["channel"]], held.columns["mean"]
        list_of = 2 * token + (mean < 0)
        strength = np.abs(mean) / self._rms[held.columns["channel"]]
        order = np.lexsort((row, -strength, list_of))
        order = order[row[order] >= 0]
        lengths = np.bincount(list_of[order], minlength=2 * len(self.counts))
        most = self._most(lengths)
        rank = np.arange(len(order)) - (np.cumsum(lengths) - lengths)[list_of[order]]
        kept = order[rank < most]
        offsets = np.concatenate([[0], np.cumsum(np.minimum(lengths, most))])
        columns = {"row": row[kept], "mean": mean[kept], "strength": strength[kept]}
        return Ragged(offsets, columns), most

    def _most(self, lengths: Int[np.ndarray, " list"]) -> int:
        room = self.book.preset.token_rows * len(self.book.published)
        kept = int(self.book.summary.settings.get("token_channels", LEAST))
        return next((m for m in range(kept, LEAST, -1) if np.minimum(lengths, m).sum() <= room), LEAST)

    @cached_property
    def _peaks(self) -> dict[int, dict[int, tuple[int, float, int, int, float]]]:
        """Token -> row -> the strongest of a channel's strongest examples that peak there: (row, value, doc, position, strength)."""
        found: dict[int, dict[int, tuple[int, float, int, int, float]]] = {}
        corpus = self.book.corpus
        for row, index in enumerate(self.book.published):
            if self.book.is_dead(index):
                continue
            rms = float(self._rms[index])
            columns = self._strongest_examples(index)
            tokens = corpus.token_ids[corpus.doc_offsets[columns["doc"]] + columns["position"]].tolist()
            places = zip(tokens, *(columns[n].tolist() for n in ("value", "doc", "position")))
            for token, value, doc, position in places:
                held = found.setdefault(token, {})
                if value * 0 == 0 and value and (row not in held or abs(value) / rms > held[row][4]):
                    held[row] = (row, value, doc, position, abs(value) / rms)
        return found

    def _strongest_examples(self, index: int) -> dict[str, np.ndarray]:
        """Those of either sign; the others are chosen by chance."""
        columns, groups = self.book.summary.examples.of(index), self.book.summary.groups
        kept = np.isin(columns["group"], [groups.index(side) for side in ("top", "bottom") if side in groups])
        return {name: column[kept] for name, column in columns.items()}
