"""What publishing remembers from one run to the next, so that a changed label makes anew only what shows it.

Everything on the pages of channels follows from the run (its content key) and from labels and notes, which people change
all the time. For each such page it is written down whose labels were asked for while it was made; the next run makes it anew
only when those labels, its note or the run have changed, or when its files no longer hold what was written.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from generator.artifacts import content_key, to_json, write_bytes
from generator.publish.labels import Labels

FILE = "kept.json"

Held = dict[str, Any]
"""Of one entry: ``asked`` (ids of channels), ``key``, and ``files``: digest and number of bytes of each, None for none."""


@dataclass
class Kept:
    """The memory of a build folder; an empty one for a run that has changed."""

    folder: Path
    key: str
    """Of all that publishing reads, but labels and notes."""
    labels: Labels = field(default_factory=Labels)
    """Those of now."""
    entries: dict[str, Held] = field(default_factory=dict)
    """What the last run wrote, by id."""

    def open(self, labels: Labels) -> None:
        """Reads what the last run of the same key left."""
        self.labels = labels
        self.entries = self._read(FILE) or {}

    def key_of(self, asked: list[str], made_of: str, body: bytes) -> str:
        """The key of an entry, given the channels whose labels it shows."""
        labels = [self.labels.fingerprint(identifier) for identifier in asked]
        return content_key(labels, made_of, body.decode())

    def unchanged(self, identifier: str, made_of: str, body: bytes) -> Held | None:
        """What is known of an entry, if it would come out the same."""
        held = self.entries.get(identifier)
        return held if held and self.key_of(held["asked"], made_of, body) == held["key"] else None

    def recall(self, name: str, make: Callable[[], Any]) -> Any:
        """JSON that follows from the run alone: as it was kept, else made now and kept."""
        found = self._read(f"{name}.json")
        if found is None:
            found = make()
            self._write(f"{name}.json", found)
        return found

    def close(self, entries: dict[str, Held]) -> None:
        """Leaves word for the next run."""
        self._write(FILE, entries)

    def _read(self, name: str) -> Any:
        try:
            held = orjson.loads((self.folder / name).read_bytes())
            return held["value"] if held["key"] == self.key else None
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
            return None

    def _write(self, name: str, value: Any) -> None:
        write_bytes(self.folder / name, to_json({"key": self.key, "value": value}))
