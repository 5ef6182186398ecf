"""Direct logit effects against W_U · (γ ⊙ w) from the weights by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from generator.errors import FeaturebookError
from generator.measure.analyze.ablation import choose_documents
from generator.measure.analyze.anatomy import bare, study
from generator.measure.effects import logits as module
from generator.measure.effects.logits import BINS, find_way_out, logit_effects
from tests.measure_analyze.conftest import toy_corpus, toy_model

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": False},
    "qwen2": {"tie_word_embeddings": True},
    "gpt2": {},
    "gemma2": {},
    "gpt_neox": {"hidden_size": 30, "num_attention_heads": 3},
}


def parts_by_hand(model: Any, family: str) -> tuple[torch.Tensor, torch.Tensor, bool, Any]:
    """W_U, gain, whether the norm centres, and the norm."""
    body = model.base_model
    norm = {"gpt2": "ln_f", "gpt_neox": "final_layer_norm"}.get(family, "norm")
    norm = getattr(body, norm)
    gain = 1 + norm.weight if family == "gemma2" else norm.weight
    head = body.get_input_embeddings() if model.config.tie_word_embeddings else model.get_output_embeddings()
    return head.weight.double(), gain.double(), family in ("gpt2", "gpt_neox"), norm


def divisor_by_hand(model: Any, norm: Any, is_centring: bool, corpus: Any) -> float:
    """The median over measured tokens of four documents, piece by piece."""
    seen: list[torch.Tensor] = []
    handle = norm.register_forward_pre_hook(lambda _, args: seen.append(args[0][0].double()))
    sizes = []
    docs = choose_documents(corpus, 4, 0)
    for context, start, stop in corpus.pieces.tolist():
        if corpus.doc[start] in docs:
            with torch.no_grad():
                model(input_ids=torch.from_numpy(corpus.token_ids[context:stop].astype(np.int64))[None])
            hidden = seen.pop()[start - context :]
            hidden = hidden - hidden.mean(-1, keepdim=True) if is_centring else hidden
            sizes.append(hidden.square().mean(-1).sqrt()[torch.from_numpy(corpus.is_measured[start:stop])])
    handle.remove()
    return float(np.median(torch.cat(sizes).numpy()))


@pytest.mark.parametrize("family", FAMILIES)
def test_effects_are_the_product_with_the_unembedding(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, corpus = bare(toy_model(family, **FAMILIES[family])), toy_corpus()
    W, gain, is_centring, norm = parts_by_hand(model, family)
    width = W.shape[1]
    way = find_way_out(study(model), corpus)
    s = divisor_by_hand(model, norm, is_centring, corpus)
    assert way.divisor == pytest.approx(s, rel=1e-5)
    monkeypatch.setattr(module, "TILE_VALUES", 2 * len(W))  # several tiles, both ways
    monkeypatch.setattr(module, "VOCABULARY_TILE", 7)
    vectors = torch.randn(5, width, generator=torch.Generator().manual_seed(3)).double() * 3
    epsilon = float(getattr(norm, "variance_epsilon", getattr(norm, "eps", 0.0)))
    centred = vectors - vectors.mean(1, keepdim=True) if is_centring else vectors
    want = (centred * gain) @ W.T / (s * s + epsilon) ** 0.5
    want = (want - want.mean(1, keepdim=True)).numpy()
    for found, row in zip(logit_effects(vectors.float(), way, 6), want, strict=True):
        order = np.argsort(-row)
        assert [token for token, _ in found["top"]] == order[:6].tolist()
        assert [token for token, _ in found["bottom"]] == order[::-1][:6].tolist()
        assert [v for _, v in found["top"]] == pytest.approx(row[order[:6]].tolist(), rel=2e-3, abs=1e-4)
        assert found["low"] == pytest.approx(row.min(), rel=2e-3) and found["high"] == pytest.approx(
            row.max(), rel=2e-3
        )
        assert len(found["counts"]) == BINS and sum(found["counts"]) == len(row)
        by_hand = np.histogram(row, BINS, (row.min(), row.max()))[0]
        assert np.abs(np.cumsum(found["counts"]) - np.cumsum(by_hand)).max() <= 1  # a value on an edge


def test_a_small_write_moves_the_logits_as_the_effect_says() -> None:
    """The derivative of the model's own logits by the last residual stream, with the norm's statistics held."""
    model, corpus = bare(toy_model("llama")), toy_corpus()
    way = find_way_out(study(model), corpus)
    W, gain, _, _ = parts_by_hand(model, "llama")
    direction = torch.randn(1, W.shape[1], generator=torch.Generator().manual_seed(1))
    hidden = torch.randn(W.shape[1], generator=torch.Generator().manual_seed(2)).double()
    hidden -= direction[0].double() * (hidden @ direction[0].double()) / direction[0].double().square().sum()
    hidden *= (
        way.divisor / hidden.square().mean().sqrt()
    )  # orthogonal to the write: its size changes in second order

    def output(h: torch.Tensor) -> torch.Tensor:
        logits = (h * gain / (h.square().mean() + 1e-6).sqrt()) @ W.T
        return logits - logits.mean()

    step = 1e-5
    slope = (output(hidden + step * direction[0].double()) - output(hidden)) / step
    (found,) = logit_effects(direction, way, 3)
    for token, value in found["top"]:
        assert value == pytest.approx(float(slope[token]), rel=2e-3, abs=1e-4)


def test_tokens_that_the_tokenizer_lacks_do_not_count() -> None:
    corpus = toy_corpus()
    corpus = replace(corpus, token_bytes=corpus.token_bytes[:40], is_special=corpus.is_special[:40],
                     token_ids=np.minimum(corpus.token_ids, 39))  # fmt: skip
    way = find_way_out(study(bare(toy_model("llama"))), corpus)
    (found,) = logit_effects(torch.randn(1, 32), way, 3)
    assert way.n_tokens == sum(found["counts"]) == 40


def test_what_has_no_way_out_says_so() -> None:
    with pytest.raises(FeaturebookError, match="Undefined here"):
        find_way_out(study(bare(toy_model("bert"))), toy_corpus())
    way = find_way_out(study(bare(toy_model("llama"))), toy_corpus())
    zero, broken = logit_effects(torch.stack([torch.zeros(32), torch.full((32,), torch.nan)]), way, 3)
    assert "zero" in zero["undefined"] and "not finite" in broken["undefined"]
