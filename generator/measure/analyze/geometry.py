"""Geometry of a layer's hidden states over a corpus of any size, in one pass.

A ``Cloud`` is what is kept of all vectors seen so far: count, mean, scatter matrix and a few sums, in float64. Clouds
merge, so any split of the tokens gives the same values up to float64 rounding; and the cloud of all positions is the
merge of the cloud of ordinary positions with that of the excluded ones (special tokens, first positions), which is how
both versions of each metric come out of one pass.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from generator.measure.analyze import spectrum
from generator.measure.analyze.values import Curve, Value, defined, mean_of, undefined

ROWS = 8192
"""Vectors that are held in float64 at once."""
TINY = float(np.finfo(np.float32).tiny)


@dataclass
class Cloud:
    """Streamed statistics of vectors of one kind: ``add``, ``merge``, ``result``."""

    d: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    n: int = 0
    n_nonfinite: int = 0
    """Vectors left out because an entry was NaN or infinite."""
    n_zero: int = 0
    """Vectors of norm 0: they have no direction and no usage, so they count in neither."""
    norm_sum: float = 0.0
    usage_sum: float = 0.0
    mean: Tensor | None = None  # (d,)
    scatter: Tensor | None = None  # (d, d): Σ (x − mean)(x − mean)ᵀ
    unit_sum: Tensor | None = None  # (d,): Σ x / ‖x‖

    def add(self, hidden: Float[Tensor, "token d"]) -> None:
        """Takes in vectors of any float dtype. They become float32 before anything else, then float64."""
        for rows in hidden.detach().split(ROWS):
            self._add(rows)

    def _add(self, hidden: Float[Tensor, "token d"]) -> None:
        x32 = hidden.to(self.device, torch.float32)
        x = x32.double()
        norms = torch.linalg.vector_norm(x, dim=1)
        is_finite = norms.isfinite()
        if not bool(is_finite.all()):
            self.n_nonfinite += int((~is_finite).sum())
            x32, x, norms = x32[is_finite], x[is_finite], norms[is_finite]
        if not len(x):
            return
        is_zero = norms == 0
        n_zero = int(is_zero.sum())
        part = Cloud(self.d, self.device, n=len(x), n_zero=n_zero, norm_sum=float(norms.sum()))
        part.unit_sum = x.T @ torch.where(is_zero, 0.0, 1 / norms)
        part.usage_sum = float(usage_entropies(x32[~is_zero] if n_zero else x32).sum())
        shift = x[
            0
        ].clone()  # differences of equal vectors are then exactly 0, and a constant cloud exactly constant
        x -= shift
        offset = x.mean(0)
        part.mean = shift + offset
        part.scatter = _gram(x.sub_(offset))
        self.merge(part)

    def merge(self, other: "Cloud") -> None:
        """Takes in another cloud (Chan, Golub & LeVeque 1983, eq. 2.1)."""
        self.n_nonfinite += other.n_nonfinite
        if not other.n:
            return
        assert other.mean is not None and other.scatter is not None and other.unit_sum is not None
        if self.mean is None or self.scatter is None or self.unit_sum is None:
            self.mean, self.scatter = other.mean.clone(), other.scatter.clone()
            self.unit_sum = other.unit_sum.clone()
        else:
            n = self.n + other.n
            difference = other.mean - self.mean
            self.scatter += other.scatter
            self.scatter.addr_(difference, difference, alpha=self.n * other.n / n)
            self.mean += difference * (other.n / n)
            self.unit_sum += other.unit_sum
        self.n += other.n
        self.n_zero += other.n_zero
        self.norm_sum += other.norm_sum
        self.usage_sum += other.usage_sum

    def merged(self, other: "Cloud") -> "Cloud":
        """The cloud of both, leaving both as they are."""
        both = Cloud(self.d, self.device)
        both.merge(self)
        both.merge(other)
        return both

    def eigenvalues(self) -> Float[np.ndarray, " d"]:
        """Spectrum of the covariance (divisor n − 1), from the largest; zeros for n < 2."""
        if self.n < 2 or self.scatter is None:
            return np.zeros(self.d)
        return spectrum.covariance_spectrum((self.scatter / (self.n - 1)).cpu().numpy())

    def result(self, threshold: float = 0.95) -> dict[str, Value]:
        """All metrics of this cloud by name; ``threshold`` is that of the PCA dimension."""
        eigenvalues = self.eigenvalues()
        n_directed = self.n - self.n_zero
        return {
            "effective_rank": spectrum.effective_rank(eigenvalues, self.n),
            "effective_rank_eigen": spectrum.effective_rank_eigen(eigenvalues, self.n),
            "participation_ratio": spectrum.participation_ratio(eigenvalues, self.n),
            "participation_ratio_corrected": spectrum.participation_ratio_corrected(eigenvalues, self.n),
            "pca_dimension": spectrum.pca_dimension(eigenvalues, self.n, threshold),
            "anisotropy": self._anisotropy(),
            "usage_entropy": mean_of(self.usage_sum, n_directed, missing="no vector other than 0"),
            "norm": mean_of(self.norm_sum, self.n),
        }

    def _anisotropy(self) -> Value:
        """Mean cosine of all pairs of different tokens (Ethayarajh 2019): (‖Σu‖² − N) / (N (N − 1))."""
        n = self.n - self.n_zero
        if n < 2 or self.unit_sum is None:
            return undefined(f"n = {n}", n)
        return defined((float(self.unit_sum @ self.unit_sum) - n) / (n * (n - 1)), n)


def usage_entropies(hidden: Float[Tensor, "token d"]) -> Float[Tensor, " token"]:
    """H(|a| / Σ|a|) / ln d of each vector a: 1 when all entries are equally large, 0 when one alone is not 0."""
    size = hidden.abs()
    total = size.sum(1).double()
    # Σ |a| ln |a| by a product with the logarithm: torch.special.entr is several times slower on a CPU
    weighted = torch.linalg.vecdot(size, size.clamp_min(TINY).log_()).double()
    entropy = total.log() - weighted / total
    return entropy.clamp_min(0) / max(float(np.log(hidden.shape[1])), TINY)


def histogram_entropy(values: Float[np.ndarray, " token"], edges: Float[np.ndarray, " bin"]) -> Value:
    """Shannon entropy, in bits, of the shares of values in bins of fixed edges; values outside fall into two more bins."""
    values = values[np.isfinite(values)]
    if not len(values):
        return undefined("n = 0", 0)
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    p = counts[counts > 0] / len(values)
    return defined(max(0.0, float(-(p * np.log2(p)).sum())), len(values))


def cosines(a: Float[Tensor, "token d"], b: Float[Tensor, "token d"]) -> Float[Tensor, " token"]:
    """Cosine of each row of ``a`` with the same row of ``b``, in float32; NaN where either is 0."""
    a, b = a.float(), b.float().to(a.device)
    size = torch.linalg.vector_norm(a, dim=1).double() * torch.linalg.vector_norm(b, dim=1).double()
    return torch.where(size > 0, (torch.linalg.vecdot(a, b).double() / size).clamp(-1, 1), torch.nan)


@dataclass
class MeanCosine:
    """Mean over tokens of a cosine between two vectors of the same token."""

    total: float = 0.0
    n: int = 0
    n_undefined: int = 0
    """Tokens at which one of the two vectors is 0 or not finite."""

    def add(self, values: Float[Tensor, " token"]) -> None:
        """Takes in the tokens' cosines."""
        found = values[values.isfinite()]
        self.total += float(found.sum())
        self.n += len(found)
        self.n_undefined += len(values) - len(found)

    def merge(self, other: "MeanCosine") -> None:
        """Takes in another mean."""
        self.total += other.total
        self.n += other.n
        self.n_undefined += other.n_undefined

    def result(self) -> Value:
        """The mean."""
        return mean_of(self.total, self.n, missing="no token with two vectors other than 0")


