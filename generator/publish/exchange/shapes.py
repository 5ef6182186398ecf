"""Reading JSON that somebody else wrote: what is missing or of another type is said by file, place and name."""

import gzip
import json
import math
import zlib
from pathlib import Path
from typing import Any

from generator.errors import FeaturebookError

_REQUIRED: Any = object()


class Reading:
    """One JSON object and where it stands, so that an error can name file, found and expected."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise FeaturebookError(f"{where}: found {_kind(value)}, expected an object.")
        self.value: dict[str, Any] = value
        self.where = where

    def _take(self, name: str, expected: str, default: Any) -> Any:
        value = self.value.get(name)
        if value is None:
            if default is _REQUIRED:
                keys = ", ".join(sorted(map(str, self.value))[:12]) or "nothing"
                raise FeaturebookError(f"{self.where}: expected {name!r} ({expected}), found only {keys}.")
            return default
        return value

    def wrong(self, name: str, expected: str) -> FeaturebookError:
        """The error for a field of another type."""
        return FeaturebookError(
            f"{self.where}: {name!r} is {_kind(self.value.get(name))}, expected {expected}."
        )

    def text(self, name: str, default: Any = _REQUIRED) -> Any:
        """A string; the default where it is missing or null."""
        value = self._take(name, "a string", default)
        if value is not default and not isinstance(value, str):
            raise self.wrong(name, "a string")
        return value

    def integer(self, name: str, default: Any = _REQUIRED) -> Any:
        """A whole number, also as the decimal string that Neuronpedia's database gives."""
        value = self._take(name, "a whole number", default)
        if value is default:
            return value
        try:
            if isinstance(value, bool) or (number := int(value)) != float(value):
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            raise self.wrong(name, "a whole number") from None
        return number

    def number(self, name: str, default: Any = _REQUIRED) -> Any:
        """A number; NaN and infinities, which Python's json writes, count as missing."""
        value = self._take(name, "a number", default)
        if value is default:
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(name, "a number")
        return float(value) if math.isfinite(value) else (math.nan if default is _REQUIRED else default)

    def strings(self, name: str) -> list[str]:
        """A list of strings."""
        value = self._take(name, "a list of strings", _REQUIRED)
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise self.wrong(name, "a list of strings")
        return value

    def numbers(self, name: str, default: Any = _REQUIRED) -> Any:
        """A list of numbers; null among them becomes NaN."""
        value = self._take(name, "a list of numbers", default)
        if value is default:
            return value
        if not isinstance(value, list) or any(isinstance(entry, str | list | dict | bool) for entry in value):
            raise self.wrong(name, "a list of numbers")
        return [math.nan if entry is None else float(entry) for entry in value]

    def records(self, name: str, default: Any = _REQUIRED) -> list["Reading"]:
        """A list of objects."""
        value = self._take(name, "a list of objects", default)
        if not isinstance(value, list):
            raise self.wrong(name, "a list of objects")
        return [Reading(entry, f"{self.where}: {name}[{i}]") for i, entry in enumerate(value)]


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"


def load_json(path: Path) -> Any:
    """The JSON of a file, gzip or not.

    Raises:
        FeaturebookError: it cannot be read.
    """
    return _parsed(_bytes_of(path), str(path))


def load_lines(path: Path) -> list[Reading]:
    """The objects of a file with one JSON object a line, gzip or not."""
    lines = _bytes_of(path).split(b"\n")
    return [
        Reading(_parsed(line, f"{path}: line {n}"), f"{path}: line {n}")
        for n, line in enumerate(lines, 1)
        if line.strip()
    ]


def _bytes_of(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error) as error:
        raise FeaturebookError(f"{path} cannot be read ({error}). Download it again.") from None


def _parsed(content: bytes, where: str) -> Any:
    try:
        # Python's parser: others wrote NaN and lone surrogates with it, which orjson refuses.
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        found = content[:40].decode("utf-8", "replace")
        raise FeaturebookError(f"{where}: expected JSON, found {found!r} ({error}).") from None


def files_named(source: Path, *patterns: str) -> list[Path]:
    """The files of a folder (at any depth) that match, in natural order; a file stands for itself.

    Raises:
        FeaturebookError: there are none.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise FeaturebookError(f"{source} does not exist. Give a file or folder of feature files.")
    found = {path for pattern in patterns for path in source.rglob(pattern) if path.is_file()}
    if not found:
        names = sorted(path.name for path in source.iterdir())[:8]
        raise FeaturebookError(
            f"{source}: expected files named {' or '.join(patterns)}, found {', '.join(names) or 'nothing'}."
        )
    return sorted(found, key=lambda path: (path.parent, len(path.name), path.name))
