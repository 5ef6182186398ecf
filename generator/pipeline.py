"""The stages of a run, and the runner that skips what is done.

A stage is done when its folder's manifest carries the key made of the stage's version, its slice of the run file
and the keys of its inputs. Stages that are not asked for (``only``) are taken as they lie on disk, so a site is
published from a copied ``build/`` folder on a machine that has neither the model nor torch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from generator.artifacts import Artifact, content_key
from generator.config import RunConfig
from generator.errors import FeaturebookError, nearest
from generator.progress import console, show
from generator.stages import analyze, bundle, collect, corpus, effects, extract, publish, summarize, train
from generator.stages.stage import Folders, Stage, unknown

if TYPE_CHECKING:
    from generator.measure.analyze.texts import Text

STAGES = (
    Stage("corpus", "corpus", 1, (), corpus.depends_on, corpus.build, unknown, "documents"),
    Stage("extract", "activations", 1, ("corpus",), extract.depends_on, extract.run, corpus.n_tokens,
          is_wanted=extract.has_adapter, is_whole=extract.is_whole),
    Stage("train", "dictionaries", 2, ("corpus", "extract"), train.depends_on, train.run, unknown,
          is_wanted=train.is_wanted),
    Stage("summarize", "summary", 2, ("corpus", "extract"), summarize.depends_on, summarize.run, corpus.n_tokens,
          is_wanted=extract.has_adapter),
    Stage("collect", "latents", 4, ("corpus", "extract", "train"), collect.depends_on, collect.run, collect.n_tokens,
          is_wanted=collect.is_wanted),
    Stage("effects", "effects", 2, ("corpus", "extract", "summarize", "collect"), effects.depends_on, effects.run, unknown,
          "channels", is_wanted=effects.is_wanted),
    Stage("analyze", "analysis", 1, ("corpus",), analyze.depends_on, analyze.run, unknown, is_wanted=analyze.is_wanted),
    Stage("publish", "publish", 1, ("corpus", "summarize", "collect", "effects", "analyze"), publish.depends_on, publish.run,
          unknown, "pages", is_whole=publish.is_whole),
    Stage("bundle", "bundle", 1, ("publish",), bundle.depends_on, bundle.run, unknown, "charts",
          is_wanted=bundle.is_wanted, is_whole=bundle.is_whole),
)  # fmt: skip

FORCED = "forced"


def build(
    config: RunConfig,
    folders: Folders,
    *,
    only: Sequence[str] = (),
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Runs every stage that is not done.

    Args:
        config: The run.
        folders: Where to read and write.
        only: Names of stages; the others are taken as they are. All when empty. One that the run file has no use for
            is passed over, so that one command publishes any run.
        force: Run the chosen stages even when they are done.
        dry_run: Print what would run and why, and run nothing.

    Raises:
        FeaturebookError: an unknown stage, an input that is not there, or anything a stage reports.
    """
    stages = stages_of(config)
    names = [stage.name for stage in STAGES]
    for name in only:
        if name not in names:
            raise FeaturebookError(f"There is no stage {name!r}. {nearest(name, names)}")
        if name not in [stage.name for stage in stages]:
            console.print(f"{name}: not part of this run", markup=False)
    stale: set[str] = set()
    for stage in stages:
        if only and stage.name not in only:
            continue
        reason = _reason(stage, config, folders, stale, force)
        if reason is None:
            console.print(f"{stage.name}: up to date", markup=False)
        elif dry_run:
            console.print(f"{stage.name}: would run ({reason})", markup=False)
            stale.add(stage.name)
        else:
            _run(stage, config, folders, reason)


def _run(stage: Stage, config: RunConfig, folders: Folders, reason: str) -> None:
    artifact = Artifact(folders.build / stage.folder, stage_key(stage, config, folders))
    if reason == FORCED:
        artifact.clear()
    artifact.begin()
    began = time.monotonic()
    with show(stage.name, stage.total(config, folders), stage.unit) as progress:
        facts = stage.run(config, folders, artifact, progress)
    artifact.finish(stage=stage.name, **facts)
    console.print(f"{stage.name}: {_sentence(facts)} in {time.monotonic() - began:.1f} s", markup=False)


def status(config: RunConfig, folders: Folders) -> list[tuple[str, str, str]]:
    """The state of every stage: (name, "done" or why it would run, its facts)."""
    rows, stale = [], set[str]()
    for stage in stages_of(config):
        reason = _reason(stage, config, folders, stale, force=False)
        if reason is not None:
            stale.add(stage.name)
        manifest = Artifact(folders.build / stage.folder, "").manifest() or {}
        facts = {key: value for key, value in manifest.items() if key not in ("key", "stage")}
        rows.append((stage.name, reason or "done", _sentence(facts) if facts else ""))
    return rows


def stage_key(stage: Stage, config: RunConfig, folders: Folders) -> str:
    """The content key that the stage's output has to have.

    Raises:
        FeaturebookError: an input of the stage was never built.
    """
    inputs = []
    for needed in [needed for needed in stages_of(config) if needed.name in stage.needs]:
        inputs.append(folders.key_of(needed.folder))
        if inputs[-1] is None:
            folder = folders.build / needed.folder
            raise FeaturebookError(
                f"Stage {stage.name!r} reads {folder}, which is not there or unfinished. "
                f"Run `python -m generator build --only {needed.name}` first, or copy a finished build folder."
            )
    return content_key(stage.name, stage.version, stage.depends_on(config, folders), inputs)


def stages_of(config: RunConfig) -> list[Stage]:
    """The stages that a run has."""
    return [stage for stage in STAGES if stage.is_wanted(config)]


def stage_named(name: str) -> Stage:
    """The stage of this name."""
    return next(stage for stage in STAGES if stage.name == name)


def _reason(stage: Stage, config: RunConfig, folders: Folders, stale: set[str], force: bool) -> str | None:
    """Why the stage has to run, or None when it is done."""
    if force:
        return FORCED
    changed = [name for name in stage.needs if name in stale]
    if changed:
        return f"{' and '.join(changed)} would run"
    artifact = Artifact(folders.build / stage.folder, stage_key(stage, config, folders))
    manifest = artifact.manifest()
    if manifest is None:
        return "never finished"
    if not artifact.is_done():
        return "the run file or an input changed"
    return None if stage.is_whole(folders, manifest) else "some of its files are gone"


def _sentence(facts: dict[str, Any]) -> str:
    """The counts and sizes among a stage's facts: "42 channels, 6 layers"."""
    counted = {k: v for k, v in facts.items() if k.startswith("n_") or k.endswith("_bytes")}
    return ", ".join(f"{v:,} {k.removeprefix('n_').replace('_', ' ')}" for k, v in counted.items() if v)


def analyze_alone(config: RunConfig, prompts: Sequence[str], folders: Folders) -> list[Text]:
    """Adds prompts to the analysis and, where there is a site, renders it again; the corpus is not read.

    Raises:
        FeaturebookError: a prompt is empty, or a model cannot be loaded.
    """
    from generator.measure.analyze.run import analyze_prompts

    stage = stage_named("analyze")
    with show(stage.name, None, stage.unit) as progress:
        texts = analyze_prompts(config, prompts, folders.build / stage.folder, progress)
    shown = [s.name for s in stages_of(config) if s.name in ("publish", "bundle")]
    if all(folders.key_of(s.folder) for s in stages_of(config) if s.name not in shown):
        build(config, folders, only=shown, force=True)
    return texts
