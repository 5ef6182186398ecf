"""Stage ``effects``: what channels do to the model's output."""

from typing import Any

from generator.artifacts import Artifact
from generator.config import RunConfig
from generator.progress import Progress
from generator.stages.corpus import load_corpus
from generator.stages.extract import has_adapter
from generator.stages.stage import Folders
from generator.summaries import Summary


def is_wanted(config: RunConfig) -> bool:
    return config.effects is not None and bool(config.effects.parts)


def depends_on(config: RunConfig, folders: Folders) -> Any:
    return [config.effects and config.effects.model_dump(), config.publish.picked, config.seed]


def run(config: RunConfig, folders: Folders, out: Artifact, progress: Progress) -> dict[str, Any]:
    from generator.measure.effects.run import EffectsRun
    from generator.measure.effects.stage import measure_effects

    summary = folders.build / "summary" / "summary.h5"
    run = EffectsRun(
        config=config,
        corpus=load_corpus(folders),
        activations=folders.build / "activations",
        adapter=Summary.load(summary) if has_adapter(config) else None,
        latents={
            c.name: Summary.load(folders.build / "latents" / f"{c.name}.h5") for c in config.collections
        },
        trained=folders.build / "dictionaries",
        progress=progress,
    )
    return measure_effects(run, out.folder)
