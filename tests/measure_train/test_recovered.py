"""Loss recovered against a brute-force rerun on toys: every module's forward rewritten by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from peft.tuners.lora import LoraLayer

from generator.blocks import Corpus
from generator.measure.analyze.ablation import adapted_modules, places_of
from generator.measure.analyze.anatomy import adapter_off, bare
from generator.measure.dictionaries import Dictionary
from generator.measure.dictionaries.activations import JumpRelu
from generator.measure.training.recovered import loss_recovered
from tests.measure_analyze.conftest import toy_corpus, toy_model

DOCS = [0, 2, 4]


def ids_of(model: Any) -> list[str]:
    """Channel ids in model order, as extraction names them."""
    adapted = adapted_modules(bare(model), "rows")
    return [
        place.id("lora", r, module.rank)
        for place, module in zip(places_of(bare(model), adapted), adapted)
        for r in range(module.rank)
    ]


def random_dictionary(width: int, n_features: int = 24) -> Dictionary:
    """Rebuilds badly, but something."""
    random = torch.Generator().manual_seed(5)
    W = torch.randn(n_features, width, generator=random) / width**0.5
    bias = torch.zeros(n_features)
    return Dictionary(W, bias, W.clone(), torch.zeros(width), JumpRelu(torch.full_like(bias, 0.05)))


def identity_dictionary(width: int) -> Dictionary:
    """Two latents per input, one for each sign: rebuilds exactly."""
    W = torch.cat([torch.eye(width), -torch.eye(width)])
    bias = torch.zeros(2 * width)
    return Dictionary(W, bias, W.clone(), torch.zeros(width), JumpRelu(bias))


def zero_dictionary(width: int) -> Dictionary:
    """Never active."""
    W, bias = torch.zeros(2, width), torch.zeros(2)
    return Dictionary(W, bias, W, torch.zeros(width), JumpRelu(torch.full_like(bias, 1e9)))


def all_measured(corpus: Corpus) -> Corpus:
    """The corpus without excluded tokens."""
    return replace(corpus, is_measured=np.ones(corpus.n_tokens, bool))


def measure(model: Any, dictionary: Dictionary, corpus: Corpus, **changes: Any) -> dict[str, Any]:
    options = {"docs": DOCS, "basis": "rows", "batch_tokens": 64} | changes
    return loss_recovered(model, corpus, dictionary, options.pop("inputs", ids_of(model)), **options)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("rank", [1, 3])
def test_identity_gives_one_and_zero_gives_zero(family: str, rank: int) -> None:
    model, corpus = toy_model(family, rank=rank), all_measured(toy_corpus())
    width = len(ids_of(model))
    same = measure(model, identity_dictionary(width), corpus)
    none = measure(model, zero_dictionary(width), corpus)
    for found in (same, none):
        assert found["baseline"] == "adapter off"
        assert found["n_tokens"] == sum(np.diff(corpus.doc_offsets)[DOCS]) - len(DOCS)
    assert same["loss"]["rebuilt"] == pytest.approx(same["loss"]["full"], abs=1e-6)
    assert none["loss"]["rebuilt"] == pytest.approx(none["loss"]["baseline"], abs=1e-9)
    with adapter_off(bare(model)):
        off = brute_loss(model, corpus)
    assert none["loss"]["baseline"] == pytest.approx(off, abs=1e-5)
    assert same["loss"]["full"] == pytest.approx(brute_loss(model, corpus), abs=1e-5)
    if same["value"] is not None:
        assert same["value"] == pytest.approx(1, abs=1e-3)
        assert none["value"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_replay_is_a_rerun_with_every_module_rewritten(family: str) -> None:
    """Scalars come from the untouched run even where earlier modules have changed what a module would read."""
    model, corpus = toy_model(family, rank=2), toy_corpus()
    ids = ids_of(model)
    dictionary = random_dictionary(len(ids))
    found = measure(model, dictionary, corpus)
    assert found["loss"]["rebuilt"] == pytest.approx(brute_rebuilt(model, corpus, dictionary), abs=1e-5)
    live = brute_rebuilt(model, corpus, dictionary, is_live=True)
    assert abs(live - found["loss"]["rebuilt"]) > 1e-4  # the other definition would be another number


def test_directions_that_are_not_read_stay_live() -> None:
    model, corpus = toy_model("llama", rank=1), all_measured(toy_corpus())
    ids = [i for i in ids_of(model) if i.endswith("down_proj")]
    same = measure(model, identity_dictionary(len(ids)), corpus, inputs=ids)
    assert same["baseline"] == "directions that it reads off"
    assert same["loss"]["rebuilt"] == pytest.approx(same["loss"]["full"], abs=1e-6)
    for name, module in bare(model).named_modules():
        if isinstance(module, LoraLayer) and name.endswith("down_proj"):
            module.lora_B["default"].weight.data.zero_()
    assert same["loss"]["baseline"] == pytest.approx(brute_loss(model, corpus), abs=1e-5)


def test_documents_that_the_adapter_helps_are_told_apart() -> None:
    model, corpus = toy_model("llama", rank=2), toy_corpus()
    dictionary, every = random_dictionary(len(ids_of(model))), [0, 1, 2, 4, 5]
    whole = measure(model, dictionary, corpus, docs=every)
    single = [measure(model, dictionary, corpus, docs=[doc]) for doc in every]
    helped = [one for one in single if one["loss"]["baseline"] > one["loss"]["full"]]
    assert 0 < len(helped) < len(every)
    assert whole["n_documents"] == len(every) and whole["helped"]["n_documents"] == len(helped)
    for name in ("full", "rebuilt", "baseline"):
        mean = sum(one["loss"][name] * one["n_tokens"] for one in helped) / whole["helped"]["n_tokens"]
        assert whole["helped"]["loss"][name] == pytest.approx(mean, abs=1e-6)


def test_undefined_cases_say_why() -> None:
    corpus = toy_corpus()
    masked = toy_model("bert", rank=1)
    found = measure(masked, zero_dictionary(1), corpus, inputs=ids_of(masked)[:1])
    assert found["value"] is None and "next token" in found["undefined"]
    model = toy_model("llama", rank=1)
    for module in bare(model).modules():
        if isinstance(module, LoraLayer):
            module.lora_B["default"].weight.data.zero_()
    found = measure(model, random_dictionary(len(ids_of(model))), corpus)
    assert found["value"] is None and "nothing to recover" in found["undefined"]
    assert found["loss"]["full"] == pytest.approx(found["loss"]["baseline"])


# --- by hand ---------------------------------------------------------------------------------------------------


def brute_loss(model: Any, corpus: Corpus) -> float:
    """Mean −log p of the next measured token's successor, document by document (each is one or two pieces)."""
    total, n = 0.0, 0
    for ids, rows in pieces_of(corpus):
        with torch.no_grad():
            predicted = torch.log_softmax(model(input_ids=ids[None]).logits[0].double(), -1)
        total, n = add_loss(predicted, rows, corpus, total, n)
    return total / n


