"""Labels: read with clear faults, ordered by one rule, shown by id, side and author."""

import random
import re
import tomllib
from pathlib import Path

import orjson
import pytest

from generator.errors import FeaturebookError
from generator.publish.labels import Label, Labels, label_line, parse_label, read_label_file, read_labels

ROOT = Path(__file__).parents[2]
RECORD = {
    "id": "sae/1",
    "polarity": "positive",
    "text": "“so far”",
    "author": "ada",
    "source": "human",
    "date": "2026-11-20",
}


def label(**changes: object) -> Label:
    """A record with changes."""
    return parse_label(orjson.dumps({**RECORD, **changes}).decode())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"polarity": "+"}, "polarity '+': take one of positive, negative, both"),
        ({"source": "llm"}, "source 'llm': take one of human, model"),
        ({"date": "22.11.2026"}, "date '22.11.2026': write a day as 2026-11-22"),
        ({"date": "2026-02-30"}, "date '2026-02-30'"),
        ({"score": 1.5}, "score '1.5'"),
        ({"score": True}, "score 'True'"),
        ({"text": "two\nlines"}, "write it on one line"),
        ({"text": "x" * 301}, "at most 300"),
        ({"text": ""}, "give text, note, starred or skipped"),
        ({"txt": "x"}, "unknown field 'txt'. Did you mean text?"),
        ({"id": ""}, "id ''"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_fault_names_the_value_and_the_remedy(changes: dict[str, object], message: str) -> None:
    with pytest.raises(FeaturebookError, match=re.escape(message)):
        label(**changes)


@pytest.mark.parametrize("line", ["{", "[]", "7", '"x"', "NaN", '{"id": "\\ud800"}'])
def test_what_is_no_record_is_refused(line: str) -> None:
    with pytest.raises(FeaturebookError):
        parse_label(line)


def test_all_faults_of_a_file_are_listed_with_their_lines_and_the_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    good, bad = orjson.dumps(RECORD), orjson.dumps({**RECORD, "polarity": "up"})
    content = b"\n".join([good, bad, b"", b"{", good])
    path.write_bytes(content)
    with pytest.raises(FeaturebookError) as caught:
        read_label_file(path)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"{path}:2: polarity 'up'")
    assert lines[1].startswith(f"{path}:4: not JSON")
    assert path.read_bytes() == content


def test_a_byte_order_mark_blank_lines_and_line_separators_inside_text_are_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    note = "one\u2028two\u0085three\nfour"
    path.write_bytes(b"\xef\xbb\xbf" + orjson.dumps({**RECORD, "note": note}) + b"\r\n\n")
    assert [record.note for record in read_label_file(path)] == [note]


def test_a_record_comes_back_from_its_line() -> None:
    full = label(score=0.5, score_name="detection", starred=True, skipped=False, note="a\nb", run="demo")
    assert parse_label(label_line(full).decode()) == full
    assert label_line(label()) == orjson.dumps(RECORD, option=orjson.OPT_SORT_KEYS) + b"\n"


ORDERED = [
    label(author="ada", date="2026-11-22"),
    label(author="bob", date="2026-11-21", score=0.9),
    label(author="ada", date="2026-11-21", score=0.1),
    label(author="eve", date="2026-11-21"),
    label(author="gpt", source="model", date="2026-11-23", score=1.0),
]


def test_people_come_before_models_then_the_newer_then_the_better() -> None:
    shuffled = random.Random(3).sample(ORDERED, len(ORDERED))
    assert Labels(shuffled).of("sae/1") == ORDERED
    assert Labels(shuffled).best("sae/1") == ORDERED[0]


def test_the_best_of_a_side_is_of_that_side_or_of_both() -> None:
    both = label(polarity="both", date="2026-11-01", text="both")
    up = label(polarity="positive", date="2026-11-02", text="up")
    labels = Labels([both, up, label(text="", skipped=True, date="2026-11-30", author="x")])
    assert labels.best("sae/1", "positive") == up
    assert labels.best("sae/1", "negative") == both
    assert labels.best("sae/2") is None
    assert labels.text("sae/1") == "up"


def test_stars_and_skips_are_no_labels_and_authors_are_credited_once_per_channel() -> None:
    labels = Labels(
        [
            label(),
            label(polarity="negative"),
            label(id="sae/2"),
            label(id="sae/3", text="", starred=True),
            label(author="gpt", source="model", id="sae/4"),
        ]
    )
    assert labels.authors == [("ada", "human", 2), ("gpt", "model", 1)]
    assert labels.ids == ["sae/1", "sae/2", "sae/4"]
    assert labels.is_starred("sae/3") and not labels.is_starred("sae/1")
    assert labels.of("sae/3") == []
    assert len(labels) == 4


def test_what_could_disguise_a_label_is_left_out() -> None:
    held = Labels([label(text="a\u202eb\u200bc", author="a\u0007da", note="x\u202ey\nz")]).of("sae/1")[0]
    assert (held.text, held.author, held.note) == ("abc", "ada", "xy\nz")


def test_a_folder_gives_the_labels_of_its_run_and_says_what_fits_nothing(tmp_path: Path) -> None:
    records = [
        label(run="toy", text="mine"),
        label(run="other", text="not mine", author="x"),
        label(id="sae/9", text="no such channel"),
        label(polarity="negative", text="never negative"),
        label(id="lora/a", polarity="negative", text="signed"),
    ]
    (tmp_path / "a.jsonl").write_bytes(b"".join(map(label_line, records)))
    (tmp_path / "ignored.json").write_bytes(b"{")
    notes: list[str] = []
    labels = read_labels(tmp_path, "toy", {"sae/1": False, "lora/a": True}, notes.append)
    assert [x.text for name in labels.ids for x in labels.of(name)] == ["signed", "mine"]
    assert "sae/9" in notes[0] and "sae/1" in notes[1] and len(notes) == 2
    assert len(read_labels(tmp_path / "nowhere", "toy", {})) == 0


def test_the_demos_labels_are_the_names_that_its_page_gives() -> None:
    held = {record.id: record for record in read_label_file(ROOT / "labels" / "demo.jsonl")}
    page = (ROOT / "docs" / "demo.md").read_text("utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()]
    named = {}
    for row in rows:
        link = re.match(r"\[(lora/\S+|(?:sae|crosslayer|modeldiff)/\d+)\]\(atlas/", row[0]) if row else None
        if link:
            side = {"+": "positive", "−": "negative"}.get(row[1])
            name, share = row[2:4] if side else row[1:3]
            named[link[1]] = (side or "positive", name, int(share.removesuffix(" %")) / 100)
    assert {i: (x.polarity, x.text, x.score) for i, x in held.items()} == named
    assert len(named) == 36 and {x.run for x in held.values()} == {"demo"}
    with (ROOT / "generator" / "runs" / "demo.toml").open("rb") as file:
        assert {i for i, x in held.items() if x.starred} == set(tomllib.load(file)["publish"]["picked"])
