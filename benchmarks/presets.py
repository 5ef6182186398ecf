"""Training presets compared on a run's own activations: held-out FVU at equal L0.

    python -m generator build && python -m benchmarks.presets [BUILD]

Every dictionary is judged on the same held-out documents with one threshold chosen there so that k latents are active per
token on average; FVU in raw units. ``never active`` is the share of latents silent on all held-out tokens.
"""

import itertools
import sys
import tempfile
from pathlib import Path

import torch

from generator.blocks import Activations, Corpus
from generator.config import TrainSettings, TrainTable
from generator.measure.training import ActivationRows, train
from generator.measure.training.evaluate import at_l0, evaluate
from generator.measure.training.rows import Split
from generator.progress import Silent

HELD_OUT, SPLIT_SEED = 0.1, 42
CASES = [
    (8, 16, 1), (8, 16, 4), (8, 4, 4), (8, 4, 16),
    (32, 16, 4), (32, 4, 4),
]  # fmt: skip
"""Expansion, k, passes; each with both presets."""


def main() -> None:
    """Trains all cases and prints a table."""
    torch.set_num_threads(1)
    build = Path(sys.argv[1] if len(sys.argv) > 1 else "build")
    corpus = Corpus.load(build / "corpus" / "corpus.h5")
    activations = Activations(build / "activations")
    rows = ActivationRows(activations, corpus, _chunks(activations, corpus))
    held_out = Split(rows, HELD_OUT, SPLIT_SEED, takes_held_out=True)
    print("| expansion | k | passes | preset | FVU | never active |\n|---|---|---|---|---|---|")
    for (expansion, k, epochs), name in itertools.product(CASES, ("paper", "ours")):
        table = TrainTable(
            preset=name, expansion=expansion, k=k, epochs=epochs, held_out=HELD_OUT, seed=SPLIT_SEED
        )
        settings = TrainSettings(**table.model_dump(exclude={"preset"}))
        with tempfile.TemporaryDirectory() as folder:
            dictionary = train(rows, settings, Path(folder), Silent()).dictionary
        figures = evaluate(at_l0(dictionary, held_out, k), held_out)
        shown = f"**`{name}`**" if name == "ours" else f"`{name}`"
        print(
            f"| {expansion} | {k} | {epochs} | {shown} | {figures.fvu:.4f} | {figures.dead_share:.0%} |",
            flush=True,
        )


def _chunks(activations: Activations, corpus: Corpus) -> list[slice]:
    """The chunks that lie in the folder, from the names of their files."""
    starts = sorted(int(path.stem.split("-")[1]) for path in activations.folder.glob("tokens-*.h5"))
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], corpus.n_tokens])]


if __name__ == "__main__":
    main()
