"""EleutherAI sparsify: a folder with ``cfg.json`` and ``sae.safetensors``, named after the module it reads.

Source: eai-sparsify 1.3.3, ``sparse_coder.py`` and ``fused_encoder.py``. SAELens' own loader of this format (6.54.12)
transposes ``W_dec`` and derives the subtraction of b_dec from ``normalize_decoder``; both contradict sparsify.
"""

from pathlib import Path

from generator.errors import FeaturebookError
from generator.measure.dictionaries.activations import Activation, GroupMax, TopK
from generator.measure.dictionaries.dictionary import Dictionary
from generator.measure.dictionaries.options import LoadOptions
from generator.measure.dictionaries.settings import read_settings
from generator.measure.dictionaries.tensors import read_safetensors


def load_sparsify(path: Path, options: LoadOptions) -> Dictionary:
    """Reads ``cfg.json`` and ``sae.safetensors`` of a sparse autoencoder or (skip) transcoder.

    Raises:
        FeaturebookError: unknown activation, missing tensors, wrong shapes.
    """
    cfg = read_settings(path / "cfg.json")
    file = read_safetensors(path / "sae.safetensors")
    d_in = cfg.whole("d_in")
    n = cfg.whole("num_latents", 0, least=0) or d_in * cfg.whole("expansion_factor", 32)
    is_transcoder = cfg.flag("transcode", False)
    return Dictionary(
        W_enc=file.take("encoder.weight", feature=n, d_in=d_in),
        b_enc=file.take("encoder.bias", feature=n),
        W_dec=file.take("W_dec", feature=n, d_out=d_in),
        b_dec=file.take("b_dec", d_out=d_in),
        activation=_activation(cfg.text("activation", "topk"), cfg.whole("k"), path),
        subtracts_b_dec=not is_transcoder,
        W_skip=file.take("W_skip", d_out=d_in, d_in=d_in) if cfg.flag("skip_connection", False) else None,
        is_transcoder=is_transcoder,
        notes={"format": "sparsify", "hook_name": path.name},
    )


def _activation(name: str, k: int, path: Path) -> Activation:
    if name not in ("topk", "groupmax"):
        raise FeaturebookError(
            f"{path / 'cfg.json'} has activation {name!r}, which is not read. Known: groupmax, topk."
        )
    return TopK(k) if name == "topk" else GroupMax(k)
