"""The training loop: batches in, checkpoints and metrics along the way, a checkpoint that the field reads at the end."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from generator.errors import FeaturebookError
from generator.measure.dictionaries import Dictionary, save_saelens
from generator.measure.dictionaries.crosscoder_learning import Parts, save_crosscoder_learning
from generator.measure.training.evaluate import Figures, evaluate
from generator.measure.training.initial import initial_weights
from generator.measure.training.inputs import Scaling
from generator.measure.training.rows import RowFacts, Rows, Split, survey
from generator.measure.training.settings import TrainSettings, resolved
from generator.measure.training.shuffle import Batches, Place
from generator.measure.training.state import Metrics, State, load_state, save_state
from generator.measure.training.step import Aux, Step, take_step
from generator.progress import Progress


@dataclass(frozen=True)
class TrainResult:
    """What training leaves behind."""

    dictionary: Dictionary
    """Reads raw inputs; jumprelu."""
    figures: Figures
    """On the held-out documents."""
    facts: dict[str, Any]
    """For the manifest and the collection's page; ``metrics.jsonl`` in the folder holds the curves."""


@dataclass(frozen=True)
class _Run:
    """What stays the same from step to step."""

    settings: TrainSettings
    batches: Batches
    facts: RowFacts
    scaling: Scaling
    n_features: int
    n_places: int
    n_steps: int
    device: torch.device
    folder: Path
    key: str


def train(
    rows: Rows,
    settings: TrainSettings,
    folder: Path,
    progress: Progress,
    key: str = "",
    metadata: dict[str, Any] | None = None,
    n_places: int = 1,
) -> TrainResult:
    """Trains one BatchTopK autoencoder or crosscoder, or goes on from the folder's checkpoint.

    Writes ``cfg.json`` and ``sae_weights.safetensors`` (SAELens' inference format), or ``config.json`` and
    ``model.safetensors`` (crosscoder_learning's), with ``metrics.jsonl`` and, until it is done, ``checkpoint.pt``. A killed run that is started again gives the same bits as one that was not killed.

    Args:
        rows: The activations.
        settings: All choices.
        folder: Where to write.
        progress: Advances by tokens.
        key: The content key of data and settings; a checkpoint with another one is not gone on from.
        metadata: Goes into ``cfg.json`` or ``config.json``, for instance the ids of the input channels.
        n_places: Equal parts of a row, which a crosscoder reads; 1 for an autoencoder.

    Raises:
        FeaturebookError: fewer tokens than a batch, k larger than the dictionary, a crosscoder with unit rows, a loss that is not finite, or all
            latents dead. The last checkpoint stays.
    """
    run = _prepare(rows, settings, folder, key, n_places)
    state = load_state(folder, run.settings, key, run.device, n_places) or _begin(run)
    if state.step:
        progress.note(f"going on at step {state.step} of {run.n_steps}")
        progress.advance(state.step * settings.batch)
    _loop(run, state, progress)
    return _finish(run, state, rows, metadata)


