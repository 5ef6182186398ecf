"""Debiased CKA and TwoNN: closed forms, invariances, biases, degenerate clouds."""

import numpy as np
import pytest

from generator.measure.analyze.similarity import debiased_cka, debiased_cka_matrix, linear_cka
from generator.measure.analyze.twonn import mle_dimension, neighbour_ratios, slope_dimension, twonn


def hadamard(n: int) -> np.ndarray:
    matrix = np.ones((1, 1))
    while len(matrix) < n:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


def test_cka_of_a_rotated_scaled_and_shifted_copy_is_one():
    random = np.random.default_rng(0)
    x = random.standard_normal((60, 5))
    rotation = np.linalg.qr(random.standard_normal((5, 5)))[0]
    for other in (x, x @ rotation, 3 * x + 5):
        assert linear_cka(x, other).value == pytest.approx(1)
        assert debiased_cka(x, other).value == pytest.approx(1)


def test_cka_of_hadamard_columns():
    columns = hadamard(8)[:, 1:]  # orthogonal, each of mean 0
    assert linear_cka(columns[:, :2], columns[:, 2:4]).value == pytest.approx(0, abs=1e-12)
    assert linear_cka(columns[:, :2], columns[:, 1:3]).value == pytest.approx(0.5)
    assert linear_cka(columns[:, :2], columns[:, 1:5]).value == pytest.approx(1 / np.sqrt(8))


def test_debiasing_takes_away_what_few_tokens_add():
    random = np.random.default_rng(1)
    x, y = random.standard_normal((2, 64, 1024))
    assert linear_cka(x, y).value == pytest.approx(0.94, abs=0.01)
    assert abs(debiased_cka(x, y).value) < 0.08


def test_debiased_cka_is_the_estimator_of_song_et_al():
    x, y = np.random.default_rng(2).standard_normal((2, 9, 3))

    def hsic(x: np.ndarray, y: np.ndarray) -> float:
        k, m, one = x @ x.T, y @ y.T, np.ones(len(x))
        np.fill_diagonal(k, 0)
        np.fill_diagonal(m, 0)
        n = len(x)
        middle = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
        return (np.trace(k @ m) + middle - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))

    expected = hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))
    assert debiased_cka(x, y).value == pytest.approx(expected)


def test_cka_without_a_value():
    assert debiased_cka(np.ones((3, 2)), np.ones((3, 2))).reason.startswith("undefined (n = 3")
    assert debiased_cka(np.full((9, 2), 0.1), np.ones((9, 2))).reason == "undefined (all vectors are equal)"


def test_cka_matrix_is_symmetric_with_ones():
    layers = list(np.random.default_rng(3).standard_normal((3, 40, 6)))
    matrix = debiased_cka_matrix(layers, seed=0)
    found = np.array([[v.value for v in row] for row in matrix.values])
    np.testing.assert_allclose(np.diag(found), 1)
    np.testing.assert_array_equal(found, found.T)
    assert matrix.method["n"] == 40


def test_twonn_on_three_points():
    ratios = neighbour_ratios(np.array([[0.0], [1], [3]]))
    np.testing.assert_allclose(ratios, [3, 2, 1.5])
    assert mle_dimension(ratios, is_biased=True).value == pytest.approx(3 / np.log(9))
    assert mle_dimension(ratios).value == pytest.approx(2 / np.log(9))


def test_twonn_estimators_on_exact_ratios():
    assert mle_dimension(np.full(11, np.e)).value == pytest.approx(10 / 11)
    quantiles = (1 - np.arange(1, 200) / 200) ** (-1 / 7)
    assert slope_dimension(np.append(quantiles, 1e9)).value == pytest.approx(7)


@pytest.mark.parametrize("d", [2, 4])
def test_twonn_finds_the_dimension_of_a_plane_in_space(d: int):
    random = np.random.default_rng(d)
    points = random.uniform(size=(1500, d)) @ random.standard_normal((d, 20))
    found = twonn(points)
    assert found.mle.value == pytest.approx(d, rel=0.1) and found.slope.value == pytest.approx(d, rel=0.1)


def test_twonn_leaves_duplicates_out():
    points = np.random.default_rng(5).standard_normal((100, 3))
    once, twice = twonn(points), twonn(np.concatenate([points, points[:30]]))
    assert twice.n_duplicates == 30 and twice.mle == once.mle
    for cloud in (np.ones((9, 2)), points[:2], points[:0]):
        assert twonn(cloud).mle.reason and twonn(cloud).slope.reason


def test_twonn_agrees_with_brute_force_far_from_the_origin():
    points = np.random.default_rng(6).standard_normal((80, 4)) + 1e6
    distances = np.sort(np.linalg.norm(points[:, None] - points[None], axis=2), axis=1)
    np.testing.assert_allclose(neighbour_ratios(points), distances[:, 2] / distances[:, 1], rtol=1e-12)
