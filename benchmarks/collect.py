"""Collecting a dictionary's latents, side by side with the published fast collector and the bare product.

    OMP_NUM_THREADS=1 python benchmarks/collect.py [--width 448] [--features 3584] [--l0 32] [--tokens 16384] [--document 256]
        [--context 20] [--top 32] [--rounds 3]

Rows: the float32 product of the encoder alone; our sparse encoding alone; ours, like for like with the published collector (each
latent's strongest tokens and the activations around them); everything that pages show of a latent (all statistics, windows, pairs
and neighbours, the summary written to disk); the rank-1 project's fast collector, its first pass (dense encoding, then one insertion
per token and active latent, by its own rule) and both its passes (the second encodes the examples' surroundings again, 1,000
examples at a time); and dense encoding with torch.topk per latent, against which recall is counted.

CPU time of one thread; the rows take turns, and the median over rounds is printed. ``--second-pass N`` measures the published second
pass once, on N of its chunks of 1,000 examples spread over all, times their number: all of it takes hours in a large corpus.
``--only-ours`` leaves out the dense rows, so that 32,768 latents over 131,072 tokens can be measured; peak memory is printed.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from generator.blocks import Block, Corpus
from generator.config import SummarizeTable
from generator.measure.collect import collect, latent_channels
from generator.measure.dictionaries import Dictionary
from generator.measure.dictionaries.activations import JumpRelu
from generator.summarize import Accumulator, finish
from generator.summarize.entries import Entries
from generator.summarize.extremes import Top
from generator.summarize.lists import places
from generator.summarize.view import Scope

BLOCK = 2048
"""Tokens that the dense rows take at a time, as in the published collector."""

OUR_BLOCK = 8192
"""Tokens at a time of ours, as in the pipeline."""

CHUNK = 1000
"""Examples that the published second pass takes at once."""


@dataclass(frozen=True)
class Setting:
    """What every row works on."""

    dictionary: Dictionary
    x: torch.Tensor
    top: int
    """Strongest tokens kept of a latent."""
    document: int
    """Tokens of a document."""
    context: int
    """Tokens shown on either side of an example."""


def inputs(width: int, features: int, l0: int, tokens: int) -> tuple[Dictionary, torch.Tensor]:
    """Heavy-tailed inputs and a random dictionary whose threshold leaves ``l0`` latents active per token."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(2 * width, width, generator=generator)
    x = torch.empty(tokens, width)
    for part in x.split(1 << 16):
        active = torch.rand(len(part), len(directions), generator=generator) < 0.05
        part[:] = (active * torch.empty(active.shape).exponential_(generator=generator)) @ directions
    x /= width**0.5
    W = torch.randn(features, width, generator=generator)
    W /= W.norm(dim=1, keepdim=True)
    sample = (x[:1024] @ W.T).flatten()
    bar = sample.topk(l0 * 1024).values[-1]
    zeros = torch.zeros(features), torch.zeros(width)
    return Dictionary(W, zeros[0], W, zeros[1], JumpRelu(torch.full((features,), float(bar)))), x


def blocks(x: torch.Tensor) -> Iterator[Block]:
    """The inputs as the pipeline would give them."""
    for start in range(0, len(x), OUR_BLOCK):
        part = x[start : start + OUR_BLOCK].numpy()
        yield Block(start, part, np.ones(len(part), bool))


def encoding_alone(s: Setting) -> None:
    """Our sparse encoding and nothing else."""
    for _ in collect(s.dictionary, blocks(s.x)):
        pass


def ours(s: Setting) -> np.ndarray:
    """Tokens of the strongest values of every latent, (feature, top), with windows: the pipeline's own statistic, alone."""
    settings = SummarizeTable(k=s.top, context=s.context, per_document=0)
    scope = Scope(latent_channels(s.dictionary, "sae")[0], make_corpus(len(s.x), s.document), settings, 0)
    strongest = Top(scope)
    for block in collect(s.dictionary, blocks(s.x)):
        strongest.add_sparse(Entries(block, scope))
    found = strongest.result()
    tokens = np.full((s.dictionary.n_features, s.top), -1)
    tokens[found.channel, places(found.channel)] = found.token
    return tokens


