"""Sites from other tools' files: round trips of our own, samples in the published shapes, and wrong files."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from generator.__main__ import main
from generator.artifacts import Artifact
from generator.blocks import Corpus
from generator.errors import FeaturebookError
from generator.pipeline import Folders, build
from generator.publish.exchange import export_site, import_site
from generator.publish.exchange.shelf import expanded
from generator.summaries import Summary
from tests.publish_exchange.conftest import read, text_of
from tests.toy import HOSTILE


def publish_import(source: Path, folder: Path, format_name: str) -> Path:
    """Imports and publishes; the folder of the new shards."""
    build(import_site(source, folder, format_name), Folders(folder, folder / "docs"), only=["publish"])
    return folder / "shards"


def results(folder: Path) -> tuple[Corpus, Summary]:
    return Corpus.load(folder / "corpus" / "corpus.h5"), Summary.load(folder / "summary" / "summary.h5")


# --- round trips -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["saedashboard", "neuronpedia"])
def back(request: pytest.FixtureRequest, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's shards after an export and an import."""
    folder = tmp_path_factory.mktemp("round-trip")
    export_site(shards, folder / "files", request.param)
    return publish_import(folder / "files", folder / "build", request.param)


def living(shards: Path) -> list[dict[str, Any]]:
    is_dead = expanded(read(shards / "explorer.json")["is_dead"])
    ids = [i for i, dead in zip(read(shards / "explorer/columns/id.json")["values"], is_dead) if not dead]
    return [read(shards / f"{identifier}.json") for identifier in ids]


def test_ids_densities_and_extremes_come_back(shards: Path, back: Path):
    ours = {s["id"]: s for s in living(shards)}
    theirs = {s["id"]: s for s in living(back)}
    assert set(theirs) == set(ours)
    for identifier, shard in theirs.items():
        for name in ("collection", "kind", "layer", "module", "rank_index", "rank", "is_signed"):
            assert shard[name] == ours[identifier][name], (identifier, name)
        assert shard["stats"]["density"] == ours[identifier]["stats"]["density"]
        assert shard["stats"]["max"] == pytest.approx(ours[identifier]["stats"]["max"], abs=1e-5)


def examples_by_group(shard: dict[str, Any]) -> dict[str, list[tuple[str, float]]]:
    """Text and value at the peak, under a name that does not depend on how bands are called."""
    groups = {g["group"]: g for g in shard["groups"]}
    found: dict[str, list[tuple[str, float]]] = {}
    for e in shard["examples"]:
        g = groups[e["group"]]
        if e["group"] != "top" and g["low"] is None:
            continue  # nothing of this sign: the group has no tokens, and its examples are not exported
        name = f"{g['low']:.6g} to {g['high']:.6g}" if e["group"].startswith("band:") else e["group"]
        found.setdefault(name, []).append((text_of(shard, e), e["value"]))
    return found


def test_examples_come_back_in_their_groups(shards: Path, back: Path):
    theirs = {s["id"]: s for s in living(back)}
    n_groups = 0
    for shard in living(shards):
        ours, found = examples_by_group(shard), examples_by_group(theirs[shard["id"]])
        assert set(found) == set(ours), shard["id"]
        for name, examples in ours.items():
            n_groups += 1
            assert sorted(t for t, _ in found[name]) == sorted(t for t, _ in examples)
            np.testing.assert_allclose(
                sorted(v for _, v in found[name]), sorted(v for _, v in examples), atol=1e-5
            )
    assert n_groups > 150


def test_values_of_windows_come_back_to_the_rounding(shards: Path, back: Path):
    theirs = {s["id"]: s for s in living(back)}
    for shard in living(shards):
        other = theirs[shard["id"]]
        ours, found = (next(iter(s["examples"]), None) for s in (shard, other))
        if ours is None or found is None or "" in [shard["tokens"][i] for i in ours["text"]]:
            continue
        rounding = 1e-5 + shard["scale"] / 2 + other["scale"] / 2
        given = [(v or 0) * shard["scale"] for v in ours["values"]]
        assert [v * other["scale"] for v in found["values"]] == pytest.approx(given, abs=2 * rounding)


def test_hostile_tokens_survive(shards: Path, back: Path):
    before = {text for shard in living(shards) for text in shard["tokens"]}
    after = {text for shard in living(back) for text in shard["tokens"]}
    shown = before & set(HOSTILE)
    assert len(shown) > 8
    assert shown <= after


def test_histograms_come_back_where_they_fit(shards: Path, back: Path):
    theirs = {s["id"]: s for s in living(back)}
    n = 0
    for shard in living(shards):
        edges, counts = theirs[shard["id"]]["histogram"]["edges"], theirs[shard["id"]]["histogram"]["counts"]
        if len(counts) and shard["is_signed"] and len(shard["histogram"]["counts"]) == len(counts):
            assert counts == shard["histogram"]["counts"]
            assert edges == pytest.approx(shard["histogram"]["edges"])
            n += 1
    assert n > 10


