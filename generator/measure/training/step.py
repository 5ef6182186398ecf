"""One training step with sparse products: the loss of a BatchTopK autoencoder and its exact gradients.

With B tokens, F latents and k·B active entries, only the encoder's product is dense. Decoding and both weight gradients
multiply a sparse matrix of k·B entries; autograd would make each of them a dense B × F one (docs/training.md).
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from generator.measure.dictionaries.products import dots, offsets_of, stable_order, weighted_sums

ENCODE_ROWS = 512
"""Tokens encoded at a time on a CPU, so that their pre-activations are still in cache when the greatest are sought."""

WARM = 0.97
"""Share of the last step's smallest active score above which entries are candidates for this step's."""


@dataclass(frozen=True)
class Weights:
    """The trained arrays, float32, row = feature."""

    W_enc: Float[Tensor, "feature d_in"]
    b_enc: Float[Tensor, " feature"]
    W_dec: Float[Tensor, "feature d_in"]
    b_dec: Float[Tensor, " d_in"]
    n_places: int = 1
    """Equal parts of the input: the places that a crosscoder reads."""

    def norms(self) -> Float[Tensor, " feature"]:
        """What a latent competes by, times its pre-activation: the sum over places of its decoder's norms.

        Of one place the row's norm. For several, Lindsey et al. 2024 (Sparse Crosscoders) weight the sparsity penalty so, and
        Minder et al. 2025 (arXiv:2504.02922, BatchTopK crosscoders) the selection.
        """
        return self.W_dec.unflatten(1, (self.n_places, -1)).norm(dim=2).sum(1)

    def tensors(self) -> list[Tensor]:
        """All four, in order."""
        return [self.W_enc, self.b_enc, self.W_dec, self.b_dec]


@dataclass(frozen=True)
class Active:
    """The active entries of a batch, by token, then latent."""

    token: Int[Tensor, " k"]
    feature: Int[Tensor, " k"]
    value: Float[Tensor, " k"]
    """Pre-activations, all greater than 0."""
    lowest_score: float
    """The smallest score among them; 0 when there is none."""


@dataclass(frozen=True)
class Step:
    """What one step finds."""

    loss: float
    aux_loss: float
    squared_error: float
    """Sum over tokens and inputs."""
    active: Active
    gradients: Weights


@dataclass(frozen=True)
class Aux:
    """The auxiliary loss of a step: which latents are dead and what they do."""

    dead: Int[Tensor, " feature"]
    k: int
    weight: float
    reads_error: bool


def take_step(
    x: Float[Tensor, "token d_in"],
    weights: Weights,
    active: Active,
    aux: Aux | None = None,
) -> Step:
    """Loss and gradients for active entries that were selected before.

    The loss is the mean squared error over tokens and inputs, plus ``aux.weight`` times that of the dead latents'
    reconstruction of the error, in which the error is a constant.
    """
    pattern = Pattern.of(active.token, active.feature, len(x), len(weights.W_enc))
    error = pattern.times(active.value, weights.W_dec) + weights.b_dec - x
    squared = float(error.square().sum())
    output_gradient = error * (2 / error.numel())
    gradients = _gradients(x, weights, pattern, active.value, output_gradient)
    gradients.b_dec.copy_(output_gradient.sum(0))
    aux_loss = 0.0
    if aux is not None and len(aux.dead) and aux.weight:
        aux_loss = _add_aux(x, -error, weights, aux, gradients)
    loss = squared / error.numel() + aux_loss
    return Step(loss, aux_loss, squared, active, gradients)


def _add_aux(x: Tensor, error: Tensor, weights: Weights, aux: Aux, gradients: Weights) -> float:
    """Adds the auxiliary loss' gradients, computed on the dead latents alone."""
    source = error if aux.reads_error else x
    W_enc, W_dec = weights.W_enc[aux.dead], weights.W_dec[aux.dead]
    subset = Weights(W_enc, weights.b_enc[aux.dead], W_dec, weights.b_dec, weights.n_places)
    pre = torch.nn.functional.linear(source, W_enc, subset.b_enc)
    score = pre * subset.norms()
    index = score.topk(min(aux.k, len(aux.dead)), dim=1).indices.sort(dim=1).values
    value = pre.gather(1, index).relu().flatten()
    token = torch.arange(len(x), device=x.device).repeat_interleave(index.shape[1])
    pattern = Pattern.of(token, index.flatten(), len(x), len(aux.dead))
    miss = pattern.times(value, W_dec) - error
    output_gradient = miss * (2 * aux.weight / miss.numel())
    part = _gradients(source, subset, pattern, value, output_gradient)
    for whole, piece in zip(gradients.tensors()[:3], part.tensors()[:3]):
        whole.index_add_(0, aux.dead, piece)
    return aux.weight * float(miss.square().mean())


def _gradients(
    x: Tensor, weights: Weights, pattern: "Pattern", value: Tensor, output_gradient: Tensor
) -> Weights:
    """Gradients from that of the output; ``b_dec``'s is left to the caller. A value of 0 was cut by the ReLU."""
    value_gradient = pattern.dots(output_gradient, weights.W_dec)
    value_gradient *= value > 0
    W_enc = pattern.transposed_times(value_gradient, x)
    W_dec = pattern.transposed_times(value, output_gradient)
    b_enc = torch.zeros_like(weights.b_enc).index_add_(0, pattern.feature, value_gradient)
    return Weights(W_enc, b_enc, W_dec, torch.zeros_like(weights.b_dec))


