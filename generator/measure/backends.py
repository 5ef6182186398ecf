"""Two ways to read a model's activations in a forward pass: plain forward hooks, and nnsight for those who work with it.

Both hand the same tensors to the same receiver; a test compares them.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from generator.errors import FeaturebookError
from generator.measure.hook_points import HookPoint, first_tensor, watched

Receive = Callable[[int, Tensor], None]
"""Gets a hook point's index and its tensor."""


@runtime_checkable
class Backend(Protocol):
    """Runs forward passes of one model and hands over what its hook points hold."""

    def __call__(self, receive: Receive, **inputs: Any) -> None:
        """One pass; ``receive`` is called once for each hook point."""

    def close(self) -> None:
        """Leaves the model as it was."""


class _Enough(Exception):
    """All hook points were passed: the layers above need not run."""


class HookBackend:
    """PyTorch's forward hooks."""

    def __init__(
        self, runs: nn.Module, model: nn.Module, points: Sequence[HookPoint], *, stops: bool
    ) -> None:
        """Registers the hooks.

        Args:
            runs: What is called: the model or its body.
            model: The model that the points' paths mean.
            points: In the order in which a pass comes by.
            stops: End a pass at the last point; the layers above it then cost nothing.
        """
        self._runs, self._left = runs, 0
        self._receive: Receive = _nobody
        self._stack = ExitStack()
        self._stack.enter_context(watched(model, points, self._take))
        self._n_points = len(points)
        # accelerate brings offloaded weights back out after a module has returned, which an exception would skip
        places = set(map(str, getattr(model, "hf_device_map", {}).values()))
        self._may_stop = stops and not places & {"cpu", "disk"}

    def __call__(self, receive: Receive, **inputs: Any) -> None:
        """One pass."""
        self._receive, self._left = receive, self._n_points
        try:
            self._runs(**inputs)
        except _Enough:
            pass
        finally:
            self._receive, self._left = _nobody, 0

    def _take(self, index: int, tensor: Tensor) -> None:
        if not self._left:
            return  # another reader of the same model runs
        self._receive(index, tensor)
        self._left -= 1
        if not self._left and self._may_stop:
            raise _Enough

    def close(self) -> None:
        """Removes the hooks."""
        self._stack.close()


class NnsightBackend:
    """nnsight's tracing (Fiotto-Kaufman et al. 2024, arXiv:2407.14561)."""

    def __init__(
        self, runs: nn.Module, model: nn.Module, points: Sequence[HookPoint], *, stops: bool
    ) -> None:
        """Wraps the model; see ``HookBackend``.

        Raises:
            FeaturebookError: nnsight is not installed.
        """
        try:
            from nnsight import NNsight
        except ImportError as error:
            raise FeaturebookError(
                'backend = "nnsight" needs the package nnsight. Run `pip install featurebook[nnsight]`, or take backend = "hooks".'
            ) from error
        names = {module: name for name, module in runs.named_modules()}
        self._envoy, self._stops = NNsight(runs), stops
        self._places = [(names[model.get_submodule(point.path)], point.side) for point in points]

    def __call__(self, receive: Receive, **inputs: Any) -> None:
        """One pass."""
        found: list[Any] = []
        with self._envoy.trace(**inputs) as tracer:
            for path, side in self._places:
                envoy = self._envoy.get(path) if path else self._envoy
                found.append(getattr(envoy, side).save())
            if self._stops:
                tracer.stop()
        for index, value in enumerate(found):
            tensor = first_tensor(value)
            assert tensor is not None
            receive(index, tensor)

    def close(self) -> None:
        """nnsight leaves nothing that changes the model."""
        del self._envoy


def _nobody(index: int, tensor: Tensor) -> None:
    raise AssertionError("a hook ran outside of a pass")


BACKENDS: dict[str, type[HookBackend] | type[NnsightBackend]] = {
    "hooks": HookBackend,
    "nnsight": NnsightBackend,
}
"""Name in the run file -> backend."""


def flat(tensor: Tensor, is_centred: bool) -> Tensor:
    """One float32 row per token; ``is_centred`` takes each row's mean away, as centred writing weights would."""
    rows = tensor.detach().reshape(-1, tensor.shape[-1]).to(torch.float32)
    return rows - rows.mean(-1, keepdim=True) if is_centred else rows
