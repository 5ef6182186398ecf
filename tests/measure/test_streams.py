"""Activations straight from models: equal to the model run by itself, whatever the batches; two models in step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generator.blocks import Corpus
from generator.config import CollectionTable
from generator.errors import FeaturebookError
from generator.measure import engine as engine_module
from generator.measure.analyze.anatomy import adapter_off
from generator.measure.hook_points import resolve
from generator.measure.model import load_model
from generator.measure.passes import ModelPass
from generator.measure.streams import ModelRows, ModelSource
from generator.measure.training.rows import Split, is_held_out
from generator.measure.variants import Models, check_same_tokens
from generator.progress import Silent
from tests.measure.toys import Toy, save_base

PLACES = ["blocks.*.hook_resid_post", "model.layers.1.mlp:output"]


def table_of(**options: Any) -> CollectionTable:
    kind = "crosscoder" if len(options["hook_points"]) * len(options.get("models", "1")) > 1 else "sae"
    return CollectionTable.model_validate({"name": "x", "kind": kind, "path": "x", **options})


def open_models(toy: Toy, corpus: Corpus, **tables: Any) -> Models:
    return Models(toy.config(**tables), corpus, Silent())


def everything(source: ModelSource, corpus: Corpus, block_tokens: int = 8192) -> np.ndarray:
    blocks = [b for chunk in corpus.chunks(60) for b in source.blocks(chunk, block_tokens)]
    assert [b.start for b in blocks[1:]] == [b.stop for b in blocks[:-1]] and blocks[
        -1
    ].stop == corpus.n_tokens
    assert np.array_equal(np.concatenate([b.is_measured for b in blocks]), corpus.is_measured)
    return np.concatenate([b.values for b in blocks])


def by_itself(toy: Toy, corpus: Corpus, names: list[str], *, base: bool = False) -> np.ndarray:
    """The oracle: PEFT's own forward, one piece at a time, plain hooks written out here: (token, place · d)."""
    loaded = load_model(toy.config().model, Silent())
    points = resolve(names, loaded.model, torch.device("cpu")).points
    current: dict[int, torch.Tensor] = {}

    def keep(index: int, side: str) -> Callable[..., None]:
        def hook(module: Any, args: Any, kwargs: Any, output: Any = None) -> None:
            value = (args[0] if args else kwargs["hidden_states"]) if side == "input" else output
            current[index] = (value[0] if isinstance(value, tuple) else value)[0].clone()

        return hook

    for index, point in enumerate(points):
        module = loaded.model.get_submodule(point.path)
        module.register_forward_hook(keep(index, point.side), with_kwargs=True)
    rows = []
    for context, start, stop in corpus.pieces.tolist():
        ids = torch.from_numpy(corpus.token_ids[context:stop].astype(np.int64))[None]
        with torch.no_grad():
            if base:
                with adapter_off(loaded.model):
                    loaded.model(input_ids=ids)
            else:
                loaded.model(input_ids=ids)
        rows.append(torch.cat([current[i] for i in range(len(points))], dim=-1)[start - context :])
    return torch.cat(rows).float().numpy()


def assert_close(got: np.ndarray, wanted: np.ndarray) -> None:
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("family", ["qwen2", "llama", "gemma2"])
@pytest.mark.parametrize("packing", ["auto", "sorted"])
def test_equal_to_the_model_by_itself(family: str, packing: str, make_toy: Callable[..., Toy]) -> None:
    toy = make_toy(family, r=2)
    corpus = toy.corpus()
    source = ModelSource(table_of(hook_points=PLACES), open_models(toy, corpus, extract={"packing": packing}))
    assert_close(everything(source, corpus), by_itself(toy, corpus, PLACES))
    assert [p.point.id for p in source.places][1:3] == ["model.layers.1.mlp:output", "model.layers.1:output"]


