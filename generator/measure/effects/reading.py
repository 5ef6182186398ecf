"""Reads what a dictionary over hook points reads, for a batch of text, and changes a place while the model runs on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from generator.config import CollectionTable
from generator.errors import FeaturebookError
from generator.measure.analyze.anatomy import Anatomy, study
from generator.measure.analyze.capture import run
from generator.measure.dictionaries import Dictionary
from generator.measure.hook_points import HookPoint, first_tensor, resolve, watched
from generator.measure.names import public_name
from generator.measure.streams import Place
from generator.measure.variants import OWN_MODELS, Models


class PlaceReader:
    """The places of one collection, model by model and then point by point, as collecting lays them side by side."""

    def __init__(self, table: CollectionTable, models: Models) -> None:
        """Resolves the hook points in every model.

        Args:
            table: A collection with hook points.
            models: Of the run.
        """
        self.table, self.models = table, models
        self.points: dict[str, list[HookPoint]] = {
            name: resolve(table.hook_points, models.get(name).model, models.get(name).device).points
            for name in table.models
        }
        self.owners = [name for name in table.models for _ in self.points[name]]
        """Of every place, the model as the run file names it."""
        self.places = [
            Place(name if name in OWN_MODELS else public_name(name), point)
            for name in table.models
            for point in self.points[name]
        ]

    @cached_property
    def anatomies(self) -> dict[str, Anatomy]:
        """Of every model; ``base`` and ``adapted`` are one model in two states."""
        studied: dict[int, Anatomy] = {}
        found = {}
        for name in self.table.models:
            model = self.models.get(name).model
            found[name] = studied.setdefault(id(model), study(model))
        return found

    @property
    def width(self) -> int:
        """Values per token at one place."""
        return self.places[0].point.width

    def find(self, name: str) -> int | None:
        """The place that a name stands for: ``model.layers.3:output``, ``blocks.3.hook_resid_post``, or with its model before it.

        Of two models that have it, the first. None when this collection reads no such place.

        Raises:
            FeaturebookError: the model has no such place, or the name stands for several.
        """
        model, _, point = name.rpartition(" ")
        first = self.models.get(self.table.models[0])
        ids = [found.id for found in resolve([point], first.model, first.device).points]
        if len(ids) > 1:
            raise FeaturebookError(
                f"{name!r} stands for {len(ids)} places, the first of them {ids[0]!r}. Name one of them."
            )
        hits = (
            i for i, place in enumerate(self.places) if place.point.id in ids and model in ("", place.model)
        )
        return next(hits, None)

    @torch.no_grad()
    def read(
        self, inputs: dict[str, Tensor], beside: Sequence[HookPoint] = ()
    ) -> tuple[Float[Tensor, "doc token d_in"], Float[Tensor, "doc token channel"] | None]:
        """A batch through every model.

        Args:
            inputs: Of the model's forward.
            beside: Further points of the last model, which the second result holds side by side (None without any).
        """
        shape = inputs["input_ids"].shape
        found: list[Tensor] = []
        others: list[Tensor] = []
        for name in self.table.models:
            is_last = name == self.table.models[-1]
            points = [*self.points[name], *(beside if is_last else ())]
            values = self._pass(name, points, inputs)
            n = len(self.points[name])
            found += [self._centred(value).reshape(*shape, -1) for value in values[:n]]
            others += [value.float().reshape(*shape, -1) for value in values[n:]]
        device = found[0].device
        joined = torch.cat([value.to(device) for value in found], -1)
        return joined, torch.cat([o.to(device) for o in others], -1) if others else None

    def _pass(self, name: str, points: Sequence[HookPoint], inputs: dict[str, Tensor]) -> list[Tensor]:
        anatomy = self.anatomies[name]
        inside = {id(module) for module in anatomy.body.modules()}
        model = self.models.get(name).model
        with_head = any(id(model.get_submodule(point.path)) not in inside for point in points)
        seen: dict[int, Tensor] = {}
        with (
            self.models.variant(name)(),
            watched(model, points, lambda i, t: seen.__setitem__(i, t.detach().clone())),
        ):
            run(anatomy, inputs, with_head=with_head)
        return [seen[index] for index in range(len(points))]

    def _centred(self, value: Tensor) -> Tensor:
        value = value.float()
        return value - value.mean(-1, keepdim=True) if self.table.is_centred else value

    @contextmanager
    def changed(self, index: int, change: Float[Tensor, "doc token d_out"]) -> Iterator[Anatomy]:
        """In the block, the model of a place runs with ``change`` added there; yields its anatomy.

        Args:
            index: The place.
            change: Added to every token's vector.
        """
        name = self.owners[index]
        model = self.models.get(name).model
        with self.models.variant(name)(), adding(model, self.places[index].point, change):
            yield self.anatomies[name]

    @contextmanager
    def unchanged(self, index: int) -> Iterator[Anatomy]:
        """In the block, the model of a place is in the state that the place means."""
        name = self.owners[index]
        with self.models.variant(name)():
            yield self.anatomies[name]


@contextmanager
def adding(model: nn.Module, point: HookPoint, change: Tensor) -> Iterator[None]:
    """Adds to the tensor at a hook point during any forward pass in the block."""
    module = model.get_submodule(point.path)
    if point.side == "input":
        handle: Any = module.register_forward_pre_hook(
            lambda _, args, kwargs: replaced((args, kwargs), change), with_kwargs=True
        )
    else:
        handle = module.register_forward_hook(lambda _, args, output: replaced(output, change))
    try:
        yield
    finally:
        handle.remove()


def replaced(value: Any, change: Tensor) -> Any:
    """The same arguments or result, with the change added to the first tensor in it."""
    target = first_tensor(value)
    if target is None:
        return value
    moved = (target.float() + change.to(target.device).reshape(target.shape)).to(target.dtype)
    return _swapped(value, target, moved)


def _swapped(value: Any, target: Tensor, moved: Tensor) -> Any:
    if value is target:
        return moved
    if isinstance(value, dict):
        items = {key: _swapped(item, target, moved) for key, item in value.items()}
        return type(value)(**items) if hasattr(value, "to_tuple") else items
    if isinstance(value, tuple | list):
        return type(value)(_swapped(item, target, moved) for item in value)
    return value


def units_of(dictionary: Dictionary, x: Float[Tensor, "token d_in"]) -> Float[Tensor, " token"]:
    """What a token's latents times decoder rows are multiplied by, where the dictionary normalises each token."""
    if dictionary.normalization == "layer_norm":
        return x.float().std(-1)
    if dictionary.normalization == "constant_norm":
        return x.float().norm(dim=-1) / dictionary.d_in**0.5
    return torch.ones(len(x), device=x.device)
