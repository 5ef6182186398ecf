"""From a run file to shards: every number on every page against what was planted, or recomputed the slow way."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from generator.blocks import Activations, Corpus
from generator.config import RunConfig, load_run
from generator.errors import FeaturebookError
from generator.pipeline import Folders, build, stage_key, stages_of, status
from generator.publish.reading import opened
from generator.stages.corpus import load_corpus
from tests import known_answer
from tests.brute_force import assert_shard_is_true


def folders_in(path: Path) -> Folders:
    (path / "docs").mkdir(parents=True, exist_ok=True)
    return Folders(build=path / "build", docs=path / "docs")


def extracted(folders: Folders, config: RunConfig) -> tuple[Corpus, np.ndarray]:
    """The corpus and all activations of a run, from its files."""
    corpus = load_corpus(folders)
    activations = Activations(folders.build / "activations")
    chunks = corpus.chunks(config.extract.chunk_tokens)
    return corpus, np.concatenate([b.values for c in chunks for b in activations.blocks(corpus, c)])


NAME_KEYS = ("home.json", "about.json")
"""Shards that name the keys of the stages, which say how the work was done."""


def shards_of(folders: Folders) -> dict[str, bytes]:
    root = folders.build / "shards"
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*.json"))}


@pytest.fixture(scope="module", params=[1, 3], ids=["rank1", "rank3"])
def planted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A finished known-answer run: (expected, config, folders)."""
    path = tmp_path_factory.mktemp(f"planted{request.param}")
    expected = known_answer.build(path, gate_rank=request.param)
    config, folders = load_run(expected.run_file), folders_in(path)
    build(config, folders)
    return expected, config, folders


def test_the_corpus_is_what_the_tokenizer_makes_of_the_texts(planted):
    expected, _, folders = planted
    corpus = load_corpus(folders)
    np.testing.assert_array_equal(corpus.token_ids, expected.token_ids)
    np.testing.assert_array_equal(corpus.doc_offsets, expected.doc_offsets)
    np.testing.assert_array_equal(corpus.is_measured, ~expected.is_special)
    texts = [
        b"".join(corpus.token_bytes[t] for t in corpus.token_ids[corpus.tokens_of(d)][1:]).decode()
        for d in range(corpus.n_docs)
    ]
    assert texts == list(expected.texts)


def test_activations_are_the_planted_ones(planted):
    expected, config, folders = planted
    channels, _, _ = Activations(folders.build / "activations").load_channels()
    _, values = extracted(folders, config)
    assert sorted(c.id for c in channels) == sorted(expected.channel_ids)
    for index, channel in enumerate(channels):
        np.testing.assert_allclose(values[:, index], expected.channel(channel.id), rtol=2e-5, atol=2e-5)
        assert channel.scaling == pytest.approx(expected.scaling[channel.id], rel=1e-6)
        assert channel.read_norm == pytest.approx(expected.read_norm[channel.id], rel=1e-5)
        assert channel.write_norm == pytest.approx(expected.write_norm[channel.id], rel=1e-5)


def test_every_number_of_every_shard(planted):
    expected, config, folders = planted
    corpus, values = extracted(folders, config)
    channels, _, _ = Activations(folders.build / "activations").load_channels()
    for index, channel in enumerate(channels):
        shard = opened(json.loads((folders.build / "shards" / f"{channel.id}.json").read_bytes()))
        assert shard["id"] == channel.id
        assert_shard_is_true(shard, values[:, index], corpus, config.summarize)
        largest = max(abs(shard["stats"]["min"]), abs(shard["stats"]["max"]))
        write = expected.scaling[channel.id] * largest * expected.write_norm[channel.id]
        if expected.write_norm[channel.id]:
            assert shard["write"]["max"] == pytest.approx(write, rel=1e-4, abs=1e-9)
        else:
            assert "zero" in shard["write"]["undefined"]


def test_correlations_and_layers(planted):
    _expected, config, folders = planted
    corpus, values = extracted(folders, config)
    channels, _, _ = Activations(folders.build / "activations").load_channels()
    ids = [channel.id for channel in channels]
    x = values[corpus.is_measured].astype(np.float64)
    for channel in ids:
        shard = opened(json.loads((folders.build / "shards" / f"{channel}.json").read_bytes()))
        for near in shard["neighbours"].get("correlation", []):
            a, b = x[:, ids.index(channel)], x[:, ids.index(near["id"])]
            assert near["value"] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-5)
    for layer in range(known_answer.LAYERS):
        shard = opened(json.loads((folders.build / "shards" / "layer" / f"{layer}.json").read_bytes()))
        shown = [c["id"] for module in shard["modules"] for c in module["channels"]]
        assert sorted(shown) == sorted(i for i in ids if f"/L{layer}/" in i)


