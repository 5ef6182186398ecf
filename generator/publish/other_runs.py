"""Other runs that this one is compared with: opened from their build folders, their channels matched with this run's."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from generator.blocks import Activations, Corpus, Directions
from generator.config import OtherRunTable
from generator.errors import FeaturebookError
from generator.publish.likeness import Run
from generator.publish.matching import Matches, match
from generator.publish.tokens import TokenTexts
from generator.summaries import Summary, join


@dataclass(frozen=True)
class OtherRun:
    """Another run, and which of its channels are the counterparts of this run's."""

    name: str
    site: str
    """Address of its own site; empty for none."""
    run: Run
    matches: Matches

    @cached_property
    def texts(self) -> TokenTexts:
        """The display text of its vocabulary."""
        return TokenTexts(self.run.corpus.token_bytes, self.run.corpus.is_special)

    def largest(self, index: int) -> float:
        """The largest measured |activation| of one of its channels."""
        ends = (float(self.run.summary.statistics[name][index]) for name in ("min", "max"))
        return max((abs(end) for end in ends if math.isfinite(end)), default=0.0)


def open_other_runs(tables: Sequence[OtherRunTable], own: Run) -> list[OtherRun]:
    """Reads the other runs and matches their channels with this run's.

    Raises:
        FeaturebookError: a build folder does not hold a finished run.
    """
    return [_opened(table, own) for table in tables]


def _opened(table: OtherRunTable, own: Run) -> OtherRun:
    build = Path(table.build)
    paths = [path for path in (build / "summary" / "summary.h5",) if path.is_file()]
    paths += sorted((build / "latents").glob("*.h5"))
    if not paths or not (build / "corpus" / "corpus.h5").is_file():
        raise FeaturebookError(
            f"publish.compare_with: the run {table.name!r} has no summary and corpus in {build}. Build it there "
            "(python -m generator build ITS_RUN.toml --build-dir …), or correct the path: it is relative to the run file."
        )
    run = Run(
        Corpus.load(build / "corpus" / "corpus.h5"),
        join([Summary.load(p) for p in paths]),
        stored_directions(build),
    )
    return OtherRun(table.name, table.site, run, match(own, run, table.match))


def stored_directions(build: Path) -> list[Directions]:
    """The vectors of a build's adapter; none where it has no adapter."""
    folder = build / "activations"
    return Activations(folder).load_channels()[1] if (folder / "channels.h5").is_file() else []
