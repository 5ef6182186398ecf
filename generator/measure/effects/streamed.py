"""What a crosscoder makes of a sample of the text, batch by batch: error by place, latent scaling, correlated neurons."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from generator.measure.dictionaries import Dictionary
from generator.measure.dictionaries.sparse import Triples

ENTRIES = 1 << 16
"""Active entries whose decoder rows are gathered at once."""


@dataclass(frozen=True)
class Scaling:
    """Latent scaling (Minder et al. 2025, arXiv:2504.02922, section 2.3): β = argmin Σ ‖β f d − y‖² for four targets y.

    d is the latent's decoder in the model where it is longer, *own*; ``other`` is the other one. A target is what a model's
    reconstruction makes of the text, or its error with the latent's own part put back.
    """

    reconstruction: Float[np.ndarray, "feature model"]
    error: Float[np.ndarray, "feature model"]
    own: np.ndarray
    """Index of the own model, 0 or 1."""

    def ratio(self, name: str) -> Float[np.ndarray, " feature"]:
        """ν = β of the other model / β of its own: near 0 for a latent that only its own model has, near 1 for a shared one."""
        beta = getattr(self, name)
        rows = np.arange(len(beta))
        with np.errstate(invalid="ignore", divide="ignore"):
            return beta[rows, 1 - self.own] / beta[rows, self.own]


class SampleTotals:
    """Sums over a sample of tokens; the order of the batches matters only in the last bits."""

    def __init__(
        self, dictionary: Dictionary, n_places: int, n_models: int, n_neurons: int, rows: np.ndarray
    ) -> None:
        """Nothing added yet.

        Args:
            dictionary: A crosscoder, or a dictionary over one place.
            n_places: Its places.
            n_models: 2 for latent scaling.
            n_neurons: Neurons that are correlated with latents; 0 for none.
            rows: The latents that are.
        """
        n, d = dictionary.n_features, dictionary.d_in
        self.dictionary, self.n_places, self.rows = dictionary, n_places, rows
        self.n_tokens = 0
        self._sum, self._squares, self._error = np.zeros(d), np.zeros(d), np.zeros(n_places)
        self._f2 = np.zeros(n)
        self._models = n_models if n_models == 2 else 0
        decoder = dictionary.W_dec.cpu().double().numpy().reshape(n, max(1, n_models), -1)
        self._norms = np.linalg.norm(decoder, axis=2)
        self.own = self._norms.argmax(1)
        # a tie means nothing; the second model is the one that the papers call tuned
        self.own[self._norms[:, -1] == self._norms.max(1)] = max(0, n_models - 1)
        self._d = torch.from_numpy(decoder[np.arange(n), self.own]).float().to(dictionary.W_dec.device)
        self._products = {name: np.zeros((n, 2)) for name in ("reconstruction", "error")}
        self._own_products = np.einsum("fmd,fd->fm", decoder, decoder[np.arange(n), self.own])
        self._neurons = np.zeros((2, n_neurons))
        self._latents = np.zeros((2, len(rows)))
        self._cross = np.zeros((len(rows), n_neurons)) if n_neurons else np.zeros((0, 0))

    def add(self, x: Float[Tensor, "token d_in"], neurons: Float[Tensor, "token channel"] | None) -> None:
        """Some tokens; those that are not finite are left out."""
        kept = torch.isfinite(x).all(1)
        if neurons is not None:
            kept &= torch.isfinite(neurons).all(1).to(kept.device)
        x = x[kept]
        if not len(x):
            return
        latents = self.dictionary.encode_sparse(x)
        rebuilt = self.dictionary.decode(latents, x)
        self.n_tokens += len(x)
        wide = x.double()
        self._sum += wide.sum(0).cpu().numpy()
        self._squares += wide.square().sum(0).cpu().numpy()
        error = x - rebuilt
        by_place = error.double().square().view(len(x), self.n_places, -1).sum((0, 2))
        self._error += by_place.cpu().numpy()
        feature, value = latents.feature.cpu().numpy(), latents.value.double().cpu().numpy()
        self._f2 += np.bincount(feature, value**2, len(self._f2))
        if self._models:
            self._scale(latents, rebuilt, error)
        if neurons is not None:
            self._correlate(latents, neurons[kept.to(neurons.device)].to(x.device))

    def _scale(self, latents: Triples, rebuilt: Tensor, error: Tensor) -> None:
        targets = {"reconstruction": rebuilt, "error": error}
        for start in range(0, len(latents.value), ENTRIES):
            part = slice(start, start + ENTRIES)
            token, feature, value = latents.token[part], latents.feature[part], latents.value[part]
            direction = self._d[feature]
            index = feature.cpu().numpy()
            for name, target in targets.items():
                parts = target.view(len(target), 2, -1)[token]
                found = (
                    torch.einsum("kmd,kd->km", parts.double(), direction.double()) * value[:, None].double()
                )
                for model, column in enumerate(found.T.cpu().numpy()):
                    self._products[name][:, model] += np.bincount(index, column, len(self._f2))

    def _correlate(self, latents: Triples, neurons: Tensor) -> None:
        dense = latents.dense(self.dictionary.n_features)[:, torch.from_numpy(self.rows).to(neurons.device)]
        self._cross += (dense.T @ neurons).double().cpu().numpy()
        for totals, values in ((self._latents, dense), (self._neurons, neurons)):
            wide = values.double()
            totals += torch.stack([wide.sum(0), wide.square().sum(0)]).cpu().numpy()

    @property
    def sizes(self) -> Float[np.ndarray, " place"]:
        """Root of the total variance at each place."""
        return np.sqrt(np.maximum(self._variance().reshape(self.n_places, -1).sum(1), 0.0))

    @property
    def fvu(self) -> Float[np.ndarray, " place"]:
        """Fraction of the variance that is not explained, by place: Σ‖x − x̂‖² / Σ‖x − mean‖²."""
        total = self._variance().reshape(self.n_places, -1).sum(1) * self.n_tokens
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._error / total

    def _variance(self) -> np.ndarray:
        n = max(self.n_tokens, 1)
        return self._squares / n - (self._sum / n) ** 2

    @property
    def scaling(self) -> Scaling | None:
        """Closed form of the least squares; NaN for a latent that was silent. None unless there are two models."""
        if not self._models:
            return None
        with np.errstate(invalid="ignore", divide="ignore"):
            below = self._f2[:, None] * self._own_products[np.arange(len(self._f2)), self.own][:, None]
            put_back = self._own_products * self._f2[:, None]
            return Scaling(
                self._products["reconstruction"] / below,
                (self._products["error"] + put_back) / below,
                self.own,
            )

    @property
    def correlations(self) -> Float[np.ndarray, "feature channel"]:
        """Pearson's r of the chosen latents with all neurons; NaN where either never changed."""
        n = max(self.n_tokens, 1)
        latent, neuron = self._latents / n, self._neurons / n
        covariance = self._cross / n - latent[0][:, None] * neuron[0]
        spread = np.sqrt(np.maximum(latent[1] - latent[0] ** 2, 0))[:, None] * np.sqrt(
            np.maximum(neuron[1] - neuron[0] ** 2, 0)
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(spread > 0, covariance / spread, np.nan)
