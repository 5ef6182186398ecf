"""Merging label files: what several people exported becomes one file, and contradictions are named."""

from dataclasses import dataclass
from pathlib import Path

from generator.artifacts import write_bytes
from generator.publish.labels import Label, label_line, read_label_file


@dataclass(frozen=True)
class Merge:
    """What came of merging."""

    records: list[Label]
    """In the order of the file: by run, channel, side, author."""
    n_same: int
    """Records that were there more than once."""
    conflicts: list[str]
    """One paragraph for each: who said what twice, and where."""


def merge_files(files: list[Path], *, newest: bool = False) -> Merge:
    """Merges files in the order given.

    Two records with the same run, channel, side and author are one: when they say different things, that is a conflict.
    What was said again on another day counts from the later one. Different authors never conflict: a channel may have
    many labels.

    Args:
        files: To merge.
        newest: Let the later day win; records of one day stay in conflict.

    Raises:
        FeaturebookError: a record that cannot be read.
    """
    held: dict[tuple[str, ...], list[tuple[Label, Path]]] = {}
    n_same = 0
    for path in files:
        for record in read_label_file(path):
            claims = held.setdefault(record.identity, [])
            same = next(
                (place for place, (other, _) in enumerate(claims) if _says_the_same(record, other)), None
            )
            if same is None:
                claims.append((record, path))
                continue
            n_same += 1
            if record.date > claims[same][0].date:
                claims[same] = record, path
    if newest:
        held = {identity: _latest(claims) for identity, claims in held.items()}
    ordered = [held[identity] for identity in sorted(held)]
    conflicts = [_conflict(claims) for claims in ordered if len(claims) > 1]
    return Merge([claims[0][0] for claims in ordered], n_same, conflicts)


def _says_the_same(record: Label, other: Label) -> bool:
    return record == other.model_copy(update={"date": record.date})


def _latest(claims: list[tuple[Label, Path]]) -> list[tuple[Label, Path]]:
    last = max(record.date for record, _ in claims)
    return [claim for claim in claims if claim[0].date == last]


def _conflict(claims: list[tuple[Label, Path]]) -> str:
    first = claims[0][0]
    lines = [f"  {path}: {record.date} {_said(record)}" for record, path in claims]
    return "\n".join([f"{first.id} ({first.polarity}) by {first.author}:", *lines])


def _said(record: Label) -> str:
    fields = record.model_dump(exclude_defaults=True)
    kept = {k: v for k, v in fields.items() if k not in ("id", "polarity", "author", "date", "run", "source")}
    return ", ".join(f"{name} {value!r}" for name, value in kept.items())


def write_labels(path: Path, records: list[Label]) -> None:
    """Writes a label file; the same records give the same bytes."""
    write_bytes(path, b"".join(map(label_line, records)))
