"""Every channel's values on the same few whole documents: what comparing channels token by token needs."""

from typing import Any

import numpy as np
from jaxtyping import Float16, Int

from generator.summaries import SharedValues
from generator.summarize.documents import chosen_documents, chosen_in
from generator.summarize.entries import Entries
from generator.summarize.hashing import doc_hash
from generator.summarize.view import Scope, View

MOST_DENSE = 2**27
"""Values that are kept where channels are signed, hence mostly not zero: 256 MB of float16."""


def shared_documents(scope: Scope) -> Int[np.ndarray, " doc"]:
    """Documents with a page, in the order of their hash, while they fit into ``value_tokens``; ascending."""
    budget = scope.settings.value_tokens
    if scope.is_signed.any():
        budget = min(budget, MOST_DENSE // max(1, scope.n_channels))
    documents = chosen_documents(scope)
    kept = []
    for doc in documents[np.argsort(doc_hash(scope.seed, documents), kind="stable")].tolist():
        tokens = scope.corpus.tokens_of(doc)
        if tokens.stop - tokens.start <= budget:
            kept.append(doc)
            budget -= tokens.stop - tokens.start
    return np.array(sorted(kept), np.int64)


class Values:
    """The values of all channels at every token of the shared documents, measured or not, as float16 multiples of the
    channel's reference RMS. Zeros of unsigned channels are not stored."""

    def __init__(self, scope: Scope) -> None:
        self.chosen = shared_documents(scope)
        rms = np.array([c.reference_rms for c in scope.channels], np.float32)
        self.unit = np.where((rms > 0) & np.isfinite(rms), rms, np.float32(1))
        self.is_dense = bool(scope.is_signed.any())
        self.kept: dict[
            int, dict[str, np.ndarray]
        ] = {}  # doc -> {"values"} or {"token", "channel", "values"}

    def add(self, view: View) -> None:
        """Takes in the shared documents of a block."""
        for doc in chosen_in(view, self.chosen):
            tokens = view.scope.corpus.tokens_of(doc)
            values = view.block.values[tokens.start - view.start : tokens.stop - view.start]
            ratios = _ratios(values, self.unit)
            if self.is_dense:
                self.kept[doc] = {"values": ratios}
            else:
                token, channel = np.nonzero(ratios)
                self._keep(doc, token, channel, ratios[token, channel])

    def add_sparse(self, view: Entries) -> None:
        """Takes in the shared documents of a sparse block."""
        for doc in chosen_in(view, self.chosen):
            tokens = view.scope.corpus.tokens_of(doc)
            token, channel, value = view.by_row(tokens.start, tokens.stop)
            token, ratios = token - tokens.start, _ratios(value, self.unit[channel])
            if self.is_dense:
                dense = np.zeros((tokens.stop - tokens.start, len(self.unit)), np.float16)
                dense[token, channel] = ratios
                self.kept[doc] = {"values": dense}
            else:
                order = np.lexsort((channel, token))
                order = order[ratios[order] != 0]  # what float16 holds
                self._keep(doc, token[order], channel[order], ratios[order])

    def _keep(self, doc: int, token: np.ndarray, channel: np.ndarray, ratios: np.ndarray) -> None:
        places = {"token": token.astype(np.int32), "channel": channel.astype(np.int32)}
        self.kept[doc] = places | {"values": ratios}

    def merge(self, other: "Values") -> None:
        """Takes in another accumulator's documents."""
        self.kept |= other.kept

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to go on."""
        docs = sorted(self.kept)
        n = len(self.unit)
        bounds = np.cumsum([0, *(len(self.kept[d]["values"]) for d in docs)], dtype=np.int64)
        empty: dict[str, Any] = {"values": np.zeros((0, n) if self.is_dense else 0, np.float16)}
        if not self.is_dense:
            empty |= {"token": np.zeros(0, np.int32), "channel": np.zeros(0, np.int32)}
        parts = [empty, *(self.kept[d] for d in docs)]
        columns = {name: np.concatenate([part[name] for part in parts]) for name in empty}
        return {"doc": np.array(docs, np.int64), "bounds": bounds, **columns}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Takes over what ``state`` gave."""
        names = [name for name in state if name not in ("doc", "bounds")]
        self.kept = {
            int(doc): {name: state[name][a:b] for name in names}
            for doc, a, b in zip(state["doc"], state["bounds"], state["bounds"][1:])
        }

    def result(self, scope: Scope) -> SharedValues | None:
        """The values by channel; None where no document was kept."""
        docs = sorted(self.kept)
        if not docs:
            return None
        lengths = np.diff(scope.corpus.doc_offsets)[docs]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        if self.is_dense:
            dense = np.concatenate([self.kept[d]["values"] for d in docs])
            return SharedValues(0, np.array(docs), offsets, self.unit, {"dense": dense})
        token = np.concatenate([self.kept[d]["token"] + o for d, o in zip(docs, offsets.tolist())])
        channel = np.concatenate([self.kept[d]["channel"] for d in docs])
        value = np.concatenate([self.kept[d]["values"] for d in docs])
        order = np.lexsort((token, channel))
        bounds = np.searchsorted(channel[order], np.arange(len(self.unit) + 1)).astype(np.int64)
        sparse: dict[str, np.ndarray] = {
            "bounds": bounds,
            "token": token[order].astype(np.int32),
            "value": value[order],
        }
        return SharedValues(0, np.array(docs), offsets, self.unit, sparse)


def _ratios(values: np.ndarray, unit: np.ndarray) -> Float16[np.ndarray, "..."]:
    return np.where(np.isfinite(values), values / unit, np.nan).astype(np.float16)
