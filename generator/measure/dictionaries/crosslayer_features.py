"""RollingRo11/crosslayer-features: ``crosscoder_step_{n}.pt``, a JumpReLU crosscoder over all layers of one model.

f = z · (z > exp(log_threshold)), z = Σ_l (x_l / layer_stds[l]) W_enc[l] + b_enc. The file pickles its settings as a class of
the training script; it is read only when ``allow_classes`` names it, and then as a bare holder of values.
"""

from pathlib import Path

from torch import Tensor

from generator.errors import FeaturebookError
from generator.measure.dictionaries.activations import JumpRelu
from generator.measure.dictionaries.dictionary import Dictionary
from generator.measure.dictionaries.options import LoadOptions
from generator.measure.dictionaries.places import crosscoder, given_scale, sizes_of
from generator.measure.dictionaries.tensors import TensorFile, find_file, only_tensors, read_torch


def load_crosslayer_features(path: Path, options: LoadOptions) -> Dictionary:
    """Reads ``model_state_dict`` {W_enc (layer, d_model, feature), W_dec (feature, layer, d_model), b_enc, b_dec, log_threshold}
    and ``layer_stds`` (1, layer, d_model); of a folder, the checkpoint of the latest step.

    Raises:
        FeaturebookError: missing entries, wrong shapes, a pickled class that is not allowed.
    """
    target = path if path.is_file() else _latest(path)
    content = read_torch(target, options.allow_classes)
    if not isinstance(content.get("model_state_dict"), dict):
        raise FeaturebookError(
            f"{target} lacks model_state_dict; found {', '.join(map(str, content)) or 'nothing'}. Is the format right?"
        )
    tensors = only_tensors(content["model_state_dict"])
    stds = content.get("layer_stds")
    if isinstance(stds, Tensor):
        tensors["layer_stds"] = stds.squeeze(0) if stds.ndim == 3 else stds
    file = TensorFile(target, tensors, options.is_square)
    n_places, d_model, n = sizes_of(file, "W_enc", "b_dec", "b_enc")
    if "layer_stds" not in tensors:
        scale, said = given_scale(file, options, n_places, d_model, "layer_stds, 1 / deviation")
    else:
        scale = 1 / file.take("layer_stds", place=n_places, d_in=d_model).clamp(min=1e-30)
        said = {"remarks": ["Inputs are divided by the deviations that the file holds (layer_stds)."]}
    return crosscoder(
        file.take("W_enc", place=n_places, d_in=d_model, feature=n),
        file.take("b_enc", feature=n),
        file.take("W_dec", feature=n, place=n_places, d_out=d_model).transpose(0, 1),
        file.take("b_dec", place=n_places, d_out=d_model),
        JumpRelu(file.take("log_threshold", feature=n).exp()),
        scale=scale,
        notes={"format": "crosslayer_features", "architecture": "jumprelu crosscoder", **said},
    )


def _latest(folder: Path) -> Path:
    """``crosscoder_step_20000.pt`` rather than ``crosscoder_step_3000.pt``."""
    steps = {
        int(p.stem.rsplit("_", 1)[-1]): p
        for p in (folder.glob("crosscoder_step_*.pt") if folder.is_dir() else ())
        if p.stem.rsplit("_", 1)[-1].isdigit()
    }
    return steps[max(steps)] if steps else find_file(folder, "crosscoder_step_{n}.pt")
