"""CPU time of publishing, beside the time that encoding the same shards as JSON takes alone.

``python -m benchmarks.publish [copies]``: the toy's 17 channels, copied, with about 80 examples of 41 tokens each, all in
memory. The text is the toy's, in which nearly every window has split characters: slower than ordinary text.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson

from generator.artifacts import MemoryWriter, to_json
from generator.progress import Silent
from generator.publish import publish
from generator.summaries import Profile, Ragged, Summary
from tests.toy import toy_channels, toy_config, toy_corpus, toy_summary, toy_values


def copied(summary: Summary, n: int) -> Summary:
    """The same channels n times, in further layers."""

    def tiled(ragged: Ragged) -> Ragged:
        lengths = np.tile(np.diff(ragged.offsets), n)
        return Ragged(np.cumsum([0, *lengths]), {name: np.tile(c, n) for name, c in ragged.columns.items()})

    channels = []
    for copy in range(n):
        for channel in summary.channels:
            identifier = f"lora/L{channel.layer + 2 * copy}/{copy}.{channel.id.removeprefix('lora/').replace('/', '.')}"
            layer = channel.layer + 2 * copy if channel.layer >= 0 else -1
            channels.append(replace(channel, id=identifier, layer=layer))
    profiles = {
        name: Profile(p.names, np.tile(p.mean, (n, 1)), np.tile(p.count, (n, 1)))
        for name, p in summary.profiles.items()
    }
    return replace(
        summary,
        channels=channels,
        statistics={name: np.tile(column, n) for name, column in summary.statistics.items()},
        quantiles=np.tile(summary.quantiles, (n, 1)),
        histogram_step=np.tile(summary.histogram_step, n),
        histogram_first=np.tile(summary.histogram_first, n),
        histogram=tiled(summary.histogram),
        bands={name: np.tile(column, (n, 1)) for name, column in summary.bands.items()},
        examples=tiled(summary.examples),
        top_tokens=tiled(summary.top_tokens),
        bottom_tokens=tiled(summary.bottom_tokens),
        neighbours={name: tiled(ragged) for name, ragged in summary.neighbours.items()},
        profiles=profiles,
        cosines=[],
    )


def main() -> None:
    """Prints one line per measurement."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    corpus, channels = toy_corpus(60, 200), toy_channels()
    small = toy_summary(corpus, channels, toy_values(corpus, channels), k=36, context=20)
    summary = copied(small, n)
    shards, docs = MemoryWriter(), MemoryWriter()
    began = time.process_time()
    publish(toy_config(), corpus, summary, shards, docs, Path("nowhere"), Silent())
    publishing = time.process_time() - began
    parsed = [orjson.loads(content) for content in shards.files.values()]
    began = time.process_time()
    for shard in parsed:
        to_json(shard)
    encoding = time.process_time() - began
    size = sum(map(len, shards.files.values())) / len(summary.channels)
    examples = len(small.examples.columns["doc"]) / len(small.channels)
    print(
        f"{len(summary.channels)} channels, {examples:.0f} examples each, {size / 1e3:.0f} kB of JSON a channel"
    )
    print(f"publish: {1e3 * publishing / len(summary.channels):.2f} ms CPU a channel, shard and page")
    print(
        f"encoding the same JSON alone: {1e3 * encoding / len(summary.channels):.2f} ms; ratio {publishing / encoding:.1f}"
    )


if __name__ == "__main__":
    main()
