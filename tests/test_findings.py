"""Findings: written, read and joined."""

from pathlib import Path

import numpy as np
import pytest

from generator.errors import FeaturebookError
from generator.findings import join_findings, load_findings, save_findings

VALUES = {"sae/1": {"top": [[3, 0.5]], "note": "</script>\x00é"}, "lora/L0/q_proj": {"values": np.arange(3)}}


def test_a_file_gives_back_what_was_written_and_nothing_for_others(tmp_path: Path) -> None:
    path = tmp_path / "logits.h5"
    save_findings(path, "logits", VALUES, {"method": "exact", "n": 2})
    found = load_findings(path)
    assert (found.panel, found.facts) == ("logits", {"method": "exact", "n": 2})
    assert found.of("sae/1") == VALUES["sae/1"]
    assert found.of("lora/L0/q_proj") == {"values": [0, 1, 2]}
    assert found.of("sae/2") is None


def test_the_order_of_the_values_does_not_change_the_bytes(tmp_path: Path) -> None:
    a, b = tmp_path / "a" / "logits.h5", tmp_path / "b" / "logits.h5"
    save_findings(a, "logits", VALUES, {"x": 1, "y": 2})
    save_findings(b, "logits", dict(reversed(VALUES.items())), {"y": 2, "x": 1})
    assert a.read_bytes() == b.read_bytes()


def test_no_findings_at_all_can_be_written(tmp_path: Path) -> None:
    save_findings(tmp_path / "none.h5", "logits", {}, {})
    assert load_findings(tmp_path / "none.h5").values == {}


def test_files_of_one_panel_are_joined(tmp_path: Path) -> None:
    for name, ids in (("a", ["sae/0"]), ("b", ["x/0", "x/1"])):
        save_findings(tmp_path / f"{name}.h5", "logits", {i: {"id": i} for i in ids}, {name: len(ids)})
    save_findings(tmp_path / "c.h5", "attribution", {"sae/0": 7}, {})
    joined = join_findings([load_findings(tmp_path / f"{name}.h5") for name in "abc"])
    assert joined["logits"].facts == {"a": 1, "b": 2}
    assert [joined["logits"].of(i) for i in ("sae/0", "x/1")] == [{"id": "sae/0"}, {"id": "x/1"}]
    assert joined["attribution"].of("sae/0") == 7


def test_a_missing_file_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(FeaturebookError, match="build --only effects"):
        load_findings(tmp_path / "logits.h5")
