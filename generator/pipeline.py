"""The stages of a run, and the runner that skips what is done.

A stage is done when its folder's manifest carries the key made of the stage's version, its slice of the run file
and the keys of its inputs. Stages that are not asked for (``only``) are taken as they lie on disk, so a site is
published from a copied ``build/`` folder on a machine that has neither the model nor torch.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator.artifacts import Artifact, Writer, content_key, file_key, path_key, remove_dead_temporaries
from generator.blocks import Activations, Block, Channel, Corpus, Directions, block_bounds
from generator.config import CollectionTable, RunConfig, SummarizeTable
from generator.errors import FeaturebookError, nearest
from generator.findings import Findings, join_findings, load_findings
from generator.progress import Progress, console, show
from generator.summaries import Summary, join

if TYPE_CHECKING:
    import numpy as np

    from generator.measure.analyze.texts import Text
    from generator.measure.collections import LatentStream
    from generator.measure.variants import Models
    from generator.publish.kept import Kept
    from generator.summarize import Accumulator


FORCED = "forced"


@dataclass(frozen=True)
class Folders:
    """Where a run reads and writes."""

    build: Path = Path("build")
    """Everything computed; can be copied to another machine."""
    docs: Path = Path("docs")
    """MkDocs' pages; generated ones go below ``atlas/``, hand-written notes stand in ``notes/``."""
    labels: Path = Path("labels")
    """What people and models say of channels: ``*.jsonl``, docs/labels.md."""


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
        inputs.append(_manifest_key(needed, folders))
        if inputs[-1] is None:
            folder = folders.build / needed.folder
            raise FeaturebookError(
                f"Stage {stage.name!r} reads {folder}, which is not there or unfinished. "
                f"Run `python -m generator build --only {needed.name}` first, or copy a finished build folder."
            )
    return content_key(stage.name, stage.version, stage.depends_on(config, folders), inputs)


def _manifest_key(stage: Stage, folders: Folders) -> str | None:
    """The key of what lies on disk, finished; None when nothing does."""
    return (Artifact(folders.build / stage.folder, "").manifest() or {}).get("key")


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


# --- corpus ----------------------------------------------------------------------------------------------------


def _corpus_depends_on(config: RunConfig, folders: Folders) -> Any:
    return [
        config.corpus.model_dump(exclude={"source"}),
        path_key(config.corpus.source),
        path_key(config.model.base, weights=False),
        config.model.model_dump(include={"revision", "trust_remote_code"}),
        config.extract.model_dump(include={"exclude_special", "exclude_first"}),
    ]


def _build_corpus(config: RunConfig, folders: Folders, out: Artifact, progress: Progress) -> dict[str, Any]:
    from generator.measure.corpus import build_corpus

    corpus = build_corpus(config, progress)
    corpus.save(out.folder / "corpus.h5")
    return {"n_documents": corpus.n_docs, "n_tokens": corpus.n_tokens}


def _unknown(config: RunConfig, folders: Folders) -> None:
    return None


def load_corpus(folders: Folders) -> Corpus:
    """The corpus of the run."""
    return Corpus.load(folders.build / "corpus" / "corpus.h5")


def _corpus_tokens(config: RunConfig, folders: Folders) -> int | None:
    manifest = Artifact(folders.build / "corpus", "").manifest() or {}
    return manifest.get("n_tokens")


# --- extract ---------------------------------------------------------------------------------------------------


def _has_adapter(config: RunConfig) -> bool:
    return config.model.adapter is not None


def _extract_depends_on(config: RunConfig, folders: Folders) -> Any:
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


def _extract(config: RunConfig, folders: Folders, out: Artifact, progress: Progress) -> dict[str, Any]:
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


def _has_all_chunks(folders: Folders, manifest: dict[str, Any]) -> bool:
    files = [
        *(folders.build / "activations").glob("tokens-*.h5"),
        *(folders.build / "activations").glob("state-*.h5"),
    ]
    return len(files) == manifest.get("n_chunks")


# --- summarize -------------------------------------------------------------------------------------------------

