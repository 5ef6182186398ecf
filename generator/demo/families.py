"""The demo's three small models beside the main one: BERT, GPT-2 and Llama, trained on the same text.

``python -m generator.demo.recipe --families bert,gpt2,llama``. The decoders read with the demo's tokenizer; BERT has a WordPiece tokenizer
of its own, lower-cased as that of bert-base-uncased is, with a mask token.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from generator.demo.corpus import ADAPTER_SHARES, BASE_SHARES, published, training_texts
from generator.demo.recipe import (
    Log,
    Training,
    in_bfloat16,
    next_token_losses,
    optimise,
    pack,
    round_to_bfloat16,
)

MASKED_SHARE = 0.15
"""Share of a text's tokens that a masked model has to restore (Devlin et al. 2019, 1810.04805, section 3.1)."""
LEARNT_SHARE = 0.2
"""The same while it learns: more to learn from in each row."""
INITIAL_GAIN = 5.0
"""Of BERT's first weights over transformers' 0.02, which suits a width of 768; 0.1 is about 1/√96."""
POSITION_SIZE = 0.14
"""Of the sine waves that BERT's position embeddings begin as, so that neighbours are alike from the start."""

DECODER = Training(n_documents=6000, steps=500, learning_rate=4e-3, weight_decay=0.05, batch=16, length=128)
FIRST = Training(n_documents=6000, steps=500, learning_rate=3e-3, weight_decay=0.01, batch=64, length=32)
SHORT = Training(
    n_documents=6000, steps=500, learning_rate=2e-3, weight_decay=0.01, batch=64, length=32, seed=1
)
LONG = Training(
    n_documents=6000, steps=800, learning_rate=1.5e-3, weight_decay=0.01, batch=16, length=128, seed=2
)


@dataclass(frozen=True)
class FamilyRecipe:
    """Everything that decides one of the three models."""

    vocabulary: int = 2048
    """Entries of BERT's own tokenizer; the decoders take the demo's."""
    hidden: int = 96
    """Width of the residual stream."""
    layers: int = 4
    """Layers."""
    heads: int = 4
    """Heads; the Llama shares keys and values between two each."""
    neurons: int = 384
    """Width of an MLP; two thirds of it in the Llama, whose MLP has three matrices."""
    context: int = 512
    """Positions that the models have; they learn the first ``training.length`` of them, and their tokenizers say so."""
    n_traces: int = 1500
    """Reasoning traces among the texts, so that these models know both kinds of text of the demo."""
    training: Training = DECODER
    """How each decoder is trained."""
    first: Training = FIRST
    """BERT's first steps: next tokens under a causal mask. Every token teaches there; masks alone teach a fifth of them, and such
    a model knows little more than frequencies for thousands of steps."""
    masked: tuple[Training, ...] = (SHORT, LONG)
    """Then it fills in masks, in short rows first, whose tokens lie near one another, then in rows of full length."""

    @property
    def length(self) -> int:
        """Longest text in tokens that the models have learned from, so the longest that they are given to read."""
        return self.training.length


def make_families(
    out: Path, recipe: FamilyRecipe, log: Log = print, names: Sequence[str] = ("bert", "gpt2", "llama")
) -> dict[str, Any]:
    """Trains the models and writes ``bert/``, ``gpt2/`` and ``llama/``.

    Args:
        out: Folder that holds ``base/`` with the demo's tokenizer; existing files in the models' folders are replaced.
        recipe: Sizes, steps and seeds.
        log: Told the loss now and then.
        names: Which of them.

    Returns:
        Name of the model -> parameters, and mean loss in nats per token (per masked token) on the published corpus,
        which no model has seen.
    """
    texts = training_texts("base", BASE_SHARES, recipe.training.n_documents)
    texts += training_texts("adapter", ADAPTER_SHARES, recipe.n_traces)
    demo: Any = AutoTokenizer.from_pretrained(out / "base")
    report = {}
    for name in names:
        build, losses = FAMILIES[name]
        tokenizer = train_wordpiece(texts, recipe) if name == "bert" else demo
        tokenizer.model_max_length = recipe.length
        torch.manual_seed(recipe.training.seed)
        model = build(recipe, tokenizer)
        log(f"{name}: {sum(p.numel() for p in model.parameters()):,} parameters")
        rows = pack(tokenizer, texts, recipe.length)
        for training, loss_of in _lessons(name, recipe, tokenizer):
            optimise(model, rows.view(-1, training.length), training, log, losses=loss_of)
        round_to_bfloat16(model)
        in_bfloat16(model).save_pretrained(out / name)
        tokenizer.save_pretrained(out / name)
        report[name] = {
            "n_parameters": sum(p.numel() for p in model.parameters()),
            "loss": held_out_loss(model, tokenizer, recipe.length, losses(tokenizer)),
        }
        log(f"{name}: held-out loss {report[name]['loss']}")
    return report


def _lessons(
    name: str, recipe: FamilyRecipe, tokenizer: PreTrainedTokenizerFast
) -> list[tuple[Training, Callable[..., Tensor]]]:
    """What a model learns, one after another."""
    if name != "bert":
        return [(recipe.training, next_token_losses)]
    masks = [(training, masked_losses(tokenizer, LEARNT_SHARE)) for training in recipe.masked]
    return [(recipe.first, causal_losses), *masks]


# --- Architectures ---------------------------------------------------------------------------------------------


