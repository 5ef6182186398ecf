"""Which channels fire on a token, exact to the byte: the top-token lists of all channels turned round.

The mean of a channel at a token is over all its measured occurrences in the corpus, hence exact. A channel stands with a
token when the token is among the channel's own highest or lowest ``summarize.top_tokens`` means, or under the peak of one of
its examples.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from generator.publish.book import SCHEMA, Book
from generator.publish.numbers import significant
from generator.publish.search.postings import cut
from generator.summaries import Ragged

MOST = 48
"""Channels of a token, per sign and for peaks."""

Row = tuple[int, float | None, int, float]
"""(row of the table, mean, count, strength): strength is |mean| / reference RMS of the channel."""


@dataclass(frozen=True)
class TokenIndex:
    """All tokens that some published channel stands with, by their bytes."""

    book: Book

    @cached_property
    def tokens(self) -> list[tuple[str, list[int]]]:
        """Bytes in hexadecimal, ascending, and the vocabulary entries that have them."""
        found: dict[str, list[int]] = {}
        for token in sorted({*self._sides[0], *self._sides[1], *self._peaks}):
            found.setdefault(self.book.corpus.token_bytes[token].hex(), []).append(token)
        return sorted(found.items())

    @cached_property
    def leaves(self) -> list[list[dict[str, Any]]]:
        """The entries of each file."""
        entries = [self._entry(key, ids) for key, ids in self.tokens]
        sizes = [120 + 8 * sum(len(e[n]["row"]) * 3 for n in ("high", "low", "peaks")) // 2 for e in entries]
        return [list(part) for part in cut(entries, sizes)]

    def n_channels(self, ids: list[int]) -> int:
        """How many channels list a token, high or low."""
        return len({row for side in self._sides for i in ids for row, *_ in side.get(i, ())})

    def head(self) -> dict[str, Any]:
        """Which bytes each file begins with."""
        return {
            "schema": SCHEMA,
            "id": "search/tokens",
            "first": [leaf[0]["bytes"] for leaf in self.leaves],
            "n_tokens": len(self.tokens),
        }

    def leaf(self, number: int) -> dict[str, Any]:
        """One file of tokens."""
        return {"schema": SCHEMA, "id": f"search/tokens/{number}", "tokens": self.leaves[number]}

    def _entry(self, key: str, ids: list[int]) -> dict[str, Any]:
        corpus = self.book.corpus
        return {
            "bytes": key,
            "text": self.book.texts.alone[ids[0]],
            "token_ids": ids,
            "is_special": bool(corpus.is_special[ids].all()),
            "count": int(self.counts[ids].sum()),
            "high": self._means(0, ids),
            "low": self._means(1, ids),
            "peaks": self._examples(ids),
        }

    def _means(self, side: int, ids: list[int]) -> dict[str, list[Any]]:
        rows = sorted((row for i in ids for row in self._sides[side].get(i, ())), key=lambda r: (-r[3], r[0]))
        return {
            "row": [row for row, *_ in rows[:MOST]],
            "mean": [significant(mean, 4) for _, mean, *_ in rows[:MOST]],
            "strength": [significant(strength, 3) for *_, strength in rows[:MOST]],
            "count": [count for _, _, count, _ in rows[:MOST]],
        }

    def _examples(self, ids: list[int]) -> dict[str, list[Any]]:
        peaks = sorted((p for i in ids for p in self._peaks.get(i, {}).values()), key=lambda p: (-p[4], p[0]))
        return {
            "row": [row for row, *_ in peaks[:MOST]],
            "value": [significant(value, 4) for _, value, *_ in peaks[:MOST]],
            "doc": [doc if doc in self.book.documents else -1 for _, _, doc, *_ in peaks[:MOST]],
            "position": [position for *_, position, _ in peaks[:MOST]],
        }

    @cached_property
    def counts(self) -> np.ndarray:
        """How often each vocabulary entry occurs among the measured tokens."""
        corpus = self.book.corpus
        return np.bincount(corpus.token_ids[corpus.is_measured], minlength=len(corpus.token_bytes))

    @cached_property
    def _sides(self) -> tuple[dict[int, list[Row]], dict[int, list[Row]]]:
        """Token -> rows: those that are high on it, those that are low."""
        summary = self.book.summary
        high: dict[int, list[Row]] = {}
        low: dict[int, list[Row]] = {}
        for row, index in enumerate(self.book.published):
            if self.book.is_dead(index):
                continue
            rms = summary.channels[index].reference_rms or 1.0
            for token, mean, count in _triples(summary.top_tokens, index):
                if mean > 0:
                    high.setdefault(token, []).append((row, mean, count, abs(mean) / rms))
            for token, mean, count in _triples(summary.bottom_tokens, index):
                if mean < 0:
                    low.setdefault(token, []).append((row, mean, count, abs(mean) / rms))
        return high, low

    @cached_property
    def _peaks(self) -> dict[int, dict[int, tuple[int, float, int, int, float]]]:
        """Token -> row -> the strongest example with the token under its peak: (row, value, doc, position, strength)."""
        found: dict[int, dict[int, tuple[int, float, int, int, float]]] = {}
        corpus, channels = self.book.corpus, self.book.summary.channels
        for row, index in enumerate(self.book.published):
            if self.book.is_dead(index):
                continue
            rms = channels[index].reference_rms or 1.0
            columns = self.book.summary.examples.of(index)
            tokens = corpus.token_ids[corpus.doc_offsets[columns["doc"]] + columns["position"]].tolist()
            places = zip(tokens, *(columns[n].tolist() for n in ("value", "doc", "position")))
            for token, value, doc, position in places:
                held = found.setdefault(token, {})
                if value * 0 == 0 and value and (row not in held or abs(value) / rms > held[row][4]):
                    held[row] = (row, value, doc, position, abs(value) / rms)
        return found


def _triples(ragged: Ragged, index: int) -> Iterator[tuple[int, float, int]]:
    columns = ragged.of(index)
    return zip(*(columns[name].tolist() for name in ("token_id", "mean", "count")))
