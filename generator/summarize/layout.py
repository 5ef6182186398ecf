"""A map of a dictionary: its latents in the plane so that those whose decoder directions are alike lie together.

A small deterministic relative of UMAP (McInnes, Healy & Melville 2018, section 3): the same graph of nearest neighbours
with its fuzzy weights, principal components to begin with, and the same attraction and repulsion, but every point moves
once per round by the sum of its forces, and the points that repel it are drawn by a fixed seed.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from generator.summaries import Map

NEIGHBOURS = 15
ROUNDS = 150
REPELLED_BY = 5
"""Points that push each point away in a round."""

A, B = 0.583, 1.334
"""The curve 1 / (1 + A·d^(2B)) that stands for a smallest distance of 0.5 (umap-learn, ``find_ab_params``): points that are
alike still lie apart, so that each can be pointed to."""

WIDEST = 4096
"""Inputs up to which principal components are exact; of wider rows (a crosscoder's) they are found by subspace iteration."""

FEWEST = 3 * NEIGHBOURS
"""Fewer points than this are laid out by their principal components alone."""

METHOD_PCA = "The two principal components of the decoder directions, each scaled to unit length."
METHOD_GRAPH = (
    f"A layout of the graph of {NEIGHBOURS} nearest neighbours by cosine of decoder directions (the forces of UMAP, from "
    "principal components, with a fixed seed). Near means alike; far, and the axes, mean nothing."
)


@dataclass(frozen=True)
class Layout:
    """Places in the plane, and the sentence that says how they were found."""

    places: Float[np.ndarray, "channel 2"]
    method: str


def dictionary_map(
    vectors: Float[np.ndarray, "channel input"], share_active: Float[np.ndarray, " channel"], seed: int
) -> Map:
    """The map of a dictionary's latents; those that were never active have no place.

    Args:
        vectors: Decoder rows of all latents; of a crosscoder all places side by side.
        share_active: The share of tokens at which each is active.
        seed: See ``lay_out``.
    """
    alive = np.flatnonzero(share_active != 0)
    if not len(alive):
        return Map(alive, np.zeros((0, 2)), METHOD_PCA)
    found = lay_out(vectors[alive], seed)
    return Map(alive, found.places, found.method)


def lay_out(vectors: Float[np.ndarray, "channel input"], seed: int = 0) -> Layout:
    """Places of unit vectors in the plane, between 0 and 1 on the longer axis.

    Args:
        vectors: Decoder rows, of any length; a row of zeros lies in the middle.
        seed: Of the points that repel each other.
    """
    clean = np.nan_to_num(vectors.astype(np.float32), posinf=0.0, neginf=0.0)
    unit = clean / np.maximum(np.linalg.norm(clean, axis=1, keepdims=True), 1e-30)
    places = _principal(unit)
    if len(unit) < FEWEST:
        return Layout(_fitted(places), METHOD_PCA)
    neighbours, cosines = nearest_rows(unit, NEIGHBOURS)
    head, tail, weight = _fuzzy_graph(neighbours, cosines)
    return Layout(_fitted(_settled(places, head, tail, weight, seed)), METHOD_GRAPH)


def _principal(unit: Float[np.ndarray, "channel input"]) -> Float[np.ndarray, "channel 2"]:
    """The first two principal components, with signs fixed so that the largest entry of each axis is positive."""
    centred = unit - unit.mean(axis=0)
    if centred.shape[1] <= WIDEST:
        _, axes = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
        axes = axes[:, ::-1]
    else:
        axes = _leading_axes(centred)
    axes = np.pad(axes[:, :2], ((0, 0), (0, max(0, 2 - axes.shape[1]))))
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), [0, 1]] < 0, -1, 1)
    return centred @ axes


def _leading_axes(
    centred: Float[np.ndarray, "channel input"], n: int = 10, rounds: int = 12
) -> Float[np.ndarray, "input k"]:
    """The leading principal axes without an input × input matrix (Halko, Martinsson & Tropp 2011, algorithm 4.4)."""
    start = np.random.default_rng(0).standard_normal((centred.shape[1], n)).astype(np.float32)
    axes, _ = np.linalg.qr(start)
    for _ in range(rounds):
        axes, _ = np.linalg.qr(centred.T @ (centred @ axes))
    _, _, turned = np.linalg.svd((centred @ axes).astype(np.float64), full_matrices=False)
    return axes @ turned.T