@pytest.mark.parametrize("family", ["gpt2", "bert", "gpt_neox"])
def test_other_families(family: str, make_toy: Callable[..., Toy]) -> None:
    toy = make_toy(family)
    corpus = toy.corpus()
    names = ["blocks.0.hook_resid_pre", "blocks.1.hook_mlp_out", "blocks.2.attn.hook_z"]
    source = ModelSource(table_of(hook_points=names), open_models(toy, corpus))
    assert_close(everything(source, corpus), by_itself(toy, corpus, names))


def test_base_and_adapted_are_read_in_step(make_toy: Callable[..., Toy]) -> None:
    toy = make_toy("qwen2", r=2)
    corpus = toy.corpus()
    table = table_of(
        hook_points=["blocks.1.hook_resid_post", "blocks.2.hook_resid_post"], models=["base", "adapted"]
    )
    source = ModelSource(table, open_models(toy, corpus))
    base, adapted = (by_itself(toy, corpus, table.hook_points, base=base) for base in (True, False))
    assert np.abs(base - adapted).max() > 1e-3, "the adapter does nothing"
    assert_close(everything(source, corpus), np.concatenate([base, adapted], axis=1))
    assert [p.model for p in source.places] == ["base", "base", "adapted", "adapted"]
    turned = ModelSource(table.model_copy(update={"models": ["adapted", "base"]}), open_models(toy, corpus))
    assert_close(everything(turned, corpus), np.concatenate([adapted, base], axis=1))


def test_another_model_with_the_same_tokenizer(make_toy: Callable[..., Toy], tmp_path: Path) -> None:
    toy = make_toy("qwen2")
    other = Toy(
        save_base(tmp_path / "other", "qwen2", num_hidden_layers=3, rope_theta=5e5),
        toy.adapter,
        toy.corpus_file,
    )
    corpus = toy.corpus()
    names = ["blocks.1.hook_resid_post"]
    source = ModelSource(
        table_of(hook_points=names, models=["base", str(other.base)]), open_models(toy, corpus)
    )
    wanted = [by_itself(toy, corpus, names, base=True), by_itself(other, corpus, names, base=True)]
    assert_close(everything(source, corpus), np.concatenate(wanted, axis=1))
    assert source.places[1].name == "other model.layers.1:output"  # never a path of this machine


def test_models_that_do_not_fit_are_refused(make_toy: Callable[..., Toy], tmp_path: Path) -> None:
    toy = make_toy("qwen2")
    corpus = toy.corpus()
    wide = save_base(tmp_path / "wide", "qwen2", hidden_size=48)
    with pytest.raises(FeaturebookError, match="different widths"):
        ModelSource(table_of(hook_points=["layers.1"], models=["base", str(wide)]), open_models(toy, corpus))
    deep = save_base(tmp_path / "deep", "qwen2", num_hidden_layers=4)
    with pytest.raises(FeaturebookError, match="different widths or numbers"):
        ModelSource(table_of(hook_points=["layers.*"], models=["base", str(deep)]), open_models(toy, corpus))
    swapped = list(corpus.token_bytes)
    swapped[300], swapped[301] = swapped[301], swapped[300]
    with pytest.raises(FeaturebookError, match="another tokenizer: token 300"):
        check_same_tokens("other", swapped, corpus)
    with pytest.raises(FeaturebookError, match=f"token {len(swapped) - 1} .* no such token"):
        check_same_tokens("other", list(corpus.token_bytes[:-1]), corpus)
    check_same_tokens("other", [*corpus.token_bytes, b"more"], corpus)


def test_the_number_of_places_must_be_the_kinds(make_toy: Callable[..., Toy]) -> None:
    toy = make_toy("qwen2")
    models = open_models(toy, toy.corpus())
    with pytest.raises(FeaturebookError, match="reads one place, and its hook_points name 3"):
        ModelSource(table_of(kind="sae", hook_points=["layers.*"]), models)
    with pytest.raises(FeaturebookError, match="reads two places or more"):
        ModelSource(table_of(kind="crosscoder", hook_points=["layers.1"]), models)


