"""The toy's shards on disk, as exporters read them."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from generator.artifacts import Writer
from generator.progress import Silent
from generator.publish import publish
from generator.publish.exchange.shelf import Shelf
from generator.publish.reading import opened
from tests.toy import toy_config, toy_run
from tests.toy_findings import toy_findings

LABELS = Path(__file__).parents[1] / "golden" / "labels"


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """build/shards of the toy."""
    folder = tmp_path_factory.mktemp("toy")
    corpus, summary = toy_run()
    docs = Writer(folder / "docs")
    publish(
        toy_config(), corpus, summary, Writer(folder / "shards"), docs, folder / "notes", Silent(),
        labels_folder=LABELS, findings=toy_findings(corpus),
    )  # fmt: skip
    return folder / "shards"


@pytest.fixture(scope="session")
def shelf(shards: Path) -> Shelf:
    """The same, opened."""
    return Shelf(shards)


def read(path: Path) -> Any:
    """The JSON of a file; of a shard as readers open it."""
    found = orjson.loads(path.read_bytes())
    return opened(found) if isinstance(found, dict) else found


def text_of(shard: dict[str, Any], example: dict[str, Any]) -> str:
    """The source text of an example."""
    return "".join(shard["tokens"][index] for index in example["text"])
