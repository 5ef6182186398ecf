"""Direct logit attribution: what the embedding, every head and every MLP add to one logit (Elhage et al. 2021).

The final norm's scale is frozen at its value for this position, so the parts add up to the logit. A logit lens, in
contrast, recomputes the scale at each layer: the two are not to be mixed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from generator.errors import FeaturebookError
from generator.measure.analyze.anatomy import Anatomy
from generator.measure.analyze.capture import check_context, feed_of, hooked
from generator.measure.analyze.heads import check_attention
from generator.measure.analyze.tail import logits

TOLERANCE = 1e-3
"""Largest gap, relative to the sizes of the parts, between their sum and the logit; above it the parts are refused."""

ROUNDINGS = 4
"""In half precision the gap may be so many of its rounding steps instead: 3 % in bfloat16, which the page shows."""


@dataclass(frozen=True)
class LogitParts:
    """The parts of one logit, centred over the vocabulary."""

    embedding: float
    heads: Float[np.ndarray, "layer head"]
    attention_bias: Float[np.ndarray, " layer"]
    """What the output projection adds whatever the heads do."""
    mlps: Float[np.ndarray, " layer"]
    bias: float
    """Of the final norm and of the head."""
    logit: float
    """The model's own, less the mean over the vocabulary."""
    gap: float
    """Sum of the parts − logit."""

    @property
    def total(self) -> float:
        """Sum of the parts."""
        parts = (self.heads, self.attention_bias, self.mlps)
        return self.embedding + self.bias + float(sum(part.sum() for part in parts))


def direct_logit_attribution(
    anatomy: Anatomy, token_ids: Sequence[int], position: int, token_id: int
) -> LogitParts:
    """The parts of the logit of a token at a position.

    Raises:
        FeaturebookError: the model has no such decomposition (post-norm layers, a norm behind attention, soft caps); the
            text is empty or too long.
    """
    if anatomy.final_norm is None:
        raise FeaturebookError(
            f"{type(anatomy.model).__name__} norms the residual stream after every block, so heads have no separate share "
            "in a logit. Direct logit attribution is defined for pre-norm models."
        )
    check_context(anatomy, len(token_ids))
    n_heads = check_attention(anatomy)[1]
    with torch.no_grad(), _recording(anatomy) as seen:
        output = logits(anatomy, feed_of(token_ids, anatomy.device).inputs())[0, position].double()
        norm = FrozenNorm.at(anatomy.final_norm, seen.residual[anatomy.n_layers][0, position])
        weight, head_bias = _unembedding(anatomy, token_id)

        def share(part: Float[Tensor, "k d"]) -> np.ndarray:
            return (norm(part.double()) @ weight.to(part.device)).cpu().numpy()

        found = [_layer_parts(anatomy, seen, layer, position, n_heads) for layer in range(anatomy.n_layers)]
        bias = float(norm.bias @ weight.to(norm.bias.device)) + head_bias
        parts = LogitParts(
            embedding=float(share(seen.residual[0][0, position][None])[0]),
            heads=np.array([share(heads) for heads, _, _ in found]),
            attention_bias=np.array([share(bias[None])[0] for _, bias, _ in found]),
            mlps=np.array([share(mlp[None])[0] for _, _, mlp in found]),
            bias=bias,
            logit=float(output[token_id] - output.mean()),
            gap=0.0,
        )
    return _checked(parts, anatomy, max(TOLERANCE, ROUNDINGS * torch.finfo(seen.residual[0].dtype).eps))


