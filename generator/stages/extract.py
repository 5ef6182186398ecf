"""Stage ``extract``: the activations of an adapter, or their summary, chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator.artifacts import Artifact, path_key, remove_dead_temporaries
from generator.blocks import BLOCK_TOKENS, Activations, Block, Channel, Corpus, Directions, block_bounds
from generator.config import RunConfig
from generator.progress import Progress
from generator.stages.corpus import load_corpus
from generator.stages.stage import Folders

if TYPE_CHECKING:
    import numpy as np

    from generator.summarize import Accumulator


def has_adapter(config: RunConfig) -> bool:
    return config.model.adapter is not None


def depends_on(config: RunConfig, folders: Folders) -> Any:
    # Batching, workers and packing do not change values; a run that streams keeps states of the summary instead.
    layout = {"batch_tokens", "workers", "exclude_special", "exclude_first"}
    return [
        config.model.model_dump(exclude={"device", "base", "adapter"}),
        path_key(config.model.base),
        path_key(str(config.model.adapter)),
        config.extract.model_dump(exclude=layout),
        config.collection,
        config.seed,
        config.summarize.threshold,
        None if config.extract.keep_activations else config.summarize.model_dump(),
    ]


def run(config: RunConfig, folders: Folders, out: Artifact, progress: Progress) -> dict[str, Any]:
    from generator.measure.extract import extract

    corpus = load_corpus(folders)
    if config.extract.keep_activations:
        return extract(config, corpus, Activations(out.folder), out.key, progress)
    states = StreamedStates(out.folder, config, folders.build / "corpus" / "corpus.h5")
    return extract(config, corpus, states, out.key, progress)


@dataclass(frozen=True)
class StreamedStates:
    """Takes chunks where activation files would: keeps each chunk's state of the summary instead of its values.

    Has the methods of ``Activations`` that extraction calls, and can be sent to another process.
    """

    folder: Path
    config: RunConfig
    corpus_path: Path

    def save_channels(
        self, channels: Sequence[Channel], directions: Sequence[Directions], facts: dict[str, Any]
    ) -> None:
        """Writes ``channels.h5``."""
        Activations(self.folder).save_channels(channels, directions, facts)

    def state_path(self, chunk: slice, key: str) -> Path:
        """The file of the state of one chunk; its name carries the key, its presence means that it is whole."""
        return self.folder / f"state-{chunk.start:012d}-{chunk.stop:012d}-{key}.h5"

    def has_chunk(self, chunk: slice, *, key: str) -> bool:
        """Whether this chunk was summarised by a run with this key."""
        return self.state_path(chunk, key).exists()

    def write_chunk(self, chunk: slice, values: np.ndarray, is_measured: np.ndarray, *, key: str) -> None:
        """Summarises one chunk."""
        accumulator = self._new_accumulator()
        for start, stop in block_bounds(self._corpus, chunk, BLOCK_TOKENS):
            rows = slice(start - chunk.start, stop - chunk.start)
            accumulator.add(Block(start, values[rows].astype("float32", copy=False), is_measured[rows]))
        accumulator.save(self.state_path(chunk, key))

    def remove_stale(self, chunks: Sequence[slice], *, key: str) -> None:
        """Removes states of other keys or other bounds, and half-written ones."""
        kept = {self.state_path(chunk, key) for chunk in chunks}
        for path in self.folder.glob("*.h5"):
            if path not in kept:
                path.unlink()
        remove_dead_temporaries(self.folder)

    @cached_property
    def _corpus(self) -> Corpus:
        return Corpus.load(self.corpus_path)

    @cached_property
    def _channels(self) -> list[Channel]:
        return Activations(self.folder).load_channels()[0]

    def _new_accumulator(self) -> Accumulator:
        from generator.summarize import Accumulator

        return Accumulator(self._channels, self._corpus, self.config.summarize, self.config.seed)

    def load(self, chunk: slice, key: str) -> Accumulator:
        """The state of one chunk."""
        from generator.summarize import Accumulator

        path = self.state_path(chunk, key)
        return Accumulator.load(path, self._channels, self._corpus, self.config.summarize, self.config.seed)


def is_whole(folders: Folders, manifest: dict[str, Any]) -> bool:
    files = [
        *(folders.build / "activations").glob("tokens-*.h5"),
        *(folders.build / "activations").glob("state-*.h5"),
    ]
    return len(files) == manifest.get("n_chunks")
