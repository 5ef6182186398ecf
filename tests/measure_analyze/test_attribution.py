"""Closed forms of gradient methods, rollout and flow; completeness on models; parts of a logit."""

import numpy as np
import pytest
import torch

from generator.errors import FeaturebookError
from generator.measure.analyze.anatomy import bare
from generator.measure.analyze.attribution import (
    Attribution,
    DirectionScalar,
    LogitScalar,
    as_function,
    attribute,
    embed,
    flow,
    gradient_times_input,
    integrate_until_complete,
    integrated_gradients,
    mean_embedding,
    nodes,
    rollout,
    rollout_of,
)
from generator.measure.analyze.logits import FrozenNorm, direct_logit_attribution
from tests.measure_analyze.conftest import DECODERS, FAMILIES, toy, toy_model

IDS = [1, 17, 33, 8, 17, 33, 9]
ZERO = torch.zeros(2, 1)
X = torch.tensor([[2.0], [3.0]])


def test_gradient_times_input_of_a_linear_function_is_exact():
    w = torch.tensor([[5.0], [-1.0]])
    found = gradient_times_input(lambda e: (e * w).sum((1, 2)) + 7, X)
    np.testing.assert_allclose(found.scores, [10, -3])
    assert found.scores.sum() == found.value - 7 and found.gap is None


@pytest.mark.parametrize("rule", ["gauss_legendre", "midpoint"])
def test_integrated_gradients_in_closed_form(rule: str):
    product = integrated_gradients(lambda e: e[:, 0, 0] * e[:, 1, 0], X, ZERO, n_nodes=3, rule=rule)
    np.testing.assert_allclose(product.scores, [3, 3])
    assert product.gap == pytest.approx(0, abs=1e-6)
    for n in (1, 2, 9):  # the midpoint rule and Gauss–Legendre are exact for x² at any n
        square = integrated_gradients(lambda e: (e**2).sum((1, 2)), X, ZERO, n_nodes=n, rule=rule)
        np.testing.assert_allclose(square.scores, [4, 9], rtol=1e-6)


def test_two_gauss_legendre_nodes_are_exact_for_a_cubic():
    found = integrated_gradients(lambda e: (e**3).sum((1, 2)), X, ZERO, n_nodes=2)
    np.testing.assert_allclose(found.scores, [8, 27], rtol=1e-6)


def test_the_weights_of_every_rule_sum_to_one():
    for rule in ("gauss_legendre", "midpoint"):
        assert nodes(7, rule)[1].sum() == pytest.approx(1)
    with pytest.raises(FeaturebookError, match="trapezoid"):
        nodes(7, "trapezoid")


def test_a_large_gap_is_said():
    scores = np.zeros(2)
    assert "miss -2, 20% of the activation's range" in Attribution(scores, 10.0, 0.0, -2.0).warning()
    assert not Attribution(scores, 10.0, 0.0, 0.4).warning()
    assert not Attribution(scores, 10.0, 0.0, -2.0).warning(activation_range=100.0)
    assert not Attribution(scores, 10.0).warning()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_function_of_embeddings_is_the_model(family: str):
    model, anatomy = toy(family)
    function = as_function(anatomy, IDS, LogitScalar(4, 20))
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([IDS])).logits[0, 4, 20]
        assert float(function(embed(anatomy, IDS)[None])[0]) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("family", DECODERS)
def test_attributions_of_a_logit_are_complete_and_causal(family: str):
    found = attribute(toy(family)[1], IDS, LogitScalar(4, 20, minus=21), n_nodes=64)
    integrated = found["integrated_gradients"]
    assert (
        abs(integrated.gap) < 0.02 * abs(integrated.value - integrated.baseline_value)
        and not integrated.warning()
    )
    for result in found.values():
        np.testing.assert_array_equal(result.scores[5:], 0)
        assert np.abs(result.scores[:5]).max() > 1e-4


def peft_layer(family: str, name: str) -> torch.nn.Module:
    return bare(toy(family, 2)[0]).get_submodule(name)


@pytest.mark.parametrize(
    "family, name", [("llama", "model.layers.2.mlp.gate_proj"), ("gpt2", "transformer.h.2.mlp.c_fc")]
)
def test_attribution_of_a_lora_direction_is_in_units_of_its_activation(family: str, name: str):
    model, anatomy = toy(family, 2)
    layer = peft_layer(family, name)
    seen: list[torch.Tensor] = []
    handle = layer.lora_A["default"].register_forward_hook(lambda m, a, out: seen.append(out))
    with torch.no_grad():
        model(input_ids=torch.tensor([IDS]))
    handle.remove()
    scalar = DirectionScalar(layer, layer.lora_A["default"].weight[1].detach(), position=4)
    found = attribute(anatomy, IDS, scalar, max_nodes=1024)
    integrated = found["integrated_gradients"]
    assert integrated.value == pytest.approx(float(seen[0][0, 4, 1]), rel=1e-5)
    assert integrated.scores.sum() == pytest.approx(integrated.value - integrated.baseline_value, rel=0.02)
    np.testing.assert_array_equal(integrated.scores[5:], 0)
    assert integrated.method["baseline"] == "mean embedding of the vocabulary"


def test_nodes_are_added_until_the_sum_is_complete():
    sharp = lambda e: torch.sigmoid((e.sum((1, 2)) - 1) * 40)  # noqa: E731  a step that few nodes miss
    assert abs(integrated_gradients(sharp, X, ZERO, n_nodes=4).gap) > 0.1
    assert abs(integrate_until_complete(sharp, X, ZERO, n_nodes=4).gap) < 0.02
    stopped = integrate_until_complete(sharp, X, ZERO, n_nodes=4, max_nodes=4)
    assert stopped.method["n_nodes"] == 4 and stopped.warning()


