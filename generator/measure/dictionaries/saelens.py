"""SAELens: a folder with ``cfg.json`` and ``sae_weights.safetensors``; read from version 2 on, written as version 6.

Source: sae-lens 6.54.12, ``saes/*.py`` and ``loading/pretrained_sae_loaders.py`` (``handle_pre_6_0_config``).
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from generator.artifacts import to_json, write_bytes
from generator.errors import FeaturebookError, nearest
from generator.measure.dictionaries.activations import Activation, Gated, JumpRelu, Relu, TopK
from generator.measure.dictionaries.dictionary import Dictionary, Normalization
from generator.measure.dictionaries.options import LoadOptions
from generator.measure.dictionaries.settings import Settings, read_settings
from generator.measure.dictionaries.tensors import TensorFile, read_safetensors

VERSION = "6.54.12"
"""The sae-lens whose inference format ``save_saelens`` writes."""

_NORMALIZATIONS: dict[str, Normalization] = {
    "none": "none",
    "layer_norm": "layer_norm",
    "constant_norm_rescale": "constant_norm",
    "expected_average_only_in": "none",  # a factor, which must have been folded or be given
}


def load_saelens(path: Path, options: LoadOptions) -> Dictionary:
    """Reads ``cfg.json`` and ``sae_weights.safetensors`` of any inference architecture in ``ARCHITECTURES``.

    Raises:
        FeaturebookError: unknown architecture or normalization, missing tensors, wrong shapes.
    """
    cfg = _modern(read_settings(path / "cfg.json"))
    architecture = cfg.text("architecture")
    if architecture not in ARCHITECTURES:
        raise FeaturebookError(
            f"{path / 'cfg.json'} has architecture {architecture!r}, which is not read. "
            f"{nearest(architecture, ARCHITECTURES)}"
        )
    file = _without_unit_scaling(read_safetensors(path / "sae_weights.safetensors"))
    dictionary = _fold_factor(ARCHITECTURES[architecture](file, cfg), cfg, options)
    said = dictionary.notes.get("remarks", [])
    return replace(dictionary, notes={**dictionary.notes, "remarks": [*_remarks(cfg), *said]})


def _remarks(cfg: Settings) -> list[str]:
    """What the page says of the model that it was trained on."""
    sources = (cfg.part("metadata"), cfg)
    if not any(s.part("model_from_pretrained_kwargs").flag("center_writing_weights", False) for s in sources):
        return []
    return [
        "Trained on TransformerLens' activations with centred writing weights; set is_centred = true for a place in the residual "
        "stream of a model with LayerNorm."
    ]


def save_saelens(
    dictionary: Dictionary,
    folder: Path,
    metadata: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Writes ``cfg.json`` and ``sae_weights.safetensors`` in SAELens' inference format, architecture ``jumprelu``.

    Args:
        dictionary: A jumprelu or relu autoencoder.
        folder: Made when missing.
        metadata: Goes into ``cfg.json`` under ``metadata``, for instance the names of the inputs.
        dtype: Of the two matrices in the file; sae-lens reads them as float32, which ``cfg.json`` names.

    Raises:
        FeaturebookError: the dictionary has another activation, or is a transcoder.
    """
    from safetensors.torch import save

    if not isinstance(dictionary.activation, Relu | JumpRelu) or dictionary.is_transcoder:
        raise FeaturebookError(
            f"Only relu and jumprelu autoencoders are written in SAELens' format, not a {dictionary.kind} "
            + ("transcoder." if dictionary.is_transcoder else "one.")
        )
    activation = dictionary.activation
    zeros = torch.zeros_like(dictionary.b_enc)
    tensors = {
        "W_enc": dictionary.W_enc.T.contiguous().to(dtype),
        "b_enc": dictionary.b_enc,
        "W_dec": dictionary.W_dec.to(dtype),
        "b_dec": dictionary.b_dec,
        "threshold": activation.threshold if isinstance(activation, JumpRelu) else zeros,
    }
    names = {"none": "none", "layer_norm": "layer_norm", "constant_norm": "constant_norm_rescale"}
    cfg = {
        "architecture": "jumprelu",
        "d_in": dictionary.d_in,
        "d_sae": dictionary.n_features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": dictionary.subtracts_b_dec,
        "normalize_activations": names[dictionary.normalization],
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": VERSION, "sae_lens_training_version": None, **(metadata or {})},
    }
    write_bytes(folder / "sae_weights.safetensors", save({k: v.cpu() for k, v in tensors.items()}))
    write_bytes(folder / "cfg.json", to_json(cfg))


def _modern(cfg: Settings) -> Settings:
    """The settings in version 6's terms, with its defaults; the hook's name is kept for the pages."""
    metadata = cfg.part("metadata")
    version = metadata.text("sae_lens_version") or cfg.text("sae_lens_version", "0")
    is_old = version.split(".")[0].isdigit() and int(version.split(".")[0]) < 6
    values = {**cfg.values, "architecture": cfg.text("architecture", "standard")}
    if is_old:
        function = cfg.text("activation_fn") or cfg.text("activation_fn_str", "relu")
        k = cfg.part("activation_fn_kwargs").values.get("k")
        if k is not None and "topk" in (function, values["architecture"]):
            values |= {"architecture": "topk", "k": k}
        if isinstance(values.get("normalize_activations"), bool):
            is_scaled = values["normalize_activations"]
            values["normalize_activations"] = "expected_average_only_in" if is_scaled else "none"
    named = metadata.text("hook_name") or cfg.text("hook_name") or cfg.text("hook_point")
    return Settings(cfg.where, values | {"hook_name": named or None})


