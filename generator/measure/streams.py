"""What a dictionary reads: channels of the adapter from disk, or places of one or two models, straight from the model.

The model's own activations never go to disk: they are made block by block, in the batches and layout of extraction.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from generator.blocks import Activations, Block, Corpus, block_bounds
from generator.config import CollectionTable, RunConfig
from generator.errors import FeaturebookError
from generator.measure.analyze.anatomy import adapter_off
from generator.measure.backends import BACKENDS, Backend, flat
from generator.measure.batches import Piece, pieces_of
from generator.measure.corpus import load_tokenizer
from generator.measure.engine import Engine, body_of, sliding_window
from generator.measure.extract import exclude_outliers, middle_layer, probe_pieces
from generator.measure.hook_points import HookPoint, resolve
from generator.measure.lora import Recorder, Site, install, read_adapted
from generator.measure.model import LoadedModel, layer_list, load_model
from generator.measure.names import public_name
from generator.measure.vocabulary import token_bytes
from generator.progress import Progress

BLOCK_BYTES = 2**28
"""Largest block of a model's activations, but for a single long document."""

SAMPLE_TOKENS = 8192
"""Tokens that are read from disk at once to pick single documents from."""

OWN_MODELS = ("base", "adapted")
"""Names in ``models`` that mean the run's own model, its adapter off or on."""


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


class Models:
    """The models that a run's collections read, each loaded once, when it is asked for."""

    def __init__(self, config: RunConfig, corpus: Corpus, progress: Progress) -> None:
        """Loads nothing yet."""
        self.config, self.corpus, self.progress = config, corpus, progress
        self._loaded: dict[str, LoadedModel] = {}

    def get(self, name: str) -> LoadedModel:
        """The run's own model with its adapter in place, for ``base`` and ``adapted``, or another one.

        Raises:
            FeaturebookError: it cannot be loaded, or reads other tokens than the corpus holds.
        """
        key = "" if name in OWN_MODELS else name
        if key not in self._loaded:
            self._loaded[key] = self._load_own() if not key else self._load_other(name)
        return self._loaded[key]

    def variant(self, name: str) -> Callable[[], AbstractContextManager[Any]]:
        """The context in which the loaded model is the one asked for."""
        loaded = self.get(name)
        if name == "base" and loaded.adapter_name:
            return partial(adapter_off, loaded.model)
        return nullcontext

    def _load_own(self) -> LoadedModel:
        loaded = load_model(self.config.model, self.progress, seed=self.config.seed)
        if loaded.adapter_name:  # our forward: PEFT's own copies every input to float32
            modules = read_adapted(loaded.model, loaded.adapter_name, "rows")
            install([Site([module], [[]], Recorder()) for module in modules])
        return loaded

    def _load_other(self, name: str) -> LoadedModel:
        table = self.config.model.model_copy(
            update=dict.fromkeys(("adapter", "revision", "adapter_revision"))
            | {"base": name, "adapter_name": ""}
        )
        other = self.config.model_copy(update={"model": table})
        check_same_tokens(name, token_bytes(load_tokenizer(other)), self.corpus)
        loaded = load_model(table, self.progress, seed=self.config.seed)
        n_rows = loaded.model.get_input_embeddings().weight.shape[0]
        highest = int(self.corpus.token_ids.max(initial=0))
        if highest >= n_rows:
            raise FeaturebookError(
                f"The corpus holds token {highest}, and {public_name(name)!r} embeds only {n_rows} tokens. Two models are read in "
                "step on the same tokens, so they need the same tokenizer."
            )
        return loaded