# --- samples in the published shapes ---------------------------------------------------------------------------


def dashboard_feature(index: int, **changes: Any) -> dict[str, Any]:
    """A feature as SAEDashboard's acceptance sample has it."""
    activations = [
        {"bin_min": -1, "bin_max": 4.0, "bin_contains": -1, "qualifying_token_index": 1,
         "tokens": [" he", "llo", "<|outofrange|>"], "values": [0.0, 4.0, 0.5]},
        {"bin_min": -1, "bin_max": 4.0, "bin_contains": -1, "qualifying_token_index": 0,
         "tokens": ["a", " b"], "values": [3.0, 0.0]},
        {"bin_min": 2.0, "bin_max": 4.0, "bin_contains": 0.01, "qualifying_token_index": 0,
         "tokens": ["a", " b"], "values": [3.0, 0.0]},
        {"bin_min": 0.0, "bin_max": 2.0, "bin_contains": 0.03, "qualifying_token_index": 1,
         "tokens": ["x", "y"], "values": [0.0, 1.25]},
    ]  # fmt: skip
    return {
        "feature_index": index,
        "neuron_alignment_indices": [1, 2, 3],
        "correlated_features_indices": [8 - index, 999],
        "correlated_features_pearson": [0.25, 0.5],
        "pos_str": [" x"] * 10,
        "pos_values": [1.0] * 10,
        "frac_nonzero": 0.04,
        "freq_hist_data_bar_values": [0.04 + 0.08 * i for i in range(50)],
        "freq_hist_data_bar_heights": [50 - i for i in range(50)],
        "n_prompts_total": 100,
        "n_tokens_in_prompt": 127,
        "dataset": "someone/text",
        "activations": activations,
        **changes,
    }


