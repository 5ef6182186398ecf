"""The inverted index: word -> rows of the table, passages of the corpus, tokens of the vocabulary."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from generator.publish.book import SCHEMA, Book
from generator.publish.explorer import ROWS_PER_PART, TOKENS_SHOWN
from generator.publish.kept import Kept
from generator.publish.search.passages import PER_PART, Passages
from generator.publish.search.postings import cut, encode_rows, encode_weighted
from generator.publish.search.tokens import TokenIndex
from generator.publish.search.words import words
from generator.summaries import Ragged

LABEL_WEIGHT, ID_WEIGHT, KIND_WEIGHT = 9, 7, 1
"""Of a word in the label, in the id, and in what every channel of a kind or collection shares."""

STRONGEST_TOKEN, WEAKEST_TOKEN = 6, 2
"""Weights of a word in a token on which the channel's mean is as large as its largest activation, and near zero."""

TOKENS_PER_WORD = 24
"""Vocabulary entries that a word leads to, most frequent first."""


@dataclass
class _Word:
    """Where one word occurs."""

    rows: dict[int, int] = field(default_factory=dict)  # row of the table -> weight
    passages: list[int] = field(default_factory=list)
    tokens: list[tuple[int, str, int]] = field(
        default_factory=list
    )  # (−count in the corpus, bytes, channels that fire)

    def entry(self) -> tuple[str, str, list[str]]:
        common = [f"{key}:{-count}:{n}" for count, key, n in sorted(self.tokens)[:TOKENS_PER_WORD]]
        return encode_weighted(self.rows), encode_rows(self.passages), common


@dataclass(frozen=True)
class SearchIndex:
    """Everything that the search of one site fetches."""

    book: Book
    passages: Passages
    tokens: TokenIndex
    kept: Kept | None = None

    def shards(self) -> Iterator[tuple[str, Any, bool]]:
        """(id, how it is made, whether labels are a part of it) of every file of the index but the table's parts."""
        yield "search", self.head, True
        for number in range(len(self.leaves)):
            yield f"search/words/{number}", lambda number=number: self.leaf(number), True
        for number in range(self.passages.n_parts):
            yield f"search/passages/{number}", lambda number=number: self.passages.part(number), False
        for number in range(self._token_head["n_leaves"]):
            yield f"search/tokens/{number}", lambda number=number: self.tokens.leaf(number), False

    @cached_property
    def _token_head(self) -> dict[str, Any]:
        return self._recalled("tokens", self.tokens.head)

    def _recalled(self, name: str, make: Callable[[], Any]) -> Any:
        """What follows from the run alone, as the last run left it, where one did."""
        return self.kept.recall(name, make) if self.kept else make()

    def head(self) -> dict[str, Any]:
        """What a browser fetches first: which word and which bytes each file begins with, sizes, and the pages that are few."""
        return {
            "schema": SCHEMA,
            "id": "search",
            "first": [leaf[0][0] for leaf in self.leaves],
            "n_channels": len(self.book.published),
            "n_passages": len(self.passages.places),
            "tokens": {name: self._token_head[name] for name in ("first", "n_tokens", "most", "parts")},
            "rows_per_part": ROWS_PER_PART,
            "passages_per_part": PER_PART,
            "collections": [
                {"name": name, "kind": self.book.summary.channels[rows[0]].kind, "n_channels": len(rows)}
                for name, rows in self.book.collections.items()
            ],
            "layers": list(self.book.layers),
        }

    def leaf(self, number: int) -> dict[str, Any]:
        """One file of words."""
        entries = self.leaves[number]
        return {
            "schema": SCHEMA,
            "id": f"search/words/{number}",
            "words": [word for word, *_ in entries],
            "channels": [channels for _, channels, *_ in entries],
            "passages": [passages for _, _, passages, _ in entries],
            "tokens": [tokens for *_, tokens in entries],
        }

    @cached_property
    def leaves(self) -> list[list[tuple[str, str, str, list[str]]]]:
        """(word, channels, passages, tokens) of each file, in the order of UTF-16 code units, as browsers compare."""
        held = self._words()
        entries = [(word, *held[word].entry()) for word in sorted(held, key=lambda w: w.encode("utf-16-be"))]
        sizes = [
            len(w.encode()) + len(c) + len(p) + sum(map(len, t)) + 3 * len(t) + 12 for w, c, p, t in entries
        ]
        return [list(part) for part in cut(entries, sizes)]

    def _words(self) -> dict[str, _Word]:
        held = {
            word: _Word(dict(rows), passages, [(a, b, c) for a, b, c in tokens])
            for word, (rows, passages, tokens) in self._recalled("words", self._unlabelled).items()
        }
        for row, index in enumerate(self.book.published):
            for label in self.book.labels.of(self.book.summary.channels[index].id):
                for word in words(label.text):
                    held.setdefault(word, _Word()).rows[row] = LABEL_WEIGHT
        return held

    def _unlabelled(self) -> dict[str, list[list[Any]]]:
        """All words but those of labels: rows with their weights, passages, tokens."""
        held: dict[str, _Word] = {}
        for row, index in enumerate(self.book.published):
            for word, weight in self._channel_words(index).items():
                held.setdefault(word, _Word()).rows[row] = weight
        for number, found in enumerate(self.passages.words()):
            for word in dict.fromkeys(found):
                held.setdefault(word, _Word()).passages.append(number)
        counts = self.tokens.counts
        for key, ids in self.tokens.tokens:
            for word in words(self.book.texts.alone[ids[0]]):
                place = (-int(counts[ids].sum()), key, self.tokens.n_firing(ids))
                held.setdefault(word, _Word()).tokens.append(place)
        return {word: [list(w.rows.items()), w.passages, w.tokens] for word, w in held.items()}

    def _channel_words(self, index: int) -> dict[str, int]:
        """The words that lead to a channel, each with the weight of where it stands best; its labels come on top."""
        channel = self.book.summary.channels[index]
        held: dict[str, int] = {}

        def add(text: str, weight: int) -> None:
            for word in words(text):
                held[word] = max(weight, held.get(word, 0))

        add(channel.id, ID_WEIGHT)
        for word in words(channel.collection) + words(channel.kind):
            held[word] = KIND_WEIGHT
        if channel.layer >= 0:
            add(f"layer {channel.layer}", KIND_WEIGHT)
        if not self.book.is_dead(index):
            largest = self.book.largest(index) or 1.0
            sides = [self.book.summary.top_tokens, *([self.book.summary.bottom_tokens] * channel.is_signed)]
            for ragged in sides:
                for text, mean in self._listed(ragged, index):
                    share = min(1.0, abs(mean) / largest)
                    add(text, WEAKEST_TOKEN + round((STRONGEST_TOKEN - WEAKEST_TOKEN) * share))
        return held

    def _listed(self, ragged: Ragged, index: int) -> list[tuple[str, float]]:
        columns = ragged.of(index)
        ids, means = columns["token_id"][:TOKENS_SHOWN].tolist(), columns["mean"][:TOKENS_SHOWN].tolist()
        return [(self.book.texts.alone[i], mean) for i, mean in zip(ids, means)]


def search_index(book: Book, kept: Kept | None = None) -> SearchIndex:
    """The index of a book; nothing is computed yet."""
    return SearchIndex(book, Passages(book), TokenIndex(book), kept)
