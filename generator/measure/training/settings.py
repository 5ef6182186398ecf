"""Training settings from a preset and changes."""

from typing import Any

from pydantic import ValidationError

from generator.config import PRESETS, TrainSettings
from generator.errors import FeaturebookError, nearest

__all__ = ["PRESETS", "TrainSettings", "preset"]


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