def dashboard(folder: Path, *features: dict[str, Any], **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    batch = {
        "model_id": "gpt2-small",
        "layer": 7,
        "sae_set": "res-jb",
        "sae_id_suffix": None,
        "features": list(features),
    }
    (folder / "batch-0.json").write_text(json.dumps(batch | changes))
    return folder


def test_a_dashboard_becomes_a_site(tmp_path: Path):
    source = dashboard(tmp_path / "files", dashboard_feature(3), dashboard_feature(5))
    shards = publish_import(source, tmp_path / "build", "saedashboard")
    shard = read(shards / "res-jb" / "3.json")
    assert (shard["layer"], shard["is_signed"], shard["is_dead"]) == (7, False, False)
    assert shard["stats"]["n_tokens"] == 12700 and shard["stats"]["density"] == 0.04
    assert (shard["stats"]["min"], shard["stats"]["max"]) == (0.0, 4.0)
    assert shard["stats"]["mean"] is shard["stats"]["kurtosis"] is None
    groups = {g["group"]: g for g in shard["groups"]}
    assert (groups["band:+1"]["low"], groups["band:+1"]["high"], groups["band:+1"]["count"]) == (
        2.0,
        4.0,
        127,
    )
    assert (groups["band:+2"]["low"], groups["band:+2"]["high"]) == (0.0, 2.0)
    assert [e["group"] for e in shard["examples"]] == ["top", "top", "band:+1", "band:+2"]
    first = shard["examples"][0]
    assert text_of(shard, first) == " hello<|outofrange|>"
    assert (first["position"], first["value"], first["values"]) == (1, 4.0, [0, 1000, 125])
    assert shard["histogram"]["counts"] == [50 - i for i in range(50)]
    assert shard["histogram"]["edges"][0] == 0 and shard["histogram"]["edges"][-1] == pytest.approx(4.0)
    assert [(n["id"], n["value"]) for n in shard["neighbours"]["correlation"]] == [("res-jb/5", 0.25)]
    home = read(shards / "home.json")
    assert (home["model"]["base"], home["corpus"]["source"]) == ("gpt2-small", "someone/text")
    assert home["corpus"]["n_documents"] == 3  # "a b" is the example of two groups


def test_what_the_files_do_not_say_is_missing(tmp_path: Path):
    feature = dashboard_feature(0, freq_hist_data_bar_values=[0.3 + i for i in range(9)])
    feature["freq_hist_data_bar_heights"] = [1] * 9
    for name in ("frac_nonzero", "n_prompts_total", "dataset"):
        del feature[name]
    feature["activations"] = feature["activations"][1:2]
    feature["activations"][0]["bin_max"] = -1
    shards = publish_import(dashboard(tmp_path / "files", feature), tmp_path / "build", "saedashboard")
    shard = read(shards / "res-jb" / "0.json")
    assert shard["stats"]["density"] is None and not shard["is_dead"]
    assert (shard["stats"]["max"], shard["stats"]["n_tokens"]) == (3.0, 0)
    assert (shard["histogram"]["edges"], shard["histogram"]["counts"]) == ([], []) and len(
        shard["examples"]
    ) == 1
    notes = " ".join(read(shards / "home.json")["notes"])
    assert "do not say on how many tokens" in notes and "do not begin at zero" in notes


def test_layers_of_one_set_get_ids_of_their_own(tmp_path: Path):
    dashboard(tmp_path / "files", dashboard_feature(0))
    dashboard(tmp_path / "files" / "other", dashboard_feature(0), layer=8)
    shards = publish_import(tmp_path / "files", tmp_path / "build", "saedashboard")
    assert read(shards / "explorer/columns/id.json")["values"] == ["res-jb/L7/0", "res-jb/L8/0"]


def test_names_from_files_cannot_break_the_run_file(tmp_path: Path):
    name = 'a"\n[corpus]\nsource = "/etc" \x7f \\ {{ x }} 😀'
    feature = dashboard_feature(0, dataset=name)
    source = dashboard(tmp_path / "files", feature, model_id=name, sae_set="../../x\n")
    config = import_site(source, tmp_path / "build", "saedashboard")
    assert config.model.base == config.corpus.source == name
    assert results(tmp_path / "build")[1].channels[0].id == "x/0"


def test_uploads_and_answers_of_the_api_are_read(tmp_path: Path):
    upload = {
        "modelId": "gemma-2-2b",
        "source": "12-my-set",
        "features": [
            {"index": 4, "activations": [
                {"tokens": ["a", "b"], "values": [0, 2]},
                {"tokens": ["c"], "values": [1], "quantileMin": 0.5, "quantileMax": 1.5, "quantileFraction": 0.1}]},
        ],
    }  # fmt: skip
    answer = {
        "modelId": "gemma-2-2b", "layer": "12-my-set", "index": "9", "frac_nonzero": 0.5, "maxActApprox": 8,
        "freq_hist_data_bar_values": [], "freq_hist_data_bar_heights": [], "explanations": [],
        "activations": [{"tokens": ["x", "y"], "values": [1, 8], "maxValue": 8, "maxValueTokenIndex": 1,
                         "binMin": None, "binMax": None, "binContains": None}],
    }  # fmt: skip
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.json").write_text(json.dumps(upload))
    (tmp_path / "files" / "b.json").write_text(json.dumps(answer))
    shards = publish_import(tmp_path / "files", tmp_path / "build", "neuronpedia")
    four, nine = read(shards / "my-set" / "4.json"), read(shards / "my-set" / "9.json")
    assert four["layer"] == nine["layer"] == 12
    assert [(e["group"], e["value"]) for e in four["examples"]] == [("top", 2.0), ("band:+1", 1.0)]
    assert (nine["stats"]["max"], nine["stats"]["density"], nine["examples"][0]["position"]) == (8.0, 0.5, 1)


def test_a_bulk_export_is_read(tmp_path: Path):
    root = tmp_path / "v1" / "gpt2-small" / "6-res-jb"
    for name, row in {
        "features": {"modelId": "gpt2-small", "layer": "6-res-jb", "index": 3, "frac_nonzero": 0.1, "maxActApprox": 2.0},
        "activations": {"modelId": "gpt2-small", "layer": "6-res-jb", "index": "3", "tokens": ["a"], "values": [2.0],
                        "binMin": -1, "binMax": 2.0, "binContains": -1, "qualifyingTokenIndex": None, "maxValueTokenIndex": 0},
    }.items():  # fmt: skip
        (root / name).mkdir(parents=True)
        (root / name / "batch-0.jsonl.gz").write_bytes(gzip.compress(json.dumps(row).encode() + b"\n"))
    source = {"num_prompts": 10, "num_tokens_in_prompt": 128, "dataset": "d"}
    (root / "source.jsonl").write_text(json.dumps(source) + "\n")
    shard = read(publish_import(tmp_path / "v1", tmp_path / "build", "neuronpedia") / "res-jb" / "3.json")
    assert (shard["layer"], shard["stats"]["n_tokens"], shard["stats"]["density"]) == (6, 1280, 0.1)
    assert text_of(shard, shard["examples"][0]) == "a"


# --- what goes wrong -------------------------------------------------------------------------------------------


def one_activation(**changes: Any) -> list[dict[str, Any]]:
    return [{"tokens": ["a"], "values": [1.0], "qualifying_token_index": 0} | changes]


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ({"activations": one_activation(values=[1.0, 2.0])}, r"features\[0\]: activations\[0\]: found 1 'tokens' and 2 'values', expected as many"),
        ({"activations": one_activation(tokens=[], values=[])}, r"found 0 'tokens'"),
        ({"activations": one_activation(tokens=["a", 3])}, r"'tokens' is a list of 2, expected a list of strings"),
        ({"activations": one_activation(values="no")}, r"'values' is 'no', expected a list of numbers"),
        ({"activations": one_activation(qualifying_token_index=7)}, r"index 7, expected less than 1"),
        ({"activations": {"a": 1}}, r"'activations' is an object, expected a list of objects"),
        ({"activations": [3]}, r"activations\[0\]: found 3, expected an object"),
        ({"feature_index": "three"}, r"'feature_index' is 'three', expected a whole number"),
        ({"feature_index": None}, r"expected 'feature_index' \(a whole number\), found only"),
        ({"frac_nonzero": "0.5"}, r"'frac_nonzero' is '0.5', expected a number"),
    ],
)  # fmt: skip
def test_files_of_another_shape_name_file_found_and_expected(
    tmp_path: Path, feature: dict[str, Any], message: str
):
    source = dashboard(tmp_path / "files", dashboard_feature(0, **feature))
    with pytest.raises(FeaturebookError, match=message) as raised:
        import_site(source, tmp_path / "build", "saedashboard")
    assert "batch-0.json" in str(raised.value)
    assert not (tmp_path / "build").exists()


