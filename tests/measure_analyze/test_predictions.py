"""Predictions: against the model's own logits, layer by layer, base against adapted, and what is refused."""

import numpy as np
import pytest
import torch

from generator.blocks import Corpus
from generator.errors import FeaturebookError
from generator.measure.analyze.anatomy import adapter_off, bare, study
from generator.measure.analyze.capture import residuals
from generator.measure.analyze.predictions import (
    continue_text,
    for_each_variant,
    logit_lens,
    measure_divergence,
    predict_masks,
    predict_next,
    top_tokens,
)
from generator.measure.analyze.tail import starting_at, unembed
from generator.progress import Silent
from tests.measure_analyze.conftest import DECODERS, FAMILIES, toy, toy_model

IDS = [1, 17, 33, 8, 17, 33, 9]


def model_log_p(family: str, ids: list[int] = IDS, rank: int = 0) -> torch.Tensor:
    with torch.no_grad():
        return torch.log_softmax(toy(family, rank)[0](input_ids=torch.tensor([ids])).logits[0], -1)


@pytest.mark.parametrize("family", DECODERS)
def test_next_tokens_are_the_models(family: str):
    found, log_p = predict_next(toy(family)[1], IDS, k=4), model_log_p(family)
    np.testing.assert_array_equal(found.top.token_ids, log_p.topk(4).indices.numpy())
    np.testing.assert_allclose(found.top.probability, log_p.topk(4).values.exp().numpy(), rtol=1e-5)
    assert found.surprise[0] is None
    assert found.surprise[3] == pytest.approx(-float(log_p[2, IDS[3]]), rel=1e-5)
    np.testing.assert_allclose(found.top.entropy, -(log_p.exp() * log_p).sum(-1).numpy(), rtol=1e-5)


def test_entropy_of_a_uniform_and_of_a_certain_prediction():
    certain = torch.log_softmax(torch.tensor([[1000.0, 0, 0, 0], [0, 0, 0, 0]]), -1)
    np.testing.assert_allclose(top_tokens(certain, 9).entropy, [0, np.log(4)], atol=1e-6)


def test_every_mask_is_predicted():
    ids = [1, 17, 3, 8, 3, 9]
    found = predict_masks(toy("bert")[1], ids, 3, k=5)
    assert found.positions == [2, 4]
    log_p = model_log_p("bert", ids)
    np.testing.assert_array_equal(found.top.token_ids, log_p[[2, 4]].topk(5).indices.numpy())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_lens_ends_at_the_models_prediction(family: str):
    layers = logit_lens(toy(family)[1], IDS, k=3)
    assert [layer.layer for layer in layers] == [0, 1, 2, 3]
    log_p = model_log_p(family)
    np.testing.assert_array_equal(layers[-1].top.token_ids, log_p.topk(3).indices.numpy())
    np.testing.assert_allclose(layers[-1].divergence, 0, atol=1e-5)
    assert max(layers[0].divergence) > 1e-3
    if family != "bert":
        assert layers[-1].actual[2] == pytest.approx(float(log_p[2, IDS[3]].exp()), rel=1e-4)


def test_the_lens_is_the_final_norm_and_head_on_the_residual():
    for family, head in (
        ("llama", lambda m, h: m.lm_head(m.model.norm(h))),
        ("gpt2", lambda m, h: m.lm_head(m.transformer.ln_f(h))),
        ("bert", lambda m, h: m.cls(h)),
    ):
        model, anatomy = toy(family)
        inputs = {"input_ids": torch.tensor([IDS])}
        with torch.no_grad():
            for hidden in residuals(anatomy, inputs):
                torch.testing.assert_close(unembed(anatomy, inputs, hidden), head(model, hidden))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_can_start_at_any_layer_and_is_left_as_it_was(family: str):
    model, anatomy = toy(family)
    inputs = {"input_ids": torch.tensor([IDS])}
    with torch.no_grad():
        whole = model(**inputs).logits
        for layer, hidden in enumerate(residuals(anatomy, inputs)):
            with starting_at(anatomy, layer, hidden):
                torch.testing.assert_close(model(**inputs).logits, whole)
        torch.testing.assert_close(model(**inputs).logits, whole)
    assert not any("forward" in layer.__dict__ for layer in anatomy.layers)


