"""A dictionary collected and its pages written, beside sae-dashboard 0.8.0 on the same activations.

    OMP_NUM_THREADS=1 python -m benchmarks.dashboard --peer-python PATH [--features 1024] [--tokens 131072] [--l0 16] [--top 30]

sae-dashboard does not install beside Featurebook; PATH is the python of an environment of its own:

    pip install sae-dashboard==0.8.0 transformer-lens==2.17.0 transformers==4.56.2 sae-lens==6.29.1 \
        'numpy<2' 'safetensors<0.5' 'datasets<4' 'pyarrow<22'

(and without torchvision, if its build does not fit torch's: nothing here needs it).

Both read a standard autoencoder over the residual stream (width 64) of the same random model, on one thread; CPU seconds. Each
makes its own pass over the text, which collecting includes: sae-dashboard with TransformerLens, ours over the same weights as a
Hugging Face GPT-2, through the hooks of the pipeline; that the activations are equal is checked. Both keep the 30 strongest examples;
sae-dashboard's pages also list logit effects, ours neighbours, pairs, bands, profiles and documents.
"""

import argparse
import json
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from transformers import GPT2Config, GPT2Model

from benchmarks.synthetic import synthetic_config
from generator.artifacts import Writer
from generator.blocks import Block, Corpus
from generator.config import SummarizeTable
from generator.errors import FeaturebookError
from generator.measure.backends import HookBackend, flat
from generator.measure.collect import collect, latent_channels
from generator.measure.dictionaries import Dictionary
from generator.measure.dictionaries.activations import Relu
from generator.measure.hook_points import resolve
from generator.progress import Silent
from generator.publish import publish
from generator.summaries import Summary
from generator.summarize import Accumulator, finish

BLOCK = 8192
"""Tokens at a time, as in the pipeline."""

ROWS = 16
"""Documents in our pass of the model, which then stays in the cache; sae-dashboard takes 64, and no less time with 16."""

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


def as_gpt2(kept: Mapping[str, np.ndarray]) -> GPT2Model:
    """The model of sae-dashboard's half in Hugging Face's form."""

    def of(name: str) -> torch.Tensor:
        return torch.from_numpy(kept[f"model.{name}"])

    def state(at: str, to: str) -> Iterator[tuple[str, torch.Tensor]]:
        heads = [
            of(f"{at}.attn.W_{part}").transpose(0, 1).flatten(1) for part in "QKV"
        ]  # (width, head · d_head)
        yield f"{to}.attn.c_attn.weight", torch.cat(heads, 1)
        yield f"{to}.attn.c_attn.bias", torch.cat([of(f"{at}.attn.b_{part}").flatten() for part in "QKV"])
        yield f"{to}.attn.c_proj.weight", of(f"{at}.attn.W_O").flatten(0, 1)
        yield f"{to}.attn.c_proj.bias", of(f"{at}.attn.b_O")
        for theirs, its in (("mlp.W_in", "mlp.c_fc.weight"), ("mlp.b_in", "mlp.c_fc.bias"), ("mlp.W_out", "mlp.c_proj.weight"), ("mlp.b_out", "mlp.c_proj.bias"), ("ln1.w", "ln_1.weight"), ("ln1.b", "ln_1.bias"), ("ln2.w", "ln_2.weight"), ("ln2.b", "ln_2.bias")):  # fmt: skip
            yield f"{to}.{its}", of(f"{at}.{theirs}")

    words, places = of("embed.W_E"), of("pos_embed.W_pos")
    n_heads = of("blocks.0.attn.W_Q").shape[0]
    n_layers = len({name.split(".")[2] for name in kept if name.startswith("model.blocks.")})
    config = GPT2Config(
        vocab_size=len(words), n_positions=len(places), n_embd=words.shape[1], n_layer=n_layers, n_head=n_heads,
        n_inner=of("blocks.0.mlp.b_in").shape[0], activation_function="gelu_new", bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = GPT2Model(config).eval()
    layers = dict(pair for i in range(n_layers) for pair in state(f"blocks.{i}", f"h.{i}"))
    unused = model.load_state_dict({"wte.weight": words, "wpe.weight": places, **layers}, strict=False)
    assert set(unused.missing_keys) <= {"ln_f.weight", "ln_f.bias"} and not unused.unexpected_keys, unused
    return model


def activations(model: GPT2Model, ids: np.ndarray) -> np.ndarray:
    """What the autoencoder reads, (token, width), by the pipeline's hooks."""
    points = resolve(["h.0:output"], model, torch.device("cpu")).points
    backend, found = HookBackend(model, model, points, stops=True), list[np.ndarray]()
    with torch.inference_mode():
        for start in range(0, len(ids), ROWS):
            backend(
                lambda _, x: found.append(flat(x, False).numpy()),
                input_ids=torch.from_numpy(ids[start : start + ROWS]),
                use_cache=False,
            )
    backend.close()
    return np.concatenate(found)


def ours(folder: Path, top: int) -> dict[str, float]:
    """Passes the text through the model, collects, and writes shards and pages.

    Raises:
        FeaturebookError: the activations are not those that sae-dashboard's half read.
    """
    kept = dict(np.load(folder / "peer.npz"))
    model = as_gpt2(kept)
    weights = {name: torch.from_numpy(kept[name]) for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
    weights["W_enc"] = weights["W_enc"].T.contiguous()
    corpus = make_corpus(kept["ids"])
    x = activations(model, kept["ids"])  # warms the model, as making the autoencoder warmed theirs
    if not np.allclose(x, kept["x"], rtol=1e-4, atol=1e-4):
        raise FeaturebookError(f"The two passes differ by up to {np.abs(x - kept['x']).max():.2g}.")
    began = time.process_time()
    x = activations(model, kept["ids"])
    passed = time.process_time() - began
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
        "pass": passed,
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
    print(
        f"64 -> {options.features}, {options.tokens} tokens, L0 about {options.l0}; CPU seconds of one thread"
    )
    print(f"our pass of the model, in collecting: {own['pass']:.2f} s\n")
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
