"""The toy run and everything that publishing makes of it, once per session."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from generator.artifacts import MemoryWriter
from generator.blocks import Corpus
from generator.config import RunConfig
from generator.progress import Silent
from generator.publish import publish
from generator.publish.book import Book, open_book
from generator.publish.labels import read_labels
from generator.publish.reading import opened
from generator.summaries import Summary
from tests.toy import LABELS, toy_config, toy_run
from tests.toy_findings import toy_findings


@dataclass
class Publication:
    """What one call of ``publish`` wrote."""

    shards: dict[str, bytes]
    docs: dict[str, bytes]
    facts: dict[str, Any]
    notes: list[str]
    """What the user was told."""

    def shard(self, identifier: str) -> dict[str, Any]:
        """A shard as readers open it."""
        return opened(orjson.loads(self.shards[f"{identifier}.json"]))

    def front_matter(self, identifier: str) -> dict[str, Any]:
        """A page's front matter as MkDocs reads it."""
        return read_front_matter(self.docs[f"atlas/{identifier}.md"])


def read_front_matter(page: bytes) -> dict[str, Any]:
    """The YAML between the dashes."""
    return yaml.load(page.decode("utf-8").split("---\n")[1], Loader=yaml.CSafeLoader)


def publish_to_memory(
    config: RunConfig, corpus: Corpus, summary: Summary, notes_folder: Path = Path("/nonexistent")
) -> Publication:
    """Publishes into dicts."""
    shards, docs, progress = MemoryWriter(), MemoryWriter(), Silent()
    facts = publish(
        config, corpus, summary, shards, docs, notes_folder, progress, LABELS, toy_findings(corpus)
    )
    return Publication(shards.files, docs.files, facts, progress.notes)


@pytest.fixture(scope="session")
def run() -> tuple[Corpus, Summary]:
    """The toy corpus and summary."""
    return toy_run()


@pytest.fixture(scope="session")
def book(run: tuple[Corpus, Summary]) -> Book:
    """All channels of the toy."""
    corpus, summary = run
    is_signed = {channel.id: channel.is_signed for channel in summary.channels}
    return open_book(toy_config(), corpus, summary, read_labels(LABELS, "toy", is_signed))


@pytest.fixture(scope="session")
def publication(run: tuple[Corpus, Summary]) -> Publication:
    """All pages and shards of the toy."""
    return publish_to_memory(toy_config(), *run)
