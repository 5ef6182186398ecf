"""Files of other tools made from the toy's shards, read as those tools read them."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from generator.artifacts import MemoryWriter
from generator.errors import FeaturebookError
from generator.publish.exchange import EXPORTERS, circuit_tracer, export_site
from generator.publish.exchange.neuronpedia import LONGEST_EXAMPLE, cut
from generator.publish.exchange.shelf import Shelf, Window, active_histogram, slug_of, window_of
from tests.publish_exchange.conftest import read, text_of
from tests.toy import DEAD_LATENTS, N_LATENTS


def exported(shards: Path, format_name: str, collection: str | None = None) -> dict[str, bytes]:
    writer = MemoryWriter()
    export_site(shards, writer, format_name, collection)
    return writer.files


def lines(files: dict[str, bytes], name: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in gzip.decompress(files[name]).splitlines()]


@pytest.mark.parametrize("format_name", sorted(EXPORTERS))
def test_the_same_shards_give_the_same_bytes(shards: Path, format_name: str):
    assert exported(shards, format_name) == exported(shards, format_name)


# --- Neuronpedia -----------------------------------------------------------------------------------------------


def test_uploads_keep_the_rules_of_the_api(shards: Path):
    uploads = {
        p: orjson.loads(b) for p, b in exported(shards, "neuronpedia").items() if p.startswith("upload/")
    }
    assert {u["source"] for u in uploads.values()} == {"0-lora", "1-lora", "lora", "sae"}
    for upload in uploads.values():
        assert set(upload) == {"modelId", "source", "features"}
        assert upload["modelId"] == upload["modelId"].lower() == "base"
        assert 1 <= len(upload["features"]) <= 128
        for feature in upload["features"]:
            assert 0 <= feature["density"] <= 1
            assert feature["activations"]
            for activation in feature["activations"]:
                assert 1 <= len(activation["tokens"]) == len(activation["values"]) <= 1024
                assert all(activation["tokens"]) and all(isinstance(v, float) for v in activation["values"])
                bounds = {"quantileMin", "quantileMax", "quantileFraction"} & set(activation)
                assert len(bounds) in (0, 3)


def test_uploads_hold_the_strongest_examples_first(shards: Path, shelf: Shelf):
    upload = orjson.loads(exported(shards, "neuronpedia", "lora")["upload/1-lora/batch-0.json"])
    shard = shelf.shard("lora/L1/q_proj/r2")
    feature = upload["features"][2]
    assert feature["density"] == shard["stats"]["density"]
    top = [e for e in shard["examples"] if e["group"] == "top"]
    for example, activation in zip(top, feature["activations"]):
        assert "".join(activation["tokens"]) == text_of(shard, example)
        assert max(activation["values"]) == pytest.approx(example["value"], abs=1e-5)


def test_more_features_than_an_upload_takes_are_split(shards: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("generator.publish.exchange.neuronpedia.FEATURES_PER_UPLOAD", 10)
    files = exported(shards, "neuronpedia", "sae")
    uploads = [orjson.loads(b) for p, b in sorted(files.items()) if p.startswith("upload/")]
    assert [len(u["features"]) for u in uploads] == [9, 9, 3]
    indices = [f["index"] for u in uploads for f in u["features"]]
    assert indices == [i for i in range(N_LATENTS) if i not in DEAD_LATENTS]


def test_bulk_rows_can_be_joined(shards: Path):
    files = exported(shards, "neuronpedia", "sae")
    root = "bulk/base/sae"
    rows = gzip.decompress(files[f"{root}/features/batch-0.jsonl.gz"]).splitlines()
    examples = gzip.decompress(files[f"{root}/activations/batch-0.jsonl.gz"]).splitlines()
    features = {f["index"]: f for f in map(orjson.loads, rows)}
    assert len(features) == N_LATENTS
    ids = set()
    for activation in map(orjson.loads, examples):
        assert activation["index"] in features and activation["layer"] == "sae"
        values = activation["values"]
        assert activation["maxValue"] == max(values) == values[activation["maxValueTokenIndex"]]
        ids.add(activation["id"])
    assert len(ids) == len(examples) > N_LATENTS
    assert orjson.loads(files[f"{root}/source.jsonl"])["setName"] == "sae"


def test_a_window_that_is_too_long_keeps_its_peak():
    for peak in (0, 700, 1999):
        window = Window([f"t{i}" for i in range(2000)], [float(i) for i in range(2000)], peak)
        short = cut(window)
        assert len(short.tokens) == len(short.values) == LONGEST_EXAMPLE
        assert short.tokens[short.peak] == f"t{peak}" and short.values[short.peak] == peak
    assert cut(Window(["a"], [1.0], 0)) == Window(["a"], [1.0], 0)


# --- circuit-tracer --------------------------------------------------------------------------------------------


def fetch(files: dict[str, bytes], folder: str, layer: int, feature: int) -> dict:
    """What the front end does: look the offsets up, ask for the range (its end is one byte too many), inflate."""
    index = orjson.loads(gzip.decompress(files[f"{folder}/features/index.json.gz"]))
    entry = index[str(layer)]
    start, end = entry["offsets"][feature], entry["offsets"][feature + 1]
    body = files[f"{folder}/features/{entry['filename']}"][start : end + 1]  # Range: bytes=start-end
    (length,) = struct.unpack("<I", body[:4])
    assert length == end - start - 4
    return orjson.loads(gzip.decompress(body[4 : 4 + length]))


def test_the_front_end_finds_every_feature(shards: Path, shelf: Shelf):
    files = exported(shards, "circuit-tracer")
    for source in shelf.sources():
        folder = "sae" if source.collection == "sae" else "lora"
        for index, shard in shelf.features(source):
            is_outside = source.layer is None and folder == "lora"  # its number, 0, belongs to a layer
            found = fetch(files, "lora-outside" if is_outside else folder, source.layer or 0, index)
            assert found["index"] == index
            assert found["activation_frequency"] == shard["stats"]["density"]
            assert (found["act_min"], found["act_max"]) == (shard["stats"]["min"], shard["stats"]["max"])
            assert sum(found["histogram"]) == shard["stats"]["n_tokens"]
            for group in found["examples_quantiles"]:
                for example in group["examples"]:
                    assert len(example["tokens"]) == len(example["tokens_acts_list"])
                    assert 0 <= example["train_token_ind"] < len(example["tokens"])


def test_signed_features_have_bottom_examples_and_repeats_are_marked(shards: Path):
    found = fetch(exported(shards, "circuit-tracer"), "lora", 0, 0)
    groups = {g["quantile_name"]: g["examples"] for g in found["examples_quantiles"]}
    assert (
        list(groups)[:2] == ["Top activations", "Bottom activations"] and list(groups)[-1] == "Random samples"
    )
    peaks = [e["tokens_acts_list"][e["train_token_ind"]] for e in groups["Bottom activations"]]
    assert peaks == sorted(peaks) and peaks[0] == found["act_min"]
    shown = [tuple(e["tokens"]) for g in groups.values() for e in g]
    marked = [e["is_repeated_datapoint"] for g in groups.values() for e in g]
    assert marked == [text in shown[:i] for i, text in enumerate(shown)]


# --- OpenAI ----------------------------------------------------------------------------------------------------


def test_atoms_are_aligned_token_by_token(shards: Path, shelf: Shelf):
    files = exported(shards, "openai", "sae")
    for latent in range(N_LATENTS):
        atom, shard = orjson.loads(files[f"sae/atoms/{latent}.json"]), shelf.shard(f"sae/{latent}")
        assert atom["density"] == shard["stats"]["density"]
        assert sum(atom["hist"].values()) == shard["stats"]["n_tokens"]
        for sequence in atom["top"] + atom["random"]:
            names = ("acts", "tokens", "token_ints", "normalized_acts")
            assert len({len(sequence[name]) for name in names}) == 1
            assert sequence["acts"][sequence["idx"]] == pytest.approx(sequence["act"], abs=1e-5)
            assert max(map(abs, sequence["normalized_acts"])) <= 1


# --- SAEDashboard ----------------------------------------------------------------------------------------------


def test_dashboards_follow_the_conventions(shards: Path, shelf: Shelf):
    files = exported(shards, "saedashboard", "sae")
    batch = orjson.loads(files["sae/batch-0.json"])
    assert (batch["model_id"], batch["sae_set"], batch["layer"]) == ("base", "sae", -1)
    assert orjson.loads(files["sae/skipped_indexes.json"])["skipped_indexes"] == list(DEAD_LATENTS)
    for feature in batch["features"]:
        shard = shelf.shard(f"sae/{feature['feature_index']}")
        assert feature["frac_nonzero"] == shard["stats"]["density"] > 0
        bars = feature["freq_hist_data_bar_heights"]
        assert len(bars) == len(feature["freq_hist_data_bar_values"]) <= 50
        assert sum(bars) == round(feature["frac_nonzero"] * shard["stats"]["n_tokens"])
        top = feature["activations"][0]
        assert (top["bin_min"], top["bin_max"], top["bin_contains"]) == (-1, shard["stats"]["max"], -1)
        for activation in feature["activations"]:
            peak = activation["values"][activation["qualifying_token_index"]]
            low, high = activation["bin_min"], activation["bin_max"]
            assert low - 1e-4 <= peak <= high + 1e-4 or activation["bin_contains"] == -1


# --- logits and labels -----------------------------------------------------------------------------------------


def test_logits_stand_in_every_format_that_has_a_place(shards: Path):
    """Of ``toy_findings.LOGITS``; latent 2 is told that its logits are undefined."""
    batch = orjson.loads(exported(shards, "saedashboard", "sae")["sae/batch-0.json"])
    feature = {f["feature_index"]: f for f in batch["features"]}
    shelf = Shelf(shards)
    shard = shelf.shard("sae/1")
    top, bottom = ([shard["tokens"][i] for i in shard["logits"][side]["text"]] for side in ("top", "bottom"))
    values = {side: [v for t, v in zip(texts, shard["logits"][side]["value"]) if t]
              for side, texts in (("top", top), ("bottom", bottom))}  # fmt: skip
    top, bottom = [t for t in top if t], [t for t in bottom if t]
    assert top and bottom, "the case tests nothing"
    assert feature[1]["pos_str"] == top and feature[1]["pos_values"] == values["top"]
    assert feature[1]["neg_str"] == bottom and feature[1]["neg_values"] == values["bottom"]
    assert feature[1]["logits_hist_data_bar_heights"] == [1, 0, 3]
    np.testing.assert_allclose(
        feature[1]["logits_hist_data_bar_values"], [-2 + 3.5 / 6, -2 + 3.5 / 2, 1.5 - 3.5 / 6], atol=1e-6
    )
    assert feature[2]["pos_str"] == feature[2]["logits_hist_data_bar_values"] == []
    uploads = exported(shards, "neuronpedia", "sae")
    uploaded = {f["index"]: f for f in orjson.loads(uploads["upload/sae/batch-0.json"])["features"]}
    assert [(t["token"], t["value"]) for t in uploaded[1]["topLogits"]] == list(zip(top, values["top"]))
    assert "topLogits" not in uploaded[2]
    row = next(r for r in lines(uploads, "bulk/base/sae/features/batch-0.jsonl.gz") if r["index"] == "1")
    assert row["neg_str"] == bottom
    store = circuit_tracer.feature(shelf.sources("sae")[0], 1, shard)
    assert store["top_logits"] == top and store["bottom_logits"] == bottom


def test_labels_are_explanations(shards: Path, shelf: Shelf):
    files = exported(shards, "neuronpedia")
    uploaded, rows = {}, []
    for name, content in files.items():
        if name.startswith("upload/"):
            batch = orjson.loads(content)
            uploaded |= {(batch["source"], f["index"]): f.get("explanations", []) for f in batch["features"]}
        if "/explanations/" in name:
            rows += lines(files, name)
    found = 0
    for source in shelf.sources():
        for index, shard in shelf.features(source):
            texts = [label["text"] for label in shard.get("labels", []) if label["text"]]
            own = [r for r in rows if (r["layer"], r["index"]) == (source.name, str(index))]
            assert [r["description"] for r in own] == texts
            if (source.name, index) in uploaded:
                explained = uploaded[source.name, index]
                assert [e["text"] for e in explained] == [text[:512] for text in texts]
                found += len(texts)
    assert found, "no label was exported"
    assert len({row["id"] for row in rows}) == len(rows)


# --- what exporters share --------------------------------------------------------------------------------------


def test_tokens_of_one_character_become_one():
    shard = {"tokens": ["a", "é", "", "b"], "scale": 0.5}
    example = {"text": [0, 1, 2, 3], "values": [1, 2, -6, None], "position": 12, "start": 10, "value": -3.01}
    assert window_of(shard, example) == Window(["a", "é", "b"], [0.5, -3.01, 0.0], 1)


def test_bins_are_added_in_pairs_that_leave_zero_an_edge():
    shard = {
        "is_signed": True,
        "histogram": {"edges": [0.5 * i for i in range(-3, 4)], "counts": [1, 2, 3, 4, 5, 6]},
    }
    assert active_histogram(shard, 6)[1] == [1, 2, 3, 4, 5, 6]
    assert active_histogram(shard, 4) == ([-1.5, -0.5, 0.5, 1.5], [1, 5, 9, 6])


def test_ids_for_other_tools_are_plain():
    assert slug_of("Qwen/Qwen2.5 32B<b>") == "qwen-qwen2.5-32b-b"
    assert slug_of("…") == "unnamed"


def test_a_folder_of_something_else_is_not_touched(shards: Path, tmp_path: Path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(FeaturebookError, match="not empty"):
        export_site(shards, tmp_path, "openai")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_second_export_removes_what_the_first_left(shards: Path, tmp_path: Path):
    export_site(shards, tmp_path, "openai")
    export_site(shards, tmp_path, "openai", "sae")
    files = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert files == {"featurebook.json"} | {f"sae/atoms/{i}.json" for i in range(N_LATENTS)}
    assert set(read(tmp_path / "featurebook.json")["files"]) == files - {"featurebook.json"}


@pytest.mark.parametrize(("format_name", "collection"), [("neuronpedai", None), ("openai", "sea")])
def test_unknown_names_are_refused_with_the_nearest(shards: Path, format_name: str, collection: str | None):
    with pytest.raises(FeaturebookError, match="Did you mean"):
        export_site(shards, MemoryWriter(), format_name, collection)


def test_missing_shards_and_other_schemas_are_named(tmp_path: Path):
    with pytest.raises(FeaturebookError, match=r"explorer\.json is missing"):
        export_site(tmp_path, MemoryWriter(), "openai")
    (tmp_path / "explorer.json").write_text('{"schema": 2}')
    with pytest.raises(FeaturebookError, match="schema 2; expected 1"):
        export_site(tmp_path, MemoryWriter(), "openai")
