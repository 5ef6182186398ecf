"""The explorer's table: one row per published channel, cut so that a browser fetches what it shows.

The *head* says for every row what has few values (collection, layer, module). A *column* is one number of every row, fetched
when the reader sorts, filters or colours by it. A *part* is all that is shown of sixteen rows; the search fetches the
same parts for what it found.
"""

import math
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

import numpy as np

from generator.publish.book import SCHEMA, Book
from generator.publish.crosscoder import crosscoder_number
from generator.publish.numbers import significant
from generator.summaries import Ragged

THUMBNAIL_BINS = 32
"""Most bins of a thumbnail histogram."""

THUMBNAIL_LEVELS = 24
"""Height of a thumbnail's tallest bar; heights are of log(1 + count)."""

TOKENS_SHOWN = 5
"""Top and bottom tokens of a row."""

ROWS_PER_PART = 16
"""Rows of one file."""

SNIPPET_TOKENS = 9
"""Tokens on either side of the peak of a row's strongest example."""

LONGEST_TEXT = 160
"""Characters of a token or of one side of a snippet."""

NUMBERS = (
    "density",
    "mean",
    "std",
    "skewness",
    "kurtosis",
    "min",
    "max",
    "peak",
    "max_write",
    "score",
    "ablation",
    "peak_layer",
    "relative_norm",
)
"""What a row can be sorted, filtered and coloured by; ``peak`` is the largest |activation|."""

OF_CROSSCODERS = ("peak_layer", "relative_norm")
"""Those of dictionaries over hook points (docs/crosscoders.md)."""

OF_THE_TABLE = ("id", "rank_index")
"""Columns that are not numbers of a row: its id, and which of its module's directions or dictionary's latents it is."""

ALPHABET = "0123456789abcdefghijklmno"


def explorer_shard(book: Book) -> dict[str, Any]:
    """The head of the table."""
    channels = [book.summary.channels[index] for index in book.published]
    return {
        "schema": SCHEMA,
        "id": "explorer",
        "n_channels": len(channels),
        "rows_per_part": ROWS_PER_PART,
        "collection": _runs(c.collection for c in channels),
        "kind": _runs(c.kind for c in channels),
        "layer": _runs(c.layer if c.layer >= 0 else None for c in channels),
        "module": _runs(c.module for c in channels),
        "is_dead": _flags(book, lambda index: book.is_dead(index)),
        "is_labelled": _flags(
            book, lambda index: book.labels.text(book.summary.channels[index].id) is not None
        ),
        "is_starred": _flags(book, lambda index: book.labels.is_starred(book.summary.channels[index].id)),
        "is_whole": _flags(book, lambda index: _has_full_list(book, index)),
        "numbers": [
            name for name in NUMBERS if any(number(book, name, i) is not None for i in book.published)
        ],
    }


def _runs(values: Iterable[Any]) -> dict[str, list[Any]]:
    """Equal neighbours as one: distinct ``values`` and, alternately, an index into them and a number of rows."""
    distinct: dict[Any, int] = {}
    runs: list[int] = []
    for value, rows in groupby(values):
        runs += [distinct.setdefault(value, len(distinct)), sum(1 for _ in rows)]
    return {"values": list(distinct), "runs": runs}


def _flags(book: Book, is_so: Callable[[int], bool]) -> dict[str, list[Any]]:
    return _runs(int(is_so(index)) for index in book.published)


def _has_full_list(book: Book, index: int) -> bool:
    """Whether the channel's list of top examples is as long as the run asked for."""
    wanted = book.summary.settings.get("k", 0)
    groups = book.summary.examples.of(index)["group"]
    top = book.summary.groups.index("top") if "top" in book.summary.groups else -1
    return int((groups == top).sum()) >= int(wanted or 1)


def number(book: Book, name: str, index: int) -> float | None:
    """A number of a row; None where it is not defined."""
    if name == "score":
        label = book.labels.best(book.summary.channels[index].id)
        return label.score if label else None
    if name == "max_write":
        return book.max_write(index)
    if name in OF_CROSSCODERS:
        return crosscoder_number(book, name, index)
    if name == "ablation":
        return _zeroed(book, index)
    if name == "peak":
        ends = (book.statistics["min"][index], book.statistics["max"][index])
        return None if None in ends else book.largest(index)
    return book.statistics["share_active" if name == "density" else name][index]


def _known_numbers(book: Book) -> list[str]:
    """The numbers of a row; without the stage ``analyze`` there is no effect of zeroing."""
    panel_of = {"ablation": "ablation"} | dict.fromkeys(OF_CROSSCODERS, "crosscoder")
    return [name for name in NUMBERS if panel_of.get(name, name) in book.findings or name not in panel_of]


def _zeroed(book: Book, index: int) -> float | None:
    """KL between the full model and the one without the direction, where the stage ``analyze`` measured it."""
    findings = book.findings.get("ablation")
    found = findings.of(book.summary.channels[index].id) if findings else None
    return found["divergence"]["value"] if found and "divergence" in found else None


