"""Finding each latent's strongest tokens, side by side with the published fast collector and the bare product.

    python benchmarks/collect.py [--width 448] [--features 3584] [--l0 32] [--tokens 16384] [--top 32]

Four rows: ours (sparse encoding, entries filtered by each latent's weakest kept value, then merged); the rank-1
project's fast collector (dense encoding, then one insertion per token and active latent, by its own rule); dense
encoding with torch.topk per latent; and the float32 product of the encoder alone. Recall is against a sort of the
whole dense array. CPU time of one thread.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from generator.measure.dictionaries import Dictionary
from generator.measure.dictionaries.activations import JumpRelu

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
    options = parser.parse_args()
    torch.set_num_threads(1)
    dictionary, x = setting(options.width, options.features, options.l0, options.tokens)
    wanted = truth(dictionary, x, options.top)
    dictionary.encode_sparse(x[:64])  # makes the filter
    print(
        f"{options.width} -> {options.features}, {options.tokens} tokens, L0 about {options.l0}, top {options.top}"
    )
    print(f"filter in {dictionary.sparse_encoder.dtype}\n")
    print(f"{'':34} {'tokens/s':>9} {'ours ÷ it':>10} {'recall':>7}")
    reference = 0.0
    for name, way in (
        ("ours", ours),
        ("published fast collector", published),
        ("dense, torch.topk per latent", dense_topk),
        ("the encoder's float32 product", product_alone),
    ):
        seconds, keys = timed(way, dictionary, x, options.top)
        reference = reference or seconds
        share = f"{recall(keys, wanted):7.3f}" if keys is not None else ""
        print(f"{name:34} {len(x) / seconds:9.0f} {seconds / reference:10.2f} {share}")


if __name__ == "__main__":
    main()