def test_gradients_of_a_direction_agree_with_finite_differences():
    layer = peft_layer("llama", "model.layers.1.self_attn.q_proj")
    _, anatomy = toy("llama", 2)
    function = as_function(
        anatomy, IDS, DirectionScalar(layer, layer.lora_A["default"].weight[0].detach(), 3)
    )
    embeddings = embed(anatomy, IDS)
    found = gradient_times_input(function, embeddings)
    for token in range(4):
        moved = embeddings.repeat(2, 1, 1)
        moved[0, token] *= 1 + 1e-2
        moved[1, token] *= 1 - 1e-2
        with torch.no_grad():
            up, down = function(moved)
        assert float(up - down) / 2e-2 == pytest.approx(found.scores[token], rel=2e-2, abs=2e-3)


def test_mean_embedding_is_that_of_the_table():
    model, anatomy = toy("gpt2")
    torch.testing.assert_close(mean_embedding(anatomy), model.transformer.wte.weight.mean(0))


def test_bad_attributions_are_refused_in_words():
    anatomy = toy("gpt2")[1]
    for call, message in (
        (lambda: attribute(anatomy, [], LogitScalar(0, 1)), "no tokens"),
        (lambda: attribute(anatomy, IDS, LogitScalar(7, 1)), "Position 7 is not in the text of 7 tokens"),
        (lambda: attribute(anatomy, IDS, LogitScalar(0, 1), baseline="noise"), "no baseline 'noise'"),
        (lambda: attribute(anatomy, [3] * 60, LogitScalar(0, 1)), "60 tokens"),
    ):
        with pytest.raises(FeaturebookError, match=message):
            call()


def test_rollout_in_closed_form():
    n, depth = 6, 4
    uniform = np.full((n, n), 1 / n)
    expected = 2.0**-depth * np.eye(n) + (1 - 2.0**-depth) / n
    np.testing.assert_allclose(rollout([uniform] * depth), expected)
    assert rollout([uniform] * depth)[0, 0] == pytest.approx(0.21875)
    previous = np.eye(8, k=-1)
    previous[0, 0] = 1
    np.testing.assert_allclose(rollout([previous] * 3)[5, 2:6], np.array([1, 3, 3, 1]) / 8)


def test_flow_in_closed_form():
    half = np.full((2, 2), 0.5)
    assert flow([half], target=1)[0] == pytest.approx(0.25)
    two = flow([half, half], target=0)
    assert two[1] == pytest.approx(0.5) and two[0] == pytest.approx(1.0)
    np.testing.assert_allclose(rollout([half, half]), [[0.625, 0.375], [0.375, 0.625]])


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_rollout_of_a_model_has_rows_that_sum_to_one(family: str):
    found = rollout_of(toy(family)[1], IDS)
    assert len(found) == 3
    for matrix in found:
        np.testing.assert_allclose(matrix.sum(1), 1, rtol=1e-6)
    assert (np.triu(found[-1], 1) == 0).all() == (family == "llama")


@pytest.mark.parametrize(
    "family, rank", [("llama", 0), ("llama", 2), ("qwen2", 0), ("gpt2", 0), ("gpt2", 2), ("gpt_neox", 0)]
)
def test_parts_of_a_logit_sum_to_it(family: str, rank: int):
    model, anatomy = toy(family, rank)
    found = direct_logit_attribution(anatomy, IDS, 5, 20)
    with torch.no_grad():
        row = model(input_ids=torch.tensor([IDS])).logits[0, 5]
    assert found.logit == pytest.approx(float(row[20] - row.mean()), abs=1e-4)
    assert found.total == pytest.approx(found.logit, abs=1e-4) and abs(found.gap) < 1e-4
    assert found.heads.shape == (3, 4) and np.abs(found.heads).min() > 0


def test_a_heads_part_vanishes_with_its_output():
    model = toy_model("llama")
    from generator.measure.analyze.anatomy import study

    model.model.layers[1].self_attn.o_proj.weight.data[:, 8:16] = 0  # head 1 of 4, 8 wide
    found = direct_logit_attribution(study(model), IDS, 5, 20)
    assert found.heads[1, 1] == 0 and found.heads[1, 0] != 0


@pytest.mark.parametrize("family", ["bert", "gemma2"])
def test_models_without_such_parts_are_refused(family: str):
    with pytest.raises(FeaturebookError, match="norms"):
        direct_logit_attribution(toy(family)[1], IDS, 5, 20)


@pytest.mark.parametrize("d", [8, 7])
@pytest.mark.parametrize("kind", ["layer_norm", "rms_norm"])
def test_a_frozen_norm_is_the_norm_at_its_own_vector(kind: str, d: int):
    torch.manual_seed(0)
    norm = torch.nn.LayerNorm(d) if kind == "layer_norm" else torch.nn.RMSNorm(d, eps=1e-6)
    for parameter in norm.parameters():
        parameter.data = torch.randn(d)
    hidden = torch.randn(d)
    frozen = FrozenNorm.at(norm, hidden)
    assert frozen.is_centring == (kind == "layer_norm")
    torch.testing.assert_close(
        (frozen(hidden[None].double()) + frozen.bias)[0].float(), norm(hidden), atol=1e-5, rtol=1e-4
    )