def test_long_documents_are_read_in_pieces_and_each_token_once(make_toy: Callable[..., Toy]) -> None:
    toy = make_toy("qwen2")
    corpus = toy.corpus(corpus={"max_tokens": 12, "overlap": 5})
    assert len(corpus.pieces) > corpus.n_docs
    source = ModelSource(table_of(hook_points=["layers.1"]), open_models(toy, corpus))
    assert_close(everything(source, corpus), by_itself(toy, corpus, ["layers.1"]))


def test_blocks_are_small_against_the_corpus(
    make_toy: Callable[..., Toy], monkeypatch: pytest.MonkeyPatch
) -> None:
    from generator.measure import passes

    toy = make_toy("qwen2")
    corpus = toy.corpus()
    source = ModelSource(table_of(hook_points=["layers.1"]), open_models(toy, corpus))
    whole = everything(source, corpus)
    monkeypatch.setattr(passes, "BLOCK_BYTES", 4 * source.width * 20)
    sizes = [len(b.values) for chunk in corpus.chunks(60) for b in source.blocks(chunk, 8192)]
    longest = int(np.diff(corpus.doc_offsets).max())
    assert len(sizes) > 4 and max(sizes) <= max(20, longest)
    assert_close(everything(source, corpus), whole)


def test_a_batch_that_is_too_large_is_halved(
    make_toy: Callable[..., Toy], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = make_toy("qwen2")
    corpus = toy.corpus()
    source = ModelSource(table_of(hook_points=["layers.1"]), open_models(toy, corpus))
    whole = everything(source, corpus)
    forward, failures = engine_module.Engine._forward, iter([True])

    def short_of_memory(self: Any, batch: Any) -> Any:
        if len(batch.pieces) > 1 and next(failures, False):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, batch)

    monkeypatch.setattr(engine_module.Engine, "_forward", short_of_memory)
    assert_close(everything(source, corpus), whole)
    assert next(failures, None) is None


def test_layers_above_the_last_place_do_not_run(make_toy: Callable[..., Toy]) -> None:
    toy = make_toy("qwen2")
    corpus = toy.corpus()
    models = open_models(toy, corpus)
    source = ModelSource(table_of(hook_points=["layers.0"]), models)
    ran: list[int] = []
    for index, layer in enumerate(models.get("adapted").model.model.layers):
        layer.register_forward_pre_hook(lambda m, a, index=index: ran.append(index))
    everything(source, corpus)
    assert set(ran) == {0}


def test_positions_of_outlying_norm_are_left_out(make_toy: Callable[..., Toy]) -> None:
    toy = make_toy("qwen2")
    corpus = toy.corpus()
    models = open_models(toy, corpus, extract={"exclude_outliers": 1.05})
    source = ModelSource(
        table_of(hook_points=["blocks.1.hook_resid_pre"]), models
    )  # the middle layer's input
    (chunk,) = corpus.chunks(10**6)
    for block in source.blocks(chunk, 10**6):
        norms = np.linalg.norm(block.values, axis=1)
        wanted = corpus.is_measured.copy()
        for doc in range(corpus.n_docs):
            own = corpus.tokens_of(doc)
            wanted[own] &= ~(norms[own] > 1.05 * np.median(norms[own]))
        assert not wanted.all() and np.array_equal(block.is_measured, wanted)


def test_the_model_is_left_as_it_was(make_toy: Callable[..., Toy]) -> None:
    """A second collection over the same model reads the same, in the same layout."""
    toy = make_toy("qwen2")
    corpus = toy.corpus()
    models = open_models(toy, corpus)
    first = ModelSource(table_of(hook_points=["layers.1"]), models)
    values, layout = everything(first, corpus), first.facts["layout"]
    first.close()
    model = models.get("adapted").model
    assert model.config._attn_implementation == "sdpa"
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    second = ModelSource(table_of(hook_points=["layers.1"]), models)
    assert np.array_equal(everything(second, corpus), values) and second.facts["layout"] == layout