@dataclass(frozen=True)
class FrozenNorm:
    """A norm whose statistics are held at one vector: linear."""

    gain: Float[Tensor, " d"]
    """Already divided by the frozen scale; float64."""
    bias: Float[Tensor, " d"]
    is_centring: bool

    @classmethod
    def at(cls, norm: nn.Module, hidden: Float[Tensor, " d"]) -> "FrozenNorm":
        """Reads gain and bias by probing, so that (1 + w) and other forms of gain need no list of classes."""
        d = len(hidden)
        probe = torch.tensor([1.0, -1.0], device=hidden.device).repeat(d // 2 + 1)[:d]
        if d % 2:
            probe[-3:] = torch.tensor([2.0, -1.0, -1.0])  # mean 0, nowhere 0
        x, test = hidden.double(), probe.to(hidden.dtype)
        bias = (norm(test).double() + norm(-test).double()) / 2  # norms are odd but for their bias
        is_centring = torch.allclose(norm(test + 3).double(), norm(test).double(), atol=1e-2)
        epsilon = float(getattr(norm, "variance_epsilon", getattr(norm, "eps", 0.0)) or 0.0)
        gain = (norm(test).double() - bias) / probe.double() * ((probe.double() ** 2).mean() + epsilon).sqrt()
        centred = x - x.mean() if is_centring else x
        return cls(gain / ((centred**2).mean() + epsilon).sqrt(), bias, is_centring)

    def __call__(self, parts: Float[Tensor, "k d"]) -> Float[Tensor, "k d"]:
        """The norm without its bias."""
        if self.is_centring:
            parts = parts - parts.mean(-1, keepdim=True)
        return parts * self.gain.to(parts.device)


class _Seen:
    def __init__(self) -> None:
        self.residual: dict[int, Tensor] = {}
        self.attention: dict[nn.Module, Tensor] = {}
        self.projection: dict[nn.Module, nn.Module] = {}
        """Attention module -> the last of its linear children that ran: the output projection."""
        self.inputs: dict[nn.Module, Tensor] = {}
        self.last: dict[nn.Module, Tensor] = {}
        """Layer -> the output of the last of its children that is neither norm nor dropout."""


@contextmanager
def _recording(anatomy: Anatomy) -> Iterator[_Seen]:
    seen, handles = _Seen(), []
    for layer, attention in zip(anatomy.layers, anatomy.attentions):
        handles.append(attention.register_forward_hook(_keep(seen.attention, attention)))
        for child in attention.children():
            if _is_linear(child):
                handles.append(child.register_forward_hook(_keep_projection(seen, attention)))
        for child in layer.children():
            name = type(child).__name__.lower()
            if child is not attention and "norm" not in name and "dropout" not in name:
                handles.append(child.register_forward_hook(_keep(seen.last, layer)))
    try:
        with hooked(anatomy, lambda layer, _, h: seen.residual.__setitem__(layer, h), points=("residual",)):
            yield seen
    finally:
        for handle in handles:
            handle.remove()


def _keep(store: dict[nn.Module, Tensor], key: nn.Module) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        store[key] = output[0] if isinstance(output, tuple) else output

    return hook


def _keep_projection(seen: _Seen, attention: nn.Module) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        seen.projection[attention] = module
        seen.inputs[module] = args[0]

    return hook


def _is_linear(module: nn.Module) -> bool:
    from peft.tuners.tuners_utils import BaseTunerLayer

    weight = getattr(module, "weight", None)
    return isinstance(module, BaseTunerLayer) or (weight is not None and weight.ndim == 2)


def _layer_parts(
    anatomy: Anatomy, seen: _Seen, layer: int, position: int, n_heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """(heads (head, d), bias (d,), mlp (d,)) that the layer adds to the residual stream at one position."""
    module, attention = anatomy.layers[layer], anatomy.attentions[layer]
    projection = seen.projection.get(attention)
    if projection is None or module not in seen.last:
        raise _no_parts(anatomy, "its attention has no output projection of its own")
    z = _at(seen.inputs[projection], position)  # (head · d_head,)
    masks = torch.eye(n_heads, device=z.device).repeat_interleave(len(z) // n_heads, dim=1).to(z)
    rows = torch.cat([masks * z, torch.zeros_like(z)[None]])
    written = projection(rows[:, None])[:, 0].double()  # each head alone, and none
    heads, bias = written[:-1] - written[-1], written[-1]
    before, after = (seen.residual[i][0, position].double() for i in (layer, layer + 1))
    mlp = (
        after.to(bias.device)
        - before.to(bias.device)
        - _at(seen.attention[attention], position).double().to(bias.device)
    )
    own = _at(seen.last[module], position).double().to(mlp.device)
    step = ROUNDINGS * torch.finfo(seen.residual[layer].dtype).eps
    rounding = step * (before.abs() + after.abs()).to(mlp.device)
    if bool(((mlp - own).abs() > max(TOLERANCE, step) * (own.abs().max() + TOLERANCE) + rounding).any()):
        raise _no_parts(anatomy, "it norms or scales what a block writes before adding it")
    return heads, bias, mlp


def _at(states: Tensor, position: int) -> Tensor:
    """One token's vector of the only document; OPT drops the axis of documents inside a layer."""
    return states.flatten(0, -2)[position]


def _unembedding(anatomy: Anatomy, token_id: int) -> tuple[Float[Tensor, " d"], float]:
    """The head's row of the token and its bias, both less the mean over the vocabulary, in float64."""
    head = anatomy.model.get_output_embeddings()  # type: ignore[operator]
    if head is None or type(anatomy.model).__name__.endswith("ForMaskedLM"):
        raise _no_parts(anatomy, "its head is not one matrix")
    weight = head.weight.detach()
    bias = getattr(head, "bias", None)
    row = weight[token_id].double() - weight.float().mean(0, dtype=torch.float64)
    return row, 0.0 if bias is None else float(bias[token_id].double() - bias.double().mean())


def _checked(parts: LogitParts, anatomy: Anatomy, tolerance: float) -> LogitParts:
    sizes = (np.abs(parts.heads).sum(), np.abs(parts.mlps).sum(), abs(parts.embedding), abs(parts.logit), 1.0)
    gap = parts.total - parts.logit
    if abs(gap) > tolerance * sum(sizes):
        raise _no_parts(
            anatomy,
            f"the parts sum to {parts.total:.4g} instead of {parts.logit:.4g} (soft caps, scaled logits, half precision)",
        )
    return LogitParts(**{**parts.__dict__, "gap": gap})


def _no_parts(anatomy: Anatomy, why: str) -> FeaturebookError:
    return FeaturebookError(
        f"The logits of {type(anatomy.model).__name__} cannot be split into heads and MLPs: {why}. Leave direct logit "
        "attribution out of the analysis, or load the model in float32."
    )
