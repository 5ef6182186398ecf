"""The units of training and the way back: centring, scaling, and folding both into the saved weights."""

from dataclasses import dataclass

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
    """Training sees ``(x − centre) · factor``."""

    centre: Float[Tensor, " d_in"]
    """float64."""
    factor: float

    @classmethod
    def of(cls, facts: RowFacts, kind: str) -> "Scaling":
        """``global``: centred, variance 1 per value on average; ``none``: as they are."""
        if kind == "none":
            return cls(torch.zeros(len(facts.mean), dtype=torch.float64), 1.0)
        variance = float(facts.variance.mean())
        return cls(torch.from_numpy(facts.mean), variance**-0.5 if variance > 0 else 1.0)

    def apply(
        self, values: Float[np.ndarray, "token channel"], device: torch.device
    ) -> Float[Tensor, "token d_in"]:
        """Raw rows as training sees them, float32."""
        x = torch.from_numpy(values).to(device)
        if self.factor == 1.0 and not self.centre.any():
            return x
        return (x - self.centre.to(x)) * self.factor

    def fold(self, weights: Weights, threshold: float, notes: dict) -> Dictionary:
        """The dictionary that reads raw inputs, with decoder rows of norm 1, so that a latent's size is what it writes.

        Args:
            weights: The trained arrays, in training's units.
            threshold: On pre-activation × decoder norm, in training's units.
            notes: For the dictionary.
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
        arrays = {name: t.float().contiguous() for name, t in raw.items()}
        return Dictionary(**arrays, activation=JumpRelu(bar), subtracts_b_dec=True, notes=notes)