def test_nnsight_gives_equal_activations(make_toy: Callable[..., Toy]) -> None:
    pytest.importorskip("nnsight", reason="nnsight is not installed (extra: nnsight)")
    toy = make_toy("qwen2", r=2)
    corpus = toy.corpus()
    names = [
        "blocks.0.hook_resid_pre",
        "blocks.1.hook_mlp_out",
        "blocks.1.attn.hook_z",
        "blocks.1.hook_resid_post",
    ]
    for models in (["adapted"], ["base", "adapted"]):
        ours, theirs = (
            everything(
                ModelSource(
                    table_of(hook_points=names, models=models, backend=backend), open_models(toy, corpus)
                ),
                corpus,
            )
            for backend in ("hooks", "nnsight")
        )
        np.testing.assert_array_equal(theirs, ours)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "gemma2"])
def test_nnsight_gives_equal_activations_in_other_families(family: str, make_toy: Callable[..., Toy]) -> None:
    pytest.importorskip("nnsight", reason="nnsight is not installed (extra: nnsight)")
    toy = make_toy(family)
    corpus = toy.corpus()
    wanted = {
        "base": ["blocks.1.hook_resid_post"],
        "adapted": ["blocks.*.hook_resid_pre", "blocks.1.hook_mlp_out"],
    }
    found = []
    for backend in ("hooks", "nnsight"):  # a pass that several collections would share
        shared = ModelPass(wanted, open_models(toy, corpus), backend=backend, is_centred=False)
        order = [(name, point.id) for name in wanted for point in shared.points[name]]
        chunks = [
            b.values for chunk in corpus.chunks(60) for (b,) in shared.blocks(chunk, 8192, [order[::-1]])
        ]
        found.append(np.concatenate(chunks))
        shared.close()
    assert found[0].shape == (corpus.n_tokens, 5 * 32)
    np.testing.assert_array_equal(*found)


def test_nnsight_that_is_missing_names_the_extra(
    make_toy: Callable[..., Toy], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    toy = make_toy("qwen2")
    monkeypatch.setitem(sys.modules, "nnsight", None)
    with pytest.raises(FeaturebookError, match=r"featurebook\[nnsight\]"):
        ModelSource(table_of(hook_points=["layers.1"], backend="nnsight"), open_models(toy, toy.corpus()))


def test_training_rows_are_measured_rows_split_by_document(make_toy: Callable[..., Toy]) -> None:
    toy = make_toy("qwen2")
    corpus = toy.corpus(corpus={"max_tokens": 12, "overlap": 5}, extract={"exclude_first": 2})
    source = ModelSource(table_of(hook_points=["layers.1"]), open_models(toy, corpus))
    held_out = np.arange(corpus.n_docs) % 3 == 0
    rows = ModelRows(source, corpus, held_out, group_tokens=40)
    assert rows.n_groups > 3
    wanted = everything(source, corpus)[corpus.is_measured]
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    for group in range(rows.n_groups):
        values, docs = rows.read(group)
        assert len({bool(side) for side in held_out[rows.documents_of(group)]}) == 1
        assert set(docs.tolist()) <= set(rows.documents_of(group).tolist())
        seen.append((values, docs))
    docs = np.concatenate([d for _, d in seen])
    order = np.argsort(docs, kind="stable")
    assert np.array_equal(docs[order], corpus.doc[corpus.is_measured])
    assert_close(np.concatenate([v for v, _ in seen])[order], wanted)


def test_one_side_of_the_split_never_runs_the_model_on_the_other(
    make_toy: Callable[..., Toy], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = make_toy("qwen2")
    corpus = toy.corpus()
    source = ModelSource(table_of(hook_points=["layers.1"]), open_models(toy, corpus))
    side = is_held_out(np.arange(corpus.n_docs), 0.4, 0)
    assert 0 < side.sum() < corpus.n_docs
    ran: list[int] = []
    sample = source.sample
    monkeypatch.setattr(source, "sample", lambda docs: (ran.extend(docs), sample(docs))[1])
    for takes_held_out in (True, False):
        ran.clear()
        values = list(Split(ModelRows(source, corpus, side), 0.4, 0, takes_held_out))
        assert sorted(ran) == np.flatnonzero(side == takes_held_out).tolist()
        wanted = (side[corpus.doc] == takes_held_out) & corpus.is_measured
        assert sum(map(len, values)) == wanted.sum()
