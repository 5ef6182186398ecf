"""A running total of chunks on disk, so that a pass that is costly to repeat goes on where it was killed."""

from pathlib import Path

from generator.artifacts import remove_dead_temporaries
from generator.blocks import Channel, Corpus
from generator.config import SummarizeTable
from generator.summarize.accumulator import Accumulator


class RunningTotal:
    """The statistics of the chunks so far, merged in the corpus's order: one file, which each chunk replaces."""

    def __init__(
        self,
        folder: Path,
        key: str,
        channels: list[Channel],
        corpus: Corpus,
        settings: SummarizeTable,
        seed: int,
    ) -> None:
        """Goes on from the folder's newest file of this key, if there is one; files of other keys are removed.

        Args:
            folder: Holds nothing else; made when missing.
            key: Of everything that the statistics depend on.
            channels: See ``Accumulator``, as the rest.
        """
        self.folder, self.key = folder, key
        self._arguments = channels, corpus, settings, seed
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_dead_temporaries(folder)
        own = sorted(folder.glob(f"total-*-{key}.h5"))
        for path in set(folder.glob("total-*.h5")) - set(own[-1:]):
            path.unlink()
        self.stop = int(own[-1].name.split("-")[1]) if own else 0
        """Global index after the last token that is in the total."""
        self.total = Accumulator.load(own[-1], *self._arguments) if own else Accumulator(*self._arguments)

    def new(self) -> Accumulator:
        """An empty state for the next chunk."""
        return Accumulator(*self._arguments)

    def take(self, chunk: slice, state: Accumulator) -> None:
        """Merges the next chunk's state, and writes the total."""
        old = self._path(self.stop)
        self.total.merge(state)
        self.stop = chunk.stop
        self.total.save(self._path(self.stop))
        old.unlink(missing_ok=True)

    def _path(self, stop: int) -> Path:
        return self.folder / f"total-{stop:012d}-{self.key}.h5"
