"""science-of-finetuning's crosscoder_learning: ``CrossCoder`` and ``BatchTopKCrossCoder``.

Source: its ``dictionary.py`` (``NormalizableMixin``, ``CrossCoder.get_code_normalization``, ``BatchTopKCrossCoder.encode``).
Inputs are ``(x − mean) · global_scale`` (or ``/ (std + 1e-8)``), latents z = relu(Σ_l x_l W_l + b), kept where
z · c > threshold, and reported as z · c, which is what this loader gives.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from generator.artifacts import to_json, write_bytes
from generator.errors import FeaturebookError
from generator.measure.dictionaries.activations import JumpRelu, Relu
from generator.measure.dictionaries.dictionary import Dictionary
from generator.measure.dictionaries.options import LoadOptions
from generator.measure.dictionaries.places import crosscoder, given_scale, sizes_of
from generator.measure.dictionaries.settings import Settings, read_settings
from generator.measure.dictionaries.tensors import (
    TensorFile,
    find_file,
    only_tensors,
    read_safetensors,
    read_torch,
)

NORMALIZATIONS = {1: "CROSSCODER", 2: "SAE", 3: "MIXED", 4: "NONE", 5: "DECOUPLED"}
"""Values of ``code_normalization_id``."""

CROSSCODER = 1
"""The sum over places of decoder norms, which the project trains with by default."""


def load_crosscoder_learning(path: Path, options: LoadOptions) -> Dictionary:
    """Reads ``model.safetensors`` with ``config.json`` (as on the hub), or ``ae.pt``, ``model_final.pt``.

    Raises:
        FeaturebookError: missing tensors, wrong shapes, an encoder over fewer layers than the decoder, DECOUPLED codes.
    """
    target = find_file(path, "model.safetensors", "ae.pt", "model_final.pt")
    tensors = read_safetensors(target).tensors if target.suffix == ".safetensors" else read_torch(target)
    file = TensorFile(target, only_tensors(tensors), options.is_square)
    beside = target.parent / "config.json"
    return _read(file, read_settings(beside) if beside.is_file() else Settings(str(beside), {}), options)


def _read(file: TensorFile, config: Settings, options: LoadOptions) -> Dictionary:
    n_places, d_model, n = sizes_of(file, "encoder.weight", "decoder.bias", "encoder.bias")
    W_dec = file.take("decoder.weight", place=n_places, feature=n, d_out=d_model)
    code, norms = _code_norms(file, config, W_dec)
    shift, scale, said = _normalizer(file, config, options, n_places, d_model)
    has_threshold = "threshold" in file.tensors
    remarks = [
        f"Latents are reported times their decoder norms ({code}), as crosscoder_learning does.",
        *said["remarks"],
    ]
    if has_threshold and float(file.take("threshold")) < 0:
        remarks.append(
            "The file's BatchTopK threshold was never estimated, so all positive latents are active."
        )
    return crosscoder(
        file.take("encoder.weight", place=n_places, d_in=d_model, feature=n),
        file.take("encoder.bias", feature=n),
        W_dec,
        file.take("decoder.bias", place=n_places, d_out=d_model),
        JumpRelu(file.take("threshold").expand(n).contiguous()) if has_threshold else Relu(),
        scale=scale,
        shift=shift,
        latent_scale=norms,
        notes=said
        | {
            "format": "crosscoder_learning",
            "architecture": "batchtopk crosscoder" if has_threshold else "crosscoder",
            "places": config.values.get("places"),  # Featurebook's own
            "remarks": remarks,
        },
    )


@dataclass(frozen=True)
class Parts:
    """A trained BatchTopK crosscoder in its training's units, of inputs ``(x − mean) · scale`` place by place."""

    W_enc: Float[Tensor, "place d_in feature"]
    b_enc: Float[Tensor, " feature"]
    W_dec: Float[Tensor, "place feature d_out"]
    b_dec: Float[Tensor, "place d_out"]
    mean: Float[Tensor, "place d_in"]
    deviation: Float[Tensor, "place d_in"]
    """Standard deviation of every input; for the record, ``scale`` is what counts."""
    scale: Float[Tensor, " place"]
    k: int
    threshold: float
    """On pre-activation times the sum over places of decoder norms."""
    dtype: torch.dtype = torch.float32
    """Of the encoder's and the decoder's weights in the file."""

    def tensors(self) -> dict[str, Tensor]:
        """As that project's ``BatchTopKCrossCoder`` names them."""
        named = {
            "encoder.weight": self.W_enc.to(self.dtype),
            "encoder.bias": self.b_enc,
            "decoder.weight": self.W_dec.to(self.dtype),
            "decoder.bias": self.b_dec,
            "activation_mean": self.mean.float(),
            "activation_std": self.deviation.float(),
            "activation_global_scale": self.scale.float(),
            "target_rms": torch.tensor(self.W_enc.shape[1] ** 0.5),  # scale · deviation of a whole place
            "code_normalization_id": torch.tensor(CROSSCODER),
            "k": torch.tensor(self.k, dtype=torch.int32),
            "threshold": torch.tensor(self.threshold, dtype=torch.float32),
        }
        return {name: tensor.contiguous() for name, tensor in named.items()}

    def config(self) -> dict[str, Any]:
        """What ``config.json`` says of it."""
        n_places, d_model, n_features = self.W_enc.shape
        return {
            "dict_class": "BatchTopKCrossCoder",
            "activation_dim": d_model,
            "dict_size": n_features,
            "num_layers": n_places,
            "k": self.k,
            "code_normalization": "crosscoder",
            "keep_relative_variance": True,
        }

    def dictionary(self) -> Dictionary:
        """What the loader makes of the file, bit for bit."""
        file = TensorFile(Path("model.safetensors"), self.tensors(), is_square=True)
        return _read(file, Settings("config.json", self.config()), LoadOptions())


