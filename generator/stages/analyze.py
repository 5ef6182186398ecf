"""Stage ``analyze``: what the whole model does, layer by layer."""

from typing import Any

from generator.artifacts import Artifact, path_key
from generator.config import RunConfig
from generator.progress import Progress
from generator.stages.corpus import load_corpus
from generator.stages.stage import Folders


def is_wanted(config: RunConfig) -> bool:
    return config.analyze is not None


def depends_on(config: RunConfig, folders: Folders) -> Any:
    table = config.analyze
    assert table is not None
    prompts = path_key(table.prompts) if isinstance(table.prompts, str) else table.prompts
    return [
        table.model_dump(exclude={"prompts", "models"}),
        prompts,
        [[m.name, m.revision, path_key(m.base), m.adapter and path_key(m.adapter)] for m in table.models],
        config.model.model_dump(exclude={"device", "base", "adapter"}),
        path_key(config.model.base),
        config.model.adapter and path_key(config.model.adapter),
        [config.collection, config.extract.basis, config.seed],
    ]


def run(config: RunConfig, folders: Folders, out: Artifact, progress: Progress) -> dict[str, Any]:
    import numpy as np

    from generator.measure.analyze.run import analyze_run
    from generator.summarize.hashing import doc_hash

    corpus = load_corpus(folders)
    assert config.analyze is not None
    # in the order in which documents get pages
    order = np.argsort(doc_hash(config.seed, np.arange(corpus.n_docs)), kind="stable")
    docs = order[np.diff(corpus.doc_offsets)[order] > 0][: config.analyze.divergence_documents].tolist()
    key = str(folders.key_of("corpus"))
    return analyze_run(config, corpus, out.folder, key, docs, progress)
