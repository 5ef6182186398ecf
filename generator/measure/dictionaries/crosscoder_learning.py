"""science-of-finetuning's crosscoder_learning: ``CrossCoder`` and ``BatchTopKCrossCoder``.

Source: its ``dictionary.py`` (``NormalizableMixin``, ``CrossCoder.get_code_normalization``, ``BatchTopKCrossCoder.encode``).
Inputs are ``(x − mean) · global_scale`` (or ``/ (std + 1e-8)``), latents z = relu(Σ_l x_l W_l + b), kept where
z · c > threshold, and reported as z · c, which is what this loader gives.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from generator.errors import FeaturebookError
from generator.measure.dictionaries.activations import Relu
from generator.measure.dictionaries.dictionary import Dictionary
from generator.measure.dictionaries.options import LoadOptions
from generator.measure.dictionaries.places import crosscoder, sizes_of, threshold_of
from generator.measure.dictionaries.tensors import (
    TensorFile,
    find_file,
    only_tensors,
    read_json_object,
    read_safetensors,
    read_torch,
)

NORMALIZATIONS = {1: "CROSSCODER", 2: "SAE", 3: "MIXED", 4: "NONE", 5: "DECOUPLED"}
"""Values of ``code_normalization_id``."""


def load_crosscoder_learning(path: Path, options: LoadOptions) -> Dictionary:
    """Reads ``model.safetensors`` with ``config.json`` (as on the hub), or ``ae.pt``, ``model_final.pt``.

    Raises:
        FeaturebookError: missing tensors, wrong shapes, an encoder over fewer layers than the decoder, DECOUPLED codes.
    """
    target = find_file(path, "model.safetensors", "ae.pt", "model_final.pt")
    tensors = read_safetensors(target).tensors if target.suffix == ".safetensors" else read_torch(target)
    file = TensorFile(target, only_tensors(tensors), options.is_square)
    beside = target.parent / "config.json"
    config = read_json_object(beside) if beside.is_file() else {}
    n_places, d_model, n = sizes_of(file, "encoder.weight", "decoder.bias", "encoder.bias")
    W_dec = file.take("decoder.weight", place=n_places, feature=n, d_out=d_model)
    code, norms = _code_norms(file, config, W_dec)
    shift, scale, remark = _normalizer(file, config, n_places, d_model)
    has_threshold = "threshold" in file.tensors
    remarks = [
        f"Latents are reported times their decoder norms ({code}), as crosscoder_learning does.",
        remark,
    ]
    if has_threshold and float(file.tensors["threshold"].float().max()) < 0:
        remarks.append(
            "The file's BatchTopK threshold was never estimated, so all positive latents are active."
        )
    return crosscoder(
        file.take("encoder.weight", place=n_places, d_in=d_model, feature=n),
        file.take("encoder.bias", feature=n),
        W_dec,
        file.take("decoder.bias", place=n_places, d_out=d_model),
        threshold_of(file.tensors["threshold"], n) if has_threshold else Relu(),
        scale=scale,
        shift=shift,
        latent_scale=norms,
        notes={
            "format": "crosscoder_learning",
            "architecture": "batchtopk crosscoder" if has_threshold else "crosscoder",
            "remarks": remarks,
        },
    )


def _code_norms(file: TensorFile, config: dict[str, Any], W_dec: Tensor) -> tuple[str, Tensor]:
    """The code normalisation's name and c of every latent."""
    stored = file.tensors.get("code_normalization_id")
    number = 1 if stored is None else int(stored)  # files from before it was stored are of the first kind
    name = NORMALIZATIONS.get(number)
    across, apart = W_dec.norm(dim=(0, 2)), W_dec.norm(dim=2).sum(0)
    if name == "CROSSCODER":
        return name, apart
    if name == "SAE":
        return name, across
    if name == "NONE":
        return name, torch.ones(W_dec.shape[1])
    if name == "MIXED":
        sae = float(config.get("code_normalization_alpha_sae", 1.0))
        return name, sae * across + float(config.get("code_normalization_alpha_cc", 0.1)) * apart
    raise FeaturebookError(
        f"{file.path} has code normalisation {name or number}; expected one of {', '.join(list(NORMALIZATIONS.values())[:4])}. With "
        "DECOUPLED codes a latent is switched on for each place by itself, so it has no one activation per token."
    )


def _normalizer(
    file: TensorFile, config: dict[str, Any], n_places: int, d_model: int
) -> tuple[Tensor | None, Tensor, str]:
    """(shift, scale) of inputs, and the sentence for the page; a mean or deviation of NaN turns it off."""
    mean, std = (file.tensors.get(f"activation_{name}") for name in ("mean", "std"))
    if mean is None or std is None or bool(mean.isnan().any()) or bool(std.isnan().any()):
        return (
            None,
            torch.ones(n_places, d_model),
            "Inputs are taken as they are; the file has no activation normaliser.",
        )
    mean = file.take("activation_mean", place=n_places, d_in=d_model)
    std = file.take("activation_std", place=n_places, d_in=d_model)
    relative = file.tensors.get("activation_global_scale")
    keeps = config.get("keep_relative_variance", relative is not None and not bool((relative == 1).all()))
    if not keeps:
        return mean, 1 / (std + 1e-8), "Inputs are centred and divided by the deviations that the file holds."
    if relative is None:
        rms = float(file.tensors.get("target_rms", torch.tensor(1.0)))
        relative = rms / (std.square().sum(-1) + 1e-8).sqrt()
    scale = relative.float().view(n_places, 1).expand(n_places, d_model)
    return mean, scale, "Inputs are centred and scaled, place by place, as the file says."
