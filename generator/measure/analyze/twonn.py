"""Intrinsic dimension from the two nearest neighbours (Facco et al., Sci Rep 7:12140, 2017)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from generator.measure.analyze.values import Value, defined, undefined

DISCARD = 0.1
"""Share of the largest ratios that the slope leaves out, as in the paper."""
CANDIDATES = 8
"""Neighbours looked at again with exact differences, so that rounding in the Gram matrix cannot swap the first two."""


@dataclass(frozen=True)
class IntrinsicDimension:
    """Both estimators on the same ratios."""

    mle: Value
    """(N − 1) / Σ ln μ, unbiased (Denti et al., Sci Rep 2022)."""
    slope: Value
    """Slope through 0 of −ln(1 − F) on ln μ, the largest tenth of μ left out."""
    n_duplicates: int
    """Vectors left out because an equal one was kept: r₁ would be 0."""


def twonn(points: Float[np.ndarray, "token d"], discard: float = DISCARD) -> IntrinsicDimension:
    """Both estimates for a cloud of points, duplicates left out."""
    points = np.asarray(points, np.float64)
    points = points[np.isfinite(points).all(1)]
    kept = np.unique(points, axis=0) if len(points) else points
    n_duplicates = len(points) - len(kept)
    if len(kept) < 3:
        nothing = undefined(f"n = {len(kept)} different vectors; 3 are needed", len(kept))
        return IntrinsicDimension(nothing, nothing, n_duplicates)
    ratios = neighbour_ratios(kept)
    return IntrinsicDimension(mle_dimension(ratios), slope_dimension(ratios, discard), n_duplicates)


def neighbour_ratios(points: Float[np.ndarray, "token d"]) -> Float[np.ndarray, " token"]:
    """μ = r₂ / r₁ of every point; the points must differ from one another."""
    centred = points - points.mean(0)
    squares = (centred**2).sum(1)
    distances = squares[:, None] + squares[None, :] - 2 * centred @ centred.T
    np.fill_diagonal(distances, np.inf)
    k = min(CANDIDATES, len(points) - 1)
    near = np.argpartition(distances, k - 1, axis=1)[:, :k]
    exact = np.array([np.linalg.norm(points[rows] - p, axis=1) for rows, p in zip(near, points)])
    two = np.partition(exact, 1, axis=1) if k > 1 else exact
    return two[:, 1] / two[:, 0]


def mle_dimension(ratios: Float[np.ndarray, " token"], *, is_biased: bool = False) -> Value:
    """(N − 1) / Σ ln μ; N / Σ ln μ when biased, as in the first implementations."""
    n = len(ratios)
    total = float(np.log(ratios).sum())
    if n < 2 or total <= 0:
        return undefined("all neighbours are equally far" if n > 1 else f"n = {n}", n)
    return defined((n if is_biased else n - 1) / total, n)


def slope_dimension(ratios: Float[np.ndarray, " token"], discard: float = DISCARD) -> Value:
    """Least squares through 0 of −ln(1 − i/N) on ln μ₍ᵢ₎, without the ``discard`` share of largest ratios."""
    n = len(ratios)
    n_kept = min(int(np.floor(n * (1 - discard))), n - 1)
    logs = np.log(np.sort(ratios))[:n_kept]
    size = float(logs @ logs)
    if n_kept < 1 or size <= 0:
        return undefined("all neighbours are equally far" if n_kept > 0 else f"n = {n}", n)
    heights = -np.log1p(-np.arange(1, n_kept + 1) / n)
    return defined(float(logs @ heights) / size, n)
