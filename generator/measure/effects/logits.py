"""Direct logit effects: what one unit of a channel's activation adds to each token's logit on the straight way out.

effect_v = W_U[v] · (γ ⊙ (w − mean w)) / s, less its mean over the vocabulary, where w is what the channel writes to the
residual stream, γ the final norm's gain, s the norm's typical divisor, and the mean of w is taken off only by a LayerNorm.
What later layers make of the write is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from generator.blocks import Corpus
from generator.errors import FeaturebookError
from generator.measure.analyze.ablation import choose_documents
from generator.measure.analyze.anatomy import Anatomy
from generator.measure.analyze.capture import feeds, hooked, run
from generator.measure.analyze.logits import FrozenNorm

TILE_VALUES = 2**24
"""Effects held at once, channels × vocabulary: 64 MB of float32."""

VOCABULARY_TILE = 8192
"""Rows of the unembedding that are made float32 at once."""

BINS = 40
"""Of the histogram of a channel's effects."""


@dataclass(frozen=True)
class WayOut:
    """The final norm, frozen at its typical divisor, and the unembedding."""

    norm: FrozenNorm
    weight: Tensor
    """(vocabulary, d) in the model's dtype; entries that the tokenizer does not know are cut off."""
    divisor: float

    @property
    def n_tokens(self) -> int:
        """Vocabulary entries that count."""
        return len(self.weight)


def find_way_out(anatomy: Anatomy, corpus: Corpus, *, n_documents: int = 4, seed: int = 0) -> WayOut:
    """Reads the final norm and the unembedding, and measures the norm's divisor on a few documents.

    Args:
        anatomy: The model.
        corpus: The text; its vocabulary says how many rows of the unembedding are tokens.
        n_documents: Documents, chosen by hash, whose median divisor is taken.
        seed: Of the choice.

    Raises:
        FeaturebookError: the model has no linear way out of its residual stream; the message is for a page.
    """
    model: Any = anatomy.model
    name = type(model).__name__
    head = model.get_output_embeddings()
    if anatomy.final_norm is None or head is None or name.endswith("ForMaskedLM"):
        raise FeaturebookError(
            f"Undefined here: {name} has no linear way from its residual stream to logits."
        )
    weight = _weight_of(head)
    if not weight.is_floating_point():
        raise FeaturebookError(f"Undefined here: the unembedding of {name} is quantised.")
    width = weight.shape[1]
    probe = torch.tensor([1.0, -1.0], device=weight.device).repeat(width // 2 + 1)[:width]
    if width % 2:
        probe[-1] = 0.0
    is_centring = FrozenNorm.at(anatomy.final_norm, probe).is_centring
    divisor = _typical_divisor(anatomy, corpus, choose_documents(corpus, n_documents, seed), is_centring)
    size = float(probe.double().square().mean().sqrt())
    norm = FrozenNorm.at(anatomy.final_norm, probe * (divisor / size))
    return WayOut(norm, weight[: len(corpus.token_bytes)], divisor)


def _weight_of(head: nn.Module) -> Tensor:
    """The unembedding, with the adapter's part where the head is adapted."""
    from peft.tuners.lora import LoraLayer

    layer: Any = head
    weight = layer.weight.detach()
    if isinstance(head, LoraLayer):
        for adapter in layer.active_adapters:
            if adapter in layer.lora_A:
                weight = weight + layer.get_delta_weight(adapter).detach()
    return weight


def _typical_divisor(anatomy: Anatomy, corpus: Corpus, docs: list[int], is_centring: bool) -> float:
    """The median over measured tokens of the root mean square (LayerNorm: standard deviation) that the norm divides by."""
    sizes: list[np.ndarray] = []

    def receive(layer: int, point: str, hidden: Tensor) -> None:
        if layer == anatomy.n_layers:
            wide = hidden.float()
            wide = wide - wide.mean(-1, keepdim=True) if is_centring else wide
            kept = feed.flatten(wide.square().mean(-1).sqrt()).cpu().numpy()
            sizes.append(kept[corpus.is_measured[feed.rows]])

    with torch.no_grad(), hooked(anatomy, receive, points=("residual",)):
        for feed in feeds(corpus, batch_tokens=2048, device=anatomy.device, docs=docs):
            run(anatomy, feed.inputs())
    joined = np.concatenate(sizes) if sizes else np.ones(1)
    found = float(np.median(joined)) if len(joined) else 1.0
    return found if np.isfinite(found) and found > 0 else 1.0


def logit_effects(
    vectors: Float[Tensor, "channel d_in"], way: WayOut, n_top: int
) -> Iterator[dict[str, Any]]:
    """Of each vector the tokens that it raises and lowers most, and the histogram over the vocabulary.

    Channels × vocabulary never exists whole: ``TILE_VALUES`` effects at a time, made from ``VOCABULARY_TILE`` rows of the
    unembedding.

    Args:
        vectors: What one unit of activation writes to the residual stream.
        way: Out of it.
        n_top: Tokens of either side.
    """
    rows = max(1, TILE_VALUES // way.n_tokens)
    for start in range(0, len(vectors), rows):
        for effects in _effects(vectors[start : start + rows], way):
            yield _told(effects, min(n_top, way.n_tokens))


def _effects(vectors: Float[Tensor, "channel d_in"], way: WayOut) -> Float[Tensor, "channel vocabulary"]:
    """Centred over the vocabulary, float32."""
    normed = way.norm(vectors.double().to(way.norm.gain.device)).float().to(way.weight.device)
    found = torch.empty(len(vectors), way.n_tokens, device=way.weight.device)
    for start in range(0, way.n_tokens, VOCABULARY_TILE):
        part = slice(start, start + VOCABULARY_TILE)
        torch.mm(normed, way.weight[part].float().T, out=found[:, part])
    return found - found.mean(1, keepdim=True, dtype=torch.float64).float()


def _told(effects: Float[Tensor, " vocabulary"], n_top: int) -> dict[str, Any]:
    if not bool(torch.isfinite(effects).all()):
        return {"undefined": "Undefined here: what it writes is not finite."}
    low, high = float(effects.min()), float(effects.max())
    if low == high:
        return {"undefined": "Undefined here: what it writes to the residual stream is zero."}
    sides = {}
    for name, sign in (("top", 1), ("bottom", -1)):
        values, tokens = (sign * effects).topk(n_top)
        sides[name] = [
            [token, sign * round_to(value)] for token, value in zip(tokens.tolist(), values.tolist())
        ]
    counts = torch.histc(effects.cpu(), BINS, low, high).long().tolist()
    return {**sides, "low": round_to(low), "high": round_to(high), "counts": counts}


def round_to(value: float, digits: int = 4) -> float:
    """A number with so many significant digits."""
    return float(f"{value:.{digits}g}")
