"""Extraction beside the bare forward pass and beside PEFT with hooks, in one process, as ratios.

    python benchmarks/extract.py --size S --dtype float32 --rank 1
    python benchmarks/extract.py --size 7B --dtype bfloat16 --device cuda

Random weights of Qwen2's architecture. All variants run on the same weights, one after another in every round, the order
reversed every other round; a ratio is the median over rounds of paired ratios, with a bootstrap 95 % interval. Time is
CPU time of this thread on a CPU (other jobs disturb it less) and synchronised wall time on a GPU. Absolute
figures depend on the machine; the ratios carry.
"""

import argparse
import ctypes
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Qwen2Config

from generator.blocks import Corpus
from generator.config import RunConfig
from generator.measure.batches import ATTENTION, Batch, Layout, Piece, pieces_of
from generator.measure.checkpoints import AdapterFiles
from generator.measure.engine import Engine
from generator.measure.extract import attach
from generator.measure.lora import _Forward
from generator.measure.model import Blueprint, LoadedModel
from generator.progress import Silent

SIZES: dict[str, dict[str, int]] = {
    "S": {"hidden_size": 256, "num_hidden_layers": 8, "intermediate_size": 1024, "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 8192},
    "M": {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072, "num_attention_heads": 12, "num_key_value_heads": 2, "vocab_size": 8192},
    "7B": {"hidden_size": 3584, "num_hidden_layers": 28, "intermediate_size": 18944, "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064},
    "32B": {"hidden_size": 5120, "num_hidden_layers": 64, "intermediate_size": 27648, "num_attention_heads": 40, "num_key_value_heads": 8, "vocab_size": 152064},
}  # fmt: skip
"""S and M for a CPU; 7B and 32B have the shapes of Qwen2.5."""
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
GOALS = {"merged": 0.97, "exact": 0.94, "ragged packed": 0.9, "ragged sorted": 0.8}
GOALS_RANK_16 = {"merged": 0.95, "exact": 0.90, "ragged packed": 0.9, "ragged sorted": 0.8}


def main() -> None:
    """Builds the model, measures, prints a table in Markdown."""
    args = _arguments()
    torch.set_num_threads(args.threads)
    bench = Bench.build(args)
    times = bench.rounds(args.rounds)
    print(
        f"{args.size}, {args.dtype}, rank {args.rank}, {args.documents} x {args.length} tokens, {args.device}, {args.rounds} rounds"
    )
    print(
        f"torch {torch.__version__}, layout {bench.engine.layout}, bare forward {bench.n_tokens / np.median(times['bare']):,.0f} tokens/s"
    )
    print("\n| variant | speed over bare (95 %) | goal | extra peak memory over bare |\n|---|---|---|---|")
    goals = GOALS if args.rank < 16 else GOALS_RANK_16
    memory = bench.memory()
    for name in times:
        if name != "bare":
            share = bench.tokens(name) / bench.n_tokens
            print(
                f"| {name} | {_interval(share * times['bare'] / times[name])} | {goals.get(name, '')} | {memory.get(name, '')} |"
            )
    goal = "" if args.dtype == "float32" else 1.1 if args.rank < 16 else 2.5
    print(
        f"\nexact over PEFT with hooks: {_interval(times['PEFT + hooks'] / times['exact'])} (goal {goal or 'none in float32'})"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="S")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--rank", type=int, default=1)
    parser.add_argument("--documents", type=int, default=8, help="documents of a batch")
    parser.add_argument("--length", type=int, default=256, help="tokens of a document")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def _interval(ratios: np.ndarray) -> str:
    draws = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    return f"{np.median(ratios):.3f} ({low:.3f} to {high:.3f})"


@dataclass
class Bench:
    """One model with all variants of its forward."""

    model: Any
    engine: Engine
    batch: Batch
    ragged: list[Piece]
    own_forwards: dict[Any, Any]  # PEFT's layer -> our forward

    @classmethod
    def build(cls, args: argparse.Namespace) -> "Bench":
        """A random model of the size asked for, with a random adapter on all projections."""
        base_config = Qwen2Config(
            **SIZES[args.size], max_position_embeddings=32768, tie_word_embeddings=False
        )
        torch.manual_seed(0)
        with torch.device(args.device):
            base = AutoModelForCausalLM.from_config(base_config, dtype=getattr(torch, args.dtype))
            wrapped = get_peft_model(
                base, LoraConfig(r=args.rank, lora_alpha=16, target_modules=TARGETS, init_lora_weights=False)
            )
        model = wrapped.get_base_model().eval()
        generator = np.random.default_rng(0)
        lengths = np.clip(generator.lognormal(4.75, 0.62, 64).astype(int), 21, 433)
        corpus = _corpus([args.length] * args.documents + lengths.tolist(), base_config.vocab_size)
        config = RunConfig.model_validate({
            "model": {"base": "random", "adapter": "random"},
            "corpus": {"source": "random"},
            "extract": {"batch_tokens": args.documents * args.length, "basis": "rows", "calibration_documents": 1},
        })  # fmt: skip
        blueprint = Blueprint(base_config, "Qwen2ForCausalLM", model, AdapterFiles(Path(), "default", {}, {}))
        loaded = LoadedModel(
            model, "default", blueprint, torch.device(args.device), getattr(torch, args.dtype)
        )
        extractor = attach(config, corpus, loaded, Silent())
        pieces = pieces_of(corpus, slice(0, corpus.n_tokens))
        fixed = Batch(pieces[: args.documents], extractor._engine.layout)
        first = fixed.n_tokens
        ragged = [Piece(p.token_ids, 0, p.row - first) for p in pieces[args.documents :]]
        layers = [member.layer for site in extractor._engine.sites for member in site.members]
        return cls(model, extractor._engine, fixed, ragged, {layer: layer.forward for layer in layers})

    @property
    def n_tokens(self) -> int:
        """Tokens of the fixed batch."""
        return self.batch.n_tokens

    def tokens(self, variant: str) -> int:
        """Useful tokens that a variant reads."""
        return sum(len(p.token_ids) for p in self.ragged) if variant.startswith("ragged") else self.n_tokens

    def variants(self) -> dict[str, Callable[[], Any]]:
        """Name -> one run of it."""
        return {
            "bare": self._bare,
            "exact": lambda: self._ours(False, self._batch),
            "merged": lambda: self._ours(True, self._batch),
            "PEFT + hooks": self._peft,
            "ragged packed": lambda: self._ours(False, lambda: self._ragged("packed")),
            "ragged sorted": lambda: self._ours(False, lambda: self._ragged("padded")),
        }

    def rounds(self, n: int) -> dict[str, np.ndarray]:
        """Seconds of every variant in every round."""
        variants = self.variants()
        times: dict[str, list[float]] = {name: [] for name in variants}
        for number in range(n + 1):
            for name in variants if number % 2 else reversed(variants):
                seconds = self._time(variants[name])
                if number:  # the first round warms up
                    times[name].append(seconds)
        return {name: np.array(values) for name, values in times.items()}

    def _time(self, run: Callable[[], Any]) -> float:
        on_gpu = self.engine.device.type == "cuda"
        prepared = run()
        clock = time.perf_counter if on_gpu else time.process_time
        if on_gpu:
            torch.cuda.synchronize()
        began = clock()
        prepared()
        if on_gpu:
            torch.cuda.synchronize()
        return clock() - began

    def memory(self) -> dict[str, str]:
        """Peak memory above rest of every variant, over that of the bare forward."""
        peaks = {name: self._peak(run) for name, run in self.variants().items()}
        return {
            name: f"{peak / max(peaks['bare'], 1):.2f}"
            for name, peak in peaks.items()
            if not name.startswith("ragged")
        }

    def _peak(self, run: Callable[[], Any]) -> float:
        prepared = run()
        gc.collect()
        if self.engine.device.type == "cuda":
            rest = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            prepared()
            return torch.cuda.max_memory_allocated() - rest
        ctypes.CDLL(None).malloc_trim(0)  # else freed memory is used again and no peak shows
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
        rest = _status("VmRSS")
        prepared()
        return _status("VmHWM") - rest

    def _use(self, forward: Callable[[Any], Any] | None, attention: str) -> None:
        for layer in self.own_forwards:
            if forward is None:
                layer.__dict__.pop("forward", None)
            else:
                layer.forward = forward(layer)
        self.model.set_attn_implementation(attention)

    def _bare(self) -> Callable[[], Any]:
        self._use(lambda layer: layer.base_layer.forward, "sdpa")
        return self._plain_pass()

    def _plain_pass(self) -> Callable[[], Any]:
        inputs = Batch(self.batch.pieces, "padded").inputs(self.engine.device, 0)

        def run() -> None:
            with torch.inference_mode():
                self.engine.call(**inputs)

        return run

    def _ours(self, is_merged: bool, work: Callable[[], Any]) -> Callable[[], Any]:
        """Merged timing needs no merged weights: the same operations run on others."""
        attention = ATTENTION if self.engine.layout == "packed" else "sdpa"
        self._use(lambda layer: _variant(self.own_forwards[layer], is_merged), attention)
        return work

    def _batch(self) -> None:
        self.engine._forward(self.batch).cpu()

    def _ragged(self, layout: Layout) -> None:
        before = self.model.config._attn_implementation
        if layout == "padded":
            self.model.set_attn_implementation("sdpa")
        self.engine.run(self.ragged, n_rows=sum(len(p.token_ids) for p in self.ragged), layout=layout)
        self.model.set_attn_implementation(before)

    def _peft(self) -> Callable[[], Any]:
        """PEFT's own forward with hooks on ``lora_A`` that write into one buffer."""
        self._use(None, "sdpa")
        plain = self._plain_pass()
        rank = next(iter(self.own_forwards)).r["default"]
        buffer = torch.empty(self.n_tokens, rank * len(self.own_forwards), device=self.engine.device)

        def run() -> None:
            handles = []
            for i, layer in enumerate(self.own_forwards):
                columns = slice(i * rank, (i + 1) * rank)
                handles.append(layer.lora_A["default"].register_forward_hook(_keep(buffer, columns)))
            plain()
            buffer.cpu()
            for handle in handles:
                handle.remove()

        return run


def _keep(buffer: torch.Tensor, columns: slice) -> Callable[..., None]:
    def hook(module: Any, args: Any, out: torch.Tensor) -> None:
        buffer[:, columns] = out.reshape(-1, out.shape[-1])

    return hook


def _variant(own: _Forward, is_merged: bool) -> _Forward:
    own.is_merged = is_merged
    return own


def _status(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def _corpus(lengths: list[int], n_vocabulary: int) -> Corpus:
    offsets = np.cumsum([0, *lengths]).astype(np.int64)
    n_tokens = int(offsets[-1])
    return Corpus(
        token_ids=np.random.default_rng(1).integers(0, min(n_vocabulary, 8192), n_tokens).astype(np.int32),
        doc_offsets=offsets,
        is_measured=np.ones(n_tokens, bool),
        pieces=np.stack([offsets[:-1], offsets[:-1], offsets[1:]], axis=1),
        token_bytes=[b"x"] * n_vocabulary,
        is_special=np.zeros(n_vocabulary, bool),
        doc_names=[str(i) for i in range(len(lengths))],
        doc_metadata=[{} for _ in lengths],
    )


if __name__ == "__main__":
    main()
