"""Publishing again after labels, notes and titles changed: the bytes of a clean run, and no page made that need not be."""

import random
from pathlib import Path

import pytest

from generator.artifacts import Writer
from generator.blocks import Corpus
from generator.progress import Silent
from generator.publish import press, publish
from generator.publish.kept import Kept
from generator.publish.labels import EVERY, MANY, Label, Labels, label_line
from generator.summaries import Summary
from tests.toy import LABELS, toy_config
from tests.toy_findings import toy_findings

IDS = ["lora/L0/gate_proj", "lora/L1/up_proj", "lora/L1/q_proj/r1", "sae/1", "sae/2", "sae/7", "sae/11"]


def _label(identifier: str, text: str, **more: object) -> Label:
    record = {"id": identifier, "polarity": "positive", "text": text, "author": "Ann", "source": "human"}
    return Label.model_validate({**record, "date": "2026-01-02", **more})


def _publish(
    folder: Path,
    run: tuple[Corpus, Summary],
    labels: list[Label],
    notes: dict[str, str],
    *,
    kept: bool,
    **options: object,
) -> dict[str, bytes]:
    """Publishes into a folder; all bytes that are there then."""
    for name in ("labels", "docs/notes"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "labels/all.jsonl").write_bytes(b"".join(map(label_line, labels)))
    for path in (folder / "docs/notes").rglob("*.md"):
        path.unlink()
    for name, text in notes.items():
        path = folder / "docs/notes" / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    config = toy_config(**options)
    memory = Kept(folder / "publish", str(config.publish.model_dump())) if kept else None
    writers = Writer(folder / "shards"), Writer(folder / "docs")
    publish(config, *run, *writers, folder / "docs/notes", Silent(), folder / "labels", kept=memory)
    files = [p for root in ("shards", "docs/atlas") for p in (folder / root).rglob("*") if p.is_file()]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


