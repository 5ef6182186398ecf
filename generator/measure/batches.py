"""How documents share a forward pass: packed without padding, or sorted by length and padded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from generator.blocks import Corpus
from generator.errors import FeaturebookError

Layout = Literal["packed", "padded", "masked", "single"]
LADDER: tuple[Layout, ...] = ("packed", "padded", "masked", "single")
"""Layouts from the fastest to the surest; a model uses the first one that is proved equal to documents run one by one."""

ATTENTION = "featurebook_documents"
"""Name under which ``document_attention`` is registered with transformers."""
_IGNORED = {
    "sliding_window",  # documents longer than the window are never packed
    "position_ids",
    "use_cache",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "cache_position",
    "is_causal",
}


@dataclass(frozen=True)
class Piece:
    """A run of tokens that goes through the model at once."""

    token_ids: Int[np.ndarray, " token"]
    n_context: int
    """First tokens whose values are thrown away (the overlap with the piece before)."""
    row: int
    """Where the value of the first kept token goes."""


def pieces_of(corpus: Corpus, tokens: slice, row: int = 0) -> list[Piece]:
    """The pieces of a run of whole documents; their rows begin at ``row``."""
    first, last = np.searchsorted(corpus.pieces[:, 1], [tokens.start, tokens.stop])
    return [
        Piece(corpus.token_ids[context:stop], start - context, row + start - tokens.start)
        for context, start, stop in corpus.pieces[first:last].tolist()
    ]


@dataclass(frozen=True)
class Batch:
    """Pieces that share a forward pass."""

    pieces: Sequence[Piece]
    layout: Layout

    @property
    def n_tokens(self) -> int:
        """Tokens, padding excluded."""
        return sum(len(piece.token_ids) for piece in self.pieces)

    def inputs(self, device: torch.device, pad_id: int) -> dict[str, Tensor]:
        """The arguments of the model's forward."""
        if self.layout == "packed":
            ids = np.concatenate([piece.token_ids for piece in self.pieces])[None]
            positions = np.concatenate([np.arange(len(piece.token_ids)) for piece in self.pieces])[None]
            return {"input_ids": _tensor(ids, device), "position_ids": _tensor(positions, device)}
        width = max(len(piece.token_ids) for piece in self.pieces)
        ids = np.full((len(self.pieces), width), pad_id)
        mask = np.zeros((len(self.pieces), width), np.int64)
        for row, piece in enumerate(self.pieces):
            ids[row, : len(piece.token_ids)] = piece.token_ids
            mask[row, : len(piece.token_ids)] = 1
        inputs = {"input_ids": _tensor(ids, device)}
        return inputs | {"attention_mask": _tensor(mask, device)} if self.layout == "masked" else inputs

    def kept(self) -> tuple[Int[np.ndarray, " token"], Int[np.ndarray, " token"]]:
        """Which rows of the flattened batch hold kept tokens, and where their values go."""
        width = max(len(piece.token_ids) for piece in self.pieces)
        sources, targets, start = [], [], 0
        for index, piece in enumerate(self.pieces):
            begin = start if self.layout == "packed" else index * width
            n = len(piece.token_ids)
            sources.append(np.arange(begin + piece.n_context, begin + n))
            targets.append(np.arange(piece.row, piece.row + n - piece.n_context))
            start += n
        return np.concatenate(sources), np.concatenate(targets)

    def runs(self) -> list[tuple[int, int]]:
        """(how many, length) of neighbouring pieces of equal length."""
        runs: list[tuple[int, int]] = []
        for piece in self.pieces:
            n = len(piece.token_ids)
            if runs and runs[-1][1] == n:
                runs[-1] = runs[-1][0] + 1, n
            else:
                runs.append((1, n))
        return runs


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.int64)).to(device, non_blocking=True)


def form_batches(pieces: Sequence[Piece], batch_tokens: int, layout: Layout) -> Iterator[Batch]:
    """Groups pieces by length, the longest first, up to ``batch_tokens`` tokens a batch (padding included).

    Depends on nothing but its arguments, so a chunk is cut alike by every worker. A piece longer than
    ``batch_tokens`` gets a batch of its own.
    """
    ordered = sorted(
        pieces, key=lambda piece: -len(piece.token_ids)
    )  # stable: then by position in the corpus
    group: list[Piece] = []
    size = 0
    for piece in ordered:
        n = len(piece.token_ids)
        width = len(group[0].token_ids) if group else n
        grown = size + n if layout == "packed" else (len(group) + 1) * width
        if group and (grown > batch_tokens or layout == "single"):
            yield Batch(group, layout)
            group, size = [], 0
        group.append(piece)
        size += n
    if group:
        yield Batch(group, layout)


