"""Gemma Scope 2: ``params.safetensors`` and ``config.json`` of one JumpReLU autoencoder or transcoder.

Source: the loader of sae-lens 6.54.12 (``gemma_3_sae_huggingface_loader``). Cross-layer transcoders, whose ``w_dec`` has
a layer axis, are no dictionary of this kind.
"""

from dataclasses import replace
from pathlib import Path

from generator.errors import FeaturebookError
from generator.measure.dictionaries.dictionary import Dictionary
from generator.measure.dictionaries.gemma_scope import from_params
from generator.measure.dictionaries.options import LoadOptions
from generator.measure.dictionaries.settings import Settings, read_settings
from generator.measure.dictionaries.tensors import TensorFile, find_file, read_safetensors


def load_gemma_scope_2(path: Path, options: LoadOptions) -> Dictionary:
    """Reads ``params.safetensors``: w_enc (d_in, feature), w_dec (feature, d_out), b_enc, b_dec, threshold and, of a
    transcoder, ``affine_skip_connection`` (d_in, d_out).

    Raises:
        FeaturebookError: another architecture, a layer axis, missing tensors, wrong shapes.
    """
    target = find_file(path, "params.safetensors")
    beside = target.parent / "config.json"
    config = read_settings(beside) if beside.is_file() else Settings(str(beside), {})
    architecture = config.text("architecture", "jump_relu")
    if architecture not in ("jump_relu", "jumprelu"):
        raise FeaturebookError(f"{beside} has architecture {architecture!r}; expected 'jump_relu'.")
    file = read_safetensors(target, options.is_square)
    names = {name.lower().replace("w_", "W_"): tensor for name, tensor in file.tensors.items()}
    if "W_dec" in names and names["W_dec"].ndim != 2:
        raise FeaturebookError(
            f"w_dec in {target} has {names['W_dec'].ndim} axes; expected (feature, d_out). "
            "A cross-layer transcoder writes to several layers and is not read."
        )
    dictionary = from_params(TensorFile(target, names, options.is_square), "gemma_scope_2")
    read, written = config.text("hf_hook_point_in"), config.text("hf_hook_point_out")
    return replace(
        dictionary,
        is_transcoder=dictionary.is_transcoder or (written != "" and read != written),
        notes={**dictionary.notes, "hook_name": read or None},
    )
