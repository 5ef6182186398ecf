"""Hashes that decide what is sampled: a pure function of seed, document, position and channel, never of order."""

import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, UInt32, UInt64

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix64(x: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
    """The finaliser of splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014, §4).

    A bijection of the 64-bit integers in which every input bit changes about half of the output bits.
    """
    x = x + _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def doc_hash(seed: int, doc: Int[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """64 bits for each document: mix64(mix64(seed) xor document)."""
    start = mix64(np.array([seed % 2**64], np.uint64))
    return mix64(start ^ doc.astype(np.uint64))


def token_hash(
    seed: int, doc: Int[np.ndarray, " n"], position: Int[np.ndarray, " n"]
) -> UInt32[np.ndarray, " n"]:
    """32 bits for each token: the upper half of mix64(doc_hash xor position)."""
    return (mix64(doc_hash(seed, doc) ^ position.astype(np.uint64)) >> np.uint64(32)).astype(np.uint32)


def channel_multiplier(seed: int, ids: Sequence[str]) -> UInt32[np.ndarray, " channel"]:
    """An odd 32-bit number for each channel, from its id.

    ``token_hash · multiplier mod 2³²`` is the hash of a (token, channel) pair: for each channel a permutation of the
    32-bit integers, at the cost of one multiplication (multiplicative hashing, Knuth, TAOCP 3, §6.4).
    """
    crc = np.array([zlib.crc32(i.encode("utf-8", "surrogatepass")) for i in ids], np.uint64)
    start = mix64(np.array([(seed + 1) % 2**64], np.uint64))
    return (mix64(start ^ crc) >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
