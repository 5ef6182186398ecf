"""What a dictionary reads: channels of the adapter from disk, or places of one or two models, straight from the model.

The model's own activations never go to disk: they are made block by block, in the batches and layout of extraction.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from generator.blocks import Activations, Block, Corpus
from generator.config import CollectionTable
from generator.errors import FeaturebookError
from generator.measure.hook_points import HookPoint
from generator.measure.names import public_name
from generator.measure.passes import Key, pass_of
from generator.measure.variants import OWN_MODELS, Models

SAMPLE_TOKENS = 8192
"""Tokens that are read from disk at once to pick single documents from."""


@dataclass(frozen=True)
class Place:
    """A hook point of a model: where a dictionary reads ``d_model`` of its inputs."""

    model: str
    """``base``, ``adapted``, or the public name of another model."""
    point: HookPoint

    @property
    def name(self) -> str:
        """``adapted model.layers.3:output``."""
        return f"{self.model} {self.point.id}"

    @property
    def short(self) -> str:
        """``L3 resid_post``, for axes; a place outside of the layers by its path."""
        return f"L{self.point.layer} {self.point.module}" if self.point.layer >= 0 else self.point.id


@runtime_checkable
class Source(Protocol):
    """What a dictionary reads."""

    width: int
    """Values per token."""
    inputs: list[str]
    """Ids of the channels that it gives; empty for places of a model."""
    facts: dict[str, Any]
    """For the collection's page: of a model's places, ``places`` and ``notes``."""
    space: str
    """Space of the vectors, for cosines; empty for one of the dictionary's own."""
    layer: int
    """The numbered layer of the only place, −1 otherwise."""
    module: str
    """The only place's name in its layer, else empty."""
    device: str
    """Where a dictionary that reads this should lie."""
    order: list[Key]
    """Its places, as a pass over the models calls them; empty for channels of the adapter."""

    def blocks(self, chunk: slice, block_tokens: int) -> Iterator[Block]:
        """A chunk of the corpus as blocks of whole documents, of about ``block_tokens`` tokens at most."""

    def sample(self, docs: Sequence[int]) -> Iterator[Block]:
        """Some documents, each as a block."""

    def close(self) -> None:
        """Lets go of models."""


class StoredSource:
    """Some of the adapter's channels, from the activation files of the run."""

    space, layer, module, device = "", -1, "", "cpu"

    def __init__(
        self,
        activations: Activations,
        corpus: Corpus,
        chunks: Sequence[slice],
        columns: Int[np.ndarray, " channel"],
        inputs: list[str],
    ) -> None:
        """Reads nothing yet.

        Args:
            activations: Of the run.
            corpus: Its text.
            chunks: Of the activations.
            columns: The channels wanted, by index.
            inputs: Their ids.
        """
        self.activations, self.corpus, self.chunks = activations, corpus, chunks
        self.columns, self.inputs, self.width = columns, inputs, len(columns)
        self.facts: dict[str, Any] = {}
        self.order: list[Key] = []

    def blocks(self, chunk: slice, block_tokens: int) -> Iterator[Block]:
        """A chunk; see ``Source``."""
        for block in self.activations.blocks(self.corpus, chunk, block_tokens):
            yield replace(block, values=np.ascontiguousarray(block.values[:, self.columns]))

    def sample(self, docs: Sequence[int]) -> Iterator[Block]:
        """Some documents; see ``Source``."""
        spans = [self.corpus.tokens_of(doc) for doc in docs]
        for chunk in self.chunks:
            inside = [s for s in spans if chunk.start <= s.start < s.stop <= chunk.stop]
            for block in self.blocks(chunk, SAMPLE_TOKENS) if inside else ():
                for span in inside:
                    if block.start <= span.start < block.stop:
                        rows = slice(span.start - block.start, span.stop - block.start)
                        yield Block(span.start, block.values[rows], block.is_measured[rows])

    def close(self) -> None:
        """Nothing to let go of."""


