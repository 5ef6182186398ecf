"""How often a channel is active: tokens and documents in which |activation| exceeds its threshold."""

import numpy as np

from generator.summarize.entries import Entries
from generator.summarize.view import Scope, View, column_counts


class Activity:
    """Exact counts of active tokens and of documents with one."""

    def __init__(self, scope: Scope) -> None:
        self.n_active = np.zeros(scope.n_channels, np.int64)
        self.n_documents = np.zeros(scope.n_channels, np.int64)

    def add(self, view: View) -> None:
        """Takes in the measured, finite values of a block."""
        if not view.n:
            return
        self.n_active += column_counts(view.active)
        bounds = np.append(view.doc_starts, view.n)
        for start, stop in zip(bounds, bounds[1:]):
            self.n_documents += view.active[start:stop].any(axis=0)

    def add_sparse(self, view: Entries) -> None:
        """Takes in the measured, finite values of a sparse block."""
        channel, doc = view.channel[view.is_active], view.doc[view.row[view.is_active]]
        self.n_active += np.bincount(channel, minlength=len(self.n_active))
        is_first = np.diff(channel, prepend=-1) != 0  # of its channel or of its document
        is_first |= np.diff(doc, prepend=-1) != 0
        self.n_documents += np.bincount(channel[is_first], minlength=len(self.n_documents))

    def merge(self, other: "Activity") -> None:
        """Takes in another accumulator's tokens."""
        self.n_active += other.n_active
        self.n_documents += other.n_documents

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to go on."""
        return {"n_active": self.n_active, "n_documents": self.n_documents}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Takes over what ``state`` gave."""
        self.n_active, self.n_documents = state["n_active"], state["n_documents"]
