"""Samples by hash: what brute force gives, whatever the split; and the hash is fair."""

import numpy as np
import pytest

from generator.config import SummarizeTable
from generator.summarize import finish
from generator.summarize.hashing import channel_multiplier, token_hash
from generator.summarize.samples import INNER_FACTOR, N_SIDE, N_STRATA, reference_codes, strata_of
from generator.summarize.view import Scope

from .oracle import accumulate, kept, toy_channels, toy_corpus
from .test_extremes import VALUES


def hashes_of(corpus, channels, seed=0):
    tokens = token_hash(seed, corpus.doc, corpus.position)
    return tokens[:, None] * channel_multiplier(seed, [c.id for c in channels])


def counts_as(corpus, values, channel):
    measured = corpus.is_measured & np.isfinite(values)
    return measured & (values != 0 if channel.is_signed else np.abs(values) > channel.threshold)


@pytest.mark.parametrize("make", VALUES)
@pytest.mark.parametrize("signed", [True, False])
def test_samples_equal_brute_force(make, signed):
    corpus = toy_corpus([0, 30, 1, 200, 77, 5, 120, 64], excluded=0.2)
    rng = np.random.default_rng(8)
    values = make(rng, (corpus.n_tokens, 3)).astype(np.float32)
    channels = toy_channels(3, signed=signed)
    settings = SummarizeTable(random=7, per_band=2, context=2)
    drawn = hashes_of(corpus, channels).astype(np.int64)
    every = list(range(corpus.n_docs))
    for cuts, merge_seed in ((None, None), (every, None), (every, 3)):
        samples = accumulate(
            values, corpus, channels, settings, cuts=cuts, merge_seed=merge_seed, only=("samples",)
        ).statistics["samples"]
        random, strata = samples.random(), samples.strata()
        base = reference_codes(samples.scope)
        for c, channel in enumerate(channels):
            counted = np.flatnonzero(counts_as(corpus, values[:, c], channel))
            want = counted[np.argsort(-drawn[counted, c])][:7]
            assert random.token[random.channel == c].tolist() == want.tolist()
            assert brute_strata(values[:, c], counted, drawn[:, c], base[c], settings, signed) == sorted(
                strata.token[strata.channel == c].tolist()
            )


def brute_strata(values, counted, drawn, base, settings, signed):
    counted = counted[(values[counted] != 0) & (signed | (values[counted] > 0))]
    stratum = strata_of(values[counted], np.full(len(counted), base))
    chosen = []
    for s in range(N_STRATA):
        rows = counted[stratum == s]
        limit = settings.per_band * (INNER_FACTOR if s % N_SIDE == 0 else 1)
        chosen += rows[np.argsort(drawn[rows])][:limit].tolist()
    return sorted(chosen)


def test_strata_grow_with_the_magnitude_and_separate_signs():
    sizes = np.ldexp(1.0, np.arange(-20, 20)).astype(np.float32)
    scope = Scope(toy_channels(1), toy_corpus([1]), SummarizeTable(), 0)
    base = np.full(len(sizes), reference_codes(scope)[0])
    positive, negative = strata_of(sizes, base), strata_of(-sizes, base)
    assert (np.diff(positive) >= 0).all()
    assert positive.max() == N_SIDE - 1
    assert (negative == positive + N_SIDE).all()


def test_bands_partition_each_sign_and_hold_their_examples():
    rng = np.random.default_rng(9)
    corpus = toy_corpus([50] * 60, excluded=0.1)
    values = (rng.standard_normal((3000, 3)) ** 3).astype(np.float32)
    values[:, 2] = np.round(values[:, 2])  # many zeros, many ties
    settings = SummarizeTable(bands=[0.0, 0.5, 0.9, 0.99], per_band=3)
    summary = finish(accumulate(values, corpus, toy_channels(3), settings), [], {})
    names = [g for g in summary.groups if g.startswith("band:")]
    assert names[:4] == ["band:+99-100", "band:+90-99", "band:+50-90", "band:+0-50"]
    for c in range(3):
        left = np.array(kept(values[:, c], corpus))
        for sign in "+-":
            rows = [i for i, n in enumerate(names) if n[5] == sign]
            assert summary.bands["count"][c, rows].sum() == (left > 0 if sign == "+" else left < 0).sum()
        examples = summary.examples.of(c)
        for i, name in enumerate(names):
            low, high, count = (summary.bands[key][c, i] for key in ("low", "high", "count"))
            inside = (
                (low <= left) & (left < high) & (left > 0)
                if name[5] == "+"
                else (low < left) & (left <= high) & (left < 0)
            )
            inside |= left == (high if name == names[0] else low if name == names[4] else np.nan)
            assert inside.sum() == count, name
            mine = examples["group"] == summary.groups.index(name)
            assert ((low <= examples["value"][mine]) & (examples["value"][mine] <= high)).all()
            assert len(set(examples["doc"][mine].tolist())) == mine.sum() <= 3
            assert mine.sum() or count < 40, name


def test_unsigned_channels_have_only_positive_groups():
    values = np.maximum(np.random.default_rng(1).standard_normal((400, 2)), 0).astype(np.float32)
    summary = finish(accumulate(values, toy_corpus([40] * 10), toy_channels(2, signed=False)), [], {})
    assert summary.groups[0] == "top"
    assert "bottom" not in summary.groups
    assert not any(name.startswith("band:-") for name in summary.groups)
    assert (summary.examples.columns["value"] > 0).all()
    assert len(summary.bottom_tokens.columns["mean"]) == 0


def test_other_seeds_and_channels_draw_other_tokens():
    corpus, values = toy_corpus([100] * 20), np.ones((2000, 2), np.float32)
    draws = []
    for seed in (0, 1):
        random = accumulate(values, corpus, toy_channels(2), seed=seed).statistics["samples"].random()
        draws += [frozenset(random.token[random.channel == c].tolist()) for c in range(2)]
    assert len(set(draws)) == 4
    assert max(len(a & b) for a in draws for b in draws if a is not b) <= 2


def test_the_hash_is_uniform():
    """χ² over 64 cells, for tokens of a channel and for pairs of channels; 1 in a million would exceed 130."""
    corpus = toy_corpus([500] * 40)
    drawn = hashes_of(corpus, toy_channels(4))
    for cells in (drawn >> 26, (drawn & 0xFFFF) >> 10):
        for column in cells.T:
            counts = np.bincount(column, minlength=64)
            assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 130
    pairs = (drawn[:, 0] >> 29) * 8 + (drawn[:, 1] >> 29)
    counts = np.bincount(pairs, minlength=64)
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 130