def test_document_pages_show_the_strongest_channels_at_each_token(planted):
    _expected, config, folders = planted
    corpus, values = extracted(folders, config)
    channels, _, _ = Activations(folders.build / "activations").load_channels()
    rms = np.array([c.reference_rms for c in channels])
    ids = [c.id for c in channels]
    for doc in range(corpus.n_docs):
        shard = opened(json.loads((folders.build / "shards" / "doc" / f"{doc}.json").read_bytes()))
        rows = values[corpus.tokens_of(doc)]
        strength = np.abs(rows) / np.where(rms > 0, rms, np.inf)
        for t, (at, quantised) in enumerate(zip(shard["strongest"]["channel"], shard["strongest"]["value"])):
            shown = [(shard["channels"][c], q) for c, q in zip(at, quantised)]
            want = np.sort(strength[t][strength[t] > 0])[::-1][: len(at)]
            got = [strength[t, ids.index(c["id"])] for c, _ in shown if strength[t, ids.index(c["id"])] > 0]
            np.testing.assert_allclose(got[: len(want)], want, rtol=1e-5)
            for c, q in shown:
                assert abs(q * c["scale"] - rows[t, ids.index(c["id"])]) <= c["scale"] * 0.5001 + 1e-6


def test_a_second_build_does_nothing_and_a_forced_one_writes_the_same_bytes(planted, capfd):
    _, config, folders = planted
    before = shards_of(folders)
    build(config, folders)
    assert capfd.readouterr().err.count("up to date") == len(stages_of(config))
    build(config, folders, force=True)
    assert shards_of(folders) == before


@pytest.mark.parametrize("change", ["stream", "chunks", "workers", "batches"])
def test_however_the_work_is_split_the_site_is_the_same(planted, tmp_path: Path, change: str):
    _expected, config, folders = planted
    update = {
        "stream": {"keep_activations": False},
        "chunks": {"chunk_tokens": 7},
        "workers": {"workers": 2},
        "batches": {"batch_tokens": 33, "packing": "sorted"},
    }[change]
    other = config.model_copy(update={"extract": config.extract.model_copy(update=update)})
    here = folders_in(tmp_path)
    build(other, here)
    if change == "stream":
        assert not list((here.build / "activations").glob("tokens-*.h5"))
    wanted, got = shards_of(folders), shards_of(here)
    assert got.keys() == wanted.keys()
    if change in ("stream", "workers"):  # the very same arithmetic
        changed = [name for name in wanted if got[name] != wanted[name] and name not in NAME_KEYS]
        assert changed == []
    else:  # another order of float additions
        for name in wanted:
            if name.startswith("lora/"):
                corpus, values = extracted(here, other)
                channels, _, _ = Activations(here.build / "activations").load_channels()
                index = [c.id for c in channels].index(name.removesuffix(".json"))
                assert_shard_is_true(
                    opened(json.loads(got[name])), values[:, index], corpus, config.summarize
                )


def test_a_changed_setting_runs_only_what_depends_on_it(planted):
    _, config, folders = planted
    other = config.model_copy(update={"publish": config.publish.model_copy(update={"title": "Other"})})
    assert [state == "done" for _, state, _ in status(other, folders)] == [True, True, True, False]
    other = config.model_copy(update={"summarize": config.summarize.model_copy(update={"k": 3})})
    assert [state == "done" for _, state, _ in status(other, folders)] == [True, True, False, False]


