"""Ablation against PEFT itself with weights set to 0, streamed, resumed, refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from generator.blocks import Corpus
from generator.errors import FeaturebookError
from generator.measure.analyze import ablation
from generator.measure.analyze.ablation import (
    AblationSettings,
    adapted_modules,
    choose_documents,
    list_parts,
    measure_ablation,
    removing,
)
from generator.measure.analyze.anatomy import adapter_off, bare
from generator.progress import Silent
from tests.measure_analyze.conftest import toy, toy_corpus, toy_model

ROWS = AblationSettings(n_documents=9, basis="rows", batch_tokens=160)


def peft_effect(
    model: torch.nn.Module, corpus: Corpus, names: list[str], ranks: list[int]
) -> tuple[float, float]:
    """(KL, CE change) by setting rows of PEFT's A to 0, one document at a time, over measured tokens."""
    kl, loss = [], []
    for doc in range(corpus.n_docs):
        ids = torch.from_numpy(corpus.token_ids[corpus.tokens_of(doc)].astype(np.int64))[None]
        with torch.no_grad():
            full = torch.log_softmax(model(input_ids=ids).logits[0], -1)
            weights = [bare(model).get_submodule(name).lora_A["default"].weight for name in names]
            before = [w.clone() for w in weights]
            for w in weights:
                w[ranks] = 0
            ablated = torch.log_softmax(model(input_ids=ids).logits[0], -1)
            for w, b in zip(weights, before):
                w.copy_(b)
        measured = torch.from_numpy(corpus.is_measured[corpus.tokens_of(doc)])
        kl.append((full.exp() * (full - ablated)).sum(-1)[measured])
        change = (full - ablated)[:-1].gather(1, ids[0, 1:, None])[:, 0]
        loss.append(change[measured[:-1]])
    return float(torch.cat(kl).mean()), float(torch.cat(loss).mean())


