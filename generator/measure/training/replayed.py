"""How much of a model's loss survives when one place of it is rebuilt from the dictionary that reads it.

Three passes: the model as it is; the place's vectors replaced by what the dictionary rebuilds of them; and the baseline, the
place at its mean, which says nothing of the token. Loss recovered is (CE_mean − CE_rebuilt) / (CE_mean − CE_full).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from generator.blocks import Corpus
from generator.measure.analyze.capture import Feed, feeds
from generator.measure.analyze.tail import logits
from generator.measure.dictionaries import Dictionary
from generator.measure.effects.reading import PlaceReader
from generator.measure.training.recovered import (
    BATCH_TOKENS,
    PASSES,
    measured_in,
    share_of,
    summed_loss,
    why_undefined,
)


@torch.no_grad()
def loss_replayed(
    reader: PlaceReader,
    corpus: Corpus,
    dictionary: Dictionary,
    docs: Sequence[int],
    batch_tokens: int = BATCH_TOKENS,
) -> dict[str, Any]:
    """The cross-entropies of the three passes and what they come to.

    Only tokens that count in statistics are replaced; the mean is theirs, over the same documents.

    Args:
        reader: Of the one place.
        corpus: The text.
        dictionary: Reads the place and rebuilds it.
        docs: Documents to read.
        batch_tokens: Tokens of a forward pass.

    Returns:
        See ``recovered.loss_recovered``; ``replayed`` is the place.
    """
    name = reader.places[0].name
    with reader.unchanged(0) as anatomy:
        why = why_undefined(anatomy)
    if dictionary.is_transcoder:
        why = "It writes to another place than it reads, so what it rebuilds cannot stand for what it read."
    if why:
        return {"value": None, "undefined": why, "replayed": name}
    batches = list(feeds(corpus, batch_tokens=batch_tokens, device=anatomy.device, docs=docs))
    mean = _mean(reader, corpus, batches)
    totals = np.zeros((len(PASSES) + 1, corpus.n_docs))  # sums of the passes, then tokens, by document
    for feed in batches:
        totals += _three_passes(reader, corpus, feed, dictionary, mean)
    return share_of(totals, "place") | {"baseline": "place at its mean", "replayed": name}


def _rows(reader: PlaceReader, corpus: Corpus, feed: Feed) -> tuple[Tensor, Tensor]:
    """The place's vectors (doc, token, d_in), and which of them count."""
    x = reader.read(feed.inputs())[0]
    kept = torch.from_numpy(measured_in(feed, corpus)).to(x.device)
    return x, kept & torch.isfinite(x).all(-1)


def _mean(reader: PlaceReader, corpus: Corpus, batches: Sequence[Feed]) -> Float[Tensor, " d_in"]:
    total, n = torch.zeros(reader.width, dtype=torch.float64), 0
    for feed in batches:
        x, kept = _rows(reader, corpus, feed)
        own = kept & feed.kept.to(kept.device)  # the overlap of two pieces counts once
        total += x[own].double().sum(0).cpu()
        n += int(own.sum())
    return (total / max(n, 1)).float()


def _three_passes(
    reader: PlaceReader, corpus: Corpus, feed: Feed, dictionary: Dictionary, mean: Float[Tensor, " d_in"]
) -> Float[np.ndarray, "k doc"]:
    x, kept = _rows(reader, corpus, feed)
    own = x[kept].to(dictionary.W_enc.device)
    rebuilt = dictionary.reconstruct(own).to(x)
    with reader.unchanged(0) as anatomy:
        full, n_tokens = summed_loss(logits(anatomy, feed.inputs()), feed, corpus)
    sums = [full]
    for values in (rebuilt, mean.to(x).expand_as(rebuilt)):
        change = torch.zeros_like(x)
        change[kept] = values - x[kept]
        with reader.changed(0, change) as anatomy:
            sums.append(summed_loss(logits(anatomy, feed.inputs()), feed, corpus)[0])
    return np.stack([*sums, n_tokens])
