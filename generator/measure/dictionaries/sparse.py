"""Exact sparse encoding: a cheap filter finds every entry that could be active, float32 decides.

The filter is one matrix product in bfloat16 (float32 where the machine has no fast bfloat16) with its error bound
built in, so it never misses an entry. The candidates are then evaluated one by one in float32, each as one dot
product of its own row and column: an entry's value depends neither on the other tokens of the batch nor on the
filter's precision, so any split of the same tokens gives the same bits.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from generator.measure.dictionaries.activations import Activation, Elementwise, GroupMax, TopK
from generator.measure.dictionaries.products import dots, offsets_of

CHUNK_BYTES = 1 << 24
"""Pre-activations made at once on a CPU: they stay in the last-level cache. Smaller pieces make the product slower, for it
lays out the weights anew each time."""

CHUNK_BYTES_GPU = 1 << 29
"""Pre-activations made at once on a GPU."""

ROUNDING = {torch.float32: 2.0**-24, torch.bfloat16: 2.0**-9}
"""Largest relative error of rounding to nearest (half an ulp)."""


@dataclass(frozen=True)
class Triples:
    """The non-zero entries of a (token, feature) array, ordered by token, then feature."""

    token: Int[Tensor, " k"]
    feature: Int[Tensor, " k"]
    value: Float[Tensor, " k"]
    is_finite: Bool[Tensor, " token"]
    """Whether a token's input was finite; one that was not has no entries."""

    @property
    def n_tokens(self) -> int:
        """Number of tokens, those without an entry included."""
        return len(self.is_finite)

    @property
    def offsets(self) -> Tensor:
        """One more than tokens: the entries of token ``t`` are ``offsets[t]:offsets[t + 1]``."""
        return offsets_of(self.token, self.n_tokens)

    def dense(self, n_features: int) -> Float[Tensor, "token feature"]:
        """As a dense array."""
        out = torch.zeros(self.n_tokens, n_features, device=self.value.device)
        out[self.token, self.feature] = self.value
        return out


