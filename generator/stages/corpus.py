"""Stage ``corpus``: documents become tokens."""

from typing import Any

from generator.artifacts import Artifact, path_key
from generator.blocks import Corpus
from generator.config import RunConfig
from generator.progress import Progress
from generator.stages.stage import Folders


def depends_on(config: RunConfig, folders: Folders) -> Any:
    return [
        config.corpus.model_dump(exclude={"source"}),
        path_key(config.corpus.source),
        path_key(config.model.base, weights=False),
        config.model.model_dump(include={"revision", "trust_remote_code"}),
        config.extract.model_dump(include={"exclude_special", "exclude_first"}),
    ]


def build(config: RunConfig, folders: Folders, out: Artifact, progress: Progress) -> dict[str, Any]:
    from generator.measure.corpus import build_corpus

    corpus = build_corpus(config, progress)
    corpus.save(out.folder / "corpus.h5")
    return {"n_documents": corpus.n_docs, "n_tokens": corpus.n_tokens}


def load_corpus(folders: Folders) -> Corpus:
    """The corpus of the run."""
    return Corpus.load(folders.build / "corpus" / "corpus.h5")


def n_tokens(config: RunConfig, folders: Folders) -> int | None:
    manifest = Artifact(folders.build / "corpus", "").manifest() or {}
    return manifest.get("n_tokens")
