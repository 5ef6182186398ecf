"""The accumulator as a whole: merging, saving, errors, and that the docs name every statistic."""

from pathlib import Path

import numpy as np
import pytest

from generator.blocks import Block, Directions
from generator.config import SummarizeTable
from generator.errors import FeaturebookError
from generator.summaries import Summary
from generator.summarize import STATISTICS, Accumulator, finish

from .oracle import accumulate, toy_channels, toy_corpus
from .test_extremes import broken, normal

LENGTHS = [0, 30, 1, 200, 77, 5, 0, 120, 64, 3]
SUMS = ("mean", "std", "skewness", "kurtosis")


def summaries_agree(one: Summary, other: Summary) -> None:
    """Equal bit for bit, but for sums."""
    for name, array in one.statistics.items():
        if name in SUMS:
            np.testing.assert_allclose(other.statistics[name], array, rtol=1e-12, atol=1e-12)
        else:
            np.testing.assert_array_equal(other.statistics[name], array)
    for name in ("quantiles", "histogram_step", "histogram_first", "example_values"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("histogram", "examples"):
        a, b = getattr(one, name), getattr(other, name)
        np.testing.assert_array_equal(a.offsets, b.offsets)
        for column in a.columns:
            np.testing.assert_array_equal(a.columns[column], b.columns[column])
    for name, array in (one.bands | one.documents).items():
        np.testing.assert_array_equal((other.bands | other.documents)[name], array)


def directions():
    return [Directions("residual", "read", np.arange(3), np.random.default_rng(0).standard_normal((3, 5)))]


@pytest.mark.parametrize("make", [normal, broken])
def test_any_split_gives_the_same_summary(make):
    corpus = toy_corpus(LENGTHS, excluded=0.2)
    values = make(np.random.default_rng(0), (corpus.n_tokens, 3)).astype(np.float32)
    settings = SummarizeTable(documents=4, context=5)
    one = finish(accumulate(values, corpus, toy_channels(3), settings), directions(), {})
    for merge_seed in range(4):
        rng = np.random.default_rng(merge_seed)
        cuts = rng.integers(1, len(LENGTHS), 5).tolist()
        split = accumulate(values, corpus, toy_channels(3), settings, cuts=cuts, merge_seed=merge_seed)
        summaries_agree(one, finish(split, directions(), {}))


@pytest.mark.parametrize("make", [normal, broken])
def test_a_saved_accumulator_goes_on_where_it_was(make, tmp_path):
    corpus, channels, settings = (
        toy_corpus(LENGTHS, excluded=0.2),
        toy_channels(3),
        SummarizeTable(documents=5),
    )
    values = make(np.random.default_rng(1), (corpus.n_tokens, 3)).astype(np.float32)
    bounds = corpus.doc_offsets[[0, 4, 7, 10]].tolist()
    blocks = [Block(a, values[a:b], corpus.is_measured[a:b]) for a, b in zip(bounds, bounds[1:])]
    plain = Accumulator(channels, corpus, settings, 0)
    saved = Accumulator(channels, corpus, settings, 0)
    saved.save(tmp_path / "empty.h5")
    saved = Accumulator.load(tmp_path / "empty.h5", channels, corpus, settings, 0)
    for index, block in enumerate(blocks):
        plain.add(block)
        saved.add(block)
        saved.save(tmp_path / f"{index}.h5")
        saved = Accumulator.load(tmp_path / f"{index}.h5", channels, corpus, settings, 0)
    finish(plain, directions(), {"a": 1}).save(tmp_path / "plain.h5")
    finish(saved, directions(), {"a": 1}).save(tmp_path / "saved.h5")
    assert (tmp_path / "plain.h5").read_bytes() == (tmp_path / "saved.h5").read_bytes()
    summaries_agree(Summary.load(tmp_path / "plain.h5"), Summary.load(tmp_path / "saved.h5"))


def test_an_empty_run_has_a_summary(tmp_path):
    corpus = toy_corpus([0, 3, 0], excluded=1.0)
    summary = finish(accumulate(np.ones((3, 2)), corpus, toy_channels(2)), [], {})
    summary.save(tmp_path / "summary.h5")
    assert summary.statistics["n_tokens"].tolist() == [0, 0]
    assert np.isnan(summary.statistics["mean"]).all()
    assert len(summary.examples.columns["doc"]) == 0


def test_lists_can_be_switched_off():
    settings = SummarizeTable(random=0, per_band=0, documents=0, bands=[])
    corpus = toy_corpus([50] * 4)
    values = np.random.default_rng(0).standard_normal((200, 2)).astype(np.float32)
    summary = finish(accumulate(values, corpus, toy_channels(2), settings, cuts=[2], merge_seed=0), [], {})
    assert summary.groups == ["top", "bottom", "random"]
    assert set(summary.examples.columns["group"].tolist()) == {0, 1}
    assert len(summary.documents["doc"]) == 0


def test_documents_list_the_strongest_channels_of_every_token():
    corpus = toy_corpus(LENGTHS, excluded=0.3)
    values = broken(np.random.default_rng(2), (corpus.n_tokens, 11)).astype(np.float32)
    channels = toy_channels(11)
    summary = finish(accumulate(values, corpus, channels, cuts=[2, 5], merge_seed=1), [], {})
    documents = summary.documents
    assert documents["doc"].tolist() == [d for d, n in enumerate(LENGTHS) if n]
    for i, doc in enumerate(documents["doc"].tolist()):
        rows = slice(*documents["offsets"][i : i + 2])
        for row, got, shown in zip(
            values[corpus.tokens_of(doc)], documents["channel"][rows], documents["value"][rows]
        ):
            finite = [c for c in range(11) if np.isfinite(row[c]) and row[c] != 0]
            want = sorted(finite, key=lambda c: (-abs(row[c]), c))[:8]
            assert got.tolist() == want + [-1] * (8 - len(want))
            assert shown[: len(want)].tolist() == row[want].tolist()


def test_documents_keep_within_the_cap():
    corpus = toy_corpus([1000] * 20)
    settings = SummarizeTable(document_megabytes=0.2)  # 3,125 tokens at 64 bytes
    values = np.ones((20_000, 1), np.float32)
    chosen = [
        finish(accumulate(values, corpus, toy_channels(1), settings, seed=seed), [], {})
        .documents["doc"]
        .tolist()
        for seed in (0, 1)
    ]
    assert [len(c) for c in chosen] == [3, 3]
    assert chosen[0] != chosen[1]


def test_errors_say_what_to_do(tmp_path):
    corpus, settings = toy_corpus([4]), SummarizeTable()
    with pytest.raises(FeaturebookError, match=r"has 3 channels, the run has 2.*--force"):
        Accumulator(toy_channels(2), corpus, settings, 0).add(
            Block(0, np.ones((4, 3), np.float32), corpus.is_measured)
        )
    for name, content in (("missing", None), ("damaged", b"not HDF5")):
        path = tmp_path / name
        if content:
            path.write_bytes(content)
        with pytest.raises(FeaturebookError, match=name):
            Accumulator.load(path, toy_channels(2), corpus, settings, 0)


def test_every_statistic_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text(encoding="utf-8")
    corpus = toy_corpus([4])
    summary = finish(accumulate(np.ones((4, 1)), corpus, toy_channels(1)), [], {})
    names = [*STATISTICS, *summary.statistics, *summary.profiles["token_class"].names]
    missing = [n for n in names if n not in text and n not in ("n_tokens",)]
    assert missing == []
