"""Cost of a corpus-level analysis as a multiple of the bare forward pass of the same documents.

    python -m benchmarks.analyze --size S --dtype float32
    python -m benchmarks.analyze --size 7B --dtype bfloat16 --device cuda

Random weights of Qwen2's architecture. The variants run one after another in every round, the order reversed every other
round; a multiple is the median over rounds of paired ratios. Time is CPU time of this thread on a CPU and synchronised
wall time on a GPU. The bare forward has no vocabulary head (``logits`` shows what that adds). The work that is done
once at the end (eigenvalues, CKA, TwoNN) does not grow with the corpus and is timed apart.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from generator.blocks import Corpus
from generator.measure.analyze.anatomy import Anatomy, eager, study
from generator.measure.analyze.capture import Feed, feeds, run
from generator.measure.analyze.heads import HeadScores, HeadSettings, _add_feed, check_attention
from generator.measure.analyze.layers import GeometrySettings, StackGeometry

SIZES: dict[str, dict[str, int]] = {
    "S": {"hidden_size": 256, "num_hidden_layers": 8, "intermediate_size": 1024, "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 8192},
    "M": {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072, "num_attention_heads": 12, "num_key_value_heads": 2, "vocab_size": 8192},
    "7B": {"hidden_size": 3584, "num_hidden_layers": 28, "intermediate_size": 18944, "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064},
}  # fmt: skip
"""S and M for a CPU; 7B has the shape of Qwen2.5."""
GOALS = {"geometry": 1.3}


def main() -> None:
    """Builds the model, measures, prints a table in Markdown."""
    args = _arguments()
    torch.set_num_threads(args.threads)
    anatomy, corpus = _model(args), _corpus(args)
    batch = list(feeds(corpus, batch_tokens=args.documents * args.length, device=anatomy.device))
    variants = _variants(anatomy, corpus, batch, args)
    times = _rounds(variants, args)
    rate = corpus.n_tokens / np.median(times["bare"])
    print(
        f"{args.size}, {args.dtype}, {args.documents} x {args.length} tokens, {args.device}, {args.rounds} rounds"
    )
    print(f"torch {torch.__version__}, bare forward {rate:,.0f} tokens/s")
    print("\n| variant | multiple of the bare forward (middle half of the rounds) | goal |\n|---|---|---|")
    for name, taken in times.items():
        ratio = np.array(taken) / np.array(times["bare"])
        low, middle, high = np.quantile(ratio, [0.25, 0.5, 0.75])
        goal = f"≤ {GOALS[name]}" if name in GOALS else ""
        print(f"| {name} | {middle:.3f} ({low:.3f} to {high:.3f}) | {goal} |")
    print(f"\nOnce at the end: {_finish(anatomy, corpus, batch, args):.2f} s")


def _variants(
    anatomy: Anatomy, corpus: Corpus, batch: list[Feed], args: argparse.Namespace
) -> dict[str, Callable[[], Any]]:
    settings = HeadSettings(max_tokens=args.length)

    def forward(with_head: bool = False) -> None:
        with torch.no_grad():
            for feed in batch:
                run(anatomy, feed.inputs(), with_head=with_head)

    def eager_forward() -> None:
        with eager(anatomy.model):
            forward()

    def geometry(*points: str) -> None:
        stack = _stack(anatomy, corpus, points)
        for feed in batch:
            stack.add(feed)

    def heads() -> None:
        scores = {"base": HeadScores(*check_attention(anatomy), anatomy.is_causal)}
        with eager(anatomy.model):
            for feed in batch:
                _add_feed(anatomy, feed, scores, settings)

    return {
        "bare": forward,
        "logits": lambda: forward(with_head=True),
        "geometry": lambda: geometry("residual"),
        "geometry, also after the norm": lambda: geometry("residual", "normed"),
        "bare, eager attention": eager_forward,
        "head scores": heads,
    }


def _stack(anatomy: Anatomy, corpus: Corpus, points: tuple[str, ...]) -> StackGeometry:
    return StackGeometry(anatomy, corpus, GeometrySettings(points=points))


def _rounds(variants: dict[str, Callable[[], Any]], args: argparse.Namespace) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in variants}
    for index in range(args.rounds + 1):
        for name in list(variants) if index % 2 else list(variants)[::-1]:
            taken = _time(variants[name], args.device)
            if index:  # the first round warms up
                times[name].append(taken)
    return times


def _time(call: Callable[[], Any], device: str) -> float:
    if device == "cpu":
        start = time.process_time()
        call()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def _finish(anatomy: Anatomy, corpus: Corpus, batch: list[Feed], args: argparse.Namespace) -> float:
    stack = _stack(anatomy, corpus, ("residual",))
    for feed in batch:
        stack.add(feed)
    return _time(lambda: stack.result("base"), args.device)


def _model(args: argparse.Namespace) -> Anatomy:
    torch.manual_seed(0)
    config = Qwen2Config(**SIZES[args.size], max_position_embeddings=4096)  # type: ignore[arg-type]
    with torch.device(args.device):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, args.dtype))
    return study(model.eval().requires_grad_(False))


def _corpus(args: argparse.Namespace) -> Corpus:
    n, vocabulary = args.documents * args.length, SIZES[args.size]["vocab_size"]
    offsets = np.arange(0, n + 1, args.length)
    return Corpus(
        token_ids=np.random.default_rng(0).integers(3, vocabulary, n).astype(np.int32),
        doc_offsets=offsets,
        is_measured=np.ones(n, bool),
        pieces=np.stack([offsets[:-1], offsets[:-1], offsets[1:]], 1),
        token_bytes=[b""] * vocabulary,
        is_special=np.zeros(vocabulary, bool),
        doc_names=[str(i) for i in range(args.documents)],
        doc_metadata=[{} for _ in range(args.documents)],
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="S")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--documents", type=int, default=8)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
