"""All statistics of a run, in one object that takes blocks, merges, and can be put on disk in between."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from generator.blocks import Block, Channel, Corpus, SparseBlock, new_hdf5, open_hdf5
from generator.config import SummarizeTable
from generator.errors import FeaturebookError
from generator.summarize.activity import Activity
from generator.summarize.documents import Documents
from generator.summarize.entries import Entries
from generator.summarize.extremes import Bottom, Top
from generator.summarize.histogram import FineHistogram
from generator.summarize.moments import Moments
from generator.summarize.pairs import Pairs
from generator.summarize.profiles import Profiles
from generator.summarize.samples import Samples
from generator.summarize.tokens import TokenMeans
from generator.summarize.values import Values
from generator.summarize.view import Scope, View


class Statistic(Protocol):
    """What a statistic can do. A new one is a class and a line in ``STATISTICS``, and a paragraph of docs/statistics.md."""

    def __init__(self, scope: Scope) -> None: ...

    def add(self, view: View) -> None:
        """Takes in a dense block."""

    def add_sparse(self, view: Entries) -> None:
        """Takes in a sparse block, with the result that ``add`` has for the same values."""

    def merge(self, other: Any) -> None:
        """Takes in what another one of its kind has seen."""

    def state(self) -> dict[str, np.ndarray]:
        """Arrays from which ``restore`` can go on."""

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Takes over what ``state`` gave."""


STATISTICS: dict[str, type[Any]] = {
    "moments": Moments,
    "histogram": FineHistogram,
    "activity": Activity,
    "top": Top,
    "bottom": Bottom,
    "samples": Samples,
    "tokens": TokenMeans,
    "profiles": Profiles,
    "pairs": Pairs,
    "documents": Documents,
    "values": Values,
}
"""Every statistic that is accumulated, by the name of its group in an accumulator's file."""


class Accumulator:
    """What is known after some of the blocks of a run.

    Any split of the same documents over blocks and accumulators, merged in any order, gives the same counts, examples,
    samples and histograms, bit for bit, and the same sums up to float64 rounding.
    """

    def __init__(self, channels: list[Channel], corpus: Corpus, settings: SummarizeTable, seed: int) -> None:
        self.scope = Scope(channels, corpus, settings, seed)
        self.statistics: dict[str, Any] = {name: kind(self.scope) for name, kind in STATISTICS.items()}

    def add(self, block: Block | SparseBlock) -> None:
        """Takes in a block of whole documents. Each document must be given once.

        A sparse block costs time and memory for its entries, and gives what the dense block with the same values would.

        Raises:
            FeaturebookError: the block has another number of channels.
        """
        n_channels = block.n_channels if isinstance(block, SparseBlock) else block.values.shape[1]
        if n_channels != self.scope.n_channels:
            raise FeaturebookError(
                f"A block at token {block.start} has {n_channels} channels, the run has "
                f"{self.scope.n_channels}. Run `python -m generator build --only extract --force`."
            )
        with np.errstate(invalid="ignore", over="ignore"):
            if isinstance(block, SparseBlock):
                entries = Entries(block, self.scope)
                for statistic in self.statistics.values():
                    statistic.add_sparse(entries)
            else:
                view = View(block, self.scope)
                for statistic in self.statistics.values():
                    statistic.add(view)

    def merge(self, other: "Accumulator") -> None:
        """Takes in the documents of another accumulator of the same run, which is used up."""
        for name, statistic in self.statistics.items():
            statistic.merge(other.statistics[name])

    def save(self, path: Path) -> None:
        """Writes the state, to go on later or elsewhere."""
        with new_hdf5(path, kind="accumulator") as file:
            for name, statistic in self.statistics.items():
                for key, array in statistic.state().items():
                    options = {"compression": "lzf"} if array.size > 1024 else {}
                    file.create_dataset(f"{name}/{key}", data=array, **options)

    @classmethod
    def load(
        cls, path: Path, channels: list[Channel], corpus: Corpus, settings: SummarizeTable, seed: int
    ) -> "Accumulator":
        """Reads what ``save`` wrote, with the same arguments as the accumulator had.

        Raises:
            FeaturebookError: missing, damaged or of another schema.
        """
        accumulator = cls(channels, corpus, settings, seed)
        with open_hdf5(path, kind="accumulator", remedy="python -m generator build") as file:
            for name, statistic in accumulator.statistics.items():
                arrays: dict[str, np.ndarray] = {}
                file[name].visititems(lambda key, item, out=arrays: _collect(key, item, out))
                statistic.restore(arrays)
        return accumulator


def _collect(key: str, item: Any, out: dict[str, np.ndarray]) -> None:
    if hasattr(item, "shape"):
        out[key] = item[()]
