"""Stage ``publish``: shards and pages of everything that was measured."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator.artifacts import Artifact, Writer, content_key, file_key, path_key
from generator.blocks import Activations, Corpus
from generator.config import RunConfig
from generator.findings import Findings, join_findings, load_findings
from generator.progress import Progress
from generator.stages import analyze, effects
from generator.stages.bundle import bundle_path
from generator.stages.corpus import load_corpus
from generator.stages.extract import has_adapter
from generator.stages.stage import Folders
from generator.summaries import Summary, join

if TYPE_CHECKING:
    from generator.publish.kept import Kept


_CODE = Path(__file__).parents[1]
"""Of the package: pages are made anew when it changes."""


def depends_on(config: RunConfig, folders: Folders) -> Any:
    labels = [[path.name, file_key(path)] for path in sorted(folders.labels.glob("*.jsonl"))]
    return [*_published_from(config), path_key(str(folders.docs / "notes")), labels]


def _published_from(config: RunConfig) -> list[Any]:
    """What publishing reads beside the other stages, labels and notes."""
    # Pages cost seconds, so any change of the code that renders them renders them anew.
    code = path_key(str(_CODE / "publish" / "**" / "*.py"))
    others = [
        [
            path_key(str(Path(other.build) / part))
            for part in ("summary/*.h5", "latents/*.h5", "activations/channels.h5")
        ]
        for other in config.publish.compare_with
    ]
    table = config.publish.model_dump(exclude={"compare_with": {"__all__": {"build"}}})
    return [table, others, config.name, code]


def run(config: RunConfig, folders: Folders, out: Artifact, progress: Progress) -> dict[str, Any]:
    from generator.publish import publish

    if not config.publish.bundle:
        bundle_path(folders).unlink(missing_ok=True)  # of an earlier run file
    corpus = load_corpus(folders)
    return publish(
        config,
        corpus,
        _whole_summary(config, folders, corpus),
        Writer(folders.build / "shards"),
        Writer(folders.docs),
        folders.docs / "notes",
        progress,
        folders.labels,
        findings=_all_findings(config, folders),
        analysis=folders.build / "analysis" if analyze.is_wanted(config) else None,
        directions=Activations(folders.build / "activations").load_channels()[1]
        if config.publish.compare_with and has_adapter(config)
        else [],
        kept=_kept(config, folders, out),
    )


def _kept(config: RunConfig, folders: Folders, out: Artifact) -> Kept:
    """What the last run left of pages, known by all that they are made of but labels and notes."""
    from generator.publish.kept import Kept

    measured = ("corpus", "activations", "dictionaries", "summary", "latents", "effects", "analysis")
    stages = [folders.key_of(folder) for folder in measured]
    code = [path_key(str(_CODE / "*.py")), path_key(__file__)]
    packages = [version(name) for name in ("numpy", "orjson", "pillow")]
    return Kept(out.folder, content_key(stages, _published_from(config), config.model_dump(), code, packages))


def _whole_summary(config: RunConfig, folders: Folders, corpus: Corpus) -> Summary:
    """Everything that was measured of channels: of the adapter's, then of each collection's."""
    paths = [folders.build / "summary" / "summary.h5"] if has_adapter(config) else []
    paths += [folders.build / "latents" / f"{c.name}.h5" for c in config.collections]
    if paths:
        return join([Summary.load(path) for path in paths])
    from generator.summarize import blank_summary

    return blank_summary(corpus, config.summarize, config.seed, {})


def _all_findings(config: RunConfig, folders: Folders) -> dict[str, Findings]:
    """What the stages that need the model found out of single channels, by panel."""
    read = {"effects": effects.is_wanted(config), "analysis": analyze.is_wanted(config)}
    paths = [
        path for name, has in read.items() if has for path in sorted((folders.build / name).glob("*.h5"))
    ]
    return join_findings([load_findings(path) for path in paths])


def is_whole(folders: Folders, manifest: dict[str, Any]) -> bool:
    return (folders.docs / "atlas" / "site.json").exists() and (
        folders.build / "shards" / "home.json"
    ).exists()
