"""Families that nobody listed: what is measured of them is the model's own, and what they lack is said."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

from generator.artifacts import to_json
from generator.errors import FeaturebookError
from generator.measure.analyze.anatomy import eager, study
from generator.measure.analyze.heads import HeadSettings, measure_heads, prompt_attention
from generator.measure.analyze.logits import direct_logit_attribution
from generator.measure.analyze.predictions import logit_lens, text_log_probabilities
from generator.measure.analyze.report import Reader, TextSettings, describe
from generator.measure.analyze.texts import Reading, Text
from generator.progress import Silent
from tests.measure_analyze.conftest import CONTEXT, SHAPE, VOCABULARY, toy_corpus

IDS = [1, 17, 33, 8, 17, 33, 9]
GROUPED = SHAPE | {"num_key_value_heads": 2}
DECODERS: dict[str, dict[str, Any]] = {
    "opt": SHAPE | {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "gpt_neox": SHAPE,
    "mistral": GROUPED | {"sliding_window": 4},
    "qwen3": GROUPED | {"head_dim": 8, "tie_word_embeddings": True},
    "stablelm": GROUPED,
    "phi": SHAPE,
    "gptj": {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": CONTEXT, "rotary_dim": 4},
    "falcon": SHAPE | {"new_decoder_architecture": False, "alibi": False},
    "mpt": {"vocab_size": VOCABULARY, "d_model": 32, "n_layers": 3, "n_heads": 4, "max_seq_len": CONTEXT},
}  # fmt: skip
ENCODERS: dict[str, dict[str, Any]] = {
    "roberta": SHAPE | {"max_position_embeddings": CONTEXT + 2, "pad_token_id": 1},
    "mpnet": SHAPE | {"max_position_embeddings": CONTEXT + 2, "pad_token_id": 1},
    "distilbert": {"vocab_size": VOCABULARY, "dim": 32, "hidden_dim": 48, "n_layers": 3, "n_heads": 4}
    | {"max_position_embeddings": CONTEXT},
    "electra": SHAPE | {"embedding_size": 16},
    "deberta-v2": SHAPE | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0},
}
HAVE_NO_PARTS = {"falcon", "mpt"}
"""Decoders that add inside their blocks what others add in the layer."""


def made(family: str, *, dtype: torch.dtype = torch.float32, kernel: str | None = "eager") -> torch.nn.Module:
    torch.manual_seed(0)
    kind = AutoModelForMaskedLM if family in ENCODERS else AutoModelForCausalLM
    config = AutoConfig.for_model(family, **(ENCODERS | DECODERS)[family])
    model = kind.from_config(config, attn_implementation=kernel)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.to(dtype).eval().requires_grad_(False)


@pytest.mark.parametrize("family", [*DECODERS, *ENCODERS])
def test_attention_and_lens_are_the_models_own(family: str):
    model = made(family)
    anatomy = study(model)
    with torch.no_grad():
        output = model(input_ids=torch.tensor([IDS]), output_attentions=True)
    for mine, theirs in zip(prompt_attention(anatomy, IDS), output.attentions, strict=True):
        np.testing.assert_allclose(mine, theirs[0], atol=1e-5)
    expected = torch.log_softmax(output.logits[0].float(), -1)
    torch.testing.assert_close(text_log_probabilities(anatomy, IDS), expected, rtol=1e-4, atol=1e-5)
    lens = logit_lens(anatomy, IDS, k=3)
    assert len(lens) == anatomy.n_layers + 1
    np.testing.assert_allclose(lens[-1].top.probability, expected.exp().topk(3).values, rtol=1e-3)
    assert anatomy.context == CONTEXT and anatomy.is_causal == (family in DECODERS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("family", sorted(set(DECODERS) - HAVE_NO_PARTS))
def test_parts_of_a_logit_sum_to_it_in_any_precision(family: str, dtype: torch.dtype):
    parts = direct_logit_attribution(study(made(family, dtype=dtype)), IDS, len(IDS) - 1, 20)
    size = np.abs(parts.heads).sum() + np.abs(parts.mlps).sum() + abs(parts.embedding)
    assert abs(parts.total - parts.logit) < (1e-5 if dtype == torch.float32 else 0.03) * size


@pytest.mark.parametrize("family", [*DECODERS, *ENCODERS])
def test_every_section_has_numbers_or_a_reason(family: str, tmp_path: Path):
    model = made(family, kernel=None)
    anatomy = study(model)
    words = [f" {i}".encode() for i in range(VOCABULARY)]
    reader = Reader(model, anatomy, _Tokenizer(), words, np.arange(VOCABULARY) < 3, None)
    settings = TextSettings(top_tokens=3, continuations=1, continuation_tokens=2, nodes=4, max_nodes=4)
    for ids in (IDS, [5], [0] * 4):
        found = describe(
            reader, Text("t", "prompt", "t"), Reading(ids, len(ids)), settings, tmp_path, "k", Silent()
        )
        assert b"NaN" not in to_json(found) and found["lens"]["base"]
        assert ("undefined" in found["attention"]) == (family == "falcon")
    with pytest.raises(FeaturebookError, match=f"has {CONTEXT + 1} tokens and the model reads {CONTEXT}"):
        long = Reading([5] * (CONTEXT + 1), CONTEXT + 1)
        describe(reader, Text("t", "prompt", "t"), long, settings, tmp_path, "k", Silent())


def test_repeated_sequences_fit_a_context_that_is_shorter_than_the_table_of_positions():
    found = measure_heads(made("roberta"), toy_corpus((9, 4)), HeadSettings(period=50), Silent())
    assert {m.metric for m in found[0].scores} >= {"induction", "duplicate_token"}


def test_a_model_that_stays_with_its_kernel_says_how_to_load_it():
    model = made("falcon", kernel="sdpa")
    with pytest.raises(FeaturebookError, match="attn_implementation"), eager(model):
        pass
    assert study(model).n_layers == 3


def test_layers_that_share_weights_are_refused():
    torch.manual_seed(0)
    config = AutoConfig.for_model("albert", **(SHAPE | {"embedding_size": 16}))
    with pytest.raises(FeaturebookError, match="runs a layer more than once"):
        study(AutoModelForMaskedLM.from_config(config).eval())


class _Tokenizer:
    mask_token_id = None
    eos_token_id = 2
