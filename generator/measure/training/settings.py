"""What can be chosen in training, and two sets of choices."""

from typing import Any, Literal

from pydantic import Field, ValidationError

from generator.config import Count, Positive, Table
from generator.errors import FeaturebookError, nearest


class TrainSettings(Table):
    """``train = {…}`` of a collection: one BatchTopK autoencoder (Bussmann et al. 2024, arXiv:2412.06410)."""

    width: Positive | None = None
    """Number of latents; ``expansion`` times the input's width when absent."""
    expansion: Positive = 8
    """Latents per input value."""
    k: Positive = 16
    """Latents active per token, on average over a batch."""
    batch: Positive = 512
    """Tokens of a step."""
    epochs: Positive = 1
    """Passes over the training tokens."""
    tokens: Positive | None = None
    """Stop after this many tokens; repeats passes or cuts them short. ``epochs`` counts when absent."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """Adam's step size after warm-up."""
    warmup_steps: Count = 100
    """Steps over which the learning rate rises linearly from 0."""
    decay: float = Field(default=0.0, ge=0, le=1)
    """Share of the steps, at the end, over which the learning rate falls linearly to 0."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Adam's decay of the mean gradient."""
    beta2: float = Field(default=0.999, ge=0, lt=1)
    """Adam's decay of the mean squared gradient."""
    decoder: Literal["free", "unit"] = "free"
    """``unit``: decoder rows are kept at norm 1 (and their gradients orthogonal to them), so that a latent's size is what it
    writes. ``free``: latents compete by pre-activation times decoder norm."""
    scale: Literal["none", "global"] = "none"
    """``global``: inputs are centred, and divided by one number so that their variance is 1 per value on average; both
    are recorded and folded into the saved weights. ``none``: inputs as they are."""
    aux_weight: float = Field(default=1 / 32, ge=0)
    """Weight of the auxiliary loss: dead latents reconstruct the error (Gao et al. 2024, arXiv:2406.04093, section A.2)."""
    aux_k: Positive | None = None
    """Dead latents used per token for it; ``k`` when absent."""
    aux_reads: Literal["error", "input"] = "error"
    """What the dead latents encode for it: the ``error`` itself (the rank-1 project) or the ``input`` (Gao et al.)."""
    dead_after: Positive = 1_000_000
    """Tokens without activation after which a latent counts as dead."""
    threshold_beta: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the running estimate of the threshold: the mean of each batch's smallest active score."""
    held_out: float = Field(default=0.05, gt=0, lt=1)
    """Share of the documents, chosen by hash, that are kept from training for the final figures."""
    encode: Literal["float32", "bfloat16"] = "float32"
    """Precision of the encoder's product in a step; with ``bfloat16`` the selected values are computed anew in float32."""
    buffer_megabytes: float = Field(default=1024.0, gt=0)
    """Memory of the shuffle buffer. Data that fits is shuffled whole; other data by parts drawn from all over it."""
    checkpoint_steps: Positive = 2000
    """Steps between two checkpoints."""
    log_steps: Positive = 10
    """Steps between two lines of ``metrics.jsonl``."""
    seed: int = 42
    """Seed of initialisation, order and split."""
    device: str = "auto"
    """``auto`` (a GPU when there is one), ``cpu``, ``cuda``, ``cuda:1``."""


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        # the rank-1 LoRA project's batch_topk_sae.py, as run there
        "expansion": 8,
        "k": 16,
        "batch": 512,
        "learning_rate": 5e-4,
        "warmup_steps": 100,
        "aux_weight": 1 / 32,
        "aux_reads": "error",
        "dead_after": 1_000_000,
        "decoder": "free",
        "scale": "none",
        "epochs": 1,
    },
    "ours": {
        "expansion": 8,
        "k": 16,
        "batch": 512,
        "learning_rate": 3e-3,
        "warmup_steps": 50,
        "decay": 0.5,
        "aux_reads": "input",
        "dead_after": 200_000,
        "decoder": "free",
        "scale": "global",
        "epochs": 4,
    },
}
"""Named sets of choices; docs/training.md compares them."""


def preset(name: str, **changes: Any) -> TrainSettings:
    """A preset with changes.

    Raises:
        FeaturebookError: there is no such preset, or a change is wrong.
    """
    if name not in PRESETS:
        raise FeaturebookError(f"There is no training preset {name!r}. {nearest(name, PRESETS)}")
    try:
        return TrainSettings(**{**PRESETS[name], **changes})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise FeaturebookError(f"Training settings: {wrong}.") from None