BLOCK_TOKENS = 8192
"""Tokens that are summarised at once: a block of some hundred channels stays in the processor's cache."""


def _summarize_depends_on(config: RunConfig, folders: Folders) -> Any:
    return [config.summarize.model_dump(), config.seed, config.extract.chunk_tokens]


def _summarize(config: RunConfig, folders: Folders, out: Artifact, progress: Progress) -> dict[str, Any]:
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
    keys = {
        stage.name: _manifest_key(stage, folders) for stage in STAGES if stage.name in ("corpus", "extract")
    }
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
        key = str(_manifest_key(stage_named("extract"), folders))
        for chunk in chunks:
            yield states.load(chunk, key)
            progress.advance(chunk.stop - chunk.start)


# --- collections -----------------------------------------------------------------------------------------------

READ_VALUES = 2**24
"""Values that a dictionary reads at once: 64 MB of float32."""


def _has_collections(config: RunConfig) -> bool:
    return bool(config.collections)


def _is_training(config: RunConfig) -> bool:
    return any(c.train is not None for c in config.collections)


def _models_read(config: RunConfig, tables: Sequence[CollectionTable]) -> Any:
    """What the activations of the models that these collections read depend on; None when none reads a model."""
    if config.model.adapter is not None and not any(table.hook_points for table in tables):
        return None
    others = {m for table in tables for m in table.models} - {"base", "adapted"}
    return [
        config.model.model_dump(exclude={"device", "base", "adapter"}),
        path_key(config.model.base),
        config.model.adapter and path_key(config.model.adapter),
        [path_key(name) for name in sorted(others)],
        config.extract.model_dump(include={"exclude_outliers", "calibration_documents"}),
    ]


def _train_depends_on(config: RunConfig, folders: Folders) -> Any:
    tables = [c for c in config.collections if c.train is not None]
    return [[c.model_dump(exclude={"path"}) for c in tables], _models_read(config, tables)]


def _train(config: RunConfig, folders: Folders, out: Artifact, progress: Progress) -> dict[str, Any]:
    from generator.measure.collections import open_source, train_collection
    from generator.measure.training.recovered import LossMeter
    from generator.measure.variants import Models

    corpus, activations, chunks = _stored_activations(config, folders)
    models = Models(config, corpus, progress)
    meter = LossMeter(config, corpus, progress, models)
    read = [_manifest_key(stage_named(name), folders) for name in stage_named("train").needs]
    facts: dict[str, Any] = {}
    for table in config.collections:
        if table.train is not None:
            # its own key, so that one that is finished stays when another changes or the run is killed
            key = content_key(read, table.model_dump(exclude={"path"}), _models_read(config, [table]))
            source = open_source(table, corpus, activations, chunks, models)
            facts |= train_collection(table, source, corpus, out.folder / table.name, progress, key, meter)
            source.close()
    return facts


def _collect_depends_on(config: RunConfig, folders: Folders) -> Any:
    return [
        config.summarize.model_dump(),
        config.seed,
        config.extract.chunk_tokens,
        [[c.model_dump(exclude={"path"}), path_key(c.path) if c.path else None] for c in config.collections],
        _models_read(config, config.collections),
    ]


SHARED_LATENTS = 2**16
"""Latents whose statistics are held at once: collections beyond them get a pass over the model of their own."""


def _collect(config: RunConfig, folders: Folders, out: Artifact, progress: Progress) -> dict[str, Any]:
    from generator.measure.collections import open_source, open_stream, with_hook_points
    from generator.measure.passes import can_share
    from generator.measure.training.recovered import LossMeter
    from generator.measure.variants import Models

    corpus, activations, chunks = _stored_activations(config, folders)
    models = Models(config, corpus, progress)
    meter = LossMeter(config, corpus, progress, models)
    finish = partial(_finish_collections, config, corpus, chunks, models, out, progress)
    facts: dict[str, Any] = {}
    group: list[tuple[CollectionTable, LatentStream]] = []
    for table in config.collections:
        table = with_hook_points(table, config)
        source = open_source(table, corpus, activations, chunks, models)
        stream = open_stream(
            table, config, source, corpus, folders.build / "dictionaries" / table.name, meter
        )
        source.close()  # its calibration is done; the pass over the whole text is its group's
        facts[f"n_latents_{table.name}"] = len(stream.channels)
        n_latents = sum(len(one.channels) for _, one in [*group, (table, stream)])
        if group and not (can_share(group[0][0], table, models) and n_latents <= SHARED_LATENTS):
            finish(group)
            group = []
        group.append((table, stream))
    finish(group)
    for table in config.collections:  # kept up to here, so that a killed stage repeats no pass
        shutil.rmtree(out.folder / f"{table.name}-unfinished", ignore_errors=True)
    return facts


