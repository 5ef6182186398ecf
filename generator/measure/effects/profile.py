"""What a crosscoder's decoder says of a latent: how strongly it writes to each place, and how alike these writes are."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

ACTIVE_SHARE = 0.05
"""A latent is active at a place whose norm is above this share of its peak's."""


@dataclass(frozen=True)
class Profile:
    """Of every latent, over the places of its crosscoder."""

    norms: Float[np.ndarray, "feature place"]
    """‖decoder‖ in the model's own units."""
    relative: Float[np.ndarray, "feature place"]
    """The same over the typical size of the activations there, so that late layers, whose vectors are long, do not always win."""
    cosines: Float[np.ndarray, "feature place place"]
    """0 where a decoder is 0."""

    @property
    def peak(self) -> np.ndarray:
        """The place of the largest relative norm."""
        return self.relative.argmax(1)

    @property
    def n_active(self) -> np.ndarray:
        """Places above 5 % of the peak; 0 for a latent that writes nothing."""
        largest = self.relative.max(1, keepdims=True)
        return ((self.relative > ACTIVE_SHARE * largest) & (largest > 0)).sum(1)

    @property
    def entropy(self) -> np.ndarray:
        """Of the shares of relative norm, over ln(places): 0 for one place, 1 for all alike; NaN where it writes nothing."""
        n = self.relative.shape[1]
        with np.errstate(invalid="ignore", divide="ignore"):
            p = self.relative / self.relative.sum(1, keepdims=True)
            terms = np.where(p > 0, p * np.log(p), np.where(np.isnan(p), np.nan, 0.0))
        return -terms.sum(1) / np.log(n) if n > 1 else np.zeros(len(p))


def profile(decoder: Float[np.ndarray, "feature place d_out"], sizes: Float[np.ndarray, " place"]) -> Profile:
    """The profile of all latents.

    Args:
        decoder: In the model's own units.
        sizes: Typical size of the activations at each place: the root of their total variance.
    """
    wide = decoder.astype(np.float64)
    norms = np.linalg.norm(wide, axis=2)
    unit = wide / np.where(norms > 0, norms, 1.0)[..., None]
    cosines = np.einsum("fpd,fqd->fpq", unit, unit)
    return Profile(norms, norms / np.where(sizes > 0, sizes, 1.0), cosines)


@dataclass(frozen=True)
class ModelDifference:
    """Of every latent of a crosscoder over two models."""

    relative_norm: Float[np.ndarray, " feature"]
    """½ + ½ (‖d₂‖ − ‖d₁‖) / max(‖d₁‖, ‖d₂‖): 0 for the first model alone, ½ for both, 1 for the second alone
    (Minder et al. 2025, arXiv:2504.02922, equation 4); NaN for a latent that writes nothing."""
    cosine: Float[np.ndarray, " feature"]
    """Between its decoders in the two models; 0 where one is 0."""


def difference(
    decoder: Float[np.ndarray, "feature place d_out"], sizes: Float[np.ndarray, " place"]
) -> ModelDifference:
    """How a latent's decoder differs between two models that are read at the same points.

    Args:
        decoder: The first half of the places belongs to the first model.
        sizes: As in ``profile``; each point counts in units of its larger size, which the two models share.
    """
    half = decoder.shape[1] // 2
    shared = np.maximum(sizes[:half], sizes[half:])
    unit = np.where(shared > 0, shared, 1.0)
    scaled = decoder.astype(np.float64) / np.concatenate([unit, unit])[:, None]
    first, second = scaled[:, :half].reshape(len(decoder), -1), scaled[:, half:].reshape(len(decoder), -1)
    one, two = np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1)
    largest = np.maximum(one, two)
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = 0.5 + 0.5 * (two - one) / largest
        cosine = np.nan_to_num((first * second).sum(1) / (one * two), posinf=0.0, neginf=0.0)
    return ModelDifference(relative, cosine)
