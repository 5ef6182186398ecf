"""Display text of tokens: byte-level tokens joined to readable characters, and the string table of a shard.

A character whose bytes lie in several tokens is shown once: the first of these tokens carries it, the following
ones carry the empty string and form one display group with it. Bytes that are no UTF-8 show as ``\\xNN``. All else
is kept as it is, controls and bidi marks included: the browser turns those into visible chips, so that copying
still gives the exact source. Rules 6 to 9 of the project's heatmap rules (docs/shards.md, "Display text").
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

LONGEST_CHARACTER = 4
"""Bytes of the longest UTF-8 character (RFC 3629)."""


def join_bytes(pieces: Sequence[bytes]) -> list[str]:
    """The display text of consecutive tokens, given their bytes.

    >>> join_bytes([b" caf", b"\\xc3", b"\\xa9"])
    [' caf', 'é', '']
    >>> join_bytes([b"\\xa9 is", b"\\xff"])
    ['\\\\xa9 is', '\\\\xff']
    """
    owner = [index for index, piece in enumerate(pieces) for _ in piece]
    joined = b"".join(pieces)
    leader = list(range(len(pieces)))
    texts = [""] * len(pieces)
    at = 0
    while at < len(joined):
        text, size = _character_at(joined, at)
        first = leader[owner[at]]
        for follower in range(owner[at] + 1, owner[at + size - 1] + 1):
            leader[follower] = first
        texts[first] += text
        at += size
    return texts


def _character_at(joined: bytes, at: int) -> tuple[str, int]:
    """The character that begins at a byte and its length in bytes; an escape for a byte that begins none."""
    for size in range(1, LONGEST_CHARACTER + 1):
        try:
            return joined[at : at + size].decode("utf-8"), len(joined[at : at + size])
        except UnicodeDecodeError:
            continue
    return f"\\x{joined[at]:02x}", 1


class TokenTexts:
    """The display text of every vocabulary entry, alone and in runs."""

    def __init__(self, token_bytes: Sequence[bytes], is_special: Bool[np.ndarray, " vocabulary"]) -> None:
        self.is_special = is_special
        self.alone: list[str] = []  # 220 -> " "
        is_whole = np.ones(len(token_bytes), np.bool_)
        for index, piece in enumerate(token_bytes):
            try:
                self.alone.append(piece.decode("utf-8"))
            except UnicodeDecodeError:
                is_whole[index] = False
                self.alone.append(join_bytes([piece])[0])
        self.is_whole = is_whole
        """Whether an entry is UTF-8 by itself. Only neighbours that are not can share a character."""
        self.run = cache(lambda ids: join_bytes([token_bytes[i] for i in ids]))
        """Token ids (a tuple) to their texts, joined."""


class StringTable:
    """The distinct (token, display string) pairs of one shard, in the order in which they were asked for."""

    def __init__(self, texts: TokenTexts) -> None:
        self._texts = texts
        self._index: dict[int, int] = {}
        """Token -> index of its text when it stands alone."""
        self._joined: dict[tuple[int, str], int] = {}
        """Of tokens that are no UTF-8 alone: a token has a text for every way in which it shares a character."""
        self.strings: list[str] = []
        """What the shard's ``tokens`` holds."""
        self.token_ids: list[int] = []
        """The token that each string shows."""
        self.special: list[int] = []
        """Indices of the strings that stand for special tokens."""

    def fields(self) -> dict[str, list[Any]]:
        """The table as a shard holds it; to be asked for when all texts are in."""
        return {"tokens": self.strings, "token_ids": self.token_ids, "special": self.special}

    def indices(
        self, token_ids: Int[np.ndarray, " token"], offsets: Int[np.ndarray, " _"]
    ) -> Int[np.ndarray, " token"]:
        """The table indices of the texts of several windows that lie one after another.

        Tokens are joined inside their window only, so a window that begins in the middle of a character shows
        the rest of it as ``\\xNN``.
        """
        whole = self._texts.is_whole[token_ids]
        result = np.empty(len(token_ids), np.int64)
        unique, inverse = np.unique(token_ids[whole], return_inverse=True)
        asked = unique.tolist()
        new = [token for token in asked if token not in self._index]
        self._index |= zip(new, self._add(new, [self._texts.alone[token] for token in new]))
        result[whole] = np.array([self._index[token] for token in asked], np.int64)[inverse]
        for start, stop in _runs(np.flatnonzero(~whole), offsets):
            run = token_ids[start:stop].tolist()
            pairs = list(zip(run, self._texts.run(tuple(run))))
            unknown = list(dict.fromkeys(pair for pair in pairs if pair not in self._joined))
            self._joined |= zip(unknown, self._add(*map(list, zip(*unknown))) if unknown else ())
            result[start:stop] = [self._joined[pair] for pair in pairs]
        return result

    def _add(self, token_ids: list[int], texts: list[str]) -> range:
        """Appends entries; their indices."""
        first = len(self.strings)
        self.strings += texts
        self.token_ids += token_ids
        is_special = self._texts.is_special[token_ids] if token_ids else np.zeros(0, np.bool_)
        self.special += (first + np.flatnonzero(is_special)).tolist()
        return range(first, len(self.strings))


def _runs(split: Int[np.ndarray, " token"], offsets: Int[np.ndarray, " _"]) -> list[tuple[int, int]]:
    """Maximal runs of adjacent indices that do not cross a window's end."""
    if not len(split):
        return []
    window = np.searchsorted(offsets, split, side="right")
    cuts = np.flatnonzero((np.diff(split) != 1) | (np.diff(window) != 0)) + 1
    starts = split[np.concatenate([[0], cuts])]
    stops = split[np.concatenate([cuts - 1, [len(split) - 1]])] + 1
    return list(zip(starts.tolist(), stops.tolist()))