def test_publishing_needs_neither_the_model_nor_torch(planted, tmp_path: Path):
    expected, _config, folders = planted
    program = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'peft', 'accelerate', 'datasets'): sys.modules[name] = None\n"
        "from generator.__main__ import main\n"
        f"main(['build', {str(tmp_path / 'run.toml')!r}, '--only', 'publish',"
        f" '--build-dir', {str(tmp_path / 'build')!r}, '--docs-dir', {str(tmp_path / 'docs')!r}])"
    )
    run_file = (
        expected.run_file.read_text().replace("./base", "gone/base").replace("./adapter", "gone/adapter")
    )
    (tmp_path / "run.toml").write_text(run_file)
    for part in ("corpus", "summary"):
        (tmp_path / "build" / part).mkdir(parents=True)
        for file in (folders.build / part).iterdir():
            (tmp_path / "build" / part / file.name).write_bytes(file.read_bytes())
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    here, there = shards_of(folders_in(tmp_path)), shards_of(folders)
    assert {n: b for n, b in here.items() if n != "home.json"} == {
        n: b for n, b in there.items() if n != "home.json"
    }


def test_a_missing_input_names_the_command_that_makes_it(planted, tmp_path: Path):
    _, config, _ = planted
    with pytest.raises(FeaturebookError, match="--only corpus"):
        build(config, folders_in(tmp_path), only=["publish"])
    with pytest.raises(FeaturebookError, match=r"no stage 'publsh'. Did you mean publish"):
        build(config, folders_in(tmp_path), only=["publsh"])


def test_a_stage_that_the_run_has_not_is_passed_over(planted, capfd):
    """One command publishes any run, whether it offers a bundle or not."""
    _, config, folders = planted
    build(config, folders, only=["publish", "bundle"])
    said = capfd.readouterr().err
    assert "bundle: not part of this run" in said
    assert "publish: up to date" in said


def test_a_dry_run_says_why_and_writes_nothing(planted, tmp_path: Path, capfd):
    _, config, _ = planted
    build(config, folders_in(tmp_path), dry_run=True)
    said = capfd.readouterr().err
    assert "corpus: would run (never finished)" in said
    assert "extract: would run (corpus would run)" in said
    assert not (tmp_path / "build").exists()


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(planted, tmp_path: Path):
    """SIGKILL while chunks are written; nothing half-written may count."""
    expected, _config, folders = planted
    here = folders_in(tmp_path)
    command = [sys.executable, "-m", "generator", "build", str(expected.run_file)]
    command += ["--build-dir", str(here.build), "--docs-dir", str(here.docs)]
    first_chunk = here.build / "activations"
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while (
        time.monotonic() < deadline and process.poll() is None and not list(first_chunk.glob("tokens-*.h5"))
    ):
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert list(first_chunk.glob("tokens-*.h5")), "killed before anything was written"
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    wanted, got = shards_of(folders), shards_of(here)
    assert [name for name in wanted if got[name] != wanted[name]] == []


def test_a_damaged_activation_file_is_named_and_the_rest_is_kept(planted, tmp_path: Path):
    _, config, folders = planted
    here = folders_in(tmp_path)
    build(config, here)
    victim = sorted((here.build / "activations").glob("tokens-*.h5"))[1]
    victim.write_bytes(victim.read_bytes()[:-100])
    with pytest.raises(FeaturebookError, match=rf"{victim.name}.*damaged.*Delete it"):
        build(config, here, only=["summarize"], force=True)
    others = {f: f.stat().st_mtime_ns for f in victim.parent.glob("tokens-*.h5") if f != victim}
    victim.unlink()
    assert {name: state for name, state, _ in status(config, here)}["extract"] == "some of its files are gone"
    build(config, here)
    assert {f: f.stat().st_mtime_ns for f in others} == others, "finished chunks were measured again"
    assert shards_of(here) == shards_of(folders)


def test_keys_do_not_depend_on_where_files_lie(planted, tmp_path: Path):
    expected, config, folders = planted
    if "3" in str(expected.adapter):
        known_answer.build(tmp_path, gate_rank=3)
    else:
        known_answer.build(tmp_path)
    moved = load_run(tmp_path / "run.toml")
    for stage in stages_of(config):
        assert stage_key(stage, moved, folders) == stage_key(stage, config, folders)


@pytest.fixture(scope="module")
def with_latents(tmp_path_factory: pytest.TempPathFactory):
    """A finished known-answer run with a dictionary trained on its directions: (config, folders)."""
    path = tmp_path_factory.mktemp("latents")
    expected = known_answer.build(path)
    train = '\n[[collections]]\nname = "sae"\ntrain = {expansion = 2, k = 3, batch = 32, epochs = 3, held_out = 0.2}\n'
    expected.run_file.write_text(expected.run_file.read_text() + train)
    config, folders = load_run(expected.run_file), folders_in(path)
    build(config, folders)
    return config, folders


