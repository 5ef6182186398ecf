"""The map: neighbours stay neighbours, and the same input gives the same map."""

import numpy as np
import pytest

from generator.summarize import layout as layouts
from generator.summarize.layout import (
    FEWEST,
    METHOD_GRAPH,
    METHOD_PCA,
    dictionary_map,
    lay_out,
    nearest_rows,
)


def clusters(n: int = 300, n_clusters: int = 6, width: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Points about a few centres, and which centre each has."""
    random = np.random.default_rng(0)
    label = random.integers(0, n_clusters, n)
    return random.standard_normal((n_clusters, width))[label] + 0.3 * random.standard_normal(
        (n, width)
    ), label


def test_what_is_alike_lies_together() -> None:
    vectors, label = clusters()
    layout = lay_out(vectors)
    gaps = ((layout.places[:, None] - layout.places) ** 2).sum(axis=-1)
    nearest = np.argsort(gaps, axis=1)[:, 1:11]
    assert (label[nearest] == label[:, None]).mean() > 0.98
    assert layout.method == METHOD_GRAPH


def test_it_is_the_same_each_time_and_ignores_lengths() -> None:
    vectors, _ = clusters()
    first = lay_out(vectors).places
    np.testing.assert_array_equal(first, lay_out(vectors).places)
    np.testing.assert_allclose(first, lay_out(vectors * 8.0).places, atol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 3, FEWEST - 1, FEWEST, FEWEST + 5])
def test_places_fill_the_square(n: int) -> None:
    layout = lay_out(clusters(n)[0])
    assert layout.places.shape == (n, 2) and np.isfinite(layout.places).all()
    assert layout.places.min() == 0 and layout.places.max() == (1 if n > 1 else 0)
    assert layout.method == (METHOD_PCA if n < FEWEST else METHOD_GRAPH)


@pytest.mark.parametrize(
    "vectors",
    [
        np.zeros((60, 4)),
        np.ones((60, 4)),
        np.full((60, 4), np.nan),
        np.eye(60),
        np.random.default_rng(0).normal(size=(60, 1)),
        np.repeat(np.eye(3), 30, axis=0),
    ],
    ids=["zeros", "equal", "nan", "orthogonal", "one input", "duplicates"],
)
def test_degenerate_dictionaries_have_a_map(vectors: np.ndarray) -> None:
    assert np.isfinite(lay_out(vectors).places).all()


def test_the_nearest_rows_are_those_of_largest_cosine() -> None:
    vectors, _ = clusters(50)
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    indices, cosines = nearest_rows(unit, 5, block=7)
    products = unit @ unit.T
    np.fill_diagonal(products, -np.inf)
    np.testing.assert_allclose(cosines, -np.sort(-products, axis=1)[:, :5], atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(products, indices, axis=1), cosines, atol=1e-6)


def test_only_what_was_active_has_a_place() -> None:
    vectors, _ = clusters(60)
    share = np.where(np.arange(60) % 6 == 0, 0.0, 0.1)
    share[1] = np.nan  # of unknown density
    found = dictionary_map(vectors, share, seed=3)
    np.testing.assert_array_equal(found.channels, np.flatnonzero(np.arange(60) % 6))
    np.testing.assert_array_equal(found.places, lay_out(vectors[found.channels], 3).places)
    assert not len(dictionary_map(vectors, np.zeros(60), 0).places)


def test_wide_rows_get_the_same_principal_components(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, _ = clusters(40, n_clusters=3, width=200)
    exact = lay_out(vectors).places
    monkeypatch.setattr(layouts, "WIDEST", 100)
    np.testing.assert_allclose(lay_out(vectors).places, exact, atol=1e-3)