def _prepare(rows: Rows, settings: TrainSettings, folder: Path, key: str, n_places: int) -> _Run:
    n_features = settings.width or settings.expansion * rows.width
    if settings.k > n_features:
        raise FeaturebookError(
            f"k = {settings.k} is larger than the dictionary's {n_features} latents. Use a smaller k or a greater width."
        )
    if n_places > 1 and settings.decoder == "unit":
        raise FeaturebookError(
            'decoder = "unit" does not fit a crosscoder: how long its decoder is in each place says where a latent lives. Use '
            '"free".'
        )
    split = Split(rows, settings.held_out, settings.seed, takes_held_out=False)
    facts = survey(split)
    settings = resolved(settings, rows.width // n_places, facts.n_rows)
    batches = Batches(split, facts, settings.batch, settings.buffer_megabytes, settings.seed)
    n_tokens = settings.tokens or settings.epochs * facts.n_rows
    if n_tokens < settings.batch:
        raise FeaturebookError(
            f"tokens = {n_tokens} is fewer than a batch of {settings.batch}. Raise tokens, or take a smaller batch."
        )
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return _Run(
        settings=settings,
        batches=batches,
        facts=facts,
        scaling=Scaling.of(facts, settings.scale, n_places),
        n_features=n_features,
        n_places=n_places,
        n_steps=n_tokens // settings.batch,
        device=torch.device(device),
        folder=folder,
        key=key,
    )


def _begin(run: _Run) -> State:
    width = run.batches.split.rows.width
    weights = initial_weights(width, run.n_features, run.settings, run.device, run.n_places)
    return State.new(weights, run.settings)


def _scaled(run: _Run, place: Place) -> Iterator[tuple[Tensor, Place]]:
    """Batches in training's units, from a place on."""
    return ((run.scaling.apply(x, run.device), after) for x, after in run.batches.after(place))


def _loop(run: _Run, state: State, progress: Progress) -> None:
    centre = (torch.from_numpy(run.facts.mean) - run.scaling.centre) * run.scaling.each
    centre = centre.float().to(run.device)
    with Metrics(run.folder, state.metrics_bytes) as metrics:
        batches = _scaled(run, state.place)
        while state.step < run.n_steps:
            x, place = next(batches)
            step = _take_one(run, state, x)
            state.step, state.place = state.step + 1, place
            state.follow_threshold(step.active.lowest_score, run.settings.threshold_beta)
            state.tally(step, float((x - centre).square().sum()), len(x))
            if state.step % run.settings.log_steps == 0 or state.step == run.n_steps:
                state.metrics_bytes = metrics.write(
                    state.line(run.settings, _learning_rate(run, state.step - 1))
                )
            if state.step % run.settings.checkpoint_steps == 0 and state.step < run.n_steps:
                metrics.flush()
                save_state(run.folder, state, run.key)
            progress.advance(len(x))


def _take_one(run: _Run, state: State, x: Tensor) -> Step:
    """Selects, computes gradients, and moves the weights."""
    settings, weights = run.settings, state.weights
    norms = torch.ones_like(weights.b_enc) if settings.decoder == "unit" else weights.norms()
    active = state.selector(x, weights, norms)
    step = take_step(x, weights, active, _aux(settings, state))
    if not math.isfinite(step.loss):
        raise FeaturebookError(
            f"The loss became {step.loss} at step {state.step} (learning rate {_learning_rate(run, state.step):.3g}). "
            "Lower learning_rate or raise warmup_steps; the last checkpoint and the metrics are kept."
        )
    state.move(step.gradients, _learning_rate(run, state.step), settings)
    state.mark_active(active, len(x))
    if state.step * settings.batch > int(settings.dead_after) and len(state.dead(settings)) == run.n_features:
        raise FeaturebookError(
            f"All {run.n_features} latents are dead at step {state.step}: none was active for {settings.dead_after} tokens. "
            "Are the inputs constant, or learning_rate too high?"
        )
    return step


def _aux(settings: TrainSettings, state: State) -> Aux | None:
    if not settings.aux_weight:
        return None
    return Aux(state.dead(settings), int(settings.aux_k), settings.aux_weight, settings.aux_reads == "error")


def _learning_rate(run: _Run, step: int) -> float:
    """Linear warm-up, constant, linear decay."""
    settings = run.settings
    up = (step + 1) / (settings.warmup_steps + 1)
    n_decay = settings.decay * run.n_steps
    down = (run.n_steps - step) / n_decay if n_decay >= 1 else 1.0
    return settings.learning_rate * min(1.0, up, down)


def _finish(run: _Run, state: State, rows: Rows, metadata: dict[str, Any] | None) -> TrainResult:
    settings = run.settings
    notes = {
        "format": "featurebook",
        "architecture": "batchtopk" if run.n_places == 1 else "batchtopk crosscoder",
        "k": settings.k,
        # of an autoencoder in raw units; a crosscoder has several units, so its latents stay in training's
        "threshold": state.threshold / (run.scaling.factor if run.n_places == 1 else 1.0),
        **run.scaling.notes,
    }
    facts = {
        **notes,
        "n_features": run.n_features,
        "n_steps": run.n_steps,
        "n_train_tokens": run.facts.n_rows,
        "n_tokens_seen": run.n_steps * settings.batch,
        "settings": settings.model_dump(),
    }
    parts = _parts(run, state) if run.n_places > 1 else None
    dtype = getattr(torch, settings.save_dtype)
    dictionary = (
        run.scaling.fold(state.weights, state.threshold, notes, dtype)
        if parts is None
        else parts.dictionary()
    )
    held_out = Split(rows, settings.held_out, settings.seed, takes_held_out=True)
    figures = evaluate(dictionary, held_out)
    facts["held_out"] = figures.to_json()
    with Metrics(run.folder, state.metrics_bytes) as metrics:
        metrics.write({"final": True, **facts})
    metadata = {**(metadata or {}), "featurebook": facts}
    if parts is None:
        save_saelens(dictionary, run.folder, metadata, dtype)
    else:
        save_crosscoder_learning(parts, run.folder, metadata)
    (run.folder / "checkpoint.pt").unlink(missing_ok=True)
    return TrainResult(dictionary, figures, facts)


def _parts(run: _Run, state: State) -> Parts:
    """A crosscoder in training's units, for a file that holds the normaliser beside the weights."""
    W_enc, b_enc, W_dec, b_dec = (t.detach().cpu() for t in state.weights.tensors())
    by_place = (run.n_places, W_enc.shape[1] // run.n_places)
    return Parts(
        W_enc=W_enc.unflatten(1, by_place).permute(1, 2, 0),
        b_enc=b_enc,
        W_dec=W_dec.unflatten(1, by_place).transpose(0, 1),
        b_dec=b_dec.unflatten(0, by_place),
        mean=run.scaling.centre.unflatten(0, by_place),
        deviation=torch.from_numpy(run.facts.variance).sqrt().unflatten(0, by_place),
        scale=run.scaling.factors,
        k=run.settings.k,
        threshold=state.threshold,
        dtype=getattr(torch, run.settings.save_dtype),
    )