def _finish_collections(
    config: RunConfig,
    corpus: Corpus,
    chunks: list[slice],
    models: Models,
    out: Artifact,
    progress: Progress,
    group: Sequence[tuple[CollectionTable, LatentStream]],
) -> None:
    """The summaries of collections that share a pass over the text."""
    from generator.summarize import dictionary_map, finish

    arguments = corpus, config.summarize, config.seed
    if group[0][0].hook_points:
        totals = _statistics_over_models(group, arguments, chunks, models, out, progress)
    else:
        totals = [_statistics_over_channels(stream, arguments, chunks, progress) for _, stream in group]
    for (table, stream), total in zip(group, totals):
        summary = finish(total, stream.directions, {"collections": {table.name: stream.facts}})
        plane = dictionary_map(stream.directions[1].vectors, summary.statistics["share_active"], config.seed)
        summary = replace(summary, loadings=stream.loadings, maps=[plane])
        summary.save(out.folder / f"{table.name}.h5")


def _statistics_over_channels(
    stream: LatentStream,
    arguments: tuple[Corpus, SummarizeTable, int],
    chunks: list[slice],
    progress: Progress,
) -> Accumulator:
    """Statistics of every latent over the adapter's channels, which lie on disk."""
    from generator.summarize import Accumulator

    total = Accumulator(stream.channels, *arguments)
    for chunk in chunks:
        for block in stream.blocks(stream.source.blocks(chunk, _block_tokens(stream.source.width))):
            total.add(block)
            progress.advance(block.n_tokens)
    return total


def _statistics_over_models(
    group: Sequence[tuple[CollectionTable, LatentStream]],
    arguments: tuple[Corpus, SummarizeTable, int],
    chunks: list[slice],
    models: Models,
    out: Artifact,
    progress: Progress,
) -> list[Accumulator]:
    """Statistics of every latent of some collections, from one pass over the models, kept chunk by chunk."""
    from generator.measure.passes import pass_of
    from generator.summarize.running import RunningTotal

    running = [
        RunningTotal(out.folder / f"{table.name}-unfinished", out.key, stream.channels, *arguments)
        for table, stream in group
    ]
    progress.advance(sum(total.stop for total in running))
    shared = pass_of([table for table, _ in group], models)
    for chunk in chunks:
        # of a killed pass, some may have taken this chunk and some not
        behind = [
            (s, total, total.new()) for (_, s), total in zip(group, running) if total.stop <= chunk.start
        ]
        orders = [stream.source.order for stream, _, _ in behind]
        for copies in shared.blocks(chunk, _block_tokens(shared.width), orders) if behind else ():
            for (stream, _, state), copy in zip(behind, copies):
                for block in stream.blocks([copy]):
                    state.add(block)
                    progress.advance(block.n_tokens)
        for _, total, state in behind:
            total.take(chunk, state)
    shared.close()
    return [total.total for total in running]


