"""Extraction equals PEFT's own ``lora_A`` outputs, whatever the family, the batches, the workers or the interruptions."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generator.blocks import Activations, Corpus
from generator.errors import FeaturebookError
from generator.measure import engine as engine_module
from generator.measure.batches import LADDER
from generator.measure.engine import relative_distance
from generator.measure.extract import Extractor, calibration_documents, extract, mix64, open_extractor
from generator.measure.model import load_model
from generator.progress import Silent
from tests.measure.toys import Toy, peft_activations

ROWS = {"basis": "rows", "batch_tokens": 64, "chunk_tokens": 60, "calibration_documents": 1}
CASES: dict[str, dict[str, Any]] = {
    "qwen2": {},
    "qwen2 rank 3": {"family": "qwen2", "r": 3},
    "qwen2 rank 16 rslora": {"family": "qwen2", "r": 16, "use_rslora": True},
    "qwen2 patterns": {
        "family": "qwen2", "r": 2, "rank_pattern": {"q_proj": 4, "layers.1.mlp.up_proj": 1}, "alpha_pattern": {"q_proj": 7},
    },
    "qwen2 layer subset": {"family": "qwen2", "layers_to_transform": [1], "layers_pattern": "layers"},
    "qwen2 dora": {"family": "qwen2", "r": 2, "use_dora": True, "target_modules": ["q_proj", "down_proj"]},
    "qwen2 biases": {"family": "qwen2", "lora_bias": True, "target_modules": ["q_proj", "v_proj"]},
    "qwen2 embedding": {"family": "qwen2", "r": 2, "target_modules": ["embed_tokens", "v_proj"]},
    "qwen2 head": {"family": "qwen2", "target_modules": ["lm_head", "v_proj"]},
    "qwen2 bare model": {"family": "qwen2", "bare": True},
    "qwen2 named": {"family": "qwen2", "name": "reasoning"},
    "llama": {},
    "gpt2": {},
    "gpt2 dora": {"family": "gpt2", "use_dora": True, "fan_in_fan_out": True},
    "bert": {},
    "roberta": {},
    "gemma2": {},
    "gemma3_text": {"family": "gemma3_text", "target_modules": ["embed_tokens", "o_proj", "q_proj"]},
    "gpt_neox": {},
    "opt": {},
    "bloom": {},
    "mistral": {},
}  # fmt: skip


def by_module(extractor: Extractor, values: np.ndarray, toy: Toy) -> dict[str, np.ndarray]:
    """Columns of each module under its path in the base model."""
    from generator.measure.model import layer_list, read_blueprint
    from generator.measure.sites import find_places

    empty = read_blueprint(toy.config().model).empty
    names = [name for name, _ in empty.named_modules() if name]
    found: dict[str, list[int]] = {}
    for place in find_places(names, names, layer_list(empty)):
        columns = [
            i for i, c in enumerate(extractor.channels) if c.id == place.id("lora", c.rank_index, c.rank)
        ]
        if columns:
            found[place.path] = columns
    return {path: values[:, columns] for path, columns in found.items()}


def open_toy(toy: Toy, corpus: Corpus, /, **tables: Any) -> Extractor:
    return open_extractor(toy.config(**({"extract": ROWS} | tables)), corpus, Silent())


def whole(corpus: Corpus) -> slice:
    return slice(0, corpus.n_tokens)


@pytest.mark.parametrize("case", CASES)
def test_equals_peft(case: str, make_toy: Callable[..., Toy]) -> None:
    toy = make_toy(**({"family": case} | CASES[case]))
    corpus = toy.corpus()
    extractor = open_toy(toy, corpus)
    got = by_module(extractor, extractor.chunk(whole(corpus)).values, toy)
    wanted = peft_activations(toy, corpus)
    assert got.keys() == wanted.keys()
    for path, values in wanted.items():
        assert got[path].shape == values.shape, path
        assert relative_distance(got[path], values) < 1e-5, path


LAYOUTS = {"qwen2": "packed", "gpt2": "packed", "bert": "packed", "gemma2": "padded", "bloom": "padded",
           "mistral": "padded", "roberta": "masked"}  # fmt: skip


@pytest.mark.parametrize("family", LAYOUTS)
def test_batches_do_not_matter(family: str, make_toy: Callable[..., Toy]) -> None:
    """The fastest layout that holds is taken, and every slower one gives the same, in batches of any size.

    Mistral's toy window (8) is shorter than the documents; RoBERTa's positions depend on the padding.
    """
    toy = make_toy(family)
    corpus = toy.corpus()
    extractor = open_toy(toy, corpus, extract=ROWS | {"packing": "sorted"})
    engine = extractor._engine
    slower = LADDER[LADDER.index(engine.layout) :]
    engine.layout = "single"
    truth = extractor.chunk(whole(corpus)).values
    for engine.layout in slower:
        for engine.batch_tokens in (40, 4096):
            assert relative_distance(extractor.chunk(whole(corpus)).values, truth) < 1e-5
    fastest = open_toy(toy, corpus)
    assert fastest.facts["packing"] == LAYOUTS[family]
    assert relative_distance(fastest.chunk(whole(corpus)).values, truth) < 1e-5


def test_packing_without_our_attention_leaks_and_is_refused(
    make_toy: Callable[..., Toy], monkeypatch: Any
) -> None:
    """The default cache switches transformers' own packing off: what the proof must catch."""
    toy = make_toy("qwen2")
    corpus = toy.corpus()
    monkeypatch.setattr(engine_module, "_set_attention", lambda model, name: "")
    monkeypatch.setattr(engine_module.Engine, "call", lambda self, **inputs: self.body(**inputs))
    extractor = open_toy(toy, corpus)
    assert extractor.facts["packing"] == "padded"
    assert "packed refused: values differ by" in extractor.facts["packing_reason"]


