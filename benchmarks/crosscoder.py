"""Latents per second that are collected from a crosscoder, beside encoding the whole dictionary for every batch of latents.

    python -m benchmarks.crosscoder [--places 2] [--d-model 512] [--features 8192] [--l0 32] [--tokens 8192] [--batch 256]

Rows: ours (everything that pages show: sparse encoding, all statistics, windows, pairs and neighbours, the summary written
to disk); the way of sae_vis' crosscoder fork (for each batch of ``--batch`` latents, all tokens are encoded by the whole
dictionary again, of which the batch's columns are kept, with the 20 strongest tokens and a histogram of 50 bins for each);
and a kinder one, which encodes the batch's latents alone. Of these two only ``--rounds`` batches are timed, one after
another with ours, and their time is taken times the number of batches. CPU time of one thread; the model's own time is in none
of them. The activations lie in memory for all three.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.collect import BLOCK, everything, setting
from generator.measure.dictionaries import Dictionary

TOP, BINS = 20, 50
"""Tokens and bins that the fork shows of a latent."""


def whole_per_batch(dictionary: Dictionary, x: torch.Tensor, chosen: slice) -> None:
    """One batch of latents from an encoding of all."""
    show(torch.cat([dictionary.encode(part)[:, chosen] for part in x.split(BLOCK)]))


def alone_per_batch(dictionary: Dictionary, x: torch.Tensor, chosen: slice) -> None:
    """One batch of latents, encoded alone."""
    W, b, bar = dictionary.W_enc[chosen], dictionary.b_enc[chosen], dictionary.activation.threshold[chosen]  # type: ignore[union-attr]
    parts = []
    for part in x.split(BLOCK):
        pre = torch.nn.functional.linear(dictionary.prepare(part), W, b)
        parts.append(pre.relu() * (pre > bar))
    show(torch.cat(parts))


def show(latents: torch.Tensor) -> None:
    """Strongest tokens and histogram of each latent."""
    latents.topk(min(TOP, len(latents)), dim=0)
    for column in latents.T:
        active = column[column > 0]
        if len(active):
            torch.histc(active, BINS)


def cpu_seconds(work: Callable[..., None], *arguments: object) -> float:
    """CPU time of one call."""
    began = time.process_time()
    work(*arguments)
    return time.process_time() - began


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (
        ("places", 2), ("d-model", 512), ("features", 8192), ("l0", 32), ("tokens", 8192), ("batch", 256), ("rounds", 3)
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    torch.set_num_threads(1)
    dictionary, x = setting(args.places * args.d_model, args.features, args.l0, args.tokens)
    n_batches = -(-args.features // args.batch)
    own: list[float] = []
    ratios: dict[str, list[float]] = {"whole dictionary per batch": [], "batch alone": []}
    for turn in range(args.rounds):
        chosen = slice(turn * args.batch, (turn + 1) * args.batch)
        own.append(cpu_seconds(everything, dictionary, x, TOP))
        for name, work in zip(ratios, (whole_per_batch, alone_per_batch)):
            ratios[name].append(cpu_seconds(work, dictionary, x, chosen) * n_batches / own[-1])
    ours = statistics.median(own)
    print(
        f"{args.places} places of {args.d_model}, {args.features} latents, {args.tokens} tokens, L0 about {args.l0}"
    )
    print(f"| ours, everything | {args.features / ours:,.0f} latents/s | 1.00 |")
    for name, found in ratios.items():
        ratio = statistics.median(found)
        print(f"| {name} of {args.batch} | {args.features / ours / ratio:,.0f} latents/s | {ratio:.2f} |")


if __name__ == "__main__":
    main()
