"""Lists of rows as short strings, and the cutting of sorted entries into files of about equal size."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

LEAF_BYTES = 8000
"""What a file of the index holds at most, about; one long entry may be longer."""

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

Entry = TypeVar("Entry")


def encode_rows(rows: Iterable[int]) -> str:
    """Ascending distinct rows as gaps in base 36; ``-n`` marks a run of n rows.

    >>> encode_rows([0, 1, 2, 10]), encode_rows([])
    ('0-3,7', '')
    """
    parts: list[str] = []
    after = 0
    for first, stop in _runs(rows):
        length = stop - first
        parts.append(_base36(first - after) + (f"-{_base36(length)}" if length > 1 else ""))
        after = stop
    return ",".join(parts)


def encode_weighted(weights: dict[int, int]) -> str:
    """Row -> weight as one list of rows per weight, the heaviest first: ``9:0-3;2:7``."""
    if len(weights) == 1:
        ((row, weight),) = weights.items()
        return f"{weight}:{_base36(row)}"
    by_weight: dict[int, list[int]] = {}
    for row in sorted(weights):
        by_weight.setdefault(weights[row], []).append(row)
    return ";".join(f"{w}:{encode_rows(by_weight[w])}" for w in sorted(by_weight, reverse=True))


def _runs(rows: Iterable[int]) -> Iterator[tuple[int, int]]:
    first = stop = -1
    for row in rows:
        if row != stop:
            if stop >= 0:
                yield first, stop
            first = row
        stop = row + 1
    if stop >= 0:
        yield first, stop


def _base36(value: int) -> str:
    digits = ""
    while True:
        value, rest = divmod(value, 36)
        digits = _DIGITS[rest] + digits
        if not value:
            return digits


def cut(entries: Sequence[Entry], sizes: Sequence[int], limit: int = LEAF_BYTES) -> list[Sequence[Entry]]:
    """Entries in order, in parts of at most ``limit`` bytes unless a single entry is longer."""
    parts, start, held = [], 0, 0
    for index, size in enumerate(sizes):
        if held and held + size > limit:
            parts.append(entries[start:index])
            start, held = index, 0
        held += size
    return [*parts, entries[start:]] if len(entries) > start else parts
