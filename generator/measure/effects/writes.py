"""What each channel writes to the residual stream per unit of activation, or the sentence why nothing is defined."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from generator.blocks import Channel, Directions
from generator.summaries import Summary

ROWS = 4096
"""Latents whose vectors exist at once."""


@dataclass(frozen=True)
class Writes:
    """Channels whose writes are defined, in tiles, and sentences for the others."""

    ids: list[str]
    vectors: Callable[[slice], Float[Tensor, "channel d_in"]]
    """Of some of ``ids``: what one unit of activation adds to the residual stream."""
    undefined: dict[str, str]
    note: str = ""
    """What is summed, for the page."""

    def tiles(self) -> Iterator[tuple[list[str], Float[Tensor, "channel d_in"]]]:
        """All of them, ``ROWS`` at a time."""
        for start in range(0, len(self.ids), ROWS):
            part = slice(start, start + ROWS)
            yield self.ids[part], self.vectors(part)


def writes_of_adapter(channels: Sequence[Channel], directions: Sequence[Directions]) -> Writes:
    """Of LoRA directions: scaling · B for those whose module adds to the residual stream.

    Args:
        channels: Of the adapter.
        directions: Their vectors by space, as extraction found them.
    """
    vectors = residual_writes(channels, directions)
    ids = [channel.id for index, channel in enumerate(channels) if index in vectors]
    matrix = torch.from_numpy(np.array([vectors[i] for i in sorted(vectors)], np.float32))
    undefined = {
        channel.id: f"Undefined here: {channel.module} does not write to the residual stream; what it adds reaches the logits "
        "through the rest of its layer."
        for index, channel in enumerate(channels)
        if index not in vectors
    }
    return Writes(ids, lambda part: matrix[part], undefined, "The direction’s own write: scaling · B.")


def residual_writes(
    channels: Sequence[Channel], directions: Sequence[Directions]
) -> dict[int, Float[np.ndarray, " d_out"]]:
    """Index of a channel -> scaling · B, for those that write to the residual stream."""
    found: dict[int, np.ndarray] = {}
    for table in directions:
        if table.space == "residual" and table.side == "write":
            for index, vector in zip(table.channels.tolist(), table.vectors):
                found[index] = channels[index].scaling * vector
    return found


def writes_of_latents(
    summary: Summary, channels: Sequence[Channel], directions: Sequence[Directions]
) -> Writes:
    """Of latents over an adapter's activations: Σ over the inputs that write to the residual stream of decoder weight ·
    scaling · B.

    Args:
        summary: Of the collection; holds the decoder.
        channels: Of the adapter.
        directions: Their vectors.
    """
    (loadings,) = summary.loadings
    index_of = {channel.id: index for index, channel in enumerate(channels)}
    writing = residual_writes(channels, directions)
    inputs = [index_of.get(identifier, -1) for identifier in loadings.inputs]
    columns = [column for column, index in enumerate(inputs) if index in writing]
    ids = [summary.channels[int(i)].id for i in loadings.channels]
    if not columns:
        reason = (
            "Undefined here: none of the directions that this dictionary reads writes to the residual stream."
        )
        return Writes([], lambda part: torch.zeros(0, 0), dict.fromkeys(ids, reason))
    decoder = torch.from_numpy(np.ascontiguousarray(loadings.write[:, columns], np.float32))
    matrix = torch.from_numpy(np.array([writing[inputs[c]] for c in columns], np.float32))
    modules = list(dict.fromkeys(channels[inputs[c]].module for c in columns))
    note = f"The sum over its writes through {' and '.join(modules)}: decoder weight · scaling · B."
    return Writes(ids, lambda part: decoder[part] @ matrix, {}, note)


def writes_of_decoder(ids: list[str], decoder: Float[Tensor, "channel d_in"], place: str) -> Writes:
    """Of latents of a dictionary on the residual stream: their decoder rows.

    Args:
        ids: The latents.
        decoder: Row = latent.
        place: Where it stands, for the page.
    """
    return Writes(ids, lambda part: decoder[part].float().cpu(), {}, f"The decoder row at {place}.")


def undefined_writes(ids: list[str], reason: str) -> Writes:
    """No channel of these has a write."""
    return Writes([], lambda part: torch.zeros(0, 0), dict.fromkeys(ids, f"Undefined here: {reason}"))
