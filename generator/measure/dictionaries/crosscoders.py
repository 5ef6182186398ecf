"""neelnanda-io/Crosscoders (``{version}.pt`` beside ``{version}_cfg.json``) and ckkissane's model diffing (``cc_weights.pt``
beside ``cfg.json``), which have the same tensors.

Source: ``utils.py`` and ``scratch_2.py`` there. f = relu(Σ_l x_l W_enc[l] + b_enc), no b_dec is subtracted. The first
repository divides each layer by a fixed factor in training (mean norm / √d_model) and folds it before release; the second
multiplies each model's inputs by √d_model / mean norm. Neither file says so, so the run file has to.
"""

from pathlib import Path

from generator.errors import FeaturebookError
from generator.measure.dictionaries.activations import Relu
from generator.measure.dictionaries.dictionary import Dictionary
from generator.measure.dictionaries.options import LoadOptions
from generator.measure.dictionaries.places import crosscoder, given_scale, sizes_of
from generator.measure.dictionaries.settings import Settings, read_settings
from generator.measure.dictionaries.tensors import TensorFile, find_file, only_tensors, read_torch

NEEDED = "dict_size (or ae_dim), the number of latents; model_name, hook_point and seq_len are shown when they are there"
"""What a ``_cfg.json`` has to say, for the error message."""

REMARK = "Trained without the first token of each text; set extract.exclude_first = 1 where the tokenizer writes no BOS."


def load_crosscoders(path: Path, options: LoadOptions) -> Dictionary:
    """Reads ``{version}.pt`` and ``{version}_cfg.json``; of a folder, its only ``.pt``.

    Raises:
        FeaturebookError: no or several ``.pt``, no ``_cfg.json``, missing tensors, wrong shapes, no factors given.
    """
    target = path if path.is_file() else _only_checkpoint(path)
    return _load(target, target.with_name(f"{target.stem}_cfg.json"), "crosscoders", options)


def load_model_diff(path: Path, options: LoadOptions) -> Dictionary:
    """Reads ``cc_weights.pt`` and ``cfg.json`` of one folder.

    Raises:
        FeaturebookError: see ``load_crosscoders``.
    """
    target = find_file(path, "cc_weights.pt")
    return _load(target, target.with_name("cfg.json"), "model_diff", options)


def _only_checkpoint(folder: Path) -> Path:
    found = sorted(folder.glob("*.pt")) if folder.is_dir() else []
    if len(found) != 1:
        names = ", ".join(p.name for p in found[:12]) or "none"
        raise FeaturebookError(
            f"{folder} holds {len(found)} .pt files ({names}); name the one to read in path."
        )
    return found[0]


def _load(target: Path, beside: Path, format: str, options: LoadOptions) -> Dictionary:
    content = read_torch(target)
    cfg = _config(beside, target)
    file = TensorFile(target, only_tensors(content), options.is_square)
    n_places, d_model, n = sizes_of(file, "W_enc", "b_dec", "b_enc")
    stated = cfg.whole("dict_size", 0, least=0) or cfg.whole("ae_dim")
    if stated != n:
        raise FeaturebookError(
            f"{beside} says {stated} latents and {target.name} holds {n}. Do they belong together?"
        )
    scale, said = given_scale(file, options, n_places, d_model, "each place to a mean norm of √d_model")
    return crosscoder(
        file.take("W_enc", place=n_places, d_in=d_model, feature=n),
        file.take("b_enc", feature=n),
        file.take("W_dec", feature=n, place=n_places, d_out=d_model).transpose(0, 1),
        file.take("b_dec", place=n_places, d_out=d_model),
        Relu(),
        scale=scale,
        notes=said
        | {
            "format": format,
            "architecture": "crosscoder",
            "hook_name": cfg.text("hook_point") or None,
            "trained_on": cfg.text("model_name") or None,
            "remarks": [*said["remarks"], REMARK],
        },
    )


def _config(beside: Path, target: Path) -> Settings:
    if not beside.is_file():
        raise FeaturebookError(
            f"{beside.name} is missing beside {target}. It must be a JSON object with {NEEDED}. Fetch it, or write one."
        )
    cfg = read_settings(beside)
    if not {"dict_size", "ae_dim"} & set(cfg.values):
        raise FeaturebookError(
            f"{beside} lacks keys that are needed: {NEEDED}. Found: {', '.join(cfg.values) or 'none'}."
        )
    return cfg
