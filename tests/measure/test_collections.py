"""Collections over a model's own activations, from the run file to the summary: aligned, resumed, from the hub."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch

from generator.blocks import Corpus
from generator.config import RunConfig
from generator.errors import FeaturebookError
from generator.measure.dictionaries import Dictionary, load_dictionary
from generator.measure.dictionaries.activations import JumpRelu
from generator.measure.dictionaries.saelens import save_saelens
from generator.measure.model import load_model
from generator.measure.passes import ModelPass
from generator.measure.streams import ModelSource
from generator.measure.training.rows import is_held_out
from generator.measure.variants import Models
from generator.pipeline import Folders, build
from generator.progress import Silent
from generator.stages import collect as collect_stage
from generator.stages.corpus import load_corpus
from generator.summaries import Summary
from generator.summarize.running import RunningTotal
from tests.measure.toys import Toy

D, N = 32, 40


def random_sae(folder: Path, hook_name: str = "", bar: float = 1.0) -> Path:
    W = torch.randn(N, D, generator=torch.Generator().manual_seed(0)) * D**-0.5
    sae = Dictionary(W, torch.zeros(N), W.clone(), torch.zeros(D), JumpRelu(torch.full((N,), bar)))
    save_saelens(sae, folder, {"hook_name": hook_name} if hook_name else None)
    return folder


def token_sae(toy: Toy, folder: Path, corpus: Corpus) -> tuple[Path, int]:
    """An SAE over the embedding whose latent 0 is active on one token of the corpus and on no other."""
    with torch.no_grad():
        table = load_model(toy.config().model, Silent()).model.get_input_embeddings().weight.clone()
    ids, counts = np.unique(corpus.token_ids[corpus.is_measured], return_counts=True)
    present = table[torch.from_numpy(ids.astype(np.int64))]
    alike = present @ present.T
    own = alike.diagonal().clone()
    others = alike.fill_diagonal_(-1e9).amax(1)
    index = max(range(len(ids)), key=lambda i: (counts[i] > 1, float((own - others)[i])))
    assert own[index] > others[index] and counts[index] > 1
    W = torch.zeros(N, D)
    W[0] = present[index]
    bar = torch.full((N,), float(own[index] + others[index]) / 2)
    save_saelens(Dictionary(W, torch.zeros(N), W.clone(), torch.zeros(D), JumpRelu(bar)), folder)
    return folder, int(ids[index])


def run(
    toy: Toy, tmp_path: Path, *collections: dict[str, Any], has_adapter: bool = True, **tables: Any
) -> Path:
    """Builds a run up to the latents; the build folder."""
    config = toy.config(collections=list(collections), **tables)
    if not has_adapter:
        config = config.model_copy(update={"model": config.model.model_copy(update={"adapter": None})})
    folders = Folders(tmp_path / "build", tmp_path / "docs", tmp_path / "labels")
    stages = ["corpus"] + ["train"] * any("train" in c for c in collections) + ["collect"]
    stages += ["extract"] * has_adapter
    build(config, folders, only=stages)
    return folders.build


def latents(build_folder: Path, name: str) -> Summary:
    return Summary.load(build_folder / "latents" / f"{name}.h5")


@pytest.mark.parametrize("limits", [{}, {"max_tokens": 12, "overlap": 5}], ids=["whole", "pieces"])
def test_a_latent_of_one_token_is_shown_at_that_token(
    limits: dict[str, int], make_toy: Callable[..., Toy], tmp_path: Path
) -> None:
    toy = make_toy("qwen2")
    corpus = toy.corpus(corpus=limits)
    path, token = token_sae(toy, tmp_path / "sae", corpus)
    table = {"name": "sae", "path": str(path), "hook_points": ["blocks.0.hook_resid_pre"]}
    found = latents(run(toy, tmp_path, table, corpus=limits, summarize={"min_count": 1}), "sae")
    where = np.flatnonzero(corpus.is_measured & (corpus.token_ids == token))
    share = found.statistics["share_active"][0] * found.statistics["n_tokens"][0]
    assert round(share) == len(where) > 1
    examples = found.examples.of(0)
    peaks = corpus.doc_offsets[examples["doc"]] + examples["position"]
    top = examples["group"] == found.groups.index("top")
    assert top.any() and set(peaks[top].tolist()) <= set(where.tolist())
    starts = corpus.doc_offsets[examples["doc"]] + examples["start"]
    for start, length, at in zip(starts, examples["length"], examples["values_at"]):
        shown = found.example_values[at : at + length] > 0  # on exactly these tokens, in every window
        assert np.array_equal(shown, corpus.token_ids[start : start + length] == token)
    assert found.top_tokens.of(0)["token_id"][0] == token


def test_channels_say_where_they_read(make_toy: Callable[..., Toy], tmp_path: Path) -> None:
    toy = make_toy("qwen2")
    path = str(random_sae(tmp_path / "sae"))
    tables = [
        {"name": "post", "path": path, "hook_points": ["model.layers.1:output"]},
        {"name": "mlp", "path": path, "hook_points": ["blocks.2.hook_mlp_out"], "models": ["base"]},
    ]
    folder = run(toy, tmp_path, *tables, extract={"keep_activations": False})
    for name, layer, module, model in (("post", 1, "resid_post", "adapted"), ("mlp", 2, "mlp_out", "base")):
        found = latents(folder, name)
        assert {(c.layer, c.module) for c in found.channels} == {(layer, module)}
        assert not found.loadings
        (place,) = found.facts["collections"][name]["places"]
        assert (place["model"], place["layer"]) == (model, layer)


def test_without_an_adapter_the_file_names_its_place(make_toy: Callable[..., Toy], tmp_path: Path) -> None:
    toy = make_toy("qwen2")
    named = random_sae(tmp_path / "named", "blocks.1.hook_resid_post")
    folder = run(toy, tmp_path, {"name": "sae", "path": str(named)}, has_adapter=False)
    assert latents(folder, "sae").channels[0].module == "resid_post"
    nameless = random_sae(tmp_path / "nameless")
    with pytest.raises(FeaturebookError, match="names no place of the model"):
        run(toy, tmp_path, {"name": "sae", "path": str(nameless)}, has_adapter=False)


def three_tables(tmp_path: Path) -> list[dict[str, Any]]:
    """An SAE, a crosscoder over layers and one over two models: places that overlap."""
    path = str(random_sae(tmp_path / "sae"))
    layers = save_crosscoder(tmp_path / "layers", 3)
    return [
        {"name": "sae", "path": path, "hook_points": ["layers.1"]},
        crosscoder_table(
            layers, name="across", hook_points=["layers.*"], models=["adapted"], input_factor=1.0
        ),
        crosscoder_table(save_crosscoder(tmp_path / "two", 2), name="two", input_factor=1.0),
    ]


def test_collections_over_the_same_models_share_a_pass(
    make_toy: Callable[..., Toy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy, tables = make_toy("qwen2", r=2), three_tables(tmp_path)
    passes: list[int] = []
    blocks = ModelPass.blocks

    def counted(self: ModelPass, chunk: slice, block_tokens: int, orders: Any) -> Any:
        passes.append(len(orders))
        return blocks(self, chunk, block_tokens, orders)

    monkeypatch.setattr(ModelPass, "blocks", counted)
    together = run(toy, tmp_path / "together", *tables)
    n_chunks = len(passes)
    assert n_chunks > 2 and set(passes) == {3}
    for table in tables:
        alone = run(toy, tmp_path / table["name"], table)
        name = f"latents/{table['name']}.h5"
        assert (alone / name).read_bytes() == (together / name).read_bytes()
    passes.clear()
    run(toy, tmp_path / "apart", tables[0], tables[2] | {"is_centred": True})
    assert passes == [1] * 2 * n_chunks  # what is read in another way gets a pass of its own
    passes.clear()
    monkeypatch.setattr(collect_stage, "SHARED_LATENTS", 2 * N)
    run(toy, tmp_path / "many", *tables)
    assert passes == [2] * n_chunks + [1] * n_chunks


@pytest.mark.parametrize("n_taken", [2, 4, 9], ids=["between two of them", "in a chunk", "after the last"])
def test_a_killed_pass_goes_on_to_the_same_bits(
    n_taken: int, make_toy: Callable[..., Toy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed when so many chunks of the three collections were taken: together they have nine, of three chunks."""
    toy, tables = make_toy("qwen2", r=2), three_tables(tmp_path)
    options: dict[str, Any] = {"extract": {"chunk_tokens": 40}}
    whole = run(toy, tmp_path / "whole", *tables, **options)
    taken: list[tuple[str, int]] = []
    take, save = RunningTotal.take, Summary.save

    def counted(self: RunningTotal, chunk: slice, state: Any) -> None:
        if len(taken) == n_taken:
            raise KeyboardInterrupt
        taken.append((self.folder.name, chunk.start))
        take(self, chunk, state)

    def killed(self: Summary, path: Path) -> None:
        if path.name == "across.h5":
            raise KeyboardInterrupt
        save(self, path)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunningTotal, "take", counted)
        patch.setattr(Summary, "save", killed)
        run(toy, tmp_path / "cut", *tables, **options)
    assert len(taken) == n_taken and len({start for _, start in taken}) == -(-n_taken // 3)
    first = list(taken)
    taken.clear()
    monkeypatch.setattr(
        RunningTotal, "take", lambda *a: (taken.append((a[0].folder.name, a[1].start)), take(*a))[1]
    )
    resumed = run(toy, tmp_path / "cut", *tables, **options)
    assert len(taken) == 9 - n_taken and not set(taken) & set(first), "it began anew"
    for table in tables:
        name = f"latents/{table['name']}.h5"
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()
    assert not list((resumed / "latents").glob("*-unfinished"))


def test_training_on_a_place_of_the_model(make_toy: Callable[..., Toy], tmp_path: Path) -> None:
    toy = make_toy("qwen2")
    train = {
        "batch": 8,
        "epochs": 40,
        "warmup_steps": 2,
        "held_out": 0.3,
        "width": 64,
        "k": 6,
        "dead_after": 10**6,
    }
    table = {"name": "sae", "hook_points": ["blocks.1.hook_resid_post"], "train": train}
    folder = run(toy, tmp_path, table, has_adapter=False)
    facts = json.loads((folder / "dictionaries" / "sae" / "training.json").read_bytes())
    lines = (folder / "dictionaries" / "sae" / "metrics.jsonl").read_text().splitlines()
    curve = [line["fvu"] for line in map(json.loads, lines) if "step" in line]
    assert curve[-1] < 0.3 * curve[0]
    trained = load_dictionary(folder / "dictionaries" / "sae", "saelens", d_in=D)
    corpus = load_corpus(Folders(folder))
    config = toy.config(collections=[table | {"models": ["base"]}])  # the run had no adapter
    source = ModelSource(config.collections[0], Models(config, corpus, Silent()))
    (block,) = source.blocks(slice(0, corpus.n_tokens), 10**6)
    side = is_held_out(corpus.doc, train["held_out"], 42) & corpus.is_measured
    x = torch.from_numpy(block.values[side]).double()
    rebuilt = trained.reconstruct(x.float()).double()
    fvu = float((x - rebuilt).square().sum() / (x - x.mean(0)).square().sum())
    assert facts["held_out"]["fvu"] == pytest.approx(fvu, rel=1e-3)
    recovered = facts["loss_recovered"]
    assert recovered["is_held_out"] and recovered["replayed"] == "adapted model.layers.1:output"
    assert latents(folder, "sae").facts["collections"]["sae"]["loss_recovered"] == recovered
    assert facts["held_out"]["n_tokens"] == side.sum() == corpus.is_measured.sum() - facts["n_train_tokens"]


def test_a_finished_dictionary_is_not_trained_again(make_toy: Callable[..., Toy], tmp_path: Path) -> None:
    """When another collection changes, or a run is killed in the training of a later one."""
    toy = make_toy("qwen2")
    settings = {"batch": 8, "held_out": 0.3, "width": 24, "k": 2, "warmup_steps": 1, "dead_after": 10**6}
    tables = [{"name": name, "loss_documents": 0, "train": settings} for name in ("first", "second")]
    folder = run(toy, tmp_path, *tables) / "dictionaries"

    def written() -> list[int]:
        return [
            (folder / name / "sae_weights.safetensors").stat().st_mtime_ns for name in ("first", "second")
        ]

    before = written()
    (folder / "first" / ".cfg.json.999999999.tmp").write_text("left by a killed process")
    changed = tables[1] | {"train": settings | {"k": 3}}
    run(toy, tmp_path, tables[0], changed)
    assert written()[0] == before[0] and written()[1] != before[1]
    assert not list(folder.glob("*/.*.tmp"))
    (folder / "manifest.json").unlink()  # as when a run is killed before the stage has ended
    (folder / "first" / "sae_weights.safetensors").unlink()
    second = (folder / "second" / "sae_weights.safetensors").stat().st_mtime_ns
    run(toy, tmp_path, tables[0], changed)
    assert written()[1] == second and written()[0] > before[0]


# --- the hub ------------------------------------------------------------------------------------------------------


def offline_hub(root: Path, repository: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache as huggingface_hub lays it out, of one repository, and no network; where its files go."""
    commit, folder = "c" * 40, root / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(root))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return snapshot


def test_a_hub_id_is_read_from_the_hubs_cache(
    make_toy: Callable[..., Toy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = make_toy("qwen2")
    snapshot = offline_hub(tmp_path / "hub", "owner/many-saes", monkeypatch)
    random_sae(snapshot / "layer_1" / "width_40")
    asked: list[Any] = []
    real = huggingface_hub.snapshot_download
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *a, **k: (asked.append((a, k)), real(*a, **k))[1]
    )
    table = {"name": "sae", "path": "owner/many-saes/layer_1/width_40", "hook_points": ["layers.1"]}
    found = latents(run(toy, tmp_path, table), "sae")
    assert len(found.channels) == N
    assert {a for a, _ in asked} == {("owner/many-saes",)}
    assert {tuple(k["allow_patterns"]) for _, k in asked} == {("layer_1/width_40", "layer_1/width_40/*")}
    with pytest.raises(FeaturebookError, match="has no 'layer_2/width_40'"):
        run(toy, tmp_path, table | {"path": "owner/many-saes/layer_2/width_40"})
    with pytest.raises(FeaturebookError, match="neither here nor could it be downloaded"):
        run(toy, tmp_path, table | {"path": "owner/another"})


# --- crosscoders --------------------------------------------------------------------------------------------------


def save_crosscoder(folder: Path, n_places: int) -> Path:
    """ckkissane's layout."""
    folder.mkdir(parents=True)
    g = torch.Generator().manual_seed(1)
    tensors = {
        "W_enc": torch.randn(n_places, D, N, generator=g) * D**-0.5,
        "W_dec": torch.randn(N, n_places, D, generator=g),
        "b_enc": torch.zeros(N),
        "b_dec": torch.zeros(n_places, D),
    }
    torch.save(tensors, folder / "cc_weights.pt")
    (folder / "cfg.json").write_text(json.dumps({"dict_size": N}))
    return folder


def crosscoder_table(path: Path, **options: Any) -> dict[str, Any]:
    places = {"hook_points": ["layers.1"], "models": ["base", "adapted"]}
    return {
        "name": "cc",
        "kind": "crosscoder",
        "path": str(path),
        "format": "model_diff",
        **places,
        **options,
    }


def test_a_crosscoder_of_two_models_with_estimated_factors(
    make_toy: Callable[..., Toy], tmp_path: Path
) -> None:
    toy = make_toy("qwen2", r=2)
    table = crosscoder_table(save_crosscoder(tmp_path / "cc", 2), input_factor="estimate")
    folder = run(toy, tmp_path, table)
    found = latents(folder, "cc")
    assert {(c.kind, c.layer, c.module) for c in found.channels} == {("crosscoder", -1, "")}
    facts = found.facts["collections"]["cc"]
    assert [place["model"] for place in facts["places"]] == ["base", "adapted"]
    corpus, config = load_corpus(Folders(folder)), toy.config(collections=[table])
    source = ModelSource(config.collections[0], Models(config, corpus, Silent()))
    (block,) = source.blocks(slice(0, corpus.n_tokens), 10**6)
    x = block.values[corpus.is_measured].astype(np.float64).reshape(-1, 2, D)
    factors = D**0.5 / np.linalg.norm(x, axis=2).mean(0)  # every document is among the 32 of calibration
    weights = torch.load(tmp_path / "cc" / "cc_weights.pt", weights_only=True)
    wanted = np.maximum(np.einsum("tpd,pdf->tf", x * factors[:, None], weights["W_enc"].double().numpy()), 0)
    np.testing.assert_allclose(found.statistics["mean"], wanted.mean(0), rtol=1e-3)
    shown = next(note for note in facts["notes"] if "estimated on" in note)
    assert f"{factors[0]:.4g}" in shown and f"{len(x):,} tokens" in shown


def test_a_crosscoder_for_another_number_of_places_is_refused(
    make_toy: Callable[..., Toy], tmp_path: Path
) -> None:
    toy = make_toy("qwen2")
    three = save_crosscoder(tmp_path / "three", 3)
    with pytest.raises(FeaturebookError, match=f"made for 3 places .* of width {D}, and hook_points name 2"):
        run(toy, tmp_path, crosscoder_table(three, input_factor=1.0))
    sae = random_sae(tmp_path / "sae")
    with pytest.raises(FeaturebookError, match=r'reads 1 place\. Set kind = "sae"'):
        run(toy, tmp_path, crosscoder_table(sae, format="saelens"))
    with pytest.raises(FeaturebookError, match=r'reads 3 places\. Set kind = "crosscoder"'):
        run(toy, tmp_path, crosscoder_table(three, input_factor=1.0, kind="sae", models=["base"]))
    with pytest.raises(FeaturebookError, match=r"input_factor to a list of 2 numbers"):
        run(toy, tmp_path, crosscoder_table(save_crosscoder(tmp_path / "two", 2)))


CONTRADICTIONS: dict[str, dict[str, Any]] = {
    "a crosscoder needs hook_points": {"kind": "crosscoder"},
    "not both": {"hook_points": ["layers.1"], "channels": ["lora/*"]},
    "one model, or two": {"hook_points": ["layers.1"], "models": ["base", "base"]},
}


@pytest.mark.parametrize("message", CONTRADICTIONS)
def test_contradictions_in_the_run_file(message: str, make_toy: Callable[..., Toy]) -> None:
    with pytest.raises(ValueError, match=message):
        make_toy("qwen2").config(collections=[{"name": "x", "path": "x", **CONTRADICTIONS[message]}])


def test_base_and_adapted_want_an_adapter(make_toy: Callable[..., Toy]) -> None:
    run_file = {
        "model": {"base": "x"},
        "corpus": {"source": "x"},
        "collections": [crosscoder_table(Path("x"))],
    }
    with pytest.raises(ValueError, match=r"model\.adapter is not given"):
        RunConfig.model_validate(run_file)
