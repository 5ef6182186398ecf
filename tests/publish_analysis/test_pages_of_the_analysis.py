"""Closed-form files of the analysis become shards and pages: every value with its n or its reason, nothing lost, no path followed."""

import base64
import json
from pathlib import Path

import numpy as np
import orjson
import pytest

from generator.artifacts import MemoryWriter
from generator.errors import FeaturebookError
from generator.findings import load_findings
from generator.progress import Silent
from generator.publish import publish
from generator.publish.analysis import measured, open_analysis
from generator.publish.analysis_model import geometry
from tests.publish.conftest import Publication
from tests.publish.test_schemas import validator
from tests.toy import toy_config, toy_run
from tests.toy_analysis import PROMPT, UNDEFINED, N, uniform_entropy, value, write_analysis


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_analysis(tmp_path_factory.mktemp("analysis"))


@pytest.fixture(scope="module")
def published(folder: Path) -> Publication:
    shards, docs, progress = MemoryWriter(), MemoryWriter(), Silent()
    findings = {"ablation": load_findings(folder / "ablation.h5")}
    facts = publish(
        toy_config(),
        *toy_run(),
        shards,
        docs,
        Path("/nonexistent"),
        progress,
        findings=findings,
        analysis=folder,
    )
    return Publication(shards.files, docs.files, facts, progress.notes)  # fmt: skip


def test_every_shard_of_the_analysis_is_valid(published: Publication) -> None:
    seen = set()
    for path, content in published.shards.items():
        depth = path.count("/")
        if path.split("/")[0].removesuffix(".json") == "analysis":
            name = ["analysis", "analysis_model", "analysis_text", "analysis_attention"][depth]
            validator(name).validate(orjson.loads(content))
            seen.add(name)
    assert len(seen) == 4
    for name, kind in (("layer/0", "layer"), ("doc/1", "document"), ("lora/L0/gate_proj", "channel"),
                       ("explorer", "explorer"), ("explorer/rows/0", "explorer_rows")):  # fmt: skip
        validator(kind).validate(orjson.loads(published.shards[f"{name}.json"]))


def test_base_and_adapted_model_stand_on_the_same_axes(published: Publication) -> None:
    curves = published.shard("analysis/main")["layers"]["curves"]
    rank, growth = curves
    assert [(s["variant"], s["values"], s["n"]) for s in rank["series"]] == [
        ("base", [1.0, 2.0, 3.0], 100), ("adapted", [2.0, 4.0, 6.0], 100),
    ]  # fmt: skip
    assert rank["series"][0]["warning"].startswith("n = 100") and "warning" not in rank["method"]
    assert growth["series"][0]["reasons"] == {"0": UNDEFINED} and growth["series"][0]["n"] == [1, 100, 100]


def test_strips_show_the_largest_divergence_of_every_cell(published: Publication) -> None:
    strips = published.shard("analysis/main")[
        "strips"
    ]  # 72 tokens in at most 32 cells: 3 each, the last token is 2.0
    assert strips == {"width": 3, "at": [[*range(0, 69, 3), 71]], "largest": [[0.5] * 23 + [2.0]]}
    assert published.shard("analysis/masked")["strips"] == {"width": 1, "at": [], "largest": []}


def test_what_is_undefined_keeps_its_place_in_a_matrix() -> None:
    assert measured([[value(0.123456789), value(None)], [value(1.0), value(2.0)]]) == {
        "values": [[0.12346, None], [1.0, 2.0]], "n": [100, 1, 100, 100], "reasons": {"1": UNDEFINED},
    }  # fmt: skip
    assert geometry({"undefined": "No layers."}) == {"undefined": "No layers."}


def test_a_part_that_was_not_computed_says_why(tmp_path: Path) -> None:
    parts = {"heads": "The model gives no attention weights."}
    file = {
        "schema": 1,
        "models": [{"name": "main", "texts": [], "n_layers": 2, "parts": parts}],
        "texts": [],
    }
    (tmp_path / "analysis.json").write_text(json.dumps(file))
    analysis = open_analysis(tmp_path)
    assert analysis is not None
    assert analysis.heads == {"undefined": "The model gives no attention weights."}
    assert analysis.layers == {"undefined": "This was not computed."}


def test_a_text_shows_the_strings_of_its_own_vocabulary(published: Publication) -> None:
    shard = published.shard(f"analysis/main/{PROMPT}")
    # U+202E lies in two tokens: together they show it, alone each shows its bytes
    assert [shard["tokens"][i] for i in shard["text"]] == [
        "<s>",
        " two",
        "<img src=x onerror=alert(1)>",
        "\u202e",
        "",
    ]
    alone = [shard["tokens"][i] for i in shard["vocabulary"]]
    assert alone == ["<s>", " two", "<img src=x onerror=alert(1)>", "\\xe2\\x80", "\\xae", " four"]
    assert [shard["tokens"][i] for i in shard["special"]] == ["<s>"]
    assert shard["predictions"]["base"]["probability"][0] == [0.75, 0.25]
    assert [m["name"] for m in shard["models"]] == ["main", "masked"]
    masked = published.shard(f"analysis/masked/{PROMPT}")
    assert masked["predictions"]["positions"] == [2] and "adapter" in masked["surprise"]["undefined"]


