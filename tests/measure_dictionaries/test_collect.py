"""Collecting latents from a stream of blocks."""

from pathlib import Path

import numpy as np
import pytest
import torch

from generator.blocks import Block, SparseBlock
from generator.errors import FeaturebookError
from generator.measure.collect import collect, latent_channels, read_latents, write_latents
from generator.measure.dictionaries.activations import JumpRelu, TopK
from generator.measure.dictionaries.dictionary import Dictionary

D_IN, N = 10, 64


def dictionary(is_transcoder: bool = False) -> Dictionary:
    g = torch.Generator().manual_seed(0)
    return Dictionary(
        W_enc=torch.randn(N, D_IN, generator=g),
        b_enc=torch.zeros(N),
        W_dec=torch.randn(N, D_IN, generator=g),
        b_dec=torch.zeros(D_IN),
        activation=JumpRelu(torch.full((N,), 3.0)),
        is_transcoder=is_transcoder,
    )


def stream(bounds: list[int], width: int = D_IN) -> list[Block]:
    values = np.random.default_rng(0).standard_normal((bounds[-1], width)).astype(np.float32)
    is_measured = np.random.default_rng(1).random(bounds[-1]) < 0.9
    return [Block(a, values[a:b], is_measured[a:b]) for a, b in zip(bounds, bounds[1:])]


def test_entries_are_those_of_the_dense_encoding() -> None:
    coder, blocks = dictionary(), stream([0, 70, 200])
    for block, found in zip(blocks, collect(coder, blocks), strict=True):
        dense = coder.encode(torch.from_numpy(block.values)).numpy()
        np.testing.assert_allclose(found.dense().values, dense, rtol=1e-5)
        assert (found.start, found.stop, found.n_channels) == (block.start, block.stop, N)
        assert np.array_equal(found.is_measured, block.is_measured)


def joined(blocks: list[SparseBlock]) -> tuple[np.ndarray, ...]:
    token = np.concatenate([b.token + b.start for b in blocks])
    return token, np.concatenate([b.channel for b in blocks]), np.concatenate([b.values for b in blocks])


def test_any_cut_of_the_stream_gives_the_same_bits() -> None:
    coder = dictionary()
    one, many = (joined(list(collect(coder, stream(b)))) for b in ([0, 200], [0, 1, 30, 31, 199, 200]))
    assert all(np.array_equal(a, b) for a, b in zip(one, many))


def test_columns_choose_the_inputs() -> None:
    coder = dictionary()
    wide, columns = stream([0, 50], width=15), np.array([14, 3, 0, 7, 1, 2, 9, 12, 5, 6])
    narrow = [Block(b.start, b.values[:, columns], b.is_measured) for b in wide]
    chosen, plain = list(collect(coder, wide, columns)), list(collect(coder, narrow))
    assert all(np.array_equal(a, b) for a, b in zip(joined(chosen), joined(plain)))


def test_another_width_is_refused() -> None:
    with pytest.raises(FeaturebookError, match="reads 10 values per token and got 15"):
        list(collect(dictionary(), stream([0, 50], width=15)))


def test_a_token_that_is_not_finite_is_not_measured() -> None:
    blocks = stream([0, 20])
    blocks[0].values[3, 2] = np.nan
    blocks[0].is_measured[:] = True
    (found,) = collect(dictionary(), blocks)
    assert np.flatnonzero(~found.is_measured).tolist() == [3]


def test_files_come_back_the_same(tmp_path: Path) -> None:
    blocks = list(collect(dictionary(), stream([0, 70, 71, 200])))
    write_latents(tmp_path / "latents.h5", blocks, "k")
    for mine, theirs in zip(blocks, read_latents(tmp_path / "latents.h5"), strict=True):
        for name in ("start", "offsets", "channel", "values", "is_measured", "n_channels"):
            assert np.array_equal(getattr(mine, name), getattr(theirs, name)), name
    with pytest.raises(FeaturebookError, match="missing"):
        list(read_latents(tmp_path / "other.h5"))


def test_channels_and_directions() -> None:
    coder = dictionary()
    channels, (reads, writes) = latent_channels(coder, "sae-8x")
    assert [channels[5].id, channels[5].kind, channels[5].is_signed, channels[5].rank] == [
        "sae-8x/5",
        "sae",
        False,
        N,
    ]
    assert channels[5].write_norm == pytest.approx(float(coder.W_dec[5].norm()))
    assert (reads.space, writes.space) == ("sae-8x.in", "sae-8x.in")
    assert np.array_equal(writes.vectors, coder.W_dec.numpy()) and reads.side == "read"
    _, (reads, writes) = latent_channels(dictionary(is_transcoder=True), "tc", "transcoder", "residual")
    assert (reads.space, writes.space) == ("residual", "tc.out")


def test_latents_of_both_signs_are_signed() -> None:
    coder = dictionary()
    signed = Dictionary(coder.W_enc, coder.b_enc, coder.W_dec, coder.b_dec, TopK(3, is_signed=True))
    assert latent_channels(signed, "a")[0][0].is_signed
