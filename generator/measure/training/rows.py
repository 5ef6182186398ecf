"""Where training rows come from: groups of tokens that are read one at a time, split by document."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from generator.artifacts import content_key
from generator.blocks import CHUNK_ROWS, Activations, Corpus, open_hdf5

REMEDY = "python -m generator build --only extract"


@runtime_checkable
class Rows(Protocol):
    """Tokens × channels in groups that are small against memory."""

    @property
    def width(self) -> int:
        """Values per row."""

    @property
    def n_groups(self) -> int:
        """Number of groups."""

    def documents_of(self, group: int) -> Int[np.ndarray, " doc"]:
        """The documents of a group's rows, found out without reading them: a model need not run for the other side."""

    def read(self, group: int) -> tuple[Float[np.ndarray, "token channel"], Int[np.ndarray, " token"]]:
        """A group's rows in float32 with their documents; rows that do not count are left out."""


@dataclass(frozen=True)
class ArrayRows:
    """Rows in memory."""

    values: Float[np.ndarray, "token channel"]
    docs: Int[np.ndarray, " token"]
    group_rows: int = CHUNK_ROWS

    @property
    def width(self) -> int:
        """Values per row."""
        return self.values.shape[1]

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return -(-len(self.values) // self.group_rows)

    def documents_of(self, group: int) -> Int[np.ndarray, " doc"]:
        """The documents of a group's rows."""
        return self.docs[group * self.group_rows : (group + 1) * self.group_rows]

    def read(self, group: int) -> tuple[Float[np.ndarray, "token channel"], Int[np.ndarray, " token"]]:
        """A group's rows and their documents."""
        rows = slice(group * self.group_rows, (group + 1) * self.group_rows)
        return self.values[rows].astype(np.float32), self.docs[rows]


@dataclass(frozen=True)
class ActivationRows:
    """Rows of the activation files of a run: one group is one HDF5 chunk of one file."""

    activations: Activations
    corpus: Corpus
    chunks: Sequence[slice]
    columns: Int[np.ndarray, " channel"] | None = None
    """Indices of the channels to read; all when absent."""

    @cached_property
    def _spans(self) -> list[tuple[slice, slice]]:
        """Of every group, the file's chunk and the rows in it."""
        return [
            (chunk, slice(start, min(start + CHUNK_ROWS, chunk.stop - chunk.start)))
            for chunk in self.chunks
            for start in range(0, chunk.stop - chunk.start, CHUNK_ROWS)
        ]

    @cached_property
    def width(self) -> int:
        """Values per row."""
        if self.columns is not None:
            return len(self.columns)
        with open_hdf5(
            self.activations.chunk_path(self.chunks[0]), kind="activations", remedy=REMEDY
        ) as file:
            return file["values"].shape[1]

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(self._spans)

    def documents_of(self, group: int) -> Int[np.ndarray, " doc"]:
        """The documents of a group's tokens, measured or not."""
        chunk, rows = self._spans[group]
        return self.corpus.doc[chunk.start + rows.start : chunk.start + rows.stop]

    def read(self, group: int) -> tuple[Float[np.ndarray, "token channel"], Int[np.ndarray, " token"]]:
        """A group's measured rows and their documents."""
        chunk, rows = self._spans[group]
        with open_hdf5(self.activations.chunk_path(chunk), kind="activations", remedy=REMEDY) as file:
            values, is_measured = file["values"][rows], file["is_measured"][rows]
        if self.columns is not None:
            values = values[:, self.columns]
        docs = self.corpus.doc[chunk.start + rows.start : chunk.start + rows.stop]
        return values[is_measured].astype(np.float32), docs[is_measured]


def is_held_out(docs: Int[np.ndarray, " token"], share: float, seed: int) -> Bool[np.ndarray, " token"]:
    """Whether each row's document is kept from training: a hash of the seed and the document decides."""
    distinct, index = np.unique(docs, return_inverse=True)
    chosen = [int(content_key("held out", seed, doc)[:8], 16) < share * 2**32 for doc in distinct.tolist()]
    return np.array(chosen, bool)[index]


@dataclass(frozen=True)
class Split:
    """One side of the split by document, without rows that are not finite."""

    rows: Rows
    held_out: float
    seed: int
    takes_held_out: bool

    def read(self, group: int) -> Float[np.ndarray, "token channel"]:
        """A group's rows of this side."""
        documents = self.rows.documents_of(group)
        if not (is_held_out(documents, self.held_out, self.seed) == self.takes_held_out).any():
            return np.zeros((0, self.rows.width), np.float32)
        values, docs = self.rows.read(group)
        keep = is_held_out(docs, self.held_out, self.seed) == self.takes_held_out
        return values[keep & np.isfinite(values).all(1)]

    def __iter__(self) -> Iterator[Float[np.ndarray, "token channel"]]:
        """All groups in order."""
        return (self.read(group) for group in range(self.rows.n_groups))


@dataclass(frozen=True)
class RowFacts:
    """What one pass over the training rows finds."""

    n_rows: int
    n_per_group: Int[np.ndarray, " group"]
    mean: Float[np.ndarray, " channel"]
    """float64."""
    variance: Float[np.ndarray, " channel"]
    """float64, population."""


def survey(split: Split) -> RowFacts:
    """Counts the rows and takes their moments, in float64 around the first group's mean."""
    counts: list[int] = []
    width = split.rows.width
    origin, total, squares = np.zeros(width), np.zeros(width), np.zeros(width)
    for values in split:
        wide = values.astype(np.float64)
        if not sum(counts) and len(wide):
            origin = wide.mean(0)
        wide -= origin
        counts.append(len(wide))
        total += wide.sum(0)
        squares += (wide * wide).sum(0)
    n = max(1, sum(counts))
    shift = total / n
    variance = np.maximum(squares / n - shift * shift, 0)
    return RowFacts(sum(counts), np.array(counts, np.int64), origin + shift, variance)