def everything(s: Setting) -> None:
    """What the pipeline does for a collection: all statistics from sparse blocks, and the finished summary on disk."""
    channels, directions = latent_channels(s.dictionary, "sae")
    corpus = make_corpus(len(s.x), s.document)
    accumulator = Accumulator(channels, corpus, SummarizeTable(k=s.top, context=s.context), 0)
    for block in collect(s.dictionary, blocks(s.x)):
        accumulator.add(block)
    with tempfile.TemporaryDirectory() as folder:
        finish(accumulator, directions, {}).save(Path(folder) / "sae.h5")


def make_corpus(n_tokens: int, document: int) -> Corpus:
    """Documents of equal length, ids by Zipf's law."""
    ids = np.minimum(np.random.default_rng(0).zipf(1.3, n_tokens), 19_999).astype(np.int32)
    offsets = np.arange(0, n_tokens + 1, document)
    return Corpus(
        token_ids=ids,
        doc_offsets=offsets,
        is_measured=np.ones(n_tokens, bool),
        pieces=np.stack([offsets[:-1], offsets[:-1], offsets[1:]], axis=1),
        token_bytes=[b" w%d" % i for i in range(20_000)],
        is_special=np.zeros(20_000, bool),
        doc_names=[str(i) for i in range(len(offsets) - 1)],
        doc_metadata=[{}] * (len(offsets) - 1),
    )


def published(s: Setting) -> np.ndarray:
    """The rank-1 project's ``FastTopKTracker.add_batch`` rule (3.1_collect_sae_features.py, lines 75-94), token by token.

    Its insertion overwrites the old maximum when a new one comes, and otherwise leaves rows unsorted; kept as it is.
    """
    values = np.full((s.dictionary.n_features, s.top), -np.inf, np.float32)
    tokens = np.zeros((s.dictionary.n_features, s.top), np.int64)
    for start in range(0, len(s.x), BLOCK):
        dense = s.dictionary.encode(s.x[start : start + BLOCK]).numpy()
        for token, latents in enumerate(dense):
            for feature in np.nonzero(latents > 0)[0]:
                value = latents[feature]
                if value > values[feature, 0]:
                    place = np.searchsorted(values[feature], value)
                    if place < s.top:
                        values[feature, :place] = values[feature, 1 : place + 1]
                        tokens[feature, :place] = tokens[feature, 1 : place + 1]
                    place = min(place, s.top - 1)
                    values[feature, place], tokens[feature, place] = value, start + token
    return np.where(np.isfinite(values), tokens, -1)


def second_pass(s: Setting, tokens: np.ndarray, n_chunks: int) -> float:
    """Seconds of the published second pass: chunks of examples, grouped by document, and the part of it around them encoded again.

    Args:
        s: The setting.
        tokens: What the first pass found.
        n_chunks: Chunks that are measured; their time is multiplied up to all.
    """
    feature, place = np.nonzero(tokens >= 0)
    token = tokens[feature, place]
    starts = np.arange(0, len(token), CHUNK)
    measured = np.unique(np.linspace(0, len(starts) - 1, min(n_chunks, len(starts))).round().astype(int))
    begun = time.process_time()
    for start in starts[measured].tolist():
        chunk = slice(start, start + CHUNK)
        doc = token[chunk] // s.document
        for index in np.unique(doc):
            mine = np.flatnonzero(doc == index) + start
            first, stop = index * s.document, min((index + 1) * s.document, len(s.x))
            low = max(first, int(token[mine].min()) - s.context)
            dense = s.dictionary.encode(s.x[low : min(stop, int(token[mine].max()) + s.context + 1)]).numpy()
            for i in mine:
                left = max(low, int(token[i]) - s.context) - low
                dense[left : int(token[i]) + s.context + 1 - low, feature[i]].copy()
    return (time.process_time() - begun) * len(starts) / len(measured)


