"""OpenAI's sparse autoencoders (v5 and its predecessors): one ``torch.save`` file with a flat state dict.

Source: Gao et al. 2024 (arXiv:2406.04093) and ``sparse_autoencoder/model.py`` published with it: inputs pass a layer norm
exactly when the activation is ``TopK``.
"""

from pathlib import Path

from generator.errors import FeaturebookError
from generator.measure.dictionaries.activations import Activation, Relu, TopK
from generator.measure.dictionaries.dictionary import Dictionary
from generator.measure.dictionaries.options import LoadOptions
from generator.measure.dictionaries.settings import Settings
from generator.measure.dictionaries.tensors import TensorFile, find_file, only_tensors, read_torch


def load_openai(path: Path, options: LoadOptions) -> Dictionary:
    """Reads ``encoder.weight`` (feature, d_in), ``decoder.weight`` (d_in, feature), ``latent_bias``, ``pre_bias``.

    Raises:
        FeaturebookError: unknown activation, missing tensors, wrong shapes.
    """
    target = find_file(path, "autoencoder.pt", "ae.pt")
    content = read_torch(target)
    file = TensorFile(target, only_tensors(content), options.is_square)
    d_in, n = file.sizes("pre_bias", "latent_bias")
    settings = Settings(str(target), content)
    name = settings.text("activation", "ReLU")
    return Dictionary(
        W_enc=file.take("encoder.weight", feature=n, d_in=d_in),
        b_enc=file.take("latent_bias", feature=n),
        W_dec=file.take("decoder.weight", d_out=d_in, feature=n).T.contiguous(),
        b_dec=file.take("pre_bias", d_out=d_in),
        activation=_activation(name, settings.part("activation_state_dict"), target),
        subtracts_b_dec=True,
        normalization="layer_norm" if name == "TopK" else "none",
        notes={"format": "openai", "architecture": name},
    )


def _activation(name: str, state: Settings, path: Path) -> Activation:
    if name == "ReLU":
        return Relu()
    if name != "TopK":
        raise FeaturebookError(f"{path} has activation {name!r}, which is not read. Known: ReLU, TopK.")
    after = state.text("postact_fn", "ReLU")
    if after != "ReLU":
        raise FeaturebookError(f"{path} has postact_fn {after!r} after its top-k; only 'ReLU' is read.")
    return TopK(state.whole("k"))