def test_packing_that_does_not_hold_can_not_be_forced(make_toy: Callable[..., Toy]) -> None:
    toy = make_toy("bloom")
    with pytest.raises(FeaturebookError, match='packing = "packed" does not hold'):
        open_toy(toy, toy.corpus(), extract=ROWS | {"packing": "packed"})


def test_half_precision_is_close_and_proved(make_toy: Callable[..., Toy]) -> None:
    toy = make_toy("qwen2", dtype=torch.bfloat16)
    corpus = toy.corpus()
    half = open_toy(toy, corpus, model={"dtype": "bfloat16"})
    full = open_toy(toy, corpus)  # float32 on a CPU, of the same bfloat16 weights
    assert (half.facts["dtype"], full.facts["dtype"]) == ("bfloat16", "float32")
    distance = relative_distance(half.chunk(whole(corpus)).values, full.chunk(whole(corpus)).values)
    assert 1e-4 < distance < 0.2
    assert half.facts["packing"] == "packed"


@pytest.mark.parametrize(
    "options",
    [
        {"family": "qwen2", "r": 3},
        {"family": "gpt2"},
        {"family": "qwen2", "r": 2, "use_dora": True, "target_modules": ["q_proj", "down_proj"]},
        {"family": "qwen2", "r": 2, "target_modules": ["embed_tokens", "v_proj"]},
        {"family": "qwen2", "lora_bias": True, "target_modules": ["q_proj", "v_proj"]},
    ],
    ids=["rank 3", "conv1d", "dora", "embedding", "biases"],
)
def test_merged_equals_exact(options: dict[str, Any], make_toy: Callable[..., Toy]) -> None:
    toy = make_toy(**options)
    corpus, progress = toy.corpus(), Silent()
    exact = open_toy(toy, corpus)
    merged = open_extractor(toy.config(extract=ROWS | {"merge": True}), corpus, progress)
    distance = relative_distance(merged.chunk(whole(corpus)).values, exact.chunk(whole(corpus)).values)
    assert distance < 1e-5
    assert merged.facts["method"] == "merged" and merged.facts["merge_difference"] < 1e-5
    assert any("merged weights: activations differ" in note for note in progress.notes)


def test_merging_a_shared_weight_is_refused(make_toy: Callable[..., Toy]) -> None:
    toy = make_toy("qwen2", changes={"tie_word_embeddings": True}, target_modules=["embed_tokens"])
    with pytest.raises(FeaturebookError, match="shares its weight"):
        open_toy(toy, toy.corpus(), extract=ROWS | {"merge": True})


def test_long_documents_are_read_in_pieces(make_toy: Callable[..., Toy]) -> None:
    toy = make_toy("qwen2")
    tables = {"corpus": {"max_tokens": 12, "overlap": 5}}
    corpus = toy.corpus(**tables)
    assert len(corpus.pieces) > corpus.n_docs
    extractor = open_toy(toy, corpus, **tables)
    got = by_module(extractor, extractor.chunk(whole(corpus)).values, toy)
    for path, values in peft_activations(toy, corpus).items():
        assert relative_distance(got[path], values) < 1e-5, path


