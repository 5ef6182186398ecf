"""Closed-form values of docs/metrics, streamed = one-shot, and inputs for which there is no value."""

import numpy as np
import pytest
import torch

from generator.measure.analyze.geometry import (
    Cloud,
    LayerGeometry,
    MeanCosine,
    curves,
    histogram_entropy,
    usage_entropies,
)
from generator.measure.analyze.sample import choose_tokens
from generator.measure.analyze.spectrum import (
    effective_rank,
    effective_rank_eigen,
    participation_ratio,
    participation_ratio_corrected,
    pca_dimension,
)
from generator.measure.analyze.values import Curve, correlations, defined, normalised, undefined

torch.set_num_threads(1)
N = 1000


def orthogonal_cloud(sigma: list[float]) -> torch.Tensor:
    """A centred cloud whose singular values are ``sigma``, with ``len(sigma) + 2`` columns."""
    d = len(sigma)
    points = np.zeros((2 * d, d + 2))
    for k, s in enumerate(sigma):
        points[2 * k, k], points[2 * k + 1, k] = s / np.sqrt(2), -s / np.sqrt(2)
    return torch.from_numpy(points).float()


def gaussian(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d))).float()


@pytest.mark.parametrize(
    "sigma, expected",
    [([1.0] * 7, 7), ([3.0], 1), ([2.0, 1.0, 1.0], 2**1.5), ([2.0, 1.0], 1.88988157)],
)
def test_effective_rank_is_on_singular_values(sigma: list[float], expected: float):
    assert effective_rank(np.square(sigma), N).value == pytest.approx(expected, rel=1e-8)


def test_effective_rank_on_eigenvalues_is_another_metric():
    assert effective_rank_eigen(np.array([4.0, 1.0]), N).value == pytest.approx(1.64938489, rel=1e-8)


@pytest.mark.parametrize(
    "eigenvalues, expected", [([1.0] * 9, 9), ([4.0, 1.0], 25 / 17), ([2.0, 1.0, 1.0], 8 / 3)]
)
def test_participation_ratio_is_on_eigenvalues(eigenvalues: list[float], expected: float):
    assert participation_ratio(np.array(eigenvalues), N).value == pytest.approx(expected)