@pytest.mark.parametrize("family", DECODERS)
def test_continuations_are_seeded_and_greedy_is_the_likeliest(family: str):
    anatomy = toy(family)[1]
    three = continue_text(anatomy, IDS, n=3, n_tokens=6, seed=5)
    assert three[:2] == continue_text(anatomy, IDS, n=2, n_tokens=6, seed=5)
    assert three != continue_text(anatomy, IDS, n=3, n_tokens=6, seed=6)
    greedy = continue_text(anatomy, IDS, n_tokens=4, temperature=0.0)
    ids = list(IDS)
    for token, probability in zip(greedy[0].token_ids, greedy[0].probability):
        log_p = model_log_p(family, ids)[-1]
        assert token == int(log_p.argmax()) and probability == pytest.approx(
            float(log_p.max().exp()), rel=1e-3
        )
        ids.append(token)
    ended = continue_text(anatomy, IDS, n_tokens=4, temperature=0.0, end_ids=greedy[0].token_ids[:1])
    assert ended[0].is_finished and ended[0].token_ids == []


def test_sampling_follows_the_distribution():
    anatomy = toy("gpt2")[1]
    first = [c.token_ids[0] for c in continue_text(anatomy, IDS, n=300, n_tokens=1, top_k=0)]
    p = model_log_p("gpt2")[-1].exp().numpy()
    likeliest = int(p.argmax())
    assert abs(first.count(likeliest) / 300 - p[likeliest]) < 4 * np.sqrt(p[likeliest] / 300)
    assert {c.token_ids[0] for c in continue_text(anatomy, IDS, n=40, n_tokens=1, top_k=2)} <= set(
        np.argsort(-p)[:2].tolist()
    )


def test_base_and_adapted_side_by_side():
    model, anatomy = toy("llama", 2)
    found = for_each_variant(model, lambda: predict_next(anatomy, IDS))
    assert list(found) == ["base", "adapted"]
    plain = predict_next(toy("llama")[1], IDS)
    np.testing.assert_allclose(found["base"].top.probability, plain.top.probability, rtol=1e-5)
    assert found["base"].surprise != found["adapted"].surprise


def test_divergence_per_token(corpus: Corpus):
    model, _ = toy("llama", 2)
    found = {d.doc: d for d in measure_divergence(model, corpus, Silent(), docs=[0, 3, 4])}
    ids = corpus.token_ids[corpus.tokens_of(0)].tolist()
    after = model_log_p("llama", ids, rank=2)
    with adapter_off(model):
        before = model_log_p("llama", ids, rank=2)
    np.testing.assert_allclose(
        found[0].base_adapted, (before.exp() * (before - after)).sum(-1), rtol=1e-3, atol=1e-6
    )
    np.testing.assert_allclose(
        found[0].adapted_base, (after.exp() * (after - before)).sum(-1), rtol=1e-3, atol=1e-6
    )
    assert found[0].surprise_change[1] == pytest.approx(float(before[1, ids[2]] - after[1, ids[2]]), rel=1e-3)
    assert len(found[4].base_adapted) == 44 and np.isfinite(found[4].base_adapted).all()
    assert [np.isnan(d.surprise_change).sum() for d in found.values()] == [1, 1, 1]


def test_an_adapter_that_does_nothing_diverges_by_nothing(corpus: Corpus):
    model = toy_model("gpt2", rank=1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.zero_()
    for found in measure_divergence(model, corpus, Silent(), docs=[0]):
        np.testing.assert_allclose(found.base_adapted, 0, atol=1e-6)


def test_bad_prompts_are_refused_in_words():
    causal, masked = toy("gpt2")[1], toy("bert")[1]
    cases = [
        (lambda: predict_masks(masked, IDS, None), "has no mask token"),
        (lambda: predict_masks(masked, IDS, 60), "holds no mask"),
        (lambda: predict_masks(causal, IDS, 3), "predicts the next token"),
        (lambda: predict_next(masked, IDS), "fills in masks"),
        (lambda: continue_text(masked, IDS), "fills in masks"),
        (lambda: predict_next(causal, []), "no tokens"),
        (lambda: predict_next(causal, [3] * 49), "has 49 tokens and the model reads 48"),
        (lambda: logit_lens(causal, [3] * 49), "has 49 tokens"),
    ]
    for call, message in cases:
        with pytest.raises(FeaturebookError, match=message):
            call()


def test_a_model_without_adapter_or_head_is_refused(corpus: Corpus):
    with pytest.raises(FeaturebookError, match="has no adapter"):
        next(measure_divergence(toy("gpt2")[0], corpus, Silent()))
    headless = study(bare(toy("gpt2")[0]).transformer)
    with pytest.raises(FeaturebookError, match="no language-model head"):
        predict_next(headless, IDS)


def test_a_one_token_prompt():
    found = predict_next(toy("gpt2")[1], [5])
    assert found.surprise == [None] and found.top.token_ids.shape == (1, 10)
    assert continue_text(toy("gpt2")[1], [5] * 48) == continue_text(toy("gpt2")[1], [5] * 48, n_tokens=0)
