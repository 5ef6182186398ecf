"""The press: makes the shards, pages and pictures of entries and writes them, over several processes where there are many.

Processes are forked, so they share what the book holds; the bytes are the same whichever of them writes a file.
"""

import gc
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from generator.artifacts import Writer, digest, to_json
from generator.progress import Progress
from generator.publish.addresses import page_path, shard_path
from generator.publish.book import Book
from generator.publish.cards import card_path
from generator.publish.kept import Held, Kept

PARALLEL_ABOVE = 2000
"""Entries above which several processes are worth their start."""

MOST_PROCESSES = 8
"""More of them mostly wait for the disk."""

PER_TASK = 64
"""Entries that a process takes at a time."""

SHARED = (
    "texts",
    "statistics",
    "peaks",
    "preset",
    "published_set",
    "place",
    "layers",
    "collections",
    "index_of",
    "loadings_of",
    "dead",
    "unsigned",
    "documents",
    "doc_names",
    "spaces",
)
"""What pages look up in the book: worked out once, before the processes part."""


@dataclass(frozen=True)
class Entry:
    """One address of the site: a shard, a page, or both."""

    id: str
    shard: Callable[[], dict[str, Any]] | None
    page: Callable[[], bytes] | None
    shard_name: str = ""
    """The id of the shard where it differs: a collection's page stands above those of its channels."""
    picture: Callable[[], bytes] | None = None
    """Its preview picture, a PNG."""
    made_of: str | None = None
    """What it is made of beside the run and labels, in words; then it is kept while those are the same. None: made each time."""

    @property
    def shard_id(self) -> str:
        """The id of the shard."""
        return self.shard_name or self.id

    def paths(self) -> tuple[str | None, str | None, str | None]:
        """Where shard, page and picture stand; None for what it has not."""
        return (
            shard_path(self.shard_id) if self.shard else None,
            page_path(self.id) if self.page else None,
            card_path(self.id) if self.picture else None,
        )


@dataclass
class Press:
    """Prints entries, and adds up what they weigh."""

    book: Book
    shards: Writer
    docs: Writer
    notes: dict[str, str]
    progress: Progress
    kept: Kept | None = None
    held: dict[str, Held] = field(default_factory=dict)
    """What the next run should know of the entries printed."""
    shard_bytes: int = 0
    page_bytes: int = 0

    def start(self, entries: Sequence[Entry]) -> Callable[[], None]:
        """Begins to print entries; returns what prints the rest, or waits for it. Between the two, other work can be done."""
        n = n_processes(len(entries)) if self.shards.is_shared and self.docs.is_shared else 1
        if n == 1:
            return partial(self.print, entries)
        for name in SHARED:
            getattr(self.book, name)
        gc.freeze()  # so that no process copies memory only to look for garbage in it
        pool = ProcessPoolExecutor(n, multiprocessing.get_context("fork"), _begin, (self, entries))
        tasks = [pool.submit(_print, a, a + PER_TASK) for a in range(0, len(entries), PER_TASK)]
        return partial(self._collect, pool, tasks, entries)

    def print(self, entries: Iterable[Entry]) -> None:
        """Writes entries."""
        for entry in entries:
            self._add(entry, *self.written(entry))

    def written(self, entry: Entry) -> tuple[Held | None, list[int]]:
        """Writes one entry, unless it is as it was; what the next run should know, and the bytes of its files."""
        body = f"\n{self.notes[entry.id]}\n".encode() if entry.id in self.notes else b""
        writers = (self.shards, self.docs, self.docs)
        is_kept = self.kept is not None and entry.made_of is not None
        held = self.kept.unchanged(entry.id, entry.made_of or "", body) if is_kept and self.kept else None
        if held and len(held["files"]) == 3:
            places = zip(writers, entry.paths(), held["files"])
            if all(path is None or (file and writer.has(path, *file)) for writer, path, file in places):
                return held, [file[1] if file else 0 for file in held["files"]]
        with self.book.labels.watched() as asked:
            contents = [
                to_json(entry.shard()) if entry.shard else None,
                entry.page() + body if entry.page else None,
                entry.picture() if entry.picture else None,
            ]
        for writer, path, content in zip(writers, entry.paths(), contents):
            if path is not None and content is not None:
                writer.write(path, content)
        sizes = [len(content or b"") for content in contents]
        if not is_kept or self.kept is None:
            return None, sizes
        files = [None if c is None else [digest(c), len(c)] for c in contents]
        key = self.kept.key_of(sorted(asked), entry.made_of or "", body)
        return {"asked": sorted(asked), "key": key, "files": files}, sizes

    def _add(self, entry: Entry, held: Held | None, sizes: list[int]) -> None:
        self.shard_bytes += sizes[0]
        self.page_bytes += sizes[1]
        if held:
            self.held[entry.id] = held
        self.progress.advance()

    def _collect(self, pool: ProcessPoolExecutor, tasks: list[Future], entries: Sequence[Entry]) -> None:
        """Waits for the processes; a failure in one of them ends all."""
        try:
            for entry, printed in zip(entries, _results(tasks), strict=True):
                for writer, path in zip((self.shards, self.docs, self.docs), entry.paths()):
                    if path is not None:
                        writer.written.add(path)
                self._add(entry, *printed)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            gc.unfreeze()


def n_processes(n_entries: int) -> int:
    """How many processes print so many entries: one per core that may be used, one alone where processes cannot be forked."""
    if n_entries <= PARALLEL_ABOVE or not hasattr(os, "sched_getaffinity"):
        return 1
    return min(len(os.sched_getaffinity(0)), MOST_PROCESSES)


def _results(tasks: list[Future]) -> Iterator[tuple[Held | None, list[int]]]:
    for task in tasks:
        yield from task.result()


_work: tuple[Press, Sequence[Entry]]
"""Of a forked process: what it prints."""


def _begin(press: Press, entries: Sequence[Entry]) -> None:
    global _work
    _work = (press, entries)


def _print(first: int, stop: int) -> list[tuple[Held | None, list[int]]]:
    press, entries = _work
    return [press.written(entry) for entry in entries[first:stop]]
