"""Finding each latent's strongest tokens, side by side with the published fast collector and the bare product.

    python benchmarks/collect.py [--width 448] [--features 3584] [--l0 32] [--tokens 16384] [--top 32]

Rows: ours (sparse encoding, entries filtered by each latent's weakest kept value, then merged); everything that pages
show of a latent (the same encoding, all statistics, windows, pairs and neighbours, the summary written to disk); the rank-1
project's fast collector (dense encoding, then one insertion per token and active latent, by its own rule); dense
encoding with torch.topk per latent; and the float32 product of the encoder alone. Recall is against a sort of the
whole dense array. CPU time of one thread. ``--only-ours`` leaves out what needs a dense array of everything, so that
32,768 latents over 131,072 tokens can be measured; peak memory is printed.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from generator.blocks import Block, Corpus
from generator.config import SummarizeTable
from generator.measure.collect import collect, latent_channels
from generator.measure.dictionaries import Dictionary
from generator.measure.dictionaries.activations import JumpRelu
from generator.summarize import Accumulator, finish

BLOCK = 2048
"""Tokens at a time, for all rows, as in the published collector."""


def setting(width: int, features: int, l0: int, tokens: int) -> tuple[Dictionary, torch.Tensor]:
    """Heavy-tailed inputs and a random dictionary whose threshold leaves ``l0`` latents active per token."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(2 * width, width, generator=generator)
    active = torch.rand(tokens, len(directions), generator=generator) < 0.05
    x = (active * torch.empty(active.shape).exponential_(generator=generator)) @ directions / width**0.5
    W = torch.randn(features, width, generator=generator)
    W /= W.norm(dim=1, keepdim=True)
    sample = (x[:1024] @ W.T).flatten()
    bar = sample.topk(l0 * 1024).values[-1]
    zeros = torch.zeros(features), torch.zeros(width)
    return Dictionary(W, zeros[0], W, zeros[1], JumpRelu(torch.full((features,), float(bar)))), x


def ours(dictionary: Dictionary, x: torch.Tensor, top: int) -> np.ndarray:
    """Keys of the strongest tokens of every latent, (feature, top): larger is stronger, then earlier."""
    kept = np.zeros((dictionary.n_features, top), np.int64)
    for start in range(0, len(x), BLOCK):
        found = dictionary.encode_sparse(x[start : start + BLOCK])
        feature, value = found.feature.numpy(), found.value.numpy()
        keys = (value.view(np.int32).astype(np.int64) << 32) | (2**32 - 1 - (found.token.numpy() + start))
        better = keys > kept[feature, 0]
        merge(kept, feature[better], keys[better])
    return kept


def everything(dictionary: Dictionary, x: torch.Tensor, top: int) -> None:
    """What the pipeline does for a collection: all statistics from sparse blocks, and the finished summary on disk."""
    corpus = make_corpus(len(x))
    channels, directions = latent_channels(dictionary, "sae")
    accumulator = Accumulator(channels, corpus, SummarizeTable(k=top), 0)
    starts = range(0, len(x), 4 * BLOCK)
    parts = (x[start : start + 4 * BLOCK].numpy() for start in starts)
    blocks = (Block(start, part, np.ones(len(part), bool)) for start, part in zip(starts, parts))
    for block in collect(dictionary, blocks):
        accumulator.add(block)
    with tempfile.TemporaryDirectory() as folder:
        finish(accumulator, directions, {}).save(Path(folder) / "sae.h5")


def make_corpus(n_tokens: int) -> Corpus:
    """Documents of 256 tokens, ids by Zipf's law."""
    ids = np.minimum(np.random.default_rng(0).zipf(1.3, n_tokens), 19_999).astype(np.int32)
    offsets = np.arange(0, n_tokens + 1, 256)
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


def merge(kept: np.ndarray, feature: np.ndarray, keys: np.ndarray) -> None:
    """Puts keys into the rows of their latents, each row ascending; weaker ones fall out."""
    order = np.lexsort((keys, feature))
    feature, keys = feature[order], keys[order]
    rows, first = np.unique(feature, return_index=True)
    counts = np.diff(np.append(first, len(feature)))
    top = kept.shape[1]
    from_end = np.repeat(first + counts, counts) - 1 - np.arange(len(feature))
    strong = from_end < top
    fresh = np.zeros((len(rows), top), np.int64)
    fresh[np.repeat(np.arange(len(rows)), counts)[strong], top - 1 - from_end[strong]] = keys[strong]
    kept[rows] = np.sort(np.concatenate([kept[rows], fresh], 1), 1)[:, -top:]


