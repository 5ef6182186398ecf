"""The demo's text: a published corpus of some 400 documents, and the larger texts that its models learn from.

Every document comes from a generator seeded by (split, kind, number), so the same bytes come out on every machine.
``python -m generator.demo.corpus`` writes the published corpus again.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import orjson

from generator.demo import code, prose, scripts, traces

KINDS: dict[str, Callable[[Random], str]] = {
    "prose": prose.prose,
    "python": code.python,
    "javascript": code.javascript,
    "html": code.html,
    "list": prose.bullets,
    "table": prose.table,
    "questions": traces.bare,
    "script": scripts.script,
    "emoji": scripts.emoji,
    "invisible": scripts.invisible,
    "long-line": scripts.long_line,
    "trace": traces.trace,
}
"""What writes a document of each kind."""

PUBLISHED = {
    "prose": 92,
    "python": 30,
    "javascript": 22,
    "html": 18,
    "list": 22,
    "table": 10,
    "questions": 24,
    "script": 14,
    "emoji": 8,
    "invisible": 4,
    "long-line": 6,
    "trace": 140,
}
"""Documents of each kind in the published corpus; one of each language of ``scripts.SENTENCES`` comes to it."""

BASE_SHARES = {
    "prose": 0.42,
    "python": 0.10,
    "javascript": 0.07,
    "html": 0.05,
    "list": 0.07,
    "table": 0.04,
    "questions": 0.17,
    "script": 0.06,
    "emoji": 0.01,
    "invisible": 0.005,
    "long-line": 0.005,
}
"""What the base model reads: everything but traces. Shares of documents."""

ADAPTER_SHARES = {"trace": 1.0}
"""What the adapter reads."""

CORPUS_PATH = Path(__file__).parent / "corpus.jsonl"


@dataclass(frozen=True)
class Document:
    """One text of the corpus."""

    id: str  # "trace/0012"
    kind: str  # one of KINDS
    text: str


def write_document(split: str, kind: str, number: int) -> Document:
    """The document of this split, kind and number; nothing else decides it."""
    return Document(f"{kind}/{number:04d}", kind, KINDS[kind](Random(f"{split}/{kind}/{number}")))


def published() -> list[Document]:
    """The published corpus, its kinds mixed by a fixed shuffle."""
    documents = [write_document("published", kind, i) for kind, n in PUBLISHED.items() for i in range(n)]
    for language in scripts.SENTENCES:
        text = scripts.script(Random(f"published/{language}"), language)
        documents.append(Document(f"script/{language}", "script", text))
    Random("published order").shuffle(documents)
    return documents


def training_texts(split: str, shares: dict[str, float], n_documents: int) -> list[str]:
    """Texts to learn from, none of which is in the published corpus.

    Args:
        split: Names the random numbers: another split, other texts.
        shares: The kinds and how much there is of each.
        n_documents: How many; the few that equal a published one are left out.
    """
    held_out = {digest(document.text) for document in published()}
    kinds = Random(f"{split} kinds").choices(tuple(shares), tuple(shares.values()), k=n_documents)
    texts = (write_document(split, kind, number).text for number, kind in enumerate(kinds))
    return [text for text in texts if digest(text) not in held_out]


def digest(text: str) -> bytes:
    """What two texts are compared by."""
    return hashlib.sha256(text.encode()).digest()


def to_jsonl(documents: list[Document]) -> bytes:
    """One JSON object a line, with id, kind and text."""
    return b"".join(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE) for document in documents)


if __name__ == "__main__":
    CORPUS_PATH.write_bytes(to_jsonl(published()))
    print(f"{CORPUS_PATH}: {CORPUS_PATH.stat().st_size / 1e3:.0f} kB")
