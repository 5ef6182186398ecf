"""The docs name every format, architecture and setting."""

from pathlib import Path

import pytest

from generator.measure.dictionaries import FORMATS, LoadOptions
from generator.measure.dictionaries.dictionary_learning import CLASSES
from generator.measure.dictionaries.saelens import ARCHITECTURES
from generator.measure.training import PRESETS, TrainSettings

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", [*FORMATS, *ARCHITECTURES, *CLASSES, *vars(LoadOptions())])
def test_dictionaries_names(name: str) -> None:
    assert f"`{name}" in (DOCS / "dictionaries.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [*PRESETS, *TrainSettings.model_fields])
def test_training_names(name: str) -> None:
    assert f"`{name}`" in (DOCS / "training.md").read_text(encoding="utf-8")