def save_crosscoder_learning(parts: Parts, folder: Path, metadata: dict[str, Any]) -> None:
    """Writes ``model.safetensors`` and ``config.json``, as that project's crosscoders are on the hub.

    Args:
        parts: The crosscoder.
        folder: Made when missing.
        metadata: Goes into ``config.json``.
    """
    from safetensors.torch import save

    write_bytes(folder / "model.safetensors", save(parts.tensors()))
    write_bytes(folder / "config.json", to_json(parts.config() | metadata))


def _code_norms(file: TensorFile, config: Settings, W_dec: Tensor) -> tuple[str, Tensor]:
    """The code normalisation's name and c of every latent."""
    key = "code_normalization_id"
    number = file.take_whole(key) if key in file.tensors else 1  # older files are of the first kind
    name = NORMALIZATIONS.get(number)
    across, apart = W_dec.norm(dim=(0, 2)), W_dec.norm(dim=2).sum(0)
    if name == "CROSSCODER":
        return name, apart
    if name == "SAE":
        return name, across
    if name == "NONE":
        return name, torch.ones(W_dec.shape[1])
    if name == "MIXED":
        sae = config.number("code_normalization_alpha_sae", 1.0)
        return name, sae * across + config.number("code_normalization_alpha_cc", 0.1) * apart
    raise FeaturebookError(
        f"{file.path} has code normalisation {name or number}; expected one of {', '.join(list(NORMALIZATIONS.values())[:4])}. With "
        "DECOUPLED codes a latent is switched on for each place by itself, so it has no one activation per token."
    )


def _normalizer(
    file: TensorFile, config: Settings, options: LoadOptions, n_places: int, d_model: int
) -> tuple[Tensor | None, Tensor, dict[str, Any]]:
    """(shift, scale) of inputs, and the notes for the page; a mean or deviation of NaN turns it off."""
    mean, std = (file.tensors.get(f"activation_{name}") for name in ("mean", "std"))
    if mean is None or std is None or bool(mean.isnan().any()) or bool(std.isnan().any()):
        if options.input_factor is not None:
            return None, *given_scale(file, options, n_places, d_model, "it has no activation normaliser")
        remark = "Inputs are taken as they are; the file has no activation normaliser, and no input_factor was given."
        return None, torch.ones(n_places, d_model), {"remarks": [remark]}
    mean = file.take("activation_mean", place=n_places, d_in=d_model)
    std = file.take("activation_std", place=n_places, d_in=d_model)
    relative = file.tensors.get("activation_global_scale")
    is_scaled = relative is not None and not bool((relative == 1).all())
    keeps = config.flag("keep_relative_variance", is_scaled)
    if not keeps:
        remark = "Inputs are centred and divided by the deviations that the file holds."
        return mean, 1 / (std + 1e-8), {"remarks": [remark]}
    if relative is None:
        rms = file.take("target_rms") if "target_rms" in file.tensors else 1.0
        relative = rms / (std.square().sum(-1) + 1e-8).sqrt()
    else:
        relative = file.take("activation_global_scale", place=n_places)
    scale = relative.view(n_places, 1).expand(n_places, d_model)
    return mean, scale, {"remarks": ["Inputs are centred and scaled, place by place, as the file says."]}
