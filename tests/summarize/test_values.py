"""Values on shared documents: what went in, whatever the split, also through the file."""

from dataclasses import replace

import numpy as np
import pytest

from generator.config import SummarizeTable
from generator.summaries import Summary, join
from generator.summarize import finish

from .oracle import accumulate, toy_channels, toy_corpus

LENGTHS = [0, 30, 1, 200, 77, 5, 120, 64]


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("split", [(None, None), ([2, 5], 1), (list(range(8)), 3)])
def test_values_are_what_went_in(signed, split, tmp_path):
    corpus = toy_corpus(LENGTHS, excluded=0.2)
    rng = np.random.default_rng(4)
    values = rng.normal(0, 30, (corpus.n_tokens, 5)).astype(np.float32)
    values[rng.random(values.shape) < 0.7] = 0
    values[11, 2], values[12, 2] = np.nan, np.inf
    if not signed:
        values = np.maximum(values, 0)
    channels = [
        replace(c, reference_rms=10.0 * (i + 1)) for i, c in enumerate(toy_channels(5, signed=signed))
    ]
    settings = SummarizeTable(value_tokens=300)
    summary = finish(
        accumulate(values, corpus, channels, settings, cuts=split[0], merge_seed=split[1]), [], {}
    )
    summary.save(tmp_path / "summary.h5")
    (shared,) = Summary.load(tmp_path / "summary.h5").shared
    lengths = [LENGTHS[doc] for doc in shared.doc]
    assert 0 < sum(lengths) <= 300 and np.diff(shared.offsets).tolist() == lengths
    assert set(shared.doc.tolist()) <= set(summary.documents["doc"].tolist())
    rows = np.concatenate([np.arange(*corpus.doc_offsets[[doc, doc + 1]]) for doc in shared.doc])
    for channel in range(5):
        want = np.where(np.isfinite(values[rows, channel]), values[rows, channel], np.nan)
        np.testing.assert_allclose(shared.of(channel), want, rtol=6e-4)


def test_joined_summaries_keep_theirs_apart():
    corpus = toy_corpus([40, 30])
    values = np.random.default_rng(1).random((70, 3)).astype(np.float32)
    parts = [
        finish(accumulate(values, corpus, toy_channels(3, signed=signed)), [], {}) for signed in (True, False)
    ]
    both = join(parts)
    assert [shared.holds(4) for shared in both.shared] == [False, True]
    np.testing.assert_allclose(both.shared[1].of(4), values[:, 1], rtol=6e-4)


def test_none_are_kept_when_not_asked_for():
    corpus = toy_corpus([40])
    summary = finish(
        accumulate(np.ones((40, 1), np.float32), corpus, toy_channels(1), SummarizeTable(value_tokens=0)),
        [],
        {},
    )
    assert summary.shared == []
