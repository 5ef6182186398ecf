"""Toy models of several families with random weights and adapters, and a toy corpus; all in memory."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

from generator.blocks import Corpus
from generator.measure.analyze.anatomy import Anatomy, study

torch.set_num_threads(1)

VOCABULARY = 61
CONTEXT = 48
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": SHAPE | {"num_key_value_heads": 2},
    "qwen2": SHAPE | {"num_key_value_heads": 2},
    "gpt2": {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": CONTEXT}
    | {"bos_token_id": 1, "eos_token_id": 2},
    "bert": SHAPE | {"type_vocab_size": 2},
    "gpt_neox": SHAPE | {"rotary_pct": 0.5},
    "gemma2": SHAPE | {"num_key_value_heads": 2, "head_dim": 8, "query_pre_attn_scalar": 8},
}
TARGETS = {
    "gpt2": ["c_attn", "c_proj", "c_fc"],
    "bert": ["query", "key", "value", "dense"],
    "gpt_neox": ["query_key_value", "dense"],
}
DECODERS = ("llama", "qwen2", "gpt2")


def toy_model(family: str, *, rank: int = 0, **changes: Any) -> nn.Module:
    """A model in float32 whose every parameter matters, with a random adapter of this rank when not 0."""
    torch.manual_seed(0)
    kind = AutoModelForMaskedLM if family == "bert" else AutoModelForCausalLM
    model = kind.from_config(AutoConfig.for_model(family, **(FAMILIES[family] | changes)))
    for parameter in model.parameters():
        noise = torch.randn_like(parameter)
        parameter.data += 0.1 * noise if parameter.dim() > 1 else 0.2 * noise
    if rank:
        from peft import LoraConfig, get_peft_model

        default = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        targets = TARGETS.get(family, default)
        model = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets))
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.data = 0.3 * torch.randn_like(parameter)
    return model.eval().requires_grad_(False)


@cache
def toy(family: str, rank: int = 0) -> tuple[nn.Module, Anatomy]:
    """One model per family and rank, shared by all tests: leave it as it was."""
    model = toy_model(family, rank=rank)
    return model, study(model)


def toy_corpus(lengths: tuple[int, ...] = (30, 7, 19, 2, 44, 12), seed: int = 0) -> Corpus:
    """Documents of random tokens that begin with token 1, which is special. Documents over 40 are read in two pieces."""
    random = np.random.default_rng(seed)
    docs = [np.concatenate([[1], random.integers(3, VOCABULARY, n - 1)]) for n in lengths]
    offsets = np.cumsum([0, *lengths])
    pieces = []
    for start, stop in zip(offsets, offsets[1:]):
        cut = min(start + 40, stop)
        pieces.append((start, start, cut))
        if cut < stop:
            pieces.append((cut - 10, cut, stop))
    is_special = np.arange(VOCABULARY) < 3
    ids = np.concatenate(docs).astype(np.int32)
    return Corpus(
        token_ids=ids,
        doc_offsets=offsets,
        is_measured=~is_special[ids],
        pieces=np.array(pieces),
        token_bytes=[f" {i}".encode() for i in range(VOCABULARY)],
        is_special=is_special,
        doc_names=[str(i) for i in range(len(lengths))],
        doc_metadata=[{} for _ in lengths],
    )


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    return toy_corpus()
