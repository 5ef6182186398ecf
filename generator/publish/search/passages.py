"""The published documents cut into passages: what the search of the corpus finds."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from generator.publish.book import SCHEMA, Book
from generator.publish.numbers import significant
from generator.publish.search.words import words

PASSAGE_TOKENS = 40
"""Tokens of a passage."""

OVERLAP = 8
"""Tokens of the next passage whose words also count as a passage's own, so that words across a cut are found together."""

PER_PART = 16
"""Passages of one file."""

LONGEST_TOKEN = 400
"""Characters of a token that a passage shows."""


@dataclass(frozen=True)
class Passages:
    """Every passage of the documents that have a page, in their order."""

    book: Book

    @cached_property
    def places(self) -> list[tuple[int, int]]:
        """(document, position of the first token) of each passage."""
        return [
            (doc, start)
            for doc, rows in self.book.documents.items()
            for start in range(0, rows.stop - rows.start, PASSAGE_TOKENS)
        ]

    @property
    def n_parts(self) -> int:
        """Number of files."""
        return -(-len(self.places) // PER_PART)

    def words(self) -> Iterator[tuple[str, ...]]:
        """The words of each passage, those of its document's name among them."""
        for doc, start in self.places:
            texts = self._texts(doc, start, PASSAGE_TOKENS + OVERLAP)
            yield words("".join(texts)) + (words(self.book.doc_names[doc]) if start == 0 else ())

    def part(self, number: int) -> dict[str, Any]:
        """One file of passages."""
        chosen = self.places[number * PER_PART : (number + 1) * PER_PART]
        return {
            "schema": SCHEMA,
            "id": f"search/passages/{number}",
            "passages": [self._passage(doc, start) for doc, start in chosen],
        }

    def _passage(self, doc: int, start: int) -> dict[str, Any]:
        texts = self._texts(doc, start, PASSAGE_TOKENS)
        shown = [text if len(text) <= LONGEST_TOKEN else f"{text[:LONGEST_TOKEN]}…" for text in texts]
        return {
            "doc": doc,
            "doc_name": self.book.doc_names[doc],
            "start": start,
            "texts": shown,
            "strongest": self._strongest(doc, start, len(texts)),
        }

    def _texts(self, doc: int, start: int, length: int) -> list[str]:
        tokens = self.book.corpus.tokens_of(doc)
        first = tokens.start + start
        ids = self.book.corpus.token_ids[first : min(first + length, tokens.stop)]
        strings = self.book.strings()
        return [strings.strings[i] for i in strings.indices(ids, np.array([0, len(ids)])).tolist()]

    def _strongest(self, doc: int, start: int, length: int) -> dict[str, Any] | None:
        """The published channel of largest |activation| / reference RMS in a passage, and where."""
        first = self.book.documents[doc].start + start
        channel = self.book.summary.documents["channel"][first : first + length]
        value = self.book.summary.documents["value"][first : first + length].astype(np.float64)
        usable = (channel >= 0) & np.isfinite(value) & self._is_published[channel]
        strength = np.where(usable, np.abs(value) / self._rms[channel], -1.0)
        if not strength.size or strength.max() <= 0:
            return None
        token, place = np.unravel_index(int(strength.argmax()), strength.shape)
        index = int(channel[token, place])
        return {
            "id": self.book.summary.channels[index].id,
            "position": start + int(token),
            "value": significant(float(value[token, place]), 3),
        }

    @cached_property
    def _rms(self) -> np.ndarray:
        rms = np.array([*(channel.reference_rms for channel in self.book.summary.channels), 1.0], np.float64)
        return np.where(rms > 0, rms, 1.0)

    @cached_property
    def _is_published(self) -> np.ndarray:
        chosen = np.zeros(len(self.book.summary.channels) + 1, np.bool_)  # the last stands for none, −1
        chosen[self.book.published] = True
        return chosen
