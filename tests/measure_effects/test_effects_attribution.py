"""Attribution of directions and latents: completeness, the text that is read, and what is told."""

from typing import Any

import numpy as np
import pytest
import torch

from generator.measure.analyze.ablation import adapted_modules, list_parts, places_of
from generator.measure.analyze.anatomy import study
from generator.measure.effects.attribution import (
    Example,
    attribution_of,
    scalar_of_latent,
    scalars_of_adapter,
    strongest_example,
)
from tests.measure_analyze.conftest import toy_model
from tests.toy import toy_channels, toy_corpus, toy_summary, toy_values

IDS = np.array([1, 9, 30, 17, 44, 5, 21, 12], np.int32)


@pytest.fixture(scope="module")
def toy() -> Any:
    model = toy_model("llama", rank=1)
    anatomy = study(model)
    adapted = adapted_modules(anatomy.model, "rows")
    single = [
        p for p in list_parts(adapted, places_of(anatomy.model, adapted), "lora") if p.kind == "direction"
    ]
    where = {p.channel: (p.removed[0][0], p.removed[0][1][0]) for p in single}
    return anatomy, adapted, where, scalars_of_adapter(adapted, where)


def activations(toy: Any) -> dict[str, float]:
    """x · A of every direction at the last token, read by hooks on PEFT's own lora_A."""
    anatomy, adapted, where, _ = toy
    seen: dict[int, float] = {}
    handles = [
        m.layer.lora_A["default"].register_forward_hook(
            lambda _, a, out, i=i: seen.__setitem__(i, float(out[0, -1, 0]))
        )
        for i, m in enumerate(adapted)
    ]
    with torch.no_grad():
        anatomy.model(input_ids=torch.from_numpy(IDS.astype(np.int64))[None])
    for handle in handles:
        handle.remove()
    return {identifier: seen[module] for identifier, (module, _) in where.items()}


@pytest.mark.parametrize("channel", ["lora/L0/q_proj", "lora/L2/down_proj"])
def test_the_shares_of_a_direction_add_up(toy: Any, channel: str) -> None:
    anatomy, _, _, scalars = toy
    example = Example(IDS, 7, doc=3, start=10, n_before=0, value=1.0)
    found = attribution_of(anatomy, scalars[channel], example, 10.0, n_nodes=64, max_nodes=256)
    assert found["value"] == pytest.approx(activations(toy)[channel], rel=1e-3)
    change = found["value"] - found["baseline_value"]
    assert sum(found["scores"]) == pytest.approx(change + found["gap"], abs=2e-3)
    assert abs(found["gap"]) < 0.2 and found["warning"] == ""
    assert (found["position"], found["start"], found["n_elsewhere"]) == (17, 10, 0)


def test_a_gap_that_is_too_large_is_warned_of(toy: Any) -> None:
    anatomy, _, _, scalars = toy
    example = Example(IDS, 7, 0, 0, 0, 1.0)
    found = attribution_of(anatomy, scalars["lora/L2/down_proj"], example, 1e-6, n_nodes=2, max_nodes=2)
    assert "of the activation's range" in found["warning"]


def test_a_latent_is_the_weighted_sum_of_its_inputs(toy: Any) -> None:
    anatomy, _, _, scalars = toy
    inputs, weights = ["lora/L0/q_proj", "lora/L1/up_proj", "lora/L2/down_proj"], np.array([0.5, -2.0, 1.5])
    make = scalar_of_latent(scalars, inputs, weights, bias=0.75)
    assert make is not None
    example = Example(IDS, 7, 0, 0, 0, 1.0)
    found = attribution_of(anatomy, make, example, 10.0, n_nodes=64, max_nodes=256)
    known = activations(toy)
    assert found["value"] == pytest.approx(
        sum(w * known[i] for w, i in zip(weights, inputs)) + 0.75, rel=1e-3
    )
    parts = [attribution_of(anatomy, scalars[i], example, 10.0, n_nodes=64, max_nodes=64) for i in inputs]
    summed = sum(w * np.array(part["scores"]) for w, part in zip(weights, parts))
    assert np.array(found["scores"]) == pytest.approx(
        summed, abs=0.02
    )  # integrated gradients are linear in f
    assert scalar_of_latent(scalars, ["lora/model.embed_tokens"], np.ones(1)) is None


def test_the_strongest_example_is_cut_to_its_peak() -> None:
    corpus, channels = toy_corpus(), toy_channels()
    values = toy_values(corpus, channels)
    summary = toy_summary(corpus, channels, values)
    for index in (0, 5):
        rows = summary.examples.of(index)
        found = strongest_example(summary, corpus, index, 12, is_causal=True)
        assert found is not None and abs(found.value) == np.nanmax(np.abs(rows["value"]))
        assert len(found.token_ids) == min(12, found.start + found.position + 1)
        whole = corpus.token_ids[corpus.tokens_of(found.doc)]
        peak = found.start + found.position
        assert values[corpus.tokens_of(found.doc), index][peak] == np.float32(found.value)
        assert (
            found.token_ids[found.n_before :].tolist()
            == whole[found.start + found.n_before : peak + 1].tolist()
        )
        assert found.n_before == (found.start > 0) and (not found.n_before or found.token_ids[0] == whole[0])
        around = strongest_example(summary, corpus, index, 12, is_causal=False)
        assert around is not None and around.position < len(around.token_ids) <= 12
