"""What ablating a latent does to the next-token prediction: its contribution taken away at one place, the rest of the model run.

The contribution of latent f at token t is z_f(t) · decoder_f at the place, in the model's own units. It is subtracted at one
place only: several one after another would count it twice, since later layers carry what earlier ones wrote.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from generator.blocks import Corpus
from generator.measure.analyze.tail import log_probabilities, logits
from generator.measure.dictionaries import Dictionary
from generator.measure.effects.logits import round_to
from generator.measure.effects.reading import PlaceReader, units_of

BATCH_TOKENS = 2048
"""Tokens of a forward pass, all ablated latents included."""

LOGIT_VALUES = 1 << 25
"""Logits held at once: 128 MB of float32."""

LEAST_CHANGE = 1e-4
"""A smaller change of log p, or of a probability, is the rounding of float32 and counts as none."""

MOVED, LEAST_MOVED = 4, 1e-3
"""Next tokens told of either side at each shown token, and the change of probability below which nothing moved there."""


@dataclass(frozen=True)
class Piece:
    """A run of tokens that goes through the model at once, as it was measured."""

    start: int
    """Its first token in the corpus."""
    measured: int
    """The first token that this piece measures; those before are context."""
    stop: int


@dataclass(frozen=True)
class Ablated:
    """One latent ablated in one piece."""

    latent: int
    activation: Float[np.ndarray, " token"]
    change: Float[np.ndarray, " token"]
    """log p of the true next token, ablated less as it is; NaN where there is none."""
    before: Float[Tensor, "token vocabulary"]
    after: Float[Tensor, "token vocabulary"]


def piece_of(corpus: Corpus, token: int) -> Piece:
    """The piece that measures a token."""
    index = int(np.searchsorted(corpus.pieces[:, 1], token, side="right")) - 1
    while not corpus.pieces[index, 1] <= token < corpus.pieces[index, 2]:
        index -= 1
    return Piece(*corpus.pieces[index].tolist())


class Ablation:
    """Ablates latents of one collection."""

    def __init__(self, reader: PlaceReader, dictionary: Dictionary, corpus: Corpus) -> None:
        """Runs nothing yet.

        Args:
            reader: The collection's places.
            dictionary: Over them.
            corpus: The text.
        """
        self.reader, self.dictionary, self.corpus = reader, dictionary, corpus

    @torch.no_grad()
    def of(
        self, piece: Piece, wanted: Sequence[tuple[int, int]], stop: int | None = None
    ) -> Iterator[Ablated]:
        """Some latents in one piece; those that are silent there are left out.

        Args:
            piece: The text.
            wanted: (latent, place) pairs.
            stop: The model reads no further than here, where that cannot matter (a causal model).
        """
        end = piece.stop if stop is None else min(stop, piece.stop)
        ids = self.corpus.token_ids[piece.start : end].astype(np.int64)
        anatomy = self.reader.anatomies[self.reader.table.models[0]]
        inputs = {"input_ids": torch.from_numpy(ids)[None].to(anatomy.device)}
        x = self.reader.read(inputs)[0][0].to(self.dictionary.W_enc.device)
        kept = torch.from_numpy(self.corpus.is_measured[piece.start : end]).to(x.device)
        kept &= torch.isfinite(x).all(1)
        latents = self.dictionary.encode_sparse(torch.where(kept[:, None], x, 0.0))
        dense = latents.dense(self.dictionary.n_features) * kept[:, None]
        active = [(f, place) for f, place in wanted if bool(dense[:, f].any())]
        for place in dict.fromkeys(place for _, place in active):
            own = [f for f, p in active if p == place]
            yield from self._at(place, own, inputs, dense, units_of(self.dictionary, x), piece)

    def _at(
        self,
        place: int,
        own: list[int],
        inputs: dict[str, Tensor],
        dense: Tensor,
        units: Tensor,
        piece: Piece,
    ) -> Iterator[Ablated]:
        n_tokens = inputs["input_ids"].shape[1]
        width = self.reader.width
        columns = slice(place * width, (place + 1) * width)
        with self.reader.unchanged(place) as anatomy:
            before = log_probabilities(logits(anatomy, inputs)[0])
        rows = max(1, min(BATCH_TOKENS // n_tokens, LOGIT_VALUES // before.numel()))
        following = self._following(piece.start, n_tokens).to(before.device)
        for start in range(0, len(own), rows):
            part = own[start : start + rows]
            values = (dense[:, part] * units[:, None]).T
            change = -values[..., None] * self.dictionary.W_dec[part, columns][:, None]
            ids = inputs["input_ids"].expand(len(part), -1)
            with self.reader.changed(place, change) as anatomy:
                after = log_probabilities(logits(anatomy, {"input_ids": ids}))
            for f, found in zip(part, after):
                yield self._told(f, dense[:, f], before, found, following)

    def _told(self, f: int, activation: Tensor, before: Tensor, after: Tensor, following: Tensor) -> Ablated:
        has_next = following >= 0
        true = following.clamp(min=0)[:, None]
        moved = (after.gather(1, true) - before.gather(1, true))[:, 0]
        change = torch.where(has_next, moved, torch.nan).cpu().numpy().astype(np.float64)
        return Ablated(f, activation.cpu().numpy(), change, before, after)

    def _following(self, start: int, n_tokens: int) -> Int[Tensor, " token"]:
        """The token after each, −1 at the end of a document."""
        rows = np.arange(start, start + n_tokens)
        after = np.minimum(rows + 1, self.corpus.n_tokens - 1)
        is_inside = (rows + 1 < self.corpus.n_tokens) & (self.corpus.doc[after] == self.corpus.doc[rows])
        return torch.from_numpy(np.where(is_inside, self.corpus.token_ids[after], -1).astype(np.int64))


def example_of(
    corpus: Corpus, found: Ablated, piece: Piece, doc: int, peak: int, window: slice
) -> dict[str, Any]:
    """What the page shows of one example.

    Args:
        corpus: The text.
        found: The latent ablated in the piece.
        piece: That holds the peak.
        doc: The document.
        peak: In the corpus.
        window: Tokens shown, in the corpus, inside the piece.
    """
    first = int(corpus.doc_offsets[doc])
    own = slice(window.start - piece.start, window.stop - piece.start)
    change, activation = found.change[own], found.activation[own]
    shift = (found.after[own].exp() - found.before[own].exp()).abs().amax(-1).tolist()
    return {
        "doc": doc,
        "position": peak - first,
        "start": window.start - first,
        "token_ids": corpus.token_ids[window].tolist(),
        "values": [round_to(float(v)) for v in activation],
        "changes": rounded(change),
        "moved": [_moved(found, own.start + at, at) for at, most in enumerate(shift) if most >= LEAST_MOVED],
    }


def rounded(change: Float[np.ndarray, " token"]) -> list[float | None]:
    """Changes of log p as they are kept: None where there is no next token."""
    return [None if np.isnan(c) else round(float(c), 4) + 0.0 for c in change]


def _moved(found: Ablated, row: int, at: int) -> dict[str, Any]:
    """The next tokens whose probability ablating raises and lowers most: id, probability before, after."""
    before, after = found.before[row].exp(), found.after[row].exp()
    difference = after - before
    sides: dict[str, Any] = {"at": at}
    for name, sign in (("up", 1), ("down", -1)):
        values, tokens = (sign * difference).topk(min(MOVED, len(difference)))
        sides[name] = [
            [token, round_to(float(before[token]), 3), round_to(float(after[token]), 3)]
            for token, value in zip(tokens.tolist(), values.tolist())
            if value >= LEAST_CHANGE
        ]
    return sides
