"""A corpus and a summary from foreign features: what their files say, and NaN for what they do not."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from generator.blocks import Channel, Corpus
from generator.config import RESERVED
from generator.publish.exchange.foreign import (
    ForeignExample,
    ForeignFeature,
    ForeignSet,
    Interval,
    group_name,
)
from generator.summaries import Ragged, Summary, nothing_by_token

LARGEST_SHIFT = 0.05
"""Of a bin: a histogram whose edges lie further than this from multiples of its bin width is left out, because a
summary cannot hold it."""

MOST_BINS = 100

UNKNOWN = ("mean", "std", "skewness", "kurtosis")

_LIST_COLUMNS = {"token_id": np.int64, "mean": np.float64, "count": np.int64}
_EXAMPLE_COLUMNS = ("group", "doc", "position", "start", "length", "values_at")


@dataclass(frozen=True)
class Row:
    """A foreign feature with its place in the channel table and its examples by group."""

    feature: ForeignFeature
    channel: Channel
    groups: dict[str, list[ForeignExample]]
    bands: dict[str, Interval]

    @property
    def share_below_zero(self) -> float:
        """As the interval of all negative activations says."""
        if not self.channel.is_signed:
            return 0.0
        shares = [
            i.share for i, _ in self.feature.by_interval.values() if group_name(self.feature, i) == "bottom"
        ]
        return shares[0] if shares else float("nan")

    @property
    def smallest(self) -> float:
        """The minimum, where an interval reaches down to it; 0 behind a ReLU."""
        if not self.channel.is_signed:
            return 0.0
        intervals = [interval for interval, _ in self.feature.by_interval.values()]
        whole = [i.low for i in intervals if group_name(self.feature, i) in ("bottom", "random")]
        return min(whole, default=float("nan"))


def build_corpus(found: ForeignSet) -> Corpus:
    """The distinct token sequences of all examples as documents, with a vocabulary of the strings that occur."""
    sequences = list(dict.fromkeys(e.tokens for feature in found.features for e in feature.examples))
    words = list(dict.fromkeys(token for sequence in sequences for token in sequence))
    number = {word: index for index, word in enumerate(words)}
    offsets = np.cumsum([0, *map(len, sequences)], dtype=np.int64)
    token_ids = np.array([number[token] for sequence in sequences for token in sequence], np.int32)
    return Corpus(
        token_ids=token_ids,
        doc_offsets=offsets,
        is_measured=np.ones(len(token_ids), np.bool_),
        pieces=np.stack([offsets[:-1], offsets[:-1], offsets[1:]], axis=1),
        token_bytes=[word.encode("utf-8", "surrogatepass") for word in words],
        is_special=np.zeros(len(words), np.bool_),
        doc_names=[f"sequence {index}" for index in range(len(sequences))],
        doc_metadata=[{} for _ in sequences],
        tokenizer={"name": f"strings of the {found.format} files", "vocabulary": len(words)},
    )


def build_summary(
    found: ForeignSet, corpus: Corpus, heads: dict[tuple[int, str, int], dict[str, Any]]
) -> Summary:
    """The summary of all features.

    Args:
        found: What was read.
        corpus: Of ``build_corpus``.
        heads: What a file of our own says of a feature, by layer, set and index: ``id``, ``kind``, ….
    """
    channels = _channels(found, heads)
    rows = [_row(feature, channel) for feature, channel in zip(found.features, channels)]
    band_names = list(dict.fromkeys(sorted((n for row in rows for n in row.bands), key=_band_order)))
    used = {name for row in rows for name in row.groups}
    sides = ["top", *(["bottom"] if "bottom" in used or any(c.is_signed for c in channels) else [])]
    groups = [*sides, *band_names, "random"]
    examples, values = _examples(rows, groups, corpus)
    first, step, histogram = _histograms(rows)
    empty = _ragged([{name: np.zeros(0, t) for name, t in _LIST_COLUMNS.items()} for _ in rows])
    return Summary(
        channels=channels,
        facts={
            "model": found.facts.get("model", ""),
            "imported_from": found.format,
            "collections": {name: _facts(found) for name in dict.fromkeys(c.collection for c in channels)},
        },
        settings={"imported_from": found.format},
        statistics=_statistics(rows, corpus, examples),
        quantile_levels=np.zeros(0),
        quantiles=np.zeros((len(rows), 0)),
        histogram_step=step,
        histogram_first=first,
        histogram=histogram,
        groups=groups,
        bands=_bands(rows, band_names),
        examples=examples,
        example_values=values,
        top_tokens=empty,
        bottom_tokens=empty,
        by_token=nothing_by_token(len(corpus.token_bytes)),
        profiles={},
        neighbours={"correlation": _correlated(rows)},
        cosines=[],
        documents={},
        notes=_notes(rows),
    )


def _facts(found: ForeignSet) -> dict[str, Any]:
    return {
        "kind": "sae",
        "format": found.format,
        "notes": [f"Read from files in the format of {found.format}."],
    }


def _notes(rows: list[Row]) -> list[str]:
    notes = [
        "The features were read from files of another tool. Documents are the token sequences of their examples; "
        "statistics that the files do not give are missing."
    ]
    unknown = sum(row.feature.n_tokens == 0 for row in rows)
    if unknown:
        notes.append(
            f"For {unknown} features the files do not say on how many tokens they were measured: 0 stands there."
        )
    dropped = sum(len(row.feature.histogram[1]) > 0 and _bins(row.feature) is None for row in rows)
    if dropped:
        notes.append(
            f"The histograms of {dropped} features have bins that do not begin at zero and are left out."
        )
    return notes


# --- channels --------------------------------------------------------------------------------------------------


def collection_name(set_name: str) -> str:
    """A set's name as the first part of ids: letters, digits, ``-`` and ``_``."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", set_name).strip("-") or "features"
    return f"{name}-set" if name in RESERVED else name


