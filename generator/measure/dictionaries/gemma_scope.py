"""Gemma Scope: ``params.npz`` of one JumpReLU autoencoder or transcoder.

Source: Lieberum et al. 2024 (arXiv:2408.05147) and the tutorial published with it. The input is not centred.
"""

from pathlib import Path

from generator.measure.dictionaries.activations import JumpRelu
from generator.measure.dictionaries.dictionary import Dictionary
from generator.measure.dictionaries.options import LoadOptions
from generator.measure.dictionaries.tensors import TensorFile, find_file, read_npz


def load_gemma_scope(path: Path, options: LoadOptions) -> Dictionary:
    """Reads ``params.npz``: W_enc (d_in, feature), W_dec (feature, d_out), b_enc, b_dec, threshold, any capitals.

    Raises:
        FeaturebookError: missing arrays, wrong shapes, pickled objects.
    """
    file = read_npz(find_file(path, "params.npz"), options.is_square)
    names = {name.lower().replace("w_", "W_"): tensor for name, tensor in file.tensors.items()}
    return from_params(TensorFile(file.path, names, file.is_square), "gemma_scope")


def from_params(file: TensorFile, name: str) -> Dictionary:
    """A JumpReLU dictionary from Gemma Scope's five arrays."""
    file.require("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
    d_out, n = file.sizes("b_dec", "b_enc")
    encoder = file.tensors["W_enc"]  # a transcoder's input may have another width than its output
    d_in = encoder.shape[0] if encoder.ndim == 2 and encoder.shape[1] == n else d_out
    skip = file.tensors.get("affine_skip_connection")
    return Dictionary(
        W_enc=file.take("W_enc", d_in=d_in, feature=n).T.contiguous(),
        b_enc=file.take("b_enc", feature=n),
        W_dec=file.take("W_dec", feature=n, d_out=d_out),
        b_dec=file.take("b_dec", d_out=d_out),
        activation=JumpRelu(file.take("threshold", feature=n)),
        W_skip=None
        if skip is None
        else file.take("affine_skip_connection", d_in=d_in, d_out=d_out).T.contiguous(),
        is_transcoder=skip is not None or d_in != d_out,
        notes={"format": name, "architecture": "jumprelu"},
    )
