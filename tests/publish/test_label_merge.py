"""Merging label files: nothing is lost, contradictions are named, the same records give the same bytes."""

import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from generator.__main__ import main
from generator.publish.label_merge import merge_files, write_labels
from generator.publish.labels import Label, label_line, read_label_file

RECORDS = [
    Label(id=name, polarity=side, text=f"{name} {side}", author=author, source="human", date="2026-11-20")
    for name in ("sae/10", "sae/9", "lora/a")
    for side in ("positive", "negative")
    for author in ("bob", "ada")
]


def write(path: Path, records: list[Label]) -> Path:
    """A label file."""
    path.write_bytes(b"".join(map(label_line, records)))
    return path


def test_any_split_in_any_order_merges_to_the_same_bytes(tmp_path: Path) -> None:
    wanted = None
    for seed in range(5):
        shuffled = random.Random(seed).sample(RECORDS, len(RECORDS))
        cut = seed * 2
        files = [
            write(tmp_path / "a.jsonl", shuffled[:cut]),
            write(tmp_path / "b.jsonl", shuffled[cut:] + shuffled[:3]),
        ]
        merged = merge_files(files)
        assert not merged.conflicts
        assert merged.n_same == 3
        write_labels(tmp_path / "out.jsonl", merged.records)
        content = (tmp_path / "out.jsonl").read_bytes()
        wanted = wanted or content
        assert content == wanted
    assert sorted(read_label_file(tmp_path / "out.jsonl"), key=repr) == sorted(RECORDS, key=repr)


@pytest.fixture
def contradicting(tmp_path: Path) -> list[str]:
    """Two files in which ada says two things of one side, and bob agrees with neither."""
    first = RECORDS[0].model_copy(update={"author": "ada", "text": "one"})
    later = first.model_copy(update={"text": "two", "date": "2026-11-21"})
    other = first.model_copy(update={"text": "three", "author": "bob"})
    return [str(write(tmp_path / "a.jsonl", [first])), str(write(tmp_path / "b.jsonl", [later, other]))]


def test_a_conflict_names_both_records_and_writes_nothing(tmp_path: Path, contradicting: list[str]) -> None:
    into = tmp_path / "out.jsonl"
    result = CliRunner().invoke(main, ["labels", "merge", *contradicting, "--into", str(into)])
    assert result.exit_code == 1
    assert "Error: 1 conflict.\n" in result.output and "sae/10 (positive) by ada" in result.output
    assert all(part in result.output for part in (*contradicting, "'one'", "'two'"))
    assert "three" not in result.output
    assert not into.exists()


def test_the_same_said_on_another_day_is_no_conflict(tmp_path: Path) -> None:
    """Whatever the order of the files, it counts from its later day, also against what was said in between."""
    first = RECORDS[0]
    between = first.model_copy(update={"text": "something else", "date": "2026-11-21"})
    again = first.model_copy(update={"date": "2026-11-22"})
    for order in ([first, again], [again, first]):
        merged = merge_files([write(tmp_path / "a.jsonl", order[:1]), write(tmp_path / "b.jsonl", order[1:])])
        assert (merged.records, merged.conflicts, merged.n_same) == ([again], [], 1)
    files = [write(tmp_path / f"{i}.jsonl", [record]) for i, record in enumerate([first, between, again])]
    assert merge_files(files, newest=True).records == [again]


def test_the_later_day_wins_when_asked(tmp_path: Path, contradicting: list[str]) -> None:
    into = tmp_path / "out.jsonl"
    result = CliRunner().invoke(main, ["labels", "merge", *contradicting, "--into", str(into), "--newest"])
    assert result.exit_code == 0, result.output
    assert {(x.author, x.text) for x in read_label_file(into)} == {("ada", "two"), ("bob", "three")}


def test_what_the_target_holds_takes_part(tmp_path: Path) -> None:
    into = write(tmp_path / "all.jsonl", RECORDS[:2])
    new = write(tmp_path / "new.jsonl", RECORDS[1:4])
    result = CliRunner().invoke(main, ["labels", "merge", str(new), "--into", str(into)])
    assert result.exit_code == 0 and "4 records, 1 duplicate dropped" in result.output
    assert len(read_label_file(into)) == 4


def test_check_counts_and_fails_on_what_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", RECORDS)
    good = CliRunner().invoke(main, ["labels", "check", "--labels-dir", str(tmp_path)])
    assert (good.exit_code, good.output) == (0, "12 records by 2 authors in 1 file, 0 twice\n")
    (tmp_path / "b.jsonl").write_text('{"id": "x"}\n')
    bad = CliRunner().invoke(main, ["labels", "check", "--labels-dir", str(tmp_path)])
    assert bad.exit_code == 1 and f"{tmp_path}/b.jsonl:1: 'polarity' is missing" in bad.output
