"""The record of one channel: what its page shows, built, rendered and dropped."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from generator.blocks import Channel
from generator.publish.addresses import page_url
from generator.publish.book import STEPS, Book, finite_list
from generator.publish.numbers import rounded, significant
from generator.publish.presets import first_of_each
from generator.publish.tokens import StringTable
from generator.publish.visible import plain

STATS = (
    "n_tokens",
    "n_nonfinite",
    "n_documents",
    "mean",
    "std",
    "skewness",
    "kurtosis",
    "min",
    "max",
    "share_positive",
    "share_negative",
)
"""Statistics that a shard carries under the summary's own name; ``density`` is its ``share_active``."""


@dataclass(frozen=True)
class FeatureRecord:
    """One channel of a book, with the string table of its shard."""

    book: Book
    index: int
    """Into the channel table."""
    strings: StringTable
    scale: float
    """Activation = integer × scale."""
    context: int | None = None
    """Tokens of an example on either side of its peak; None for as many as there are."""

    @property
    def channel(self) -> Channel:
        """Its row of the channel table."""
        return self.book.summary.channels[self.index]


def open_record(book: Book, index: int, strings: StringTable | None = None) -> FeatureRecord:
    """The record of a channel as pages of many show it; a layer page passes the string table that its channels share."""
    return FeatureRecord(book, index, strings or book.strings(), scale_of(book, index))


def open_own_record(book: Book, index: int) -> FeatureRecord:
    """The record of a channel for its own page, which the preset makes shorter or not."""
    preset = book.preset
    scale = rounded(scale_of(book, index, preset.steps), preset.precision)
    return FeatureRecord(book, index, book.strings(), scale, preset.context)


def identity_of(book: Book, index: int) -> dict[str, Any]:
    """What a channel is: the fields that its shard, its page and its card begin with."""
    channel = book.summary.channels[index]
    return {
        "id": channel.id,
        "collection": channel.collection,
        "kind": channel.kind,
        "layer": channel.layer if channel.layer >= 0 else None,
        "module": channel.module,
        "rank_index": channel.rank_index,
        "rank": channel.rank,
        "basis": channel.basis,
        "basis_note": basis_sentence(channel),
        "is_signed": channel.is_signed,
        "is_dead": book.is_dead(index),
    }


def scale_of(book: Book, index: int, steps: int = STEPS) -> float:
    """The unit of a channel's quantised activations: max|a| / steps over the measured tokens.

    Where all measured values are zero, the windows may still hold values of tokens left out of the statistics;
    then the unit is taken from those. 0 when there is nothing but zeros.
    """
    largest = book.largest(index)
    if largest == 0.0:
        values = _windows(book, index)
        largest = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
    return largest / steps


def _windows(book: Book, index: int) -> Float[np.ndarray, " token"]:
    rows = book.summary.examples.of(index)
    return book.summary.example_values[_spread(rows["values_at"], rows["length"])]


def stats_of(book: Book, index: int) -> dict[str, Any]:
    """The statistics of a channel; None where undefined."""
    summary = book.summary
    quantiles = [significant(value) for value in summary.quantiles[index].tolist()]
    return {
        **{name: book.statistics[name][index] for name in STATS},
        "density": book.statistics["share_active"][index],
        "share_documents": _share(book.statistics["n_documents"][index], book.corpus.n_docs),
        "threshold": summary.channels[index].threshold,
        "quantiles": {f"{level:g}": q for level, q in zip(summary.quantile_levels.tolist(), quantiles)},
    }


def histogram_of(book: Book, index: int) -> dict[str, Any]:
    """Exact counts of bins of equal width: bin i spans (first + i) · step to (first + i + 1) · step."""
    return {
        "first": int(book.summary.histogram_first[index]),
        "step": float(book.summary.histogram_step[index]),
        "counts": book.summary.histogram.of(index)["count"],
    }


def quantise(values: Float[np.ndarray, "*axes"], scale: float) -> np.ndarray | list[Any]:
    """Integers such that ``integer × scale`` is within scale / 2 of the activation; None where not finite."""
    unit = scale or 1.0
    is_finite = np.isfinite(values)
    integers = np.rint(np.where(is_finite, values, 0.0) / unit).astype(np.int64)
    return integers if is_finite.all() else np.where(is_finite, integers, None).tolist()  # type: ignore[call-overload]


def examples_of(
    record: FeatureRecord, keep: Callable[[dict[str, np.ndarray]], np.ndarray] | None = None
) -> dict[str, Any]:
    """A table of examples, one list per column, in the order of the summary: by group, then rank.

    Args:
        record: The channel.
        keep: Row indices to keep, given the columns; all when absent.
    """
    book, corpus = record.book, record.book.corpus
    rows = book.summary.examples.of(record.index)
    if keep is not None:
        chosen = keep(rows)
        rows = {name: column[chosen] for name, column in rows.items()}
    rows = {name: column if name == "value" else column.astype(np.int64) for name, column in rows.items()}
    peaks, lengths = rows["position"] - rows["start"], rows["length"]
    reach = record.context if record.context is not None else max(corpus.n_tokens, 1)
    cut = np.maximum(peaks - reach, 0)
    lengths = np.minimum(peaks + reach + 1, lengths) - cut
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    token_ids = corpus.token_ids[_spread(corpus.doc_offsets[rows["doc"]] + rows["start"] + cut, lengths)]
    text = record.strings.indices(token_ids, offsets)
    values = quantise(book.summary.example_values[_spread(rows["values_at"] + cut, lengths)], record.scale)
    bounds = offsets.tolist()
    return {
        "doc": rows["doc"],
        "position": rows["position"],
        "peak": peaks - cut,
        "value": rows["value"].astype(np.float32),
        "text": [text[a:b] for a, b in zip(bounds, bounds[1:])],
        "values": [values[a:b] for a, b in zip(bounds, bounds[1:])],
    }