def test_module_globs_choose_channels_but_the_whole_adapter_runs(make_toy: Callable[..., Toy]) -> None:
    toy = make_toy("qwen2")
    corpus = toy.corpus()
    some = open_toy(toy, corpus, extract=ROWS | {"modules": ["mlp.*", "!layers.0.*"]})
    assert {(c.layer, c.module) for c in some.channels} == {
        (layer, module) for layer in (1, 2) for module in ("gate_proj", "up_proj", "down_proj")
    }
    everything = open_toy(toy, corpus)
    ids = [c.id for c in everything.channels]
    columns = [ids.index(c.id) for c in some.channels]
    truth = everything.chunk(whole(corpus)).values[:, columns]
    assert relative_distance(some.chunk(whole(corpus)).values, truth) < 1e-6


def test_reference_rms_and_threshold(make_toy: Callable[..., Toy]) -> None:
    toy = make_toy("qwen2")
    corpus = toy.corpus()
    tables = {"extract": ROWS | {"calibration_documents": 3}, "summarize": {"threshold": 1.5}, "seed": 4}
    extractor = open_toy(toy, corpus, **tables)
    docs = calibration_documents(corpus.n_docs, 3, seed=4)
    assert len(docs) == 3 and docs == sorted(docs)
    values = extractor.chunk(whole(corpus)).values.astype(np.float64)
    kept = np.isin(corpus.doc, docs) & corpus.is_measured
    rms = np.sqrt((values[kept] ** 2).mean(0))
    np.testing.assert_allclose([c.reference_rms for c in extractor.channels], rms, rtol=1e-5)
    np.testing.assert_allclose([c.threshold for c in extractor.channels], 1.5 * rms, rtol=1e-5)


def test_mix64_is_splitmix64() -> None:
    """First outputs for seed 0 of the reference implementation (prng.di.unimi.it/splitmix64.c)."""
    assert [mix64(i * 0x9E3779B97F4A7C15 & (2**64 - 1)) for i in range(3)] == [
        0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F,
    ]  # fmt: skip


def test_outliers_are_left_out_of_the_mask_only(make_toy: Callable[..., Toy]) -> None:
    toy = make_toy("qwen2")
    corpus = toy.corpus()
    extractor = open_toy(toy, corpus, extract=ROWS | {"exclude_outliers": 1.2})
    part = extractor.chunk(whole(corpus))
    model = load_model(toy.config().model, Silent()).model
    expected = corpus.is_measured.copy()
    for doc in range(corpus.n_docs):
        span = corpus.tokens_of(doc)
        with torch.no_grad():
            ids = torch.from_numpy(corpus.token_ids[span].astype(np.int64))[None]
            hidden = model(ids, output_hidden_states=True).hidden_states[1]
        norm = hidden[0].norm(dim=-1).numpy()
        expected[span] &= norm <= 1.2 * np.median(norm)
    assert (part.is_measured == expected).all()
    assert 0 < expected.sum() < corpus.is_measured.sum()
    assert np.isfinite(part.values).all()


def test_float16_that_overflows_is_refused_not_clipped(make_toy: Callable[..., Toy]) -> None:
    toy = make_toy("qwen2")
    corpus = toy.corpus()
    extractor = open_toy(toy, corpus, extract=ROWS | {"dtype": "float16"})
    exact = open_toy(toy, corpus).chunk(whole(corpus)).values
    assert (extractor.chunk(whole(corpus)).values == exact.astype(np.float16)).all()
    extractor._engine.sites[0].members[0].read *= 1e6
    extractor._engine.sites[0]._parts.clear()
    with pytest.raises(FeaturebookError, match=r'beyond what float16 holds.*extract.dtype = "float32"'):
        extractor.chunk(whole(corpus))


def test_values_that_are_not_finite_are_kept_as_they_are(make_toy: Callable[..., Toy]) -> None:
    toy = make_toy("qwen2")
    corpus = toy.corpus()
    extractor = open_toy(toy, corpus)
    extractor._engine.sites[-1].members[0].read[0, 0] = float("inf")
    extractor._engine.sites[-1]._parts.clear()
    values = extractor.chunk(whole(corpus)).values
    assert not np.isfinite(values[:, -1]).any() and np.isfinite(values[:, 0]).all()


def test_out_of_memory_halves_the_batch_and_says_so(make_toy: Callable[..., Toy], monkeypatch: Any) -> None:
    toy = make_toy("qwen2")
    corpus, progress = toy.corpus(), Silent()
    extractor = open_extractor(toy.config(extract=ROWS | {"batch_tokens": 200}), corpus, progress)
    truth = extractor.chunk(whole(corpus)).values
    forward = engine_module.Engine._forward

    def small_memory(self: Any, batch: Any) -> Any:
        if batch.n_tokens > 60:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, batch)

    monkeypatch.setattr(engine_module.Engine, "_forward", small_memory)
    assert relative_distance(extractor.chunk(whole(corpus)).values, truth) < 1e-6
    assert any("out of memory at batch_tokens = 200: going on with 9" in note for note in progress.notes)
    monkeypatch.setattr(
        engine_module.Engine,
        "_forward",
        lambda self, batch: small_memory(self, replace(batch, pieces=batch.pieces * 99)),
    )
    with pytest.raises(FeaturebookError, match=r"Out of memory with a single run.*corpus\.max_tokens"):
        extractor.chunk(whole(corpus))


