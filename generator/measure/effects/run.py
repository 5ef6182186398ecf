"""What the parts of the stage ``effects`` read; the model is loaded once for each way of running it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from generator.blocks import Activations, Corpus
from generator.config import CollectionTable, RunConfig
from generator.measure.analyze.anatomy import Anatomy, study
from generator.measure.collections import load_as_collected
from generator.measure.dictionaries import Dictionary
from generator.measure.model import load_model
from generator.measure.variants import Models
from generator.progress import Progress
from generator.summaries import Summary


@dataclass
class EffectsRun:
    """The inputs of the stage."""

    config: RunConfig
    corpus: Corpus
    activations: Path
    """Folder of the extract stage."""
    adapter: Summary | None
    latents: dict[str, Summary]
    """By collection."""
    trained: Path
    """Folder of the train stage."""
    progress: Progress

    @cached_property
    def anatomy(self) -> Anatomy:
        """The run's model with its adapter on, PEFT's own forward in place."""
        model = load_model(self.config.model, self.progress, seed=self.config.seed).model
        return study(model.requires_grad_(False))

    @cached_property
    def models(self) -> Models:
        """The models that collections over hook points read, as collecting runs them."""
        return Models(self.config, self.corpus, self.progress)

    def facts_of(self, collection: CollectionTable) -> dict[str, Any]:
        """What collecting found of a collection."""
        facts: dict[str, Any] = self.latents[collection.name].facts.get("collections", {})
        return facts.get(collection.name, {})

    def with_places(self, collection: CollectionTable) -> CollectionTable:
        """The collection with the places that collecting read, where the run file leaves them to the dictionary's own file."""
        if collection.hook_points:
            return collection
        points = list(
            dict.fromkeys(place["hook_point"] for place in self.facts_of(collection).get("places", []))
        )
        return collection.model_copy(update={"hook_points": points})

    def dictionary(self, collection: CollectionTable) -> Dictionary:
        """The collection's dictionary, with the input factors that collecting estimated."""
        return load_as_collected(collection, self.trained / collection.name, self.facts_of(collection))

    @cached_property
    def channels(self) -> tuple[list[Any], list[Any]]:
        """The adapter's channel table and vectors; both empty without an adapter."""
        if self.adapter is None:
            return [], []
        return Activations(self.activations).load_channels()[:2]


def strongest_of(summary: Summary) -> list[int]:
    """Channels by their largest activation against their own typical size, the strongest first; silent ones left out."""
    peak = np.fmax(np.abs(summary.statistics["max"]), np.abs(summary.statistics["min"]))
    rms = np.array([channel.reference_rms or 1.0 for channel in summary.channels])
    size = peak / rms
    order = np.argsort(-np.nan_to_num(size, nan=-1.0, posinf=-1.0), kind="stable")
    return [index for index in order.tolist() if np.isfinite(size[index]) and size[index] > 0]
