"""The same direction in two runs: a page per other run with every pair, and a panel on the page of each channel.

Activations of the other run are read with the sign that makes its direction point the same way (``is_turned``): its highest
tokens are then the lowest that its own site shows, and the ends of its range change places.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from generator.publish.addresses import page_url
from generator.publish.book import SCHEMA, Book
from generator.publish.numbers import significant
from generator.publish.other_runs import OtherRun
from generator.publish.records import FeatureRecord
from generator.publish.visible import plain
from generator.summaries import Ragged

RUNS = "runs"

TOKENS = 5
"""Strongest tokens of a channel that are looked up in its counterpart's list, and the other way round."""

LONGEST_TOKEN = 160
"""Characters of a token."""

MOST_UNMATCHED = 500
"""Channels of the other run without a counterpart whose ids are written."""

COSINES = ("read", "write", "correlation")
CHANGES = ("density", "skewness", "min", "max", "max_write")
"""Numbers that stand side by side; ``there_…`` is the other run's."""

TOKEN_LISTS = ("top_here", "top_there", "bottom_here", "bottom_there")
"""Strong tokens that only this run's channel has, and only the other's."""


def run_id(name: str) -> str:
    """The id of the page that compares with another run."""
    return f"{RUNS}/{name}"


def runs_shard(book: Book, other: OtherRun) -> dict[str, Any]:
    """Every published channel with its counterpart, one list per column."""
    rows = [pair_of(book, other, index) for index in book.published]
    unmatched = other.matches.without_counterpart(len(other.run.channels))
    here = {name: [_here(book, index)[name] for index in book.published] for name in CHANGES}
    return {
        "schema": SCHEMA,
        "id": run_id(other.name),
        "name": plain(other.name),
        "site": _address(other.site),
        "facts": facts_of(book, other),
        "columns": {
            "id": [book.summary.channels[index].id for index in book.published],
            **here,
            **{name: [row[name] for row in rows] for name in rows[0]},
        },
        "unmatched": [other.run.channels[index].id for index in unmatched[:MOST_UNMATCHED]],
    }


def facts_of(book: Book, other: OtherRun) -> dict[str, Any]:
    """What the comparison rests on, in numbers."""
    matches = other.matches
    how = Counter(matches.how[index] for index in book.published)
    return {
        "n_channels": len(book.published),
        "n_there": len(other.run.channels),
        "n_unmatched": len(matches.without_counterpart(len(other.run.channels))),
        "by_cosine": how["cosine"],
        "by_correlation": how["correlation"],
        "by_id": how["id"],
        "n_documents": matches.n_documents,
        "n_tokens": matches.n_tokens,
    }


def pair_of(book: Book, other: OtherRun, index: int) -> dict[str, Any]:
    """A channel's counterpart: how it was found, how alike the two are, the other's numbers, tokens that only one of them has."""
    matches = other.matches
    there = int(matches.other[index])
    numbers = _there(other, there, bool(matches.is_turned[index])) if there >= 0 else dict.fromkeys(CHANGES)
    return {
        "other": other.run.channels[there].id if there >= 0 else None,
        "how": matches.how[index],
        "is_turned": bool(matches.is_turned[index]),
        **{name: significant(float(getattr(matches, name)[index]), 4) for name in COSINES},
        **{f"there_{name}": value for name, value in numbers.items()},
        **_token_lists(book, other, index, there),
    }


def runs(record: FeatureRecord) -> list[dict[str, Any]] | None:
    """The panel: the channel's counterpart in every other run."""
    return [
        {
            "page": run_id(other.name),
            "name": plain(other.name),
            "url": _page_there(other, pair["other"]),
            **pair,
        }
        for other in record.book.others
        for pair in (pair_of(record.book, other, record.index),)
    ] or None


def _here(book: Book, index: int) -> dict[str, float | None]:
    stats = {name: book.statistics[name][index] for name in ("skewness", "min", "max")}
    numbers = {"density": book.statistics["share_active"][index], **stats, "max_write": book.max_write(index)}
    return {name: significant(numbers[name]) for name in CHANGES}


def _there(other: OtherRun, index: int, is_turned: bool) -> dict[str, float | None]:
    statistics, channel = other.run.summary.statistics, other.run.channels[index]
    low, high, skewness = (float(statistics[name][index]) for name in ("min", "max", "skewness"))
    if is_turned:
        low, high, skewness = -high, -low, -skewness
    size = abs(channel.scaling) * other.largest(index) * channel.write_norm
    numbers = {
        "density": float(statistics["share_active"][index]),
        "skewness": skewness,
        "min": low,
        "max": high,
        "max_write": size if channel.write_norm > 0 and math.isfinite(size) else None,
    }
    return {name: significant(value) for name, value in numbers.items()}


def _token_lists(book: Book, other: OtherRun, index: int, there: int) -> dict[str, list[str]]:
    if there < 0:
        return {name: [] for name in TOKEN_LISTS}
    top, bottom = other.run.summary.top_tokens, other.run.summary.bottom_tokens
    if other.matches.is_turned[index]:
        top, bottom = bottom, top
    sides = [(book.summary.top_tokens, top)]
    if book.summary.channels[index].is_signed:
        sides.append((book.summary.bottom_tokens, bottom))
    found: list[list[str]] = []
    for own, others in sides:
        mine, theirs = _strongest(own, index), _strongest(others, there)
        bytes_here, bytes_there = book.corpus.token_bytes, other.run.corpus.token_bytes
        known = {bytes_here[t] for t in mine}, {bytes_there[t] for t in theirs}
        found += [
            [book.texts.alone[t][:LONGEST_TOKEN] for t in mine[:TOKENS] if bytes_here[t] not in known[1]],
            [other.texts.alone[t][:LONGEST_TOKEN] for t in theirs[:TOKENS] if bytes_there[t] not in known[0]],
        ]
    return dict(zip(TOKEN_LISTS, [*found, [], []]))


def _strongest(tokens: Ragged, index: int) -> Sequence[int]:
    return tokens.of(index)["token_id"].tolist()


def _page_there(other: OtherRun, identifier: str | None) -> str | None:
    site = _address(other.site)
    return f"{site}{quote(page_url(identifier))}" if site and identifier else None


def _address(site: str) -> str:
    """A site's address with a slash at its end; nothing that is not one of the web."""
    return f"{site.rstrip('/')}/" if site.startswith(("https://", "http://")) else ""
