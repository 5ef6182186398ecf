"""How alike the channels of two runs are: cosines of their vectors, correlations of their activations on the same text."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from generator.blocks import Channel, Corpus, Directions
from generator.summaries import Summary


@dataclass(frozen=True)
class Run:
    """What two runs are compared by."""

    corpus: Corpus
    summary: Summary
    directions: Sequence[Directions]
    """Of the adapter; none where it has none."""

    @property
    def channels(self) -> list[Channel]:
        """The channel table."""
        return self.summary.channels


# --- vectors ---------------------------------------------------------------------------------------------------

Space = tuple[str, str, int]
"""Side, name of the space, width: vectors with the same three can be compared."""


@dataclass(frozen=True)
class Vectors:
    """Unit vectors by space."""

    units: dict[Space, np.ndarray]  # ("read", "residual", 5120) -> (vector, d)
    rows: dict[Space, np.ndarray]
    """Channel -> row of ``units``; −1 for none."""

    def of(self, space: Space, channels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of these channels have a vector in a space, and the vectors."""
        rows = self.rows[space][channels]
        return np.flatnonzero(rows >= 0), self.units[space][rows[rows >= 0]]


def vectors_of(run: Run, other: Run) -> Vectors:
    """The vectors of the adapter; and the weights of dictionaries over it, where both runs have the same adapter."""
    found: dict[Space, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
    for d in run.directions:
        found[(d.side, d.space, d.vectors.shape[1])].append((d.channels, d.vectors))
    if _is_same_adapter(run.directions, other.directions):
        for loadings in run.summary.loadings:
            name = "channels " + " ".join(loadings.inputs)
            for side, weights in (("read", loadings.read), ("write", loadings.write)):
                found[(side, name, weights.shape[1])].append((loadings.channels, weights))
    units, rows = {}, {}
    for space, parts in found.items():
        vectors = np.concatenate([part[1] for part in parts]).astype(np.float32)
        sizes = np.linalg.norm(vectors, axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            units[space] = vectors / np.where(sizes > 0, sizes, np.nan)
        rows[space] = np.full(len(run.channels), -1)
        rows[space][np.concatenate([part[0] for part in parts])] = np.arange(len(vectors))
    return Vectors(units, rows)


def _is_same_adapter(mine: Sequence[Directions], theirs: Sequence[Directions]) -> bool:
    """Whether the two runs read the same vectors: only then do weights over them mean the same."""
    return (
        bool(mine)
        and len(mine) == len(theirs)
        and all(
            a.space == b.space and a.side == b.side and np.array_equal(a.vectors, b.vectors)
            for a, b in zip(mine, theirs)
        )
    )


def _spaces(mine: Vectors, theirs: Vectors, side: str) -> list[Space]:
    return [space for space in mine.units if space[0] == side and space in theirs.units]


def share_a_space(mine: Vectors, theirs: Vectors, side: str, a: np.ndarray, b: np.ndarray) -> bool:
    return any(
        (mine.rows[space][a] >= 0).any() and (theirs.rows[space][b] >= 0).any()
        for space in _spaces(mine, theirs, side)
    )


def cosine_matrix(
    mine: Vectors, theirs: Vectors, side: str, a: np.ndarray, b: np.ndarray
) -> Float[np.ndarray, "channel k"]:
    out = np.full((len(a), len(b)), np.nan, np.float32)
    for space in _spaces(mine, theirs, side):
        (at_a, u), (at_b, v) = mine.of(space, a), theirs.of(space, b)
        out[np.ix_(at_a, at_b)] = u @ v.T
    return out


def cosines_of_pairs(
    mine: Vectors, theirs: Vectors, side: str, a: np.ndarray, b: np.ndarray
) -> Float[np.ndarray, " k"]:
    out = np.full(len(a), np.nan)
    for space in _spaces(mine, theirs, side):
        rows_a, rows_b = mine.rows[space][a], theirs.rows[space][b]
        at = np.flatnonzero((rows_a >= 0) & (rows_b >= 0))
        u, v = mine.units[space][rows_a[at]], theirs.units[space][rows_b[at]]
        out[at] = np.einsum("kd,kd->k", u, v, dtype=np.float64)
    return np.clip(out, -1, 1)


# --- activations on the same text ------------------------------------------------------------------------------


class SharedText:
    """The documents of which both runs keep every value, where they hold the same tokens."""

    def __init__(self, mine: Run, theirs: Run) -> None:
        self.runs = mine, theirs
        first, second = ({d: i for i, d in enumerate(_docs(run))} for run in (mine, theirs))
        self.docs = [doc for doc in first if doc in second and _is_same_text(mine.corpus, theirs.corpus, doc)]
        self.at = [
            _tokens_of(run, [places[doc] for doc in self.docs])
            for run, places in zip(self.runs, (first, second))
        ]
        measured = [run.corpus.is_measured[self._global(run)] for run in self.runs]
        both = measured[0] & measured[1]
        self.at = [at[both] for at in self.at]
        self.n_tokens = int(both.sum())

    def _global(self, run: Run) -> Int[np.ndarray, " token"]:
        ranges = [np.arange(*run.corpus.doc_offsets[[doc, doc + 1]]) for doc in self.docs]
        return np.concatenate([np.zeros(0, np.int64), *ranges])

    def values(self, which: int, channel: int) -> Float[np.ndarray, " token"] | None:
        """The activations of a channel of this run (0) or of the other (1); None where they were not kept."""
        held = next((s for s in self.runs[which].summary.shared if s.holds(channel)), None)
        return None if held is None else held.of(channel)[self.at[which]].astype(np.float64)

    def correlations(self, a: np.ndarray, b: np.ndarray) -> Float[np.ndarray, " k"]:
        """Of pairs of channels."""
        return np.array([self._correlation(i, j) for i, j in zip(a.tolist(), b.tolist())], np.float64)

    def _correlation(self, a: int, b: int) -> float:
        if not self.n_tokens:
            return np.nan
        x, y = self.values(0, a), self.values(1, b)
        if x is None or y is None:
            return np.nan
        both = np.isfinite(x) & np.isfinite(y)
        x, y = x[both], y[both]
        if len(x) < 2 or x.min() == x.max() or y.min() == y.max():
            return np.nan
        x, y = x - x.mean(), y - y.mean()
        return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1, 1))

    def correlation_matrix(self, a: np.ndarray, b: np.ndarray) -> Float[np.ndarray, "channel k"]:
        """Of every channel with every other, to find counterparts; values that are not finite count as the mean."""
        u, v = (
            np.stack([self._standard(which, c) for c in channels.tolist()])
            for which, channels in enumerate((a, b))
        )
        return u @ v.T

    def _standard(self, which: int, channel: int) -> Float[np.ndarray, " token"]:
        values = self.values(which, channel)
        if values is None:
            return np.full(self.n_tokens, np.nan, np.float32)
        finite = values[np.isfinite(values)]
        centred = np.where(np.isfinite(values), values - (finite.mean() if len(finite) else 0.0), 0.0)
        size = np.linalg.norm(centred)
        return (centred / size if size > 0 else np.full(len(centred), np.nan)).astype(np.float32)


def _docs(run: Run) -> list[int]:
    return run.summary.shared[0].doc.tolist() if run.summary.shared else []


def _tokens_of(run: Run, rows: list[int]) -> Int[np.ndarray, " token"]:
    """Where the tokens of kept documents stand among the tokens kept."""
    if not rows:
        return np.zeros(0, np.int64)
    offsets = run.summary.shared[0].offsets
    return np.concatenate([np.arange(offsets[row], offsets[row + 1]) for row in rows])


def _is_same_text(mine: Corpus, theirs: Corpus, doc: int) -> bool:
    if doc >= mine.n_docs or doc >= theirs.n_docs:
        return False
    a, b = mine.token_ids[mine.tokens_of(doc)], theirs.token_ids[theirs.tokens_of(doc)]
    if not np.array_equal(a, b):
        return False
    return all(mine.token_bytes[token] == theirs.token_bytes[token] for token in np.unique(a).tolist())
