"""The record of one channel: what its page shows, built, rendered and dropped."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from generator.blocks import Channel
from generator.publish.addresses import page_url
from generator.publish.book import STEPS, Book, finite_list
from generator.publish.tokens import StringTable

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

    @property
    def channel(self) -> Channel:
        """Its row of the channel table."""
        return self.book.summary.channels[self.index]


def open_record(book: Book, index: int, strings: StringTable | None = None) -> FeatureRecord:
    """The record of a channel; a layer page passes the string table that its channels share."""
    return FeatureRecord(book, index, strings or book.strings(), scale_of(book, index))


def scale_of(book: Book, index: int) -> float:
    """The unit of a channel's quantised activations: max|a| / 1000 over the measured tokens.

    Where all measured values are zero, the windows may still hold values of tokens left out of the statistics;
    then the unit is taken from those. 0 when there is nothing but zeros.
    """
    largest = book.largest(index)
    if largest == 0.0:
        values = _windows(book, index)
        largest = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
    return largest / STEPS


def _windows(book: Book, index: int) -> Float[np.ndarray, " token"]:
    rows = book.summary.examples.of(index)
    return book.summary.example_values[_spread(rows["values_at"], rows["length"])]


def stats_of(book: Book, index: int) -> dict[str, Any]:
    """The statistics of a channel; None where undefined."""
    summary = book.summary
    quantiles = finite_list(summary.quantiles[index])
    return {
        **{name: book.statistics[name][index] for name in STATS},
        "density": book.statistics["share_active"][index],
        "share_documents": _share(book.statistics["n_documents"][index], book.corpus.n_docs),
        "threshold": summary.channels[index].threshold,
        "quantiles": {f"{level:g}": q for level, q in zip(summary.quantile_levels.tolist(), quantiles)},
    }


def histogram_of(book: Book, index: int) -> dict[str, list[Any]]:
    """Bin edges (one more than bins) and exact counts."""
    counts = book.summary.histogram.of(index)["count"].tolist()
    first, step = int(book.summary.histogram_first[index]), float(book.summary.histogram_step[index])
    if not counts:
        return {"edges": [], "counts": []}
    return {"edges": [(first + i) * step for i in range(len(counts) + 1)], "counts": counts}


def quantise(values: Float[np.ndarray, "*axes"], scale: float) -> np.ndarray | list[Any]:
    """Integers such that ``integer × scale`` is within scale / 2 of the activation; None where not finite."""
    unit = scale or 1.0
    is_finite = np.isfinite(values)
    integers = np.rint(np.where(is_finite, values, 0.0) / unit).astype(np.int64)
    return integers if is_finite.all() else np.where(is_finite, integers, None).tolist()  # type: ignore[call-overload]


def examples_of(
    record: FeatureRecord, keep: Callable[[dict[str, np.ndarray]], np.ndarray] | None = None
) -> list[dict[str, Any]]:
    """The examples of a channel, in the order of the summary: by group, then rank.

    Args:
        record: The channel.
        keep: Row indices to keep, given the columns; all when absent.
    """
    book, corpus = record.book, record.book.corpus
    rows = book.summary.examples.of(record.index)
    if keep is not None:
        chosen = keep(rows)
        rows = {name: column[chosen] for name, column in rows.items()}
    lengths = rows["length"].astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    token_ids = corpus.token_ids[_spread(corpus.doc_offsets[rows["doc"]] + rows["start"], lengths)]
    text = record.strings.indices(token_ids, offsets)
    values = quantise(book.summary.example_values[_spread(rows["values_at"], lengths)], record.scale)
    bounds = offsets.tolist()
    columns = zip(
        rows["group"].tolist(),
        rows["doc"].tolist(),
        rows["position"].tolist(),
        finite_list(rows["value"].astype(np.float64)),
        rows["start"].tolist(),
        bounds,
        bounds[1:],
    )
    return [
        {
            "group": book.summary.groups[group],
            "doc": doc,
            "doc_name": book.doc_names[doc],
            "has_page": doc in book.documents,
            "position": position,
            "value": value,
            "start": start,
            "token_ids": token_ids[a:b],
            "text": text[a:b],
            "values": values[a:b],
        }
        for group, doc, position, value, start, a, b in columns
    ]


def _spread(starts: Int[np.ndarray, " k"], lengths: Int[np.ndarray, " k"]) -> Int[np.ndarray, " token"]:
    """The indices of all windows one after another: start, start + 1, … of each row."""
    lengths = lengths.astype(np.int64)
    offsets = np.cumsum(lengths) - lengths
    return np.arange(int(lengths.sum())) + np.repeat(starts.astype(np.int64) - offsets, lengths)


def groups_of(book: Book, index: int) -> list[dict[str, Any]]:
    """The groups of examples in display order, each with the number of the corpus's tokens that it stands for."""
    stats = {name: column[index] for name, column in book.statistics.items()}
    n, is_signed = stats["n_tokens"], book.summary.channels[index].is_signed
    bands = {name: finite_list(column[index]) for name, column in book.summary.bands.items()}
    band_names = [group for group in book.summary.groups if group.startswith("band:")]
    n_side = {
        sign: round((stats[name] or 0.0) * n)
        for sign, name in (("+", "share_positive"), ("-", "share_negative"))
    }
    drawn_from = n if is_signed else round((stats["share_active"] or 0.0) * n)
    named = {
        "top": (n_side["+"], 0.0, stats["max"]),
        "bottom": (n_side["-"], stats["min"], 0.0),
        "random": (drawn_from, stats["min"] if is_signed else 0.0, stats["max"]),
        **dict(zip(band_names, zip(bands["count"], bands["low"], bands["high"]))),
    }
    shown = [g for g in book.summary.groups if is_signed or not g.startswith(("bottom", "band:-"))]
    return [
        _group(group, *named[group], n_tokens=n, n_side=n_side.get(group.removeprefix("band:")[0]))
        for group in shown
    ]


def _group(
    group: str, count: int, low: float | None, high: float | None, *, n_tokens: int, n_side: int | None
) -> dict[str, Any]:
    """A group that stands for no token has no range; only bands are part of a side."""
    ends = {"low": low, "high": high} if count else {"low": None, "high": None}
    of_side = None if n_side is None else _share(count, n_side)
    return {
        "group": group,
        "count": count,
        "share": _share(count, n_tokens),
        "share_of_side": of_side,
        **ends,
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def link_to(identifier: str | None) -> dict[str, str] | None:
    """An id with the address of its page relative to the site's root, for front matter."""
    return None if identifier is None else {"id": identifier, "path": page_url(identifier)}


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
