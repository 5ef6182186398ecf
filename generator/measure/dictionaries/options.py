"""What a person may have to add to what a checkpoint file says."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LoadOptions:
    """Choices that some formats leave to the reader; a loader ignores those that its format settles."""

    architecture: str | None = None
    """The class or architecture, when the file does not name it (dictionary_learning without its ``config.json``)."""
    input_factor: float | None = None
    """What inputs were multiplied by in training, when the file does not hold it (``expected_average_only_in``); it is
    folded into the weights."""
    normalize_decoder: bool = True
    """Scale the latents of a dictionary_learning ``AutoEncoder`` so that its decoder rows have norm 1, as that library does."""
    is_square: bool = False
    """Accept a dictionary with as many latents as inputs, whose orientation shapes cannot prove."""
    selection: Literal["topk", "threshold"] = "topk"
    """How a dictionary trained with batch-top-k and saved without a threshold chooses its latents: the ``k`` best of each
    token, or all above ``threshold``."""
    threshold: float | None = None
    """The threshold of ``selection = "threshold"``, compared with pre-activation × decoder norm;
    ``estimate_threshold`` makes one from a sample."""
