"""Closed-form heads, streams over documents, the map of heads."""

from math import factorial, log

import numpy as np
import pytest
import torch

from generator.blocks import Corpus
from generator.errors import FeaturebookError
from generator.measure.analyze import attention
from generator.measure.analyze.anatomy import adapter_off, eager, study
from generator.measure.analyze.clusters import k_means, map_heads, project, standardised
from generator.measure.analyze.heads import (
    HeadScores,
    HeadSettings,
    attending,
    check_attention,
    measure_heads,
    prompt_attention,
)
from generator.measure.analyze.values import Matrix, defined
from generator.progress import Silent
from tests.measure_analyze.conftest import toy, toy_corpus, toy_model


def harmonic(n: int) -> float:
    return sum(1 / k for k in range(1, n + 1))


def uniform(n: int) -> torch.Tensor:
    return attention.renormalised(torch.ones(1, n, n).tril())


def looking_at(keys: list[int], n: int) -> torch.Tensor:
    """A head whose query i looks at ``keys[i]`` alone."""
    weights = torch.zeros(1, n, n)
    weights[0, torch.arange(n), torch.tensor(keys)] = 1
    return weights


def previous(n: int) -> torch.Tensor:
    return looking_at([max(i - 1, 0) for i in range(n)], n)


def mean(rows: torch.Tensor) -> float:
    return float(rows.double().nanmean())


def test_entropy():
    assert mean(attention.entropy(uniform(50))) == pytest.approx(log(factorial(50)) / 50)
    assert mean(attention.entropy(uniform(50))) == pytest.approx(2.96956, abs=1e-5)
    assert mean(attention.entropy(previous(50))) == 0
    share = attention.entropy_share(uniform(50), is_causal=True)
    assert bool(share[0, 0].isnan()) and mean(share) == pytest.approx(1)
    both_ways = attention.renormalised(torch.ones(1, 9, 9))
    assert mean(attention.entropy_share(both_ways, is_causal=False)) == pytest.approx(1)


def test_distance():
    assert mean(attention.distance(uniform(50))) == pytest.approx(12.25)
    assert mean(attention.distance(previous(50))[:, 1:]) == 1
    assert mean(attention.distance(looking_at([0] * 50, 50))) == 24.5


def test_sink_and_previous_token():
    assert mean(attention.sink_mass(looking_at([0] * 50, 50))) == 1
    assert mean(attention.sink_mass(uniform(50))) == pytest.approx((harmonic(50) - 1) / 49)
    assert mean(attention.previous_token(previous(100))) == 1
    assert mean(attention.previous_token(uniform(100))) == pytest.approx(0.042297, abs=1e-6)


@pytest.mark.parametrize("n_prefix", [0, 1])
def test_duplicate_and_induction_heads_on_repeated_tokens(n_prefix: int):
    period = 50
    n = n_prefix + 2 * period

    def score(weights: torch.Tensor, shift: int) -> float:
        targets = attention.repeat_targets(n_prefix, period, shift, torch.device("cpu"))
        assert targets.sum() == period
        return mean(attention.mass_on(weights, targets))

    duplicate = looking_at([max(i - period, 0) for i in range(n)], n)
    induction = looking_at([max(i - period + 1, 0) for i in range(n)], n)
    assert score(duplicate, 0) == 1 and score(duplicate, 1) == 0
    assert score(induction, 1) == 1 and score(induction, 0) == 0
    expected = (harmonic(n) - harmonic(n_prefix + period)) / period
    assert score(uniform(n), 0) == score(uniform(n), 1) == pytest.approx(expected)
    if not n_prefix:
        assert expected == pytest.approx(0.0137634, abs=1e-7)


def test_targets_on_natural_text():
    ids = torch.tensor([5, 6, 7, 5, 6, 9])
    assert attention.duplicate_targets(ids).nonzero().tolist() == [[3, 0], [4, 1]]
    assert attention.induction_targets(ids).nonzero().tolist() == [[3, 1], [4, 2]]


def test_without_position_0():
    weights = attention.renormalised(torch.tensor([[[1.0, 0, 0], [0.9, 0.1, 0], [0.8, 0.05, 0.15]]]))
    rest = attention.without_first(weights)
    torch.testing.assert_close(rest, torch.tensor([[[1.0, 0], [0.25, 0.75]]]))
    assert bool(attention.without_first(looking_at([0, 0, 0], 3)).isnan().all())


def test_divergence():
    p, q = torch.tensor([[[0.5, 0.5]]]), torch.tensor([[[0.25, 0.75]]])
    assert mean(attention.divergence(p, q)) == pytest.approx(0.5 * log(2) + 0.5 * log(2 / 3), rel=1e-5)
    assert mean(attention.divergence(p, p)) == 0
    assert np.isfinite(mean(attention.divergence(p, torch.tensor([[[1.0, 0.0]]]))))