def check_same_tokens(name: str, other: Sequence[bytes], corpus: Corpus) -> None:
    """Compares another model's vocabulary with the corpus's; entries that only the other has are fine.

    Raises:
        FeaturebookError: an entry stands for other bytes, with both; or it is missing.
    """
    for token, own in enumerate(corpus.token_bytes):
        theirs = other[token] if token < len(other) else None
        if own and theirs != own:
            found = "has no such token" if theirs is None else f"{theirs.decode('utf-8', 'replace')!r}"
            raise FeaturebookError(
                f"{public_name(name)!r} has another tokenizer: token {token} is {own.decode('utf-8', 'replace')!r} in the corpus, and "
                f"in that model {found}. Two models are read in step on the same tokens; take one with the same tokenizer."
            )


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
        self.corpus, self._extract = models.corpus, models.config.extract
        self._readers: list[_Reader] = []
        resolved = {
            name: resolve(table.hook_points, models.get(name).model, models.get(name).device)
            for name in table.models
        }
        self.places = [
            Place(name if name in OWN_MODELS else public_name(name), point)
            for name in table.models
            for point in resolved[name].points
        ]
        _check_places(table, self.places)
        self.width = sum(place.point.width for place in self.places)
        only = self.places[0].point if len(self.places) == 1 else None
        self.inputs: list[str] = []
        self.space, self.layer, self.module = (only.space, only.layer, only.module) if only else ("", -1, "")
        self.device = str(models.get(table.models[0]).device)
        groups: dict[int, list[str]] = {}
        for name in table.models:  # the run's own model is read with and without its adapter in one go
            groups.setdefault(id(models.get(name)), []).append(name)
        for names in groups.values():
            self._readers.append(_Reader(names, resolved[names[0]].points, table, models))
        self._columns = self._order(table, list(groups.values()), resolved[table.models[0]].points)
        notes = dict.fromkeys(note for name in table.models for note in resolved[name].notes)
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
            "layout": self._readers[0].layout,
            "notes": list(notes),
        }

    def _order(
        self, table: CollectionTable, groups: Sequence[Sequence[str]], points: Sequence[HookPoint]
    ) -> list[tuple[int, slice]]:
        """Of every model in the order of the run file: which reader gives it, and its columns there."""
        width = sum(point.width for point in points)
        where = {
            name: (reader, slice(index * width, (index + 1) * width))
            for reader, names in enumerate(groups)
            for index, name in enumerate(names)
        }
        return [where[name] for name in table.models]

    def blocks(self, chunk: slice, block_tokens: int) -> Iterator[Block]:
        """A chunk of the corpus, computed block by block; see ``Source``."""
        limit = max(1, min(block_tokens, self._most_tokens))
        for start, stop in block_bounds(self.corpus, chunk, limit):
            (block,) = self._read([slice(start, stop)])
            yield block

    def sample(self, docs: Sequence[int]) -> Iterator[Block]:
        """Some documents, several to a pass; see ``Source``."""
        group: list[slice] = []
        for doc in docs:
            span = self.corpus.tokens_of(doc)
            if group and sum(s.stop - s.start for s in [*group, span]) > self._most_tokens:
                yield from self._read(group)
                group = []
            if span.stop > span.start:
                group.append(span)
        if group:
            yield from self._read(group)

    @property
    def _most_tokens(self) -> int:
        return max(1, BLOCK_BYTES // (4 * self.width))

    def _read(self, spans: Sequence[slice]) -> list[Block]:
        """Runs of whole documents through every model."""
        pieces: list[Piece] = []
        tokens = np.concatenate([np.arange(span.start, span.stop) for span in spans])
        bounds = np.cumsum([0, *[span.stop - span.start for span in spans]]).tolist()
        for span, row in zip(spans, bounds):
            pieces += pieces_of(self.corpus, span, row)
        is_measured = self.corpus.is_measured[tokens]
        found: list[Float[np.ndarray, "token channel"]] = []
        for reader in self._readers:
            recorded = reader.engine.run(pieces, n_rows=len(tokens))
            exclude_outliers(
                recorded.norms, self.corpus.doc[tokens], is_measured, self._extract.exclude_outliers
            )
            found.append(recorded.values)
        values = found[0]
        if len(self._columns) > 1:
            values = np.concatenate([found[reader][:, columns] for reader, columns in self._columns], axis=1)
        return [
            Block(span.start, values[start:stop], is_measured[start:stop])
            for span, start, stop in zip(spans, bounds, bounds[1:])
        ]

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """In the block the models can be run by others."""
        with ExitStack() as stack:
            for reader in self._readers:
                stack.enter_context(reader.engine.at_rest())
            yield

    def close(self) -> None:
        """Removes hooks; the models stay loaded for the next collection."""
        for reader in self._readers:
            reader.close()


class _Reader:
    """One loaded model, read as it is or in both of its variants on the same inputs."""

    def __init__(
        self, names: Sequence[str], points: Sequence[HookPoint], table: CollectionTable, models: Models
    ) -> None:
        loaded = models.get(names[0])
        model, layers, config = loaded.model, layer_list(loaded.model), models.config
        inside = {id(module) for module in body_of(model).modules()}
        uses_head = not {id(model.get_submodule(point.path)) for point in points} <= inside
        limit = config.extract.exclude_outliers
        runs = model if uses_head else body_of(model)
        self._backend: Backend = BACKENDS[table.backend](runs, model, points, stops=limit is None)
        self._recorder, self._is_centred = Recorder(), table.is_centred
        self._variants = [models.variant(name) for name in names]
        self._columns = np.cumsum([0, *[p.width for _ in names for p in points]]).tolist()
        self._n_points = len(points)
        self.engine = Engine(
            model,
            sites=[],
            recorder=self._recorder,
            n_channels=self._columns[-1],
            device=loaded.device,
            batch_tokens=config.extract.batch_tokens,
            middle=None if limit is None else middle_layer(model, layers),
            uses_head=uses_head,
            progress=models.progress,
            forward=self._forward,
        )
        corpus = models.corpus
        longest = int((corpus.pieces[:, 2] - corpus.pieces[:, 0]).max(initial=1))
        self.layout = self.engine.prove_layout(
            probe_pieces(corpus), config.extract.packing, window=sliding_window(model.config), longest=longest
        )

    def _forward(self, **inputs: Any) -> None:
        for variant, context in enumerate(self._variants):
            with context():
                self._backend(partial(self._put, variant * self._n_points), **inputs)

    def _put(self, first: int, index: int, tensor: torch.Tensor) -> None:
        start, stop = self._columns[first + index], self._columns[first + index + 1]
        self._recorder.put(flat(tensor, self._is_centred), slice(start, stop))

    def close(self) -> None:
        """Leaves the model as it was."""
        self._backend.close()
        self.engine.close()


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