@pytest.mark.parametrize("d", [20, 40, 60, 80, 100, 200, 400, 1000])
def test_pca_dimension_of_equal_eigenvalues_is_exact(d: int):
    exact = -(-95 * d // 100)
    for scale in (1.0, 1 / 3, 0.1):
        assert pca_dimension(np.full(d, scale), N).value == exact


def test_pca_dimension_at_and_around_the_threshold():
    assert pca_dimension(np.array([94.0, 5, 1]), N).value == 2
    assert pca_dimension(np.array([95.0, 4, 1]), N).value == 1
    assert pca_dimension(np.array([94.0, 5, 1]), N, threshold=0.999).value == 3


def test_a_clouds_metrics_are_those_of_its_covariance():
    cloud = Cloud(4)
    cloud.add(orthogonal_cloud([2.0, 1.0]) + 100)  # a shift changes nothing: the covariance is centred
    found = cloud.result()
    assert found["effective_rank"].value == pytest.approx(1.88988157, abs=1e-4)
    assert found["effective_rank_eigen"].value == pytest.approx(1.64938489, abs=1e-4)
    assert found["participation_ratio"].value == pytest.approx(25 / 17, abs=1e-4)
    assert found["effective_rank"].n == 4


def test_bias_of_the_participation_ratio_and_its_correction():
    cloud = Cloud(256)
    cloud.add(gaussian(256, 256))
    found = cloud.result()
    assert found["participation_ratio"].value == pytest.approx(127.5, rel=0.03)
    assert found["participation_ratio_corrected"].value == pytest.approx(256, rel=0.05)
    assert curves([_layer(gaussian(256, 256))], point="residual", exclusions="none")[0].method["warning"]


def test_correction_is_unbiased_over_many_small_samples():
    ratios = []
    for seed in range(200):
        covariance = np.cov(gaussian(12, 6, seed).numpy().T)
        scaled = np.linalg.eigvalsh(covariance)[::-1]
        ratios.append(participation_ratio_corrected(scaled, 12).value)
    plain = [
        participation_ratio(np.linalg.eigvalsh(np.cov(gaussian(12, 6, s).numpy().T)), 12).value
        for s in range(200)
    ]
    assert np.mean(plain) < 4.6 < 5.4 < np.median(ratios) < 6.8


def test_streamed_is_one_shot_in_any_split_and_order():
    hidden = gaussian(997, 24) * torch.logspace(0, 3, 24) + 50
    whole = Cloud(24)
    whole.add(hidden)
    merged = Cloud(24)
    for part in reversed(hidden.split(101)):
        piece = Cloud(24)
        for rows in part.split(7):
            piece.add(rows)
        merged.merge(piece)
    for name, value in whole.result().items():
        assert merged.result()[name].value == pytest.approx(value.value, rel=1e-9), name
    expected = np.cov(hidden.double().numpy().T)
    np.testing.assert_allclose(merged.eigenvalues(), np.linalg.eigvalsh(expected)[::-1], rtol=1e-6)


def test_bfloat16_with_a_mean_offset_keeps_its_rank():
    hidden = (gaussian(600, 16) + 50).bfloat16()
    cloud, exact = Cloud(16), np.cov(hidden.double().numpy().T)
    cloud.add(hidden)
    assert cloud.result()["effective_rank"].value == pytest.approx(
        effective_rank(np.linalg.eigvalsh(exact)[::-1].clip(0), 600).value, rel=1e-9
    )


@pytest.mark.parametrize(
    "vectors, expected",
    [
        ([[1.0, 2.0]] * 5, 1),
        (np.eye(6).tolist(), 0),
        ([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], -1 / 3),
        ([[1.0, 0], [-1, 0], [0, 1], [0, -1]], -1 / 3),
    ],
)
def test_anisotropy(vectors: list[list[float]], expected: float):
    hidden = torch.tensor(vectors)
    cloud = Cloud(hidden.shape[1])
    cloud.add(hidden)
    assert cloud.result()["anisotropy"].value == pytest.approx(expected, abs=1e-7)


def test_usage_entropy():
    one_hot = torch.zeros(16)
    one_hot[3] = -2
    half = torch.zeros(16)
    half[::2] = 5
    found = usage_entropies(torch.stack([torch.ones(16), one_hot, half]))
    np.testing.assert_allclose(found.numpy(), [1, 0, 0.75], atol=1e-6)


def test_histogram_entropy_in_bits():
    edges = np.array([0.0, 1, 2, 3, 4])
    assert histogram_entropy(np.array([0.5, 1.5, 2.5, 3.5]), edges).value == pytest.approx(2)
    assert histogram_entropy(np.full(5, 0.5), edges).value == 0
    assert histogram_entropy(np.array([np.nan]), edges).reason


def test_cosine_to_the_input_is_token_by_token():
    first = gaussian(50, 8)
    layer = LayerGeometry(8)
    layer.add(first * torch.linspace(0.1, 9, 50)[:, None], first=first, previous=-first)
    assert layer.result()["cosine_to_input"].value == pytest.approx(1, abs=1e-6)
    assert layer.result()["cosine_to_previous"].value == pytest.approx(-1, abs=1e-6)
    against_mean = torch.cosine_similarity(first, first.mean(0, keepdim=True)).mean()
    assert abs(float(against_mean)) < 0.5  # what comparing with one mean vector would have said


def test_one_massive_position_is_seen_with_and_without():
    hidden = gaussian(400, 16)
    hidden[0] *= 1000
    is_ordinary = torch.arange(400) > 0
    layer = LayerGeometry(16)
    layer.add(hidden, is_ordinary)
    assert layer.result("all")["effective_rank"].value < 2
    assert layer.result("ordinary")["effective_rank"].value > 15
    both = Cloud(16)
    both.add(hidden)
    assert layer.result("all")["effective_rank"].value == pytest.approx(
        both.result()["effective_rank"].value, rel=1e-9
    )


def test_no_value_is_ever_nan():
    for hidden in (
        torch.zeros(0, 4),
        torch.ones(1, 4),
        torch.full((5, 4), 0.1),
        torch.full((3, 4), torch.nan),
    ):
        cloud = Cloud(4)
        cloud.add(hidden)
        for value in cloud.result().values():
            assert (value.value is None) == bool(value.reason)
            assert value.value is None or np.isfinite(value.value)
    one = Cloud(4)
    one.add(torch.ones(1, 4))
    assert one.result()["effective_rank"] == undefined("n = 1", 1)
    constant = Cloud(4)
    for _ in range(3):
        constant.add(torch.full((7, 4), 0.1))
    assert constant.result()["participation_ratio"].reason == "undefined (all vectors are equal)"
    assert MeanCosine().result().reason


def test_non_finite_vectors_are_left_out_and_counted():
    hidden = gaussian(20, 4)
    cloud, clean = Cloud(4), Cloud(4)
    cloud.add(torch.cat([hidden, torch.full((2, 4), torch.inf)]))
    clean.add(hidden)
    assert cloud.n == 20 and cloud.n_nonfinite == 2
    assert cloud.result() == clean.result()


def _layer(hidden: torch.Tensor) -> LayerGeometry:
    layer = LayerGeometry(hidden.shape[1])
    layer.add(hidden)
    return layer


def test_curves_name_their_method_and_never_leave_the_first_layer_undefined_silently():
    layers = [_layer(gaussian(200, 8)), _layer(2 * gaussian(200, 8))]
    by_name = {
        (c.metric, c.method["positions"]): c
        for c in curves(layers, point="residual", exclusions="first position")
    }
    growth = by_name["norm_growth", "all"]
    assert growth.values[0].reason and growth.values[1].value == pytest.approx(2)
    assert by_name["effective_rank", "without first position"].method["point"] == "residual"
    assert "warning" not in by_name["effective_rank", "all"].method


def test_metric_correlations_and_scaling():
    rising, falling = [
        Curve(name, [defined(s * i, 9) for i in range(5)]) for name, s in (("a", 1.0), ("b", -2.0))
    ]
    flat = Curve("c", [defined(1.0, 9)] * 5)
    matrix = correlations([rising, falling, flat]).values
    assert matrix[0][1].value == pytest.approx(-1) and matrix[0][2].reason
    assert [v.value for v in normalised(rising).values] == [0, 0.25, 0.5, 0.75, 1]
    assert all(v.reason for v in normalised(flat).values)


def test_the_sample_depends_on_the_tokens_alone():
    doc, position = np.repeat(np.arange(10), 50), np.tile(np.arange(50), 10)
    is_ordinary = position > 0
    chosen = choose_tokens(doc, position, is_ordinary, 64)
    assert len(chosen) == 64 and (np.diff(chosen) > 0).all() and is_ordinary[chosen].all()
    order = np.random.default_rng(0).permutation(500)
    again = order[choose_tokens(doc[order], position[order], is_ordinary[order], 64)]
    assert set(again) == set(chosen)
    assert set(choose_tokens(doc, position, is_ordinary, 64, seed=1)) != set(chosen)
    assert len(choose_tokens(doc, position, is_ordinary, 10_000)) == is_ordinary.sum()