def column_shard(book: Book, name: str) -> dict[str, Any]:
    """One number of every row, rounded to four significant digits, or its ``id`` or ``rank_index``."""
    values: list[Any]
    if name in OF_THE_TABLE:
        values = [getattr(book.summary.channels[index], name) for index in book.published]
    else:
        values = [significant(number(book, name, index), 4) for index in book.published]
    return {"schema": SCHEMA, "id": column_id(name), "values": values}


def column_id(name: str) -> str:
    """The id of a column's shard."""
    return f"explorer/columns/{name}"


def part_id(part: int) -> str:
    """The id of the shard with rows ``part * ROWS_PER_PART`` and on."""
    return f"explorer/rows/{part}"


def n_parts(book: Book) -> int:
    """Number of parts."""
    return -(-len(book.published) // ROWS_PER_PART)


def rows_shard(book: Book, part: int) -> dict[str, Any]:
    """All that is shown of the rows of one part, as columns."""
    indices = book.published[part * ROWS_PER_PART : (part + 1) * ROWS_PER_PART]
    ids = [book.summary.channels[index].id for index in indices]
    thumbnails = [thumbnail(book, index) for index in indices]
    columns: dict[str, list[Any]] = {
        "id": ids,
        "label": [book.labels.text(identifier) for identifier in ids],
        "author": [label.author if (label := book.labels.best(i)) else None for i in ids],
        "top_tokens": [shortened(top_tokens(book, index)) for index in indices],
        "bottom_tokens": [shortened(bottom_tokens(book, index)) for index in indices],
        "histogram": [levels(counts) for counts, _, _ in thumbnails],
        "histogram_low": [significant(low, 4) for _, low, _ in thumbnails],
        "histogram_high": [significant(high, 4) for _, _, high in thumbnails],
        "snippet": [snippet(book, index) for index in indices],
    }
    for name in _known_numbers(book):
        columns[name] = [significant(number(book, name, index), 4) for index in indices]
    return {"schema": SCHEMA, "id": part_id(part), "columns": columns}


def shortened(texts: list[str]) -> list[str]:
    """Tokens as lists and the head of a page show them; a channel's shard has the whole of each."""
    return [text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…" for text in texts]


def snippet(book: Book, index: int) -> dict[str, Any] | None:
    """A row's strongest example: the text before its peak, the peak, the text after, and the activation."""
    columns = book.summary.examples.of(index)
    sides = [book.summary.groups.index(side) for side in ("top", "bottom") if side in book.summary.groups]
    usable = np.isin(columns["group"], sides) & np.isfinite(columns["value"])
    if not usable.any() or book.is_dead(index):
        return None
    row = int(np.flatnonzero(usable)[np.abs(columns["value"][usable]).argmax()])
    doc, position = int(columns["doc"][row]), int(columns["position"][row])
    tokens = book.corpus.tokens_of(doc)
    peak = tokens.start + position
    start, stop = max(tokens.start, peak - SNIPPET_TOKENS), min(tokens.stop, peak + SNIPPET_TOKENS + 1)
    ids = book.corpus.token_ids[start:stop]
    is_whole = bool(book.texts.is_whole[ids].all())
    pieces = [book.texts.alone[i] for i in ids.tolist()] if is_whole else book.texts.run(tuple(ids.tolist()))
    at = peak - start
    before, after = "".join(pieces[:at]), "".join(pieces[at + 1 :])
    return {
        "before": before[-LONGEST_TEXT:],
        "peak": shortened([pieces[at]])[0],
        "after": after[:LONGEST_TEXT],
        "value": significant(float(columns["value"][row]), 4),
    }


def top_tokens(book: Book, index: int, n: int = TOKENS_SHOWN) -> list[str]:
    """The first few top tokens of a channel; none of a dead latent, for which all tokens are alike."""
    return [] if book.is_dead(index) else token_texts(book, book.summary.top_tokens, index, n)


def bottom_tokens(book: Book, index: int) -> list[str]:
    """The first few bottom tokens of a signed channel."""
    return (
        token_texts(book, book.summary.bottom_tokens, index) if book.summary.channels[index].is_signed else []
    )


def token_texts(book: Book, ragged: Ragged, index: int, n: int = TOKENS_SHOWN) -> list[str]:
    """The display texts of the first few tokens in a channel's list."""
    rows = slice(int(ragged.offsets[index]), int(ragged.offsets[index + 1]))
    return [book.texts.alone[token] for token in ragged.columns["token_id"][rows][:n].tolist()]


def levels(counts: list[int]) -> str:
    """A thumbnail's bars, one character each: the height in 24ths of the tallest, of log(1 + count)."""
    tallest = math.log1p(max(counts, default=0)) or 1.0
    heights = (math.ceil(THUMBNAIL_LEVELS * math.log1p(count) / tallest - 1e-9) for count in counts)
    return "".join(ALPHABET[height] for height in heights)


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
