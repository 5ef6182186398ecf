"""Stage ``summarize``: the statistics of the adapter's channels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from generator.artifacts import Artifact
from generator.blocks import BLOCK_TOKENS, Activations, Channel, Corpus
from generator.config import RunConfig
from generator.errors import FeaturebookError
from generator.progress import Progress
from generator.stages.corpus import load_corpus
from generator.stages.extract import StreamedStates
from generator.stages.stage import Folders

if TYPE_CHECKING:
    from generator.summarize import Accumulator


def depends_on(config: RunConfig, folders: Folders) -> Any:
    return [config.summarize.model_dump(), config.seed, config.extract.chunk_tokens]


def run(config: RunConfig, folders: Folders, out: Artifact, progress: Progress) -> dict[str, Any]:
    from generator.summarize import finish

    corpus = load_corpus(folders)
    activations = Activations(folders.build / "activations")
    channels, directions, facts = activations.load_channels()
    # One state per chunk, merged in the corpus's order: the same bits from files, from a stream and from workers.
    total = None
    for state in _chunk_states(config, folders, corpus, activations, channels, progress):
        if total is None:
            total = state
        else:
            total.merge(state)
    if total is None:
        raise FeaturebookError("The corpus has no tokens. Look at [corpus] in the run file.")
    keys = {"corpus": folders.key_of("corpus"), "extract": folders.key_of("activations")}
    summary = finish(total, directions, facts | {"keys": keys | {"summarize": out.key}})
    summary.save(out.folder / "summary.h5")
    return {"n_channels": len(channels)}


def _chunk_states(
    config: RunConfig,
    folders: Folders,
    corpus: Corpus,
    activations: Activations,
    channels: list[Channel],
    progress: Progress,
) -> Iterator[Accumulator]:
    from generator.summarize import Accumulator

    chunks = corpus.chunks(config.extract.chunk_tokens)
    if config.extract.keep_activations:
        for chunk in chunks:
            state = Accumulator(channels, corpus, config.summarize, config.seed)
            for block in activations.blocks(corpus, chunk, BLOCK_TOKENS):
                state.add(block)
                progress.advance(len(block.values))
            yield state
    else:
        states = StreamedStates(activations.folder, config, folders.build / "corpus" / "corpus.h5")
        key = str(folders.key_of("activations"))
        for chunk in chunks:
            yield states.load(chunk, key)
            progress.advance(chunk.stop - chunk.start)
