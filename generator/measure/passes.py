"""Passes over models that hand out what their hook points hold, for one collection or for several at once.

The model's own activations never go to disk: they are made block by block, in the batches and layout of extraction.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from generator.blocks import Block, Corpus, block_bounds
from generator.config import CollectionTable
from generator.measure.backends import BACKENDS, Backend, flat
from generator.measure.batches import Piece, pieces_of
from generator.measure.engine import Engine, body_of, sliding_window
from generator.measure.extract import exclude_outliers, middle_layer, probe_pieces
from generator.measure.hook_points import HookPoint, resolve
from generator.measure.lora import Recorder
from generator.measure.model import layer_list
from generator.measure.variants import Models

BLOCK_BYTES = 2**28
"""Largest block of a model's activations, but for a single long document."""

Key = tuple[str, str]
"""A model as the run file names it, and the id of one of its hook points."""


class ModelPass:
    """One pass over each model, or over each of its variants, that reads every hook point once."""

    def __init__(
        self, wanted: Mapping[str, Sequence[str]], models: Models, *, backend: str, is_centred: bool
    ) -> None:
        """Resolves the hook points in every model; a batch layout is proved when it is first needed.

        Args:
            wanted: Model, as the run file names it -> names of hook points.
            models: Of the run.
            backend: A name in ``BACKENDS``.
            is_centred: Whether each vector's mean is taken away.

        Raises:
            FeaturebookError: unknown hook points, models that do not fit together.
        """
        self._corpus, self._limit = models.corpus, models.config.extract.exclude_outliers
        found = {
            name: resolve(names, models.get(name).model, models.get(name).device)
            for name, names in wanted.items()
        }
        self.points: dict[str, list[HookPoint]] = {name: one.points for name, one in found.items()}
        self.notes = list(dict.fromkeys(note for one in found.values() for note in one.notes))
        self._models, self._backend, self._is_centred = models, BACKENDS[backend], is_centred

    @cached_property
    def _readers(self) -> list["_Reader"]:
        groups: dict[int, list[str]] = {}
        for name in self.points:  # the run's own model is read with and without its adapter in one go
            groups.setdefault(id(self._models.get(name)), []).append(name)
        return [
            _Reader(
                {name: self.points[name] for name in names}, self._models, self._backend, self._is_centred
            )
            for names in groups.values()
        ]

    @cached_property
    def _where(self) -> dict[Key, tuple[int, slice]]:
        """Of every place, which reader gives it, and its columns there."""
        return {
            key: (place, columns)
            for place, reader in enumerate(self._readers)
            for key, columns in reader.columns.items()
        }

    @property
    def layout(self) -> str:
        """The batch layout that was proved, and why."""
        return self._readers[0].layout

    @property
    def width(self) -> int:
        """Values per token, of all places."""
        return sum(point.width for points in self.points.values() for point in points)

    @property
    def _most_tokens(self) -> int:
        return max(1, BLOCK_BYTES // (4 * self.width))

    def blocks(
        self, chunk: slice, block_tokens: int, orders: Sequence[Sequence[Key]]
    ) -> Iterator[list[Block]]:
        """A chunk of the corpus, block by block; of each a copy for every order of places.

        Args:
            chunk: Bounds of documents.
            block_tokens: Tokens of a block, at most, but for a single long document.
            orders: What stands side by side in each copy.
        """
        for start, stop in block_bounds(self._corpus, chunk, max(1, min(block_tokens, self._most_tokens))):
            yield from self._read([slice(start, stop)], orders)

    def sample(self, docs: Sequence[int], orders: Sequence[Sequence[Key]]) -> Iterator[list[Block]]:
        """Some documents, several to a pass; each is a block."""
        group: list[slice] = []
        for doc in docs:
            span = self._corpus.tokens_of(doc)
            if group and sum(s.stop - s.start for s in [*group, span]) > self._most_tokens:
                yield from self._read(group, orders)
                group = []
            if span.stop > span.start:
                group.append(span)
        if group:
            yield from self._read(group, orders)

    def _read(self, spans: Sequence[slice], orders: Sequence[Sequence[Key]]) -> Iterator[list[Block]]:
        """Runs of whole documents through every model."""
        pieces: list[Piece] = []
        tokens = np.concatenate([np.arange(span.start, span.stop) for span in spans])
        bounds = np.cumsum([0, *[span.stop - span.start for span in spans]]).tolist()
        for span, row in zip(spans, bounds):
            pieces += pieces_of(self._corpus, span, row)
        is_measured = self._corpus.is_measured[tokens]
        found: list[Float[np.ndarray, "token channel"]] = []
        for reader in self._readers:
            recorded = reader.engine.run(pieces, n_rows=len(tokens))
            exclude_outliers(recorded.norms, self._corpus.doc[tokens], is_measured, self._limit)
            found.append(recorded.values)
        copies = [self._side_by_side(found, order) for order in orders]
        for span, start, stop in zip(spans, bounds, bounds[1:]):
            yield [Block(span.start, values[start:stop], is_measured[start:stop]) for values in copies]

    def _side_by_side(
        self, found: Sequence[np.ndarray], order: Sequence[Key]
    ) -> Float[np.ndarray, "token channel"]:
        if len(found) == 1 and list(order) == list(self._where):
            return found[0]
        parts = [(found[place], columns) for place, columns in (self._where[key] for key in order)]
        return np.concatenate([values[:, columns] for values, columns in parts], axis=1)

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """In the block the models can be run by others."""
        with ExitStack() as stack:
            for reader in self._readers:
                stack.enter_context(reader.engine.at_rest())
            yield

    def close(self) -> None:
        """Removes hooks; the models stay loaded."""
        for reader in self.__dict__.pop("_readers", []):
            reader.close()


def pass_of(tables: Sequence[CollectionTable], models: Models) -> ModelPass:
    """The pass that reads every place of some collections, which ``can_share`` it.

    Args:
        tables: One or more collections.
        models: Of the run.

    Raises:
        FeaturebookError: unknown hook points, models that do not fit together.
    """
    wanted: dict[str, list[str]] = {}
    for table in tables:
        for name in table.models:
            wanted.setdefault(name, []).extend(table.hook_points)
    return ModelPass(wanted, models, backend=tables[0].backend, is_centred=tables[0].is_centred)


def can_share(one: CollectionTable, other: CollectionTable, models: Models) -> bool:
    """Whether two collections read their models alike; outliers are left out by the norms of a collection's own models."""
    is_alike = (one.backend, one.is_centred) == (other.backend, other.is_centred)
    return (
        bool(one.hook_points and other.hook_points)
        and is_alike
        and models.config.extract.exclude_outliers is None
    )


class _Reader:
    """One loaded model, read as it is or in both of its variants on the same inputs."""

    def __init__(
        self, points: Mapping[str, Sequence[HookPoint]], models: Models, backend: type[Any], is_centred: bool
    ) -> None:
        loaded = models.get(next(iter(points)))
        model, layers, config = loaded.model, layer_list(loaded.model), models.config
        inside = {id(module) for module in body_of(model).modules()}
        paths = {point.path for own in points.values() for point in own}
        uses_head = not {id(model.get_submodule(path)) for path in paths} <= inside
        limit = config.extract.exclude_outliers
        runs = model if uses_head else body_of(model)
        self._recorder, self._is_centred = Recorder(), is_centred
        self._passes: list[tuple[Any, Backend, list[slice]]] = []
        self.columns: dict[Key, slice] = {}
        """Of every place, its columns in what the engine gives."""
        width = 0
        for name, own in points.items():
            edges = np.cumsum([width, *[point.width for point in own]]).tolist()
            columns = [slice(start, stop) for start, stop in zip(edges, edges[1:])]
            self.columns |= {(name, point.id): at for point, at in zip(own, columns)}
            variant = models.variant(name), backend(runs, model, own, stops=limit is None), columns
            self._passes.append(variant)
            width = edges[-1]
        self.engine = Engine(
            model,
            sites=[],
            recorder=self._recorder,
            n_channels=width,
            device=loaded.device,
            batch_tokens=config.extract.batch_tokens,
            middle=None if limit is None else middle_layer(model, layers),
            uses_head=uses_head,
            progress=models.progress,
            forward=self._forward,
        )
        corpus: Corpus = models.corpus
        longest = int((corpus.pieces[:, 2] - corpus.pieces[:, 0]).max(initial=1))
        self.layout = self.engine.prove_layout(
            probe_pieces(corpus), config.extract.packing, window=sliding_window(model.config), longest=longest
        )

    def _forward(self, **inputs: Any) -> None:
        for variant, backend, columns in self._passes:
            with variant():
                backend(partial(self._put, columns), **inputs)

    def _put(self, columns: Sequence[slice], index: int, tensor: torch.Tensor) -> None:
        self._recorder.put(flat(tensor, self._is_centred), columns[index])

    def close(self) -> None:
        """Leaves the model as it was."""
        for _, backend, _ in self._passes:
            backend.close()
        self.engine.close()
