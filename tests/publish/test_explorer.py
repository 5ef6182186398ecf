"""The explorer's head, columns and rows."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from generator.blocks import Corpus
from generator.publish.book import Book, open_book
from generator.publish.exchange.shelf import expanded
from generator.publish.explorer import (
    ALPHABET,
    ROWS_PER_PART,
    THUMBNAIL_BINS,
    column_shard,
    explorer_shard,
    levels,
    n_parts,
    rows_shard,
    thumbnail,
)
from generator.publish.labels import Label, Labels
from generator.publish.records import open_record
from generator.publish.shards import channel_shard
from generator.summaries import Summary
from tests.toy import ragged, toy_config

HEADS = ("collection", "kind", "layer", "module", "is_dead", "is_labelled", "is_starred", "is_whole")


def table(book: Book) -> dict[str, list[Any]]:
    """All that the explorer can fetch, as columns of equal length."""
    head = explorer_shard(book)
    columns = {name: expanded(head[name]) for name in HEADS}
    parts = [rows_shard(book, part)["columns"] for part in range(n_parts(book))]
    assert all(len(part["id"]) == ROWS_PER_PART for part in parts[:-1])
    return columns | {name: [value for part in parts for value in part[name]] for name in parts[0]}


def test_every_channel_has_a_row(book: Book) -> None:
    columns = table(book)
    assert columns["id"] == [book.summary.channels[index].id for index in book.published]
    assert {len(column) for column in columns.values()} == {explorer_shard(book)["n_channels"]}
    assert column_shard(book, "id")["values"] == columns["id"]


def test_a_row_says_what_the_page_says(book: Book) -> None:
    columns = table(book)
    for row, index in enumerate(book.published):
        own = channel_shard(open_record(book, index))
        for name in ("layer", "module", "collection", "kind"):
            assert columns[name][row] == own[name]
        for name in ("mean", "std", "skewness", "min", "max", "density"):
            want, got = own["stats"][name], columns[name][row]
            assert got is None if want is None else abs(got - want) <= 5e-4 * abs(want)
        shown = [t["text"] if len(t["text"]) <= 160 else t["text"][:160] + "…" for t in own["top_tokens"][:5]]
        assert columns["top_tokens"][row] == shown
        if columns["histogram_low"][row] is not None:
            assert columns["histogram_low"][row] <= own["stats"]["min"] * (1 - 5e-4)
            assert columns["histogram_high"][row] >= own["stats"]["max"] * (1 - 5e-4)


def test_columns_hold_the_numbers_of_the_rows(book: Book) -> None:
    columns, head = table(book), explorer_shard(book)
    assert {"density", "max", "peak", "max_write"} <= set(head["numbers"])
    for name in head["numbers"]:
        assert column_shard(book, name)["values"] == columns[name]


def test_a_snippet_is_the_strongest_example(book: Book) -> None:
    columns = table(book)
    for row, index in enumerate(book.published):
        snippet = columns["snippet"][row]
        examples = book.summary.examples.of(index)
        ends = [i for i, g in enumerate(book.summary.groups) if g in ("top", "bottom")]
        values = np.abs(examples["value"][np.isin(examples["group"], ends)])
        if book.is_dead(index) or not len(values):
            assert snippet is None
            continue
        assert abs(abs(snippet["value"]) - values.max()) <= 5e-4 * values.max()


def test_labels_stars_and_scores_are_in_the_table(run: tuple[Corpus, Summary]) -> None:
    label = Label(
        id="sae/1", polarity="positive", text="sums", author="Ada", source="human", date="2026-01-02", score=0.5,
        starred=True,
    )  # fmt: skip
    book = open_book(toy_config(), *run, Labels([label]))
    columns = table(book)
    row = columns["id"].index("sae/1")
    assert (columns["label"][row], columns["author"][row], columns["score"][row]) == ("sums", "Ada", 0.5)
    assert columns["is_labelled"][row] == columns["is_starred"][row] == 1
    assert sum(columns["is_labelled"]) == sum(columns["is_starred"]) == 1
    assert "score" in explorer_shard(book)["numbers"]
    assert "score" not in explorer_shard(open_book(toy_config(), *run))["numbers"], "nobody measured one"


def test_full_lists_of_examples_are_told_apart(run: tuple[Corpus, Summary]) -> None:
    book = open_book(toy_config(), *run)
    columns = table(book)
    top = book.summary.groups.index("top")
    held = [int((book.summary.examples.of(i)["group"] == top).sum()) for i in book.published]
    assert columns["is_whole"] == [int(n >= book.summary.settings["k"]) for n in held]
    assert len(set(columns["is_whole"])) == 2


def test_a_thumbnail_keeps_heights_of_log_counts() -> None:
    counts = [0, 1, 9, 99, 9999]
    heights = [ALPHABET.index(char) for char in levels(counts)]
    assert heights[0] == 0 and heights[-1] == 24
    for count, height in zip(counts, heights):
        assert 0 <= height - 24 * math.log1p(count) / math.log1p(9999) < 1
    assert levels([]) == "" and levels([0, 0]) == "00"


def test_thumbnails_have_few_bins_and_keep_the_signs_apart(book: Book) -> None:
    for index in range(len(book.summary.channels)):
        counts, low, high = thumbnail(book, index)
        assert low is not None and high is not None and 1 <= len(counts) <= THUMBNAIL_BINS
        width = (high - low) / len(counts)
        assert abs(low / width - round(low / width)) < 1e-9, "zero is an edge"
        fine = book.summary.histogram.of(index)["count"]
        first, step = book.summary.histogram_first[index], book.summary.histogram_step[index]
        edges = (first + np.arange(len(fine))) * step
        below = sum(c for i, c in enumerate(counts) if low + i * width < 0)
        assert below == fine[edges < 0].sum()


@pytest.mark.parametrize(
    ("first", "n"), [(-50, 100), (-3, 100), (0, 100), (-100, 100), (17, 83), (-1, 33), (-16, 32)]
)
def test_a_long_histogram_is_shortened_without_mixing_the_signs(
    run: tuple[Corpus, Summary], first: int, n: int
) -> None:
    corpus, summary = run
    fine = np.arange(1, n + 1)
    n_channels = len(summary.channels)
    long = replace(
        summary,
        histogram=ragged([{"count": fine}] * n_channels),
        histogram_first=np.full(n_channels, first),
        histogram_step=np.full(n_channels, 0.25),
    )
    counts, low, high = thumbnail(open_book(toy_config(), corpus, long), 0)
    assert low is not None and high is not None
    assert min(n, 12) <= len(counts) <= THUMBNAIL_BINS
    assert sum(counts) == fine.sum()
    assert low <= first * 0.25 and (first + n) * 0.25 <= high
    width = (high - low) / len(counts)
    below = [c for i, c in enumerate(counts) if low + (i + 0.5) * width < 0]
    assert sum(below) == fine[: max(0, -first)].sum()
