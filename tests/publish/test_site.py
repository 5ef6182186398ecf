"""Publishing as a whole: determinism, leftovers, and the disk."""

from pathlib import Path

import orjson
import pytest

from generator.artifacts import Writer
from generator.blocks import Corpus
from generator.errors import FeaturebookError
from generator.progress import Silent
from generator.publish import publish
from generator.publish.site import MANIFEST
from generator.summaries import Summary
from tests.publish.conftest import Publication, publish_to_memory
from tests.toy import LABELS, toy_config, toy_run
from tests.toy_findings import toy_findings


def _publish(folder: Path, run: tuple[Corpus, Summary], **options: object) -> dict:
    shards, docs = Writer(folder / "shards"), Writer(folder / "docs")
    found = toy_findings(run[0])
    return publish(toy_config(**options), *run, shards, docs, folder / "docs/notes", Silent(), LABELS, found)


def _files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_inputs_give_the_same_bytes(publication: Publication) -> None:
    again = publish_to_memory(toy_config(), *toy_run())
    assert again.shards == publication.shards and again.docs == publication.docs


def test_a_summary_read_from_disk_gives_the_same_bytes(
    run: tuple[Corpus, Summary], publication: Publication, tmp_path: Path
) -> None:
    corpus, summary = run
    corpus.save(tmp_path / "corpus.h5")
    summary.save(tmp_path / "summary.h5")
    again = publish_to_memory(
        toy_config(), Corpus.load(tmp_path / "corpus.h5"), Summary.load(tmp_path / "summary.h5")
    )
    assert again.shards == publication.shards and again.docs == publication.docs


def test_disk_and_memory_hold_the_same(
    run: tuple[Corpus, Summary], publication: Publication, tmp_path: Path
) -> None:
    facts = _publish(tmp_path, run)
    assert _files(tmp_path / "shards") == publication.shards
    assert _files(tmp_path / "docs") == publication.docs
    assert facts == publication.facts


def test_facts_count_what_was_written(publication: Publication) -> None:
    facts = publication.facts
    shards = {p: c for p, c in publication.shards.items() if p != MANIFEST}
    pages = {p: c for p, c in publication.docs.items() if p.endswith(".md")}
    assert (facts["n_shards"], facts["n_pages"]) == (len(shards), len(pages))
    assert facts["shard_bytes"] == sum(map(len, shards.values()))
    assert facts["page_bytes"] == sum(map(len, pages.values()))
    assert (facts["n_channels"], facts["n_layers"], facts["n_documents"]) == (17 + 24, 2, 4)


def test_leftovers_of_an_earlier_run_go_and_nothing_else(run: tuple[Corpus, Summary], tmp_path: Path) -> None:
    _publish(tmp_path, run)
    own = [
        tmp_path / "docs/index.md",
        tmp_path / "docs/atlas/lora/L0/mine.txt",
        tmp_path / "shards/mine.json",
    ]
    for path in own:
        path.write_text("by hand")
    before = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    facts = _publish(tmp_path, run, channels=["lora/L1/up_proj"])
    after = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert facts["n_removed"] == len(before - after)
    gone = {str(path) for path in before - after}
    assert {
        "shards/sae/1.json",
        "docs/atlas/sae/1.md",
        "shards/layer/0.json",
        "shards/explorer/rows/2.json",
    } <= gone
    assert all(path.read_text() == "by hand" for path in own)
    left = _files(tmp_path)
    assert not [p for p in left if "gate_proj" in p or "layer/0" in p]
    assert not (tmp_path / "shards/lora/L0").exists(), "empty folders go too"
    listed = orjson.loads(left[f"docs/atlas/{MANIFEST}"])["files"]
    assert (
        "atlas/lora/L1/up_proj.md" in listed
        and "atlas/site.json" in listed
        and "atlas/lora/L0/mine.txt" not in listed
    )
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    removed = _publish(tmp_path, run)["n_removed"]
    gone = {path.relative_to(tmp_path) for path in before if not path.exists()}
    assert removed == len(gone) and all("search" in path.parts or "cards" in path.parts for path in gone), (
        gone
    )
    assert "shards/lora/L0/gate_proj.json" in _files(tmp_path)


def test_a_killed_run_leaves_nothing_unlisted(
    run: tuple[Corpus, Summary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("generator.publish.site.layer_shard", fail)
        with pytest.raises(KeyboardInterrupt):
            _publish(tmp_path, run)
    assert (tmp_path / "shards/lora/L0/gate_proj.json").exists()
    _publish(tmp_path, run, channels=["lora/L1/up_proj"])
    assert not (tmp_path / "shards/lora/L0/gate_proj.json").exists()


def test_a_damaged_list_of_files_removes_nothing(run: tuple[Corpus, Summary], tmp_path: Path) -> None:
    _publish(tmp_path, run)
    (tmp_path / "shards" / MANIFEST).write_bytes(b"[1")
    _publish(tmp_path, run, channels=["lora/L1/up_proj"])
    assert (tmp_path / "shards/lora/L0/gate_proj.json").exists()


@pytest.mark.parametrize("path", ["../precious", "/etc/precious", "a/../../precious"])
def test_a_list_that_leads_outside_is_refused(run: tuple[Corpus, Summary], tmp_path: Path, path: str) -> None:
    precious = tmp_path / "precious"
    precious.write_text("keep")
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / MANIFEST).write_bytes(orjson.dumps({"files": [path]}))
    with pytest.raises(FeaturebookError, match="outside"):
        _publish(tmp_path, run)
    assert precious.read_text() == "keep"


def test_progress_advances_once_per_address(run: tuple[Corpus, Summary]) -> None:
    from generator.artifacts import MemoryWriter

    progress, shards, docs = Silent(), MemoryWriter(), MemoryWriter()
    publish(toy_config(), *run, shards, docs, Path("/nonexistent"), progress)
    written = {
        path.removesuffix(".json") for path in shards.files if path.endswith(".json") and path[0] != "."
    }
    pages = {path[6:].removesuffix(".md") for path in docs.files if path.endswith(".md")}
    collections = {"lora", "sae"}  # the shard stands at collection/<name>, the page at <name>: one address
    assert collections <= pages
    assert progress.done == len(written | (pages - collections))
