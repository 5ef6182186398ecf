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
from generator.measure.dictionaries.tensors import TensorFile, read_json_object, read_safetensors

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
    cfg = _modern(read_json_object(path / "cfg.json"))
    architecture = cfg["architecture"]
    if architecture not in ARCHITECTURES:
        raise FeaturebookError(
            f"{path / 'cfg.json'} has architecture {architecture!r}, which is not read. "
            f"{nearest(str(architecture), ARCHITECTURES)}"
        )
    file = _without_unit_scaling(read_safetensors(path / "sae_weights.safetensors"))
    dictionary = _fold_factor(ARCHITECTURES[architecture](file, cfg), cfg, options)
    return replace(dictionary, notes={**dictionary.notes, "remarks": _remarks(cfg)})


def _remarks(cfg: dict[str, Any]) -> list[str]:
    """What the page says of the model that it was trained on."""
    sources = (cfg.get("metadata") or {}, cfg)
    options: Any = next(
        (s["model_from_pretrained_kwargs"] for s in sources if s.get("model_from_pretrained_kwargs")), {}
    )
    if not isinstance(options, dict) or not options.get("center_writing_weights"):
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


def _modern(cfg: dict[str, Any]) -> dict[str, Any]:
    """The settings in version 6's terms, with its defaults; the hook's name is kept for the pages."""
    metadata = cfg.get("metadata") or {}
    version = str(metadata.get("sae_lens_version") or cfg.get("sae_lens_version") or "0")
    is_old = version.split(".")[0].isdigit() and int(version.split(".")[0]) < 6
    cfg = {"architecture": "standard", "normalize_activations": "none", **cfg}
    if is_old:
        function = cfg.get("activation_fn") or cfg.get("activation_fn_str") or "relu"
        k = (cfg.get("activation_fn_kwargs") or {}).get("k")
        if function == "topk" and k is not None:
            cfg |= {"architecture": "topk", "k": k}
        if isinstance(cfg["normalize_activations"], bool):
            cfg["normalize_activations"] = (
                "expected_average_only_in" if cfg["normalize_activations"] else "none"
            )
    cfg["normalize_activations"] = cfg["normalize_activations"] or "none"
    cfg["hook_name"] = metadata.get("hook_name") or cfg.get("hook_name") or cfg.get("hook_point")
    return cfg


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


def _fold_factor(dictionary: Dictionary, cfg: dict[str, Any], options: LoadOptions) -> Dictionary:
    """``expected_average_only_in``: the factor is not in the file (SAELens issue 381), and may have been folded before."""
    if cfg["normalize_activations"] != "expected_average_only_in":
        return dictionary
    factors = options.factors(1)
    if factors is None:
        note = "trained on inputs scaled to an average norm; the factor is not in the file and was taken as folded in"
        return replace(dictionary, notes={**dictionary.notes, "input_factor": note})
    (factor,) = factors
    return replace(
        dictionary,
        W_enc=dictionary.W_enc * factor,
        W_dec=dictionary.W_dec / factor,
        b_dec=dictionary.b_dec / factor,
        notes={**dictionary.notes, "input_factor": factor},
    )


def _weights(file: TensorFile, cfg: dict[str, Any], bias: str = "b_enc") -> dict[str, Any]:
    """What all architectures share, as arguments of ``Dictionary``."""
    for name in ("d_in", "d_sae"):
        if not isinstance(cfg.get(name), int):
            raise FeaturebookError(
                f"cfg.json beside {file.path} has {name} = {cfg.get(name)!r}; expected a number."
            )
    d_in, n, is_transcoder = cfg["d_in"], cfg["d_sae"], "transcoder" in cfg["architecture"]
    d_out = int(cfg.get("d_out", d_in)) if is_transcoder else d_in
    normalization = cfg["normalize_activations"]
    if normalization not in _NORMALIZATIONS:
        raise FeaturebookError(
            f"normalize_activations = {normalization!r} in the cfg.json beside {file.path} is not supported. "
            f"{nearest(str(normalization), _NORMALIZATIONS)}"
        )
    return {
        "W_enc": file.take("W_enc", d_in=d_in, feature=n).T.contiguous(),
        "b_enc": file.take(bias, feature=n),
        "W_dec": file.take("W_dec", feature=n, d_out=d_out),
        "b_dec": file.take("b_dec", d_out=d_out),
        "subtracts_b_dec": not is_transcoder and bool(cfg.get("apply_b_dec_to_input", True)),
        "normalization": _NORMALIZATIONS[normalization],
        "is_transcoder": is_transcoder,
        "W_skip": file.take("W_skip", d_out=d_out, d_in=d_in) if "skip" in cfg["architecture"] else None,
        "notes": {
            "format": "saelens",
            "architecture": cfg["architecture"],
            "hook_name": cfg["hook_name"],
            "input_channels": (cfg.get("metadata") or {}).get("input_channels"),  # Featurebook's own
        },
    }


def _relu(file: TensorFile, cfg: dict[str, Any]) -> Dictionary:
    return Dictionary(**_weights(file, cfg), activation=Relu())


def _jumprelu(file: TensorFile, cfg: dict[str, Any]) -> Dictionary:
    if "threshold" not in file.tensors and "log_threshold" in file.tensors:
        threshold: Tensor = file.take("log_threshold", feature=cfg["d_sae"]).exp()  # a training checkpoint
    else:
        threshold = file.take("threshold", feature=cfg["d_sae"])
    return Dictionary(**_weights(file, cfg), activation=JumpRelu(threshold))


def _topk(file: TensorFile, cfg: dict[str, Any]) -> Dictionary:
    if not isinstance(cfg.get("k"), int):
        raise FeaturebookError(
            f"cfg.json beside {file.path} has k = {cfg.get('k')!r}; a {cfg['architecture']} SAE needs a number."
        )
    weights = _weights(file, cfg)
    activation: Activation = TopK(cfg["k"], is_signed=cfg["architecture"] == "abstopk")
    if cfg.get("rescale_acts_by_decoder_norm", False):  # its latents are reported times the norm: fold it
        norms = weights["W_dec"].norm(dim=1).clamp(min=1e-8)
        weights |= {
            "W_enc": weights["W_enc"] * norms[:, None],
            "b_enc": weights["b_enc"] * norms,
            "W_dec": weights["W_dec"] / norms[:, None],
        }
        weights["notes"]["latents"] = "scaled by the decoder's norms, as the library does for this file"
    return Dictionary(**weights, activation=activation)


def _gated(file: TensorFile, cfg: dict[str, Any]) -> Dictionary:
    n = cfg["d_sae"]
    scale = file.take("r_mag", feature=n).exp()
    gate, magnitude = file.take("b_gate", feature=n), file.take("b_mag", feature=n)
    return Dictionary(
        **_weights(file, cfg, bias="b_gate"), activation=Gated(scale, offset=magnitude - scale * gate)
    )


ARCHITECTURES: dict[str, Callable[[TensorFile, dict[str, Any]], Dictionary]] = {
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
