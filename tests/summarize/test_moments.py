"""Moments against closed forms and exact sums."""

import math

import numpy as np
import pytest

from .oracle import accumulate, kept, toy_channels, toy_corpus


def exact(values: list[float]) -> dict[str, float]:
    """Population moments with exactly rounded sums."""
    n = len(values)
    mean = math.fsum(values) / n
    m2, m3, m4 = (math.fsum((v - mean) ** p for v in values) / n for p in (2, 3, 4))
    return {
        "mean": mean,
        "std": math.sqrt(m2),
        "skewness": m3 / m2**1.5,
        "kurtosis": m4 / m2**2 - 3,
        "min": min(values),
        "max": max(values),
    }


def of(values: np.ndarray, cuts=None, merge_seed=None, excluded=0.0, lengths=None):
    corpus = toy_corpus(lengths or [len(values)], excluded=excluded)
    accumulator = accumulate(
        values, corpus, toy_channels(values.shape[1]), cuts=cuts, merge_seed=merge_seed, only=("moments",)
    )
    return accumulator.statistics["moments"].result(), corpus


def test_closed_forms():
    two_point = np.array([[0.0], [0.0], [0.0], [1.0]])  # Bernoulli(1/4): skewness 2/√3, excess kurtosis −2/3
    result, _ = of(two_point)
    assert result["mean"][0] == 0.25
    assert result["std"][0] == pytest.approx(math.sqrt(3) / 4, rel=1e-15)
    assert result["skewness"][0] == pytest.approx(2 / math.sqrt(3), rel=1e-14)
    assert result["kurtosis"][0] == pytest.approx(-2 / 3, rel=1e-14)
    n = 1001
    uniform, _ = of(np.arange(n, dtype=np.float64)[:, None])
    assert uniform["std"][0] == pytest.approx(math.sqrt((n * n - 1) / 12), rel=1e-14)
    assert uniform["skewness"][0] == pytest.approx(0, abs=1e-12)
    assert uniform["kurtosis"][0] == pytest.approx(-1.2 * (n * n + 1) / (n * n - 1), rel=1e-13)


@pytest.mark.parametrize("shift", [0.0, 1e4, -3e6])
def test_any_split_agrees_with_exact_sums(shift):
    lengths = [5, 0, 100, 1, 1, 64, 30, 200]
    rng = np.random.default_rng(1)
    values = (rng.standard_normal((sum(lengths), 3)) ** 3 + shift).astype(np.float32)
    for cuts, merge_seed in ((None, None), (list(range(9)), None), (list(range(9)), 4), ([2, 5], 0)):
        result, corpus = of(values, cuts, merge_seed, excluded=0.2, lengths=lengths)
        for c in range(3):
            want = exact(kept(values[:, c], corpus))
            for name, value in want.items():
                assert result[name][c] == pytest.approx(value, rel=1e-12, abs=1e-12 * abs(shift) + 1e-12), (
                    name
                )


def test_merged_equals_one_shot():
    lengths = [50] * 20
    values = np.random.default_rng(2).standard_normal((1000, 4)).astype(np.float32)
    one, _ = of(values, lengths=lengths)
    for merge_seed in range(5):
        merged, _ = of(values, list(range(20)), merge_seed, lengths=lengths)
        for name, array in one.items():
            np.testing.assert_allclose(merged[name], array, rtol=1e-12, atol=1e-12, err_msg=name)


def test_non_finite_values_are_counted_and_left_out():
    values = np.array([[1.0, np.nan], [np.nan, np.nan], [3.0, np.inf], [-np.inf, -np.inf]])
    for cuts in (None, [1, 2, 3]):
        result, _ = of(values, cuts, 0 if cuts else None, lengths=[1, 1, 1, 1])
        assert result["n_tokens"].tolist() == [2, 0]
        assert result["n_nonfinite"].tolist() == [2, 4]
        assert result["mean"][0] == 2.0
        assert result["std"][0] == 1.0
        for name in ("mean", "std", "skewness", "kurtosis", "min", "max"):
            assert math.isnan(result[name][1]), name


@pytest.mark.parametrize("value", [0.0, 0.1, 1e30, -7.3])
def test_a_constant_channel_has_no_spread_and_undefined_shape(value):
    for cuts in (None, [3, 6]):
        result, _ = of(np.full((90, 1), value), cuts, 1 if cuts else None, lengths=[10] * 9)
        assert result["mean"][0] == np.float32(value)
        assert result["std"][0] == 0.0
        assert math.isnan(result["skewness"][0])
        assert math.isnan(result["kurtosis"][0])
