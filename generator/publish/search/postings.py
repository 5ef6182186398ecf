"""Lists of rows as short strings, and the cutting of sorted entries into files of about equal size and how these are told apart."""

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


def boundaries(parts: Sequence[tuple[str, str]]) -> str:
    """What tells sorted parts apart, by the (first, last) key of each: of every first key just so much that it lies behind the
    last one of the part before, and of that only what differs from the boundary before, behind the number of characters that
    are kept, in base 36 (35 at most).

    >>> boundaries([("aa", "ab"), ("acxx", "acxy"), ("acz", "b")])
    '0 0ac 2z'
    """
    written: list[str] = []
    last = held = ""
    for first, end in parts:
        length = next((n for n in range(1, len(first) + 1) if first[:n] > last), 0) if written else 0
        boundary = first[:length]
        same = min(_alike(held, boundary), 35)
        written.append(_DIGITS[same] + boundary[same:])
        last, held = end, boundary
    return " ".join(written)


def _alike(one: str, other: str) -> int:
    """Characters that two texts begin with in common."""
    return next((n for n, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
