"""Correlation, co-activation, cosines: against formulas written out."""

import math

import numpy as np
import pytest

from generator.blocks import Directions
from generator.config import SummarizeTable
from generator.summarize import finish
from generator.summarize.cosines import cosine_matrices, direction_neighbours
from generator.summarize.neighbours import nearest_by_product, nearest_in_rows

from .oracle import accumulate, toy_channels, toy_corpus, with_ids


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    both = np.isfinite(x) & np.isfinite(y)
    a, b = x[both].astype(float).tolist(), y[both].astype(float).tolist()
    ma, mb = math.fsum(a) / len(a), math.fsum(b) / len(b)
    cov = math.fsum((p - ma) * (q - mb) for p, q in zip(a, b))
    return cov / math.sqrt(math.fsum((p - ma) ** 2 for p in a) * math.fsum((q - mb) ** 2 for q in b))


def related(rng, n, c):
    source = rng.standard_normal((n, 3))
    return source @ rng.standard_normal((3, c)) + 0.5 * rng.standard_normal((n, c))


@pytest.mark.parametrize("offset", [0.0, 3000.0])
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("split", [(None, None), ([1, 3], None), ([1, 2, 3], 7)])
def test_pairs_equal_the_formulas(offset, gaps, split):
    corpus = toy_corpus([80, 40, 150, 60], excluded=0.2)
    rng = np.random.default_rng(0)
    values = (related(rng, corpus.n_tokens, 6) + offset * np.arange(6)).astype(np.float32)
    if gaps:
        values[rng.random(values.shape) < 0.1] = np.nan
        values[100:130, 2] = np.inf
    accumulator = accumulate(
        values, corpus, toy_channels(6), cuts=split[0], merge_seed=split[1], only=("pairs",)
    )
    part = accumulator.statistics["pairs"].parts["lora"]
    r, jaccard, x = part.correlation(), part.coactivation(), values[corpus.is_measured]
    active = np.isfinite(x) & (np.abs(x) > 1)
    for i in range(6):
        for j in range(6):
            assert r[i, j] == pytest.approx(pearson(x[:, i], x[:, j]), abs=2e-6)
            both, either = (active[:, i] & active[:, j]).sum(), (active[:, i] | active[:, j]).sum()
            assert jaccard[i, j] == both / either


def test_neighbours_are_the_strongest_and_stay_in_their_collection():
    corpus = toy_corpus([100] * 5)
    values = related(np.random.default_rng(1), 500, 8).astype(np.float32)
    values[:, 3] = 2.0  # constant: correlates with nothing
    ids = [f"a/L{i}/up_proj" for i in range(5)] + [f"b/{i}" for i in range(3)]
    channels = with_ids(toy_channels(8), ids)
    summary = finish(accumulate(values, corpus, channels, SummarizeTable(neighbours=3)), [], {})
    lists = summary.neighbours["correlation"]
    for c in range(8):
        mates = [m for m in (range(5) if c < 5 else range(5, 8)) if m != c and 3 not in (m, c)]
        r = {m: pearson(values[:, c], values[:, m]) for m in mates}
        want = sorted(mates, key=lambda m: -abs(r[m]))[:3]
        assert lists.of(c)["channel"].tolist() == want
        assert lists.of(c)["value"] == pytest.approx([r[m] for m in want], abs=2e-6)


def test_large_collections_are_compared_on_sampled_tokens(monkeypatch):
    monkeypatch.setattr("generator.summarize.sampled.SAMPLE_ENTRIES", 0)
    corpus = toy_corpus([100] * 60)
    values = related(np.random.default_rng(2), 6000, 5).astype(np.float32)
    settings = SummarizeTable(exact_correlations=4)
    results = []
    for cuts, merge_seed in ((None, None), (list(range(0, 60, 7)), 3)):
        accumulator = accumulate(values, corpus, toy_channels(5), settings, cuts=cuts, merge_seed=merge_seed)
        results.append(finish(accumulator, [], {}))
    one, merged = results
    assert "4,096 tokens" in one.notes[0]
    for kind in ("correlation", "coactivation"):
        np.testing.assert_array_equal(one.neighbours[kind].offsets, merged.neighbours[kind].offsets)
        for name in ("channel", "value"):
            np.testing.assert_array_equal(
                one.neighbours[kind].columns[name], merged.neighbours[kind].columns[name]
            )
    for c in range(5):
        for m, value in zip(*one.neighbours["correlation"].of(c).values()):
            assert value == pytest.approx(pearson(values[:, c], values[:, m]), abs=0.05)


