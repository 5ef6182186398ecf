"""Bins, the histogram that is shown, and quantiles, against plain counting."""

import math

import numpy as np
import pytest

from generator.summarize.histogram import (
    LAST,
    LOWEST_EXPONENT,
    MAX_BINS,
    PER_OCTAVE,
    codes_of,
    low_edges,
    signed_edges,
)

from .oracle import accumulate, kept, toy_channels, toy_corpus
from .test_extremes import VALUES


def counts_of(values, corpus, cuts=None, merge_seed=None):
    accumulator = accumulate(
        values, corpus, toy_channels(values.shape[1]), cuts=cuts, merge_seed=merge_seed, only=("histogram",)
    )
    return accumulator.statistics["histogram"].result()


def plain_bin(value: float, step: float) -> int:
    """Bin i spans i·step to (i + 1)·step; negative values mirror the positive ones."""
    return math.floor(value / step) if value >= 0 else -math.floor(-value / step) - 1


def test_bins_hold_their_values_and_are_a_64th_wide():
    rng = np.random.default_rng(0)
    size = np.ldexp(1 + rng.random(20_000), rng.integers(LOWEST_EXPONENT, 34, 20_000))
    values = (size * rng.choice([-1, 1], 20_000)).astype(np.float32)
    low, high = signed_edges(codes_of(values))
    inside = np.where(values > 0, (low <= values) & (values < high), (low < values) & (values <= high))
    assert inside.all()
    assert ((high - low) * PER_OCTAVE <= np.abs(values)).all()


def test_bins_at_the_ends_of_the_range():
    tiny, huge = np.float32(2.0**LOWEST_EXPONENT), np.float32(2.0**34)
    values = np.array(
        [0.0, -0.0, 1e-45, -1e-45, np.nextafter(tiny, np.float32(0)), tiny, huge, 3e38, -3e38], np.float32
    )
    assert codes_of(values).tolist() == [0, 0, 1, -1, 1, 2, LAST, LAST, -LAST]
    assert low_edges(np.array([0, 1, 2, 2 + PER_OCTAVE])).tolist() == [0, 0, float(tiny), 2 * float(tiny)]


@pytest.mark.parametrize("make", [*VALUES, "mixed scales", "far from zero"])
def test_shown_histogram_is_exact(make):
    corpus = toy_corpus([100] * 6, excluded=0.1)
    rng = np.random.default_rng(5)
    if make == "mixed scales":
        values = rng.standard_normal((600, 4)) * 10.0 ** rng.integers(-6, 6, (600, 4))
    elif make == "far from zero":
        values = 1000 + rng.standard_normal((600, 4))
    else:
        values = make(rng, (600, 4))
    values = values.astype(np.float32)
    one = counts_of(values, corpus)
    merged = counts_of(values, corpus, [1, 3, 4], 2)
    np.testing.assert_array_equal(one.code, merged.code)
    np.testing.assert_array_equal(one.count, merged.count)
    shown = one.shown()
    for c in range(4):
        left, step = kept(values[:, c], corpus), float(shown.step[c])
        count = shown.count[shown.offsets[c] : shown.offsets[c + 1]]
        assert len(count) <= MAX_BINS
        assert count.sum() == len(left)
        assert math.log2(step) % 1 == 0
        bins = [plain_bin(v, step) for v in left]
        want = {b: bins.count(b) for b in set(bins)}
        got = {int(shown.first[c]) + i: int(n) for i, n in enumerate(count) if n}
        assert got == want
        assert (one.positive()[c], one.negative()[c]) == (sum(v > 0 for v in left), sum(v < 0 for v in left))


def test_shown_step_is_the_smallest_that_is_allowed():
    """With half the step there are more than 100 bins, or edges that are none of the fine bins."""
    rng = np.random.default_rng(6)
    corpus = toy_corpus([500])
    for scale in (1e-3, 1.0, 77.0, 1e6):
        values = (scale * rng.standard_normal((500, 1))).astype(np.float32)
        step = float(counts_of(values, corpus).shown().step[0])
        largest = float(np.abs(values).max())
        n_bins = len({plain_bin(float(v), step / 2) for v in (values.min(), values.max())})
        span = plain_bin(float(values.max()), step / 2) - plain_bin(float(values.min()), step / 2) + 1
        assert n_bins == 2
        assert span > MAX_BINS or step / 2 < 2.0 ** (math.frexp(largest)[1] - 1) / PER_OCTAVE


def test_quantiles_are_within_the_stated_error():
    levels = np.array([0.001, 0.05, 0.1, 0.5, 0.9, 0.999, 1.0])
    for make in VALUES:
        rng = np.random.default_rng(7)
        corpus = toy_corpus([40] * 30, excluded=0.2)
        values = make(rng, (1200, 3)).astype(np.float32)
        counts = counts_of(values, corpus)
        lows, highs = (
            np.array([f(kept(values[:, c], corpus) or [np.nan]) for c in range(3)]) for f in (min, max)
        )
        got = counts.quantiles(levels, lows, highs)
        for c in range(3):
            left = sorted(kept(values[:, c], corpus))
            if not left:
                assert np.isnan(got[c]).all()
                continue
            for level, estimate in zip(levels, got[c]):
                true = left[max(math.ceil(level * len(left)), 1) - 1]
                assert abs(estimate - true) <= max(abs(true) / PER_OCTAVE, 2.0**LOWEST_EXPONENT), (
                    make,
                    level,
                )
