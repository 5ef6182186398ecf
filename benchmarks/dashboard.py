"""A dictionary collected and its pages written, beside sae-dashboard 0.8.0 on the same activations.

    python -m benchmarks.dashboard --peer-python PATH [--features 1024] [--tokens 131072] [--l0 16] [--top 30]

sae-dashboard does not install beside Featurebook; PATH is the python of an environment of its own:

    pip install sae-dashboard==0.8.0 transformer-lens==2.17.0 transformers==4.56.2 sae-lens==6.29.1 \
        'numpy<2' 'safetensors<0.5' 'datasets<4' 'pyarrow<22'

Both read a standard autoencoder over the residual stream (width 64) of the same random model, on one thread; CPU seconds. The
model's own pass over the text is in both: sae-dashboard makes it within its collecting, ours is the pass timed there. Both
keep the 30 strongest examples; sae-dashboard's pages also list logit effects, ours neighbours, bands, profiles and documents.
"""

import argparse
import json
import resource
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.synthetic import synthetic_config
from generator.artifacts import Writer
from generator.blocks import Block, Corpus
from generator.config import SummarizeTable
from generator.errors import FeaturebookError
from generator.measure.collect import collect, latent_channels
from generator.measure.dictionaries import Dictionary
from generator.measure.dictionaries.activations import Relu
from generator.progress import Silent
from generator.publish import publish
from generator.summaries import Summary
from generator.summarize import Accumulator, finish

BLOCK = 8192
"""Tokens at a time, as in the pipeline."""

PEER = Path(__file__).with_name("dashboard_peer.py")


def peer(python: Path, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Runs sae-dashboard's half; its figures.

    Raises:
        FeaturebookError: there is no such python, or its half failed.
    """
    if not python.is_file():
        raise FeaturebookError(
            f"There is no python at {python}. Make an environment for sae-dashboard: see the top of {Path(__file__).name}."
        )
    sizes = [str(n) for n in (options.features, options.tokens, options.l0)]
    run = subprocess.run([python, PEER, folder, *sizes], capture_output=True, text=True)
    if run.returncode:
        raise FeaturebookError(f"sae-dashboard's half failed:\n{run.stderr[-2000:]}")
    figures: dict[str, float] = json.loads((folder / "peer.json").read_text())
    return figures


def make_corpus(ids: np.ndarray) -> Corpus:
    """The same tokens; a document is a row."""
    n_docs, length = ids.shape
    offsets = np.arange(n_docs + 1) * length
    n_words = int(ids.max()) + 1
    return Corpus(
        token_ids=ids.ravel().astype(np.int32),
        doc_offsets=offsets,
        is_measured=np.ones(ids.size, bool),
        pieces=np.stack([offsets[:-1], offsets[:-1], offsets[1:]], axis=1),
        token_bytes=[b" w%d" % i for i in range(n_words)],
        is_special=np.zeros(n_words, bool),
        doc_names=[str(doc) for doc in range(n_docs)],
        doc_metadata=[{}] * n_docs,
        tokenizer={"name": "made-up", "vocabulary": n_words},
    )


def ours(folder: Path, top: int) -> dict[str, float]:
    """Collects from the activations that sae-dashboard's half kept, and writes shards and pages."""
    kept = np.load(folder / "peer.npz")
    weights = {name: torch.from_numpy(kept[name]) for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
    weights["W_enc"] = weights["W_enc"].T.contiguous()
    corpus, x = make_corpus(kept["ids"]), kept["x"]
    began = time.process_time()
    dictionary = Dictionary(**weights, activation=Relu())
    channels, directions = latent_channels(dictionary, "sae")
    accumulator = Accumulator(channels, corpus, SummarizeTable(k=top), 0)
    parts = ((start, x[start : start + BLOCK]) for start in range(0, len(x), BLOCK))
    for block in collect(dictionary, (Block(start, part, np.ones(len(part), bool)) for start, part in parts)):
        accumulator.add(block)
    finish(accumulator, directions, {}).save(folder / "sae.h5")
    collected = time.process_time() - began
    began = time.process_time()
    summary = Summary.load(folder / "sae.h5")
    shards, pages = Writer(folder / "shards"), Writer(folder / "docs")
    publish(synthetic_config(), corpus, summary, shards, pages, folder / "notes", Silent())
    written = time.process_time() - began
    files = [p for name in ("shards", "docs") for p in (folder / name).rglob("*") if p.is_file()]
    return {
        "collect": collected,
        "write": written,
        "bytes": sum(path.stat().st_size for path in files),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def main() -> None:
    """Reads the options, measures both, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer-python", type=Path, required=True)
    for name, default in (("features", 1024), ("tokens", 131_072), ("l0", 16), ("top", 30)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        try:
            theirs = peer(options.peer_python, Path(folder), options)
        except FeaturebookError as error:
            raise SystemExit(str(error)) from None
        own = ours(Path(folder), options.top)
    own["collect"] += theirs["forward"]
    print(
        f"64 -> {options.features}, {options.tokens} tokens, L0 about {options.l0}; CPU seconds of one thread"
    )
    print(f"the model's pass, in both: {theirs['forward']:.1f} s\n")
    print(f"{'':24} {'sae-dashboard':>14} {'ours':>9} {'ratio':>7}")
    for figures in (theirs, own):
        figures["both"] = figures["collect"] + figures["write"]
        figures["kilobytes"] = figures["bytes"] / options.features / 1e3
        figures["gigabytes"] = figures["peak"] / 1e9
    for name, label in (
        ("collect", "collect, s"),
        ("write", "write pages, s"),
        ("both", "both, s"),
        ("kilobytes", "kB a latent"),
        ("gigabytes", "peak memory, GB"),
    ):
        print(f"{label:24} {theirs[name]:14.2f} {own[name]:9.2f} {theirs[name] / own[name]:7.1f}")


if __name__ == "__main__":
    main()