@pytest.mark.parametrize("seed", range(3))
def test_any_change_gives_the_bytes_of_a_clean_run(
    run: tuple[Corpus, Summary], tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    labels: dict[tuple[str, str], Label] = {}
    notes: dict[str, str] = {}
    options: dict[str, object] = {"title": "First", "site_url": "https://example.org/toy/"}
    for step in range(6):
        identifier = draw.choice(IDS)
        change = draw.choice(["label", "label", "star", "unlabel", "note", "no note", "title", "picked"])
        polarity = draw.choice(["positive", "negative", "both"])
        if change == "label":
            labels[identifier, polarity] = _label(
                identifier, f"label {step}", polarity=polarity, score=draw.random()
            )
        elif change == "star":
            labels[identifier, polarity] = _label(identifier, "", polarity=polarity, starred=True)
        elif change == "unlabel" and labels:
            del labels[draw.choice(sorted(labels))]
        elif change == "note":
            notes[draw.choice([identifier, "layer/1", "sae", "search"])] = f"A note of step {step}."
        elif change == "no note":
            notes.clear()
        elif change == "title":
            options["title"] = f"Title {step}"
        else:
            options["picked"] = draw.sample(IDS, 2)
        again = _publish(tmp_path / "again", run, list(labels.values()), notes, kept=True, **options)
        clean = _publish(tmp_path / f"clean{step}", run, list(labels.values()), notes, kept=False, **options)
        assert again == clean, f"step {step}: {change} of {identifier}"


def _made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of channels whose shards are made from now on."""
    from generator.publish import site

    names: list[str] = []
    whole = site.channel_shard

    def counted(record):  # type: ignore[no-untyped-def]
        names.append(record.channel.id)
        return whole(record)

    monkeypatch.setattr(site, "channel_shard", counted)
    return names


def test_a_label_makes_anew_what_shows_it(
    run: tuple[Corpus, Summary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = run[1]
    before = _publish(tmp_path, run, [], {}, kept=True)
    made = _made(monkeypatch)
    assert _publish(tmp_path, run, [], {}, kept=True) == before and made == []
    after = _publish(tmp_path, run, [_label("sae/2", "so far")], {}, kept=True)
    index = [channel.id for channel in summary.channels].index("sae/2")
    near = {
        channel.id
        for place, channel in enumerate(summary.channels)
        if any(index in ragged.of(place)["channel"] for ragged in summary.neighbours.values())
    }
    assert set(made) == {"sae/2", *near} and len(made) < len(summary.channels) / 2
    shards = {name for name in after if name.startswith("shards/sae/") and before.get(name) != after[name]}
    assert "shards/sae/2.json" in shards and shards <= {f"shards/{name}.json" for name in made}


def test_a_file_that_somebody_changed_is_written_again(
    run: tuple[Corpus, Summary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _publish(tmp_path, run, [], {}, kept=True)
    (tmp_path / "shards/sae/1.json").write_bytes(before["shards/sae/1.json"].replace(b"sae", b"eas"))
    (tmp_path / "docs/atlas/sae/2.md").unlink()
    made = _made(monkeypatch)
    assert _publish(tmp_path, run, [], {}, kept=True) == before
    assert sorted(made) == ["sae/1", "sae/2"]


def test_another_run_or_a_broken_memory_makes_everything(
    run: tuple[Corpus, Summary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _publish(tmp_path, run, [], {}, kept=True)
    made = _made(monkeypatch)
    _publish(tmp_path, run, [], {}, kept=True, preset="compact")
    n = len(run[1].channels)
    assert len(made) == n
    (tmp_path / "publish/kept.json").write_bytes(b"{")
    _publish(tmp_path, run, [], {}, kept=True, preset="compact")
    assert len(made) == 2 * n


@pytest.mark.parametrize("kept", [False, True])
def test_processes_write_the_same_bytes(
    run: tuple[Corpus, Summary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    from tests.publish.conftest import publish_to_memory

    alone = publish_to_memory(toy_config(), *run)
    monkeypatch.setattr(press, "n_processes", lambda n_entries: 3)
    monkeypatch.setattr(press, "PER_TASK", 5)
    writers = Writer(tmp_path / "shards"), Writer(tmp_path / "docs")
    memory = Kept(tmp_path / "publish", "key") if kept else None
    found = toy_findings(run[0])
    facts = publish(toy_config(), *run, *writers, tmp_path / "none", Silent(), LABELS, found, kept=memory)
    assert facts == alone.facts
    for writer, wanted in zip(writers, (alone.shards, alone.docs)):
        got = {
            p.relative_to(writer.root).as_posix(): p.read_bytes()
            for p in writer.root.rglob("*")
            if p.is_file()
        }
        assert got == wanted
    if kept:
        again = publish(
            toy_config(), *run, *(Writer(w.root) for w in writers), tmp_path / "none", Silent(), LABELS, found,
            kept=Kept(tmp_path / "publish", "key"),
        )  # fmt: skip
        assert again == facts


def test_a_failure_in_a_process_is_told(
    run: tuple[Corpus, Summary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from generator.errors import FeaturebookError
    from generator.publish import site

    def full(record: object) -> None:
        raise FeaturebookError("The disk is full.")

    monkeypatch.setattr(site, "channel_shard", full)
    monkeypatch.setattr(press, "n_processes", lambda n_entries: 2)
    writers = Writer(tmp_path / "shards"), Writer(tmp_path / "docs")
    with pytest.raises(FeaturebookError, match=r"The disk is full\."):
        publish(toy_config(), *run, *writers, tmp_path / "none", Silent())


def test_few_entries_take_one_process() -> None:
    assert press.n_processes(press.PARALLEL_ABOVE) == 1
    assert 1 <= press.n_processes(10**6) <= press.MOST_PROCESSES


def test_labels_tell_who_was_asked_for() -> None:
    labels = Labels([_label("sae/1", "so far"), _label("sae/2", "a doubt")])
    with labels.watched() as asked:
        labels.text("sae/1")
        labels.is_starred("sae/9")
    assert asked == {"sae/1", "sae/9"}
    with labels.watched() as asked:
        for index in range(MANY + 1):
            labels.best(f"sae/{index}")
    assert asked == {EVERY}
    with labels.watched() as asked:
        assert labels.authors == [("Ann", "human", 2)]
    assert asked == {EVERY}
    other = Labels([_label("sae/1", "so far"), _label("sae/2", "another")])
    assert labels.fingerprint("sae/1") == other.fingerprint("sae/1") != ""
    assert labels.fingerprint("sae/9") == ""
    assert labels.fingerprint("sae/2") != other.fingerprint("sae/2")
    assert labels.fingerprint(EVERY) != other.fingerprint(EVERY)
