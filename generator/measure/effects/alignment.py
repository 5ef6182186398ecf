"""Which neurons and channels write or read in the direction that a latent's decoder has at each place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from generator.errors import FeaturebookError
from generator.measure.effects.logits import round_to
from generator.measure.hook_points import HookPoint, resolve

TILE = 1 << 22
"""Cosines held at once."""


@dataclass(frozen=True)
class Neurons:
    """The MLP neurons of a model: where their activations are read, and what each writes to the residual stream."""

    points: list[HookPoint]
    """The input of each layer's last MLP matrix."""
    layers: np.ndarray
    """Of every neuron."""
    numbers: np.ndarray
    """Of every neuron, within its layer."""
    writes: Float[Tensor, "channel d_out"]
    """Columns of these matrices; a norm that stands behind the MLP is left out."""


def find_neurons(model: nn.Module, device: torch.device) -> Neurons | None:
    """The neurons of every layer; None where layers have no MLP that ends in one matrix."""
    try:
        points = resolve(["blocks.*.mlp.hook_post"], model, device).points
    except FeaturebookError:
        return None
    writes = [_columns(model.get_submodule(point.path), point.width) for point in points]
    if any(
        write is None or write.shape[1] != writes[0].shape[1] for write in writes if writes[0] is not None
    ):
        return None
    kept = [write for write in writes if write is not None]
    return Neurons(
        points,
        np.concatenate([np.full(point.width, point.layer) for point in points]),
        np.concatenate([np.arange(point.width) for point in points]),
        torch.cat(kept),
    )


def _columns(module: Any, width: int) -> Tensor | None:
    """Row = neuron, from a linear module or GPT-2's transposed one; None for weights that are not numbers (quantised)."""
    from transformers.pytorch_utils import Conv1D

    base = getattr(module, "base_layer", module)
    weight = getattr(base, "weight", None)
    if weight is None or weight.ndim != 2 or not weight.is_floating_point():
        return None
    rows = weight if isinstance(base, Conv1D) else weight.T
    return rows.detach().float().cpu() if len(rows) == width else None


def aligned(
    decoder: Float[Tensor, "feature d_out"], writes: Float[Tensor, "channel d_out"], n_top: int
) -> tuple[np.ndarray, np.ndarray]:
    """For every latent the vectors of largest |cosine|, as (indices, cosines), both (feature, k).

    Args:
        decoder: At one place.
        writes: Vectors of the same space.
        n_top: How many.
    """
    others = torch.nn.functional.normalize(writes.float(), dim=1)
    indices, values = [], []
    rows = max(1, TILE // max(1, len(others)))
    for start in range(0, len(decoder), rows):
        own = torch.nn.functional.normalize(decoder[start : start + rows].float().cpu(), dim=1)
        cosines = own @ others.T
        found = cosines.abs().topk(min(n_top, len(others)), dim=1).indices
        indices.append(found.numpy())
        values.append(cosines.gather(1, found).numpy())
    return np.concatenate(indices), np.concatenate(values)


@dataclass(frozen=True)
class NamedVectors:
    """Channels of other collections, and LoRA directions, with their vectors in the residual stream."""

    ids: list[str]
    sides: list[str]
    """``read`` or ``write``."""
    vectors: Float[Tensor, "channel d_out"]


def pairs(indices: np.ndarray, values: np.ndarray, names: Sequence[Any]) -> list[list[Any]]:
    """``[[name, …, cosine], …]`` of one latent."""
    return [
        [*_listed(names[int(index)]), round_to(float(value), 3)]
        for index, value in zip(indices, values)
        if value
    ]


def _listed(name: Any) -> list[Any]:
    return list(name) if isinstance(name, tuple) else [name]