def test_scores_of_a_perfect_head_in_the_stream():
    scores = HeadScores(1, 1, True)
    ids = torch.arange(20)
    scores.add(0, previous(20), ids, torch.ones(20, dtype=torch.bool))
    by_name = {(m.metric, m.method["position_0"] == "included"): m.values[0][0] for m in scores.result()}
    assert by_name["previous_token", True].value == 1 and by_name["previous_token", True].n == 19
    assert by_name["previous_token", False].value == 1 and by_name["previous_token", False].n == 18
    assert by_name["induction_text", True].reason == "undefined (no query has such a key)"
    assert ("sink_mass", False) not in by_name


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_streamed_scores_are_those_of_single_documents(family: str):
    model, anatomy = toy(family)
    corpus = toy_corpus((30, 7, 19, 2))
    found = {
        (m.metric, m.method["position_0"]): m
        for m in measure_heads(model, corpus, HeadSettings(batch_tokens=64, n_sequences=1), Silent())[
            0
        ].scores
    }
    matrices = [
        prompt_attention(anatomy, corpus.token_ids[corpus.tokens_of(doc)].tolist())
        for doc in range(corpus.n_docs)
    ]
    for layer in range(3):
        for name, function in attention.row_metrics(anatomy.is_causal).items():
            rows = torch.cat([function(torch.from_numpy(m[layer])) for m in matrices], dim=1).double()
            for head, value in enumerate(found[name, "included"].values[layer]):
                assert value.n == int(rows[head].isfinite().sum())
                assert value.value == pytest.approx(float(rows[head].nanmean()), abs=1e-5)


def test_pieces_count_every_query_once_and_merge(corpus: Corpus):
    model, _ = toy("gpt2")
    entropies = [
        m for m in measure_heads(model, corpus, HeadSettings(), Silent())[0].scores if m.metric == "entropy"
    ]
    assert {m.method["position_0"]: m.values[0][0].n for m in entropies}["included"] == corpus.n_tokens
    whole, first, second = (HeadScores(1, 1, True) for _ in range(3))
    for index, n in enumerate((20, 9, 14)):
        ids = torch.randint(0, 5, (n,))
        for scores in (whole, first if index % 2 else second):
            scores.add(0, uniform(n), ids, torch.ones(n, dtype=torch.bool))
    first.merge(second)
    for a, b in zip(whole.result(), first.result()):
        assert a.values[0][0].n == b.values[0][0].n
        assert a.values[0][0].value == pytest.approx(b.values[0][0].value)
        if a.metric == "induction_text":  # uniform attention scores what chance says
            assert b.values[0][0].value == pytest.approx(b.method["uniform_attention"], rel=0.2)


def test_kl_between_base_and_adapted():
    model, anatomy = toy("llama", 2)
    corpus = toy_corpus((9,))
    base, adapted = measure_heads(model, corpus, HeadSettings(n_sequences=1), Silent())
    assert "kl_adapted" not in {m.metric for m in base.scores}
    kl = next(m for m in adapted.scores if m.metric == "kl_adapted" and m.method["position_0"] == "included")
    ids = corpus.token_ids.tolist()
    after = prompt_attention(anatomy, ids)
    with adapter_off(model):
        before = prompt_attention(anatomy, ids)
    for layer in range(3):
        p, q = before[layer].astype(float), np.maximum(after[layer], 1e-12).astype(float)
        expected = np.where(p > 0, p * np.log(np.where(p > 0, p, 1) / q), 0).sum(2).mean(1)
        np.testing.assert_allclose([v.value for v in kl.values[layer]], expected, rtol=1e-4, atol=1e-6)
    assert kl.values[0][0].value > 1e-6


def test_a_long_document_is_read_to_the_limit():
    model, _ = toy("llama")
    found = measure_heads(model, toy_corpus((40,)), HeadSettings(max_tokens=16), Silent())[0].scores
    entropy = next(m for m in found if m.metric == "entropy" and m.method["position_0"] == "included")
    assert entropy.values[0][0].n == 16


def test_one_token_documents_are_undefined_in_words():
    found = measure_heads(toy("llama")[0], toy_corpus((1,)), HeadSettings(n_sequences=0), Silent())[0].scores
    for matrix in found:
        for row in matrix.values:
            assert all((v.value is None) == bool(v.reason) for v in row)


def test_rows_are_renormalised_in_float32():
    weights = torch.rand(2, 40, 40).tril().bfloat16()
    rows = attention.renormalised(weights).sum(-1)
    torch.testing.assert_close(rows, torch.ones(2, 40), atol=1e-6, rtol=0)