def pieces_of(corpus: Corpus) -> list[tuple[torch.Tensor, range]]:
    found = []
    for context, start, stop in corpus.pieces.tolist():
        if corpus.doc[start] in DOCS:
            found.append(
                (torch.from_numpy(corpus.token_ids[context:stop].astype(np.int64)), range(start, stop))
            )
    return found


def add_loss(predicted: torch.Tensor, rows: range, corpus: Corpus, total: float, n: int) -> tuple[float, int]:
    shift = len(predicted) - len(rows)
    for i, row in enumerate(rows):
        if row + 1 < corpus.n_tokens and corpus.doc[row + 1] == corpus.doc[row] and corpus.is_measured[row]:
            total -= float(predicted[shift + i, int(corpus.token_ids[row + 1])])
            n += 1
    return total, n


def brute_rebuilt(model: Any, corpus: Corpus, dictionary: Dictionary, is_live: bool = False) -> float:
    """PEFT's layers with forwards of our own: W x + b + s · ŝ Bᵀ, with ŝ from A and the dictionary's formula."""
    total, n = 0.0, 0
    for ids, rows in pieces_of(corpus):
        measured = torch.from_numpy(corpus.is_measured[rows.stop - len(ids) : rows.stop])
        output = brute_output(model, ids, measured, dictionary, is_live)
        total, n = add_loss(torch.log_softmax(output.double(), -1), rows, corpus, total, n)
    return total / n


def brute_output(
    model: Any, ids: torch.Tensor, measured: torch.Tensor, dictionary: Dictionary, is_live: bool
) -> torch.Tensor:
    layers = [m for m in bare(model).modules() if isinstance(m, LoraLayer)]
    seen: dict[int, torch.Tensor] = {}
    run(model, ids, layers, lambda i, s: seen.__setitem__(i, s) or s)
    recorded = torch.cat([seen[i] for i in range(len(layers))], -1)
    pre = recorded @ dictionary.W_enc.T + dictionary.b_enc
    rebuilt = (pre * (pre > 0.05)) @ dictionary.W_dec + dictionary.b_dec
    rebuilt = torch.where(measured[:, None], rebuilt, recorded)
    parts = rebuilt.split([seen[i].shape[-1] for i in range(len(layers))], -1)
    change = [part - seen[i] for i, part in enumerate(parts)]
    return run(model, ids, layers, lambda i, s: s + change[i] if is_live else parts[i])


def run(model: Any, ids: torch.Tensor, layers: list[Any], of: Any) -> torch.Tensor:
    def forward_of(index: int, layer: Any) -> Any:
        A, B = layer.lora_A["default"].weight, layer.lora_B["default"].weight

        def forward(x: torch.Tensor) -> torch.Tensor:
            return layer.base_layer(x) + layer.scaling["default"] * F.linear(
                of(index, F.linear(x, A)[0] if x.dim() == 3 else F.linear(x, A)), B
            )

        return forward

    for index, layer in enumerate(layers):
        layer.forward = forward_of(index, layer)
    try:
        with torch.no_grad():
            return model(input_ids=ids[None]).logits[0]
    finally:
        for layer in layers:
            del layer.forward