@dataclass(frozen=True)
class Pattern:
    """Positions of a sparse (token, feature) matrix, ordered both ways, so that several products share the sorting."""

    feature: Tensor
    _token_offsets: Tensor
    _feature_offsets: Tensor
    _by_feature: Tensor
    """The order that sorts the entries by feature, then token."""
    _token_by_feature: Tensor

    @classmethod
    def of(cls, token: Tensor, feature: Tensor, n_tokens: int, n_features: int) -> "Pattern":
        """Of entries that are ordered by token."""
        order = stable_order(feature, n_features)
        offsets = offsets_of(token, n_tokens), offsets_of(feature, n_features)
        return cls(feature, *offsets, order, token[order])

    def times(self, value: Tensor, right: Tensor) -> Tensor:
        """The (token, feature) matrix with these values, times one row per feature."""
        return weighted_sums(self.feature, value, self._token_offsets, right)

    def transposed_times(self, value: Tensor, right: Tensor) -> Tensor:
        """The (feature, token) matrix with these values, times one row per token."""
        return weighted_sums(self._token_by_feature, value[self._by_feature], self._feature_offsets, right)

    def dots(self, left: Tensor, right: Tensor) -> Tensor:
        """``left[token] · right[feature]`` at every entry."""
        return dots(left, right, self._token_offsets, self.feature)


class Selector:
    """Chooses the k·B entries of greatest score of a batch, exactly, looking only at those above last step's bar.

    The score is the pre-activation times the latent's ``norms``; entries that are not positive are never chosen.

    Args:
        k: Entries per token, on average.
        dtype: Precision of the product that finds candidates; the values of candidates are float32.
    """

    def __init__(self, k: int, dtype: torch.dtype = torch.float32, last_score: float = 0.0) -> None:
        self.k, self.dtype = k, dtype
        self.last_score = last_score
        self._piece = torch.empty(0, 0, dtype=dtype)

    def __call__(self, x: Float[Tensor, "token d_in"], weights: Weights, norms: Tensor) -> Active:
        """The active entries.

        Args:
            x: Inputs.
            weights: The autoencoder.
            norms: What latents compete by: ``Weights.norms``, or ones.
        """
        wanted = self.k * len(x)
        bar = WARM * self.last_score
        token, feature, value = self._candidates(x, weights, norms, bar)
        if bar > 0 and len(token) < wanted:
            token, feature, value = self._candidates(x, weights, norms, 0.0)
        score = value * norms[feature]
        if len(score) > wanted:
            kept = _greatest(score, wanted)
            token, feature, value, score = token[kept], feature[kept], value[kept], score[kept]
        self.last_score = float(score.min()) if len(score) else 0.0
        return Active(token, feature, value, self.last_score)

    def _candidates(
        self, x: Tensor, weights: Weights, norms: Tensor, bar: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        bars = bar / norms.clamp(min=1e-12)
        found = []
        rows = ENCODE_ROWS if x.device.type == "cpu" else len(x)
        W, b = weights.W_enc.to(self.dtype), weights.b_enc.to(self.dtype)
        for start in range(0, len(x), rows):
            pre = self._product(x[start : start + rows].to(self.dtype), W, b)
            flat = _where_above(pre, bars)
            found.append((flat + start * len(W), pre.flatten()[flat]))
        flat, value = (torch.cat(parts) for parts in zip(*found))
        token, feature = flat // len(W), flat % len(W)
        if self.dtype != torch.float32:
            value = dots(x, weights.W_enc, offsets_of(token, len(x)), feature) + weights.b_enc[feature]
            keep = value > 0
            token, feature, value = token[keep], feature[keep], value[keep]
        return token, feature, value

    def _product(self, x: Tensor, W: Tensor, b: Tensor) -> Tensor:
        """Pre-activations; on a CPU always in the same memory, for new pages would cost a tenth of the step."""
        if x.device.type != "cpu":
            return torch.nn.functional.linear(x, W, b)
        if len(self._piece) < len(x):
            self._piece = torch.empty(len(x), len(W), dtype=self.dtype)
        return torch.addmm(b, x, W.T, out=self._piece[: len(x)])


def _greatest(score: Tensor, n: int) -> Tensor:
    """Indices, ascending, of the ``n`` greatest; of equal ones at the bar, the first."""
    if (
        score.device.type == "cpu"
    ):  # numpy's partition is several times faster than torch.topk for many of few
        bar = float(np.partition(score.numpy(), len(score) - n)[len(score) - n])
    else:
        bar = float(score.topk(n).values[-1])
    keep = score > bar
    at_bar = (score == bar).nonzero().squeeze(1)
    keep[at_bar[: n - int(keep.sum())]] = True
    return keep.nonzero().squeeze(1)


def _where_above(pre: Tensor, bars: Tensor) -> Tensor:
    """Flat indices of entries above their column's bar."""
    is_above = pre > bars.to(pre.dtype)
    if pre.device.type != "cpu":
        return is_above.flatten().nonzero().squeeze(1)
    return torch.from_numpy(np.flatnonzero(is_above.numpy()))  # several times faster than torch.nonzero
