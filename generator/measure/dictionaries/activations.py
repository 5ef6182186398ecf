"""What a dictionary does with its pre-activations ``x W_encᵀ + b_enc``: one small class per kind.

Each is called on a dense array. The *elementwise* kinds also say above which pre-activation a latent can be active
at all (``floor``), which is what lets ``encode_sparse`` skip nearly all of them; the *rowwise* kinds compare the
latents of one token with one another.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Pre = Float[Tensor, "token feature"]
Entries = Float[Tensor, " k"]
"""Values of single (token, feature) entries; ``k`` counts entries here."""


@dataclass(frozen=True)
class Relu:
    """``max(z, 0)``."""

    def __call__(self, pre: Pre) -> Pre:
        """The activations of dense pre-activations."""
        return pre.relu()

    def floor(self, n_features: int) -> Float[Tensor, " feature"]:
        """A latent is active only where its pre-activation is greater than this."""
        return torch.zeros(n_features)

    def at(self, pre: Entries, feature: Int[Tensor, " k"]) -> Entries:
        """The activations of single entries."""
        return pre.relu()


@dataclass(frozen=True)
class JumpRelu:
    """``z`` where ``z > threshold`` and ``z > 0``, else 0 (Rajamanoharan et al. 2024, arXiv:2407.14435, section 3).

    A BatchTopK autoencoder at inference is one, with one threshold for all latents (Bussmann et al. 2024,
    arXiv:2412.06410, section 3).
    """

    threshold: Float[Tensor, " feature"]
    """A threshold below 0 (``-1`` in files that never estimated it) acts as 0."""

    def __call__(self, pre: Pre) -> Pre:
        """The activations of dense pre-activations."""
        return pre.relu() * (pre > self.threshold)

    def floor(self, n_features: int) -> Float[Tensor, " feature"]:
        """A latent is active only where its pre-activation is greater than this."""
        return self.threshold.clamp(min=0)

    def at(self, pre: Entries, feature: Int[Tensor, " k"]) -> Entries:
        """The activations of single entries."""
        return pre.relu() * (pre > self.threshold[feature])


@dataclass(frozen=True)
class Gated:
    """``max(scale · z + offset, 0)`` where ``z > 0``, else 0 (Rajamanoharan et al. 2024, arXiv:2404.16014, section 3.2).

    ``z`` is the gate's pre-activation, so ``b_enc`` is the gate's bias; with the paper's names, scale = exp(r_mag)
    and offset = b_mag − exp(r_mag) · b_gate.
    """

    scale: Float[Tensor, " feature"]
    offset: Float[Tensor, " feature"]

    def __call__(self, pre: Pre) -> Pre:
        """The activations of dense pre-activations."""
        return (pre * self.scale + self.offset).relu() * (pre > 0)

    def floor(self, n_features: int) -> Float[Tensor, " feature"]:
        """A latent is active only where its pre-activation is greater than this."""
        return (-self.offset / self.scale).clamp(min=0)

    def at(self, pre: Entries, feature: Int[Tensor, " k"]) -> Entries:
        """The activations of single entries."""
        return (pre * self.scale[feature] + self.offset[feature]).relu() * (pre > 0)


@dataclass(frozen=True)
class TopK:
    """Keeps the ``k`` latents of a token with the greatest score; the score is the pre-activation times ``score_scale``."""

    k: int
    is_signed: bool = False
    """Score by magnitude and keep the sign (AbsTopK); otherwise what was kept passes a ReLU."""
    score_scale: Float[Tensor, " feature"] | None = None
    """What the pre-activations are multiplied by to be compared, for instance the norm of the decoder row."""

    def __call__(self, pre: Pre) -> Pre:
        """The activations of dense pre-activations."""
        kept = torch.zeros_like(pre)
        index = self.score(pre).topk(self.k, dim=-1, sorted=False).indices
        kept.scatter_(-1, index, pre.gather(-1, index))
        return kept if self.is_signed else kept.relu()

    def score(self, pre: Pre) -> Pre:
        """What is compared among the latents of a token."""
        scaled = pre if self.score_scale is None else pre * self.score_scale
        return scaled.abs() if self.is_signed else scaled

    def lowest_kept(self, score: Pre) -> Float[Tensor, "token 1"]:
        """The k-th greatest score of each token."""
        return score.topk(self.k, dim=-1, sorted=False).values.amin(-1, keepdim=True)

    def is_kept(
        self, token: Int[Tensor, " k"], feature: Int[Tensor, " k"], score: Entries, n_features: int
    ) -> Bool[Tensor, " k"]:
        """Which of some candidates are kept, when all that could be are among them. Ties go to the lower feature."""
        return _rank_in_group(token, score) < self.k


@dataclass(frozen=True)
class GroupMax:
    """Keeps the greatest of each of ``k`` groups of consecutive latents, then a ReLU (sparsify's ``groupmax``)."""

    k: int
    is_signed: bool = False
    score_scale: None = None

    def __call__(self, pre: Pre) -> Pre:
        """The activations of dense pre-activations."""
        values, index = pre.unflatten(-1, (self.k, -1)).max(dim=-1)
        index += torch.arange(self.k, device=pre.device) * (pre.shape[-1] // self.k)
        return torch.zeros_like(pre).scatter_(-1, index, values.relu())

    def score(self, pre: Pre) -> Pre:
        """What is compared among the latents of a group."""
        return pre

    def lowest_kept(self, score: Pre) -> Pre:
        """The greatest score of the group that each latent belongs to."""
        greatest = score.unflatten(-1, (self.k, -1)).amax(-1, keepdim=True)
        return greatest.expand(-1, -1, score.shape[-1] // self.k).flatten(1)

    def is_kept(
        self, token: Int[Tensor, " k"], feature: Int[Tensor, " k"], score: Entries, n_features: int
    ) -> Bool[Tensor, " k"]:
        """Which of some candidates are kept, when all that could be are among them. Ties go to the lower feature."""
        return _rank_in_group(token * self.k + feature // (n_features // self.k), score) < 1


Elementwise = Relu | JumpRelu | Gated
Rowwise = TopK | GroupMax
Activation = Elementwise | Rowwise


def _rank_in_group(group: Int[Tensor, " k"], score: Entries) -> Int[Tensor, " k"]:
    """The rank (0 = greatest) of every entry among those of equal ``group``, which must be ascending."""
    order = torch.argsort(score, descending=True, stable=True)
    order = order[torch.argsort(group[order], stable=True)]
    first = torch.searchsorted(group, group)  # the groups lie together, and in the same places after sorting
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    return rank - first
