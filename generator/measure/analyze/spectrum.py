"""Dimensionality of a cloud of vectors from its covariance spectrum.

λ are the eigenvalues of the covariance (divisor N − 1), σ = √((N − 1) λ) the singular values of the centred N × d
matrix. All in float64; the last digits of a float32 cumulative sum are enough to miss a threshold by one.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from generator.measure.analyze.values import Value, defined, undefined

PCA_SLACK = 1e-9
"""Taken off the PCA threshold: d equal eigenvalues must give ⌈0.95 d⌉ in spite of rounding."""
ROUNDING = 1e-12
"""Eigenvalues below this share of the largest are rounding of zero."""
ROWS_PER_DIMENSION = 5
"""Below this many vectors per dimension the participation ratio is visibly biased and gets a warning."""


def covariance_spectrum(covariance: Float[np.ndarray, "d d"]) -> Float[np.ndarray, " d"]:
    """Eigenvalues from the largest; rounding below zero is cut off."""
    eigenvalues = np.linalg.eigvalsh(covariance)[::-1]
    floor = max(float(eigenvalues[0]), 0.0) * ROUNDING
    return np.where(eigenvalues > floor, eigenvalues, 0.0)


def effective_rank(eigenvalues: Float[np.ndarray, " d"], n: int) -> Value:
    """exp H(σ / Σσ) on singular values σ (Roy & Vetterli, EUSIPCO 2007, eq. 3–4)."""
    return _exp_entropy(np.sqrt(eigenvalues), n)


def effective_rank_eigen(eigenvalues: Float[np.ndarray, " d"], n: int) -> Value:
    """exp H(λ / Σλ): the exponential of the matrix-based (von Neumann) entropy; another metric than the one on σ."""
    return _exp_entropy(eigenvalues, n)


def participation_ratio(eigenvalues: Float[np.ndarray, " d"], n: int) -> Value:
    """(Σλ)² / Σλ² (Gao et al. 2017; Litwin-Kumar et al. 2017)."""
    why = _why_undefined(eigenvalues, n)
    if why:
        return undefined(why, n)
    scaled = eigenvalues / eigenvalues.max()
    return defined(float(scaled.sum() ** 2 / (scaled**2).sum()), n)


def participation_ratio_corrected(eigenvalues: Float[np.ndarray, " d"], n: int) -> Value:
    """Participation ratio with the bias of few vectors taken out.

    (tr Σ)² and tr Σ² are each estimated without bias under normality, from the sample covariance S with ν = N − 1
    degrees of freedom (Srivastava, J. Japan Statist. Soc. 35, 2005, 251–272):
    tr Σ² ≈ ν² / ((ν − 1)(ν + 2)) · (tr S² − (tr S)² / ν), (tr Σ)² ≈ ν / ((ν − 1)(ν + 2)) · ((ν + 1) (tr S)² − 2 tr S²).
    The problem, and an estimator for general data, is that of Chun et al. 2509.26560.
    """
    why = _why_undefined(eigenvalues, n)
    if why:
        return undefined(why, n)
    freedom = n - 1
    if freedom < 2:
        return undefined(f"n = {n}; the correction needs 3", n)
    scaled = eigenvalues / eigenvalues.max()
    trace, trace_of_square = float(scaled.sum()), float((scaled**2).sum())
    numerator = (freedom + 1) * trace**2 - 2 * trace_of_square
    denominator = freedom * (trace_of_square - trace**2 / freedom)
    if denominator <= ROUNDING * trace_of_square:
        return undefined(f"n = {n} is too small for the correction", n)
    return defined(numerator / denominator, n)


def pca_dimension(eigenvalues: Float[np.ndarray, " d"], n: int, threshold: float = 0.95) -> Value:
    """The least k whose k largest eigenvalues hold at least ``threshold`` of the variance."""
    why = _why_undefined(eigenvalues, n)
    if why:
        return undefined(why, n)
    share = np.cumsum(eigenvalues, dtype=np.float64) / eigenvalues.sum(dtype=np.float64)
    return defined(float(np.searchsorted(share, threshold - PCA_SLACK) + 1), n)


def few_rows(n: int, d: int) -> str:
    """A warning where there are too few vectors for the dimension, else an empty string."""
    if n >= ROWS_PER_DIMENSION * d:
        return ""
    return (
        f"n = {n} is below {ROWS_PER_DIMENSION} · d = {ROWS_PER_DIMENSION * d}: dimensionality is underestimated; for an "
        f"isotropic cloud the participation ratio would be about {1 / (1 / max(n, 1) + 1 / d):.0f} instead of {d}"
    )


SPECTRUM_METRICS: dict[str, dict[str, Any]] = {
    "effective_rank": {
        "convention": "exp of the entropy of the singular values over their sum",
        "source": "Roy & Vetterli, EUSIPCO 2007",
    },
    "effective_rank_eigen": {
        "convention": "exp of the entropy of the covariance eigenvalues over their sum",
        "source": "matrix-based entropy; Diff-eRank, NeurIPS 2024",
    },
    "participation_ratio": {
        "convention": "(Σλ)² / Σλ² on covariance eigenvalues",
        "source": "Gao et al. 2017; Litwin-Kumar et al. 2017",
    },
    "participation_ratio_corrected": {
        "convention": "(Σλ)² and Σλ² each estimated without bias under normality",
        "source": "Srivastava 2005; compare Chun et al. 2509.26560",
    },
    "pca_dimension": {
        "convention": "least k with a cumulative share of variance ≥ threshold − 1e-9",
        "source": "standard",
    },
}
"""Metric -> what its method says beside n, dtype, centring, point and positions."""


def _exp_entropy(weights: Float[np.ndarray, " d"], n: int) -> Value:
    why = _why_undefined(weights, n)
    if why:
        return undefined(why, n)
    p = weights[weights > 0] / weights.sum()
    return defined(float(np.exp(-(p * np.log(p)).sum())), n)


def _why_undefined(weights: Float[np.ndarray, " d"], n: int) -> str:
    if n < 2:
        return f"n = {n}"
    if not np.all(np.isfinite(weights)):
        return "values that are not finite"
    return "" if len(weights) and weights.max() > 0 else "all vectors are equal"
