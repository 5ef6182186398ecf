"""Mean activation of every vocabulary entry, and the class of a token by its spelling."""

import unicodedata

import numpy as np
from jaxtyping import Float, Int

from generator.summarize.view import Scope, View, float64_mean

TOKEN_CLASSES = (
    "special",
    "digit",
    "word",
    "non-Latin",
    "operator",
    "punctuation",
    "mixed",
    "line break",
    "whitespace",
    "bytes",
)
"""What ``token_class`` returns, in the order of the page."""

_OPERATORS = frozenset("+-*/=<>^%&|~\\@#$_×÷±≤≥≠≈·∑∏√∫∂∈∉⊂⊆∪∩→←⇒⇔")
_FREQUENT = 4


class TokenMeans:
    """Sum of the activations at each vocabulary entry, in float64; rows only for entries that occur."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.row_of = np.full(len(scope.corpus.token_bytes), -1, np.int64)
        self.ids = np.zeros(0, np.int64)
        self.sums = np.zeros((0, scope.n_channels))
        self.counts = np.zeros(0, np.int64)
        self.missing: np.ndarray | None = (
            None  # (row, channel): non-finite values; None while there were none
        )

    def add(self, view: View) -> None:
        """Takes in the measured, finite values of a block."""
        if not view.n:
            return
        ids = view.scope.corpus.token_ids[view.token].astype(np.int64)
        order = np.argsort(ids, kind="stable")
        starts = np.flatnonzero(np.diff(ids[order], prepend=-1))
        rows = self._rows(ids[order[starts]])
        counts = np.diff(np.append(starts, len(order)))
        self.counts[rows] += counts
        self._add_sums(rows, view.zeroed[order], starts, counts)
        if view.finite is not None:
            np.add.at(self._missing(), self.row_of[ids], ~view.finite)

    def merge(self, other: "TokenMeans") -> None:
        """Takes in another accumulator's tokens."""
        rows = self._rows(other.ids)
        n = len(other.ids)
        self.sums[rows] += other.sums[:n]
        self.counts[rows] += other.counts[:n]
        if other.missing is not None:
            self._missing()[rows] += other._missing()[:n]

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to go on."""
        n = len(self.ids)
        state = {"ids": self.ids, "sums": self.sums[:n], "counts": self.counts[:n]}
        return state if self.missing is None else state | {"missing": self._missing()[:n]}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Takes over what ``state`` gave."""
        self.ids, self.sums, self.counts = state["ids"], state["sums"], state["counts"]
        self.missing = state.get("missing")
        self.row_of[self.ids] = np.arange(len(self.ids))

    def result(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Vocabulary ids ascending, and per id (row) and channel: sum, count of finite values."""
        order = np.argsort(self.ids)
        counts = np.broadcast_to(self.counts[order][:, None], (len(order), self.scope.n_channels))
        if self.missing is not None:
            counts = counts - self._missing()[order]
        return self.ids[order], self.sums[order], counts

    def _rows(self, ids: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """The rows of vocabulary entries, new ones appended (arrays grow by half)."""
        new = ids[self.row_of[ids] < 0]
        self.row_of[new] = len(self.ids) + np.arange(len(new))
        self.ids = np.concatenate([self.ids, new])
        if len(self.ids) > len(self.sums):
            extra = len(self.ids) + len(self.ids) // 2 - len(self.sums)
            self.sums = np.concatenate([self.sums, np.zeros((extra, self.sums.shape[1]))])
            self.counts = np.concatenate([self.counts, np.zeros(extra, np.int64)])
        return self.row_of[ids]

    def _missing(self) -> np.ndarray:
        """The missing counts, as many rows as ``sums`` has."""
        missing = np.zeros(self.sums.shape, np.int32)
        if self.missing is not None:
            missing[: len(self.missing)] = self.missing
        self.missing = missing
        return missing

    def _add_sums(self, rows: np.ndarray, values: np.ndarray, starts: np.ndarray, counts: np.ndarray) -> None:
        """Adds runs of ``values`` to rows: frequent entries run by run, the others occurrence by occurrence.

        (``np.add.reduceat`` along the first axis and ``np.add.at`` are several times slower.)
        """
        is_frequent = counts >= _FREQUENT
        for row, start, count in zip(rows[is_frequent], starts[is_frequent], counts[is_frequent]):
            self.sums[row] += values[start : start + count].sum(axis=0, dtype=np.float64)
        for nth in range(_FREQUENT - 1):
            chosen = ~is_frequent & (counts > nth)
            self.sums[rows[chosen]] += values[starts[chosen] + nth]


def extreme_tokens(
    ids: Int[np.ndarray, " n"], mean: Float[np.ndarray, " n"], count: Int[np.ndarray, " n"], limit: int
) -> dict[str, np.ndarray]:
    """The ``limit`` entries with the highest mean, best first, equal means by id; NaN means are no candidates."""
    kept = np.flatnonzero(~np.isnan(mean))
    if len(kept) > limit > 0:
        cut = np.partition(mean[kept], len(kept) - limit)[len(kept) - limit]
        kept = kept[mean[kept] >= cut]
    order = kept[np.lexsort((ids[kept], -mean[kept]))][:limit]
    return {"token_id": ids[order], "mean": mean[order], "count": count[order]}


def class_profile(
    ids: np.ndarray, sums: np.ndarray, counts: np.ndarray, scope: Scope
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and count per channel and token class, from the sums of the vocabulary entries."""
    corpus = scope.corpus
    classes = np.array([token_class(corpus.token_bytes[i], bool(corpus.is_special[i])) for i in ids], object)
    total = np.zeros((len(TOKEN_CLASSES), scope.n_channels))
    count = np.zeros(total.shape, np.int64)
    for index, name in enumerate(TOKEN_CLASSES):
        total[index] = sums[classes == name].sum(axis=0)
        count[index] = counts[classes == name].sum(axis=0)
    return float64_mean(total, count).T, count.T


def token_class(token: bytes, is_special: bool) -> str:
    """The class of a vocabulary entry by its spelling, white space around it aside.

    The first rule that holds: *special* (the tokenizer says so); *bytes* (not valid UTF-8 alone: part of a character);
    *line break* (only white space, with a line break) or *whitespace*; *digit* (only digits, with separators between);
    *word* (only letters of the Latin script, with ' and -) or *non-Latin* (letters, at least one of another script);
    *operator* (only mathematical and programming symbols); *punctuation* (no letter or digit); *mixed* (the rest).
    """
    if is_special:
        return "special"
    try:
        text = token.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes"
    core = text.strip()
    if not core:
        return "line break" if any(c in text for c in "\n\r\u2028") else "whitespace"
    return _class_of_text(core)


def _class_of_text(core: str) -> str:
    kinds = {unicodedata.category(c)[0] for c in core}
    if "N" in kinds and all(unicodedata.category(c)[0] == "N" or c in ".,:" for c in core):
        return "digit"
    if "L" in kinds and all(unicodedata.category(c)[0] in "LM" or c in "'’-" for c in core):
        letters = [c for c in core if c.isalpha()]
        return "word" if all(_is_latin(c) for c in letters) else "non-Latin"
    if all(c in _OPERATORS or unicodedata.category(c) == "Sm" for c in core):
        return "operator"
    return "mixed" if kinds & {"L", "N"} else "punctuation"


def _is_latin(character: str) -> bool:
    return character.isascii() or "LATIN" in unicodedata.name(character, "")
