"""dictionary_learning: ``ae.pt`` with ``config.json`` beside it, or ``checkpoints/ae_{step}.pt`` below it.

Source: dictionary-learning 0.1.0, ``dictionary.py`` and ``trainers/{top_k,batch_top_k,matryoshka_batch_top_k}.py``.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from generator.errors import FeaturebookError, nearest
from generator.measure.dictionaries.activations import Gated, JumpRelu, Relu, TopK
from generator.measure.dictionaries.dictionary import Dictionary
from generator.measure.dictionaries.options import LoadOptions
from generator.measure.dictionaries.settings import Settings, read_settings
from generator.measure.dictionaries.tensors import TensorFile, find_file, only_tensors, read_torch


def load_dictionary_learning(path: Path, options: LoadOptions) -> Dictionary:
    """Reads ``ae.pt`` (or another ``.pt`` file) of a class in ``CLASSES``.

    The class is ``options.architecture``, else ``trainer.dict_class`` of ``config.json`` in the file's folder or the
    one above, else what the names of the tensors imply.

    Raises:
        FeaturebookError: the class is unknown or cannot be told; missing tensors, wrong shapes.
    """
    target = find_file(path, "ae.pt")
    content = read_torch(target)
    factor = 1.0
    if isinstance(
        content.get("ae"), dict
    ):  # a checkpoint to resume from: its biases are those of scaled inputs
        factor = Settings(str(target), content).number("norm_factor", 1.0)
        content = content["ae"]
    file = TensorFile(target, only_tensors(content), options.is_square)
    config = _config_beside(target)
    name = options.architecture or config.text("dict_class") or _implied_class(file)
    if name not in CLASSES:
        raise FeaturebookError(f"{target} is of class {name!r}, which is not read. {nearest(name, CLASSES)}")
    dictionary = CLASSES[name](file, factor, options)
    for key, found in (("activation_dim", dictionary.d_in), ("dict_size", dictionary.n_features)):
        if config.whole(key, found) != found:
            raise FeaturebookError(
                f"{config.where} has {key} = {config.whole(key)}; {target.name} has {found}."
            )
    notes = {
        "format": "dictionary_learning",
        "architecture": name,
        "hook_name": config.text("submodule_name") or None,
    }
    return replace(dictionary, notes={**notes, **dictionary.notes})


def _config_beside(target: Path) -> Settings:
    for folder in (target.parent, target.parent.parent):
        if (folder / "config.json").is_file():
            return read_settings(folder / "config.json").part("trainer")
    return Settings("config.json", {})


def _implied_class(file: TensorFile) -> str:
    names = set(file.tensors)
    for marker, name in _MARKERS.items():
        if set(marker.split()) <= names:
            return name
    raise FeaturebookError(
        f"{file.path} has the tensors {', '.join(sorted(names))}, which fit several classes or none. "
        f'Name one: architecture = "…". Known: {", ".join(CLASSES)}.'
    )


_MARKERS = {
    "group_sizes W_enc": "MatryoshkaBatchTopKSAE",
    "W_enc threshold": "JumpReluAutoEncoder",
    "decoder_bias r_mag": "GatedAutoEncoder",
    "decoder.bias encoder.weight": "AutoEncoderNew",
    "bias encoder.weight": "AutoEncoder",
}
"""Tensors that only one class has. AutoEncoderTopK and BatchTopKSAE have the same, so they must be named."""


def _linear(file: TensorFile, b_dec: str, bias: str, factor: float) -> dict[str, Any]:
    """The classes made of ``nn.Linear``: encoder.weight (feature, d_in), decoder.weight (d_in, feature)."""
    d_in, n = file.sizes(b_dec, bias)
    return {
        "W_enc": file.take("encoder.weight", feature=n, d_in=d_in),
        "b_enc": file.take(bias, feature=n) * factor,
        "W_dec": file.take("decoder.weight", d_out=d_in, feature=n).T.contiguous(),
        "b_dec": file.take(b_dec, d_out=d_in) * factor,
    }


def _plain(file: TensorFile, factor: float) -> dict[str, Any]:
    """The classes made of bare parameters: W_enc (d_in, feature), W_dec (feature, d_in)."""
    d_in, n = file.sizes("b_dec", "b_enc")
    return {
        "W_enc": file.take("W_enc", d_in=d_in, feature=n).T.contiguous(),
        "b_enc": file.take("b_enc", feature=n) * factor,
        "W_dec": file.take("W_dec", feature=n, d_out=d_in),
        "b_dec": file.take("b_dec", d_out=d_in) * factor,
    }


def _auto_encoder(file: TensorFile, factor: float, options: LoadOptions) -> Dictionary:
    weights = _linear(file, "bias", "encoder.bias", factor)
    norms = weights["W_dec"].norm(dim=1)
    notes = {}
    if options.normalize_decoder and not torch.allclose(norms, torch.ones_like(norms)):
        weights["W_dec"] = weights["W_dec"] / norms[:, None]
        weights["W_enc"] = weights["W_enc"] * norms[:, None]
        weights["b_enc"] = weights["b_enc"] * norms
        notes["latents"] = "scaled by the decoder's norms, as the library does when it loads this class"
    return Dictionary(**weights, activation=Relu(), subtracts_b_dec=True, notes=notes)


def _auto_encoder_new(file: TensorFile, factor: float, options: LoadOptions) -> Dictionary:
    return Dictionary(**_linear(file, "decoder.bias", "encoder.bias", factor), activation=Relu())


def _gated(file: TensorFile, factor: float, options: LoadOptions) -> Dictionary:
    weights = _linear(file, "decoder_bias", "gate_bias", factor)
    n = len(weights["b_enc"])
    scale = file.take("r_mag", feature=n).exp()
    offset = file.take("mag_bias", feature=n) * factor - scale * weights["b_enc"]
    return Dictionary(**weights, activation=Gated(scale, offset), subtracts_b_dec=True)


def _jumprelu(file: TensorFile, factor: float, options: LoadOptions) -> Dictionary:
    weights = _plain(file, factor)
    threshold = file.take("threshold", feature=len(weights["b_enc"])) * factor
    return Dictionary(**weights, activation=JumpRelu(threshold))


def _topk(file: TensorFile, factor: float, options: LoadOptions) -> Dictionary:
    weights = _linear(file, "b_dec", "encoder.bias", factor)
    return Dictionary(**weights, activation=TopK(file.take_whole("k")), subtracts_b_dec=True)


def _batch_topk(file: TensorFile, factor: float, options: LoadOptions) -> Dictionary:
    weights = _linear(file, "b_dec", "encoder.bias", factor)
    return _at_threshold(file, weights, factor)


def _matryoshka(file: TensorFile, factor: float, options: LoadOptions) -> Dictionary:
    groups = file.take_wholes("group_sizes")
    dictionary = _at_threshold(file, _plain(file, factor), factor)
    if sum(groups) != dictionary.n_features:
        raise FeaturebookError(
            f"group_sizes in {file.path} add up to {sum(groups)}; the dictionary has {dictionary.n_features} latents."
        )
    return replace(dictionary, notes={**dictionary.notes, "group_sizes": groups})


def _at_threshold(file: TensorFile, weights: dict[str, Any], factor: float) -> Dictionary:
    """The library's inference rule: relu(z) where it exceeds the running threshold (−1 until one was estimated)."""
    threshold = float(file.take("threshold"))
    scaled = threshold * factor if threshold >= 0 else threshold
    notes = {}
    if threshold < 0:
        notes["threshold"] = "none was estimated in training, so every positive latent is active"
    return Dictionary(
        **weights,
        activation=JumpRelu(torch.full_like(weights["b_enc"], scaled)),
        subtracts_b_dec=True,
        notes=notes,
    )


CLASSES: dict[str, Callable[[TensorFile, float, LoadOptions], Dictionary]] = {
    "AutoEncoder": _auto_encoder,
    "AutoEncoderNew": _auto_encoder_new,
    "GatedAutoEncoder": _gated,
    "JumpReluAutoEncoder": _jumprelu,
    "AutoEncoderTopK": _topk,
    "BatchTopKSAE": _batch_topk,
    "MatryoshkaBatchTopKSAE": _matryoshka,
}
"""The library's ``dict_class`` names."""