def test_files_that_are_no_files_of_the_format_are_refused(tmp_path: Path):
    files = tmp_path / "files"
    with pytest.raises(FeaturebookError, match="does not exist"):
        import_site(files, tmp_path / "build", "saedashboard")
    files.mkdir()
    (files / "readme.txt").write_text("hi")
    with pytest.raises(FeaturebookError, match=r"expected files named batch-\*\.json, found readme\.txt"):
        import_site(files, tmp_path / "build", "saedashboard")
    (files / "batch-0.json").write_text('{"model_id": ')
    with pytest.raises(FeaturebookError, match="expected JSON, found"):
        import_site(files, tmp_path / "build", "saedashboard")
    (files / "batch-0.json").write_text("[1]")
    with pytest.raises(FeaturebookError, match="found a list of 1, expected an object"):
        import_site(files, tmp_path / "build", "saedashboard")
    with pytest.raises(FeaturebookError, match="holds no features"):
        import_site(dashboard(files), tmp_path / "build", "saedashboard")
    with pytest.raises(FeaturebookError, match="is there twice"):
        import_site(dashboard(files, *[dashboard_feature(0)] * 2), tmp_path / "build", "saedashboard")
    with pytest.raises(FeaturebookError, match="Did you mean saedashboard"):
        import_site(files, tmp_path / "build", "saedashbord")


def test_results_of_a_run_are_not_overwritten(tmp_path: Path):
    artifact = Artifact(tmp_path / "build" / "corpus", "1" * 32)
    artifact.begin()
    artifact.finish(stage="corpus")
    source = dashboard(tmp_path / "files", dashboard_feature(0))
    with pytest.raises(FeaturebookError, match="holds the results of a run"):
        import_site(source, tmp_path / "build", "saedashboard")
    assert artifact.is_done()


def test_an_import_can_be_repeated(tmp_path: Path):
    source = dashboard(tmp_path / "files", dashboard_feature(0))
    import_site(source, tmp_path / "build", "saedashboard")
    first = {p.name: p.read_bytes() for p in (tmp_path / "build").rglob("*.h5")}
    import_site(source, tmp_path / "build", "saedashboard")
    assert {p.name: p.read_bytes() for p in (tmp_path / "build").rglob("*.h5")} == first


def test_the_commands_work_in_sequence(tmp_path: Path):
    source = dashboard(tmp_path / "files", dashboard_feature(0, frac_nonzero=1275 / 12700))
    folders = ["--build-dir", str(tmp_path / "build")]
    docs = ["--docs-dir", str(tmp_path / "docs")]
    for arguments in (
        ["import", "--from", "saedashboard", str(source), *folders, *docs],
        ["build", str(tmp_path / "build" / "run.toml"), "--only", "publish", *folders, *docs],
        ["export", "--to", "saedashboard", "--out", str(tmp_path / "again"), *folders],
    ):
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, done.output
    assert (tmp_path / "docs" / "atlas" / "res-jb" / "0.md").exists()
    again = read(tmp_path / "again" / "7-res-jb" / "batch-0.json")
    assert again["features"][0]["freq_hist_data_bar_heights"] == [50 - i for i in range(50)]
    values = [a["values"] for a in again["features"][0]["activations"]]
    assert values == [[0.0, 4.0, 0.5], [3.0, 0.0], [3.0, 0.0], [0.0, 1.25]]