def test_every_number_of_every_latent(with_latents):
    """Latents recomputed in float64 from the saved weights and the stored activations."""
    from safetensors.numpy import load_file

    config, folders = with_latents
    corpus, values = extracted(folders, config)
    w = load_file(folders.build / "dictionaries" / "sae" / "sae_weights.safetensors")
    pre = (values.astype(np.float64) - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    latents = np.where(pre > w["threshold"], np.maximum(pre, 0), 0)
    n_alive = 0
    for index in range(latents.shape[1]):
        shard = opened(json.loads((folders.build / "shards" / "sae" / f"{index}.json").read_bytes()))
        assert shard["kind"] == "sae"
        assert not shard["is_signed"]
        active = latents[corpus.is_measured, index] > 0
        assert shard["stats"]["density"] == pytest.approx(active.mean(), abs=1e-9)
        assert shard["stats"]["max"] == pytest.approx(
            latents[corpus.is_measured, index].max(), rel=1e-5, abs=1e-6
        )
        got = [e["value"] for e in shard["examples"] if e["group"] == "top"]
        want = np.sort(latents[corpus.is_measured, index][active])[::-1][: config.summarize.k]
        np.testing.assert_allclose(got, want, rtol=1e-5)
        assert not [e for e in shard["examples"] if e["group"] == "bottom"]
        n_alive += bool(active.any())
    assert n_alive > 3, "a dictionary of dead latents proves nothing"


def test_directions_and_latents_stand_on_one_site(with_latents):
    config, folders = with_latents
    ids = json.loads((folders.build / "shards/explorer/columns/id.json").read_bytes())["values"]
    assert sum(i.startswith("lora/") for i in ids) == 14
    assert sum(i.startswith("sae/") for i in ids) == 28
    assert [name for name, state, _ in status(config, folders) if state == "done"] == [
        "corpus", "extract", "train", "summarize", "collect", "publish",
    ]  # fmt: skip


def test_a_trained_dictionary_is_loaded_by_path_with_the_same_pages(with_latents, tmp_path: Path):
    config, folders = with_latents
    trained = folders.build / "dictionaries" / "sae"
    table = config.collections[0].model_copy(update={"train": None, "path": str(trained)})
    here = folders_in(tmp_path)
    build(config.model_copy(update={"collections": [table]}), here)
    wanted, got = shards_of(folders), shards_of(here)
    assert [n for n in wanted if n.startswith("sae/") and got[n] != wanted[n]] == []


def test_a_dictionary_for_other_channels_is_refused(with_latents, tmp_path: Path):
    config, folders = with_latents
    trained = str(folders.build / "dictionaries" / "sae")
    table = config.collections[0].model_copy(
        update={"train": None, "path": trained, "channels": ["lora/L0/*"]}
    )
    with pytest.raises(FeaturebookError, match=r"reads 14 values per token.*the input has 7"):
        build(config.model_copy(update={"collections": [table]}), folders, only=["collect"], force=True)
    foreign = json.loads((Path(trained) / "cfg.json").read_bytes())
    foreign["metadata"]["input_channels"][3] = "lora/L0/other"
    (tmp_path / "cfg.json").write_text(json.dumps(foreign))
    (tmp_path / "sae_weights.safetensors").write_bytes(
        (Path(trained) / "sae_weights.safetensors").read_bytes()
    )
    other = config.collections[0].model_copy(update={"train": None, "path": str(tmp_path)})
    with pytest.raises(FeaturebookError, match="wants 'lora/L0/other' where this run gives 'lora/L0/o_proj'"):
        build(config.model_copy(update={"collections": [other]}), folders, only=["collect"], force=True)
    table = table.model_copy(update={"channels": ["lora/L9/*"]})
    with pytest.raises(FeaturebookError, match=r"no channel matches 'lora/L9/\*'"):
        build(config.model_copy(update={"collections": [table]}), folders, only=["collect"], force=True)


def test_dictionaries_need_stored_activations(with_latents, tmp_path: Path):
    config, _ = with_latents
    streaming = config.extract.model_copy(update={"keep_activations": False})
    with pytest.raises(FeaturebookError, match="keep_activations = true"):
        build(config.model_copy(update={"extract": streaming}), folders_in(tmp_path))
