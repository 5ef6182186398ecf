"""LoRA without PEFT's forward: reads A and B from PEFT's layers and writes the adapter's contribution in place.

PEFT's own forward is what costs (float32 copies, one matmul per module); here modules that share an input share one
projection, its float32 results are recorded, and B is added in place (docs/extraction.md).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from generator.errors import FeaturebookError

Kind = Literal["linear", "embedding"]


@dataclass
class AdaptedModule:
    """One module of the base model with its adapter, in the chosen basis."""

    name: str
    """Dotted path in the base model: ``model.layers.0.mlp.up_proj``."""
    layer: Any
    """PEFT's ``LoraLayer``; its ``base_layer`` is the module of the base model."""
    kind: Kind
    read: Float[Tensor, "rank d_in"]
    """float32. Row k reads channel k: activation = x · read[k]; for an embedding, read[k, token id]."""
    write: Float[Tensor, "rank d_out"]
    """float32. The module's output gains scaling · Σ_k activation_k · write[k]."""
    scaling: float
    basis: str
    bias: Float[Tensor, " d_out"] | None = None
    """What the adapter adds at every token, whatever the activation (``lora_bias``), scaled."""
    gain: Float[Tensor, " d_out"] | None = None
    """DoRA's rescaling of the base module's output: magnitude / ‖W + scaling·B·A‖ per row; already in ``write``."""

    @property
    def rank(self) -> int:
        """Number of directions."""
        return len(self.read)


def read_adapted(model: nn.Module, adapter_name: str, basis: str) -> list[AdaptedModule]:
    """All modules that the adapter changes, in model order.

    Args:
        model: The base model with PEFT's layers in place.
        adapter_name: The adapter's name in PEFT.
        basis: ``rows``, ``svd``, or ``auto`` (svd where the rank is above 1).

    Raises:
        FeaturebookError: a variant of LoRA whose activation is not x·A.
    """
    from peft.tuners.lora import LoraLayer

    found = [
        _read_layer(name, layer, adapter_name, basis)
        for name, layer in model.named_modules()
        if isinstance(layer, LoraLayer) and (adapter_name in layer.r)
    ]
    if not found:
        raise FeaturebookError(
            f"The adapter {adapter_name!r} changes no module of the model. Check model.adapter."
        )
    return found


def _read_layer(name: str, layer: Any, adapter: str, basis: str) -> AdaptedModule:
    variant = type(layer.lora_variant[adapter]).__name__ if adapter in layer.lora_variant else None
    is_dora = variant == "DoraLinearVariant"
    kind: Kind = "embedding" if adapter in layer.lora_embedding_A else "linear"
    if (variant and not is_dora) or (kind == "linear" and not _has_linear_parts(layer, adapter)):
        raise FeaturebookError(
            f"{name} is adapted by {variant or type(layer).__name__}, for which x·A is not what the model computes. Supported "
            "are LoRA on linear layers, Conv1D and embeddings, and DoRA on linear layers."
        )
    if kind == "embedding":
        a, b = layer.lora_embedding_A[adapter], layer.lora_embedding_B[adapter]
    else:
        a, b = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
    a, b = a.detach().float(), b.detach().float().to(a.device)
    scaling = float(layer.scaling[adapter])
    scale = layer._get_embed_scale() if kind == "embedding" else None
    if scale is not None:
        scaling *= float(scale)
    gain = _dora_gain(layer, adapter, a, b, scaling) if is_dora else None
    if gain is not None:
        b = b * gain[:, None]
    chosen = basis if basis != "auto" else ("svd" if len(a) > 1 else "rows")
    read, write = svd_basis(a, b, scaling) if chosen == "svd" else (a, b.T)
    bias = None if kind == "embedding" else layer.lora_B[adapter].bias
    return AdaptedModule(
        name=name,
        layer=layer,
        kind=kind,
        read=read.contiguous(),
        write=write.contiguous(),
        scaling=scaling,
        basis=chosen,
        bias=None if bias is None else bias.detach().float() * scaling,
        gain=gain,
    )


def _has_linear_parts(layer: Any, adapter: str) -> bool:
    is_one = adapter in layer.lora_A and isinstance(layer.lora_A[adapter], nn.Linear)
    return is_one and isinstance(layer.lora_B[adapter], nn.Linear) and layer.lora_A[adapter].bias is None


def _dora_gain(layer: Any, adapter: str, a: Tensor, b: Tensor, scaling: float) -> Float[Tensor, " d_out"]:
    """DoRA (arXiv 2402.09353, eq. 5): W' = m · (W + s·B·A) / ‖W + s·B·A‖, the norm over each output's row."""
    base = layer.get_base_layer()
    weight = base.weight.detach().float()
    weight = weight.T if layer.fan_in_fan_out else weight
    norm = torch.linalg.vector_norm(weight + scaling * (b @ a).to(weight.device), dim=1)
    return (layer.lora_magnitude_vector[adapter].weight.detach().float().flatten().to(norm.device) / norm).to(
        a.device
    )


