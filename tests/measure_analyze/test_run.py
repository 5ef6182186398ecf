"""The stage ``analyze`` as the run file asks for it: an encoder beside a decoder, prompts added later, nothing computed twice."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from generator.__main__ import main
from generator.artifacts import read_json
from generator.config import load_run
from generator.demo import recipe
from generator.errors import FeaturebookError
from generator.measure.analyze import stage
from generator.pipeline import Folders, build

DEMO = Path(recipe.__file__).parent
PROMPT = "Ice floats because it is lighter than [MASK]."


def run_file(folder: Path, prompts: list[str], extra: str = "") -> Path:
    path = folder / "run.toml"
    path.write_text(
        f"""
[model]
base = "{DEMO / "gpt2"}"
device = "cpu"
[corpus]
source = "{DEMO / "corpus.jsonl"}"
name = "id"
max_documents = 3
[analyze]
prompts = {prompts!r}
documents = 1
text_tokens = 12
nodes = 4
max_nodes = 4
continuation_tokens = 3
sample_tokens = 64
repeat_length = 8
{extra}
[[analyze.models]]
name = "bert"
base = "{DEMO / "bert"}"
"""
    )
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("analysis")
    build(load_run(run_file(folder, [PROMPT])), Folders(folder / "build"), only=["corpus", "analyze"])
    return folder


def test_every_model_has_its_files_and_the_index_names_them(built: Path):
    folder = built / "build" / "analysis"
    index = read_json(folder / "analysis.json")
    gpt2, bert = index["models"]
    assert (gpt2["name"], gpt2["kind"], gpt2["variants"]) == ("main", "causal", ["base"])
    assert (bert["name"], bert["kind"], bert["n_heads"], bert["n_layers"]) == ("bert", "masked", 4, 4)
    assert "no LoRA adapter" in gpt2["parts"]["ablation"] and gpt2["divergence"] == []
    prompt, document = index["texts"]
    assert prompt["text"] == PROMPT and document["kind"] == "document"
    for model in index["models"]:
        assert model["parts"]["layers"] == model["parts"]["heads"] == model["parts"]["texts"] == "done"
        assert model["texts"] == [prompt["id"], document["id"]]
        for text in model["texts"]:
            found = read_json(folder / model["name"] / "texts" / f"{text}.json")
            assert found["id"] == text and found["attention"]["n_layers"] == 4
            assert found["read"]["n_read"] <= 24
            names = {path.name for path in (folder / model["name"] / "texts" / text).iterdir()}
            assert names == {"attention.json", "attention.npz", *(f"heads-{i}.json" for i in range(4))}
    everything = files(folder)
    assert not [name for name, content in everything.items() if b"NaN" in content and name.endswith("json")]
    assert str(DEMO).encode() not in b"".join(v for k, v in everything.items() if k.endswith("json"))


def test_another_prompt_computes_its_own_files_and_nothing_else(built: Path, monkeypatch: pytest.MonkeyPatch):
    before = files(built / "build" / "analysis")
    called: list[str] = []
    for name in ("measure_geometry", "measure_heads"):
        monkeypatch.setattr(stage, name, lambda *a, _n=name, **k: called.append(_n))
    monkeypatch.setattr(stage, "describe", _noting(stage.describe, called))
    config = load_run(run_file(built, [PROMPT, "Salt dissolves in"]))
    build(config, Folders(built / "build"), only=["analyze"])
    assert called == ["Salt dissolves in"] * 2
    after = files(built / "build" / "analysis")
    kept = [n for n in before if n not in ("analysis.json", "manifest.json")]
    assert all(before[name] == after[name] for name in kept) and len(after) > len(before)
    build(load_run(run_file(built, [PROMPT])), Folders(built / "build"), only=["analyze"])
    again = files(built / "build" / "analysis")
    assert again == before, "a prompt that is no longer asked for goes, and the same run gives the same bytes"


def _noting(describe: Any, called: list[str]) -> Any:
    def noted(reader: Any, text: Any, *rest: Any) -> Any:
        called.append(text.text)
        return describe(reader, text, *rest)

    return noted


def test_a_prompt_alone_needs_no_corpus(tmp_path: Path):
    command = [
        "analyze",
        "--prompt",
        "Salt dissolves in",
        str(run_file(tmp_path, [])),
        "--build-dir",
        str(tmp_path / "b"),
    ]
    shown = CliRunner().invoke(main, command)
    assert shown.exit_code == 0, shown.output
    folder = tmp_path / "b" / "analysis"
    index = read_json(folder / "analysis.json")
    assert [t["text"] for t in index["texts"]] == ["Salt dissolves in"]
    bert = read_json(folder / "bert" / "texts" / f"{index['texts'][0]['id']}.json")
    assert "mask was added" in bert["read"]["note"] and not (tmp_path / "b" / "corpus").exists()
    command[2] = "  "
    assert "is empty" in CliRunner().invoke(main, command).stderr


def test_names_of_models_are_checked(tmp_path: Path):
    path = run_file(tmp_path, [])
    for wrong in ("main", "a/b"):
        path.write_text(path.read_text().replace('name = "bert"', f'name = "{wrong}"'))
        with pytest.raises(FeaturebookError, match="cannot be used"):
            load_run(path)
        path = run_file(tmp_path, [])
    path.write_text(path.read_text().replace("documents = 1", 'documents = ["nine"]'))
    config = load_run(path)
    assert config.analyze and config.analyze.documents == ["nine"]
