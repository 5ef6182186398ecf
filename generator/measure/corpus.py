"""Text to tokens: renders each row of the source to text, tokenises, cuts long documents into pieces."""

import math
import string
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from generator.blocks import Corpus
from generator.config import CorpusTable, RunConfig
from generator.errors import FeaturebookError, nearest
from generator.measure.names import public_name
from generator.measure.rows import Row, read_rows
from generator.measure.vocabulary import special_tokens, token_bytes, tokenizer_kind
from generator.progress import Progress

BATCH_ROWS = 256
"""Rows that go through the tokenizer at once."""
GIVE_UP_ROWS = 1000
"""A field that is absent from this many first rows counts as absent altogether."""
METADATA_CHARACTERS = 200
"""Longer strings beside the text are not kept as metadata."""


def build_corpus(config: RunConfig, progress: Progress) -> Corpus:
    """Reads and tokenises the corpus of a run.

    Args:
        config: The run; ``[corpus]``, the tokenizer of ``[model]`` and the exclusions of ``[extract]`` count.
        progress: Advances by tokens; notes how many rows were skipped, and why.

    Raises:
        FeaturebookError: the source is missing, malformed or empty, a field is not there, the tokenizer does not
            fit the model.
    """
    tokenizer = load_tokenizer(config)
    reader = DocumentReader(config.corpus, tokenizer)
    documents = _tokenise(reader, tokenizer, config.corpus, progress)
    if not documents.token_ids:
        raise FeaturebookError(reader.why_nothing())
    for note in reader.notes():
        progress.note(note)
    return _assemble(config, tokenizer, reader, documents, progress)


def load_tokenizer(config: RunConfig) -> Any:
    """The base model's tokenizer.

    Raises:
        FeaturebookError: there is none, or it needs code of its own that the run file does not trust.
    """
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.get_logger("transformers.tokenization_utils_base").setLevel(logging.ERROR)  # no length warnings
    model = config.model
    try:
        return AutoTokenizer.from_pretrained(
            model.base, revision=model.revision, trust_remote_code=model.trust_remote_code
        )
    except Exception as error:  # OSError, ValueError, KeyError, and the tokenizers library's bare Exception
        raise FeaturebookError(
            f"The tokenizer of {model.base!r} cannot be loaded: {type(error).__name__}: {str(error)[:300]}. "
            "model.base must be a folder with tokenizer files (tokenizer.json) or a hub id that can be reached."
        ) from error


def context_length(config: RunConfig, tokenizer: Any) -> int | None:
    """The longest run of tokens that the base model was made for, or None when it has no limit of its own."""
    from generator.measure.model import load_model_config

    text_config = load_model_config(config.model).get_text_config()
    limits = [positions(text_config), getattr(tokenizer, "model_max_length", None)]
    known = [int(limit) for limit in limits if isinstance(limit, int | float) and 0 < limit < 1e9]
    return min(known, default=None)


def positions(text_config: Any) -> int | None:
    """How many positions a model of this configuration has, or None when it has no limit of its own."""
    names = ("max_position_embeddings", "max_seq_len")  # MPT's
    return next((int(n) for name in names if (n := getattr(text_config, name, None))), None)


