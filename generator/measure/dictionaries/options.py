"""What a person may have to add to what a checkpoint file says."""

from dataclasses import dataclass
from typing import Literal

from generator.errors import FeaturebookError


@dataclass(frozen=True)
class LoadOptions:
    """Choices that some formats leave to the reader; a loader ignores those that its format settles."""

    architecture: str | None = None
    """The class or architecture, when the file does not name it (dictionary_learning without its ``config.json``)."""
    input_factor: float | list[float] | None = None
    """What inputs were multiplied by in training, when the file does not hold it (``expected_average_only_in``); it is
    folded into the weights. For a crosscoder one number for each place, or one for all. Refused where the file holds it."""
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
    allow_classes: tuple[str, ...] = ()
    """Names of pickled classes (``module.Name``) that a ``.pt`` file may hold; each becomes a bare holder of its values."""

    def factors(self, n_places: int) -> list[float] | None:
        """``input_factor`` for every place, None when it was not given.

        Raises:
            FeaturebookError: another number of them, or one that is not above 0.
        """
        given = self.input_factor
        if given is None:
            return None
        factors = [given] * n_places if isinstance(given, int | float) else list(given)
        if len(factors) != n_places or not all(factor > 0 for factor in factors):
            raise FeaturebookError(
                f"input_factor = {given} does not fit: the dictionary reads {n_places} place{'s' * (n_places > 1)}, each with a "
                "factor above 0."
            )
        return factors
