"""Stage ``train``: dictionaries that the run file asks to train."""

from collections.abc import Sequence
from typing import Any

from generator.artifacts import Artifact, content_key, path_key
from generator.blocks import Activations, Corpus
from generator.config import CollectionTable, RunConfig
from generator.errors import FeaturebookError
from generator.progress import Progress
from generator.stages.corpus import load_corpus
from generator.stages.stage import Folders


def is_wanted(config: RunConfig) -> bool:
    return any(c.train is not None for c in config.collections)


def depends_on(config: RunConfig, folders: Folders) -> Any:
    tables = [c for c in config.collections if c.train is not None]
    return [[c.model_dump(exclude={"path"}) for c in tables], models_read(config, tables)]


def run(config: RunConfig, folders: Folders, out: Artifact, progress: Progress) -> dict[str, Any]:
    from generator.measure.collections import open_source, train_collection
    from generator.measure.training.recovered import LossMeter
    from generator.measure.variants import Models

    corpus, activations, chunks = stored_activations(config, folders)
    models = Models(config, corpus, progress)
    meter = LossMeter(config, corpus, progress, models)
    read = [folders.key_of("corpus"), folders.key_of("activations")]
    facts: dict[str, Any] = {}
    for table in config.collections:
        if table.train is not None:
            # its own key, so that one that is finished stays when another changes or the run is killed
            key = content_key(read, table.model_dump(exclude={"path"}), models_read(config, [table]))
            source = open_source(table, corpus, activations, chunks, models)
            facts |= train_collection(table, source, corpus, out.folder / table.name, progress, key, meter)
            source.close()
    return facts


def models_read(config: RunConfig, tables: Sequence[CollectionTable]) -> Any:
    """What the activations of the models that these collections read depend on; None when none reads a model."""
    if config.model.adapter is not None and not any(table.hook_points for table in tables):
        return None
    others = {m for table in tables for m in table.models} - {"base", "adapted"}
    return [
        config.model.model_dump(exclude={"device", "base", "adapter"}),
        path_key(config.model.base),
        config.model.adapter and path_key(config.model.adapter),
        [path_key(name) for name in sorted(others)],
        config.extract.model_dump(include={"exclude_outliers", "calibration_documents"}),
    ]


def stored_activations(config: RunConfig, folders: Folders) -> tuple[Corpus, Activations, list[slice]]:
    """The corpus, and the adapter's activations if a collection reads them."""
    reads_adapter = config.model.adapter is not None and not all(c.hook_points for c in config.collections)
    if reads_adapter and not config.extract.keep_activations:
        raise FeaturebookError(
            "Dictionaries over the adapter's channels are trained and collected from stored activations. Set "
            "keep_activations = true in [extract]."
        )
    corpus = load_corpus(folders)
    return corpus, Activations(folders.build / "activations"), corpus.chunks(config.extract.chunk_tokens)
