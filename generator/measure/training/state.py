"""All that changes from step to step, and how it goes to disk and back."""

import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from generator.artifacts import atomic_path, to_json, write_bytes
from generator.measure.training.settings import TrainSettings
from generator.measure.training.shuffle import Place
from generator.measure.training.step import Active, Selector, Step, Weights

SCHEMA = 1
"""Version of ``checkpoint.pt``; another one is not gone on from."""


@dataclass
class State:
    """Weights, optimizer, selection, counters, and the place in the data."""

    weights: Weights
    optimizer: torch.optim.Adam
    selector: Selector
    idle: Tensor
    """Tokens since each latent was last active."""
    threshold_sum: float = 0.0
    threshold_weight: float = 0.0
    step: int = 0
    place: Place = field(default_factory=Place)
    metrics_bytes: int = 0
    """Length of ``metrics.jsonl`` as of this step."""
    sums: dict[str, float] = field(default_factory=dict)
    """Since the last line of metrics."""

    @classmethod
    def new(cls, weights: Weights, settings: TrainSettings) -> "State":
        """Before the first step."""
        optimizer = torch.optim.Adam(
            weights.tensors(), lr=settings.learning_rate, betas=(settings.beta1, settings.beta2), fused=True
        )
        selector = Selector(settings.k, getattr(torch, settings.encode))
        idle = torch.zeros(len(weights.b_enc), dtype=torch.int64, device=weights.b_enc.device)
        return cls(weights, optimizer, selector, idle)

    @property
    def threshold(self) -> float:
        """The running estimate, in training's units; at least 0."""
        return max(0.0, self.threshold_sum / self.threshold_weight) if self.threshold_weight else 0.0

    def dead(self, settings: TrainSettings) -> Tensor:
        """Indices of the latents that were not active for ``dead_after`` tokens (a number by now, ``settings.resolved``)."""
        return (self.idle >= int(settings.dead_after)).nonzero().squeeze(1)

    def mark_active(self, active: Active, n_tokens: int) -> None:
        """Counts idle tokens."""
        self.idle += n_tokens
        self.idle[active.feature] = 0

    def move(self, gradients: Weights, learning_rate: float, settings: TrainSettings) -> None:
        """One step of Adam; a ``unit`` decoder stays on the sphere (Bricken et al. 2023, "Advice for training")."""
        if settings.decoder == "unit":
            along = (gradients.W_dec * self.weights.W_dec).sum(1, keepdim=True)
            gradients.W_dec.addcmul_(along, self.weights.W_dec, value=-1)
        for parameter, gradient in zip(self.weights.tensors(), gradients.tensors()):
            parameter.grad = gradient
        self.optimizer.param_groups[0]["lr"] = learning_rate
        self.optimizer.step()
        if settings.decoder == "unit":
            self.weights.W_dec.div_(self.weights.W_dec.norm(dim=1, keepdim=True).clamp(min=1e-12))

    def tally(self, step: Step, variance: float, n_tokens: int) -> None:
        """Adds a step to the figures of the next line of metrics."""
        found = {
            "tokens": n_tokens,
            "steps": 1,
            "loss": step.loss,
            "aux_loss": step.aux_loss,
            "squared_error": step.squared_error,
            "variance": variance,
            "active": len(step.active.token),
        }
        for name, value in found.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def follow_threshold(self, lowest_score: float, beta: float) -> None:
        """The running mean of the smallest active scores, without bias from its beginning."""
        self.threshold_sum = beta * self.threshold_sum + (1 - beta) * lowest_score
        self.threshold_weight = beta * self.threshold_weight + (1 - beta)

    def line(self, settings: TrainSettings, learning_rate: float) -> dict[str, Any]:
        """A line of ``metrics.jsonl`` over the steps since the last one, which it forgets."""
        sums, self.sums = self.sums, {}
        return {
            "step": self.step,
            "tokens": self.step * settings.batch,
            "loss": sums["loss"] / sums["steps"],
            "aux_loss": sums["aux_loss"] / sums["steps"],
            "fvu": sums["squared_error"] / sums["variance"] if sums["variance"] else None,
            "l0": sums["active"] / sums["tokens"],
            "dead_share": len(self.dead(settings)) / len(self.idle),
            "threshold": self.threshold,
            "learning_rate": learning_rate,
        }


class Metrics:
    """``metrics.jsonl``: one JSON object per line, cut back to where a checkpoint stood."""

    def __init__(self, folder: Path, length: int) -> None:
        self._path, self._length = folder / "metrics.jsonl", length
        self._file: IO[bytes] | None = None

    def __enter__(self) -> "Metrics":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch()
        self._file = self._path.open("rb+")
        self._file.truncate(self._length)
        self._file.seek(self._length)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._file is not None
        self._file.close()

    def write(self, line: dict[str, Any]) -> int:
        """Appends a line; the file's length after it."""
        assert self._file is not None
        self._length += self._file.write(to_json(line))
        return self._length

    def flush(self) -> None:
        """Hands all lines to the system."""
        assert self._file is not None
        self._file.flush()


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Adds a line to a finished ``metrics.jsonl``; it is put in place whole."""
    write_bytes(path, path.read_bytes() + to_json(line))


def save_state(folder: Path, state: State, key: str) -> None:
    """Writes ``checkpoint.pt`` atomically."""
    place = state.place
    content = {
        "schema": SCHEMA,
        "key": key,
        "weights": state.weights.tensors(),
        "optimizer": state.optimizer.state_dict()["state"],
        "last_score": state.selector.last_score,
        "idle": state.idle,
        "threshold": (state.threshold_sum, state.threshold_weight),
        "step": state.step,
        "place": (place.epoch, place.fill, place.row, torch.from_numpy(np.ascontiguousarray(place.carry))),
        "metrics_bytes": state.metrics_bytes,
        "sums": state.sums,
    }
    with atomic_path(folder / "checkpoint.pt") as temporary:
        torch.save(content, temporary)


def load_state(
    folder: Path, settings: TrainSettings, key: str, device: torch.device, n_places: int = 1
) -> State | None:
    """What ``save_state`` wrote, or None when there is nothing to go on from: no file, a damaged one, another key."""
    try:
        content = torch.load(folder / "checkpoint.pt", map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError):
        return None
    if (content.get("schema"), content.get("key")) != (SCHEMA, key):
        return None
    W_enc, b_enc, W_dec, b_dec = content["weights"]
    state = State.new(Weights(W_enc, b_enc, W_dec, b_dec, n_places), settings)
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": content["optimizer"], "param_groups": groups})
    state.selector.last_score = content["last_score"]
    state.idle = content["idle"]
    state.threshold_sum, state.threshold_weight = content["threshold"]
    state.step, state.metrics_bytes, state.sums = content["step"], content["metrics_bytes"], content["sums"]
    epoch, fill, row, carry = content["place"]
    state.place = Place(epoch, fill, row, carry.cpu().numpy())
    return state