def _channels(found: ForeignSet, heads: dict[tuple[int, str, int], dict[str, Any]]) -> list[Channel]:
    layers: dict[str, set[int]] = {}
    sizes: dict[tuple[str, int], int] = {}
    for f in found.features:
        layers.setdefault(f.set_name, set()).add(f.layer)
        sizes[f.set_name, f.layer] = max(sizes.get((f.set_name, f.layer), 0), f.index + 1)
    channels = []
    for f in found.features:
        name = collection_name(f.set_name)
        has_layers = len(layers[f.set_name]) > 1 and f.layer >= 0
        given: dict[str, Any] = {
            "id": f"{name}/L{f.layer}/{f.index}" if has_layers else f"{name}/{f.index}",
            "collection": name,
            "kind": "sae",
            "layer": f.layer,
            "rank_index": f.index,
            "rank": sizes[f.set_name, f.layer],
            "is_signed": any(value < 0 for e in f.examples for value in e.values),
        }
        channels.append(Channel(**given | heads.get((f.layer, f.set_name, f.index), {})))
    return channels


def _row(feature: ForeignFeature, channel: Channel) -> Row:
    groups: dict[str, list[ForeignExample]] = {"top": sorted(feature.top, key=lambda e: -e.value)}
    sided: dict[str, list[tuple[Interval, list[ForeignExample]]]] = {"+": [], "-": []}
    for interval, examples in feature.by_interval.values():
        name = group_name(feature, interval)
        if name in sided:
            sided[name].append((interval, examples))
        else:
            groups.setdefault(name, []).extend(examples)
    if "bottom" in groups:
        groups["bottom"].sort(key=lambda e: e.value)
    bands = {}
    for sign, members in sided.items():
        # The strongest first, on either side.
        members.sort(key=lambda member: -abs(member[0].high if sign == "+" else member[0].low))
        for place, (interval, examples) in enumerate(members, 1):
            bands[f"band:{sign}{place}"] = interval
            groups[f"band:{sign}{place}"] = examples
    return Row(feature, channel, groups, bands)


def _band_order(name: str) -> tuple[bool, int]:
    return name.startswith("band:-"), int(name[len("band:+") :])


# --- arrays ----------------------------------------------------------------------------------------------------


def _examples(rows: list[Row], groups: list[str], corpus: Corpus) -> tuple[Ragged, np.ndarray]:
    """The examples, each a whole document, and their values one after another."""
    texts = [token.decode("utf-8", "surrogatepass") for token in corpus.token_bytes]
    doc_of = {
        tuple(texts[i] for i in corpus.token_ids[corpus.tokens_of(doc)].tolist()): doc
        for doc in range(corpus.n_docs)
    }
    lists, values, at = [], [np.zeros(0, np.float32)], 0
    for row in rows:
        table: list[tuple[int, ...]] = []
        peaks: list[float] = []
        for group, name in enumerate(groups):
            for e in row.groups.get(name, ()):
                table.append((group, doc_of[e.tokens], e.peak, 0, len(e.values), at))
                peaks.append(e.value)
                values.append(np.array(e.values, np.float32))
                at += len(e.values)
        columns = np.array(table, np.int64).reshape(len(table), len(_EXAMPLE_COLUMNS)).T
        lists.append(dict(zip(_EXAMPLE_COLUMNS, columns)) | {"value": np.array(peaks, np.float32)})
    joined = np.concatenate(values)
    return _ragged(lists), np.where(np.isfinite(joined), joined, np.nan).astype(np.float32)