@pytest.mark.parametrize(
    "family, path, dotted",
    [
        ("llama", "model.layers.1.mlp.up_proj", "L1.up_proj"),
        ("gpt2", "transformer.h.2.attn.c_proj", "L2.attn.c_proj"),
    ],
)
def test_effects_are_those_of_weights_set_to_zero(family: str, path: str, dotted: str):
    model, corpus = toy(family, 2)[0], toy_corpus((13, 7))
    by_key = {e.part.key: e for e in measure_ablation(model, corpus, ROWS, Silent()).effects}
    for key, ranks in (
        (f"module {dotted}", [0, 1]),
        (f"direction lora/{dotted.replace('.', '/', 1)}/r1", [1]),
    ):
        kl, loss = peft_effect(model, corpus, [path], ranks)
        assert by_key[key].divergence.value == pytest.approx(kl, rel=1e-3)
        assert by_key[key].loss_change.value == pytest.approx(loss, rel=1e-3, abs=1e-5)
        assert by_key[key].divergence.n == corpus.is_measured.sum()
    layer = dotted.split(".")[0][1:]
    names = [m.name for m in adapted_modules(bare(model)) if f".{layer}." in m.name]
    assert by_key[f"layer {layer}"].divergence.value == pytest.approx(
        peft_effect(model, corpus, names, [0, 1])[0], rel=1e-3
    )


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
@pytest.mark.parametrize("basis", ["rows", "svd"])
def test_taking_everything_away_leaves_the_base_model(family: str, basis: str):
    model = toy(family, 2)[0]
    adapted = adapted_modules(bare(model), basis)
    ids = torch.arange(3, 12)[None].repeat(2, 1)
    masks = {i: torch.tensor([[True] * m.rank, [False] * m.rank]) for i, m in enumerate(adapted)}
    with torch.no_grad():
        full = model(input_ids=ids).logits
        with removing(adapted, masks):
            mixed = model(input_ids=ids).logits
        with adapter_off(model):
            base = model(input_ids=ids).logits
    torch.testing.assert_close(mixed[0], base[0], atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(mixed[1], full[1])


def test_any_batching_gives_the_same():
    model, corpus = toy("gpt2", 1)[0], toy_corpus((13, 7, 2))
    one = AblationSettings(n_documents=9, parts_per_pass=1, batch_tokens=1)
    many = AblationSettings(n_documents=9, parts_per_pass=7, batch_tokens=2000)
    a, b = (measure_ablation(model, corpus, s, Silent()) for s in (one, many))
    for x, y in zip(a.effects, b.effects):
        assert x.part == y.part and x.divergence.n == y.divergence.n
        assert x.divergence.value == pytest.approx(y.divergence.value, rel=1e-3, abs=1e-6)


def test_parts_and_grid():
    model = toy("llama", 2)[0]
    result = measure_ablation(model, toy_corpus((9,)), ROWS, Silent())
    kinds = [e.part.kind for e in result.effects]
    assert {k: kinds.count(k) for k in set(kinds)} == {
        "direction": 3 * 7 * 2, "module": 3 * 7, "layer": 3, "type": 7, "adapter": 1
    }  # fmt: skip
    grid = result.grid()
    assert grid.method["layers"] == [0, 1, 2] and len(grid.method["modules"]) == 7
    assert all(value.value is not None and value.value >= 0 for row in grid.values for value in row)
    assert "lora/L2/down_proj/r1" in result.of_channels()


def test_of_a_rank_1_adapter_module_and_direction_are_one():
    result = measure_ablation(toy("gpt2", 1)[0], toy_corpus((9,)), ROWS, Silent())
    by_key = {e.part.key: e for e in result.effects}
    assert by_key["direction lora/L0/c_attn"].divergence == by_key["module L0.c_attn"].divergence


def test_a_killed_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model, corpus = toy("gpt2", 1)[0], toy_corpus((13, 7, 2))
    settings = AblationSettings(n_documents=9, batch_tokens=40)
    whole = measure_ablation(model, corpus, settings, Silent())
    runs = []
    run = ablation._Runner.run

    def fails_at_the_second(self, *args):
        if len(runs) == 1:
            raise KeyboardInterrupt
        runs.append(1)
        return run(self, *args)

    monkeypatch.setattr(ablation._Runner, "run", fails_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        measure_ablation(model, corpus, settings, Silent(), folder=tmp_path, key="a")
    assert len(list(tmp_path.iterdir())) == 1
    calls = []
    monkeypatch.setattr(ablation._Runner, "run", lambda self, *args: calls.append(1) or run(self, *args))
    resumed = measure_ablation(model, corpus, settings, Silent(), folder=tmp_path, key="a")
    assert resumed.effects == whole.effects
    n_files = len(list(tmp_path.iterdir()))
    assert len(calls) == n_files - 1 > 1
    damaged = next(iter(tmp_path.iterdir()))
    damaged.write_bytes(b"\x93NUMPY")
    assert (
        measure_ablation(model, corpus, settings, Silent(), folder=tmp_path, key="a").effects == whole.effects
    )
    calls.clear()
    measure_ablation(model, corpus, settings, Silent(), folder=tmp_path, key="another model")
    assert len(calls) == n_files


def test_running_out_of_memory_halves_the_batch(monkeypatch: pytest.MonkeyPatch):
    model, corpus = toy("gpt2", 1)[0], toy_corpus((12,))
    expected = measure_ablation(model, corpus, AblationSettings(), Silent())
    group = ablation._Runner._group

    def tight(self, feed, parts, *args):
        if len(parts) > limit:
            raise torch.OutOfMemoryError
        return group(self, feed, parts, *args)

    monkeypatch.setattr(ablation._Runner, "_group", tight)
    limit, progress = 1, Silent()
    assert [e.part for e in measure_ablation(model, corpus, AblationSettings(), progress).effects] == [
        e.part for e in expected.effects
    ]
    assert progress.notes == [
        "out of memory with 4 ablations at once: going on with 2",
        "out of memory with 2 ablations at once: going on with 1",
    ]
    limit = 0
    with pytest.raises(FeaturebookError, match="one ablation at a time"):
        measure_ablation(model, corpus, AblationSettings(), Silent())


def test_an_adapter_on_the_embedding_is_ablated():
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(
        toy_model("llama"), LoraConfig(r=2, target_modules=["embed_tokens", "q_proj"])
    ).eval()
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = 0.3 * torch.randn_like(parameter)
    adapted, ids = adapted_modules(bare(model)), torch.arange(3, 12)[None]
    with (
        torch.no_grad(),
        removing(adapted, {i: torch.ones(1, 2, dtype=torch.bool) for i in range(len(adapted))}),
    ):
        found = model(input_ids=ids).logits
    with torch.no_grad(), adapter_off(model):
        torch.testing.assert_close(found, model(input_ids=ids).logits, atol=1e-4, rtol=1e-3)
    parts = list_parts(adapted, ablation.places_of(bare(model), adapted), "lora")
    assert {p.first_layer for p in parts if p.channel.startswith("lora/model.embed_tokens")} == {0}


def test_masked_models_have_no_loss_and_models_without_adapter_nothing():
    result = measure_ablation(toy("bert", 2)[0], toy_corpus((9,)), ROWS, Silent())
    assert all(e.loss_change.reason and e.divergence.value is not None for e in result.effects)
    with pytest.raises(FeaturebookError, match="nothing to ablate"):
        measure_ablation(toy("gpt2")[0], toy_corpus((9,)), ROWS, Silent())


def test_documents_are_chosen_by_hash(corpus: Corpus):
    assert choose_documents(corpus, 99, 0) == list(range(corpus.n_docs))
    three = choose_documents(corpus, 3, 0)
    assert len(three) == 3 and three == sorted(three)
    assert any(choose_documents(corpus, 3, seed) != three for seed in range(1, 5))
