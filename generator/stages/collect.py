"""Stage ``collect``: the statistics of the latents of dictionaries."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from generator.artifacts import Artifact, path_key
from generator.blocks import BLOCK_TOKENS, Corpus
from generator.config import CollectionTable, RunConfig, SummarizeTable
from generator.progress import Progress
from generator.stages.corpus import n_tokens as corpus_tokens
from generator.stages.stage import Folders
from generator.stages.train import models_read, stored_activations

if TYPE_CHECKING:
    from generator.measure.collections import LatentStream
    from generator.measure.variants import Models
    from generator.summarize import Accumulator


READ_VALUES = 2**24
"""Values that a dictionary reads at once: 64 MB of float32."""

SHARED_LATENTS = 2**16
"""Latents whose statistics are held at once: collections beyond them get a pass over the model of their own."""


def is_wanted(config: RunConfig) -> bool:
    return bool(config.collections)


def depends_on(config: RunConfig, folders: Folders) -> Any:
    return [
        config.summarize.model_dump(),
        config.seed,
        config.extract.chunk_tokens,
        [[c.model_dump(exclude={"path"}), path_key(c.path) if c.path else None] for c in config.collections],
        models_read(config, config.collections),
    ]


def run(config: RunConfig, folders: Folders, out: Artifact, progress: Progress) -> dict[str, Any]:
    from generator.measure.collections import open_source, open_stream, with_hook_points
    from generator.measure.passes import can_share
    from generator.measure.training.recovered import LossMeter
    from generator.measure.variants import Models

    corpus, activations, chunks = stored_activations(config, folders)
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


def n_tokens(config: RunConfig, folders: Folders) -> int | None:
    tokens = corpus_tokens(config, folders)
    return tokens and tokens * len(config.collections)