def _statistics(rows: list[Row], corpus: Corpus, examples: Ragged) -> dict[str, np.ndarray]:
    nan = np.full(len(rows), np.nan)
    density = np.array([row.feature.density for row in rows])
    below = np.array([row.share_below_zero for row in rows])
    is_signed = np.array([row.channel.is_signed for row in rows], np.bool_)
    documents = [
        len(np.unique(examples.of(c)["doc"][examples.of(c)["value"] != 0])) for c in range(len(rows))
    ]
    return {
        "n_tokens": np.array([row.feature.n_tokens for row in rows], np.int64),
        "n_nonfinite": np.zeros(len(rows), np.int64),
        "n_documents": np.array(documents, np.int64),
        **dict.fromkeys(UNKNOWN, nan),
        "min": np.array([row.smallest for row in rows]),
        "max": np.array([row.feature.largest for row in rows]),
        "share_positive": np.where(is_signed, np.nan, density),
        "share_negative": below,
        "share_active": density,
    }


def _bands(rows: list[Row], names: list[str]) -> dict[str, np.ndarray]:
    low, high = np.full((2, len(rows), len(names)), np.nan)
    count = np.zeros((len(rows), len(names)), np.int64)
    for r, row in enumerate(rows):
        for name, interval in row.bands.items():
            b = names.index(name)
            low[r, b], high[r, b] = interval.low, interval.high
            count[r, b] = round(np.nan_to_num(interval.share) * row.feature.n_tokens)
    return {"low": low, "high": high, "count": count}


def _bins(feature: ForeignFeature) -> tuple[int, float, np.ndarray] | None:
    """First bin, width and counts, when the bins are as a summary holds them: edges at multiples of one width."""
    centres, heights = np.array(feature.histogram[0]), np.array(feature.histogram[1])
    is_whole = np.isfinite(centres).all() and np.isfinite(heights).all() and (heights >= 0).all()
    if len(centres) != len(heights) or not 2 <= len(centres) <= MOST_BINS or not is_whole:
        return None
    width = (centres[-1] - centres[0]) / (len(centres) - 1)
    if width <= 0 or np.abs(np.diff(centres) / width - 1).max() > LARGEST_SHIFT:
        return None
    place = centres[0] / width - 0.5
    if abs(place - round(place)) > LARGEST_SHIFT or np.abs(heights - np.rint(heights)).max() > 0:
        return None
    return round(place), float(width), np.rint(heights).astype(np.int64)


def _histograms(rows: list[Row]) -> tuple[np.ndarray, np.ndarray, Ragged]:
    found = [_bins(row.feature) or (0, 1.0, np.zeros(0, np.int64)) for row in rows]
    firsts, steps, counts = zip(*found)
    return np.array(firsts, np.int64), np.array(steps), _ragged([{"count": c} for c in counts])


def _correlated(rows: list[Row]) -> Ragged:
    place = {(r.feature.set_name, r.feature.layer, r.feature.index): i for i, r in enumerate(rows)}
    lists = []
    for row in rows:
        f = row.feature
        known = [
            (place[f.set_name, f.layer, i], r) for i, r in f.correlated if (f.set_name, f.layer, i) in place
        ]
        known = sorted(known, key=lambda entry: -abs(entry[1]))
        lists.append(
            {
                "channel": np.array([i for i, _ in known], np.int64),
                "value": np.array([r for _, r in known], np.float64),
            }
        )
    return _ragged(lists)


def _ragged(lists: Sequence[dict[str, np.ndarray]]) -> Ragged:
    lengths: Iterable[int] = (len(next(iter(columns.values()))) for columns in lists)
    joined = {name: np.concatenate([columns[name] for columns in lists]) for name in lists[0]}
    return Ragged(np.cumsum([0, *lengths], dtype=np.int64), joined)
