"""One sparse autoencoder or transcoder, whatever file it came from."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from generator.errors import FeaturebookError
from generator.measure.dictionaries.activations import Activation, Gated, GroupMax, JumpRelu, Relu, TopK
from generator.measure.dictionaries.products import weighted_sums
from generator.measure.dictionaries.sparse import SparseEncoder, Triples

Normalization = Literal["none", "layer_norm", "constant_norm"]

LAYER_NORM_EPSILON = 1e-5
"""Added to the standard deviation, not to the variance (sae-lens ``run_time_activation_ln_in``, OpenAI ``LN``)."""


@dataclass(frozen=True)
class Dictionary:
    """Encoder and decoder with row = feature, in float32.

    ``encode``: x → normalize → − b_dec if ``subtracts_b_dec`` → ``activation(x W_encᵀ + b_enc)``.
    ``decode``: f → ``f W_dec + b_dec`` (→ the normalization undone, or + ``x W_skipᵀ``).
    """

    W_enc: Float[Tensor, "feature d_in"]
    b_enc: Float[Tensor, " feature"]
    W_dec: Float[Tensor, "feature d_out"]
    b_dec: Float[Tensor, " d_out"]
    activation: Activation
    subtracts_b_dec: bool = False
    """Whether the decoder's bias is subtracted from the input."""
    normalization: Normalization = "none"
    """``layer_norm``: (x − mean) / (unbiased standard deviation + 1e-5); ``constant_norm``: x · √d_in / ‖x‖."""
    W_skip: Float[Tensor, "d_out d_in"] | None = None
    """A transcoder's linear path around the latents; added by ``reconstruct`` only."""
    is_transcoder: bool = False
    """Whether the output is another place of the model than the input."""
    notes: dict[str, Any] = field(default_factory=dict)
    """What the page says of it: format, architecture, choices made by the loader, the file's own settings."""

    def __post_init__(self) -> None:
        n, d_out = self.W_dec.shape
        wanted = {"W_enc": (n, self.d_in), "b_enc": (n,), "W_dec": (n, d_out), "b_dec": (d_out,)}
        for name, shape in wanted.items():
            tensor = getattr(self, name)
            if tuple(tensor.shape) != shape:
                raise FeaturebookError(
                    f"{name} has shape {tuple(tensor.shape)}; the dictionary's other arrays want {shape}."
                )
        if isinstance(self.activation, TopK | GroupMax) and not 1 <= self.activation.k <= n:
            raise FeaturebookError(
                f"k = {self.activation.k} does not fit a dictionary of {n} latents; it must be between 1 and {n}."
            )
        if isinstance(self.activation, GroupMax) and n % self.activation.k:
            raise FeaturebookError(
                f"groupmax wants latents in k = {self.activation.k} equal groups, and {n} do not divide."
            )
        if self.subtracts_b_dec and d_out != self.d_in:
            raise FeaturebookError(
                f"b_dec has {d_out} entries and cannot be subtracted from an input of width {self.d_in}."
            )

    @property
    def n_features(self) -> int:
        """Number of latents."""
        return self.W_enc.shape[0]

    @property
    def d_in(self) -> int:
        """Width of the input."""
        return self.W_enc.shape[1]

    @property
    def d_out(self) -> int:
        """Width of the output."""
        return self.W_dec.shape[1]

    @property
    def is_signed(self) -> bool:
        """Whether latents may be negative."""
        return isinstance(self.activation, TopK) and self.activation.is_signed

    @property
    def kind(self) -> str:
        """The activation's name, for pages: ``relu``, ``jumprelu``, ``topk``, ``abstopk``, ``groupmax``, ``gated``."""
        names = {Relu: "relu", JumpRelu: "jumprelu", TopK: "topk", GroupMax: "groupmax", Gated: "gated"}
        return "abstopk" if self.is_signed else names[type(self.activation)]

    def to(self, device: torch.device | str) -> "Dictionary":
        """The same dictionary on another device."""

        def moved(thing: Any) -> dict[str, Any]:
            return {k: v.to(device) for k, v in vars(thing).items() if isinstance(v, torch.Tensor)}

        return replace(self, **moved(self), activation=replace(self.activation, **moved(self.activation)))

    def prepare(self, x: Float[Tensor, "token d_in"]) -> Float[Tensor, "token d_in"]:
        """What the encoder's matrix is applied to.

        Raises:
            FeaturebookError: the input has another width.
        """
        if x.shape[-1] != self.d_in:
            raise FeaturebookError(
                f"The dictionary reads {self.d_in} values per token and got {x.shape[-1]}."
            )
        x = x.to(self.W_enc)
        if self.normalization == "layer_norm":
            x = x - x.mean(-1, keepdim=True)
            x = x / (x.std(-1, keepdim=True) + LAYER_NORM_EPSILON)
        elif self.normalization == "constant_norm":
            x = x * (self.d_in**0.5 / x.norm(dim=-1, keepdim=True))
        return x - self.b_dec if self.subtracts_b_dec else x

    def encode(self, x: Float[Tensor, "token d_in"]) -> Float[Tensor, "token feature"]:
        """The latents of some tokens, dense, in float32; each token's depend on itself alone."""
        return self.activation(torch.nn.functional.linear(self.prepare(x), self.W_enc, self.b_enc))

    def encode_sparse(self, x: Float[Tensor, "token d_in"]) -> Triples:
        """The non-zero latents of some tokens, by token and latent; see ``SparseEncoder``."""
        return self.sparse_encoder(self.prepare(x))

    @cached_property
    def sparse_encoder(self) -> SparseEncoder:
        """The fast encoder with its filter weights, made once."""
        return SparseEncoder(self.W_enc, self.b_enc, self.activation)

    def decode(
        self, latents: Float[Tensor, "token feature"] | Triples, x: Float[Tensor, "token d_in"] | None = None
    ) -> Float[Tensor, "token d_out"]:
        """The reconstruction that the latents make, without the skip path.

        Args:
            latents: Dense or sparse.
            x: The input they come from; needed to undo a normalization.
        """
        if isinstance(latents, Triples):
            out = weighted_sums(latents.feature, latents.value, latents.offsets, self.W_dec) + self.b_dec
        else:
            out = latents @ self.W_dec + self.b_dec
        if self.normalization == "none" or self.is_transcoder:
            return out
        if x is None:
            raise FeaturebookError(f"decode needs x to undo the dictionary's {self.normalization}.")
        x = x.to(out)
        if self.normalization == "layer_norm":
            return out * x.std(-1, keepdim=True) + x.mean(-1, keepdim=True)
        return out * (x.norm(dim=-1, keepdim=True) / self.d_in**0.5)

    def reconstruct(self, x: Float[Tensor, "token d_in"]) -> Float[Tensor, "token d_out"]:
        """The output for some tokens: encode, decode, and the skip path of a transcoder."""
        out = self.decode(self.encode_sparse(x), x)
        return out if self.W_skip is None else out + x.to(out) @ self.W_skip.T