def dense_topk(s: Setting) -> np.ndarray:
    """Dense encoding, torch.topk per latent and block, merged."""
    kept = torch.zeros(s.dictionary.n_features, s.top, dtype=torch.int64)
    for start in range(0, len(s.x), BLOCK):
        dense = s.dictionary.encode(s.x[start : start + BLOCK])
        best = dense.topk(min(s.top, len(dense)), dim=0)
        keys = (best.values.view(torch.int32).long() << 32) | (2**32 - 1 - (best.indices + start))
        keys[best.values <= 0] = 0
        kept = torch.cat([kept, keys.T], 1).topk(s.top, dim=1, sorted=False).values
    return np.where(kept > 0, 2**32 - 1 - (kept & (2**32 - 1)), -1)


def product_alone(s: Setting) -> None:
    """The encoder's float32 product and nothing else."""
    for start in range(0, len(s.x), BLOCK):
        torch.nn.functional.linear(s.x[start : start + BLOCK], s.dictionary.W_enc, s.dictionary.b_enc)


def recall(tokens: np.ndarray, wanted: np.ndarray) -> float:
    """Share of the true strongest tokens that were found."""
    hits = sum(len(np.intersect1d(a[a >= 0], b[b >= 0])) for a, b in zip(tokens, wanted))
    return hits / int((wanted >= 0).sum())


PRODUCT, ENCODING = "the encoder's float32 product", "ours, encoding alone"

OURS: dict[str, Callable] = {
    PRODUCT: product_alone,
    ENCODING: encoding_alone,
    "ours, strongest tokens with windows": ours,
    "ours, everything pages show": everything,
}

FIRST, BOTH, DENSE = (
    "published, first pass (no windows)",
    "published, both passes",
    "dense, torch.topk per latent",
)

OTHERS: dict[str, Callable] = {FIRST: published, DENSE: dense_topk}

SIZES = (
    ("width", 448), ("features", 3584), ("l0", 32), ("tokens", 16384), ("document", 256), ("context", 20),
    ("top", 32), ("rounds", 3), ("second-pass", 0),
)  # fmt: skip


def timed(way: Callable, s: Setting) -> tuple[float, np.ndarray | None]:
    """CPU seconds and what came out."""
    begun = time.process_time()
    out = way(s)
    return time.process_time() - begun, out


def main() -> None:
    """Reads the options, measures, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in SIZES:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only-ours", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dictionary, x = inputs(options.width, options.features, options.l0, options.tokens)
    s = Setting(dictionary, x, options.top, options.document, options.context)
    dictionary.encode_sparse(x[:64])  # makes the filter
    print(
        f"{options.width} -> {options.features}, {options.tokens} tokens, L0 about {options.l0}, top {options.top}"
    )
    print(f"filter in {dictionary.sparse_encoder.dtype}\n")
    ways = OURS if options.only_ours else OURS | OTHERS
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, np.ndarray | None] = {}
    for _ in range(options.rounds):
        for name, way in ways.items():
            spent, found[name] = timed(way, s)
            seconds[name].append(spent)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    middle = {name: statistics.median(spent) for name, spent in seconds.items()}
    if options.second_pass and FIRST in ways:
        tokens = found[BOTH] = found[FIRST]
        assert tokens is not None
        middle[BOTH] = middle[FIRST] + second_pass(s, tokens, options.second_pass)
    product, alike, whole = (middle[name] for name in OURS if name != ENCODING)
    print(f"{'':40} {'tokens/s':>9} {'÷ product':>10} {'÷ alike':>8} {'÷ all':>7} {'recall':>7}")
    for name, spent in middle.items():
        tokens, wanted = found[name], found.get(DENSE)
        share = f"{recall(tokens, wanted):7.3f}" if tokens is not None and wanted is not None else ""
        ratios = f"{spent / product:10.2f} {spent / alike:8.2f} {spent / whole:7.2f}"
        print(f"{name:40} {len(x) / spent:9.0f} {ratios} {share}")
    print(
        f"\nTimes over: product, ours like for like, ours everything. Peak memory of all rows: {peak:.1f} GB"
    )


if __name__ == "__main__":
    main()