@dataclass
class DocumentReader:
    """Renders rows to text by the run file's ``text``, ``template`` or ``messages``, and counts what it skips."""

    table: CorpusTable
    tokenizer: Any = None
    """Needed for ``messages`` only."""
    skipped: Counter[str] = field(default_factory=Counter)  # "empty text" -> 3
    is_sample: bool = False
    """Only the first rows are wanted (``generator check``)."""
    n_rows: int = 0
    n_surrogates: int = 0
    seen: Counter[str] = field(default_factory=Counter)  # field -> rows that have it
    present: Counter[str] = field(default_factory=Counter)  # wanted field -> rows that have it

    def __post_init__(self) -> None:
        table = self.table
        self.text_field = table.text or (None if table.template or table.messages else "text")
        self.placeholders = _placeholders(table.template) if table.template else []
        if (
            table.messages
            and not getattr(self.tokenizer, "chat_template", None)
            and self.tokenizer is not None
        ):
            raise FeaturebookError(
                f"corpus.messages = {table.messages!r} needs a chat template, and the tokenizer has none. "
                "Use corpus.template instead."
            )

    @property
    def wanted(self) -> list[str]:
        """The fields that rows must have."""
        one = self.text_field or self.table.messages
        fields = [one] if one else list(self.placeholders)
        return [*fields, *self.table.where, *([self.table.name] if self.table.name else [])]

    @property
    def adds_special_tokens(self) -> bool:
        """Whether the tokenizer adds its own; a chat template has written them already."""
        return self.table.add_special_tokens and not self.table.messages

    def documents(self) -> Iterator[tuple[str, Row]]:
        """Text and row of every row that is kept, in order."""
        for row in read_rows(self.table, is_sample=self.is_sample):
            self.n_rows += 1
            self.seen.update(row.fields.keys())
            self.present.update(name for name in self.wanted if name in row.fields)
            if self.n_rows == GIVE_UP_ROWS:
                self.check_fields()
            if (text := self._text_of(row)) is not None:
                yield text, row

    def check_fields(self) -> None:
        """Raises when a wanted field is in no row."""
        for name in self.wanted:
            if not self.present[name] and self.n_rows:
                raise FeaturebookError(
                    f"The corpus has no field {name!r} ({self.n_rows} rows read). {nearest(name, self.seen)}"
                )

    def _text_of(self, row: Row) -> str | None:
        if not self._is_wanted(row):
            return None
        text = self._render(row)
        if text is None:
            return None
        if not text.strip():
            self.skipped["empty text"] += 1
            return None
        clean = text.encode("utf-8", "replace").decode() if _has_surrogate(text) else text
        self.n_surrogates += sum(a != b for a, b in zip(text, clean)) if clean is not text else 0
        return clean

    def _is_wanted(self, row: Row) -> bool:
        for name, value in self.table.where.items():
            allowed = value if isinstance(value, list) else [value]
            if row.fields.get(name) not in allowed:
                self.skipped["left out by where"] += 1
                return False
        return True

    def _render(self, row: Row) -> str | None:
        if self.table.messages:
            return self._chat(row, self.table.messages)
        if self.text_field:
            if row.fields.get(self.text_field) is None:
                self.skipped[f"no {self.text_field!r}"] += 1
                return None
            return _as_text(row, self.text_field)
        assert self.table.template is not None
        values = {name: _as_text(row, name) for name in self.placeholders if row.fields.get(name) is not None}
        lacking = [name for name in self.placeholders if not values.get(name, "").strip()]
        if lacking:
            self.skipped[f"no {lacking[0]!r}"] += 1
            return None
        return self.table.template.format_map(values)

    def _chat(self, row: Row, name: str) -> str | None:
        messages = row.fields.get(name)
        if not messages:
            self.skipped[f"no {name!r}"] += 1
            return None
        try:
            return str(self.tokenizer.apply_chat_template(messages, tokenize=False))
        except Exception as error:  # a Jinja template raises what it likes
            raise FeaturebookError(
                f"{row.where}: the chat template cannot render field {name!r}: {type(error).__name__}: "
                f'{str(error)[:200]}. It must be a list of {{"role": …, "content": …}}.'
            ) from error

    def notes(self) -> list[str]:
        """Sentences on what was left out."""
        lines = [f"{count} rows skipped: {reason}" for reason, count in sorted(self.skipped.items())]
        if self.n_surrogates:
            lines.append(f"{self.n_surrogates} lone surrogates replaced by ?")
        return lines

    def why_nothing(self) -> str:
        """The message for a corpus without a single token."""
        self.check_fields()
        if not self.n_rows:
            return f"The corpus {self.table.source!r} is empty: it has no rows."
        reasons = "; ".join(self.notes()) or "no tokens came of them"
        return (
            f"The corpus {self.table.source!r} gives no document: {self.n_rows} rows were read, {reasons}. "
            "Check corpus.text, where and min_tokens."
        )


