"""Labels: what people and models say that a channel means. ``labels/*.jsonl``, one record per line (docs/labels.md)."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Annotated, Literal, get_args

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from generator.artifacts import content_key
from generator.errors import FeaturebookError, nearest
from generator.publish.visible import plain

Polarity = Literal["positive", "negative", "both"]

LONGEST_TEXT = 300
"""Characters of a label."""

LONGEST_NOTE = 4000
"""Characters of a note."""

EVERY = ""
"""Stands for all channels, where somebody asks for the labels of many; no id is empty."""

MANY = 500
"""Channels above which what is made counts as showing the labels of all."""

FAULTS_SHOWN = 20
"""Faults that one message lists."""


class Label(BaseModel):
    """One record: what one author said of one side of one channel."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, strict=True)

    id: str = Field(min_length=1, max_length=1000)
    """Of the channel: ``lora/L3/gate_proj``, ``sae/118``."""
    polarity: Polarity
    """Which activations it describes."""
    text: str = Field(default="", max_length=LONGEST_TEXT)
    """The label, one line; empty where the record holds only a star, a note or a skip."""
    author: str = Field(min_length=1, max_length=100)
    """Who is credited: a person's name or handle, or the name of the model."""
    source: Literal["human", "model"]
    """Who wrote it."""
    date: str
    """Day on which it was written, ``2026-11-22``."""
    score: Annotated[float, Field(allow_inf_nan=False, ge=-1, le=1)] | None = None
    """How well the text predicts the activations, from −1 to 1; absent when nobody measured it."""
    score_name: str = Field(default="", max_length=60)
    """What the score measures: ``detection``, ``fuzzing``, ``simulation``, …"""
    starred: bool = False
    """Whether the author finds the channel worth a look."""
    skipped: bool = False
    """Whether the author looked and could not say; kept so that it is not offered again."""
    note: str = Field(default="", max_length=LONGEST_NOTE)
    """Whatever else there is to say, in plain text."""
    run: str = Field(default="", max_length=200)
    """Name of the run (``name`` in the run file) that it was written for; empty for any run with such an id."""

    @field_validator("text")
    @classmethod
    def _is_one_line(cls, text: str) -> str:
        if re.search(r"[\n\r\u2028\u2029]", text):
            raise ValueError("write it on one line and put the rest into note")
        return text.strip()

    @field_validator("date")
    @classmethod
    def _is_a_day(cls, text: str) -> str:
        try:
            is_plain = date.fromisoformat(text).isoformat() == text
        except ValueError:
            is_plain = False
        if not is_plain:
            raise ValueError("write a day as 2026-11-22")
        return text

    @model_validator(mode="after")
    def _says_something(self) -> "Label":
        if not (self.text or self.note or self.starred or self.skipped):
            raise ValueError("the record is empty: give text, note, starred or skipped")
        return self

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What two records share of which only one can stand: run, channel, side, author."""
        return self.run, self.id, self.polarity, self.author

    def covers(self, polarity: str | None) -> bool:
        """Whether it says something of this side; None stands for any."""
        return polarity is None or self.polarity in (polarity, "both")


class Labels:
    """The labels of a run, by channel.

    Their order, the same everywhere: people before models, the newer day first, the higher score first, then by author
    and text. What is unseen or reorders a line is left out of the texts here, so that they can be shown as they are.
    """

    def __init__(self, records: Iterable[Label] = ()) -> None:
        self._by_channel: dict[str, list[Label]] = {}  # "sae/118" -> [the one shown first, …]
        for record in records:
            self._by_channel.setdefault(record.id, []).append(_shown(record))
        for held in self._by_channel.values():
            held.sort(key=_order)
        self._asked: set[str] = set()

    @contextmanager
    def watched(self) -> Iterator[set[str]]:
        """Tells of which channels the labels are asked for inside the block, so that what is made there is known to depend on them."""
        asked: set[str] = set()
        self._asked = asked
        yield asked
        if len(asked) > MANY:
            asked.clear()
            asked.add(EVERY)

    def fingerprint(self, channel_id: str) -> str:
        """A hash of all that was said of a channel, or of all channels for ``EVERY``; empty where nothing was said."""
        if channel_id == EVERY:
            return content_key([(name, self.fingerprint(name)) for name in sorted(self._by_channel)])
        held = self._by_channel.get(channel_id)
        return content_key([label.model_dump() for label in held]) if held else ""

    def _held(self, channel_id: str) -> list[Label]:
        self._asked.add(channel_id)
        return self._by_channel.get(channel_id, [])

    def of(self, channel_id: str) -> list[Label]:
        """Everything that was said of a channel, in words."""
        return [label for label in self._held(channel_id) if label.text or label.note]

    def best(self, channel_id: str, polarity: Literal["positive", "negative"] | None = None) -> Label | None:
        """The label to show for one side of a channel, or for the whole of it."""
        return next((x for x in self.of(channel_id) if x.text and x.covers(polarity)), None)

    def text(self, channel_id: str) -> str | None:
        """A channel's label as lists and tables show it; None without one."""
        label = self.best(channel_id)
        return label.text if label else None

    def is_starred(self, channel_id: str) -> bool:
        """Whether somebody marked the channel as worth a look."""
        return any(label.starred for label in self._held(channel_id))

    @property
    def ids(self) -> list[str]:
        """Channels that have a label, sorted."""
        self._asked.add(EVERY)
        return sorted(name for name in self._by_channel if self.best(name))

    @property
    def authors(self) -> list[tuple[str, str, int]]:
        """Whom to credit: (author, ``human`` or ``model``, channels labelled); people first, then by number."""
        self._asked.add(EVERY)
        held: dict[tuple[str, str], set[str]] = {}
        for name, labels in self._by_channel.items():
            for label in labels:
                if label.text:
                    held.setdefault((label.author, label.source), set()).add(name)
        rows = [(author, source, len(names)) for (author, source), names in held.items()]
        return sorted(rows, key=lambda row: (row[1] != "human", -row[2], row[0]))

    def __len__(self) -> int:
        self._asked.add(EVERY)
        return sum(bool(label.text) for labels in self._by_channel.values() for label in labels)


