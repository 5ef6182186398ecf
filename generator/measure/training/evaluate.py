"""How well a dictionary rebuilds rows it was not trained on, in raw units."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from generator.measure.dictionaries import Dictionary
from generator.measure.dictionaries.activations import JumpRelu


@dataclass(frozen=True)
class Figures:
    """Figures over some rows."""

    n_tokens: int
    fvu: float
    """Fraction of variance unexplained: Σ(x − x̂)² / Σ(x − mean)², over tokens and inputs, with these rows' mean."""
    explained_variance: Float[np.ndarray, " channel"]
    """1 − Σ(x − x̂)² / Σ(x − mean)² of every input; NaN where it is constant."""
    l0_counts: Int[np.ndarray, " bin"]
    """Number of tokens with 0, 1, 2, … active latents."""
    n_active: Int[np.ndarray, " feature"]
    """Number of tokens at which each latent is active."""
    fvu_by_place: list[float]
    """FVU over each of the places that a crosscoder reads; of another dictionary, the one FVU again."""

    @property
    def l0(self) -> float:
        """Mean number of active latents per token."""
        return float((self.l0_counts * np.arange(len(self.l0_counts))).sum() / max(1, self.n_tokens))

    @property
    def dead_share(self) -> float:
        """Share of the latents that were never active."""
        return float((self.n_active == 0).mean())

    def to_json(self) -> dict[str, Any]:
        """For ``metrics.jsonl`` and the collection's page."""
        return {
            "n_tokens": self.n_tokens,
            "fvu": self.fvu,
            "explained_variance": self.explained_variance.tolist(),
            "l0": self.l0,
            "l0_counts": self.l0_counts.tolist(),
            "dead_share": self.dead_share,
            **({"fvu_by_place": self.fvu_by_place} if len(self.fvu_by_place) > 1 else {}),
        }


def evaluate(dictionary: Dictionary, rows: Iterable[np.ndarray]) -> Figures:
    """Encodes and decodes all rows, given as (token, channel) arrays, once; sums are float64."""
    device, width = dictionary.W_enc.device, dictionary.d_in
    total, squares, errors = np.zeros(width), np.zeros(width), np.zeros(width)
    l0_counts, n_active = np.zeros(1, np.int64), np.zeros(dictionary.n_features, np.int64)
    n, origin = 0, None
    for values in rows:
        if not len(values):
            continue
        x = torch.from_numpy(values).to(device)
        found = dictionary.encode_sparse(x)
        error = (x - dictionary.decode(found)).cpu().numpy().astype(np.float64)
        origin = values.mean(0, dtype=np.float64) if origin is None else origin
        wide = values - origin
        n, total, squares = n + len(values), total + wide.sum(0), squares + (wide * wide).sum(0)
        errors += (error * error).sum(0)
        n_active += np.bincount(found.feature.cpu().numpy(), minlength=len(n_active))
        counts = np.bincount(found.offsets.diff().cpu().numpy())
        l0_counts = np.pad(l0_counts, (0, max(0, len(counts) - len(l0_counts))))
        l0_counts[: len(counts)] += counts
    spread = squares - total * total / max(1, n)
    with np.errstate(divide="ignore", invalid="ignore"):
        explained = np.where(spread > 0, 1 - errors / spread, np.nan)
    n_places = dictionary.notes.get("n_places", 1)
    by_place = [_fvu(*parts) for parts in zip(np.split(errors, n_places), np.split(spread, n_places))]
    return Figures(n, _fvu(errors, spread), explained, l0_counts, n_active, by_place)


def _fvu(errors: Float[np.ndarray, " channel"], spread: Float[np.ndarray, " channel"]) -> float:
    return float(errors.sum() / spread.sum()) if spread.sum() > 0 else float("nan")


def at_l0(dictionary: Dictionary, rows: Iterable[np.ndarray], l0: float) -> Dictionary:
    """The same dictionary with the one threshold that makes ``l0`` latents active per token on average over these rows.

    For comparisons at equal sparsity; all rows' candidate values are held at once.
    """
    activation = dictionary.activation
    assert isinstance(activation, JumpRelu)
    low = replace(dictionary, activation=JumpRelu(activation.threshold * 0.3))
    values, n = [], 0
    for part in rows:
        values.append(low.encode_sparse(torch.from_numpy(part)).value)
        n += len(part)
    joined = torch.cat(values)
    wanted = round(l0 * n)
    if wanted >= len(joined):
        return low
    bar = joined.topk(wanted + 1, sorted=True).values[-2:].mean()
    return replace(dictionary, activation=JumpRelu(torch.full_like(activation.threshold, float(bar))))