def _without_unit_scaling(file: TensorFile) -> TensorFile:
    """Drops the legacy ``scaling_factor``, which is refused unless it does nothing."""
    factor = file.tensors.get("scaling_factor")
    if factor is None:
        return file
    if not torch.allclose(factor.float(), torch.ones_like(factor.float())):
        raise FeaturebookError(
            f"{file.path} has a scaling_factor other than 1 (a finetuned SAE), which is not supported; "
            "fold it into W_dec first."
        )
    return TensorFile(file.path, {k: v for k, v in file.tensors.items() if k != "scaling_factor"})


def _fold_factor(dictionary: Dictionary, cfg: Settings, options: LoadOptions) -> Dictionary:
    """``expected_average_only_in``: the factor is not in the file (SAELens issue 381), and may have been folded before."""
    if cfg.text("normalize_activations") != "expected_average_only_in":
        return dictionary
    factors = options.factors(1)
    if factors is None:
        remark = "Trained on inputs scaled to an average norm. The factor is not in the file, and was taken as folded into the weights before."
        return replace(dictionary, notes={**dictionary.notes, "remarks": [remark]})
    (factor,) = factors
    return replace(
        dictionary,
        W_enc=dictionary.W_enc * factor,
        W_dec=dictionary.W_dec / factor,
        b_dec=dictionary.b_dec / factor,
        notes={
            **dictionary.notes,
            "input_factor": factor,
            "remarks": [
                f"Trained on inputs scaled to an average norm; read with inputs multiplied by {factor:.4g}."
            ],
        },
    )


def _weights(file: TensorFile, cfg: Settings, bias: str = "b_enc") -> dict[str, Any]:
    """What all architectures share, as arguments of ``Dictionary``."""
    architecture, is_transcoder = cfg.text("architecture"), "transcoder" in cfg.text("architecture")
    d_in, n = cfg.whole("d_in"), cfg.whole("d_sae")
    d_out = cfg.whole("d_out", d_in) if is_transcoder else d_in
    normalization = cfg.text("normalize_activations", "none")
    if normalization not in _NORMALIZATIONS:
        raise FeaturebookError(
            f"normalize_activations = {normalization!r} in {cfg.where} is not supported. "
            f"{nearest(normalization, _NORMALIZATIONS)}"
        )
    return {
        "W_enc": file.take("W_enc", d_in=d_in, feature=n).T.contiguous(),
        "b_enc": file.take(bias, feature=n),
        "W_dec": file.take("W_dec", feature=n, d_out=d_out),
        "b_dec": file.take("b_dec", d_out=d_out),
        "subtracts_b_dec": not is_transcoder and cfg.flag("apply_b_dec_to_input", True),
        "normalization": _NORMALIZATIONS[normalization],
        "is_transcoder": is_transcoder,
        "W_skip": file.take("W_skip", d_out=d_out, d_in=d_in) if "skip" in architecture else None,
        "notes": {
            "format": "saelens",
            "architecture": architecture,
            "hook_name": cfg.values["hook_name"],
            "input_channels": cfg.part("metadata").values.get("input_channels"),  # Featurebook's own
        },
    }


def _relu(file: TensorFile, cfg: Settings) -> Dictionary:
    return Dictionary(**_weights(file, cfg), activation=Relu())


def _jumprelu(file: TensorFile, cfg: Settings) -> Dictionary:
    if "threshold" not in file.tensors and "log_threshold" in file.tensors:
        threshold: Tensor = file.take(
            "log_threshold", feature=cfg.whole("d_sae")
        ).exp()  # a training checkpoint
    else:
        threshold = file.take("threshold", feature=cfg.whole("d_sae"))
    return Dictionary(**_weights(file, cfg), activation=JumpRelu(threshold))


def _topk(file: TensorFile, cfg: Settings) -> Dictionary:
    weights = _weights(file, cfg)
    activation: Activation = TopK(cfg.whole("k"), is_signed=cfg.text("architecture") == "abstopk")
    if cfg.flag("rescale_acts_by_decoder_norm", False):  # its latents are reported times the norm: fold it
        norms = weights["W_dec"].norm(dim=1).clamp(min=1e-8)
        weights |= {
            "W_enc": weights["W_enc"] * norms[:, None],
            "b_enc": weights["b_enc"] * norms,
            "W_dec": weights["W_dec"] / norms[:, None],
        }
        weights["notes"]["latents"] = "scaled by the decoder's norms, as the library does for this file"
    return Dictionary(**weights, activation=activation)


def _gated(file: TensorFile, cfg: Settings) -> Dictionary:
    n = cfg.whole("d_sae")
    scale = file.take("r_mag", feature=n).exp()
    gate, magnitude = file.take("b_gate", feature=n), file.take("b_mag", feature=n)
    return Dictionary(
        **_weights(file, cfg, bias="b_gate"), activation=Gated(scale, offset=magnitude - scale * gate)
    )


ARCHITECTURES: dict[str, Callable[[TensorFile, Settings], Dictionary]] = {
    "standard": _relu,
    "jumprelu": _jumprelu,
    "topk": _topk,
    "abstopk": _topk,
    "gated": _gated,
    "transcoder": _relu,
    "skip_transcoder": _relu,
    "jumprelu_transcoder": _jumprelu,
    "jumprelu_skip_transcoder": _jumprelu,
}
"""Inference architectures of SAELens. ``batchtopk`` and ``matryoshka_batchtopk`` are saved by it as ``jumprelu``;
``temporal`` and ``matching_pursuit`` have no encoder of this form."""