def _block_tokens(width: int) -> int:
    return max(1, min(BLOCK_TOKENS, READ_VALUES // width))


def _stored_activations(config: RunConfig, folders: Folders) -> tuple[Corpus, Activations, list[slice]]:
    """The corpus, and the adapter's activations if a collection reads them."""
    reads_adapter = config.model.adapter is not None and not all(c.hook_points for c in config.collections)
    if reads_adapter and not config.extract.keep_activations:
        raise FeaturebookError(
            "Dictionaries over the adapter's channels are trained and collected from stored activations. Set "
            "keep_activations = true in [extract]."
        )
    corpus = load_corpus(folders)
    return corpus, Activations(folders.build / "activations"), corpus.chunks(config.extract.chunk_tokens)


def _collected_tokens(config: RunConfig, folders: Folders) -> int | None:
    tokens = _corpus_tokens(config, folders)
    return tokens and tokens * len(config.collections)


# --- effects ---------------------------------------------------------------------------------------------------


def _has_effects(config: RunConfig) -> bool:
    return config.effects is not None and bool(config.effects.parts)


def _effects_depends_on(config: RunConfig, folders: Folders) -> Any:
    return [config.effects and config.effects.model_dump(), config.publish.picked, config.seed]


def _effects(config: RunConfig, folders: Folders, out: Artifact, progress: Progress) -> dict[str, Any]:
    from generator.measure.effects.run import EffectsRun
    from generator.measure.effects.stage import measure_effects

    summary = folders.build / "summary" / "summary.h5"
    run = EffectsRun(
        config=config,
        corpus=load_corpus(folders),
        activations=folders.build / "activations",
        adapter=Summary.load(summary) if _has_adapter(config) else None,
        latents={
            c.name: Summary.load(folders.build / "latents" / f"{c.name}.h5") for c in config.collections
        },
        trained=folders.build / "dictionaries",
        progress=progress,
    )
    return measure_effects(run, out.folder)


# --- analyze ---------------------------------------------------------------------------------------------------


def _is_analyzed(config: RunConfig) -> bool:
    return config.analyze is not None


def _analyze_depends_on(config: RunConfig, folders: Folders) -> Any:
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


def _analyze(config: RunConfig, folders: Folders, out: Artifact, progress: Progress) -> dict[str, Any]:
    import numpy as np

    from generator.measure.analyze.run import analyze_run
    from generator.summarize.hashing import doc_hash

    corpus = load_corpus(folders)
    assert config.analyze is not None
    # in the order in which documents get pages
    order = np.argsort(doc_hash(config.seed, np.arange(corpus.n_docs)), kind="stable")
    docs = order[np.diff(corpus.doc_offsets)[order] > 0][: config.analyze.divergence_documents].tolist()
    key = str(_manifest_key(stage_named("corpus"), folders))
    return analyze_run(config, corpus, out.folder, key, docs, progress)


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
    if all(_manifest_key(s, folders) for s in stages_of(config) if s.name not in shown):
        build(config, folders, only=shown, force=True)
    return texts


# --- publish ---------------------------------------------------------------------------------------------------


def _publish_depends_on(config: RunConfig, folders: Folders) -> Any:
    labels = [[path.name, file_key(path)] for path in sorted(folders.labels.glob("*.jsonl"))]
    return [*_published_from(config), path_key(str(folders.docs / "notes")), labels]


def _published_from(config: RunConfig) -> list[Any]:
    """What publishing reads beside the other stages, labels and notes."""
    # Pages cost seconds, so any change of the code that renders them renders them anew.
    code = path_key(str(Path(__file__).parent / "publish" / "**" / "*.py"))
    others = [
        [
            path_key(str(Path(other.build) / part))
            for part in ("summary/*.h5", "latents/*.h5", "activations/channels.h5")
        ]
        for other in config.publish.compare_with
    ]
    table = config.publish.model_dump(exclude={"compare_with": {"__all__": {"build"}}})
    return [table, others, config.name, code]


def _publish(config: RunConfig, folders: Folders, out: Artifact, progress: Progress) -> dict[str, Any]:
    from generator.publish import publish

    if not config.publish.bundle:
        _bundle_path(folders).unlink(missing_ok=True)  # of an earlier run file
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
        analysis=folders.build / "analysis" if _is_analyzed(config) else None,
        directions=Activations(folders.build / "activations").load_channels()[1]
        if config.publish.compare_with and _has_adapter(config)
        else [],
        kept=_kept(config, folders, out),
    )


def _kept(config: RunConfig, folders: Folders, out: Artifact) -> Kept:
    """What the last run left of pages, known by all that they are made of but labels and notes."""
    from generator.publish.kept import Kept

    stages = [
        _manifest_key(stage, folders)
        for stage in stages_of(config)
        if stage.name not in ("publish", "bundle")
    ]
    code = path_key(str(Path(__file__).parent / "*.py"))
    packages = [version(name) for name in ("numpy", "orjson", "pillow")]
    return Kept(out.folder, content_key(stages, _published_from(config), config.model_dump(), code, packages))


def _whole_summary(config: RunConfig, folders: Folders, corpus: Corpus) -> Summary:
    """Everything that was measured of channels: of the adapter's, then of each collection's."""
    paths = [folders.build / "summary" / "summary.h5"] if _has_adapter(config) else []
    paths += [folders.build / "latents" / f"{c.name}.h5" for c in config.collections]
    if paths:
        return join([Summary.load(path) for path in paths])
    from generator.summarize import blank_summary

    return blank_summary(corpus, config.summarize, config.seed, {})


def _all_findings(config: RunConfig, folders: Folders) -> dict[str, Findings]:
    """What the stages that need the model found out of single channels, by panel."""
    stages = [stage for stage in stages_of(config) if stage.name in ("effects", "analyze")]
    paths = [path for stage in stages for path in sorted((folders.build / stage.folder).glob("*.h5"))]
    return join_findings([load_findings(path) for path in paths])


def _has_pages(folders: Folders, manifest: dict[str, Any]) -> bool:
    return (folders.docs / "atlas" / "site.json").exists() and (
        folders.build / "shards" / "home.json"
    ).exists()


# --- bundle ----------------------------------------------------------------------------------------------------


def _offers_bundle(config: RunConfig) -> bool:
    return bool(config.publish.bundle)


def _bundle_depends_on(config: RunConfig, folders: Folders) -> Any:
    code = path_key(str(Path(__file__).parent / "publish" / "exchange" / "bundle" / "*"))
    return [config.publish.bundle, code]


def _bundle(config: RunConfig, folders: Folders, out: Artifact, progress: Progress) -> dict[str, Any]:
    from generator.publish.exchange.bundle import export_bundle

    path = _bundle_path(folders)
    facts = export_bundle(folders.build, path, parts=config.publish.bundle, progress=progress)
    return {name: facts[name] for name in ("n_files", "n_bytes")}


def _bundle_path(folders: Folders) -> Path:
    """Beside the shards, so that it is served with them."""
    return folders.build / "shards" / "bundle.zip"


STAGES = (
    Stage("corpus", "corpus", 1, (), _corpus_depends_on, _build_corpus, _unknown, "documents"),
    Stage("extract", "activations", 1, ("corpus",), _extract_depends_on, _extract, _corpus_tokens,
          is_wanted=_has_adapter, is_whole=_has_all_chunks),
    Stage("train", "dictionaries", 2, ("corpus", "extract"), _train_depends_on, _train, _unknown,
          is_wanted=_is_training),
    Stage("summarize", "summary", 2, ("corpus", "extract"), _summarize_depends_on, _summarize, _corpus_tokens,
          is_wanted=_has_adapter),
    Stage("collect", "latents", 4, ("corpus", "extract", "train"), _collect_depends_on, _collect, _collected_tokens,
          is_wanted=_has_collections),
    Stage("effects", "effects", 2, ("corpus", "extract", "summarize", "collect"), _effects_depends_on, _effects, _unknown,
          "channels", is_wanted=_has_effects),
    Stage("analyze", "analysis", 1, ("corpus",), _analyze_depends_on, _analyze, _unknown, is_wanted=_is_analyzed),
    Stage("publish", "publish", 1, ("corpus", "summarize", "collect", "effects", "analyze"), _publish_depends_on, _publish, _unknown,
          "pages", is_whole=_has_pages),
    Stage("bundle", "bundle", 1, ("publish",), _bundle_depends_on, _bundle, _unknown, "charts", is_wanted=_offers_bundle,
          is_whole=lambda folders, manifest: _bundle_path(folders).exists()),
)  # fmt: skip