@dataclass
class LayerGeometry:
    """One residual point of one layer: ordinary positions and excluded ones, apart."""

    d: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __post_init__(self) -> None:
        self.clouds = {kind: Cloud(self.d, self.device) for kind in KINDS}
        self.to_input = {kind: MeanCosine() for kind in KINDS}
        self.to_previous = {kind: MeanCosine() for kind in KINDS}

    def add(
        self,
        hidden: Float[Tensor, "token d"],
        is_ordinary: Bool[Tensor, " token"] | None = None,
        *,
        first: Float[Tensor, "token d"] | None = None,
        previous: Float[Tensor, "token d"] | None = None,
    ) -> None:
        """Takes in a batch's vectors.

        Args:
            hidden: One row per token, no padding.
            is_ordinary: False at special tokens and first positions; all True when absent.
            first: The same tokens' vectors at the input of the first layer.
            previous: The same tokens' vectors one layer earlier.
        """
        means = ((self.to_input, first), (self.to_previous, previous))
        found = [(mean, cosines(hidden, other)) for mean, other in means if other is not None]
        for kind, rows in _split(is_ordinary):
            if rows is not None and not len(rows):
                continue
            self.clouds[kind].add(_rows(hidden, rows))
            for mean, values in found:
                mean[kind].add(_rows(values, rows))

    def merge(self, other: "LayerGeometry") -> None:
        """Takes in another batch's statistics."""
        for kind in KINDS:
            self.clouds[kind].merge(other.clouds[kind])
            self.to_input[kind].merge(other.to_input[kind])
            self.to_previous[kind].merge(other.to_previous[kind])

    def result(self, positions: str = "ordinary", threshold: float = 0.95) -> dict[str, Value]:
        """All metrics by name.

        Args:
            positions: ``ordinary`` (without special tokens and first positions) or ``all``.
            threshold: Of the PCA dimension.
        """
        kinds = KINDS if positions == "all" else KINDS[:1]
        cloud, to_input, to_previous = Cloud(self.d, self.device), MeanCosine(), MeanCosine()
        for kind in kinds:
            cloud.merge(self.clouds[kind])
            to_input.merge(self.to_input[kind])
            to_previous.merge(self.to_previous[kind])
        return cloud.result(threshold) | {
            "cosine_to_input": to_input.result(),
            "cosine_to_previous": to_previous.result(),
        }