class SparseEncoder:
    """Encodes prepared inputs with one encoder matrix.

    Args:
        W_enc: Row = feature.
        b_enc: Its bias.
        activation: What follows the product.
        filter_dtype: Precision of the filter; by default bfloat16 where it is fast. The result does not depend on it.
    """

    def __init__(
        self,
        W_enc: Float[Tensor, "feature d_in"],
        b_enc: Float[Tensor, " feature"],
        activation: Activation,
        filter_dtype: torch.dtype | None = None,
    ) -> None:
        self.W_enc, self.b_enc, self.activation = W_enc.contiguous(), b_enc, activation
        self.dtype = filter_dtype or fast_filter_dtype(W_enc.device)
        self._piece = torch.empty(0, len(W_enc), dtype=self.dtype)
        self._relative = _relative_error(self.dtype, W_enc.shape[1] + 8, W_enc.device)
        if isinstance(activation, TopK | GroupMax):
            self._prepare_rowwise(activation)
        else:
            self._prepare_elementwise(activation)

    def __call__(self, x: Float[Tensor, "token d_in"]) -> Triples:
        """The non-zero latents of some prepared inputs."""
        is_finite = (
            torch.mv(x, x.new_zeros(x.shape[1])) == 0
        )  # 0 · NaN and 0 · ∞ are NaN; an array of flags costs ten times this
        if not is_finite.all():
            x = torch.where(is_finite[:, None], x, 0.0)
        size = CHUNK_BYTES if x.device.type == "cpu" else CHUNK_BYTES_GPU
        rows = max(1, size // (len(self.W_enc) * self.dtype.itemsize))
        find = self._rowwise if isinstance(self.activation, TopK | GroupMax) else self._elementwise
        found = [find(x[start : start + rows]) for start in range(0, len(x), rows)] or [_nothing(x)]
        token = torch.cat([part[0] + rows * index for index, part in enumerate(found)])
        feature, value = (torch.cat([part[i] for part in found]) for i in (1, 2))
        if not is_finite.all():
            keep = is_finite[token]
            token, feature, value = token[keep], feature[keep], value[keep]
        return Triples(token, feature, value, is_finite)

    def _prepare_elementwise(self, activation: Elementwise) -> None:
        """Puts bias, floor and error bound into extra columns, so that the filter is the sign of one product.

        Column by column: Σ x·w  +  1·(b − floor), split into three parts that bfloat16 holds exactly  +  ‖x‖·(bound·‖w‖).
        """
        gap = self.b_enc.double() - activation.floor(len(self.b_enc)).to(self.b_enc).double()
        is_exact = self.W_enc.device.type == "cpu"  # a GPU may round partial sums to bfloat16
        slack = 4 * (self.W_enc.shape[1] + 8) * ROUNDING[torch.float32] if is_exact else self._relative
        gap += slack * (self.b_enc.abs() + gap.abs())
        parts = []
        for _ in range(3):
            parts.append(gap.to(self.dtype))
            gap = gap - parts[-1].double()
        norms = self.W_enc.norm(dim=1) * (self._relative * 1.02)
        self._filter = torch.cat(
            [self.W_enc.to(self.dtype), torch.stack([*parts, norms.to(self.dtype)], 1)], 1
        )

    def _elementwise(self, x: Float[Tensor, "token d_in"]) -> tuple[Tensor, Tensor, Tensor]:
        activation = self.activation
        assert not isinstance(activation, TopK | GroupMax)
        columns = torch.ones(len(x), 4, device=x.device)
        columns[:, 3] = x.norm(dim=1) * 1.02  # covers the rounding of the two norms
        guess = self._product(torch.cat([x, columns], 1).to(self.dtype))
        token, feature = _where_positive(guess)
        value = activation.at(self._evaluate(x, token, feature), feature)
        keep = value != 0
        return token[keep], feature[keep], value[keep]

    def _prepare_rowwise(self, activation: TopK | GroupMax) -> None:
        scale = activation.score_scale
        W, b = (
            (self.W_enc, self.b_enc) if scale is None else (self.W_enc * scale[:, None], self.b_enc * scale)
        )
        self._filter, self._filter_bias = W.to(self.dtype), b
        self._greatest_norm, self._greatest_bias = float(W.norm(dim=1).max()), float(b.abs().max())

    def _rowwise(self, x: Float[Tensor, "token d_in"]) -> tuple[Tensor, Tensor, Tensor]:
        activation = self.activation
        assert isinstance(activation, TopK | GroupMax)
        guess = self._product(x.to(self.dtype)).float() + self._filter_bias
        reach = x.norm(dim=1, keepdim=True) * self._greatest_norm + self._greatest_bias
        error = 2 * self._relative * (reach + guess.abs().amax(1, keepdim=True))
        score = guess.abs() if activation.is_signed else guess
        bar = activation.lowest_kept(score) - 2 * error
        if not activation.is_signed:
            bar = bar.maximum(-error)  # what is kept passes a ReLU
        token, feature = _where_positive(score - bar)
        pre = self._evaluate(x, token, feature)
        compared = pre if activation.score_scale is None else pre * activation.score_scale[feature]
        compared = compared.abs() if activation.is_signed else compared
        keep = activation.is_kept(token, feature, compared, len(self.W_enc))
        keep &= pre != 0 if activation.is_signed else pre > 0
        return token[keep], feature[keep], pre[keep]

    def _product(self, x: Float[Tensor, "token d_in"]) -> Float[Tensor, "token feature"]:
        """The filter's product. On a CPU every piece goes to the same memory: new pages would cost a quarter of the product."""
        if x.device.type != "cpu":
            return x @ self._filter.T
        with torch.no_grad():
            if len(self._piece) < len(x):
                self._piece = torch.empty(len(x), len(self._filter), dtype=self.dtype)
            return torch.mm(x, self._filter.T, out=self._piece[: len(x)])

    def _evaluate(
        self, x: Float[Tensor, "token d_in"], token: Int[Tensor, " k"], feature: Int[Tensor, " k"]
    ) -> Float[Tensor, " k"]:
        """The float32 pre-activations of single entries, which must be ordered by token."""
        return dots(x, self.W_enc, offsets_of(token, len(x)), feature) + self.b_enc[feature]


def fast_filter_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device says that it has units for it (GPUs since Ampere, CPUs with AVX-512 BF16), else float32."""
    if device.type == "cuda":
        is_fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        is_fast = device.type != "cpu" or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if is_fast else torch.float32


def _relative_error(dtype: torch.dtype, n_terms: int, device: torch.device) -> float:
    """Bound of |computed − exact| / (‖x‖ ‖w‖) of a product of rounded inputs, plus float32's own in the evaluation.

    Two roundings of the inputs, and float32 accumulation twice (Higham, Accuracy and Stability, section 3.1, with
    Cauchy–Schwarz for Σ|x w|). A GPU may add partial sums in bfloat16, which is allowed for by doubling.
    """
    unit = ROUNDING[dtype]
    inputs = (2 * unit + unit * unit) * (1 if device.type == "cpu" or dtype == torch.float32 else 2)
    return 1.01 * (inputs + 2 * n_terms * ROUNDING[torch.float32])


def _where_positive(guess: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of every positive entry, by row."""
    width = guess.shape[1]
    if (
        guess.device.type == "cpu"
    ):  # numpy's scan is several times faster than torch.nonzero; the sign bit is enough
        integers = guess.view(torch.int16 if guess.dtype == torch.bfloat16 else torch.int32)
        flat = torch.from_numpy(np.flatnonzero(integers.numpy() > 0))
    else:
        flat = (guess > 0).flatten().nonzero().squeeze(1)
    return flat // width, flat % width


def _nothing(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    nothing = torch.zeros(0, dtype=torch.int64, device=x.device)
    return nothing, nothing, torch.zeros(0, device=x.device)
