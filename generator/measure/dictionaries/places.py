"""Crosscoders as dictionaries: several places side by side as one wide input, their normalisation folded into the weights.

In memory a crosscoder's ``d_in`` is n_places · d_model, place by place, and ``notes["n_places"]`` says how many there are.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from generator.errors import FeaturebookError
from generator.measure.dictionaries.activations import Elementwise
from generator.measure.dictionaries.dictionary import Dictionary
from generator.measure.dictionaries.options import LoadOptions
from generator.measure.dictionaries.tensors import TensorFile


def crosscoder(
    W_enc: Float[Tensor, "place d_in feature"],
    b_enc: Float[Tensor, " feature"],
    W_dec: Float[Tensor, "place feature d_out"],
    b_dec: Float[Tensor, "place d_out"],
    activation: Elementwise,
    *,
    scale: Float[Tensor, "place d_in"],
    shift: Float[Tensor, "place d_in"] | None = None,
    latent_scale: Float[Tensor, " feature"] | None = None,
    notes: dict[str, Any],
) -> Dictionary:
    """The dictionary that reads raw inputs.

    Args:
        W_enc: Of inputs ``(x − shift) · scale``, as all weights here.
        b_enc: Its bias.
        W_dec: Back into these units.
        b_dec: Its bias.
        activation: In units of latents that are multiplied by ``latent_scale``.
        scale: What inputs are multiplied by.
        shift: What is subtracted from them before.
        latent_scale: What the format reports latents multiplied by; the decoder is divided by it.
        notes: For the page.
    """
    n_places, d_model, n_features = W_enc.shape
    encoder, decoder = (W_enc * scale[..., None]).double(), (W_dec / scale[:, None, :]).double()
    bias, out = b_enc.double(), (b_dec / scale).double()
    if shift is not None:
        bias, out = bias - torch.einsum("pd,pdf->f", shift.double(), encoder), out + shift.double()
    if latent_scale is not None:
        by = latent_scale.double()
        encoder, bias, decoder = encoder * by, bias * by, decoder / by.clamp(min=1e-30)[:, None]
    return Dictionary(
        W_enc=encoder.permute(2, 0, 1).reshape(n_features, n_places * d_model).float().contiguous(),
        b_enc=bias.float(),
        W_dec=decoder.permute(1, 0, 2).reshape(n_features, n_places * d_model).float().contiguous(),
        b_dec=out.flatten().float(),
        activation=activation,
        notes={**notes, "n_places": n_places, "d_model": d_model},
    )


def sizes_of(file: TensorFile, W_enc: str, b_dec: str, b_enc: str) -> tuple[int, int, int]:
    """Places, width and latents of a crosscoder file, from its two biases.

    Raises:
        FeaturebookError: missing tensors, another number of axes, sizes that cannot show which way the matrices lie.
    """
    file.require(W_enc, b_dec, b_enc)
    if file.tensors[b_dec].ndim != 2 or file.tensors[b_enc].ndim != 1:
        raise FeaturebookError(
            f"{b_dec} in {file.path} has shape {tuple(file.tensors[b_dec].shape)}; expected (place, d_model). An autoencoder of one "
            "place is no crosscoder."
        )
    (n_places, d_model), n_features = file.tensors[b_dec].shape, len(file.tensors[b_enc])
    if n_features in (d_model, n_places) and not file.is_square:
        raise FeaturebookError(
            f"{file.path} has {n_features} latents, {n_places} places and width {d_model}, so shapes cannot show whether its matrices "
            "lie the way the format says. If you know they do, set is_square = true."
        )
    return n_places, d_model, n_features


def given_scale(
    file: TensorFile, options: LoadOptions, n_places: int, d_model: int, how: str
) -> tuple[Float[Tensor, "place d_in"], dict[str, Any]]:
    """What inputs are multiplied by where the file does not hold it, with the notes for the page.

    Raises:
        FeaturebookError: nobody said.
    """
    factors = options.factors(n_places)
    if factors is None:
        raise FeaturebookError(
            f"{file.path} does not hold what its inputs were multiplied by in training ({how}). Set input_factor to a list of "
            f'{n_places} numbers, or "estimate", or 1 if they were folded into the weights before.'
        )
    shown = ", ".join(f"{factor:.4g}" for factor in factors)
    said = "inputs as they are" if set(factors) == {1.0} else f"inputs multiplied by {shown}"
    remark = (
        f"The file does not hold the factors that inputs were multiplied by in training; read with {said}."
    )
    scale = torch.tensor(factors)[:, None].expand(n_places, d_model)
    return scale, {"input_factor": factors, "remarks": [remark]}
