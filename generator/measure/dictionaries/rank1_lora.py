"""The autoencoder of the rank-1 LoRA project (jnward/reasoning-lora-interp): ``trained_sae_adapters_….pt``.

It was trained with batch-top-k over pre-activation × decoder norm, without a ReLU, and applied the same way, so that a
token's latents depended on its neighbours. The file holds no threshold: the reader takes the ``k`` best of each token
or all above a threshold, and the page says which. Latents are the plain pre-activations, as there; what was kept
passes a ReLU, because in a batch a negative one is kept only when there are not enough positive ones.
"""

from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from generator.errors import FeaturebookError
from generator.measure.dictionaries.activations import Activation, JumpRelu, TopK
from generator.measure.dictionaries.dictionary import Dictionary
from generator.measure.dictionaries.options import LoadOptions
from generator.measure.dictionaries.settings import Settings
from generator.measure.dictionaries.tensors import TensorFile, find_file, only_tensors, read_torch


def load_rank1_lora(path: Path, options: LoadOptions) -> Dictionary:
    """Reads ``model_state_dict`` {W_enc (d_in, feature), b_enc, W_dec (feature, d_in), b_dec} and ``config``.

    Raises:
        FeaturebookError: missing entries, wrong shapes, or ``selection = "threshold"`` without a threshold.
    """
    target = find_file(path, "trained_sae.pt")
    content = read_torch(target)
    missing = [name for name in ("model_state_dict", "config") if not isinstance(content.get(name), dict)]
    if missing:
        raise FeaturebookError(
            f"{target} lacks {', '.join(missing)}; found {', '.join(map(str, content)) or 'nothing'}. Is the format right?"
        )
    config = Settings(f"config in {target}", content["config"])
    file = TensorFile(target, only_tensors(content["model_state_dict"]), options.is_square)
    d_in, n = file.sizes("b_dec", "b_enc")
    W_dec = file.take("W_dec", feature=n, d_out=d_in)
    activation, choice = _activation(config, W_dec, options, target)
    return Dictionary(
        W_enc=file.take("W_enc", d_in=d_in, feature=n).T.contiguous(),
        b_enc=file.take("b_enc", feature=n),
        W_dec=W_dec,
        b_dec=file.take("b_dec", d_out=d_in),
        activation=activation,
        notes={
            "format": "rank1_lora",
            "architecture": "batchtopk",
            "selection": choice,
            "reads": config.names("adapter_types"),
        },
    )


def estimate_threshold(dictionary: Dictionary, sample: Float[Tensor, "token d_in"]) -> Dictionary:
    """The same dictionary with the threshold that keeps ``k`` latents per token on average over a sample.

    Args:
        dictionary: One whose activation is a top-k of ``load_rank1_lora``.
        sample: Inputs, as many as there is room for a dense encoding of.
    """
    activation = dictionary.activation
    if not isinstance(activation, TopK) or activation.score_scale is None:
        raise FeaturebookError(
            f"A threshold is estimated for a top-k dictionary, not for a {dictionary.kind} one."
        )
    pre = torch.nn.functional.linear(dictionary.prepare(sample), dictionary.W_enc, dictionary.b_enc)
    scores = (pre * activation.score_scale).relu().flatten()
    n_kept = min(activation.k * len(sample), len(scores) - 1)
    threshold = float(scores.topk(n_kept + 1).values[-2:].mean())  # between the last one kept and the next
    return replace(
        dictionary,
        activation=_jumprelu(threshold, activation.score_scale),
        notes={
            **dictionary.notes,
            "selection": f"threshold {threshold:.6g} on pre-activation × decoder norm, estimated on {len(sample)} tokens",
        },
    )


def _activation(config: Settings, W_dec: Tensor, options: LoadOptions, path: Path) -> tuple[Activation, str]:
    norms = W_dec.norm(dim=1)
    if options.selection == "threshold":
        if options.threshold is None:
            raise FeaturebookError(
                f'{path} holds no threshold: with selection = "threshold", give threshold = …, or estimate one.'
            )
        text = f"threshold {options.threshold:.6g} on pre-activation × decoder norm"
        return _jumprelu(options.threshold, norms), text
    k = config.whole("k")
    return TopK(k, score_scale=norms), f"the {k} latents of each token with the greatest score"


def _jumprelu(threshold: float, norms: Tensor) -> JumpRelu:
    """The threshold on z·‖W_dec‖ as one on z; a latent that writes nothing is never active."""
    return JumpRelu(
        torch.where(norms > 0, threshold / norms.clamp(min=1e-30), torch.finfo(torch.float32).max)
    )
