"""Makes the demo's tokenizer, base model, adapter and dictionaries: ``python -m generator.demo.recipe [--out FOLDER]``.

``--sae-only`` and ``--crosscoders-only`` make the autoencoder or the two crosscoders alone, from the base model, adapter and
corpus that lie in the folder. Runs on one CPU core, with fixed seeds and a fixed order of everything, so the same versions of torch, transformers,
peft and tokenizers on the same kind of processor give the same weights.
"""

import copy
import json
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from jaxtyping import Float, Int
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from generator.artifacts import read_json, to_json
from generator.config import load_run
from generator.demo.corpus import (
    ADAPTER_SHARES,
    BASE_SHARES,
    published,
    to_jsonl,
    training_texts,
)
from generator.pipeline import Folders, build

FOLDER = Path(__file__).parent
SAE_RUN = FOLDER.parent / "runs" / "demo-train-sae.toml"
"""The run file whose collection ``sae`` says how the autoencoder is trained."""
SAE_FILES = ("cfg.json", "sae_weights.safetensors", "training.json")
"""What is shipped of it: SAELens' two files, and the figures and curves for its page."""
CROSSCODER_RUN = FOLDER.parent / "runs" / "demo-train-crosscoders.toml"
"""The run file whose collections say how the two crosscoders are trained."""
CROSSCODER_FILES = ("config.json", "model.safetensors", "training.json")
"""What is shipped of each: crosscoder_learning's two files, and the figures and curves."""
END, TURN, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""How Qwen2's tokenizer cuts text before the merges: every digit is a token."""
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>think\\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Training:
    """One run of the optimiser."""

    n_documents: int
    """Documents generated to learn from."""
    steps: int
    """Optimiser steps; the learning rate warms up over a twentieth of them and falls along a cosine to a tenth."""
    learning_rate: float
    """Largest learning rate of AdamW (betas 0.9 and 0.95)."""
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay, on matrices only."""
    batch: int = 8
    """Sequences a step."""
    length: int = 512
    """Tokens of a sequence; documents lie one after another in it."""
    seed: int = 0
    """Seed of the initial weights and of the order of sequences."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the demo's models."""

    vocabulary: int = 2048
    """Tokens, special ones included."""
    hidden: int = 128
    """Width of the residual stream."""
    layers: int = 6
    """Decoder layers."""
    heads: int = 4
    """Query heads."""
    kv_heads: int = 2
    """Key and value heads: grouped-query attention."""
    neurons: int = 384
    """Width of an MLP."""
    context: int = 1024
    """Longest input in tokens."""
    alpha: float = 16.0
    """LoRA alpha; the scaling is alpha/√r = alpha at rank 1."""
    base: Training = Training(n_documents=9000, steps=500, learning_rate=4e-3, weight_decay=0.05)
    """How the base model is trained."""
    adapter: Training = Training(n_documents=2500, steps=500, learning_rate=3e-3, batch=4, seed=1)
    """How the adapter is trained."""


PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""All linear maps of a layer carry a LoRA pair."""

Log = Callable[[str], None]


def make(out: Path, recipe: Recipe, log: Log = print) -> dict[str, Any]:
    """Trains everything and writes ``corpus.jsonl``, ``base/``, ``adapter/``, ``report.json``, ``sae/``, ``crosslayer/`` and ``modeldiff/``.

    Args:
        out: Folder to write to; existing files of these names are replaced.
        recipe: Sizes, steps and seeds.
        log: Told the loss now and then.

    Returns:
        The report: sizes and mean losses in nats per token on the published corpus, which no model has seen.
    """
    run_deterministically()
    out.mkdir(parents=True, exist_ok=True)
    (out / "corpus.jsonl").write_bytes(to_jsonl(published()))
    base_texts = training_texts("base", BASE_SHARES, recipe.base.n_documents)
    traces = training_texts("adapter", ADAPTER_SHARES, recipe.adapter.n_documents)

    tokenizer = train_tokenizer(base_texts + traces, recipe.vocabulary)
    base = train_base(tokenizer, base_texts, recipe, log)
    save_base(base, tokenizer, out / "base")
    losses = {"base": held_out_losses(base, tokenizer, recipe.context)}
    adapted = train_adapter(base, tokenizer, traces, recipe, log)
    save_adapter(adapted, out / "adapter")
    losses["adapted"] = held_out_losses(adapted, tokenizer, recipe.context)

    report = {
        "losses": losses,
        "n_parameters": {"base": base_size(adapted), "adapter": trainable_size(adapted)},
        "n_training_tokens": {
            name: training.steps * training.batch * training.length
            for name, training in (("base", recipe.base), ("adapter", recipe.adapter))
        },
        "recipe": asdict(recipe),
    }
    (out / "report.json").write_bytes(to_json(report))
    make_dictionaries(out, SAE_RUN, SAE_FILES, log)
    make_dictionaries(out, CROSSCODER_RUN, CROSSCODER_FILES, log)
    return report


def run_deterministically() -> None:
    """One thread, and no kernel whose sums come in another order each time; for the rest of the process."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def make_dictionaries(out: Path, run: Path, files: Sequence[str], log: Log = print) -> None:
    """Trains the dictionaries of a run file and writes ``files`` of each to a folder of its name.

    The activations are those of the folder's models on the folder's corpus, measured by the same stages as any run's.

    Args:
        out: Folder that holds ``corpus.jsonl``, ``base/`` and ``adapter/``; existing files of the dictionaries are replaced.
        run: ``SAE_RUN`` or ``CROSSCODER_RUN``.
        files: ``SAE_FILES`` or ``CROSSCODER_FILES``.
        log: Told the held-out figures.
    """
    shipped = load_run(run)
    model = {"base": str(out / "base"), "adapter": str(out / "adapter")}
    config = shipped.model_copy(
        update={
            "model": shipped.model.model_copy(update=model),
            "corpus": shipped.corpus.model_copy(update={"source": str(out / "corpus.jsonl")}),
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        build(config, Folders(Path(folder)), only=("corpus", "extract", "train"))
        for collection in config.collections:
            (out / collection.name).mkdir(exist_ok=True)
            for name in files:
                trained = Path(folder) / "dictionaries" / collection.name / name
                shutil.copyfile(trained, out / collection.name / name)
    for collection in config.collections:
        held_out = read_json(out / collection.name / "training.json")["held_out"]
        figures = ", ".join(f"{name} {held_out[name]:.4f}" for name in ("fvu", "l0", "dead_share"))
        log(f"{collection.name}: {figures}")


def train_tokenizer(texts: list[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with Qwen2's pre-tokenization, which puts ``<|endoftext|>`` before every text."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END, TURN, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.post_processor = processors.TemplateProcessing(single=f"{END} $A", special_tokens=[(END, 0)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=END,
        eos_token=TURN_END,
        pad_token=END,
        additional_special_tokens=[TURN],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def train_base(
    tokenizer: PreTrainedTokenizerFast, texts: list[str], recipe: Recipe, log: Log
) -> Qwen2ForCausalLM:
    """A Qwen2 of the recipe's size, trained from random weights and rounded to bfloat16 values."""
    torch.manual_seed(recipe.base.seed)
    config = Qwen2Config(
        vocab_size=recipe.vocabulary,
        hidden_size=recipe.hidden,
        intermediate_size=recipe.neurons,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.kv_heads,
        max_position_embeddings=recipe.context,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen2ForCausalLM(config)
    optimise(model, pack(tokenizer, texts, recipe.base.length), recipe.base, log)
    round_to_bfloat16(model)
    return model


def train_adapter(
    base: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, texts: list[str], recipe: Recipe, log: Log
) -> PeftModel:
    """A rank-1 rank-stabilised LoRA adapter on all seven projections of every layer."""
    torch.manual_seed(recipe.adapter.seed)
    config = LoraConfig(
        r=1,
        lora_alpha=recipe.alpha,  # type: ignore[arg-type]  # peft also takes floats
        use_rslora=True,
        lora_dropout=0.0,
        target_modules=list(PROJECTIONS),
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(base, config)
    optimise(model, pack(tokenizer, texts, recipe.adapter.length), recipe.adapter, log)
    round_to_bfloat16(model)
    return model


def optimise(
    model: nn.Module,
    sequences: Int[Tensor, "doc token"],
    training: Training,
    log: Log,
    *,
    losses: Callable[..., Tensor] | None = None,
) -> None:
    """AdamW on the next-token loss (or on another one), over what requires a gradient, in place."""
    losses = losses or next_token_losses
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": training.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=training.learning_rate,
        betas=(0.9, 0.95),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_at(step, training.steps))
    model.train()
    for step, batch in enumerate(batches(sequences, training)):
        loss = losses(model, batch).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == training.steps - 1:
            log(f"step {step}/{training.steps}: loss {loss.item():.3f}")
    model.eval()


def rate_at(step: int, steps: int) -> float:
    """The learning rate at a step as a share of the largest."""
    warm_up = max(1, steps // 20)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def batches(sequences: Int[Tensor, "doc token"], training: Training) -> Iterator[Int[Tensor, "k token"]]:
    """Batches from one shuffled pass after another."""
    order = np.random.default_rng(training.seed)
    rows: list[int] = []
    for _ in range(training.steps):
        while len(rows) < training.batch:
            rows += order.permutation(len(sequences)).tolist()
        chosen, rows = rows[: training.batch], rows[training.batch :]
        yield sequences[chosen]


def pack(tokenizer: PreTrainedTokenizerFast, texts: list[str], length: int) -> Int[Tensor, "doc token"]:
    """The texts one after another, each with its ``<|endoftext|>``, cut into rows of ``length`` tokens."""
    rows = tokenizer(texts)["input_ids"]
    joined = torch.tensor([token for row in rows for token in row])
    return joined[: len(joined) // length * length].view(-1, length)


def next_token_losses(model: nn.Module, batch: Int[Tensor, "doc token"]) -> Float[Tensor, "doc token-1"]:
    """Cross-entropy in nats of every token but the first of each row."""
    logits = model(input_ids=batch).logits[:, :-1]
    losses = nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="none")
    return losses.view(len(batch), -1)


@torch.no_grad()
def held_out_losses(model: nn.Module, tokenizer: PreTrainedTokenizerFast, context: int) -> dict[str, float]:
    """Mean loss in nats per token, by kind of document of the published corpus; each is read up to the context."""
    found: dict[str, list[Tensor]] = {}
    for document in published():
        ids = torch.tensor([tokenizer(document.text)["input_ids"][:context]])
        found.setdefault(document.kind, []).append(next_token_losses(model, ids)[0])
    return {kind: round(torch.cat(losses).mean().item(), 3) for kind, losses in sorted(found.items())}


@torch.no_grad()
def round_to_bfloat16(model: nn.Module) -> None:
    """Rounds every weight to what bfloat16 can hold, and stays in float32: losses are those of the shipped weights."""
    for parameter in model.parameters():
        parameter.copy_(parameter.bfloat16().float())


def in_bfloat16(model: Any) -> Any:
    """A copy in bfloat16. Casting in place and back would round the rotary frequencies, which are no weights."""
    return copy.deepcopy(model).to(torch.bfloat16)


def save_base(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes the base model in bfloat16, with its tokenizer."""
    in_bfloat16(model).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Writes the adapter in bfloat16. It names its base by a path relative to the repository."""
    model.peft_config["default"].base_model_name_or_path = "generator/demo/base"
    in_bfloat16(model).save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's unfilled form
    path = folder / "adapter_config.json"
    written = read_json(path)
    written["target_modules"].sort()  # a set in peft, so its order differs between processes
    path.write_text(json.dumps(written, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def base_size(model: PeftModel) -> int:
    """Parameters of the base model; the tied embedding counts once."""
    return sum(p.numel() for name, p in model.named_parameters() if "lora_" not in name)


def trainable_size(model: PeftModel) -> int:
    """Parameters of the adapter."""
    return sum(p.numel() for name, p in model.named_parameters() if "lora_" in name)


def remake_families(out: Path, names: list[str], log: Log = print) -> None:
    """Trains small models of other families and writes what was measured of them to ``families.json``."""
    from generator.demo.families import FamilyRecipe, make_families

    run_deterministically()
    path = out / "families.json"
    before = read_json(path)["models"] if path.exists() else {}
    found = before | make_families(out, FamilyRecipe(), log, names)
    path.write_bytes(to_json({"models": found, "recipe": asdict(FamilyRecipe())}))


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=FOLDER, help="Folder to write to.")
@click.option("--sae-only", is_flag=True, help="Make the autoencoder alone, from the folder's models.")
@click.option(
    "--crosscoders-only", is_flag=True, help="Make the crosscoders alone, from the folder's models."
)
@click.option(
    "--families", default="", metavar="NAME[,NAME]", help="Make these small models alone: bert, gpt2, llama."
)
def main(out: Path, sae_only: bool, crosscoders_only: bool, families: str) -> None:
    """Makes the demo's corpus, tokenizer, base model, adapter and dictionaries."""
    if families:
        remake_families(out, families.split(","), click.echo)
        return
    if sae_only:
        run_deterministically()
        make_dictionaries(out, SAE_RUN, SAE_FILES, click.echo)
        return
    if crosscoders_only:
        run_deterministically()
        make_dictionaries(out, CROSSCODER_RUN, CROSSCODER_FILES, click.echo)
        return
    report = make(out, Recipe(), click.echo)
    for model, losses in report["losses"].items():
        click.echo(f"{model}: " + ", ".join(f"{kind} {loss:.3f}" for kind, loss in losses.items()))


if __name__ == "__main__":
    main()
