"""Speed of ``generator.summarize`` beside two yardsticks, measured in one process in turns.

* One ``amax`` + ``amin`` over the same activations: what merely looking at each value twice costs.
* The method of the dashboards that this replaces: for every token and channel in a Python loop two heaps of (|value|,
  counter, document, token) and a list to which every value is appended for the histogram.

    OMP_NUM_THREADS=1 python benchmarks/summarize.py [--channels 448] [--blocks 64]

CPU time of one thread. Ratios carry to other machines; absolute figures do not.
"""

import argparse
import heapq
import time
from collections.abc import Callable

import numpy as np

from generator.blocks import Block, Channel, Corpus
from generator.config import SummarizeTable
from generator.summarize.accumulator import STATISTICS, Accumulator
from generator.summarize.view import View

BLOCK_TOKENS, DOC_TOKENS, CHUNK_BLOCKS, VOCABULARY = 8192, 256, 8, 20_000
HEAP_TOKENS = 512
"""The Python method is timed on so many tokens of each block: its cost per token does not depend on how many there are."""


class HeapTracker:
    """Top-k of one direction as the replaced dashboards kept it: two heaps, a counter against ties, a list of values."""

    def __init__(self, k: int) -> None:
        self.k, self.counter = k, 0
        self.positive: list[tuple[float, int, int, int]] = []
        self.negative: list[tuple[float, int, int, int]] = []
        self.values: list[float] = []

    def add(self, activation: float, doc: int, token: int) -> None:
        """Takes in one activation."""
        self.counter += 1
        self.values.append(activation)
        heap = self.positive if activation >= 0 else self.negative
        entry = (abs(activation), self.counter, doc, token)
        if len(heap) < self.k:
            heapq.heappush(heap, entry)
        elif entry[0] > heap[0][0]:
            heapq.heapreplace(heap, entry)


def run_heaps(trackers: list[HeapTracker], values: np.ndarray, doc: np.ndarray, position: np.ndarray) -> None:
    """The loop over tokens and directions."""
    for row, d, p in zip(values, doc.tolist(), position.tolist()):
        for tracker, value in zip(trackers, row):
            tracker.add(float(value), d, p)


def make_corpus(n_tokens: int, rng: np.random.Generator) -> Corpus:
    """Documents of equal length with Zipf-distributed tokens and blank lines."""
    ids = np.minimum(rng.zipf(1.3, n_tokens), VOCABULARY - 1).astype(np.int32)
    ids[rng.random(n_tokens) < 0.02] = 0
    offsets = np.arange(0, n_tokens + 1, DOC_TOKENS)
    words = [b"\n\n", *(b" w%d" % i for i in range(1, VOCABULARY))]
    n_docs = len(offsets) - 1
    return Corpus(
        token_ids=ids,
        doc_offsets=offsets,
        is_measured=np.ones(n_tokens, bool),
        pieces=np.stack([offsets[:-1], offsets[:-1], offsets[1:]], axis=1),
        token_bytes=words,
        is_special=np.zeros(VOCABULARY, bool),
        doc_names=[str(i) for i in range(n_docs)],
        doc_metadata=[{}] * n_docs,
    )


def make_channels(n: int) -> list[Channel]:
    """Signed channels of one collection; the root mean square of x·|x| is √3."""
    rms = 3**0.5
    return [
        Channel(f"lora/L{i}/up_proj", "lora", "lora", layer=i, reference_rms=rms, threshold=2 * rms)
        for i in range(n)
    ]


def cpu_ms(function: Callable[[], object]) -> float:
    """CPU time of one call in milliseconds."""
    start = time.process_time()
    function()
    return 1e3 * (time.process_time() - start)


