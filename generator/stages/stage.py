"""What a stage is, and where a run reads and writes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generator.artifacts import Artifact
from generator.config import RunConfig
from generator.progress import Progress


@dataclass(frozen=True)
class Folders:
    """Where a run reads and writes."""

    build: Path = Path("build")
    """Everything computed; can be copied to another machine."""
    docs: Path = Path("docs")
    """MkDocs' pages; generated ones go below ``atlas/``, hand-written notes stand in ``notes/``."""
    labels: Path = Path("labels")
    """What people and models say of channels: ``*.jsonl``, docs/labels.md."""

    def key_of(self, folder: str) -> str | None:
        """The key of what lies finished in a folder below ``build``; None when nothing does."""
        return (Artifact(self.build / folder, "").manifest() or {}).get("key")


@dataclass(frozen=True)
class Stage:
    """One step of a run."""

    name: str
    folder: str
    """Below the build folder."""
    version: int
    """Raised when the stage's output changes for the same input."""
    needs: tuple[str, ...]
    """Stages whose output it reads."""
    depends_on: Callable[[RunConfig, Folders], Any]
    """What else its output depends on: its slice of the run file, contents of files."""
    run: Callable[[RunConfig, Folders, Artifact, Progress], dict[str, Any]]
    """Does the work and returns facts for the manifest."""
    total: Callable[[RunConfig, Folders], int | None]
    """Units of work, for the progress bar, when known."""
    unit: str = "tokens"
    """What is counted."""
    is_wanted: Callable[[RunConfig], bool] = lambda config: True
    """Whether a run has the stage at all."""
    is_whole: Callable[[Folders, dict[str, Any]], bool] = lambda folders, manifest: True
    """Whether nothing of a finished output was deleted since; gets the manifest."""


def unknown(config: RunConfig, folders: Folders) -> None:
    """The units of work of a stage that cannot tell beforehand."""
    return
