"""``build/analysis`` as the bundle reads it (docs/analysis.md): models, parts that were computed, texts with their tokens."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from generator.artifacts import read_json
from generator.blocks import Corpus
from generator.errors import FeaturebookError
from generator.publish.tokens import join_bytes

SCHEMA = 1
"""Of the files that are read; another one is refused."""

REMEDY = "Run `python -m generator build --only analyze --force`."


@dataclass(frozen=True)
class Text:
    """One prompt or document as one model read it."""

    id: str
    model: str
    folder: Path
    facts: dict[str, Any]
    """The content of ``texts/<text>.json``."""

    @cached_property
    def vocabulary(self) -> list[str]:
        """Display text of every entry, alone."""
        return [join_bytes([piece])[0] for piece in self._bytes]

    @cached_property
    def tokens(self) -> list[str]:
        """Display text of the text as read; a token that continues a character is empty."""
        return join_bytes([self._bytes[index] for index in self.facts["tokens"]])

    @cached_property
    def _bytes(self) -> list[bytes]:
        return [bytes.fromhex(piece) for piece in self.facts["vocabulary"]["bytes"]]

    def section(self, name: str) -> dict[str, Any] | None:
        """A section, or None where it is undefined."""
        found = self.facts.get(name)
        return None if not isinstance(found, dict) or "undefined" in found else found

    def variants(self, name: str) -> Iterator[tuple[str, Any]]:
        """``base`` and ``adapted`` of a section, as far as it has them."""
        found = self.section(name) or {}
        yield from ((variant, found[variant]) for variant in ("base", "adapted") if variant in found)

    def file(self, name: str) -> dict[str, Any] | None:
        """One of the files beside the text, ``attention.json`` or ``heads-0.json``; None where it is missing."""
        path = self.folder / name
        return read_json(path) if path.exists() else None


@dataclass(frozen=True)
class Model:
    """One analysed model."""

    name: str
    folder: Path
    facts: dict[str, Any]
    """Its entry in ``analysis.json``."""

    def part(self, name: str) -> dict[str, Any] | None:
        """The content of ``<part>.json``; None where the part is undefined or was not computed."""
        path = self.folder / f"{name}.json"
        found = _checked(path) if path.exists() else {"undefined": ""}
        return None if "undefined" in found else found

    def variants(self, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each variant of ``layers`` or ``heads``."""
        yield from ((entry["variant"], entry) for entry in (self.part(name) or {}).get("variants", []))

    def texts(self) -> Iterator[Text]:
        """Its texts, one at a time: a file holds every head's numbers."""
        for identifier in self.facts["texts"]:
            folder = self.folder / "texts"
            path = folder / f"{identifier}.json"
            if path.exists():
                yield Text(identifier, self.name, folder / identifier, _checked(path))

    def divergences(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """Entry in the index, and divergence at every token, of each document; by mean divergence."""
        for entry in self.facts["divergence"]:
            path = self.folder / "divergence" / f"{entry['doc']}.json"
            if path.exists():
                yield entry, _checked(path)


@dataclass(frozen=True)
class Analysis:
    """A folder of the stage ``analyze``."""

    folder: Path
    corpus_path: Path

    @cached_property
    def index(self) -> dict[str, Any]:
        """``analysis.json``."""
        return _checked(self.folder / "analysis.json")

    @cached_property
    def models(self) -> list[Model]:
        """All models, the main one first."""
        return [Model(facts["name"], self.folder / facts["name"], facts) for facts in self.index["models"]]

    def document_tokens(self, doc: int) -> list[str] | None:
        """Display text of a document of the corpus; None where the corpus was not copied with the build folder."""
        if self._corpus is None:
            return None
        rows = self._corpus.tokens_of(doc)
        ids = self._corpus.token_ids[rows.start : rows.stop].tolist()
        return join_bytes([self._corpus.token_bytes[i] for i in ids])

    @cached_property
    def _corpus(self) -> Corpus | None:
        return Corpus.load(self.corpus_path) if self.corpus_path.exists() else None


def open_analysis(build: Path) -> Analysis | None:
    """The analysis of a build folder; None when the run has none."""
    folder = build / "analysis"
    return Analysis(folder, build / "corpus" / "corpus.h5") if (folder / "analysis.json").exists() else None


def _checked(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        schema = found.get("schema") if isinstance(found, dict) else type(found).__name__
        raise FeaturebookError(f"{path} has schema {schema!r}; expected {SCHEMA}. {REMEDY}")
    return found
