"""The strongest channels of every token against loops over tokens, whatever the split."""

import numpy as np
import pytest

from generator.config import SummarizeTable
from generator.summaries import join
from generator.summarize import finish, firing

from .oracle import accumulate, toy_channels, toy_corpus
from .test_extremes import broken, normal
from .test_sparse import KINDS, both_summaries
from .test_tokens import LENGTHS

N = 12


def by_hand(values, corpus, limit, is_signed=True):
    """(token, sign) -> {channel: mean} of the strongest, and how many channels fire on each token."""
    found, n_firing = {}, np.zeros(len(corpus.token_bytes), int)
    for token in range(len(corpus.token_bytes)):
        ranked = []
        for c in range(values.shape[1]):
            counted = corpus.is_measured & np.isfinite(values[:, c])
            rms = np.sqrt(np.mean(values[counted, c].astype(float) ** 2)) if counted.any() else 0
            here = values[counted & (corpus.token_ids == token), c].astype(float)
            if len(here) and rms > 0 and here.mean() != 0:
                ranked.append((-abs(here.mean()) / rms, c, here.mean()))
        n_firing[token] = sum(strength <= -1 for strength, _, _ in ranked)
        for sign in (1, -1):
            kept = sorted(r for r in ranked if r[2] * sign > 0)[:limit]
            found[token, sign] = {c: mean for _, c, mean in kept}
    return found, n_firing


def check(by_token, want, n_firing):
    for (token, sign), expected in want.items():
        got = by_token.strongest.of(token)
        pairs = zip(got["channel"].tolist(), got["mean"].tolist())
        assert {c: m for c, m in pairs if m * sign > 0} == pytest.approx(expected, rel=1e-9)
    assert by_token.n_firing.tolist() == n_firing.tolist()


@pytest.mark.parametrize("waiting", [1, 40, 1 << 22])
@pytest.mark.parametrize("make", [normal, broken])
@pytest.mark.parametrize("limit", [1, 3, 48])
@pytest.mark.parametrize("split", [(None, None), ([1, 3, 4, 6], 5)])
def test_the_strongest_channels_of_every_token(monkeypatch, waiting, make, limit, split):
    monkeypatch.setattr(firing, "_WAITING", waiting)
    corpus = toy_corpus(LENGTHS, excluded=0.2)
    random = np.random.default_rng(4)
    values = (make(random, (corpus.n_tokens, N)) * 2.0 ** random.integers(-6, 6, N)).astype(np.float32)
    values[:, 2] = 0
    values[corpus.token_ids == 3, 5:8] *= 9
    values[corpus.token_ids == 3, 5:8] += values[:, 5:8][np.isfinite(values[:, 5:8])].max()
    settings = SummarizeTable(token_channels=limit, min_count=20)
    summary = finish(
        accumulate(values, corpus, toy_channels(N), settings, cuts=split[0], merge_seed=split[1]), [], {}
    )
    check(summary.by_token, *by_hand(values, corpus, limit))
    assert summary.by_token.n_firing[3] >= 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cuts", [(), (1, 2, 4, 5, 6, 9)], ids=len)
def test_sparse_blocks_give_what_dense_blocks_give(kind, cuts):
    one, other = (summary.by_token for summary in both_summaries(kind, cuts))
    assert one.n_firing.tolist() == other.n_firing.tolist() and len(one.strongest.columns["mean"])
    np.testing.assert_array_equal(one.strongest.offsets, other.strongest.offsets)
    np.testing.assert_array_equal(one.strongest.columns["channel"], other.strongest.columns["channel"])
    np.testing.assert_allclose(one.strongest.columns["mean"], other.strongest.columns["mean"], rtol=1e-9)


def test_equally_strong_channels_are_kept_in_the_order_of_the_table():
    corpus = toy_corpus([60])
    values = np.tile(np.random.default_rng(0).integers(1, 4, (60, 1)), 6) * 2.0 ** np.arange(6)
    settings = SummarizeTable(token_channels=4)
    strongest = finish(accumulate(values, corpus, toy_channels(6), settings), [], {}).by_token.strongest
    for token in np.unique(corpus.token_ids[corpus.is_measured]).tolist():
        assert sorted(strongest.of(token)["channel"].tolist()) == [0, 1, 2, 3]


def test_joined_collections_keep_the_strongest_of_each():
    corpus = toy_corpus(LENGTHS, excluded=0.2)
    values = np.random.default_rng(1).standard_normal((corpus.n_tokens, 7)).astype(np.float32)
    settings = SummarizeTable(token_channels=2)
    parts = [values[:, :3], values[:, 3:]]
    summaries = [
        finish(accumulate(part, corpus, toy_channels(part.shape[1]), settings), [], {}) for part in parts
    ]
    (first, n_first), (second, n_second) = (by_hand(part, corpus, 2) for part in parts)
    want = {key: first[key] | {c + 3: mean for c, mean in second[key].items()} for key in first}
    check(join(summaries).by_token, want, n_first + n_second)


def test_no_strength_exceeds_that_of_a_detector_of_the_token():
    """|mean| / RMS ≤ 1 / √share, and a channel that fires on one token alone, equally, reaches it."""
    corpus = toy_corpus([500])
    token = int(corpus.token_ids[0])
    values = np.random.default_rng(2).standard_normal((500, 2))
    values[:, 1] = 3.0 * (corpus.token_ids == token)
    summary = finish(accumulate(values, corpus, toy_channels(2), SummarizeTable()), [], {})
    rms = np.hypot(summary.statistics["mean"], summary.statistics["std"])
    for entry in range(len(corpus.token_bytes)):
        share = np.mean(corpus.token_ids[corpus.is_measured] == entry)
        found = summary.by_token.strongest.of(entry)
        strength = np.abs(found["mean"]) / rms[found["channel"]]
        assert (strength <= 1 / np.sqrt(share) + 1e-9).all()
        if entry == token:
            assert strength[found["channel"] == 1] == pytest.approx(1 / np.sqrt(share))
