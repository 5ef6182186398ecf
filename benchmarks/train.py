"""One training step, side by side: ours, dense autograd, sae-lens' trainer, and the encoder's product alone.

    python benchmarks/train.py [--width 448] [--features 7168] [--k 50] [--batch 1024] [--rounds 7] [--device cpu]

All rows start from the same weights and see the same batches. Time is CPU time of one thread (on a GPU: wall time with
the device waited for); the rows take turns, in reversed order every other round, and a ratio is the median of the
rounds' own ratios. sae-lens is compared when it is installed (extra ``oracles``).
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

from generator.measure.dictionaries.sparse import fast_filter_dtype
from generator.measure.training import TrainSettings
from generator.measure.training.state import State
from generator.measure.training.step import Aux, Weights, take_step


@dataclass
class Shape:
    """What is trained."""

    width: int
    features: int
    k: int
    batch: int
    device: torch.device


@dataclass
class Row:
    """One way to take a step, its times, and its fraction of variance unexplained per step."""

    name: str
    step: Callable[[torch.Tensor], float | None]
    seconds: list[float] = field(default_factory=list)
    fvu: list[float] = field(default_factory=list)


def batches(shape: Shape) -> Iterator[torch.Tensor]:
    """Heavy-tailed sparse mixtures, as LoRA activations are."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(2 * shape.width, shape.width, generator=generator)
    directions /= directions.norm(dim=1, keepdim=True)
    while True:
        active = torch.rand(shape.batch, len(directions), generator=generator) < 0.05
        size = torch.empty(active.shape).exponential_(generator=generator)
        yield ((active * size) @ directions).to(shape.device)


def initial(shape: Shape) -> Weights:
    """Unit decoder rows, the encoder their transpose."""
    generator = torch.Generator().manual_seed(1)
    W = torch.randn(shape.features, shape.width, generator=generator)
    W = (0.3 * W / W.norm(dim=1, keepdim=True)).to(shape.device)
    return Weights(
        W.clone(),
        torch.zeros(shape.features, device=shape.device),
        W.clone(),
        torch.zeros(shape.width, device=shape.device),
    )


LEARNING_RATE = 3e-4


def ours(shape: Shape, encode: str) -> Callable[[torch.Tensor], float]:
    """What the training loop does in a step."""
    settings = TrainSettings(
        k=shape.k, batch=shape.batch, learning_rate=LEARNING_RATE, encode=encode, dead_after=10**9
    )
    state = State.new(initial(shape), settings)

    def step(x: torch.Tensor) -> float:
        active = state.selector(x, state.weights, state.weights.W_dec.norm(dim=1))
        taken = take_step(x, state.weights, active, Aux(state.dead(settings), shape.k, 1 / 32, True))
        state.move(taken.gradients, LEARNING_RATE, settings)
        state.mark_active(active, len(x))
        state.follow_threshold(active.lowest_score, settings.threshold_beta)
        return taken.squared_error

    return step


def dense_autograd(shape: Shape) -> Callable[[torch.Tensor], float]:
    """The formula as it is written down: flat top-k of a dense array, dense decoding, autograd."""
    leaves = [t.requires_grad_() for t in initial(shape).tensors()]
    W_enc, b_enc, W_dec, b_dec = leaves
    optimizer = torch.optim.Adam(leaves, lr=LEARNING_RATE)

    def step(x: torch.Tensor) -> float:
        pre = torch.nn.functional.linear(x, W_enc, b_enc).relu()
        score = (pre * W_dec.norm(dim=1)).flatten()
        kept = torch.zeros_like(score).scatter(0, score.topk(shape.k * len(x)).indices, 1.0).view_as(pre)
        error = (pre * kept) @ W_dec + b_dec - x
        error.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(error.square().sum())

    return step