def _placeholders(template: str) -> list[str]:
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise FeaturebookError(
            f"corpus.template is malformed ({error}). A literal brace is doubled: {{{{ }}}}."
        ) from None
    bad = [name for name in names if not name or any(c in name for c in ".[")]
    if bad or not names:
        raise FeaturebookError(
            f"corpus.template needs {{field}} placeholders with plain field names; got {bad or 'none'}. "
            "A literal brace is doubled: {{ }}."
        )
    return list(dict.fromkeys(names))


def _as_text(row: Row, name: str) -> str:
    value = row.fields[name]
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    raise FeaturebookError(
        f"{row.where}: field {name!r} holds {type(value).__name__}, not text. Take another field, or "
        "corpus.messages when it is a list of chat messages."
    )


def _has_surrogate(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


@dataclass
class _Documents:
    token_ids: list[Int[np.ndarray, " token"]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    metadata: list[dict[str, Any]] = field(default_factory=list)


def _tokenise(reader: DocumentReader, tokenizer: Any, table: CorpusTable, progress: Progress) -> _Documents:
    documents, source = _Documents(), reader.documents()
    while batch := list(islice(source, BATCH_ROWS)):
        texts = [text for text, _ in batch]
        encoded = tokenizer(texts, add_special_tokens=reader.adds_special_tokens, verbose=False)["input_ids"]
        for ids, (_, row) in zip(encoded, batch):
            if len(ids) < table.min_tokens or not ids:
                reader.skipped[f"fewer than {table.min_tokens} tokens"] += 1
                continue
            documents.names.append(_name(row, table, len(documents.names)))
            documents.metadata.append(_metadata(row, reader))
            documents.token_ids.append(np.array(ids, np.int32))
            progress.advance(len(ids))
            if len(documents.names) == table.max_documents:
                return documents
    reader.check_fields()
    return documents


def _name(row: Row, table: CorpusTable, number: int) -> str:
    value = row.fields.get(table.name or "name") if table.name or _is_text_file(row) else None
    return _clean(str(value)) if value not in (None, "") else str(number)


def _is_text_file(row: Row) -> bool:
    return row.fields.keys() == {"text", "name"} and row.where == row.fields["name"]


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _metadata(row: Row, reader: DocumentReader) -> dict[str, Any]:
    """What the row has beside the text, as far as it is short and plain."""
    used = {reader.text_field, reader.table.messages, *reader.placeholders}
    kept: dict[str, Any] = {}
    for name, value in row.fields.items():
        is_short = isinstance(value, str) and len(value) <= METADATA_CHARACTERS
        is_number = (isinstance(value, int) and abs(value) < 2**53) or (
            isinstance(value, float) and math.isfinite(value)
        )
        if name not in used and (is_short or is_number) and not _is_text_file(row):
            kept[_clean(name)] = _clean(value) if isinstance(value, str) else value
    return kept


def _assemble(
    config: RunConfig, tokenizer: Any, reader: DocumentReader, documents: _Documents, progress: Progress
) -> Corpus:
    token_ids = np.concatenate(documents.token_ids)
    offsets = np.cumsum([0, *map(len, documents.token_ids)], dtype=np.int64)
    vocabulary = token_bytes(tokenizer)
    is_special = special_tokens(tokenizer, len(vocabulary))
    _check_ids(config, token_ids, vocabulary)
    longest = longest_piece(config, context_length(config, tokenizer))
    n_long = int((np.diff(offsets) > longest).sum())
    if n_long:
        progress.note(f"{n_long} documents longer than {longest} tokens are read in overlapping pieces")
    return Corpus(
        token_ids=token_ids,
        doc_offsets=offsets,
        is_measured=_measured(config, token_ids, offsets, is_special),
        pieces=cut_pieces(offsets, longest, config.corpus.overlap),
        token_bytes=vocabulary,
        is_special=is_special,
        doc_names=documents.names,
        doc_metadata=documents.metadata,
        tokenizer=_facts(config, tokenizer, reader, longest),
    )


def _check_ids(config: RunConfig, token_ids: Int[np.ndarray, " token"], vocabulary: list[bytes]) -> None:
    from generator.measure.model import load_model_config

    n_embeddings = getattr(load_model_config(config.model).get_text_config(), "vocab_size", None)
    largest = int(token_ids.max())
    if n_embeddings is not None and largest >= n_embeddings:
        shown = vocabulary[largest].decode("utf-8", "replace") if largest < len(vocabulary) else "?"
        raise FeaturebookError(
            f"The tokenizer gives id {largest} ({shown!r}), but the model has {n_embeddings} embeddings. The tokenizer "
            f"in {public_name(config.model.base)} belongs to another model: put the right one there."
        )


def longest_piece(config: RunConfig, context: int | None) -> int:
    """The longest run of tokens that goes through the model at once.

    Raises:
        FeaturebookError: the run file asks for more than the model's context, or for too much overlap.
    """
    wanted = config.corpus.max_tokens
    if wanted is not None and context is not None and wanted > context:
        raise FeaturebookError(
            f"corpus.max_tokens = {wanted} is longer than the model's context of {context} tokens. Lower it; longer "
            "documents are read in overlapping pieces."
        )
    longest = wanted or context or 2**31
    if config.corpus.overlap >= longest:
        raise FeaturebookError(
            f"corpus.overlap = {config.corpus.overlap} must be smaller than the longest run of tokens ({longest})."
        )
    return longest


def cut_pieces(
    doc_offsets: Int[np.ndarray, " doc_bound"], longest: int, overlap: int
) -> Int[np.ndarray, "piece 3"]:
    """Cuts documents into runs of at most ``longest`` tokens; a later piece repeats ``overlap`` tokens as context.

    Returns:
        Rows (context_start, start, stop), as ``Corpus.pieces`` wants them.
    """
    pieces = []
    for first, last in zip(doc_offsets[:-1].tolist(), doc_offsets[1:].tolist()):
        stop = min(first + longest, last)
        pieces.append((first, first, stop))
        while stop < last:
            start, context_start = stop, stop - overlap
            stop = min(context_start + longest, last)
            pieces.append((context_start, start, stop))
    return np.array(pieces, np.int64).reshape(-1, 3)


def _measured(
    config: RunConfig,
    token_ids: Int[np.ndarray, " token"],
    offsets: Int[np.ndarray, " doc_bound"],
    is_special: Bool[np.ndarray, " vocabulary"],
) -> Bool[np.ndarray, " token"]:
    position = np.arange(len(token_ids)) - np.repeat(offsets[:-1], np.diff(offsets))
    mask = position >= config.extract.exclude_first
    if config.extract.exclude_special:
        mask &= ~is_special[token_ids]
    if not mask.any():
        raise FeaturebookError(
            f"No token of the corpus is left to measure (exclude_first = {config.extract.exclude_first}, "
            f"exclude_special = {config.extract.exclude_special}). Relax [extract]."
        )
    return mask


def _facts(config: RunConfig, tokenizer: Any, reader: DocumentReader, longest: int) -> dict[str, Any]:
    table = config.corpus
    return {
        "name": public_name(config.model.base),
        "kind": tokenizer_kind(tokenizer),
        "n_vocabulary": len(tokenizer),
        "source": public_name(table.source),
        "split": table.split if table.source == public_name(table.source) else None,
        "text": reader.text_field,
        "template": table.template,
        "messages": table.messages,
        "adds_special_tokens": reader.adds_special_tokens,
        "longest_piece": longest if longest < 2**31 else None,
        "overlap": table.overlap,
        "rows_read": reader.n_rows,
        "rows_skipped": dict(reader.skipped),
    }
