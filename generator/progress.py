"""Progress of long work: a bar on a terminal, sparse lines in a log."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.progress import (
    BarColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as RichProgress,
)

LOG_INTERVAL_S = 10.0
"""Seconds between two lines of the same stage where the output is no terminal."""

console = Console(stderr=True, highlight=False, soft_wrap=True)


@runtime_checkable
class Progress(Protocol):
    """What long work reports to."""

    def advance(self, n: int = 1) -> None:
        """``n`` more units (mostly tokens) are done."""

    def note(self, message: str) -> None:
        """Something that the user should read, once."""


class Silent:
    """Reports nothing; keeps the notes for tests."""

    def __init__(self) -> None:
        self.done = 0
        self.notes: list[str] = []

    def advance(self, n: int = 1) -> None:
        """Counts."""
        self.done += n

    def note(self, message: str) -> None:
        """Keeps the message."""
        self.notes.append(message)


class _Bar:
    def __init__(self, bar: RichProgress, stage: str, total: int | None) -> None:
        self._bar, self._task = bar, bar.add_task(stage, total=total, rate="")
        self._done, self._began = 0, time.monotonic()

    def advance(self, n: int = 1) -> None:
        self._done += n
        rate = self._done / max(time.monotonic() - self._began, 1e-9)
        self._bar.update(self._task, advance=n, rate=_speed(rate))

    def note(self, message: str) -> None:
        self._bar.console.print(f"  {message}", markup=False)


class _Log:
    def __init__(self, stage: str, total: int | None, unit: str) -> None:
        self._stage, self._total, self._unit = stage, total, unit
        self._done, self._began, self._last = 0, time.monotonic(), time.monotonic()

    def advance(self, n: int = 1) -> None:
        self._done += n
        now = time.monotonic()
        if now - self._last >= LOG_INTERVAL_S:
            self._last = now
            share = f" {self._done / self._total:.0%}" if self._total else ""
            rate = self._done / (now - self._began)
            left = f", {_duration((self._total - self._done) / rate)} left" if self._total and rate else ""
            print(
                f"{self._stage}:{share} {self._done:,} {self._unit}, {_speed(rate)} {self._unit}/s{left}",
                file=sys.stderr,
            )

    def note(self, message: str) -> None:
        print(f"{self._stage}: {message}", file=sys.stderr)


@contextmanager
def show(stage: str, total: int | None = None, unit: str = "tokens") -> Iterator[Progress]:
    """Shows the progress of one stage while the block runs.

    Args:
        stage: Its name.
        total: Units of work, when known.
        unit: What is counted.
    """
    if not console.is_terminal:
        yield _Log(stage, total, unit)
        return
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(bar_width=32),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn(f"{{task.fields[rate]:>7}} {unit}/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=console) as bar:
        yield _Bar(bar, stage, total)


def _speed(per_second: float) -> str:
    for limit, suffix in ((1e6, "M"), (1e3, "k")):
        if per_second >= limit:
            return f"{per_second / limit:.3g}{suffix}"
    return f"{per_second:.3g}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"
