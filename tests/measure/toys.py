"""Toy models of many families, built from configuration objects, adapters with random weights, and the PEFT oracle."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    PreTrainedTokenizerFast,
)

from generator.blocks import Corpus
from generator.config import RunConfig
from generator.measure.corpus import build_corpus
from generator.progress import Silent

torch.set_num_threads(1)

TEXTS = [
    "Wait, let me check: 12 + 30 = 42.\n\nSo the answer is 42.",
    "def add(a, b):\n\treturn a + b  # “sum”\n",
    "Short.",
    "Здравствуй, мир! 你好，世界 👩‍🔬 \u202eabc\u202c zero\u200bwidth",
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen",
    "</script><b>bold</b> &amp; done",
    "Let me check again. 7 * 6 = 42. Wait.",
    "a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a",
]
SPECIAL = ["<|end|>", "<|user|>", "[PAD]"]
VOCABULARY = 384


@cache
def _tokenizer_json() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer.to_str()


def toy_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of 384 entries."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_tokenizer_json()), eos_token="<|end|>", pad_token="[PAD]",
        additional_special_tokens=["<|user|>"],
    )  # fmt: skip


COMMON: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": 2, "bos_token_id": 0, "eos_token_id": 0}
SMALL: dict[str, Any] = COMMON | {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 128,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "qwen2": SMALL | {"num_key_value_heads": 2},
    "llama": SMALL | {"num_key_value_heads": 2, "head_dim": 12},
    "gpt2": COMMON | {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128},
    "bert": SMALL | {"type_vocab_size": 2},
    "gemma2": SMALL | {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 64, "query_pre_attn_scalar": 8,
                       "attn_logit_softcapping": None},
    "gemma3_text": SMALL | {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 64, "query_pre_attn_scalar": 8},
    "gpt_neox": SMALL | {"rotary_pct": 0.5},
    "opt": SMALL | {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "bloom": COMMON | {"hidden_size": 32, "n_layer": 3, "n_head": 4},
    "mistral": SMALL | {"num_key_value_heads": 2, "sliding_window": 8},
    "roberta": SMALL | {"max_position_embeddings": 130, "pad_token_id": 2},
}  # fmt: skip
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TARGETS: dict[str, list[str]] = {
    "gpt2": ["c_attn", "c_proj", "c_fc"],
    "bert": ["query", "key", "value", "dense"],
    "roberta": ["query", "key", "value", "dense"],
    "gpt_neox": ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"],
    "opt": ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"],
    "bloom": ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"],
}


@dataclass
class Toy:
    """A base model and an adapter on disk, and a run that names them."""

    base: Path
    adapter: Path
    corpus_file: Path
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)

    def config(self, **tables: dict[str, Any]) -> RunConfig:
        """A run of this toy; keyword arguments are tables of the run file."""
        run: dict[str, Any] = {
            "model": {"base": str(self.base), "adapter": str(self.adapter), "device": "cpu"},
            "corpus": {"source": str(self.corpus_file)},
            "extract": {"batch_tokens": 64, "chunk_tokens": 60},
        }
        for name, table in (self.tables | tables).items():
            run[name] = run.get(name, {}) | table if isinstance(table, dict) else table
        return RunConfig.model_validate(run)

    def corpus(self, **tables: dict[str, Any]) -> Corpus:
        """The tokenised corpus."""
        return build_corpus(self.config(**tables), Silent())


def randomise(model: torch.nn.Module, seed: int = 0, scale: float = 0.4) -> None:
    """Random weights that make an adapter, a norm or a bias matter."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator) * scale
        if "lora_" in name:
            size = parameter.shape[-1] ** -0.5 if "_A" in name else 0.3
            parameter.data = (noise / scale * size).to(parameter)
        elif parameter.dim() == 1:
            parameter.data = parameter.data + (noise * 0.5).to(parameter)


def save_base(folder: Path, family: str, dtype: torch.dtype = torch.float32, **changes: Any) -> Path:
    """Saves a small model of a family with its tokenizer."""
    config = AutoConfig.for_model(family, **(FAMILIES[family] | changes))
    torch.manual_seed(0)
    kind = AutoModelForMaskedLM if family in ("bert", "roberta") else AutoModelForCausalLM
    model = kind.from_config(config)
    randomise(model)
    model.to(dtype).save_pretrained(folder)
    toy_tokenizer().save_pretrained(folder)
    return folder


def save_adapter(
    folder: Path, base: Path, family: str, *, name: str = "default", seed: int = 1, **options: Any
) -> Path:
    """Saves a random LoRA adapter for a saved base model, through PEFT."""
    from peft import LoraConfig, get_peft_model

    kind = AutoModelForMaskedLM if family in ("bert", "roberta") else AutoModelForCausalLM
    settings: dict[str, Any] = {"r": 1, "lora_alpha": 16, "target_modules": TARGETS.get(family, PROJECTIONS)}
    if kind is AutoModelForCausalLM:
        settings["task_type"] = "CAUSAL_LM"
    if options.pop("bare", False):
        kind, settings["task_type"] = AutoModel, "FEATURE_EXTRACTION"
    model = get_peft_model(kind.from_pretrained(base), LoraConfig(**(settings | options)), adapter_name=name)
    randomise_adapter(model, seed)
    model.save_pretrained(str(folder))
    return folder


def randomise_adapter(model: torch.nn.Module, seed: int) -> None:
    """Random values for the adapter's own tensors only."""
    generator = torch.Generator().manual_seed(seed)
    for key, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "lora_embedding_A" in key:
            parameter.data = noise
        elif "lora_A" in key:
            parameter.data = noise * parameter.shape[-1] ** -0.5
        elif "lora_B" in key or "lora_embedding_B" in key:
            parameter.data = noise * 0.01
        elif "magnitude" in key:
            parameter.data = parameter.data * (1 + 0.1 * noise)


def peft_activations(toy: Toy, corpus: Corpus, adapter_name: str = "default") -> dict[str, np.ndarray]:
    """The oracle: PEFT's own forward, one piece at a time, hooks on its ``lora_A``: module path -> (token, rank)."""
    import transformers
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    from generator.measure.model import read_blueprint

    blueprint = read_blueprint(toy.config().model)
    base = getattr(transformers, blueprint.class_name).from_pretrained(toy.base)
    model = PeftModel.from_pretrained(
        base, str(blueprint.adapter.folder), adapter_name=blueprint.adapter.name
    ).eval()
    found: dict[str, list[torch.Tensor]] = {}
    current: dict[str, torch.Tensor] = {}
    for path, layer in model.get_base_model().named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        name = blueprint.adapter.name
        if name in layer.lora_embedding_A:
            table = layer.lora_embedding_A[name].T
            layer.register_forward_hook(
                lambda m, args, out, path=path, table=table: current.__setitem__(path, table[args[0]][0])
            )
        else:
            layer.lora_A[name].register_forward_hook(
                lambda m, args, out, path=path: current.__setitem__(path, out.reshape(-1, out.shape[-1]))
            )
    for context, start, stop in corpus.pieces.tolist():
        with torch.no_grad():
            model(input_ids=torch.from_numpy(corpus.token_ids[context:stop].astype(np.int64))[None])
        for path, values in current.items():
            found.setdefault(path, []).append(values[start - context :].float())
    return {path: torch.cat(values).numpy() for path, values in found.items()}