def sae_lens_trainer(shape: Shape, autocast: bool) -> Callable[[torch.Tensor], float]:
    """sae-lens' ``SAETrainer.step`` on its BatchTopK autoencoder, from the same weights."""
    from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    config = BatchTopKTrainingSAEConfig(
        d_in=shape.width,
        d_sae=shape.features,
        k=shape.k,
        apply_b_dec_to_input=False,
        device=str(shape.device),
    )
    sae, start = BatchTopKTrainingSAE(config), initial(shape)
    sae.W_enc.data, sae.b_enc.data = start.W_enc.T.contiguous(), start.b_enc
    sae.W_dec.data, sae.b_dec.data = start.W_dec, start.b_dec
    trainer = SAETrainer(
        SAETrainerConfig(
            total_training_samples=10**9,
            train_batch_size_samples=shape.batch,
            lr=LEARNING_RATE,
            lr_end=LEARNING_RATE,
            device=str(shape.device),
            autocast=autocast,
        ),
        sae,
        iter(()),
    )

    def step(x: torch.Tensor) -> float:
        out = trainer.step(x)
        trainer.n_training_steps += 1
        return float((out.sae_out - out.sae_in).square().sum())

    return step


def product_alone(shape: Shape, dtype: torch.dtype) -> Callable[[torch.Tensor], None]:
    """The encoder's matrix product and nothing else."""
    W, b = initial(shape).W_enc.to(dtype), initial(shape).b_enc.to(dtype)

    def step(x: torch.Tensor) -> None:
        torch.nn.functional.linear(x.to(dtype), W, b)

    return step


def rows_of(shape: Shape) -> list[Row]:
    """All rows that can run here; what cannot says why."""
    rows = [
        Row("ours, float32", ours(shape, "float32")),
        Row("dense autograd, float32", dense_autograd(shape)),
        Row("encoder's product, float32", product_alone(shape, torch.float32)),
    ]
    is_fast = fast_filter_dtype(shape.device) == torch.bfloat16
    if is_fast:
        rows += [
            Row("ours, bfloat16 encode", ours(shape, "bfloat16")),
            Row("encoder's product, bfloat16", product_alone(shape, torch.bfloat16)),
        ]
    else:
        print("skipped: bfloat16 rows (this CPU has no AVX-512 BF16, its products are slower than float32's)")
    try:
        rows.append(Row("sae-lens, float32", sae_lens_trainer(shape, autocast=False)))
        if is_fast:
            rows.append(Row("sae-lens, bfloat16 autocast", sae_lens_trainer(shape, autocast=True)))
    except ImportError as error:
        print(f"skipped: sae-lens is not installed ({error}); pip install -e '.[oracles]'")
    return rows


def measure(rows: list[Row], shape: Shape, rounds: int) -> None:
    """Lets the rows take turns; the first two rounds warm up and are not counted."""
    clock = time.process_time if shape.device.type == "cpu" else time.perf_counter
    source = batches(shape)
    for index in range(rounds + 2):
        x = next(source)
        spread = float((x - x.mean(0)).square().sum())
        for row in rows if index % 2 else rows[::-1]:
            begun = clock()
            squared = row.step(x)
            if shape.device.type == "cuda":
                torch.cuda.synchronize()
            if index >= 2:
                row.seconds.append(clock() - begun)
            if squared is not None:
                row.fvu.append(squared / spread)


def report(rows: list[Row], shape: Shape) -> None:
    """Prints times, ratios to our float32 step, and the last step's FVU."""
    reference = rows[0]
    print(f"\n{'':30} {'ms/step':>9} {'tokens/s':>10} {'time ÷ ours':>12} {'FVU of last step':>17}")
    for row in rows:
        middle = statistics.median(row.seconds)
        ratio = statistics.median(a / b for a, b in zip(row.seconds, reference.seconds))
        fvu = f"{row.fvu[-1]:.5f}" if row.fvu else ""
        print(f"{row.name:30} {middle * 1e3:9.1f} {shape.batch / middle:10.0f} {ratio:12.2f} {fvu:>17}")


def main() -> None:
    """Reads the options, measures, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("width", 448), ("features", 7168), ("k", 50), ("batch", 1024), ("rounds", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    shape = Shape(options.width, options.features, options.k, options.batch, torch.device(options.device))
    print(f"{shape.width} -> {shape.features}, k {shape.k}, batches of {shape.batch}, {shape.device}")
    rows = rows_of(shape)
    measure(rows, shape, options.rounds)
    report(rows, shape)


if __name__ == "__main__":
    main()
