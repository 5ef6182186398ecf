"""The explorer's shard: one row per published channel, as columns."""

from typing import Any

import numpy as np

from generator.publish.book import SCHEMA, Book
from generator.publish.numbers import significant
from generator.summaries import Ragged

THUMBNAIL_BINS = 32
"""Most bins of a thumbnail histogram."""

TOKENS_SHOWN = 5
"""Top and bottom tokens of a row."""

NUMBERS = ("mean", "std", "skewness", "kurtosis", "min", "max")
"""Statistics of a row, rounded to six significant digits."""


def explorer_shard(book: Book) -> dict[str, Any]:
    """All that the explorer's table shows."""
    channels = [book.summary.channels[index] for index in book.published]
    thumbnails = [thumbnail(book, index) for index in book.published]
    columns: dict[str, list[Any]] = {
        "id": [c.id for c in channels],
        "collection": [c.collection for c in channels],
        "kind": [c.kind for c in channels],
        "layer": [c.layer if c.layer >= 0 else None for c in channels],
        "module": [c.module for c in channels],
        "rank_index": [c.rank_index for c in channels],
        "is_dead": [int(book.is_dead(index)) for index in book.published],
        "density": [significant(book.statistics["share_active"][index]) for index in book.published],
        "max_write": [significant(book.max_write(index)) for index in book.published],
        "top_tokens": [top_tokens(book, index) for index in book.published],
        "bottom_tokens": [
            token_texts(book, book.summary.bottom_tokens, index) if channel.is_signed else []
            for index, channel in zip(book.published, channels)
        ],
        "histogram": [counts for counts, _, _ in thumbnails],
        "histogram_low": [low for _, low, _ in thumbnails],
        "histogram_high": [high for _, _, high in thumbnails],
    }
    for name in NUMBERS:
        columns[name] = [significant(book.statistics[name][index]) for index in book.published]
    return {"schema": SCHEMA, "id": "explorer", "n_channels": len(channels), "columns": columns}


def top_tokens(book: Book, index: int, n: int = TOKENS_SHOWN) -> list[str]:
    """The first few top tokens of a channel; none of a dead latent, for which all tokens are alike."""
    return [] if book.is_dead(index) else token_texts(book, book.summary.top_tokens, index, n)


def token_texts(book: Book, ragged: Ragged, index: int, n: int = TOKENS_SHOWN) -> list[str]:
    """The display texts of the first few tokens in a channel's list."""
    rows = slice(int(ragged.offsets[index]), int(ragged.offsets[index + 1]))
    return [book.texts.alone[token] for token in ragged.columns["token_id"][rows][:n].tolist()]


def thumbnail(book: Book, index: int) -> tuple[list[int], float | None, float | None]:
    """A channel's histogram with neighbouring bins added up: counts, lower edge of the first, upper edge of the last.

    Bins are added in groups that begin at zero, so that no bar mixes the signs.
    """
    counts = book.summary.histogram.of(index)["count"]
    if not len(counts):
        return [], None, None
    first, step = int(book.summary.histogram_first[index]), float(book.summary.histogram_step[index])
    factor = 1
    while -(-(first + len(counts)) // factor) - first // factor > THUMBNAIL_BINS:
        factor += 1
    group = (first + np.arange(len(counts))) // factor
    low = int(group[0])
    sums = np.bincount(group - low, weights=counts).astype(np.int64).tolist()
    return sums, low * factor * step, (low + len(sums)) * factor * step