def directions(rng):
    return [
        Directions(
            "residual", "read", np.array([0, 1]), rng.standard_normal((2, 9)), rng.standard_normal((2, 9))
        ),
        Directions("residual", "write", np.array([2, 3]), rng.standard_normal((2, 9))),
        Directions("L0.mlp", "write", np.array([0, 1]), rng.standard_normal((2, 9))),
        Directions("L0.mlp", "read", np.array([2]), rng.standard_normal((1, 9))),
        Directions("L1.mlp", "write", np.array([4]), rng.standard_normal((1, 9))),
        Directions("L1.mlp", "read", np.array([3]), np.zeros((1, 9))),
    ]


def cosine(x, y):
    return float(x @ y / math.sqrt((x @ x) * (y @ y)))


def test_cosines_fold_the_gain_where_read_meets_write_and_never_cross_spaces():
    sets = directions(np.random.default_rng(3))
    matrices, notes = cosine_matrices(sets, toy_channels(5))
    assert notes == []
    assert [m.space for m in matrices] == ["residual", "L0.mlp", "L1.mlp"]
    residual = matrices[0]
    assert residual.members == [(0, "read"), (1, "read"), (2, "write"), (3, "write")]
    read, write = sets[0], sets[1]
    assert residual.values[0, 1] == pytest.approx(cosine(read.vectors[0], read.vectors[1]), abs=1e-6)
    assert residual.values[2, 3] == pytest.approx(cosine(write.vectors[0], write.vectors[1]), abs=1e-6)
    assert residual.values[0, 2] == pytest.approx(cosine(read.folded[0], write.vectors[0]), abs=1e-6)
    np.testing.assert_array_equal(residual.values, residual.values.T)
    np.testing.assert_array_equal(np.diag(residual.values), 1)
    assert np.isnan(matrices[2].values).any()  # a zero vector has no direction


def test_direction_neighbours():
    rng = np.random.default_rng(4)
    vectors = rng.standard_normal((6, 9))
    vectors[4] = -vectors[1]
    sets = [
        Directions("residual", "write", np.array([0, 1, 4]), vectors[[0, 1, 4]]),
        Directions("residual", "write", np.array([5]), vectors[[5]]),
        Directions("L0.mlp", "write", np.array([2, 3]), vectors[[1, 1]]),
    ]
    found = direction_neighbours(sets, "write", 2)
    of = {c: found.neighbour[found.channel == c].tolist() for c in range(6)}
    assert of[1][0] == 4
    assert found.value[(found.channel == 1) & (found.neighbour == 4)] == -1
    assert of[2] == [3]
    assert set(of[0]) | set(of[5]) <= {0, 1, 4, 5}
    assert direction_neighbours(sets, "read", 2).channel.tolist() == []


@pytest.mark.parametrize("tile", [1, 500, 1 << 22])
def test_float32_finds_the_neighbours_that_float64_orders(monkeypatch, tile):
    monkeypatch.setattr("generator.summarize.neighbours._TILE", tile)
    monkeypatch.setattr("generator.summarize.neighbours._PAIRS", 7)
    rng = np.random.default_rng(6)
    vectors = rng.standard_normal((60, 40))
    vectors[20:40] = vectors[0] + 1e-3 * rng.standard_normal((20, 40))  # float32 would not tell their order
    vectors[40:45] = -vectors[1]
    vectors[50], vectors[51] = 0, np.nan
    channel = rng.permutation(80)[:60]
    channel[59] = channel[58]  # two vectors of one channel: never each other's neighbours
    unit = vectors / np.where((norm := np.linalg.norm(vectors, axis=1, keepdims=True)) > 0, norm, np.nan)
    wanted = nearest_in_rows(unit @ unit.T, channel, channel, 5)
    found = nearest_by_product(unit, channel, 5)
    np.testing.assert_array_equal(found.channel, wanted.channel)
    np.testing.assert_array_equal(found.neighbour, wanted.neighbour)
    np.testing.assert_array_equal(found.value, wanted.value)
    assert len(nearest_by_product(unit, channel, 0).channel) == 0


def test_a_large_space_is_split_by_layer(monkeypatch):
    monkeypatch.setattr("generator.summarize.cosines.MOST_MEMBERS", 3)
    sets = directions(np.random.default_rng(5))
    channels = [c for i, c in enumerate(toy_channels(5))]
    matrices, notes = cosine_matrices([s for s in sets if s.space == "residual"], channels)
    assert matrices == []  # one direction per layer and space: nothing to compare within a layer
    assert "4 directions" in notes[0]