def no_examples(rows: dict[str, np.ndarray]) -> np.ndarray:
    """Keeps none."""
    return np.zeros(0, np.int64)


def sources_of(book: Book, *tables: dict[str, Any]) -> dict[str, Any]:
    """The documents that tables of examples name: their names by number, and which of them have a page."""
    docs = sorted({doc for table in tables for doc in table["doc"].tolist()})
    return {
        "doc_names": {str(doc): book.doc_names[doc] for doc in docs},
        "doc_pages": [doc for doc in docs if doc in book.documents],
    }


def _spread(starts: Int[np.ndarray, " k"], lengths: Int[np.ndarray, " k"]) -> Int[np.ndarray, " token"]:
    """The indices of all windows one after another: start, start + 1, … of each row."""
    lengths = lengths.astype(np.int64)
    offsets = np.cumsum(lengths) - lengths
    return np.arange(int(lengths.sum())) + np.repeat(starts.astype(np.int64) - offsets, lengths)


def shown_groups(book: Book, index: int) -> list[str]:
    """The groups of examples that a channel has, in display order: an unsigned one has no negative side."""
    is_signed = book.summary.channels[index].is_signed
    return [g for g in book.summary.groups if is_signed or not g.startswith(("bottom", "band:-"))]


def kept_examples(record: FeatureRecord) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """Which rows of the summary's examples a channel's own page shows."""
    book = record.book
    shown = set(shown_groups(book, record.index))
    limits = [book.preset.most_examples(g) if g in shown else 0 for g in book.summary.groups]
    most = np.array([np.iinfo(np.int64).max if n is None else n for n in limits], np.int64)
    return lambda rows: first_of_each(rows["group"], most)


def groups_of(record: FeatureRecord) -> list[dict[str, Any]]:
    """The groups of examples in display order, each with the number of the corpus's tokens that it stands for.

    ``n_examples`` of its ``n_found`` examples are shown; a table of examples holds them group after group.
    """
    book, index = record.book, record.index
    found = book.summary.examples.of(index)["group"]
    n_groups = len(book.summary.groups)
    n_found = np.bincount(found, minlength=n_groups).tolist()
    n_examples = np.bincount(found[kept_examples(record)({"group": found})], minlength=n_groups).tolist()
    stats = {name: column[index] for name, column in book.statistics.items()}
    n, is_signed = stats["n_tokens"], book.summary.channels[index].is_signed
    bands = {name: finite_list(column[index]) for name, column in book.summary.bands.items()}
    band_names = [group for group in book.summary.groups if group.startswith("band:")]
    n_above, n_below, n_active = (
        round((stats[name] or 0.0) * n) for name in ("share_positive", "share_negative", "share_active")
    )
    named = {
        "top": (n_above, 0.0, stats["max"]),
        "bottom": (n_below, stats["min"], 0.0),
        "random": (n if is_signed else n_active, stats["min"] if is_signed else 0.0, stats["max"]),
        **dict(zip(band_names, zip(bands["count"], bands["low"], bands["high"]))),
    }
    return [
        _group(group, *named[group]) | {"n_examples": n_examples[place], "n_found": n_found[place]}
        for place, group in enumerate(book.summary.groups)
        if group in shown_groups(book, index)
    ]


def _group(group: str, count: int, low: float | None, high: float | None) -> dict[str, Any]:
    """A group that stands for no token has no range. What share of the tokens it is, readers work out (reading.py)."""
    ends = {"low": significant(low), "high": significant(high)} if count else {"low": None, "high": None}
    return {"group": group, "count": count, **ends}


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def link_to(identifier: str | None) -> dict[str, str] | None:
    """An id to be read, with the address of its page relative to the site's root, for front matter."""
    return None if identifier is None else {"id": plain(identifier), "path": page_url(identifier)}


def basis_sentence(channel: Channel) -> str:
    """What the choice of this direction means, and what of it is convention."""
    if channel.kind != "lora":
        return ""
    if channel.rank == 1:
        return (
            "The only direction of a rank-1 pair B·A. Its sign, and how its size divides between A and B, are conventions: "
            "only their product acts on the model."
        )
    number = f"Direction {channel.rank_index} of {channel.rank} (counted from 0)"
    if channel.basis == "svd":
        return (
            f"{number} of the singular value decomposition of scaling·B·A, ordered by size. The sign is a convention; "
            "directions of nearly equal size may mix."
        )
    return (
        f"{number}: a row of A as it was stored. The rows of a pair of rank {channel.rank} are defined only up to an "
        "invertible mixing, so compare them by |cosine| and with care."
    )
