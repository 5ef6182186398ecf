"""One tiny forward pass, recorded: which modules read one tensor, what is added to the residual stream, what a norm
does. No module is known by its name.

The pass is recorded below autograd (``TorchDispatchMode``), where every architecture is made of the same operations.
Only tensors with one row per token are kept; their identity is what the questions are asked about.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

_ALIASES = {
    "view",
    "_unsafe_view",
    "clone",
    "_to_copy",
    "detach",
    "alias",
    "expand",
    "unsqueeze",
    "squeeze",
    "transpose",
    "permute",
}
_ADDS = {"add", "add_", "sub", "sub_"}
_SCALES = {"mul", "mul_", "div", "div_"}


@dataclass
class Call:
    """One call of a module."""

    name: str
    module: nn.Module
    read: Tensor | None
    """The first tensor that it got."""
    wrote: Tensor | None
    """The first tensor that it returned."""
    n_ops: int
    """Operations recorded when it returned."""


@dataclass
class Op:
    """One operation on token-shaped tensors that keeps their last axis."""

    kind: str
    """``alias``, ``add``, ``scale`` (by a number or a vector over the last axis), ``pointwise`` or ``norm``."""
    out: int
    sources: tuple[int, ...]
    vector: Tensor | None = None


@dataclass
class Trace:
    """What one forward pass did. Tensors are named by ``id``; all of them are kept alive, so ids are unique."""

    n_tokens: int
    calls: list[Call] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    kept: dict[int, Tensor] = field(default_factory=dict)
    norms: dict[int, Call] = field(default_factory=dict)
    """Output of a norm -> its call."""

    @cached_property
    def origins(self) -> dict[int, int]:
        """View or cast -> what it was made of."""
        return {op.out: op.sources[0] for op in self.ops if op.kind == "alias"}

    @cached_property
    def producers(self) -> dict[int, list[Op]]:
        """Tensor -> the operations that made it (several when some worked in place)."""
        made: dict[int, list[Op]] = {}
        for op in self.ops:
            made.setdefault(op.out, []).append(op)
        return made

    def is_token_shaped(self, tensor: Any) -> bool:
        """Whether a tensor has one row per token of the pass."""
        return isinstance(tensor, Tensor) and tensor.dim() >= 2 and tensor.shape[:-1].numel() == self.n_tokens

    def calls_of(self, module: nn.Module) -> list[Call]:
        """All calls of one module."""
        return [call for call in self.calls if call.module is module]


def record(model: nn.Module, run: Callable[[], Any], n_tokens: int, *, skip: Callable[[str], bool]) -> Trace:
    """Runs ``run`` once and records it.

    Args:
        model: Whose modules' calls are recorded.
        run: The forward pass.
        n_tokens: How many tokens it reads.
        skip: Names of modules that are of no interest (the inside of PEFT's layers).
    """
    trace = Trace(n_tokens)
    with ExitStack() as stack, torch.no_grad():
        for name, module in model.named_modules():
            if not skip(name):
                stack.enter_context(_hooked(trace, name, module))
        stack.enter_context(_Recorder(trace))
        run()
    _find_norms(trace)
    return trace


@contextmanager
def _hooked(trace: Trace, name: str, module: nn.Module) -> Iterator[None]:
    def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        read, wrote = _first_tensor((args, kwargs)), _first_tensor(output)
        for tensor in (read, wrote):
            if tensor is not None and trace.is_token_shaped(tensor):
                trace.kept[id(tensor)] = tensor
        trace.calls.append(Call(name, module, read, wrote, len(trace.ops)))

    handle = module.register_forward_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _first_tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return next((t for t in map(_first_tensor, parts) if t is not None), None)


class _Recorder(TorchDispatchMode):
    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self.trace = trace

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if self.trace.is_token_shaped(out):
            self._note(func, args, out)
        return out

    def _note(self, func: Any, args: Any, out: Tensor) -> None:
        name = func.overloadpacket.__name__
        tensors = [a for a in args if isinstance(a, Tensor)]
        sources = [
            t for t in tensors if id(t) in self.trace.kept and t.shape[-1] == out.shape[-1] and t.dim() > 1
        ]
        self.trace.kept[id(out)] = out
        if not sources or not out.is_floating_point():
            return
        others = [t for t in tensors if not any(t is s for s in sources)]
        kind, vector = "", None
        if name in _ALIASES and sources[0].numel() == out.numel():
            kind = "alias"
        elif name in _ADDS:
            kind = "add"
        elif name in _SCALES and len(sources) == 1 and all(_is_vector(t, out) for t in others):
            kind, vector = "scale", next((t for t in others if t.numel() > 1), None)
        elif torch.Tag.pointwise in func.tags:
            kind = "pointwise"
        if kind:
            self.trace.ops.append(Op(kind, id(out), tuple(map(id, sources)), vector))


def _is_vector(tensor: Tensor, out: Tensor) -> bool:
    """Whether a factor is the same at every token: a number, or one number per component."""
    return tensor.numel() == 1 or tensor.numel() == tensor.shape[-1] == out.shape[-1]


def _find_norms(trace: Trace) -> None:
    """Finds the calls of norms and inserts them among the operations, after what they are made of."""
    tested: dict[int, bool] = {}
    inserts = []
    for call in trace.calls:
        if call.read is None or call.wrote is None or call.read is call.wrote or any(call.module.children()):
            continue
        if id(call.wrote) not in trace.kept or call.read.shape != call.wrote.shape:
            continue
        key = id(call.module)
        if key not in tested:
            tested[key] = is_norm(call.module, call.read)
        if tested[key]:
            trace.norms[id(call.wrote)] = call
            inserts.append((call.n_ops, Op("norm", id(call.wrote), (id(call.read),))))
    for position, op in reversed(inserts):
        trace.ops.insert(position, op)


def is_norm(module: nn.Module, example: Tensor) -> bool:
    """Whether a module normalises: tripling the input changes nothing, negating its weightless part negates it."""
    if not example.is_floating_point():
        return False
    x = torch.randn(1, 1, example.shape[-1], generator=torch.Generator().manual_seed(0))
    x = (x * 10).to(example)
    with torch.no_grad():
        try:
            one, three, zero = module(x), module(3 * x), module(0 * x)
        except (RuntimeError, TypeError, ValueError, IndexError):
            return False
    if not isinstance(one, Tensor) or one.shape != x.shape:
        return False
    spread = (one - zero).float().norm()
    return bool(spread > 0 and (three - one).float().norm() < 0.02 * spread)


def norm_gain(module: nn.Module, example: Tensor) -> Float[Tensor, " d_in"]:
    """What a norm multiplies a normalised vector by, measured: (N(v) − N(−v)) / 2v for v = ±1 alternating.

    ``v`` has mean 0 and root mean square 1, so this is the weight of an RMSNorm, 1 + the weight of Gemma's, and the
    weight of a LayerNorm without its bias.

    Returns:
        float32, on the CPU.
    """
    v = torch.ones(1, 1, example.shape[-1])
    v[..., 1::2] = -1
    probe = v.to(example)
    with torch.no_grad():
        gain = (module(probe) - module(-probe)).float() / (2 * probe.float())
    return gain.flatten().cpu()


class Stream:
    """The residual stream of a recorded pass: its states, and what is written to it."""

    def __init__(self, trace: Trace, layer_calls: list[Call]) -> None:
        """Starts from the inputs and outputs of the numbered layers, which are states of it by definition."""
        self.trace = trace
        self.states: set[int] = set()
        self.writes: dict[int, Tensor | None] = {}
        """Tensor -> gain with which it reaches the stream (a norm or a layer scale in between), None for 1."""
        self.width = 0
        if not layer_calls or layer_calls[0].read is None:
            return
        self.width = layer_calls[0].read.shape[-1]
        for call in layer_calls:
            for tensor in (call.read, call.wrote):
                if tensor is not None and id(tensor) in trace.kept and tensor.shape[-1] == self.width:
                    self.states.add(id(tensor))
        self._added_to = self._operands_of_adds()
        self._forward()
        self.writes[id(layer_calls[0].read)] = None
        self._backward()

    def _operands_of_adds(self) -> set[int]:
        """Tensors that are added to something of full size."""
        return {
            source
            for op in self.trace.ops
            if op.kind == "add" and len(op.sources) > 1
            for source in op.sources
        }

    def _forward(self) -> None:
        for op in self.trace.ops:
            inside = [s for s in op.sources if s in self.states]
            if not inside:
                continue
            if op.kind == "alias":
                self.states.add(op.out)
            elif op.kind == "add" and len(op.sources) > 1:
                self.states.add(op.out)
                self.writes.update({s: None for s in op.sources if s not in self.states})
            elif op.kind == "norm" and op.out in self._added_to:
                self.states.add(op.out)  # post-norm architectures carry on with the normed state

    def _backward(self) -> None:
        """From what is added to the stream back to the modules that wrote it."""
        for op in reversed(self.trace.ops):
            if op.out not in self.writes:
                continue
            gain = self.writes[op.out]
            if op.kind == "norm":
                call = self.trace.norms[op.out]
                assert call.read is not None
                gain = _times(gain, norm_gain(call.module, call.read))
            elif op.kind == "scale":
                gain = _times(gain, None if op.vector is None else op.vector.detach().float().flatten().cpu())
            elif op.kind not in ("alias", "add"):
                continue
            for source in op.sources:
                if source not in self.states and source not in self.writes:
                    self.writes[source] = gain

    def reads(self, tensor: Tensor) -> tuple[bool, Float[Tensor, " d_in"] | None]:
        """Whether a tensor is the stream (possibly behind a norm), and the gain of that norm."""
        key = unalias(self.trace, id(tensor))
        call = self.trace.norms.get(key)
        if call is not None and call.read is not None:
            before = unalias(self.trace, id(call.read))
            if before in self.states or id(call.read) in self.states or key in self.states:
                return True, norm_gain(call.module, call.read)
        return key in self.states or id(tensor) in self.states, None


def _times(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return a if b is None else b if a is None else a * b


def unalias(trace: Trace, key: int) -> int:
    """The tensor of which this one is a view or a cast; a norm's own output stays what it is."""
    origins = trace.origins
    while key in origins and key not in trace.norms and origins[key] != key:
        key = origins[key]
    return key


def neuron_sources(trace: Trace, tensor: Tensor, stream: Stream) -> set[int]:
    """All tensors whose component j reaches component j of this one and no other, by elementwise operations alone.

    Stops at the residual stream and at norms. Two modules that write such tensors for the input of a third share
    its basis of neurons: the gate and up projections of an MLP and the input of its down projection.
    """
    producers = trace.producers
    found, todo = set(), [id(tensor)]
    while todo:
        key = todo.pop()
        if key in found or key in stream.states or key in trace.norms:
            continue
        found.add(key)
        for op in producers.get(key, ()):
            if op.kind != "norm":
                todo.extend(op.sources)
    return found
