"""The units of training and the way back: centring, scaling, and folding both into the saved weights.

An autoencoder's inputs share one factor. A crosscoder has one for each of its places, so that a layer whose stream is
ten times as long does not count a hundred times as much.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from generator.measure.dictionaries import Dictionary
from generator.measure.dictionaries.activations import JumpRelu
from generator.measure.training.rows import RowFacts
from generator.measure.training.step import Weights


@dataclass(frozen=True)
class Scaling:
    """Training sees ``(x − centre) · factor``, place by place."""

    centre: Float[Tensor, " d_in"]
    """float64."""
    factors: Float[Tensor, " place"]
    """float64."""

    @classmethod
    def of(cls, facts: RowFacts, kind: str, n_places: int = 1) -> "Scaling":
        """``global``: centred, variance 1 per value on average in each place; ``none``: as they are."""
        if kind == "none":
            return cls(
                torch.zeros(len(facts.mean), dtype=torch.float64), torch.ones(n_places, dtype=torch.float64)
            )
        variance = torch.from_numpy(facts.variance).reshape(n_places, -1).mean(1)
        return cls(torch.from_numpy(facts.mean), torch.where(variance > 0, variance**-0.5, 1.0))

    @property
    def factor(self) -> float:
        """Of the only place.

        Raises:
            ValueError: there are several.
        """
        return float(self.factors.item())

    @property
    def each(self) -> Float[Tensor, " d_in"]:
        """Every input's factor."""
        return self.factors.repeat_interleave(len(self.centre) // len(self.factors))

    @property
    def notes(self) -> dict[str, Any]:
        """For the page and the metrics: what was subtracted, and the factor of each place."""
        factors = self.factors.tolist()
        return {
            "input_centre": self.centre.tolist(),
            "input_factor": factors if len(factors) > 1 else factors[0],
        }

    def apply(
        self, values: Float[np.ndarray, "token channel"], device: torch.device
    ) -> Float[Tensor, "token d_in"]:
        """Raw rows as training sees them, float32."""
        x = torch.from_numpy(values).to(device)
        if (self.factors == 1.0).all() and not self.centre.any():
            return x
        return (x - self.centre.to(x)) * self.each.to(x)

    def fold(
        self, weights: Weights, threshold: float, notes: dict[str, Any], dtype: torch.dtype = torch.float32
    ) -> Dictionary:
        """The autoencoder that reads raw inputs, with decoder rows of norm 1, so that a latent's size is what it writes.

        Args:
            weights: The trained arrays, in training's units.
            threshold: On pre-activation × decoder norm, in training's units.
            notes: For the dictionary.
            dtype: What the two matrices are rounded to; they stay float32.
        """
        W_enc, b_enc, W_dec, b_dec = (t.detach().cpu().double() for t in weights.tensors())
        norms = W_dec.norm(dim=1).clamp(min=1e-30)
        raw = {
            "W_enc": W_enc * norms[:, None],
            "b_enc": (W_enc @ b_dec + b_enc) * norms / self.factor,  # b_dec is subtracted from inputs
            "W_dec": W_dec / norms[:, None],
            "b_dec": b_dec / self.factor + self.centre,
        }
        bar = torch.full((len(norms),), max(0.0, threshold) / self.factor)
        arrays = {name: (t.to(dtype) if t.ndim > 1 else t).float().contiguous() for name, t in raw.items()}
        return Dictionary(**arrays, activation=JumpRelu(bar), subtracts_b_dec=True, notes=notes)
