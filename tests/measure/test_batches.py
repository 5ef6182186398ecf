"""How documents are put into batches, and attention inside them."""

import numpy as np
import pytest
import torch

from generator.measure import batches
from generator.measure.batches import Batch, Layout, Piece, document_attention, form_batches, set_packed


def pieces(*lengths: int) -> list[Piece]:
    starts = np.cumsum([0, *lengths])
    return [Piece(np.arange(a, b), 0, int(a)) for a, b in zip(starts, starts[1:])]


@pytest.mark.parametrize("layout", ["packed", "padded", "masked", "single"])
def test_every_kept_token_goes_to_its_row_once(layout: Layout) -> None:
    some = [
        *pieces(5, 9, 9, 1),
        Piece(np.arange(20, 30), 4, 24),
    ]  # the last one: four tokens of context, rows 24 to 29
    rows = np.full(30, -1)
    for batch in form_batches(some, 16, layout):
        ids = batch.inputs(torch.device("cpu"), pad_id=99)["input_ids"].flatten().numpy()
        sources, targets = batch.kept()
        assert (rows[targets] == -1).all()
        rows[targets] = ids[sources]
    assert (rows == np.arange(30)).all()


def test_batches_respect_the_budget_with_padding() -> None:
    some = pieces(5, 9, 2, 9, 1, 30)
    for layout, size in (
        ("packed", lambda b: b.n_tokens),
        ("padded", lambda b: len(b.pieces) * max(len(p.token_ids) for p in b.pieces)),
    ):
        for batch in form_batches(some, 20, layout):
            assert len(batch.pieces) == 1 or size(batch) <= 20
    assert all(len(batch.pieces) == 1 for batch in form_batches(some, 20, "single"))


def test_masks_and_positions() -> None:
    two = pieces(3, 2)
    packed = Batch(two, "packed").inputs(torch.device("cpu"), 0)
    assert packed["position_ids"].tolist() == [[0, 1, 2, 0, 1]] and "attention_mask" not in packed
    masked = Batch(two, "masked").inputs(torch.device("cpu"), 7)
    assert masked["input_ids"].tolist() == [[0, 1, 2], [3, 4, 7]]
    assert masked["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert "attention_mask" not in Batch(two, "padded").inputs(torch.device("cpu"), 7)


@pytest.mark.parametrize("is_causal", [True, False])
def test_document_attention_is_attention_inside_each_document(is_causal: bool) -> None:
    lengths = (4, 4, 3, 1)
    q, k, v = (torch.randn(1, heads, sum(lengths), 8) for heads in (4, 2, 2))
    module = torch.nn.Module()
    module.is_causal = is_causal
    set_packed(Batch(pieces(*lengths), "packed"))
    try:
        got, _ = document_attention(module, q, k, v, None, scaling=0.3)
        with pytest.raises(ValueError, match="softcap"):
            document_attention(module, q, k, v, None, softcap=50.0)
        with pytest.raises(ValueError, match="12 tokens, attention got 11"):
            document_attention(module, q[:, :, 1:], k[:, :, 1:], v[:, :, 1:], None)
    finally:
        set_packed(None)
    document = torch.repeat_interleave(torch.arange(4), torch.tensor(lengths))
    allowed = document[:, None] == document[None]
    if is_causal:
        allowed = allowed.tril()
    scores = 0.3 * q @ k.repeat_interleave(2, 1).transpose(-1, -2)
    wanted = scores.masked_fill(~allowed, -torch.inf).softmax(-1) @ v.repeat_interleave(2, 1)
    torch.testing.assert_close(got, wanted.transpose(1, 2))
    assert not batches._packed.runs


def test_what_counts_as_out_of_memory() -> None:
    assert batches.is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert batches.is_out_of_memory(
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")
    )
    assert batches.is_out_of_memory(MemoryError())
    assert not batches.is_out_of_memory(RuntimeError("shape mismatch"))
