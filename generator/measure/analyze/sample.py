"""A fixed sample of tokens for metrics that compare all pairs: the same tokens in every layer and every run."""

import numpy as np
from jaxtyping import Bool, Int

SIZE = 1024
"""Tokens of the sample, unless the caller says otherwise."""


def choose_tokens(
    doc: Int[np.ndarray, " token"],
    position: Int[np.ndarray, " token"],
    is_ordinary: Bool[np.ndarray, " token"],
    size: int = SIZE,
    seed: int = 0,
) -> Int[np.ndarray, " k"]:
    """Global indices, ascending, of the ``size`` ordinary tokens whose (document, position) hash lowest.

    Depends on nothing but the corpus and the seed: neither on batches nor on the order in which they come.
    """
    eligible = np.flatnonzero(is_ordinary)
    keys = hashes(doc[eligible], position[eligible], seed)
    return np.sort(eligible[np.lexsort((eligible, keys))[:size]])


def hashes(doc: Int[np.ndarray, " token"], position: Int[np.ndarray, " token"], seed: int) -> np.ndarray:
    """A 64-bit hash of (seed, document, position): SplitMix64's mixing (Steele et al., OOPSLA 2014), applied twice."""
    with np.errstate(over="ignore"):
        seeded = np.asarray(doc).astype(np.uint64) + np.uint64(seed) * np.uint64(0xD1B54A32D192ED03)
        return _mix(_mix(seeded) ^ np.asarray(position).astype(np.uint64))


def _mix(x: np.ndarray) -> np.ndarray:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