def published(dictionary: Dictionary, x: torch.Tensor, top: int) -> np.ndarray:
    """The rank-1 project's ``FastTopKTracker.add_batch`` rule (3.1_collect_sae_features.py, lines 75-94), token by token.

    Its insertion overwrites the old maximum when a new one comes, and otherwise leaves rows unsorted; kept as it is.
    """
    values = np.full((dictionary.n_features, top), -np.inf, np.float32)
    tokens = np.zeros((dictionary.n_features, top), np.int64)
    for start in range(0, len(x), BLOCK):
        dense = dictionary.encode(x[start : start + BLOCK]).numpy()
        for token, latents in enumerate(dense):
            for feature in np.nonzero(latents > 0)[0]:
                value = latents[feature]
                if value > values[feature, 0]:
                    place = np.searchsorted(values[feature], value)
                    if place < top:
                        values[feature, :place] = values[feature, 1 : place + 1]
                        tokens[feature, :place] = tokens[feature, 1 : place + 1]
                    place = min(place, top - 1)
                    values[feature, place], tokens[feature, place] = value, start + token
    return np.where(
        np.isfinite(values), (values.view(np.int32).astype(np.int64) << 32) | (2**32 - 1 - tokens), 0
    )


def dense_topk(dictionary: Dictionary, x: torch.Tensor, top: int) -> np.ndarray:
    """Dense encoding, torch.topk per latent and block, merged."""
    kept = torch.zeros(dictionary.n_features, top, dtype=torch.int64)
    for start in range(0, len(x), BLOCK):
        dense = dictionary.encode(x[start : start + BLOCK])
        best = dense.topk(min(top, len(dense)), dim=0)
        keys = (best.values.view(torch.int32).long() << 32) | (2**32 - 1 - (best.indices + start))
        keys[best.values <= 0] = 0
        kept = torch.cat([kept, keys.T], 1).topk(top, dim=1, sorted=False).values
    return kept.numpy()


def product_alone(dictionary: Dictionary, x: torch.Tensor, top: int) -> None:
    """The encoder's float32 product and nothing else."""
    for start in range(0, len(x), BLOCK):
        torch.nn.functional.linear(x[start : start + BLOCK], dictionary.W_enc, dictionary.b_enc)


def truth(dictionary: Dictionary, x: torch.Tensor, top: int) -> np.ndarray:
    """Tokens of the strongest values of every latent, −1 where there are fewer, from one dense array of everything."""
    dense = dictionary.encode(x)
    best = dense.topk(top, dim=0)
    return torch.where(best.values > 0, best.indices, -1).T.numpy()


def recall(keys: np.ndarray, wanted: np.ndarray) -> float:
    """Share of the true strongest tokens that were found."""
    found = np.where(keys > 0, 2**32 - 1 - (keys & (2**32 - 1)), -2)
    hits = sum(len(np.intersect1d(a, b[b >= 0])) for a, b in zip(found, wanted))
    return hits / int((wanted >= 0).sum())


def timed(way: Callable, *arguments: object) -> tuple[float, np.ndarray | None]:
    """CPU seconds and what came out."""
    begun = time.process_time()
    out = way(*arguments)
    return time.process_time() - begun, out


def main() -> None:
    """Reads the options, measures, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("width", 448), ("features", 3584), ("l0", 32), ("tokens", 16384), ("top", 32)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only-ours", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dictionary, x = setting(options.width, options.features, options.l0, options.tokens)
    dictionary.encode_sparse(x[:64])  # makes the filter
    print(
        f"{options.width} -> {options.features}, {options.tokens} tokens, L0 about {options.l0}, top {options.top}"
    )
    print(f"filter in {dictionary.sparse_encoder.dtype}\n")
    print(f"{'':34} {'tokens/s':>9} {'ours ÷ it':>10} {'recall':>7}")
    ways: list[tuple[str, Callable]] = [
        ("the encoder's float32 product", product_alone),
        ("ours, strongest tokens", ours),
        ("ours, everything pages show", everything),
        ("published fast collector", published),
        ("dense, torch.topk per latent", dense_topk),
    ]
    found = [
        (name, *timed(way, dictionary, x, options.top)) for name, way in ways[: 3 if options.only_ours else 5]
    ]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    wanted = None if options.only_ours else truth(dictionary, x, options.top)
    for name, seconds, keys in found:
        share = f"{recall(keys, wanted):7.3f}" if keys is not None and wanted is not None else ""
        print(f"{name:34} {len(x) / seconds:9.0f} {seconds / found[1][1]:10.2f} {share}")
    print(f"\npeak memory of all rows: {peak:.1f} GB")


if __name__ == "__main__":
    main()
