"""Tidy tables as CSV: RFC 4180, UTF-8, the same rows the same bytes, and no cell that a spreadsheet would run."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generator.artifacts import to_json
from generator.publish.visible import without_surrogates

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""A text that begins with one of these is run as a formula by some spreadsheet (OWASP, "CSV injection"); ``'`` is put before it."""

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

Row = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """One file."""

    name: str
    """Without ``.csv``."""
    about: str
    """What a row is, for the bundle's README."""
    columns: Sequence[str]
    """In order; a row's missing column is empty."""
    rows: Iterable[Row]


def write_table(table: Table, folder: Path) -> int:
    """Writes a table row by row and returns the number of rows; a table without rows is not written."""
    with Files(folder) as files:
        for row in table.rows:
            files.add(table.name, table.columns, row)
    return files.n_rows.get(table.name, 0)


class Files(ExitStack):
    """Tables that grow side by side, each of which begins with its first row."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.n_rows: dict[str, int] = {}
        self._writers: dict[str, Any] = {}

    def add(self, name: str, columns: Sequence[str], row: Row) -> None:
        """Adds a row to the table ``<name>.csv``."""
        if name not in self._writers:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = self.enter_context((self.folder / f"{name}.csv").open("w", encoding="utf-8", newline=""))
            self._writers[name] = csv.writer(file, lineterminator="\r\n")
            self._writers[name].writerow(columns)
        self._writers[name].writerow([cell(row.get(column)) for column in columns])
        self.n_rows[name] = self.n_rows.get(name, 0) + 1


def cell(value: Any) -> str:
    """A value as the text of a cell: nothing for None, 1 and 0 for truth, all digits of a number, JSON for lists.

    >>> cell(-0.5), cell("-0.5"), cell(None), cell(True), cell("=1+1"), cell([1, "a"])
    ('-0.5', "'-0.5", '', '1', "'=1+1", '[1,"a"]')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, int | float):
        return repr(value)
    text = value if isinstance(value, str) else to_json(value).decode().rstrip("\n")
    text = _CONTROL.sub(lambda char: f"\\x{ord(char[0]):02x}", without_surrogates(text))
    return f"'{text}" if text.startswith(FORMULA) else text


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a file of ours, cells as they stand there."""
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8"), newline="")))


def with_methods(
    name: str, about: str, columns: Sequence[str], rows_of: Callable[[], Iterable[tuple[Row, Row]]]
) -> Table:
    """A table of rows with their method, whose entries become columns ``method.…`` after the others.

    The rows are gone through twice, first for the names of these columns, so that they need not be in memory.
    """
    names = sorted({f"method.{key}" for _, method in rows_of() for key in method})
    rows = (row | {f"method.{key}": value for key, value in method.items()} for row, method in rows_of())
    return Table(name, about, (*columns, *names), rows)