def test_attention_is_passed_on_as_it_was_measured(published: Publication) -> None:
    heads = published.shard(f"analysis/main/{PROMPT}/heads-1")
    weights = np.frombuffer(base64.b64decode(heads["base"]), np.uint8).reshape(2, N, N).astype(float)
    uniform = np.tril(np.ones((N, N))) / np.arange(1, N + 1)[:, None]
    assert np.abs((weights[0] / 255) ** 2 - uniform).max() < 0.004
    attention = published.shard(f"analysis/main/{PROMPT}/attention")
    assert attention["base"]["entropy"][0][0] == [round(uniform_entropy(q), 4) for q in range(N)]
    assert not [path for path in published.shards if path.startswith(f"analysis/masked/{PROMPT}/")]


def test_a_layer_shows_its_input_output_heads_and_ablation(published: Publication) -> None:
    shard = published.shard("layer/1")["analysis"]
    rank, growth = shard["geometry"]["curves"]
    assert rank["series"][0]["values"] == [2.0, 3.0] and growth["series"][0]["reasons"] == {}
    assert published.shard("layer/0")["analysis"]["geometry"]["curves"][1]["series"][0]["reasons"] == {
        "0": UNDEFINED
    }
    entropy = shard["heads"]["scores"][0]["series"][0]
    assert (entropy["values"], entropy["low"], entropy["high"]) == ([1.0, 1.5], 0.0, 1.5)
    assert shard["heads"]["clusters"][0]["names"] == ["broad", "focused"]
    effects = published.shard("layer/0")["analysis"]["ablation"]["effects"]
    assert [e["kind"] for e in effects] == ["module", "layer"]


def test_only_channels_with_a_page_are_linked(published: Publication) -> None:
    effects = published.shard("analysis/main")["ablation"]["effects"]
    assert [e["channel"] for e in effects][:2] == ["lora/L0/gate_proj", ""]


def test_documents_and_channels_show_their_part(published: Publication) -> None:
    shard = published.shard("doc/1")
    assert shard["divergence"]["base_adapted"][-1] == 2.0 and shard["analysed"] == "analysis/main/doc-1"
    assert "divergence" not in published.shard("doc/0") and "analysed" not in published.shard("doc/0")
    zeroed = published.shard("lora/L0/gate_proj")["ablation"]
    assert zeroed["rank"] == 1 and zeroed["context"][0]["loss_change"]["reason"] == UNDEFINED
    assert "ablation" not in published.shard("lora/L0/up_proj")["panels"]
    column = published.shard("explorer/columns/ablation")["values"]
    assert column.count(0.25) == 1 and column.count(None) == len(column) - 1
    assert "ablation" in published.shard("explorer")["numbers"]


def test_layers_without_channels_have_pages_too(folder: Path) -> None:
    shards, docs = MemoryWriter(), MemoryWriter()
    config = toy_config(channels=["sae/*"])  # latents over both layers: none of them belongs to one
    publish(config, *toy_run(), shards, docs, Path("/nonexistent"), Silent(), analysis=folder)
    layer = orjson.loads(shards.files["layer/1.json"])
    assert layer["modules"] == [] and layer["previous"] == "layer/0" and layer["next"] is None
    validator("layer").validate(layer)
    assert b"How the representation and the attention heads of layer 1" in docs.files["atlas/layer/1.md"]


def test_pages_name_models_texts_and_ways_between_them(published: Publication) -> None:
    index = published.front_matter("analysis")
    assert [m["name"] for m in index["models"]] == ["main", "masked"]
    assert index["models"][0]["texts"][0]["path"] == f"atlas/analysis/main/{PROMPT}/"
    text = published.front_matter(f"analysis/masked/{PROMPT}")
    assert text["template"] == "analysed.html" and [m["is_here"] for m in text["text"]["models"]] == [
        False,
        True,
    ]
    assert published.front_matter("analysis/main")["title"] == "Analysis of base"


def test_without_the_stage_there_is_nothing(tmp_path: Path) -> None:
    assert open_analysis(None) is None and open_analysis(tmp_path) is None
    (tmp_path / "analysis.json").write_text('{"schema": 1, "models": [], "texts": [], "settings": {}}')
    assert open_analysis(tmp_path) is None


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a\\b", 7])
def test_a_name_that_would_lead_elsewhere_is_refused(tmp_path: Path, name: object) -> None:
    file = {"schema": 1, "models": [{"name": "main", "texts": [name]}], "texts": [], "settings": {}}
    (tmp_path / "analysis.json").write_text(json.dumps(file))
    with pytest.raises(FeaturebookError, match="letters, digits"):
        open_analysis(tmp_path)


@pytest.mark.parametrize(("content", "message"), [('{"schema": 9}', "schema 9"), ("{", "cannot be read")])
def test_another_schema_and_a_damaged_file_say_what_to_do(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "analysis.json").write_text(content)
    with pytest.raises(FeaturebookError, match=message) as failure:
        open_analysis(tmp_path)
    assert "--only analyze,publish" in str(failure.value)
