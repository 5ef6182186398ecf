"""Training settings from a preset and changes."""

from typing import Any

from pydantic import ValidationError

from generator.config import PRESETS, TrainSettings
from generator.errors import FeaturebookError, nearest

__all__ = ["PRESETS", "TrainSettings", "preset", "resolved"]

MOST_IDLE_TOKENS = 200_000
"""Tokens without activation after which ``dead_after = "auto"`` calls a latent dead, however long a pass is."""


def resolved(settings: TrainSettings, width: int, n_rows: int) -> TrainSettings:
    """The settings with numbers where they depend on the rows.

    A fifth of a pass is long enough for a latent of one token in some thousand to be active by chance, and short enough
    for the auxiliary loss to revive the others several times in a pass (docs/training.md, "Dead latents").

    Args:
        settings: As the run file has them.
        width: Values per row.
        n_rows: Training rows of one pass.
    """
    changes: dict[str, int] = {}
    if settings.dead_after == "auto":
        changes["dead_after"] = max(settings.batch, min(MOST_IDLE_TOKENS, n_rows // 5))
    if isinstance(settings.aux_k, str):
        changes["aux_k"] = max(1, width // 2) if settings.aux_k == "half" else settings.k
    return settings.model_copy(update=changes)


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