def read_all(activations: Activations, corpus: Corpus, chunk_tokens: int = 60) -> np.ndarray:
    return np.concatenate(
        [block.values for chunk in corpus.chunks(chunk_tokens) for block in activations.blocks(corpus, chunk)]
    )


def test_extract_writes_resumes_and_removes_stale_files(make_toy: Callable[..., Toy], tmp_path: Path) -> None:
    toy = make_toy("qwen2")
    corpus, activations = toy.corpus(), Activations(tmp_path)
    config = toy.config(extract=ROWS)
    progress = Silent()
    facts = extract(config, corpus, activations, "one", progress)
    assert facts["n_chunks"] == len(corpus.chunks(60)) > 2 and facts["n_chunks_resumed"] == 0
    assert progress.done == corpus.n_tokens
    channels, directions, stored = activations.load_channels()
    assert len(channels) == 21 and directions and stored["model_type"] == "qwen2"
    truth = read_all(activations, corpus)
    second = corpus.chunks(60)[1]
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("tokens-*")}
    activations.chunk_path(second).unlink()
    (tmp_path / "tokens-000000000001.h5").write_bytes(b"left over")
    (tmp_path / ".tokens-000000000000.h5.999999999.tmp").write_bytes(b"half")
    facts = extract(config, corpus, activations, "one", Silent())
    assert facts["n_chunks_resumed"] == facts["n_chunks"] - 1
    assert (read_all(activations, corpus) == truth).all()
    after = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("tokens-*")}
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {activations.chunk_path(second).name}
    assert not list(tmp_path.glob(".*.tmp"))
    assert extract(config, corpus, activations, "two", Silent())["n_chunks_resumed"] == 0


def test_two_workers_give_the_same_bytes(make_toy: Callable[..., Toy], tmp_path: Path) -> None:
    toy = make_toy("qwen2")
    corpus = toy.corpus()
    for workers in (1, 2):
        progress = Silent()
        extract(
            toy.config(extract=ROWS | {"workers": workers}),
            corpus,
            Activations(tmp_path / str(workers)),
            "key",
            progress,
        )
        assert progress.done == corpus.n_tokens
    for chunk in corpus.chunks(60):
        one, two = (Activations(tmp_path / name).chunk_path(chunk).read_bytes() for name in "12")
        assert one == two


SCRIPT = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    import torch
    from generator.blocks import Activations, Corpus
    from generator.config import RunConfig
    from generator.measure import extract as module
    from generator.progress import Silent

    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    write = module.write_chunk

    def slowly(extractor, activations, chunk, key):
        write(extractor, activations, chunk, key)
        print("written", flush=True)
        time.sleep(60)

    module.write_chunk = slowly
    config = RunConfig.model_validate_json(sys.argv[2])
    module.extract(config, Corpus.load(folder / "corpus.h5"), Activations(folder / "killed"), "key", Silent())
""")


def test_a_killed_run_goes_on_and_gives_the_same_bytes(make_toy: Callable[..., Toy], tmp_path: Path) -> None:
    toy = make_toy("qwen2")
    corpus, config = toy.corpus(), toy.config(extract=ROWS)
    corpus.save(tmp_path / "corpus.h5")
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path), config.model_dump_json()],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None and process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    activations = Activations(tmp_path / "killed")
    assert len(list(activations.folder.glob("tokens-*.h5"))) == 1
    facts = extract(config, corpus, activations, "key", Silent())
    assert facts["n_chunks_resumed"] == 1
    extract(config, corpus, Activations(tmp_path / "whole"), "key", Silent())
    for chunk in corpus.chunks(60):
        assert (
            activations.chunk_path(chunk).read_bytes()
            == Activations(tmp_path / "whole").chunk_path(chunk).read_bytes()
        )


def test_facts_hold_neither_paths_nor_times(make_toy: Callable[..., Toy]) -> None:
    toy = make_toy("qwen2")
    facts = open_toy(toy, toy.corpus()).facts
    assert str(toy.base.parent) not in str(facts) and str(time.localtime().tm_year) not in str(facts)
    assert facts["model"] == toy.base.name and facts["method"] == "exact" and facts["basis"] == ["rows"]
    assert facts["n_channels"] == 21 and facts["hidden_size"] == 32 and facts["adapter_type"] == "LoRA"
