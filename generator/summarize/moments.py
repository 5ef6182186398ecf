"""Count, mean, standard deviation, skewness, kurtosis, smallest and largest value."""

import numpy as np
from jaxtyping import Float32, Float64

from generator.summarize.entries import Entries
from generator.summarize.view import Scope, View

_MOMENTS = ("mean", "m2", "m3", "m4")


class Moments:
    """Central moments in float64, merged pairwise.

    Formulas (2.1), (3.1) of Pébay, Formulas for Robust, One-Pass Parallel Computation of Covariances and
    Arbitrary-Order Statistical Moments, SAND2008-6212; for the variance Chan, Golub, LeVeque 1979. ``m2`` … ``m4`` are
    sums of powers of the deviation, not divided by n.
    """

    def __init__(self, scope: Scope) -> None:
        c = scope.n_channels
        self.n, self.n_nonfinite = np.zeros(c, np.int64), np.zeros(c, np.int64)
        self.low, self.high = np.full(c, np.inf, np.float32), np.full(c, -np.inf, np.float32)
        self.mean, self.m2, self.m3, self.m4 = (np.zeros(c) for _ in _MOMENTS)

    def add(self, view: View) -> None:
        """Takes in the measured, finite values of a block."""
        if not view.n:
            return
        low, high = view.tile_min.min(axis=0), view.tile_max.max(axis=0)
        self._combine(view.n_finite, *_central_sums(view, low, high))
        self._widen(view.n - view.n_finite, low, high)

    def add_sparse(self, view: Entries) -> None:
        """Takes in the measured, finite values of a sparse block."""
        if not view.n:
            return
        low, high = _sparse_extremes(view)
        self._combine(view.n_finite, *_sparse_central_sums(view, low, high))
        self._widen(view.n - view.n_finite, low, high)

    def merge(self, other: "Moments") -> None:
        """Takes in another accumulator's tokens."""
        self._combine(other.n, other.mean, other.m2, other.m3, other.m4)
        self._widen(other.n_nonfinite, other.low, other.high)

    def _widen(self, n_nonfinite: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        self.n_nonfinite += n_nonfinite
        np.minimum(self.low, low, out=self.low)
        np.maximum(self.high, high, out=self.high)

    def _combine(
        self, n: np.ndarray, mean: np.ndarray, m2: np.ndarray, m3: np.ndarray, m4: np.ndarray
    ) -> None:
        a, b = self.n.astype(np.float64), n.astype(np.float64)
        total = np.maximum(a + b, 1)
        delta = np.where((a > 0) & (b > 0), mean - self.mean, 0.0)
        ra, rb = a / total, b / total
        self.m4 += (
            m4
            + delta**4 * a * rb * (ra * ra - ra * rb + rb * rb)
            + 6 * delta**2 * (ra * ra * m2 + rb * rb * self.m2)
            + 4 * delta * (ra * m3 - rb * self.m3)
        )
        self.m3 += m3 + delta**3 * a * rb * (ra - rb) + 3 * delta * (ra * m2 - rb * self.m2)
        self.m2 += m2 + delta**2 * a * rb
        self.mean = np.where(a > 0, self.mean + delta * rb, np.where(b > 0, mean, 0.0))
        self.n = self.n + n

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to go on."""
        names = ("n", "n_nonfinite", "low", "high", *_MOMENTS)
        return {name: getattr(self, name) for name in names}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Takes over what ``state`` gave."""
        for name, array in state.items():
            setattr(self, name, array)

    def result(self) -> dict[str, np.ndarray]:
        """``n_tokens``, ``n_nonfinite``, ``mean``, ``std``, ``skewness``, ``kurtosis``, ``min``, ``max``.

        Population moments: std divides by n; skewness is m3 / m2^1.5 and kurtosis is the *excess*, m4 / m2² − 3, as in
        ``scipy.stats.skew`` and ``scipy.stats.kurtosis`` with their defaults. NaN where undefined.
        """
        n = np.where(self.n > 0, self.n, np.nan)
        variance = self.m2 / n
        spread = np.where(variance > 0, variance, np.nan)
        return {
            "n_tokens": self.n,
            "n_nonfinite": self.n_nonfinite,
            "mean": np.where(self.n > 0, self.mean, np.nan),
            "std": np.sqrt(variance),
            "skewness": self.m3 / n / spread**1.5,
            "kurtosis": self.m4 / n / spread**2 - 3,
            "min": np.where(self.n > 0, self.low, np.nan).astype(np.float64),
            "max": np.where(self.n > 0, self.high, np.nan).astype(np.float64),
        }


def _central_sums(
    view: View, low: Float32[np.ndarray, " channel"], high: Float32[np.ndarray, " channel"]
) -> Float64[np.ndarray, "4 channel"]:
    """Mean, and sums of the second, third and fourth power of the deviation from it, of each channel of a block."""
    sums = np.zeros((4, len(low)))
    deviation, square = np.empty(view.n), np.empty(view.n)
    for channel, values in view.columns():
        if (
            low[channel] >= high[channel]
        ):  # constant: exactly, or its variance would be 1e-33; or no finite value
            sums[0, channel] = low[channel] if len(values) else 0.0
            continue
        mean = sums[0, channel] = values.sum(dtype=np.float64) / len(values)
        d = np.subtract(values, mean, out=deviation[: len(values)])
        d2 = np.multiply(d, d, out=square[: len(values)])
        sums[1:, channel] = d2.sum(), d2 @ d, d2 @ d2
    return sums


def _sparse_extremes(
    view: Entries,
) -> tuple[Float32[np.ndarray, " channel"], Float32[np.ndarray, " channel"]]:
    """Smallest and largest value of each channel, zeros included; ∞ and −∞ where it has none."""
    has_zero = view.n_finite > view.n_entries
    low = np.where(has_zero, np.float32(0), np.float32(np.inf))
    high = np.where(has_zero, np.float32(0), np.float32(-np.inf))
    if len(view.value):
        starts = np.flatnonzero(np.diff(view.channel, prepend=-1))
        present = view.channel[starts]
        low[present] = np.minimum(low[present], np.minimum.reduceat(view.value, starts))
        high[present] = np.maximum(high[present], np.maximum.reduceat(view.value, starts))
    return low, high


def _sparse_central_sums(
    view: Entries, low: Float32[np.ndarray, " channel"], high: Float32[np.ndarray, " channel"]
) -> Float64[np.ndarray, "4 channel"]:
    """As ``_central_sums``: every zero deviates by −mean, and only their number is needed."""
    mean = view.sums(view.wide) / np.maximum(view.n_finite, 1)
    is_constant = low >= high
    mean = np.where(is_constant, np.where(view.n_finite > 0, low, 0.0), mean)
    n_zeros = (view.n_finite - view.n_entries).astype(np.float64)
    d = view.wide - mean[view.channel]
    d2 = d * d
    sums = [view.sums(part) + n_zeros * (-mean) ** p for p, part in ((2, d2), (3, d2 * d), (4, d2 * d2))]
    return np.stack([mean, *(np.where(is_constant, 0.0, s) for s in sums)])
