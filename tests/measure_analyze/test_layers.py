"""Hidden states of several families, and their streamed geometry."""

import numpy as np
import pytest
import torch
from torch import nn

from generator.blocks import Corpus
from generator.errors import FeaturebookError
from generator.measure.analyze.anatomy import adapter_off, bare, eager, has_adapter, study
from generator.measure.analyze.capture import capture, check_context, feed_of, feeds, residuals
from generator.measure.analyze.layers import (
    GeometrySettings,
    StackGeometry,
    measure_geometry,
    ordinary_tokens,
)
from generator.measure.analyze.spectrum import covariance_spectrum, effective_rank
from generator.progress import Silent
from tests.measure_analyze.conftest import FAMILIES, toy, toy_corpus, toy_model

PRE_NORM = [family for family in FAMILIES if family != "bert"]


@pytest.mark.parametrize("family", FAMILIES)
def test_residuals_are_those_of_transformers_but_for_the_last(family: str):
    model, anatomy = toy(family)
    ids = torch.arange(3, 15)[None]
    found = residuals(anatomy, {"input_ids": ids})
    with torch.no_grad():
        theirs = model(input_ids=ids, output_hidden_states=True).hidden_states
    for mine, other in zip(found[:-1], theirs[:-1]):
        torch.testing.assert_close(mine, other)
    if family == "bert":
        torch.testing.assert_close(found[-1], theirs[-1])
    else:
        torch.testing.assert_close(anatomy.final_norm(found[-1]), theirs[-1])
        assert not torch.allclose(found[-1], theirs[-1], atol=0.1)


@pytest.mark.parametrize("family", FAMILIES)
def test_anatomy(family: str):
    _, anatomy = toy(family)
    assert anatomy.n_layers == len(anatomy.attentions) == 3
    assert anatomy.is_causal == (family != "bert")
    assert (anatomy.final_norm is None) == (family == "bert")
    assert all((norm is None) == (family == "bert") for norm in anatomy.input_norms)


@pytest.mark.parametrize("family", PRE_NORM)
def test_normed_point_is_what_the_norm_makes_of_the_residual(family: str):
    _, anatomy = toy(family)
    seen: dict[tuple[str, int], torch.Tensor] = {}
    inputs = {"input_ids": torch.arange(3, 9)[None]}
    capture(anatomy, inputs, lambda layer, point, hidden: seen.__setitem__((point, layer), hidden))
    for layer, norm in enumerate([*anatomy.input_norms, anatomy.final_norm]):
        torch.testing.assert_close(seen["normed", layer], norm(seen["residual", layer]))


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_adapter_off_is_the_base_model_and_leaves_no_trace(family: str):
    adapted, plain = toy_model(family, rank=2), toy_model(family)
    inputs = {"input_ids": torch.arange(3, 15)[None]}
    before = adapted(**inputs).logits
    with adapter_off(adapted):
        torch.testing.assert_close(adapted(**inputs).logits, plain(**inputs).logits)
    torch.testing.assert_close(adapted(**inputs).logits, before)
    assert not torch.allclose(before, plain(**inputs).logits, atol=1e-2)
    assert not any(p.requires_grad for p in adapted.parameters())
    assert has_adapter(adapted) and not has_adapter(plain)


def test_eager_is_switched_back():
    model = toy_model("llama")
    before = model.config._attn_implementation
    with eager(model):
        assert model.config._attn_implementation == "eager"
    assert model.config._attn_implementation == before != "eager"


def test_feeds_cover_every_token_once(corpus: Corpus):
    rows = [feed.rows for feed in feeds(corpus, batch_tokens=64, device=torch.device("cpu"))]
    assert len(rows) > 2
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(corpus.n_tokens))
    chosen = [f.rows for f in feeds(corpus, batch_tokens=64, device=torch.device("cpu"), docs=[2, 3])]
    assert set(corpus.doc[np.concatenate(chosen)]) == {2, 3}


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_padding_changes_nothing(family: str, corpus: Corpus):
    """Streamed in padded batches = documents one by one, without padding, at once."""
    model, _ = toy(family)
    batched = measure_geometry(model, corpus, GeometrySettings(batch_tokens=100, sample_tokens=32), Silent())[
        0
    ]
    single = measure_geometry(model, corpus, GeometrySettings(batch_tokens=1, sample_tokens=32), Silent())[0]
    assert batched.n_tokens == corpus.n_tokens
    for a, b in zip(batched.curves, single.curves):
        assert (a.metric, a.method["positions"]) == (b.metric, b.method["positions"])
        for x, y in zip(a.values, b.values):
            assert x.n == y.n and x.reason == y.reason
            if x.value is not None and a.metric != "histogram_entropy":
                assert x.value == pytest.approx(y.value, rel=2e-3), a.metric


