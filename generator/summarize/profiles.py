"""Mean activation by position in the document and by step of the document."""

import re

import numpy as np
from jaxtyping import Int

from generator.blocks import Corpus
from generator.summarize.entries import Entries
from generator.summarize.view import Rows, Scope, View, float64_mean

N_POSITION_BINS = 24
"""0, 1, 2–3, 4–7, …; the last holds everything from 2^22."""

N_STEPS = 16
"""Steps 0 … 14, and everything after as 15+."""

_BLANK_LINE = re.compile(rb"\n[ \t\r\f\v]*\n\s*")


def position_bin(position: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """0 for position 0, 1 for 1, 2 for 2–3, 3 for 4–7, …"""
    return np.minimum(np.frexp(position.astype(np.float64))[1], N_POSITION_BINS - 1)


def position_names() -> list[str]:
    """Names of the position bins."""
    middle = [f"{2 ** (b - 1)}–{2**b - 1}" for b in range(2, N_POSITION_BINS - 1)]
    return ["0", "1", *middle, f"{2 ** (N_POSITION_BINS - 2)}+"]


def step_names() -> list[str]:
    """Names of the steps."""
    return [*map(str, range(N_STEPS - 1)), f"{N_STEPS - 1}+"]


def steps_of(token_bytes: list[bytes]) -> Int[np.ndarray, " token"]:
    """The step of each token of a document.

    Steps are what blank lines separate. A blank line is a line break, spaces or tabs or nothing, a line break, in the bytes
    of the whole document, whichever tokens they fall into; white space that follows it belongs to it. A token belongs to the
    step in which its first byte lies, and a blank line to the step before it. Blank lines before any text do not count.
    """
    starts = np.cumsum([0, *map(len, token_bytes)])[:-1]
    text = b"".join(token_bytes)
    lead = len(text) - len(text.lstrip())
    ends = [m.end() for m in _BLANK_LINE.finditer(text, lead)]
    return np.searchsorted(ends, starts, side="right")


class Profiles:
    """Sums of the activations by position bin and by step, in float64."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.sums = np.zeros((N_POSITION_BINS + N_STEPS, scope.n_channels))
        self.counts = np.zeros(self.sums.shape, np.int64)

    def add(self, view: View) -> None:
        """Takes in the measured, finite values of a block."""
        if not view.n:
            return
        position, step = _bins(view)
        used, columns = np.unique(np.concatenate([position, step]), return_inverse=True)
        position, step = columns[: view.n], columns[view.n :]
        for rows in view.strips():
            n = rows.stop - rows.start
            member = np.zeros((n, len(used)))
            member[np.arange(n), position[rows]] = 1
            member[np.arange(n), step[rows]] = 1
            self.sums[used] += member.T @ view.zeroed[rows].astype(np.float64)
            if view.finite is not None:
                self.counts[used] += (member.T @ view.finite[rows].astype(np.float64)).astype(np.int64)
        if view.finite is None:
            self.counts[used] += np.bincount(columns, minlength=len(used))[:, None]

    def add_sparse(self, view: Entries) -> None:
        """Takes in the measured, finite values of a sparse block."""
        n_channels = self.sums.shape[1]
        channel, row = view.broken
        for bins in _bins(view):
            np.add.at(self.sums.reshape(-1), bins[view.row] * n_channels + view.channel, view.wide)
            self.counts += np.bincount(bins, minlength=len(self.counts))[:, None]
            np.subtract.at(self.counts, (bins[row], channel), 1)

    def merge(self, other: "Profiles") -> None:
        """Takes in another accumulator's tokens."""
        self.sums += other.sums
        self.counts += other.counts

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to go on."""
        return {"sums": self.sums, "counts": self.counts}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Takes over what ``state`` gave."""
        self.sums, self.counts = state["sums"], state["counts"]

    def result(self) -> dict[str, tuple[list[str], np.ndarray, np.ndarray]]:
        """Names of the bins, mean and count per channel and bin; bins after the last that occurs are left out."""
        parts = {
            "position": (position_names(), slice(0, N_POSITION_BINS)),
            "step": (step_names(), slice(N_POSITION_BINS, None)),
        }
        out = {}
        for name, (names, rows) in parts.items():
            n = int(np.flatnonzero(self.counts[rows].any(axis=1)).max(initial=0)) + 1
            count = self.counts[rows][:n]
            out[name] = (names[:n], float64_mean(self.sums[rows][:n], count).T, count.T)
        return out


def _bins(view: Rows) -> tuple[Int[np.ndarray, " token"], Int[np.ndarray, " token"]]:
    """The rows of ``sums`` that the position and the step of each token belong to."""
    return position_bin(view.position), N_POSITION_BINS + np.minimum(_steps(view), N_STEPS - 1)


def _steps(view: Rows) -> Int[np.ndarray, " token"]:
    """The step of each row."""
    corpus: Corpus = view.scope.corpus
    out = np.empty(view.n, np.int64)
    bounds = np.append(view.doc_starts, view.n)
    for start, stop in zip(bounds, bounds[1:]):
        tokens = corpus.tokens_of(int(view.doc[start]))
        steps = steps_of([corpus.token_bytes[i] for i in corpus.token_ids[tokens].tolist()])
        out[start:stop] = steps[view.token[start:stop] - tokens.start]
    return out
