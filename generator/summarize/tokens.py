"""Mean activation of every vocabulary entry, and the class of a token by its spelling."""

import unicodedata
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from generator.summarize.entries import Entries
from generator.summarize.keyed import KeyedSums
from generator.summarize.view import Rows, Scope, View, float64_mean

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
    """Sum of the activations at each vocabulary entry, in float64; only for entries that occur.

    Dense blocks are added to rows, one per vocabulary entry; of sparse ones a sum is kept per (channel, vocabulary entry) that
    has an active token, for most pairs have none.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.row_of = np.full(len(scope.corpus.token_bytes), -1, np.int64)
        self.ids = np.zeros(0, np.int64)
        self.counts = np.zeros(0, np.int64)
        self.sums = np.zeros((0, scope.n_channels))
        self.missing = np.zeros(
            (0, scope.n_channels), np.int32
        )  # non-finite values; no rows while there were none
        self.sparse_sums, self.sparse_missing = KeyedSums(np.float64), KeyedSums(np.int64)

    def add(self, view: View) -> None:
        """Takes in the measured, finite values of a block."""
        if not view.n:
            return
        ids = self._ids(view)
        order = np.argsort(ids, kind="stable")
        starts = np.flatnonzero(np.diff(ids[order], prepend=-1))
        counts = np.diff(np.append(starts, len(order)))
        rows = self._count(ids[order[starts]], counts)
        self.sums = _grown(self.sums, len(self.ids))
        self._add_sums(rows, view.zeroed[order], starts, counts)
        if view.finite is not None:
            self.missing = _grown(self.missing, len(self.ids))
            np.add.at(self.missing, self.row_of[ids], ~view.finite)

    def add_sparse(self, view: Entries) -> None:
        """Takes in the measured, finite values of a sparse block."""
        ids = self._ids(view)
        self._count(*np.unique(ids, return_counts=True))
        self.sparse_sums.add(view.channel * len(self.row_of) + ids[view.row], view.wide)
        channel, row = view.broken
        self.sparse_missing.count(channel * len(self.row_of) + ids[row])

    def merge(self, other: "TokenMeans") -> None:
        """Takes in another accumulator's tokens."""
        n = len(other.ids)
        rows = self._count(other.ids, other.counts[:n])
        for name in ("sums", "missing"):
            theirs = getattr(other, name)[:n]
            if len(theirs):
                mine = _grown(getattr(self, name), len(self.ids))
                mine[rows[: len(theirs)]] += theirs
                setattr(self, name, mine)
        self.sparse_sums.merge(other.sparse_sums)
        self.sparse_missing.merge(other.sparse_missing)

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to go on."""
        n = len(self.ids)
        state = {"ids": self.ids} | {name: getattr(self, name)[:n] for name in ("sums", "counts", "missing")}
        for name in ("sparse_sums", "sparse_missing"):
            state |= {f"{name}/{key}": array for key, array in getattr(self, name).state().items()}
        return state

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Takes over what ``state`` gave."""
        for name in ("ids", "sums", "counts", "missing"):
            setattr(self, name, state[name])
        for name in ("sparse_sums", "sparse_missing"):
            getattr(self, name).restore({key: state[f"{name}/{key}"] for key in ("keys", "sums")})
        self.row_of[self.ids] = np.arange(len(self.ids))

    def result(self) -> "TokenSums":
        """The sums with vocabulary ids ascending."""
        n = len(self.ids)
        order = np.argsort(self.ids)
        sums, missing = self.sums[:n], self.missing[:n]
        return TokenSums(
            ids=self.ids[order],
            counts=self.counts[order],
            sums=_grown(sums, n)[:n][order] if len(sums) else sums,
            missing=_grown(missing, n)[:n][order] if len(missing) else missing,
            sparse_sums=self._keyed(self.sparse_sums, order),
            sparse_missing=self._keyed(self.sparse_missing, order),
        )

    def _ids(self, view: Rows) -> Int[np.ndarray, " token"]:
        return self.scope.corpus.token_ids[view.token].astype(np.int64)

    def _keyed(self, sums: KeyedSums, order: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Offsets by channel, and for every pair the place of its vocabulary id, and the sum."""
        sums.compact()
        channel, ids = np.divmod(sums.keys, len(self.row_of))
        place_of_row = np.empty(len(order), np.int64)
        place_of_row[order] = np.arange(len(order))
        offsets = np.searchsorted(channel, np.arange(self.scope.n_channels + 1))
        return offsets, place_of_row[self.row_of[ids]], sums.sums

    def _count(self, ids: Int[np.ndarray, " n"], counts: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Counts occurrences of distinct vocabulary entries and returns their rows, new ones appended."""
        new = ids[self.row_of[ids] < 0]
        self.row_of[new] = len(self.ids) + np.arange(len(new))
        self.ids = np.concatenate([self.ids, new])
        self.counts = _grown(self.counts, len(self.ids))
        rows = self.row_of[ids]
        self.counts[rows] += counts
        return rows

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


def _grown(array: np.ndarray, n: int) -> np.ndarray:
    """The same array with at least n rows, the new ones 0; it grows by half."""
    if len(array) >= n:
        return array
    extra = n + n // 2 - len(array)
    return np.concatenate([array, np.zeros((extra, *array.shape[1:]), array.dtype)])


@dataclass(frozen=True)
class TokenSums:
    """Sums of activations by vocabulary entry and channel. ``sums`` and ``missing`` have no rows where nothing was added."""

    ids: Int[np.ndarray, " n"]
    """Vocabulary entries that occur, ascending."""
    counts: Int[np.ndarray, " n"]
    """Measured occurrences."""
    sums: Float[np.ndarray, "rows channel"]
    missing: Int[np.ndarray, "gaps channel"]
    """Occurrences at which the channel was not finite."""
    sparse_sums: tuple[np.ndarray, np.ndarray, np.ndarray]
    sparse_missing: tuple[np.ndarray, np.ndarray, np.ndarray]

    def of(self, channel: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Vocabulary ids, sums and counts of finite values of one channel; entries without a sum may be left out."""
        at, sums = _row(self.sparse_sums, channel)
        if len(self.sums):
            total = self.sums[:, channel].copy()
            total[at] += sums
            at, sums = np.arange(len(self.ids)), total
        counts = self.counts[at]
        if len(self.missing):
            counts = counts - self.missing[at, channel]
        place, n_missing = _row(self.sparse_missing, channel)
        if len(place):
            lost = np.zeros(len(self.ids), np.int64)
            lost[place] = n_missing
            counts = counts - lost[at]
        return self.ids[at], sums, counts

    def by_class(self, scope: Scope) -> tuple[np.ndarray, np.ndarray]:
        """Mean and count per channel and token class."""
        spelled, is_special = scope.corpus.token_bytes, scope.corpus.is_special
        class_of = np.array(
            [TOKEN_CLASSES.index(token_class(spelled[i], bool(is_special[i]))) for i in self.ids], np.int64
        )
        total = np.zeros((len(TOKEN_CLASSES), scope.n_channels))
        count = np.zeros(total.shape, np.int64)
        for index in range(len(TOKEN_CLASSES)):
            chosen = class_of == index
            count[index] = self.counts[chosen].sum()
            if len(self.sums):
                total[index] += self.sums[chosen].sum(axis=0)
            if len(self.missing):
                count[index] -= self.missing[chosen].sum(axis=0)
        for (offsets, place, sums), out, sign in (
            (self.sparse_sums, total, 1),
            (self.sparse_missing, count, -1),
        ):
            channel = np.repeat(np.arange(scope.n_channels), np.diff(offsets))
            np.add.at(out, (class_of[place], channel), sign * sums)
        return float64_mean(total, count).T, count.T


def _row(ragged: tuple[np.ndarray, np.ndarray, np.ndarray], channel: int) -> tuple[np.ndarray, np.ndarray]:
    offsets, place, sums = ragged
    rows = slice(offsets[channel], offsets[channel + 1])
    return place[rows], sums[rows]


def extreme_tokens(
    ids: Int[np.ndarray, " n"], mean: Float[np.ndarray, " n"], count: Int[np.ndarray, " n"], limit: int
) -> dict[str, np.ndarray]:
    """The ``limit`` entries with the highest mean, best first, equal means by id; NaN means are no candidates."""
    kept = np.flatnonzero(~np.isnan(mean)) if limit else np.zeros(0, np.int64)
    if len(kept) > limit:
        cut = np.partition(mean[kept], len(kept) - limit)[len(kept) - limit]
        kept = kept[mean[kept] >= cut]
    order = kept[np.lexsort((ids[kept], -mean[kept]))][:limit]
    return {"token_id": ids[order], "mean": mean[order], "count": count[order]}


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
    categories = [unicodedata.category(c) for c in core]
    kinds = {category[0] for category in categories}
    if "N" in kinds and all(kind[0] == "N" or c in ".,:" for c, kind in zip(core, categories)):
        return "digit"
    if "L" in kinds and all(kind[0] in "LM" or c in "'’-" for c, kind in zip(core, categories)):
        return "word" if all(_is_latin(c) for c in core if c.isalpha()) else "non-Latin"
    if all(kind == "Sm" or c in _OPERATORS for c, kind in zip(core, categories)):
        return "operator"
    return "mixed" if kinds & {"L", "N"} else "punctuation"


def _is_latin(character: str) -> bool:
    return character.isascii() or "LATIN" in unicodedata.name(character, "")