def nearest_rows(
    unit: Float[np.ndarray, "channel input"], k: int, block: int = 1024
) -> tuple[Int[np.ndarray, "channel k"], Float[np.ndarray, "channel k"]]:
    """The rows of largest cosine to each row, itself left out, and those cosines."""
    indices, cosines = [], []
    for start in range(0, len(unit), block):
        products = unit[start : start + block] @ unit.T
        rows = np.arange(len(products))
        products[rows, start + rows] = -np.inf
        near = np.argpartition(-products, k - 1, axis=1)[:, :k]
        values = np.take_along_axis(products, near, axis=1)
        order = np.lexsort((near, -values), axis=1)
        indices.append(np.take_along_axis(near, order, axis=1))
        cosines.append(np.take_along_axis(values, order, axis=1))
    return np.concatenate(indices), np.concatenate(cosines)


def _fuzzy_graph(
    neighbours: Int[np.ndarray, "channel k"], cosines: Float[np.ndarray, "channel k"]
) -> tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"], Float[np.ndarray, " _"]]:
    """Edges both ways with UMAP's weights: 1 for the nearest, falling so that a row's weights add up to log2(k)."""
    distance = np.maximum(1.0 - cosines.astype(np.float64), 0.0)
    excess = distance - distance[:, :1]
    low, high = np.full((len(excess), 1), 1e-6), np.full((len(excess), 1), 1e3)
    for _ in range(48):
        width = np.sqrt(low * high)
        is_wide = np.exp(-excess / width).sum(axis=1, keepdims=True) > np.log2(NEIGHBOURS)
        low, high = np.where(is_wide, low, width), np.where(is_wide, width, high)
    directed = np.exp(-excess / high).ravel()
    n = len(neighbours)
    head = np.repeat(np.arange(n), neighbours.shape[1])
    tail = neighbours.ravel()
    there, back = head * n + tail, tail * n + head
    order = np.argsort(there)
    place = np.minimum(np.searchsorted(there[order], back), len(order) - 1)
    reverse = np.where(there[order][place] == back, directed[order][place], 0.0)
    weight = directed + reverse - directed * reverse
    is_once = (reverse == 0) | (head < tail)
    return head[is_once], tail[is_once], weight[is_once]


def _settled(
    places: Float[np.ndarray, "channel 2"],
    head: Int[np.ndarray, " k"],
    tail: Int[np.ndarray, " k"],
    weight: Float[np.ndarray, " k"],
    seed: int,
) -> Float[np.ndarray, "channel 2"]:
    """The places after all rounds of attraction along edges and repulsion between drawn pairs."""
    random = np.random.default_rng(seed)
    n = len(places)
    at = places / (np.abs(places).max() or 1.0) * 10 + random.normal(0, 1e-3, places.shape)
    at, weight = at.astype(np.float32), weight.astype(np.float32)
    for turn in range(ROUNDS):
        gap = at[head] - at[tail]
        square = (gap * gap).sum(axis=1)
        power = np.maximum(square, 1e-12) ** np.float32(B - 1)
        pull = weight * (-2 * A * B * power) / (1 + A * square * power)
        force = np.clip(pull[:, None] * gap, -4, 4)
        move = (_sums(head, force, n) - _sums(tail, force, n)).astype(np.float32)
        for other in random.integers(0, n, (REPELLED_BY, n)):
            gap = at - at[other]
            square = (gap * gap).sum(axis=1)
            push = 2 * B / ((1e-3 + square) * (1 + A * square ** np.float32(B)))
            move += np.clip(push[:, None] * gap, -4, 4)
        at = at + np.float32((1 - turn / ROUNDS) / 4) * np.clip(move, -8, 8)
    return at


def _sums(
    index: Int[np.ndarray, " k"], values: Float[np.ndarray, "k 2"], n: int
) -> Float[np.ndarray, "channel 2"]:
    return np.stack([np.bincount(index, values[:, axis], n) for axis in (0, 1)], axis=1)


def _fitted(places: Float[np.ndarray, "channel 2"]) -> Float[np.ndarray, "channel 2"]:
    """Shifted and scaled to begin at 0 and to reach 1 on the longer axis."""
    if not len(places):
        return places
    places = places.astype(np.float64)
    low = places.min(axis=0)
    return (places - low) / ((places.max(axis=0) - low).max() or 1.0)