def _shown(record: Label) -> Label:
    texts = {name: plain(getattr(record, name)) for name in ("text", "author", "score_name")}
    note = "\n".join(plain(line) for line in record.note.splitlines())
    return record.model_copy(update={**texts, "note": note})


def _order(label: Label) -> tuple[bool, int, float, str, str, str]:
    day = date.fromisoformat(label.date).toordinal()
    score = -2.0 if label.score is None else label.score
    return label.source != "human", -day, -score, label.author, label.polarity, label.text


def read_labels(
    folder: Path, run: str, channels: dict[str, bool], note: Callable[[str], None] = lambda message: None
) -> Labels:
    """The labels of a folder that belong to a run.

    Args:
        folder: With ``*.jsonl``; it need not exist.
        run: Name of the run; records of other runs are left out.
        channels: Ids that exist, published or not, and whether the channel is signed.
        note: Told of labels that fit no channel, or a side that a channel does not have.

    Raises:
        FeaturebookError: a record that cannot be read; all faults are listed.
    """
    records = [record for path in label_files(folder) for record in read_label_file(path)]
    mine = [record for record in records if record.run in ("", run)]
    strangers = list(dict.fromkeys(record.id for record in mine if record.id not in channels))
    if strangers:
        note(f"{len(strangers)} labelled ids are no channels of this run, first {strangers[0]!r}.")
    for record in mine:
        if record.polarity == "negative" and not channels.get(record.id, True):
            note(f"A label for the negative side of {record.id!r}, which is never negative, is not shown.")
    return Labels(
        record
        for record in mine
        if record.id in channels and (channels[record.id] or record.polarity != "negative")
    )


def label_files(folder: Path) -> list[Path]:
    """The label files of a folder, by name."""
    return sorted(folder.glob("*.jsonl"))


def read_label_file(path: Path) -> list[Label]:
    """The records of one file.

    Raises:
        FeaturebookError: with every fault as ``file:line: what, and what to do``; the file is left as it is.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FeaturebookError(f"{path}: not UTF-8 at byte {error.start}. Save the file as UTF-8.") from None
    except OSError as error:
        raise FeaturebookError(f"{path} cannot be read: {error.strerror}. Give a file of labels.") from None
    records: list[Label] = []
    faults: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                records.append(parse_label(line))
            except FeaturebookError as error:
                faults.append(f"{path}:{number}: {error}")
    if faults:
        more = len(faults) - FAULTS_SHOWN
        raise FeaturebookError(
            "\n".join(faults[:FAULTS_SHOWN])
            + (f"\n… and {more} more." if more > 0 else "")
            + "\nNothing was changed. docs/labels.md lists the fields."
        )
    return records


def parse_label(line: str) -> Label:
    """One line as a record.

    Raises:
        FeaturebookError: what is wrong with which value, and what to write instead.
    """
    try:
        return Label.model_validate(orjson.loads(line))
    except orjson.JSONDecodeError as error:
        raise FeaturebookError(f"not JSON ({error}). Write one object per line.") from None
    except ValidationError as error:
        raise FeaturebookError("; ".join(_fault(fault) for fault in error.errors()) + ".") from None


def _fault(fault: object) -> str:
    kind, where, value = (fault[key] for key in ("type", "loc", "input"))  # type: ignore[index]
    name = ".".join(map(str, where))
    if kind == "model_type":
        return f"{str(value)[:60]!r} is no record. Write one object per line"
    if kind == "missing":
        return f"{name!r} is missing"
    if kind == "extra_forbidden":
        return f"unknown field {name!r}. {nearest(name, Label.model_fields)}".rstrip(".")
    if kind == "literal_error":
        known = get_args(Label.model_fields[name].annotation)
        return f"{name} {value!r}: take one of {', '.join(known)}"
    message = fault["msg"].removeprefix("Value error, ")  # type: ignore[index]
    shown = "" if isinstance(value, dict) else f" {str(value)[:60]!r}"
    return f"{name}{shown}: {message}" if name else message


def label_line(label: Label) -> bytes:
    """A record as its file holds it: one line of JSON, sorted keys, nothing that has its default value."""
    record = label.model_dump(exclude_defaults=True)
    return orjson.dumps(record, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
