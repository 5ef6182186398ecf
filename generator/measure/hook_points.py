"""Hook points: places in a model whose activations a dictionary reads (docs/hook-points.md).

Named by module globs (``model.layers.*:output``) or as TransformerLens names them (``blocks.6.hook_resid_post``), which
are resolved by what the modules do in one short pass, not by what they are called.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from generator.errors import FeaturebookError, nearest
from generator.measure.model import layer_list
from generator.measure.sites import find_places
from generator.measure.structure import Structure
from generator.measure.trace import record, unalias

PROBE = (2, 7)
"""Documents and tokens of the pass that is watched: their product is no width of a model."""

ALIASES = (
    "hook_resid_pre",
    "hook_resid_mid",
    "hook_resid_post",
    "hook_normalized_resid_post",
    "hook_attn_out",
    "hook_mlp_out",
    "attn.hook_z",
    "mlp.hook_post",
)
"""The names of TransformerLens that are known, behind ``blocks.{layer}.``."""

_ALIAS = re.compile(r"blocks\.([^.]+)\.(.+)")


@dataclass(frozen=True)
class HookPoint:
    """One place of one model."""

    path: str
    """Dotted path of a module in the base model."""
    side: str
    """``input`` (the first tensor that the module gets) or ``output`` (the first that it returns)."""
    layer: int
    """The numbered layer; −1 outside of them."""
    module: str
    """What channels carry as their module: ``resid_post``, ``mlp_out``, …, else the module's short name (``.in`` for an input)."""
    width: int
    """Components of a token's vector."""
    space: str
    """Space of the vectors, for cosines: ``residual``, ``L3.mlp``, or a name of its own."""

    @property
    def id(self) -> str:
        """``model.layers.6:output``."""
        return f"{self.path}:{self.side}"


@dataclass(frozen=True)
class Resolved:
    """The hook points that some names stand for."""

    points: list[HookPoint]
    """In the order in which a forward pass comes by."""
    notes: list[str]
    """Where values may differ from what the names mean elsewhere."""


def resolve(names: Sequence[str], model: nn.Module, device: torch.device) -> Resolved:
    """Finds the places that names stand for, by running two documents of seven tokens.

    Args:
        names: Globs over module paths with ``:input`` or ``:output`` (``output`` when absent), ``*`` for one part of a path
            and ``**`` for any number; or names of TransformerLens, with a glob for the layer.
        model: transformers' model, with or without PEFT's layers.
        device: Where token ids go.

    Raises:
        FeaturebookError: a name that stands for nothing (the nearest are listed); a place that a pass does not come by, or
            several times, or that has no vector per token.
    """
    finder = _Finder(model, device)
    found: dict[tuple[str, str], str] = {}
    for name in names:
        for path, side, label in finder.find(name):
            found.setdefault((path, side), label)
    points = [finder.point(path, side, label) for (path, side), label in found.items()]
    order = _order(model, points, finder.run)
    notes = finder.notes(names)
    return Resolved(sorted(points, key=lambda point: order[point.path, point.side]), notes)