class ModelSource:
    """The activations of one or two models at some hook points, side by side: model by model, then point by point."""

    def __init__(self, table: CollectionTable, models: Models) -> None:
        """Resolves the hook points in every model, and proves a batch layout.

        Raises:
            FeaturebookError: unknown hook points, models that do not fit together, a number of places that the kind does not
                read.
        """
        self._pass = pass_of([table], models)
        points = self._pass.points
        self.places = [
            Place(name if name in OWN_MODELS else public_name(name), point)
            for name in table.models
            for point in points[name]
        ]
        _check_places(table, self.places)
        self.order: list[Key] = [(name, point.id) for name in table.models for point in points[name]]
        self.width = sum(place.point.width for place in self.places)
        only = self.places[0].point if len(self.places) == 1 else None
        self.inputs: list[str] = []
        self.space, self.layer, self.module = (only.space, only.layer, only.module) if only else ("", -1, "")
        self.device = str(models.get(table.models[0]).device)
        self.facts: dict[str, Any] = {
            "places": [
                {
                    "model": p.model,
                    "hook_point": p.point.id,
                    "layer": p.point.layer,
                    "module": p.point.module,
                    "name": p.short,
                }
                for p in self.places
            ],
            "backend": table.backend,
            "layout": self._pass.layout,
            "notes": self._pass.notes,
        }

    def blocks(self, chunk: slice, block_tokens: int) -> Iterator[Block]:
        """A chunk of the corpus, computed block by block; see ``Source``."""
        for (block,) in self._pass.blocks(chunk, block_tokens, [self.order]):
            yield block

    def sample(self, docs: Sequence[int]) -> Iterator[Block]:
        """Some documents, several to a pass; see ``Source``."""
        for (block,) in self._pass.sample(docs, [self.order]):
            yield block

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """In the block the models can be run by others."""
        with self._pass.at_rest():
            yield

    def close(self) -> None:
        """Removes hooks; the models stay loaded for the next collection."""
        self._pass.close()


def _check_places(table: CollectionTable, places: Sequence[Place]) -> None:
    """An SAE reads one place, a crosscoder several of one width; a second model must have the same."""
    names = [place.name for place in places]
    if table.kind == "sae" and len(places) != 1:
        raise FeaturebookError(
            f"Collection {table.name!r} is an SAE, which reads one place, and its hook_points name {len(places)}: "
            f'{", ".join(names[:4])}{", …" if len(names) > 4 else ""}. Name one, or set kind = "crosscoder".'
        )
    if table.kind == "crosscoder" and len(places) < 2:
        raise FeaturebookError(
            f"Collection {table.name!r} is a crosscoder, which reads two places or more, and its hook_points name only {names[0]}. "
            'Name more layers or a second model, or set kind = "sae".'
        )
    by_model = {
        name: [p.point.width for p in places if p.model == name] for name in {p.model for p in places}
    }
    if len({tuple(widths) for widths in by_model.values()}) > 1 or len({p.point.width for p in places}) > 1:
        listed = ", ".join(f"{place.name} ({place.point.width})" for place in places[:6])
        raise FeaturebookError(
            f"The places of collection {table.name!r} have different widths or numbers: {listed}. A crosscoder reads places of one "
            "width, the same in every model."
        )


@dataclass(frozen=True)
class ModelRows:
    """Training rows straight from a model: a group is some documents, all of them held out or none.

    Nothing is stored, so every pass over the rows runs the model anew: one to take moments, one for each epoch.
    """

    source: Source
    corpus: Corpus
    is_held_out: Bool[np.ndarray, " doc"]
    """Which documents training must not see; only the two sides are kept apart here."""
    group_tokens: int = 4096

    @property
    def width(self) -> int:
        """Values per row."""
        return self.source.width

    @cached_property
    def groups(self) -> list[list[int]]:
        """The documents of every group."""
        lengths = np.diff(self.corpus.doc_offsets)
        groups: list[list[int]] = []
        for side in (False, True):
            size = self.group_tokens
            for doc in np.flatnonzero(self.is_held_out == side).tolist():
                if size + lengths[doc] > self.group_tokens:
                    groups.append([])
                    size = 0
                groups[-1].append(doc)
                size += int(lengths[doc])
        return groups

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(self.groups)

    def documents_of(self, group: int) -> Int[np.ndarray, " doc"]:
        """The documents of a group, known without running the model."""
        return np.array(self.groups[group], np.int32)

    def read(self, group: int) -> tuple[Float[np.ndarray, "token channel"], Int[np.ndarray, " token"]]:
        """A group's measured rows and their documents."""
        blocks = list(self.source.sample(self.groups[group]))
        if not blocks:
            return np.zeros((0, self.width), np.float32), np.zeros(0, np.int32)
        values = np.concatenate([block.values[block.is_measured] for block in blocks])
        docs = [self.corpus.doc[block.start : block.stop][block.is_measured] for block in blocks]
        return values, np.concatenate(docs)