def svd_basis(
    a: Float[Tensor, "rank d_in"], b: Float[Tensor, "d_out rank"], scaling: float
) -> tuple[Float[Tensor, "rank d_in"], Float[Tensor, "rank d_out"]]:
    """The directions of scaling·B·A by singular value decomposition, the largest first.

    With scaling·B·A = Σ_k s_k u_k v_kᵀ, row k of the first result is v_k (unit norm) and row k of the second is
    (s_k / scaling) u_k, so that scaling · Σ_k (x · read_k) write_k is the module's LoRA output as before. The sign
    of each pair is the one that makes the entry of v_k with the largest absolute value positive (the first of
    equals). Computed in float64 on the r × r core: A = R_Aᵀ Q_Aᵀ, B = Q_B R_B, core = scaling·R_B R_Aᵀ.
    """
    q_a, r_a = torch.linalg.qr(a.double().cpu().T)
    q_b, r_b = torch.linalg.qr(b.double().cpu())
    u, s, vh = torch.linalg.svd(scaling * (r_b @ r_a.T))
    read, write = vh @ q_a.T, (q_b @ u).T * (s / scaling)[:, None]
    peak = read.abs().argmax(dim=1, keepdim=True)
    sign = torch.where(read.gather(1, peak) < 0, -1.0, 1.0)
    return (read * sign).float().to(a.device), (write * sign).float().to(a.device)


@dataclass
class Recorder:
    """Collects the activations of one forward pass."""

    values: Float[Tensor, "token channel"] | None = None
    """float32; None while nothing is recorded."""

    def put(self, scalars: Float[Tensor, "token row"], columns: slice | list[int]) -> None:
        """Keeps the scalars of one site under their channels."""
        if self.values is not None:
            self.values[:, columns] = scalars.to(self.values.device, non_blocking=True)


@dataclass
class Site:
    """Modules that read the same tensor: one projection serves them all."""

    members: list[AdaptedModule]
    columns: list[list[int]]
    """Channels of each member, by index into the channel table; empty when the member is not measured."""
    recorder: Recorder
    _parts: dict[tuple[torch.device, torch.dtype], Tensor] = field(default_factory=dict)
    _input: Tensor | None = None
    _scalars: Tensor | None = None
    _left: int = 0

    def __post_init__(self) -> None:
        order = [i for i, columns in enumerate(self.columns) if columns]
        order += [i for i, columns in enumerate(self.columns) if not columns]
        self.members = [self.members[i] for i in order]
        self.columns = [self.columns[i] for i in order]
        self._kept = _as_slice([c for columns in self.columns for c in columns])
        self._n_kept = sum(map(len, self.columns))
        starts = [0]
        for member in self.members:
            starts.append(starts[-1] + member.rank)
        self._rows = [slice(a, b) for a, b in zip(starts, starts[1:])]

    def scalars(self, x: Tensor, member: int) -> Float[Tensor, "token rank"]:
        """The member's activations at ``x``; computed once for all members that are called with this tensor."""
        if x is not self._input:
            self._input, self._left = x, len(self.members)
            self._scalars = self._project(x)
            if self._n_kept:
                self.recorder.put(self._scalars[:, : self._n_kept], self._kept)
        scalars = self._scalars
        assert scalars is not None
        self._left -= 1
        if not self._left:
            self.release()
        return scalars[:, self._rows[member]] if len(self.members) > 1 else scalars

    def release(self) -> None:
        """Lets go of the input, so that its memory is free."""
        self._input = self._scalars = None

    def _project(self, x: Tensor) -> Float[Tensor, "token row"]:
        if self.members[0].kind == "embedding":
            table = self._weight(x.device, torch.float32, lambda stacked: stacked.T.contiguous())
            return F.embedding(x.reshape(-1), table)
        x = x.reshape(-1, x.shape[-1])
        if x.is_cuda and x.dtype in (torch.bfloat16, torch.float16):
            parts = self._weight(x.device, x.dtype, partial(split_float32, dtype=x.dtype))
            summed = torch.mm(x, parts.flatten(0, 1).T, out_dtype=torch.float32)
            return summed.view(len(x), len(parts), -1).sum(1)
        # [row, d_in] and F.linear: a [d_in, row] operand takes a slow path of MKL for 2 to 8 rows
        return F.linear(x.float(), self._weight(x.device, torch.float32, lambda stacked: stacked))

    def _weight(
        self, device: torch.device, dtype: torch.dtype, prepare: Callable[[Tensor], Tensor]
    ) -> Tensor:
        if (device, dtype) not in self._parts:
            stacked = torch.cat([member.read.to(device) for member in self.members])
            self._parts[device, dtype] = prepare(stacked)
        return self._parts[device, dtype]


def split_float32(weight: Float[Tensor, "row d_in"], dtype: torch.dtype) -> Float[Tensor, "part row d_in"]:
    """A float32 matrix as a sum of at most three of a half precision, exact to float32.

    A half-precision product with float32 accumulation then projects as exactly as a float32 one, without a float32
    copy of the input.
    """
    parts: list[Tensor] = []
    rest = weight.float()
    while len(parts) < 3:
        parts.append(rest.to(dtype))
        rest = rest - parts[-1].float()
        if not rest.any():
            break
    return torch.stack(parts)


