"""Hidden states of every layer, batch by batch, without keeping more than the batch that is running."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from generator.blocks import Corpus
from generator.errors import FeaturebookError
from generator.measure.analyze.anatomy import Anatomy, adapter_off, has_adapter

POINTS = ("residual", "normed")
"""Where a hidden state is read: the residual stream between two layers, or the same after the norm that reads it."""

Receive = Callable[[int, str, Tensor], None]
"""Called with layer (0 = input of the first, n_layers = output of the last), point and hidden (doc, token, d)."""


@dataclass(frozen=True)
class Feed:
    """Documents (or pieces of long ones) that share a forward pass, padded on the right."""

    token_ids: Int[Tensor, "doc width"]
    attention_mask: Int[Tensor, "doc width"] | None
    """None when nothing is padded."""
    kept: Bool[Tensor, "doc width"]
    """Real tokens that this pass measures: neither padding nor overlap with the piece before."""
    rows: Int[np.ndarray, " token"]
    """Global index of every kept token, in the order of ``flatten``."""

    def inputs(self) -> dict[str, Tensor]:
        """The arguments of the model's forward."""
        inputs = {"input_ids": self.token_ids}
        return inputs if self.attention_mask is None else inputs | {"attention_mask": self.attention_mask}

    def flatten(self, hidden: Tensor) -> Tensor:
        """(doc, token, …) → (kept token, …)."""
        flat = hidden.flatten(0, 1)
        index = self._index
        return flat if len(index) == len(flat) else flat[index.to(flat.device)]

    @property
    def _index(self) -> Tensor:
        return self.kept.flatten().nonzero()[:, 0]


def feeds(
    corpus: Corpus,
    *,
    batch_tokens: int,
    device: torch.device,
    pad_id: int = 0,
    docs: Sequence[int] | None = None,
) -> Iterator[Feed]:
    """Batches of pieces of like length, at most ``batch_tokens`` tokens each, padding included.

    Args:
        corpus: The text.
        batch_tokens: A piece that is longer goes alone.
        device: Where the token ids go.
        pad_id: Any token id; padding is masked.
        docs: Documents to take; all when absent.
    """
    pieces = corpus.pieces
    if docs is not None:
        pieces = pieces[np.isin(corpus.doc[pieces[:, 1]], np.asarray(docs))]
    lengths = pieces[:, 2] - pieces[:, 0]
    pieces = pieces[np.lexsort((pieces[:, 1], -lengths))]
    pieces = pieces[pieces[:, 2] > pieces[:, 1]]
    start = 0
    while start < len(pieces):
        width = int(pieces[start, 2] - pieces[start, 0])
        stop = start + max(1, batch_tokens // max(width, 1))
        yield _feed(corpus, pieces[start:stop], width, device, pad_id)
        start = stop


def feed_of(token_ids: Sequence[int], device: torch.device) -> Feed:
    """One prompt alone.

    Raises:
        FeaturebookError: it has no tokens.
    """
    if not len(token_ids):
        raise FeaturebookError("The prompt has no tokens. Give some text.")
    ids = torch.tensor([list(token_ids)], device=device)
    return Feed(ids, None, torch.ones_like(ids, dtype=torch.bool), np.arange(ids.shape[1]))


def _feed(corpus: Corpus, pieces: np.ndarray, width: int, device: torch.device, pad_id: int) -> Feed:
    shape = len(pieces), width
    ids, mask, kept = np.full(shape, pad_id), np.zeros(shape, np.int64), np.zeros(shape, bool)
    rows = []
    for index, (context, start, stop) in enumerate(pieces.tolist()):
        ids[index, : stop - context] = corpus.token_ids[context:stop]
        mask[index, : stop - context] = 1
        kept[index, start - context : stop - context] = True
        rows.append(np.arange(start, stop))
    return Feed(
        token_ids=torch.from_numpy(ids.astype(np.int64)).to(device),
        attention_mask=None if mask.all() else torch.from_numpy(mask).to(device),
        kept=torch.from_numpy(kept).to(device),
        rows=np.concatenate(rows),
    )


def variants(model: nn.Module) -> dict[str, Callable[[], Any]]:
    """What can be compared: the base model alone, or base and adapted. Name -> context in which the model is that."""
    if not has_adapter(model):
        return {"base": nullcontext}
    return {"base": lambda: adapter_off(model), "adapted": nullcontext}


def run(anatomy: Anatomy, inputs: dict[str, Tensor], *, with_head: bool = False) -> Any:
    """One forward pass without a cache; the head (the costly vocabulary) only when asked for."""
    model = anatomy.model if with_head else anatomy.body
    options = {"use_cache": False} if anatomy.is_causal else {}
    return model(**inputs, **options)


def capture(
    anatomy: Anatomy, inputs: dict[str, Tensor], receive: Receive, points: Sequence[str] = POINTS
) -> None:
    """Runs a batch and hands every layer's hidden state to ``receive`` as it passes.

    transformers' ``hidden_states[-1]`` is already normed, so the states are read by hooks: the residual before each
    layer and after the last, and what the model's own norm makes of it.
    """
    with hooked(anatomy, receive, points), torch.no_grad():
        run(anatomy, inputs)


@contextmanager
def hooked(anatomy: Anatomy, receive: Receive, points: Sequence[str] = POINTS) -> Iterator[None]:
    """Hands hidden states to ``receive`` during any forward pass in the block."""
    handles = []
    if "residual" in points:
        for index, layer in enumerate(anatomy.layers):
            handles.append(layer.register_forward_pre_hook(_before(index, receive), with_kwargs=True))
        handles.append(
            anatomy.layers[-1].register_forward_hook(_after(anatomy.n_layers, "residual", receive))
        )
    if "normed" in points:
        for index, norm in enumerate([*anatomy.input_norms, anatomy.final_norm]):
            if norm is not None:
                handles.append(norm.register_forward_hook(_after(index, "normed", receive)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _before(index: int, receive: Receive) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        receive(index, "residual", args[0] if args else kwargs["hidden_states"])

    return hook


def _after(index: int, point: str, receive: Receive) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        receive(index, point, output[0] if isinstance(output, tuple) else output)

    return hook


def residuals(anatomy: Anatomy, inputs: dict[str, Tensor]) -> list[Float[Tensor, "doc token d"]]:
    """The residual stream of one batch at every layer: for single documents and tests, not for a corpus."""
    found: dict[int, Tensor] = {}
    capture(anatomy, inputs, lambda layer, _, hidden: found.__setitem__(layer, hidden), points=("residual",))
    return [found[layer] for layer in range(anatomy.n_layers + 1)]


def check_context(anatomy: Anatomy, n_tokens: int, context: int | None = None) -> None:
    """Refuses a text that the model has no positions for.

    Args:
        anatomy: The model.
        n_tokens: Of the text.
        context: Longest text, where it is less than the positions that the model has.

    Raises:
        FeaturebookError: with both lengths.
    """
    limit = shortest(context, anatomy.context)
    if limit and n_tokens > limit:
        raise FeaturebookError(
            f"The text has {n_tokens} tokens and the model reads {limit} at once. Shorten it, or take the beginning."
        )


def shortest(*limits: int | None) -> int | None:
    """The smallest of those that there are."""
    return min((limit for limit in limits if limit), default=None)