KINDS = ("ordinary", "excluded")
POSITIONS = ("ordinary", "all")
METRICS: dict[str, dict[str, Any]] = spectrum.SPECTRUM_METRICS | {
    "anisotropy": {
        "convention": "mean cosine of all pairs of different tokens, (‖Σu‖² − N) / (N (N − 1))",
        "source": "Ethayarajh 2019, 1909.00512",
    },
    "usage_entropy": {
        "convention": "H(|a| / Σ|a|) / ln d of each token's vector, mean over tokens",
        "source": "Shannon; no canonical paper",
    },
    "norm": {"convention": "mean Euclidean norm", "source": "standard"},
    "norm_growth": {"convention": "mean norm over that of the layer before", "source": "standard"},
    "cosine_to_input": {
        "convention": "cosine with the same token's vector at the first layer's input, mean over tokens",
        "source": "standard",
    },
    "cosine_to_previous": {
        "convention": "cosine with the same token's vector one layer before, mean over tokens",
        "source": "standard",
    },
}
"""Metric -> convention and source, for its ``method``."""
UNCENTRED = ("anisotropy", "usage_entropy", "norm", "norm_growth", "cosine_to_input", "cosine_to_previous")


def curves(
    layers: list[LayerGeometry], *, point: str, exclusions: str, threshold: float = 0.95
) -> list[Curve]:
    """All metrics over the layers, with and without the excluded positions.

    Args:
        layers: From the input of the first layer to the output of the last.
        point: Which hidden state: ``residual``, or ``normed`` (what the next block reads).
        exclusions: What the excluded positions are, in words, for the method.
        threshold: Of the PCA dimension.
    """
    found = []
    for positions in POSITIONS:
        results = [layer.result(positions, threshold) for layer in layers]
        for values in results[:1]:  # nothing lies before the first layer
            values["cosine_to_previous"] = undefined("first layer", values["norm"].n)
        for metric in METRICS:
            values_of = _growth(results) if metric == "norm_growth" else [r[metric] for r in results]
            method = _method(metric, layers, point, positions, exclusions, threshold)
            warning = spectrum.few_rows(max(v.n for v in values_of), layers[0].d) if values_of else ""
            if warning and metric in spectrum.SPECTRUM_METRICS:
                method["warning"] = warning
            found.append(Curve(metric, values_of, method))
    return found


def _growth(results: list[dict[str, Value]]) -> list[Value]:
    norms = [result["norm"] for result in results]
    grown = [undefined("first layer", norms[0].n)] if norms else []
    for before, after in zip(norms, norms[1:]):
        if before.value and after.value is not None:
            grown.append(defined(after.value / before.value, after.n))
        else:
            grown.append(undefined("the norm of the layer before is 0 or undefined", after.n))
    return grown


def _method(
    metric: str, layers: list[LayerGeometry], point: str, positions: str, exclusions: str, threshold: float
) -> dict[str, Any]:
    method = METRICS[metric] | {
        "point": point,
        "positions": positions if positions == "all" else f"without {exclusions}",
        "dtype": "cast to float32 before centring, accumulated in float64",
        "centring": "none" if metric in UNCENTRED else "mean over the tokens",
        "n_nonfinite": sum(c.n_nonfinite for c in layers[-1].clouds.values()) if layers else 0,
        "d": layers[0].d if layers else 0,
    }
    return method | ({"threshold": threshold} if metric == "pca_dimension" else {})


def _split(is_ordinary: Tensor | None) -> list[tuple[str, Tensor | None]]:
    """Rows of each kind; None stands for all rows, so that nothing is copied."""
    if is_ordinary is None or bool(is_ordinary.all()):
        return [("ordinary", None)]
    return [("ordinary", is_ordinary.nonzero()[:, 0]), ("excluded", (~is_ordinary).nonzero()[:, 0])]


def _rows(values: Tensor, rows: Tensor | None) -> Tensor:
    return values if rows is None else values.index_select(0, rows.to(values.device))


def _gram(x: Float[Tensor, "token d"]) -> Float[Tensor, "d d"]:
    """xᵀx; on a CPU by numpy, which sees the symmetry and computes half of it (BLAS syrk)."""
    if x.device.type != "cpu":
        return x.T @ x
    array = x.numpy()
    return torch.from_numpy(array.T @ array)