def test_streamed_is_one_shot(corpus: Corpus):
    model, anatomy = toy("llama")
    result = measure_geometry(model, corpus, GeometrySettings(batch_tokens=50), Silent())[0]
    states: list[list[torch.Tensor]] = []
    for context, start, stop in corpus.pieces.tolist():
        ids = torch.from_numpy(corpus.token_ids[context:stop].astype(np.int64))[None]
        states.append([layer[0, start - context :] for layer in residuals(anatomy, {"input_ids": ids})])
    layers = [torch.cat(parts).double().numpy() for parts in zip(*states)]
    for name, rows in (("all", slice(None)), ("ordinary", ordinary_tokens(corpus))):
        curve = next(
            c for c in result.curves
            if (c.metric, c.method["point"]) == ("effective_rank", "residual")
            and (c.method["positions"] == "all") == (name == "all")
        )  # fmt: skip
        for value, layer in zip(curve.values, layers):
            exact = effective_rank(covariance_spectrum(np.cov(layer[rows].T)), len(layer[rows]))
            assert value.n == exact.n and value.value == pytest.approx(exact.value, rel=1e-5)


def test_two_workers_merge_to_one(corpus: Corpus):
    _, anatomy = toy("gpt2")
    settings = GeometrySettings(sample_tokens=24)
    one, first, second = (StackGeometry(anatomy, corpus, settings) for _ in range(3))
    for index, feed in enumerate(feeds(corpus, batch_tokens=40, device=torch.device("cpu"))):
        one.add(feed)
        (first if index % 2 else second).add(feed)
    first.merge(second)
    for a, b in zip(one.result("base").curves, first.result("base").curves):
        for x, y in zip(a.values, b.values):
            assert x.n == y.n and (x.value is None or x.value == pytest.approx(y.value, rel=1e-9))
    for point, matrix in one.result("base").cka.items():
        assert matrix.values == first.result("base").cka[point].values


def test_base_and_adapted_stand_on_the_same_axes(corpus: Corpus):
    base, adapted = measure_geometry(toy("llama", 2)[0], corpus, GeometrySettings(), Silent())
    assert [c.metric for c in base.curves] == [c.metric for c in adapted.curves]
    assert (base.variant, adapted.variant) == ("base", "adapted")
    ranks = [next(c for c in r.curves if c.metric == "effective_rank").values for r in (base, adapted)]
    assert ranks[0][0] == ranks[1][0] and ranks[0][3] != ranks[1][3]


def test_a_one_token_document_is_undefined_and_never_nan():
    corpus = toy_corpus((1,))
    result = measure_geometry(toy("gpt2")[0], corpus, GeometrySettings(), Silent())[0]
    for curve in result.curves:
        for value in curve.values:
            assert value.value is None or np.isfinite(value.value)
    rank = next(c for c in result.curves if c.metric == "effective_rank" and c.method["positions"] == "all")
    assert rank.values[1].reason == "undefined (n = 1)"
    assert result.cka["residual"].values[0][0].reason


def test_bad_input_is_refused_in_words():
    _, anatomy = toy("gpt2")
    with pytest.raises(FeaturebookError, match="no tokens"):
        feed_of([], torch.device("cpu"))
    with pytest.raises(FeaturebookError, match="has 999 tokens and the model reads 48"):
        check_context(anatomy, 999)
    with pytest.raises(FeaturebookError, match="no numbered layers"):
        headless = toy_model("gpt2")
        bare(headless).transformer.h = nn.Identity()
        study(headless)
