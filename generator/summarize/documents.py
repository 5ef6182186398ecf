"""Documents that get a page: the strongest channels at each of their tokens."""

import numpy as np
from jaxtyping import Float32, Int

from generator.summarize.entries import Entries
from generator.summarize.hashing import doc_hash
from generator.summarize.lists import EMPTY, make_keys, places, token_of
from generator.summarize.view import STRIP, Rows, Scope, View

STRONGEST = 8
"""Channels per token."""

_BYTES_PER_TOKEN = STRONGEST * 8


def chosen_documents(scope: Scope) -> Int[np.ndarray, " doc"]:
    """The documents with the lowest hash of (seed, document), up to both limits of the run file, ascending.

    A document that does not fit what is left of ``document_megabytes`` is passed over. Empty ones are never chosen.
    """
    lengths = np.diff(scope.corpus.doc_offsets)
    order = np.argsort(doc_hash(scope.seed, np.arange(scope.corpus.n_docs)), kind="stable")
    left = int(scope.settings.document_megabytes * 1e6)
    chosen: list[int] = []
    for doc in order.tolist():
        if len(chosen) == scope.settings.documents:
            break
        size = int(lengths[doc]) * _BYTES_PER_TOKEN
        if 0 < size <= left:
            chosen.append(doc)
            left -= size
    return np.array(sorted(chosen), np.int64)


def chosen_in(view: Rows, chosen: Int[np.ndarray, " doc"]) -> list[int]:
    """Those of the chosen documents that lie in a block and have tokens."""
    first, last = np.searchsorted(view.scope.corpus.doc_offsets, [view.start, view.stop])
    return chosen[slice(*np.searchsorted(chosen, [first, last]))].tolist()


class Documents:
    """The strongest channels at each token of the chosen documents, measured or not."""

    def __init__(self, scope: Scope) -> None:
        self.chosen = chosen_documents(scope)
        rms = np.array([c.reference_rms for c in scope.channels], np.float64)
        self.inverse_rms = np.where(rms > 0, 1 / np.where(rms > 0, rms, 1), 0).astype(np.float32)
        self.kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # doc -> (channel, value), both (token, 8)

    def add(self, view: View) -> None:
        """Takes in the chosen documents of a block."""
        for doc in chosen_in(view, self.chosen):
            tokens = view.scope.corpus.tokens_of(doc)
            values = view.block.values[tokens.start - view.start : tokens.stop - view.start]
            parts = [strongest(values[i : i + STRIP], self.inverse_rms) for i in range(0, len(values), STRIP)]
            channel, value = (np.concatenate(p) for p in zip(*parts))
            self.kept[doc] = channel, value

    def add_sparse(self, view: Entries) -> None:
        """Takes in the chosen documents of a sparse block."""
        for doc in chosen_in(view, self.chosen):
            tokens = view.scope.corpus.tokens_of(doc)
            parts = [
                _strongest_entries(view, start, min(start + STRIP, tokens.stop), self.inverse_rms)
                for start in range(tokens.start, tokens.stop, STRIP)
            ]
            channel, value = (np.concatenate(p) for p in zip(*parts))
            self.kept[doc] = channel, value

    def merge(self, other: "Documents") -> None:
        """Takes in another accumulator's documents."""
        self.kept |= other.kept

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to go on; also the finished result."""
        docs = sorted(self.kept)
        empty = np.zeros((0, STRONGEST))
        channel = [self.kept[d][0] for d in docs] or [empty.astype(np.int32)]
        value = [self.kept[d][1] for d in docs] or [empty.astype(np.float32)]
        offsets = np.cumsum([0, *(len(self.kept[d][0]) for d in docs)], dtype=np.int64)
        return {
            "doc": np.array(docs, np.int64),
            "offsets": offsets,
            "channel": np.concatenate(channel),
            "value": np.concatenate(value),
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Takes over what ``state`` gave."""
        bounds = state["offsets"]
        self.kept = {
            int(doc): (state["channel"][a:b], state["value"][a:b])
            for doc, a, b in zip(state["doc"], bounds, bounds[1:])
        }


def strongest(
    values: Float32[np.ndarray, "token channel"], inverse_rms: Float32[np.ndarray, " channel"]
) -> tuple[np.ndarray, np.ndarray]:
    """The channels with the largest |value| / reference_rms at each token, strongest first, equal ones by index.

    Returns:
        (token, 8) channel indices, −1 where there are no more channels with a finite value other than 0, and their values.
    """
    score = np.abs(values) * inverse_rms
    score[~np.isfinite(score)] = 0
    n = min(STRONGEST, score.shape[1])
    channel = np.full((len(values), STRONGEST), -1, np.int32)
    value = np.zeros((len(values), STRONGEST), np.float32)
    for rank in range(n):
        best = score.argmax(axis=1)
        row = np.flatnonzero(np.take_along_axis(score, best[:, None], axis=1)[:, 0] > 0)
        channel[row, rank], value[row, rank] = best[row], values[row, best[row]]
        score[row, best[row]] = 0
    return channel, value


def _strongest_entries(
    view: Entries, start: int, stop: int, inverse_rms: Float32[np.ndarray, " channel"]
) -> tuple[np.ndarray, np.ndarray]:
    """``strongest`` of the global tokens ``start:stop`` of a sparse block."""
    token, channel, value = view.by_row(start, stop)
    score = np.abs(value) * inverse_rms[channel]
    kept = np.isfinite(score) & (score > 0)
    if not kept.all():
        token, channel, value, score = (column[kept] for column in (token, channel, value, score))
    place = places(token)
    keys = np.full((stop - start, max(STRONGEST, int(place.max(initial=0)) + 1)), EMPTY)
    by_channel = np.arange(len(score))  # decides between equal ones
    keys[token - start, place] = make_keys(score.view(np.int32), by_channel)
    best = np.sort(np.partition(keys, -STRONGEST, axis=1)[:, -STRONGEST:], axis=1)[:, ::-1]
    is_taken = best != EMPTY
    entry = token_of(best[is_taken])
    shown = np.full(best.shape, -1, np.int32), np.zeros(best.shape, np.float32)
    shown[0][is_taken], shown[1][is_taken] = channel[entry], value[entry]
    return shown
