"""What each numbered layer does to the residual stream: who writes to it, and what it holds in between.

Found by watching one short forward pass (``trace.py``), so that no family of models is known by name. Two writes a layer
are what transformers have: attention's first, then the MLP's.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from generator.measure.sites import Spaces, is_matrix
from generator.measure.trace import Call, Op, Stream, Trace, unalias


@dataclass(frozen=True)
class Write:
    """What one layer adds to the residual stream at one place."""

    tensor: int
    """What is added, behind a norm after the block if there is one (Gemma 2); named by ``id``, as in ``Trace``."""
    state: int
    """The stream after it."""


class Structure:
    """Where modules read and write in one recorded pass."""

    def __init__(self, model: nn.Module, trace: Trace, layers: str | None) -> None:
        """Looks at a pass that ran the model once, its adapter off.

        Args:
            model: The model.
            trace: Of the pass.
            layers: Path of the list of numbered layers (``model.layers``), None when there is none.
        """
        self.trace, self.layers = trace, layers
        numbered = list(model.get_submodule(layers).children()) if layers else []
        self.layer_calls = [call for layer in numbered for call in trace.calls_of(layer)]
        self.stream = Stream(trace, self.layer_calls)
        self._hubs = Spaces(trace, self.stream, layers).hubs

    def tensor(self, path: str, side: str) -> Tensor | None:
        """What a module read or returned; None when it did not run."""
        call = next((c for c in self.trace.calls if c.name == path), None)
        return None if call is None else call.read if side == "input" else call.wrote

    def space(self, tensor: Tensor) -> str:
        """``residual`` for its states and what is added to it as it is, ``L3.mlp`` for neurons, else empty."""
        for key in (id(tensor), unalias(self.trace, id(tensor))):
            if key in self.stream.states or self.stream.writes.get(key, tensor) is None:
                return "residual"
            if key in self._hubs:
                return self._hubs[key]
        return ""

    def writes(self, layer: int) -> list[Write]:
        """What a layer adds to the stream, in the order of computation; blocks side by side (GPT-NeoX) share a state."""
        call = self.layer_calls[layer]
        if call.wrote is None or call.read is None:
            return []
        found: list[Write] = []
        start, state = unalias(self.trace, id(call.read)), id(call.wrote)
        seen: set[int] = set()
        while unalias(self.trace, state) != start and state not in seen:
            seen.add(state)
            op = self._producer(state)
            if op is None:
                return []
            inside = [s for s in op.sources if s in self.stream.states]
            if op.kind == "add" and len(op.sources) == 2 and len(inside) == 1:
                outside = next(s for s in op.sources if s not in self.stream.states)
                found += [Write(tensor, state) for tensor in reversed(self._parallel(outside))]
            state = inside[0] if inside else op.sources[0]
        return found[::-1]

    def normed_from(self, layer: int) -> int | None:
        """The stream before the norm that ends a layer (BERT), None where a layer does not end with one."""
        call = self.layer_calls[layer]
        norm = self.trace.norms.get(unalias(self.trace, id(call.wrote)))
        return None if norm is None or norm.read is None else id(norm.read)

    def place_of(self, tensor: int, layer: int) -> tuple[str, str] | None:
        """The outermost module of a layer that returns a tensor, or else reads it: (path, ``output`` or ``input``)."""
        wanted = unalias(self.trace, tensor)
        inside = [c for c in self.trace.calls if c.name.startswith(f"{self.layers}.{layer}.")]
        for side in ("output", "input"):
            hits = [c.name for c in inside if self._is(c.wrote if side == "output" else c.read, wanted)]
            if hits:
                return min(hits, key=lambda path: path.count(".")), side
        return None

    def matrix_of(self, tensor: int, layer: int) -> str | None:
        """The matrix whose product a write is, norms and scales after it taken off: ``o_proj``, ``down_proj``."""
        seen: set[int] = set()
        while tensor not in seen:
            seen.add(tensor)
            for call in self.trace.calls:
                if is_matrix(call.module) and call.wrote is not None and id(call.wrote) == tensor:
                    return call.name
            op = self._producer(tensor)
            if op is None or op.kind not in ("norm", "alias", "scale"):
                return None
            tensor = op.sources[0]
        return None

    def _is(self, tensor: Any, wanted: int) -> bool:
        return isinstance(tensor, Tensor) and wanted in (id(tensor), unalias(self.trace, id(tensor)))

    def _producer(self, tensor: int) -> Op | None:
        made = self.trace.producers.get(tensor)
        return made[-1] if made else None

    def _parallel(self, tensor: int) -> list[int]:
        """The parts of a sum of two writes, in the order in which modules returned them; else the write itself."""
        op = self._producer(tensor)
        if op is None or op.kind != "add" or len(op.sources) != 2:
            return [tensor]

        def returned(part: int) -> int:
            calls: list[Call] = self.trace.calls
            return next(
                (i for i, c in enumerate(calls) if self._is(c.wrote, unalias(self.trace, part))), len(calls)
            )

        return sorted(op.sources, key=returned)
