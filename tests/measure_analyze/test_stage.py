"""The whole analysis as files: complete, byte-identical, resumed, and honest about what a model lacks."""

from pathlib import Path

import orjson
import pytest

from generator.measure.analyze import stage
from generator.measure.analyze.ablation import AblationSettings
from generator.measure.analyze.heads import HeadSettings
from generator.measure.analyze.stage import AnalysisSettings, analyze
from generator.progress import Silent
from tests.measure_analyze.conftest import toy, toy_corpus

SETTINGS = AnalysisSettings(heads=HeadSettings(n_sequences=1), ablation=AblationSettings(n_documents=1))
CORPUS = toy_corpus((19, 7, 1))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.json")}


def test_all_parts_are_written_and_a_second_run_gives_the_same_bytes(tmp_path: Path):
    model = toy("gpt2", 1)[0]
    facts = analyze(model, CORPUS, SETTINGS, tmp_path / "a", "k", Silent(), docs=[0, 2])
    assert facts == {"layers": "done", "heads": "done", "ablation": "done", "divergence": "done"}
    first = files(tmp_path / "a")
    assert set(first) == {
        "layers.json", "heads.json", "ablation.json", "divergence/0.json", "divergence/2.json"
    }  # fmt: skip
    analyze(model, CORPUS, SETTINGS, tmp_path / "b", "k", Silent(), docs=[0, 2])
    assert files(tmp_path / "b") == first
    assert b"NaN" not in b"".join(first.values())
    layers = orjson.loads(first["layers.json"])
    assert [v["variant"] for v in layers["variants"]] == ["base", "adapted"]
    for variant in layers["variants"]:
        for curve in variant["curves"]:
            assert {"point", "positions", "dtype", "convention"} <= set(curve["method"])
            assert all(v["value"] is not None or v["reason"] for v in curve["values"])
    assert orjson.loads(first["divergence/2.json"])["surprise_change"] == [None]


def test_what_is_there_is_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = toy("gpt2", 1)[0]
    analyze(model, CORPUS, SETTINGS, tmp_path, "k", Silent(), docs=[0])
    before = files(tmp_path)
    (tmp_path / "heads.json").write_bytes(b"{cut off")
    calls = []
    for name in ("measure_geometry", "measure_heads", "measure_ablation"):
        original = getattr(stage, name)
        monkeypatch.setattr(
            stage, name, lambda *a, _f=original, _n=name, **k: calls.append(_n) or _f(*a, **k)
        )
    analyze(model, CORPUS, SETTINGS, tmp_path, "k", Silent(), docs=[0])
    assert calls == ["measure_heads"] and files(tmp_path) == before
    analyze(model, CORPUS, SETTINGS, tmp_path, "another", Silent())
    assert calls[1:] == ["measure_geometry", "measure_heads", "measure_ablation"]


def test_parts_that_a_model_lacks_say_why(tmp_path: Path):
    facts = analyze(toy("bert")[0], CORPUS, SETTINGS, tmp_path, "k", Silent(), docs=[0])
    assert facts["layers"] == facts["heads"] == "done"
    assert "nothing to ablate" in facts["ablation"] and "has no adapter" in facts["divergence"]
    assert orjson.loads((tmp_path / "ablation.json").read_bytes())["undefined"] == facts["ablation"]
    points = {
        c["method"]["point"]
        for c in orjson.loads((tmp_path / "layers.json").read_bytes())["variants"][0]["curves"]
    }
    assert points == {"residual"}