@dataclass
class _Packed:
    """What the attention function needs to know of the batch that is running."""

    runs: list[tuple[int, int]] = field(default_factory=list)
    boundaries: dict[torch.device, tuple[Tensor, int]] = field(default_factory=dict)


_packed = _Packed()


def set_packed(batch: Batch | None) -> None:
    """Tells the attention function where the documents of the batch begin and end."""
    _packed.runs = batch.runs() if batch is not None else []
    _packed.boundaries.clear()


def register_attention() -> None:
    """Makes ``document_attention`` known to transformers. It has no mask function, so no mask is built for it."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, document_attention)


def document_attention(
    module: Any,
    query: Float[Tensor, "1 head token d"],
    key: Float[Tensor, "1 kv_head token d"],
    value: Float[Tensor, "1 kv_head token d"],
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Float[Tensor, "1 token head d"], None]:
    """Attention inside each document of a packed batch; no token sees another document.

    On CUDA in half precision one call of ``varlen_attn``; elsewhere one call of SDPA for each run of documents of
    equal length, which is what a document alone would get.

    Raises:
        ValueError: the model asks for something else than plain attention (soft caps, sinks, position biases).
    """
    odd = sorted(
        name
        for name, given in kwargs.items()
        if name not in _IGNORED and given is not None and given is not False
    )
    n_tokens = sum(count * length for count, length in _packed.runs)
    if n_tokens != query.shape[2]:
        raise ValueError(f"the packed batch has {n_tokens} tokens, attention got {query.shape[2]}")
    if odd or attention_mask is not None:
        raise ValueError(f"packed attention does not know {odd or 'masks'}")
    causal = kwargs.get("is_causal")
    is_causal = bool(getattr(module, "is_causal", True) if causal is None else causal)
    if (
        query.is_cuda
        and query.dtype in (torch.bfloat16, torch.float16)
        and query.shape[-1] == value.shape[-1] <= 256
    ):
        return _varlen(query, key, value, scaling, is_causal), None
    return _per_document(query, key, value, scaling, is_causal), None


def _per_document(
    query: Tensor, key: Tensor, value: Tensor, scaling: float | None, is_causal: bool
) -> Tensor:
    outputs, start = [], 0
    grouped = query.shape[1] != key.shape[1]
    for count, length in _packed.runs:
        stop = start + count * length
        q, k, v = (
            t[0, :, start:stop].unflatten(1, (count, length)).transpose(0, 1) for t in (query, key, value)
        )  # (document, head, token, d)
        out = F.scaled_dot_product_attention(
            q, k, v, scale=scaling, is_causal=is_causal and length > 1, enable_gqa=grouped
        )
        outputs.append(out.transpose(1, 2).flatten(0, 1))
        start = stop
    return torch.cat(outputs)[None]


def _varlen(query: Tensor, key: Tensor, value: Tensor, scaling: float | None, is_causal: bool) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    bounds, longest = _boundaries(query.device)
    q, k, v = (t[0].transpose(0, 1) for t in (query, key, value))  # (token, head, d)
    window = (-1, 0) if is_causal else (-1, -1)
    out = varlen_attn(
        q,
        k,
        v,
        bounds,
        bounds,
        longest,
        longest,
        scale=scaling,
        window_size=window,
        enable_gqa=q.shape[1] != k.shape[1],
    )
    assert isinstance(out, Tensor)
    return out[None]


def _boundaries(device: torch.device) -> tuple[Tensor, int]:
    """Cumulated lengths of the documents on a device, and the longest of them."""
    if device not in _packed.boundaries:
        lengths = [length for count, length in _packed.runs for _ in range(count)]
        bounds = torch.tensor([0, *np.cumsum(lengths).tolist()], dtype=torch.int32, device=device)
        _packed.boundaries[device] = bounds, max(lengths)
    return _packed.boundaries[device]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on a GPU or on the CPU."""
    text = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
    )


def smaller(batch: Batch, batch_tokens: int) -> int:
    """Half the batch size, after memory ran out.

    Raises:
        FeaturebookError: the batch was a single document already.
    """
    if len(batch.pieces) == 1:
        raise FeaturebookError(
            f"Out of memory with a single run of {batch.n_tokens} tokens. Lower corpus.max_tokens (longer documents are read in "
            'overlapping pieces), take model.dtype = "bfloat16", or a larger device.'
        )
    return max(1, min(batch_tokens, batch.n_tokens) // 2)
