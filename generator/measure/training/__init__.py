"""Training of BatchTopK sparse autoencoders on streamed activations (docs/training.md)."""

from generator.measure.training.rows import ActivationRows, ArrayRows, Rows
from generator.measure.training.settings import PRESETS, TrainSettings, preset
from generator.measure.training.train import TrainResult, train

__all__ = [
    "PRESETS",
    "ActivationRows",
    "ArrayRows",
    "Rows",
    "TrainResult",
    "TrainSettings",
    "preset",
    "train",
]
