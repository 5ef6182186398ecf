"""The explorer's columns."""

from dataclasses import replace

import numpy as np
import pytest

from generator.blocks import Corpus
from generator.publish.book import Book, open_book
from generator.publish.explorer import THUMBNAIL_BINS, thumbnail
from generator.summaries import Summary
from tests.publish.conftest import Publication
from tests.toy import ragged, toy_config


def test_every_channel_has_a_row(run: tuple[Corpus, Summary], publication: Publication) -> None:
    _, summary = run
    shard = publication.shard("explorer")
    assert sorted(shard["columns"]["id"]) == sorted(c.id for c in summary.channels)
    assert {len(column) for column in shard["columns"].values()} == {shard["n_channels"]}


def test_a_row_says_what_the_page_says(publication: Publication) -> None:
    columns = publication.shard("explorer")["columns"]
    for row, identifier in enumerate(columns["id"]):
        own = publication.shard(identifier)
        for name in ("layer", "module", "rank_index", "collection", "kind"):
            assert columns[name][row] == own[name]
        for name in ("mean", "std", "skewness", "min", "max", "density"):
            want, got = own["stats"][name], columns[name][row]
            assert got is None if want is None else abs(got - want) <= 5e-6 * abs(want)
        assert columns["top_tokens"][row] == [t["text"] for t in own["top_tokens"][:5]]
        assert sum(columns["histogram"][row]) == sum(own["histogram"]["counts"])
        assert columns["histogram_low"][row] <= own["stats"]["min"]
        assert columns["histogram_high"][row] >= own["stats"]["max"]


def test_thumbnails_have_few_bins_and_keep_the_signs_apart(book: Book) -> None:
    for index in range(len(book.summary.channels)):
        counts, low, high = thumbnail(book, index)
        assert low is not None and high is not None and 1 <= len(counts) <= THUMBNAIL_BINS
        width = (high - low) / len(counts)
        assert abs(low / width - round(low / width)) < 1e-9, "zero is an edge"
        fine = book.summary.histogram.of(index)["count"]
        edges = (book.summary.histogram_first[index] + np.arange(len(fine))) * book.summary.histogram_step[
            index
        ]
        assert (
            sum(c for c, i in zip(counts, range(len(counts))) if low + i * width < 0) == fine[edges < 0].sum()
        )


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