def test_a_model_without_attention_weights_is_refused():
    _, anatomy = toy("llama")
    from dataclasses import replace

    with pytest.raises(FeaturebookError, match="gives no attention weights"):
        check_attention(replace(anatomy, attentions=[]))
    with (
        pytest.raises(FeaturebookError, match="returned no attention weights"),
        attending(anatomy, lambda *_: None),
    ):
        anatomy.model.set_attn_implementation("sdpa")
        anatomy.model(input_ids=torch.tensor([[3, 4, 5]]))


def test_a_recurrent_model_has_geometry_but_no_attention():
    from transformers import MambaConfig, MambaForCausalLM

    model = MambaForCausalLM(
        MambaConfig(vocab_size=61, hidden_size=16, state_size=4, num_hidden_layers=2, time_step_rank=4)
    ).eval()
    anatomy = study(model)
    assert anatomy.n_layers == 2 and anatomy.attentions == []
    with pytest.raises(FeaturebookError, match="gives no attention weights"):
        check_attention(anatomy)


def scores_of(table: dict[str, list[list[float]]]) -> list[Matrix]:
    return [
        Matrix(
            name,
            [[defined(v, 9) for v in row] for row in rows],
            ("layer", "head"),
            {"position_0": "included"},
        )
        for name, rows in table.items()
    ]


def test_clusters_are_named_by_their_scores():
    table = {
        "entropy_share": [[0.9, 0.9, 0.1], [0.9, 0.9, 0.1]],
        "previous_token": [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
        "induction": [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]],
    }
    found = map_heads(scores_of(table), n_clusters=4)
    at = {head: found.names[found.cluster[i]] for i, head in enumerate(found.heads)}
    assert at[1, 0] == "induction" and at[1, 1] == "previous token" and at[0, 2] == at[1, 2] == "focused"
    assert sum(found.explained) <= 1 + 1e-9
    assert found.method["features"] == ["entropy_share", "previous_token", "induction"]


def test_noise_is_neither_blown_up_nor_named():
    table = {
        "distance": [[9.0, 1.0, 1.1, 8.9]],
        "induction": [[0.02, 0.0, 0.01, 0.0]],
        "sink_mass": [[0.01, 0.0, 0.02, 0.0]],
    }
    found = map_heads(scores_of(table), n_clusters=2)
    assert found.cluster.tolist() == [0, 1, 1, 0] and sorted(found.names) == ["far", "near"]


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (1, 3), (7, 1), (12, 12), (32, 32)])
def test_any_number_of_heads_has_a_map(shape: tuple[int, int]):
    n_heads = shape[0] * shape[1]
    random = np.random.default_rng(n_heads)
    found = map_heads(scores_of({name: random.random(shape).tolist() for name in ("distance", "induction")}))
    assert found.points.shape == (n_heads, 2) and np.isfinite(found.points).all()
    assert found.heads == [(layer, head) for layer in range(shape[0]) for head in range(shape[1])]
    assert len(found.cluster) == n_heads and len(found.names) == found.cluster.max() + 1
    assert len(set(found.names)) == len(found.names) and len(found.names) == min(6, n_heads)
    assert not any("no." in name for name in found.names[:2])
    alike = map_heads(scores_of({"distance": [[1.0] * n_heads]}))
    assert alike.names == ["all alike"] and not alike.points.any()


def test_k_means_finds_far_groups_and_is_deterministic():
    random = np.random.default_rng(0)
    features = np.concatenate([random.normal(c, 0.1, (n, 3)) for c, n in ((0, 20), (5, 9), (-5, 4))])
    label = k_means(features, 3)
    assert label.tolist() == [0] * 20 + [1] * 9 + [2] * 4
    assert (label == k_means(features, 3)).all()


def test_projection_keeps_distances_of_a_plane():
    plane = np.random.default_rng(1).standard_normal((12, 2)) @ np.array([[1.0, 0, 2, 0], [0, 1, 0, -1]])
    points, explained = project(plane)
    near = np.linalg.norm(points[:, None] - points, axis=2)
    np.testing.assert_allclose(near, np.linalg.norm(plane[:, None] - plane, axis=2), atol=1e-9)
    assert sum(explained) == pytest.approx(1)
    assert np.isfinite(standardised(np.array([[np.nan, 1.0], [2, 1]]))).all()


def test_attention_modules_are_those_of_the_layers():
    model = toy_model("llama")
    anatomy = study(model)
    with eager(model):
        theirs = model(input_ids=torch.arange(3, 12)[None], output_attentions=True).attentions
    mine = prompt_attention(anatomy, list(range(3, 12)))
    for a, b in zip(mine, theirs):
        np.testing.assert_allclose(a, b[0].numpy(), atol=1e-6)