def build_bert(recipe: FamilyRecipe, tokenizer: PreTrainedTokenizerFast) -> nn.Module:
    """A BERT with random weights and waves for positions (Vaswani et al. 2017, 1706.03762, section 3.5)."""
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            intermediate_size=recipe.neurons,
            max_position_embeddings=recipe.context,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(INITIAL_GAIN)
        table = model.bert.embeddings.position_embeddings.weight
        table.copy_(POSITION_SIZE * waves(*table.shape))
    return model


def waves(n: int, d: int) -> Float[Tensor, "token d"]:
    """Sines and cosines of positions, by turns, in ever longer waves."""
    positions = torch.arange(n)[:, None]
    frequencies = torch.exp(torch.arange(0, d, 2) * (-math.log(10_000) / d))
    found = torch.empty(n, d)
    found[:, 0::2], found[:, 1::2] = torch.sin(positions * frequencies), torch.cos(positions * frequencies)
    return found


def build_gpt2(recipe: FamilyRecipe, tokenizer: PreTrainedTokenizerFast) -> nn.Module:
    """A GPT-2 with random weights."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer),
            n_embd=recipe.hidden,
            n_layer=recipe.layers,
            n_head=recipe.heads,
            n_inner=recipe.neurons,
            n_positions=recipe.context,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def build_llama(recipe: FamilyRecipe, tokenizer: PreTrainedTokenizerFast) -> nn.Module:
    """A Llama with random weights and grouped-query attention."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.heads // 2,
            intermediate_size=recipe.neurons * 2 // 3,
            max_position_embeddings=recipe.context,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


# --- Masked language modelling ---------------------------------------------------------------------------------


def train_wordpiece(texts: list[str], recipe: FamilyRecipe) -> PreTrainedTokenizerFast:
    """A lower-casing WordPiece tokenizer that writes ``[CLS] text [SEP]``."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = _empty_wordpiece(models.WordPiece(unk_token="[UNK]"))
    assert words.normalizer is not None and words.pre_tokenizer is not None
    cut = (words.pre_tokenizer.pre_tokenize_str(words.normalizer.normalize_str(text)) for text in texts)
    later = sorted({f"##{letter}" for text in cut for word, _ in text for letter in word[1:]})
    trainer = trainers.WordPieceTrainer(
        vocab_size=recipe.vocabulary,
        special_tokens=special
        + later,  # in this order: the trainer's own numbers of them differ from run to run
        min_frequency=2,
        show_progress=False,
    )
    words.train_from_iterator(texts, trainer)
    words = _empty_wordpiece(models.WordPiece(words.get_vocab(), unk_token="[UNK]"))
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return PreTrainedTokenizerFast(
        tokenizer_object=words, model_max_length=recipe.length, **dict(zip(names, special))
    )


def _empty_wordpiece(model: models.WordPiece) -> Tokenizer:
    words = Tokenizer(model)
    words.normalizer = normalizers.BertNormalizer(lowercase=True)
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words.decoder = decoders.WordPiece()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return words


def causal_losses(model: Any, batch: Int[Tensor, "doc token"]) -> Float[Tensor, " k"]:
    """A masked model's loss on next tokens, when no token sees what follows it."""
    n, length = batch.shape
    seen = torch.ones(length, length, dtype=torch.bool).tril().expand(n, 1, -1, -1)
    hidden = model.bert(input_ids=batch, attention_mask=seen).last_hidden_state
    logits = model.cls(hidden[:, :-1]).flatten(0, 1)
    return nn.functional.cross_entropy(logits, batch[:, 1:].flatten(), reduction="none")


def masked_losses(
    tokenizer: PreTrainedTokenizerFast, share: float = MASKED_SHARE
) -> Callable[[nn.Module, Int[Tensor, "doc token"]], Float[Tensor, " k"]]:
    """A loss that masks some of the tokens: 80 % of them by the mask token, 10 % by another one, 10 % left as they are.

    Which ones is drawn from one generator, so the whole training is fixed by the order of its batches.
    """
    random = torch.Generator().manual_seed(0)
    special = torch.tensor(tokenizer.all_special_ids)

    def losses(model: Any, batch: Int[Tensor, "doc token"]) -> Float[Tensor, " k"]:
        chosen = torch.rand(batch.shape, generator=random) < share
        chosen &= ~torch.isin(batch, special)
        chosen[0, 1] = True  # never none
        kind = torch.rand(batch.shape, generator=random)
        others = torch.randint(len(special), len(tokenizer), batch.shape, generator=random)
        given = torch.where(chosen & (kind < 0.8), tokenizer.mask_token_id, batch)
        given = torch.where(chosen & (kind >= 0.9), others, given)
        hidden = model.bert(input_ids=given).last_hidden_state[chosen]
        return nn.functional.cross_entropy(model.cls(hidden), batch[chosen], reduction="none")

    return losses


@torch.no_grad()
def held_out_loss(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerFast,
    length: int,
    losses: Callable[..., Tensor],
    most: int | None = None,
) -> float:
    """Mean loss in nats on the published corpus, cut into rows of ``length`` tokens; on the first ``most`` of them."""
    rows = pack(tokenizer, [document.text for document in published()], length)[:most]
    found = [losses(model, batch).flatten() for batch in rows.split(16)]
    return round(torch.cat(found).mean().item(), 3)


def _next_token(
    tokenizer: PreTrainedTokenizerFast,
) -> Callable[[nn.Module, Int[Tensor, "doc token"]], Tensor]:
    return next_token_losses


FAMILIES: dict[str, tuple[Callable[..., nn.Module], Callable[..., Callable[..., Tensor]]]] = {
    "bert": (build_bert, masked_losses),
    "gpt2": (build_gpt2, _next_token),
    "llama": (build_llama, _next_token),
}
"""Folder -> what builds the model, and what makes its loss."""
