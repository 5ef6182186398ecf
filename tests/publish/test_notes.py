"""Hand-written notes survive and find their page."""

from pathlib import Path

import pytest

from generator.blocks import Corpus
from generator.progress import Silent
from generator.publish.notes import read_notes
from generator.summaries import Summary
from tests.publish.conftest import publish_to_memory, read_front_matter
from tests.toy import toy_config


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {
        "lora/L0/gate_proj.md": "Fires on *commas*.\n\n---\n\n{{ not a template }}\n",
        "layer/1.md": "\ufeff---\ntitle: mine\n---\n# A note\r\n",
        "lora/model.embed_tokens.md": "Dots in a name.",
        "README.md": "How to write notes.",
        "lora/L0/gate_pro.md": "Lost.",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
    return tmp_path


def test_a_note_is_the_body_of_its_page(run: tuple[Corpus, Summary], folder: Path) -> None:
    publication = publish_to_memory(toy_config(), *run, folder)
    page = publication.docs["atlas/lora/L0/gate_proj.md"]
    head, body = page.decode().split("\n---\n", 1)
    assert body == "\nFires on *commas*.\n\n---\n\n{{ not a template }}\n"
    assert read_front_matter(f"{head}\n---\n".encode())["title"].endswith(" · L0 gate_proj — lora")
    assert publication.docs["atlas/lora/model.embed_tokens.md"].endswith(b"\nDots in a name.\n")
    assert publication.facts["n_notes"] == 3


def test_front_matter_of_a_note_is_dropped(run: tuple[Corpus, Summary], folder: Path) -> None:
    page = publish_to_memory(toy_config(), *run, folder).docs["atlas/layer/1.md"]
    assert page.endswith(b"---\n\n# A note\n") and b"mine" not in page


def test_a_note_without_a_page_is_reported_with_the_nearest(
    run: tuple[Corpus, Summary], folder: Path
) -> None:
    (note,) = publish_to_memory(toy_config(), *run, folder).notes
    assert "docs/notes/lora/L0/gate_pro.md" in note and "lora/L0/gate_proj" in note


def test_notes_of_unpublished_channels_wait(run: tuple[Corpus, Summary], folder: Path) -> None:
    (folder / "lora/L0/gate_pro.md").unlink()
    publication = publish_to_memory(toy_config(channels=["lora/L1/up_proj"]), *run, folder)
    assert publication.notes == [] and publication.facts["n_notes"] == 1


def test_no_folder_no_notes(tmp_path: Path) -> None:
    assert read_notes(tmp_path / "none", {"a/b"}, Silent()) == {}