def measure(n_channels: int, n_blocks: int) -> dict[str, list[float]]:
    """Milliseconds per block of every part, one entry per block."""
    rng = np.random.default_rng(0)
    corpus, channels = make_corpus(n_blocks * BLOCK_TOKENS, rng), make_channels(n_channels)
    settings = SummarizeTable()
    steady = Accumulator(channels, corpus, settings, 0)  # goes on through all blocks
    trackers = [HeapTracker(settings.k) for _ in channels]
    times: dict[str, list[float]] = {}

    def note(name: str, function: Callable[[], object]) -> None:
        times.setdefault(name, []).append(cpu_ms(function))

    for index in range(n_blocks):
        if index % CHUNK_BLOCKS == 0:
            chunk = Accumulator(channels, corpus, settings, 0)  # the pipeline makes one per chunk
        values = rng.standard_normal((BLOCK_TOKENS, n_channels), dtype=np.float32)
        values *= np.abs(values)
        block = Block(index * BLOCK_TOKENS, values, np.ones(BLOCK_TOKENS, bool))
        note("floor", lambda v=values: (v.max(axis=0), v.min(axis=0)))  # type: ignore[misc]
        view = View(block, steady.scope)
        note("tiles", lambda v=view: v.tile_max)  # type: ignore[misc]
        note("top-k", lambda v=view: [steady.statistics[s].add(v) for s in ("top", "bottom")])  # type: ignore[misc]
        note("transposed copy", lambda v=view: v.transposed)  # type: ignore[misc]
        for name in STATISTICS:
            if name not in ("top", "bottom"):
                note(name, lambda v=view, n=name: steady.statistics[n].add(v))  # type: ignore[misc]
        note("whole", lambda b=block, c=chunk: c.add(b))  # type: ignore[misc]
        part = slice(index * BLOCK_TOKENS, index * BLOCK_TOKENS + HEAP_TOKENS)
        heap = cpu_ms(
            lambda v=values, p=part: run_heaps(  # type: ignore[misc]
                trackers, v[:HEAP_TOKENS], corpus.doc[p], corpus.position[p]
            )
        )
        times.setdefault("heaps", []).append(heap * BLOCK_TOKENS / HEAP_TOKENS)
        for tracker in trackers:
            tracker.values.clear()
    return times


def report(times: dict[str, list[float]], n_channels: int) -> None:
    """Prints the table."""
    t = {name: np.array(column) for name, column in times.items()}
    late = slice(3 * len(t["floor"]) // 4, None)
    print(
        f"{n_channels} channels, blocks of {BLOCK_TOKENS} tokens, {len(t['floor'])} blocks; CPU ms per block"
    )
    print(f"{'part':<18}{'all, mean':>12}{'steady, median':>16}{'floor / part, steady':>22}")
    for name, column in t.items():
        ratio = np.median(t["floor"][late] / column[late])
        print(f"{name:<18}{column.mean():>12.2f}{np.median(column[late]):>16.2f}{ratio:>22.3f}")
    search = t["tiles"] + t["top-k"]
    speed = BLOCK_TOKENS / t["whole"].mean() / 1e3
    print(
        f"\ntop-k + bottom-k, steady, over amax + amin: {_ratio(t['floor'][late] / search[late])} (goal 0.4)"
    )
    print(f"the same from a cold start:                 {t['floor'].sum() / search.sum():.2f}")
    print(f"whole summary, one accumulator per chunk of {CHUNK_BLOCKS} blocks: {speed:.3f} Mtok/s")
    print(f"whole summary over the Python heaps:        {_ratio(t['heaps'] / t['whole'])} (goal 50)")
    print(f"top-k + moments + histogram over the heaps: {_ratio(t['heaps'] / _like_for_like(t, search))}")


def _like_for_like(t: dict[str, np.ndarray], search: np.ndarray) -> np.ndarray:
    """What the Python method computes: both lists, a histogram, mean and deviation."""
    return search + t["transposed copy"] + t["moments"] + t["histogram"]


def _ratio(ratios: np.ndarray) -> str:
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    return f"{middle:.2f} (quartiles {low:.2f} to {high:.2f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=int, default=448)
    parser.add_argument("--blocks", type=int, default=64)
    arguments = parser.parse_args()
    report(measure(arguments.channels, arguments.blocks), arguments.channels)
