"""Latents of a dictionary over a stream of blocks: sparse from the start, so memory grows with what is active.

Nothing dense of tokens × latents is made beyond a cache-sized piece (``dictionaries/sparse.py``), and nothing goes to
disk unless asked for.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int

from generator.blocks import Block, Channel, Directions, SparseBlock, new_hdf5, open_hdf5, write_array
from generator.measure.dictionaries import Dictionary


def collect(
    dictionary: Dictionary, blocks: Iterable[Block], columns: Int[np.ndarray, " channel"] | None = None
) -> Iterator[SparseBlock]:
    """Encodes a stream of blocks, one at a time.

    A token's latents have the same bits however the stream is cut into blocks.

    Args:
        dictionary: Reads the blocks' values.
        blocks: From disk or straight from a model.
        columns: Which of a block's channels the dictionary reads, in its order; all when absent.

    Raises:
        FeaturebookError: the width is not the dictionary's.
    """
    for block in blocks:
        values = block.values if columns is None else block.values[:, columns]
        found = dictionary.encode_sparse(
            torch.from_numpy(np.ascontiguousarray(values)).to(dictionary.W_enc.device)
        )
        yield SparseBlock(
            start=block.start,
            offsets=found.offsets.cpu().numpy(),
            channel=found.feature.cpu().numpy().astype(np.int32),
            values=found.value.cpu().numpy(),
            is_measured=block.is_measured & found.is_finite.cpu().numpy(),
            n_channels=dictionary.n_features,
        )


def latent_channels(
    dictionary: Dictionary, collection: str, kind: str = "sae", space: str = ""
) -> tuple[list[Channel], list[Directions]]:
    """The channel table of a dictionary and the vectors behind its latents.

    Args:
        dictionary: The dictionary.
        collection: The collection's name, first part of the ids.
        kind: ``sae`` or ``transcoder``.
        space: Name of the space that it reads; ``{collection}.in`` when empty. A transcoder writes to another one.

    Returns:
        One channel per latent, ``reference_rms`` 1 and ``threshold`` 0 (a latent is active where it is not zero), and the
        encoder's rows as read directions, the decoder's as write directions.
    """
    read_norms = dictionary.W_enc.norm(dim=1).tolist()
    write_norms = dictionary.W_dec.norm(dim=1).tolist()
    channels = [
        Channel(
            id=f"{collection}/{index}",
            collection=collection,
            kind=kind,
            rank_index=index,
            rank=dictionary.n_features,
            is_signed=dictionary.is_signed,
            read_norm=read_norm,
            write_norm=write_norm,
        )
        for index, (read_norm, write_norm) in enumerate(zip(read_norms, write_norms))
    ]
    indices = np.arange(dictionary.n_features)
    reads = space or f"{collection}.in"
    writes = f"{collection}.out" if dictionary.is_transcoder else reads
    return channels, [
        Directions(reads, "read", indices, dictionary.W_enc.cpu().numpy()),
        Directions(writes, "write", indices, dictionary.W_dec.cpu().numpy()),
    ]


def write_latents(path: Path, blocks: Iterable[SparseBlock], key: str) -> None:
    """Writes consecutive sparse blocks as one CSR file, block by block, under a temporary name until complete."""
    with new_hdf5(path, kind="latents") as file:
        n_blocks = 0
        for index, block in enumerate(blocks):
            group = file.create_group(f"{index:06d}")
            write_array(group, "offsets", block.offsets, "token")
            write_array(group, "channel", block.channel, "channel")
            write_array(group, "values", block.values)
            write_array(group, "is_measured", block.is_measured, "token")
            group.attrs["start"], group.attrs["n_channels"] = block.start, block.n_channels
            n_blocks += 1
        file.attrs["n_blocks"], file.attrs["key"] = n_blocks, key


def read_latents(path: Path) -> Iterator[SparseBlock]:
    """Reads what ``write_latents`` wrote, one block at a time.

    Raises:
        FeaturebookError: missing, damaged or of another schema.
    """
    with open_hdf5(path, kind="latents", remedy="python -m generator build --only collect") as file:
        for index in range(int(file.attrs["n_blocks"])):
            group = file[f"{index:06d}"]
            yield SparseBlock(
                start=int(group.attrs["start"]),
                offsets=group["offsets"][()],
                channel=group["channel"][()],
                values=group["values"][()],
                is_measured=group["is_measured"][()],
                n_channels=int(group.attrs["n_channels"]),
            )