def _as_slice(columns: Sequence[int]) -> slice | list[int]:
    if columns and list(columns) == list(range(columns[0], columns[0] + len(columns))):
        return slice(columns[0], columns[0] + len(columns))
    return list(columns)


def install(sites: Sequence[Site]) -> None:
    """Replaces PEFT's forward of every adapted module by ours, exact and unmerged."""
    for site in sites:
        for index, member in enumerate(site.members):
            member.layer.forward = _Forward(site, index)


class _Forward:
    """The forward of one adapted module: the base layer's output, plus scaling · Σ_k activation_k · write_k."""

    def __init__(self, site: Site, index: int, *, is_merged: bool = False) -> None:
        self.site, self.index, self.member = site, index, site.members[index]
        self.is_merged = is_merged
        self.base_layer = self.member.layer.base_layer
        self.weights: dict[tuple[torch.device, torch.dtype], tuple[Tensor, ...]] = {}

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        result = self.base_layer(x, *args, **kwargs)
        if self.member.layer.disable_adapters:  # the base model is asked for
            return result
        scalars = self.site.scalars(x, self.index)
        if self.is_merged:
            return result
        write, gain, offset = self._weights(result)
        if gain.numel():
            result = result * gain
        if offset.numel():
            result = result + offset
        flat = result.reshape(-1, result.shape[-1])  # a view: what a layer has just returned is contiguous
        return add_product(flat, scalars, write).view(result.shape)

    def _weights(self, result: Tensor) -> tuple[Tensor, ...]:
        key = result.device, result.dtype
        if key not in self.weights:
            member = self.member
            empty = torch.empty(0)
            gain, offset = member.gain, member.bias
            if gain is not None and getattr(self.base_layer, "bias", None) is not None:
                offset = (1 - gain) * self.base_layer.bias.detach().float().to(gain.device)
            parts = (
                member.write * member.scaling,
                empty if gain is None else gain,
                empty if offset is None else offset,
            )
            self.weights[key] = tuple(part.to(*key) for part in parts)
        return self.weights[key]


def add_product(
    result: Float[Tensor, "token d_out"],
    scalars: Float[Tensor, "token rank"],
    write: Float[Tensor, "rank d_out"],
) -> Float[Tensor, "token d_out"]:
    """Adds ``scalars @ write`` to ``result`` in place; ``scalars`` are float32, the others of the model's dtype.

    A CPU without bfloat16 instructions multiplies half-precision matrices 15 to 70 times slower than float32 ones.
    """
    if len(write) == 1:
        return result.addcmul_(scalars.to(result.dtype), write)
    if result.is_cuda or result.dtype == torch.float32 or _multiplies_half():
        return result.addmm_(scalars.to(result.dtype), write)
    return result.add_(scalars @ write.float())


@cache
def _multiplies_half() -> bool:
    """Whether the CPU has matrix instructions for bfloat16."""
    known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(known()) if known is not None else False


def merge(sites: Sequence[Site], model: nn.Module) -> None:
    """Adds every module's scaling·B·A to its weight and leaves only the reading in the forward.

    Raises:
        FeaturebookError: a bias that the base layer has no place for, quantised or shared weights.
    """
    owners = _owners(model)
    for site in sites:
        for index, member in enumerate(site.members):
            _merge_module(member, owners)
            member.layer.forward = _Forward(site, index, is_merged=True)


def _owners(model: nn.Module) -> dict[int, int]:
    """Storage of every parameter -> how many modules hold it."""
    count: dict[int, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            count[parameter.data_ptr()] = count.get(parameter.data_ptr(), 0) + 1
    return count


def _merge_module(member: AdaptedModule, owners: dict[int, int]) -> None:
    base = member.layer.get_base_layer()
    weight = base.weight
    if not weight.is_floating_point() or weight.is_meta or (member.bias is not None and base.bias is None):
        raise FeaturebookError(
            f"{member.name} cannot be merged: its weight is quantised or offloaded, or the adapter has a bias that it has no "
            "place for. Set extract.merge = false."
        )
    if owners.get(weight.data_ptr(), 1) > 1:
        raise FeaturebookError(
            f"{member.name} shares its weight with another module, which merging would change too. Set extract.merge = false."
        )
    delta = member.scaling * (member.write.T @ member.read).to(weight.device)  # (d_out, d_in)
    is_transposed = member.kind == "embedding" or member.layer.fan_in_fan_out
    merged = weight.detach().float()
    if member.gain is not None:
        gain = member.gain.to(weight.device)
        merged = merged * (gain if is_transposed else gain[:, None])
    merged = merged + (delta.T if is_transposed else delta)
    if member.kind == "embedding":
        merged = weight.detach().float() + delta.T / _embed_scale(member)
    weight.data.copy_(merged)
    if member.bias is not None:
        base.bias.data.add_(member.bias.to(base.bias.device))


def _embed_scale(member: AdaptedModule) -> float:
    """What the embedding's own forward multiplies its weight by (Gemma); it is in ``scaling`` already."""
    scale = member.layer._get_embed_scale()
    return 1.0 if scale is None else float(scale)