@contextmanager
def watched(
    model: nn.Module, points: Sequence[HookPoint], receive: Callable[[int, Tensor], None]
) -> Iterator[None]:
    """Hands every point's tensor to ``receive`` (with the point's index) during any forward pass in the block."""
    handles = []
    for index, point in enumerate(points):
        module = model.get_submodule(point.path)
        if point.side == "input":
            handles.append(module.register_forward_pre_hook(_before(index, receive), with_kwargs=True))
        else:
            handles.append(module.register_forward_hook(_after(index, receive)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def first_tensor(value: Any) -> Tensor | None:
    """The first tensor in arguments or a result: a hidden state stands first in transformers' tuples."""
    if isinstance(value, Tensor):
        return value
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return next((t for t in map(first_tensor, parts) if t is not None), None)


def _before(index: int, receive: Callable[[int, Tensor], None]) -> Any:
    def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
        tensor = first_tensor((args, kwargs))
        if tensor is not None:
            receive(index, tensor)

    return hook


def _after(index: int, receive: Callable[[int, Tensor], None]) -> Any:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        tensor = first_tensor(output)
        if tensor is not None:
            receive(index, tensor)

    return hook


def _order(
    model: nn.Module, points: Sequence[HookPoint], run: Callable[[], Any]
) -> dict[tuple[str, str], int]:
    """When a pass comes by each place."""
    seen: list[int] = []
    with watched(model, points, lambda index, _: seen.append(index)):
        run()
    for index, point in enumerate(points):
        if seen.count(index) != 1:
            raise FeaturebookError(
                f"Hook point {point.id!r} is passed {seen.count(index)} times in one forward pass, so a token has no one vector "
                "there. Choose another place."
            )
    return {(points[index].path, points[index].side): place for place, index in enumerate(seen)}


class _Finder:
    """Names to places in one model."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        from peft.tuners.tuners_utils import BaseTunerLayer

        self.model, self.layers = model, layer_list(model)
        adapted = tuple(f"{n}." for n, m in model.named_modules() if isinstance(m, BaseTunerLayer))
        self.paths = [n for n, _ in model.named_modules() if n and not n.startswith(adapted)]
        ids = torch.arange(3, 3 + PROBE[0] * PROBE[1], device=device).view(PROBE)
        vocabulary = int(model.config.get_text_config().vocab_size)  # type: ignore[operator, union-attr]
        takes = inspect.signature(model.forward).parameters
        options = {"use_cache": False} if "use_cache" in takes else {}
        self.run = lambda: _quietly(model, input_ids=ids % vocabulary, **options)
        with _adapter_off(model):
            trace = record(model, self.run, ids.numel(), skip=lambda name: name.startswith(adapted))
        self.structure = Structure(model, trace, self.layers)
        self.n_layers = len(self.structure.layer_calls)

    def find(self, name: str) -> list[tuple[str, str, str]]:
        """(path, side, label) of everything that a name stands for."""
        alias = _ALIAS.fullmatch(name)
        if alias and "hook_" in alias[2]:
            return self._find_alias(name, alias[1], alias[2])
        pattern, _, side = name.partition(":")
        if not side and pattern.endswith((".input", ".output")):  # as Gemma Scope 2 writes them
            pattern, side = pattern.rsplit(".", 1)
        side = side or "output"
        if side not in ("input", "output"):
            raise FeaturebookError(f"Hook point {name!r} ends in {side!r}; it must be :input or :output.")
        hits = [path for path in self.paths if _matches(path, pattern)]
        if not hits:
            raise FeaturebookError(
                f"There is no module {pattern!r} in {type(self.model).__name__}, which hook point {name!r} names. "
                f"{nearest(pattern, self._known(pattern))}"
            )
        return [(path, side, "") for path in hits]

    def _known(self, pattern: str) -> list[str]:
        """Names to suggest from: whole paths, with the asked layer's number where it is one, else with a star."""
        if not self.layers:
            return self.paths
        number = next((part for part in pattern.split(".") if part.isdigit()), "0")
        inside = [
            p
            for p in self.paths
            if p == f"{self.layers}.{number}" or p.startswith(f"{self.layers}.{number}.")
        ]
        stars = [
            p.replace(f"{self.layers}.0", f"{self.layers}.*", 1)
            for p in self.paths
            if p.startswith(f"{self.layers}.0")
        ]
        return (inside or stars) if "*" not in pattern else stars

    def _find_alias(self, name: str, layer: str, rest: str) -> list[tuple[str, str, str]]:
        if rest not in ALIASES:
            raise FeaturebookError(
                f"Hook point {name!r} is no place that is known here. {nearest(rest, ALIASES)} Or name a module, for "
                "instance 'model.layers.6.mlp:output'."
            )
        numbers = [n for n in range(self.n_layers) if fnmatchcase(str(n), layer)]
        if not numbers:
            raise FeaturebookError(
                f"Hook point {name!r} names layer {layer}; {type(self.model).__name__} has the layers 0 to {self.n_layers - 1}."
            )
        found = []
        for number in numbers:
            place = self._place(number, rest)
            if place is None:
                raise FeaturebookError(
                    f"{type(self.model).__name__} has no {rest} in layer {number}: no module reads or returns it. Name a module, "
                    f"for instance '{self.layers}.{number}.mlp:output'."
                )
            found.append((*place, rest.rsplit("hook_", 1)[-1]))
        return found

    def _place(self, layer: int, alias: str) -> tuple[str, str] | None:
        path = f"{self.layers}.{layer}"
        if alias == "hook_resid_pre":
            return path, "input"
        normed_from = self.structure.normed_from(layer)
        if alias == "hook_normalized_resid_post":
            return None if normed_from is None else (path, "output")
        if alias == "hook_resid_post":
            return (path, "output") if normed_from is None else self.structure.place_of(normed_from, layer)
        writes = self.structure.writes(layer)
        if len(writes) != 2:
            return None
        if alias == "hook_resid_mid":
            return (
                None
                if writes[0].state == writes[1].state
                else self.structure.place_of(writes[0].state, layer)
            )
        write = writes[0] if alias in ("hook_attn_out", "attn.hook_z") else writes[1]
        if alias in ("hook_attn_out", "hook_mlp_out"):
            return self.structure.place_of(write.tensor, layer)
        matrix = self.structure.matrix_of(write.tensor, layer)
        return None if matrix is None else (matrix, "input")

    def point(self, path: str, side: str, label: str) -> HookPoint:
        """One place, checked."""
        tensor = self.structure.tensor(path, side)
        if (
            tensor is None
            or not self.structure.trace.is_token_shaped(tensor)
            or not tensor.is_floating_point()
        ):
            what = (
                "does not run when the model reads text"
                if tensor is None
                else f"has the shape {tuple(tensor.shape)}"
            )
            raise FeaturebookError(
                f"Hook point {f'{path}:{side}'!r} has no vector for each token: it {what}, for {PROBE[0]} documents of {PROBE[1]} "
                "tokens. Choose another place."
            )
        place = find_places([path], self.paths, self.layers)[0]
        layer, short = place.layer, place.module
        if self.layers and path.startswith(f"{self.layers}.") and path[len(self.layers) + 1 :].isdigit():
            layer, short = (
                int(path[len(self.layers) + 1 :]),
                "resid_post" if side == "output" else "resid_pre",
            )
        elif not label:
            label = self._label(layer, path, side) or (f"{short}.in" if side == "input" else short)
        point = HookPoint(path, side, layer, label or short, tensor.shape[-1], self.structure.space(tensor))
        return (
            point
            if point.space
            else replace(point, space=f"{place.dotted}.{'in' if side == 'input' else 'out'}")
        )

    def _label(self, layer: int, path: str, side: str) -> str:
        """The TransformerLens name of a place that was named by its module, if it has one."""
        if layer < 0:
            return ""
        return next((a.rsplit("hook_", 1)[-1] for a in ALIASES if self._place(layer, a) == (path, side)), "")

    def notes(self, names: Sequence[str]) -> list[str]:
        """Where a dictionary trained on TransformerLens' activations may meet other values here."""
        notes = self._block_norms(names)
        if not any(_ALIAS.fullmatch(name) for name in names):
            return notes
        notes.append(
            "Hook points are named as in TransformerLens and read from the Hugging Face model. TransformerLens prepends a BOS "
            "token; here a document begins as the run's tokenizer begins it."
        )
        if self._norms_centre():
            notes.append(
                "By default TransformerLens centres the weights that write to the residual stream of this model, which takes the "
                "mean over components from each token's vector; a dictionary trained so wants is_centred = true."
            )
        return notes

    def _block_norms(self, names: Sequence[str]) -> list[str]:
        """Where a block's output passes a norm before it is added to the stream (Gemma 2): on which side the places stand."""
        trace = self.structure.trace
        sides: dict[int, str] = {}
        for write in (write for layer in range(self.n_layers) for write in self.structure.writes(layer)):
            norm = trace.norms.get(unalias(trace, write.tensor))
            if norm is not None and norm.read is not None:
                sides |= {unalias(trace, write.tensor): "behind", unalias(trace, id(norm.read)): "before"}
        found: dict[str, str] = {}
        for path, side, _ in (place for name in names for place in self.find(name)):
            tensor = self.structure.tensor(path, side)
            where = "" if tensor is None else sides.get(unalias(trace, id(tensor)), "")
            found.setdefault(where, f"{path}:{side}")
        said = {
            "behind": "is read behind the norm that follows the block, as hook_attn_out and hook_mlp_out are in TransformerLens: what "
            "is added to the stream. The block's own output, before the norm, has other values.",
            "before": "is read before the norm that follows the block. TransformerLens' hook_attn_out and hook_mlp_out stand behind it "
            "and have other values.",
        }
        return [f"{found[where]} {words}" for where, words in said.items() if where in found]

    def _norms_centre(self) -> bool:
        """Whether the norms that read the stream take the mean away (LayerNorm), so that TransformerLens may centre writes."""
        call = next(iter(self.structure.trace.norms.values()), None)
        if call is None or call.read is None:
            return False
        x = torch.randn(1, 1, call.read.shape[-1], generator=torch.Generator().manual_seed(0)).to(call.read)
        with torch.no_grad():
            return bool(torch.allclose(call.module(x), call.module(x + 1), atol=1e-2, rtol=1e-2))


def _matches(path: str, pattern: str) -> bool:
    """Whether a glob matches a whole path or its end, part by part."""
    parts, wanted = path.split("."), pattern.split(".")
    return any(_match_parts(parts[start:], wanted) for start in range(len(parts)))


def _match_parts(parts: list[str], wanted: list[str]) -> bool:
    if not wanted:
        return not parts
    if wanted[0] == "**":
        return any(_match_parts(parts[n:], wanted[1:]) for n in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], wanted[0]) and _match_parts(parts[1:], wanted[1:])


def _quietly(model: nn.Module, **inputs: Any) -> Any:
    with torch.no_grad():
        return model(**inputs)


@contextmanager
def _adapter_off(model: nn.Module) -> Iterator[None]:
    from generator.measure.analyze.anatomy import adapter_off, has_adapter

    if not has_adapter(model):
        yield
        return
    with adapter_off(model):
        yield
