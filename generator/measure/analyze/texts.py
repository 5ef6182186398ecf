"""Prompts of one's own and single documents, as the tokens that one model reads of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from generator.artifacts import content_key
from generator.blocks import Corpus
from generator.errors import FeaturebookError

MASK = "[MASK]"
"""What stands in a prompt for the mask token of any masked model."""


@dataclass(frozen=True)
class Text:
    """A prompt or a document that is analysed alone, the same for all models."""

    id: str  # "prompt-1a2b3c4d", "doc-17"
    kind: str  # "prompt" or "document"
    name: str
    text: str | None = None
    """Of a prompt."""
    doc: int | None = None
    """Number of the document in the run's corpus."""

    def as_json(self) -> dict[str, Any]:
        """For the index."""
        return {"id": self.id, "kind": self.kind, "name": self.name, "text": self.text, "doc": self.doc}


@dataclass(frozen=True)
class Reading:
    """What one model reads of a text."""

    token_ids: list[int]
    n_tokens: int
    """Of the whole text."""
    note: str = ""
    """What was changed or left out, in a sentence."""


def prompt(text: str, name: str = "") -> Text:
    """A prompt, named by its beginning unless it has a name."""
    short = " ".join(text.split())
    return Text(
        f"prompt-{content_key(text)[:8]}", "prompt", name or short[:60] + "…" * (len(short) > 60), text
    )


def read_prompts(prompts: Sequence[str] | str) -> list[Text]:
    """The prompts of the run file, each once.

    Args:
        prompts: Texts; or the path of a JSONL file of objects with ``text`` and perhaps ``name``.

    Raises:
        FeaturebookError: the file is missing or malformed, or a prompt is empty.
    """
    rows = _read_rows(Path(prompts)) if isinstance(prompts, str) else [{"text": text} for text in prompts]
    found = []
    for number, row in enumerate(rows, 1):
        text = row.get("text") if isinstance(row, dict) else None
        if not isinstance(text, str) or not text.strip():
            raise FeaturebookError(f'Prompt {number} is empty. Give each a text: {{"text": "…"}}.')
        clean = text.encode("utf-8", "replace").decode()
        found.append(prompt(clean, str(row.get("name") or "")))
    return list({text.id: text for text in found}.values())


def _read_rows(path: Path) -> list[Any]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise FeaturebookError(
            f"analyze.prompts: {path.name} cannot be read ({error.strerror}). Give a JSONL file or a list of texts."
        ) from None
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows += [orjson.loads(line)] if line.strip() else []
        except orjson.JSONDecodeError as error:
            raise FeaturebookError(
                f"{path.name}, line {number} is not JSON ({error}). Each line is an object with a text."
            ) from None
    return rows


def choose_texts(corpus: Corpus, chosen: Sequence[str] | Sequence[int]) -> list[Text]:
    """Documents to analyse alone.

    Args:
        corpus: The run's corpus.
        chosen: Names, or numbers, of documents.

    Raises:
        FeaturebookError: no document has this name.
    """
    numbers = []
    for name in chosen:
        if isinstance(name, str) and name not in corpus.doc_names:
            raise FeaturebookError(
                f"analyze.documents names {name!r}, which is no document of the corpus. Its first are: "
                f"{', '.join(corpus.doc_names[:5])}."
            )
        numbers.append(corpus.doc_names.index(name) if isinstance(name, str) else int(name))
    return [Text(f"doc-{n}", "document", corpus.doc_names[n], doc=n) for n in dict.fromkeys(numbers)]


def read_prompt(text: str, tokenizer: Any, *, is_masked: bool, add_special_tokens: bool = True) -> Reading:
    """The tokens of a prompt as one model reads it; docs/analysis.md tells what becomes of ``[MASK]``.

    Raises:
        FeaturebookError: nothing stands before the first mask of a prompt for a causal model.
    """
    note = ""
    mask = getattr(tokenizer, "mask_token", None)
    if is_masked and mask:
        text = text.replace(MASK, mask)
        if mask not in text:
            text, note = f"{text} {mask}", "A mask was added at the end, because the prompt has none."
    elif not is_masked and MASK in text:
        text = text.partition(MASK)[0].rstrip()
        note = f"Read up to the first {MASK}: this model predicts what follows."
    ids = tokenizer(text, add_special_tokens=add_special_tokens, verbose=False)["input_ids"]
    if not ids:
        raise FeaturebookError(
            f"Nothing of the prompt is left to read: it is empty before the first {MASK}, and the tokenizer puts no token "
            "in front."
        )
    return Reading([int(i) for i in ids], len(ids), note)


def read_document(corpus: Corpus, doc: int, most: int) -> Reading:
    """The first tokens of a document."""
    ids = corpus.token_ids[corpus.tokens_of(doc)]
    note = f"The first {most} of {len(ids)} tokens." if len(ids) > most else ""
    return Reading(ids[:most].astype(int).tolist(), len(ids), note)


def alone(token_ids: Sequence[int], token_bytes: list[bytes], is_special: np.ndarray) -> Corpus:
    """A corpus of one document."""
    ids = np.array(list(token_ids), np.int32)
    bounds = np.array([0, len(ids)])
    return Corpus(
        token_ids=ids,
        doc_offsets=bounds,
        is_measured=np.ones(len(ids), np.bool_),
        pieces=np.array([[0, 0, len(ids)]]),
        token_bytes=token_bytes,
        is_special=is_special,
        doc_names=[""],
        doc_metadata=[{}],
    )


class Glossary:
    """Numbers the tokens that occur in a file, in order of appearance, so that the file carries its own vocabulary."""

    def __init__(self, token_bytes: list[bytes], is_special: np.ndarray) -> None:
        self._bytes, self._is_special = token_bytes, is_special
        self._index: dict[int, int] = {}  # token id -> index in the file

    def of(self, token_ids: Any) -> Any:
        """Indices of token ids, in nested lists of the same shape."""
        if isinstance(token_ids, list | tuple | np.ndarray):
            return [self.of(token) for token in token_ids]
        return self._index.setdefault(int(token_ids), len(self._index))

    def as_json(self) -> dict[str, Any]:
        """Bytes in hexadecimal, and whether special, of every token that was numbered."""
        known = [t if t < len(self._bytes) else None for t in self._index]
        return {
            "bytes": ["" if t is None else self._bytes[t].hex() for t in known],
            "is_special": [t is not None and bool(self._is_special[t]) for t in known],
        }
