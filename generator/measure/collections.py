"""The dictionaries of a run (``[[collections]]``): trained or loaded, and turned into channels."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from jaxtyping import Int

from generator.artifacts import read_json, remove_dead_temporaries, to_json, write_bytes
from generator.blocks import Activations, Block, Channel, Corpus, Directions, SparseBlock
from generator.config import CollectionTable, RunConfig
from generator.errors import FeaturebookError, nearest
from generator.measure.collect import collect, latent_channels
from generator.measure.dictionaries import Dictionary, LoadOptions, load_dictionary
from generator.measure.extract import calibration_documents
from generator.measure.streams import ModelRows, ModelSource, Source, StoredSource
from generator.measure.training import ActivationRows, Rows, train
from generator.measure.training.recovered import LossMeter
from generator.measure.training.rows import is_held_out
from generator.measure.training.state import append_line
from generator.measure.variants import Models
from generator.progress import Progress
from generator.summaries import Loadings

CURVES = ("step", "tokens", "loss", "fvu", "l0", "dead_share")
"""Columns of ``metrics.jsonl`` that a collection's page draws."""

CARRIED = ("settings", "curves", "held_out", "threshold", "loss_recovered")
"""What the page shows of ``training.json``, as it stands there."""

CURVE_POINTS = 200
"""At most so many points of a curve are kept for the page."""


@dataclass(frozen=True)
class LatentStream:
    """A dictionary that stands where extraction would: it gives the latents of any blocks of what it reads."""

    dictionary: Dictionary
    source: Source
    """What it reads."""
    channels: list[Channel]
    directions: list[Directions]
    loadings: list[Loadings]
    """Weights over the adapter's channels; none for a dictionary over places of a model."""
    facts: dict[str, Any]
    """For the collection's page."""

    def blocks(self, source: Iterable[Block]) -> Iterator[SparseBlock]:
        """The latents of a stream of blocks."""
        return collect(self.dictionary, source)


def open_source(
    table: CollectionTable, corpus: Corpus, activations: Activations, chunks: list[slice], models: Models
) -> Source:
    """What a collection's dictionary reads: channels of the adapter from disk, or places straight from the model.

    Args:
        table: The collection.
        corpus: The text.
        activations: Of the adapter; not looked at for a collection with hook points.
        chunks: Of the activations.
        models: The run's models, loaded when a collection reads them.

    Raises:
        FeaturebookError: a glob that matches nothing, an unknown hook point, models that do not fit together.
    """
    if table.hook_points:
        return ModelSource(table, models)
    ids = [channel.id for channel in activations.load_channels()[0]]
    columns = _columns(table, ids)
    return StoredSource(activations, corpus, chunks, columns, [ids[i] for i in columns])


def with_hook_points(table: CollectionTable, config: RunConfig) -> CollectionTable:
    """The same collection, with the place that its dictionary's file names where there is no adapter to read.

    Raises:
        FeaturebookError: there is neither an adapter nor a place.
    """
    if table.hook_points or config.model.adapter is not None:
        return table
    named = None if table.path is None else _load(table, Path(), None).notes.get("hook_name")
    if not named:
        raise FeaturebookError(
            f"Collection {table.name!r} has nothing to read: the run has no adapter, and "
            f"{'its file names no place of the model' if table.path else 'no place is given'}. Set its hook_points, for instance "
            '["model.layers.6:output"].'
        )
    return table.model_copy(update={"hook_points": [str(named)]})


def train_collection(
    table: CollectionTable, source: Source, corpus: Corpus, folder: Path, progress: Progress, key: str,
    meter: LossMeter,
) -> dict[str, Any]:  # fmt: skip
    """Trains one dictionary into its folder, or goes on from the checkpoint there; then measures its loss recovered.

    One that was finished with the same key is left as it is.

    Returns:
        Facts for the manifest.
    """
    assert table.train is not None
    remove_dead_temporaries(folder)
    finished = _finished(folder, key)
    if finished:
        progress.note(f"{table.name} is trained already")
        progress.advance(finished["n_tokens_seen"])
        return {f"n_latents_{table.name}": finished["n_features"]}
    split = table.train.held_out, table.train.seed
    metadata: dict[str, Any] = (
        {"input_channels": source.inputs} if source.inputs else {"places": source.facts["places"]}
    )
    n_places = len(source.facts["places"]) if table.kind == "crosscoder" else 1
    rows = _rows(source, corpus, split)
    result = train(rows, table.train, folder, progress, key, metadata, n_places)
    facts = result.facts | {"curves": _curves(folder / "metrics.jsonl")}
    if _has_loss(table, source):
        facts |= {"loss_recovered": _loss_recovered(meter, result.dictionary, table, source, split)}
        append_line(folder / "metrics.jsonl", {"loss_recovered": facts["loss_recovered"]})
    write_bytes(folder / "training.json", to_json(facts | {"key": key}))
    return {f"n_latents_{table.name}": facts["n_features"]}


def _finished(folder: Path, key: str) -> dict[str, Any] | None:
    """``training.json`` of a dictionary that was trained to the end from the same data with the same settings."""
    is_there = any((folder / name).is_file() for name in ("sae_weights.safetensors", "model.safetensors"))
    if not is_there or not (folder / "training.json").is_file():
        return None
    facts = read_json(folder / "training.json")
    return facts if facts.get("key") == key else None


def _has_loss(table: CollectionTable, source: Source) -> bool:
    """Whether rebuilding what the dictionary reads has one meaning: of the adapter's scalars, or of one place."""
    return table.loss_documents > 0 and (bool(source.inputs) or len(source.facts["places"]) == 1)


def _loss_recovered(
    meter: LossMeter, dictionary: Dictionary, table: CollectionTable, source: Source,
    split: tuple[float, int] | None,
) -> dict[str, Any]:  # fmt: skip
    if source.inputs:
        return meter.of(dictionary, source.inputs, split, table.loss_documents)
    assert isinstance(source, ModelSource)
    with source.at_rest():
        return meter.of_place(dictionary, table, split)


def _rows(source: Source, corpus: Corpus, split: tuple[float, int]) -> Rows:
    if isinstance(source, StoredSource):
        return ActivationRows(source.activations, corpus, source.chunks, source.columns)
    return ModelRows(source, corpus, is_held_out(np.arange(corpus.n_docs), *split))


def open_stream(
    table: CollectionTable, config: RunConfig, source: Source, corpus: Corpus, trained: Path, meter: LossMeter
) -> LatentStream:
    """Loads a collection's dictionary and makes its channel table.

    Args:
        table: The collection.
        config: The run.
        source: What it reads.
        corpus: The text.
        trained: The folder that ``train_collection`` wrote, for a collection with ``train``.
        meter: Measures the loss recovered of a dictionary that carries no such figure.

    Raises:
        FeaturebookError: the dictionary cannot be read, or was made for other channels or places.
    """
    docs = calibration_documents(corpus.n_docs, config.extract.calibration_documents, config.seed)
    table, remarks = _with_factors(table, source, docs)
    dictionary = _load(table, trained, source)
    if source.inputs:
        _check_inputs(table, dictionary, source.inputs)
    device = source.device
    dictionary = dictionary if device == "cpu" else dictionary.to(device)
    channels, directions = latent_channels(dictionary, table.name, table.kind, source.space)
    loadings = Loadings(
        channels=np.arange(len(channels)),
        inputs=source.inputs,
        read=dictionary.W_enc.cpu().numpy(),
        write=dictionary.W_dec.cpu().numpy(),
    )
    facts = _facts(table, dictionary, config.collection, trained)
    facts["notes"] += [*remarks, *source.facts.get("notes", [])]
    stream = LatentStream(
        dictionary=dictionary,
        source=source,
        channels=[replace(c, layer=source.layer, module=source.module) for c in channels],
        directions=directions,
        loadings=[loadings] if source.inputs else [],
        facts=facts | {k: v for k, v in source.facts.items() if k != "notes"},
    )
    if _has_loss(table, source) and "loss_recovered" not in stream.facts:
        found = _loss_recovered(meter, dictionary, table, source, _split(stream.facts))
        stream.facts["loss_recovered"] = found
    rms = _reference_rms(stream, docs)
    return replace(
        stream, channels=[replace(c, reference_rms=float(r)) for c, r in zip(stream.channels, rms)]
    )


def _with_factors(
    table: CollectionTable, source: Source, docs: Sequence[int]
) -> tuple[CollectionTable, list[str]]:
    """``input_factor = "estimate"`` as numbers, with the sentence for the page: √d_model / mean norm, place by place."""
    if table.input_factor != "estimate":
        return table, []
    n_places = max(1, len(source.facts.get("places", [])))
    total, n = np.zeros(n_places), 0
    for block in source.sample(docs):
        rows = (
            block.values[block.is_measured].reshape(-1, n_places, source.width // n_places).astype(np.float64)
        )
        norms = np.linalg.norm(rows, axis=2)
        finite = norms[np.isfinite(norms).all(1)]
        total, n = total + finite.sum(0), n + len(finite)
    if not n or not total.all():
        raise FeaturebookError(
            f"The inputs of collection {table.name!r} are 0 or not finite on the calibration documents, so no factor can be "
            "estimated. Give input_factor as a number."
        )
    factors = ((source.width // n_places) ** 0.5 * n / total).tolist()
    shown = ", ".join(f"{factor:.4g}" for factor in factors)
    remark = (
        f"Inputs are multiplied by √d_model / mean norm, estimated on {n:,} tokens of this text: {shown}."
    )
    return table.model_copy(update={"input_factor": factors if n_places > 1 else factors[0]}), [remark]


def _columns(table: CollectionTable, ids: list[str]) -> Int[np.ndarray, " channel"]:
    """Indices of the channels that the globs choose, in the order of the channel table."""
    kept: set[int] = set(range(len(ids))) if all(g.startswith("!") for g in table.channels) else set()
    for glob in table.channels:
        pattern = glob.removeprefix("!")
        hits = {i for i, identifier in enumerate(ids) if fnmatchcase(identifier, pattern)}
        if not hits:
            raise FeaturebookError(
                f"collections.{table.name}.channels: no channel matches {glob!r}. {nearest(pattern, ids)}"
            )
        kept = kept - hits if glob.startswith("!") else kept | hits
    if not kept:
        raise FeaturebookError(
            f"collections.{table.name}.channels = {table.channels} leaves no channel to read."
        )
    return np.array(sorted(kept), np.int64)


def _load(table: CollectionTable, trained: Path, source: Source | None) -> Dictionary:
    """The dictionary, checked against what it shall read when that is known."""
    assert table.input_factor != "estimate"
    options = LoadOptions(
        architecture=table.architecture,
        input_factor=table.input_factor,
        normalize_decoder=table.normalize_decoder,
        is_square=table.is_square or table.train is not None,
        selection=table.selection,
        threshold=table.threshold,
        allow_classes=tuple(table.allow_classes),
    )
    own = "crosscoder_learning" if table.kind == "crosscoder" else "saelens"
    path, format = (trained, own) if table.train is not None else (_fetched(table), table.format)
    if source is not None and source.facts.get("places"):
        dictionary = load_dictionary(path, format, options=options)
        _check_places(table, dictionary, source)
    width = None if source is None else source.width
    return load_dictionary(path, format, d_in=width, options=options)


def _check_places(table: CollectionTable, dictionary: Dictionary, source: Source) -> None:
    """A crosscoder must have been made for as many places as it is given, and anything else reads one."""
    made_for, given = dictionary.notes.get("n_places", 1), len(source.facts["places"])
    if table.train is None and (made_for > 1) != (table.kind == "crosscoder"):
        raise FeaturebookError(
            f"The dictionary of collection {table.name!r} reads {made_for} place{'s' * (made_for > 1)}. Set kind = "
            f'"{"crosscoder" if made_for > 1 else "sae"}".'
        )
    if table.train is None and made_for != given:
        raise FeaturebookError(
            f"The crosscoder of collection {table.name!r} was made for {made_for} places (layers or models) of width "
            f"{dictionary.d_in // made_for}, and hook_points name {given} of width {source.width // given}: "
            f"{', '.join(p['hook_point'] for p in source.facts['places'][:4])}, …. Name the places it was trained on, in that order."
        )
    recorded = [place.get("hook_point") for place in dictionary.notes.get("places") or []]
    asked = [place["hook_point"] for place in source.facts["places"]]
    if recorded and recorded != asked:
        raise FeaturebookError(
            f"The crosscoder of collection {table.name!r} was trained on other places: {', '.join(map(str, recorded))}; this run gives "
            f"{', '.join(asked)}. Set hook_points to the ones it was trained on."
        )


def load_own(table: CollectionTable, trained: Path) -> Dictionary:
    """A collection's dictionary, which collecting has checked against what it reads."""
    return _load(table, trained, None)


def load_as_collected(table: CollectionTable, trained: Path, facts: dict[str, Any]) -> Dictionary:
    """The same, with the input factors that collecting estimated (``facts`` of its summary)."""
    if table.input_factor == "estimate":
        table = table.model_copy(update={"input_factor": facts["input_factor"]})
    return load_own(table, trained)


def _fetched(table: CollectionTable) -> Path:
    """The collection's files on this disk; of a hub id (``owner/name``, ``owner/name/folder/in/it``) they are downloaded."""
    path = Path(str(table.path))
    if path.exists() or path.is_absolute():
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    parts = str(table.path).strip("/").split("/")
    repository, inside = "/".join(parts[:2]), "/".join(parts[2:])
    wanted = [inside, f"{inside}/*"] if inside else None
    try:
        folder = Path(snapshot_download(repository, revision=table.revision, allow_patterns=wanted))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise FeaturebookError(
            f"The dictionary {table.path!r} of collection {table.name!r} is neither here nor could it be downloaded "
            f"({type(error).__name__}). Check the name and the connection; a download goes on where it stopped."
        ) from error
    if not (folder / inside).exists():
        raise FeaturebookError(
            f"The hub's {repository!r} has no {inside!r}, which collection {table.name!r} asks for. Check the folder's name."
        )
    return folder / inside


def _check_inputs(table: CollectionTable, dictionary: Dictionary, ids: list[str]) -> None:
    """A dictionary that names the channels it was trained on must get exactly these."""
    recorded = dictionary.notes.get("input_channels")
    if recorded and recorded != ids:
        wrong = next((pair for pair in zip(recorded, ids) if pair[0] != pair[1]), (recorded[-1], ids[-1]))
        raise FeaturebookError(
            f"The dictionary of collection {table.name!r} was trained on other channels: it wants {wrong[0]!r} where this "
            f"run gives {wrong[1]!r}. Set its channels to the ones it was trained on, or train it again."
        )


def _facts(table: CollectionTable, dictionary: Dictionary, reads: str, trained: Path) -> dict[str, Any]:
    notes = dictionary.notes
    # A dictionary that Featurebook trained carries its figures, also when it was moved elsewhere since.
    folder = trained if table.train is not None else Path(str(table.path))
    training = read_json(folder / "training.json") if (folder / "training.json").is_file() else {}
    return {
        "kind": table.kind,
        "reads": reads,
        "format": "trained here" if table.train is not None else table.format,
        "architecture": training.get("architecture", dictionary.kind),
        "n_latents": dictionary.n_features,
        "n_inputs": dictionary.d_in,
        **({"input_factor": table.input_factor} if table.input_factor is not None else {}),
        "notes": [str(note) for note in notes.get("remarks", [])],
        **{key: training[key] for key in CARRIED if key in training},
    }


def _split(facts: dict[str, Any]) -> tuple[float, int] | None:
    """Share and seed of the held-out documents of a dictionary that Featurebook trained."""
    settings = facts.get("settings", {})
    return (settings["held_out"], settings["seed"]) if {"held_out", "seed"} <= set(settings) else None


def _reference_rms(stream: LatentStream, docs: Sequence[int]) -> np.ndarray:
    """Root mean square of every latent over the calibration documents; the median latent's where it is silent there."""
    squares, n = np.zeros(stream.dictionary.n_features), 0
    for block in stream.blocks(stream.source.sample(docs)):
        kept = block.is_measured[block.token]
        added = np.square(block.values[kept], dtype=np.float64)
        squares += np.bincount(block.channel[kept], weights=added, minlength=len(squares))
        n += int(block.is_measured.sum())
    rms = np.sqrt(squares / max(n, 1))
    typical = float(np.median(rms[rms > 0])) if (rms > 0).any() else 1.0
    return np.where(rms > 0, rms, typical)


def _curves(path: Path) -> dict[str, list[Any]]:
    """The training curves, thinned evenly; the last point is kept."""
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    points = [line for line in lines if "step" in line]
    kept = np.unique(np.linspace(0, len(points) - 1, min(len(points), CURVE_POINTS)).round().astype(int))
    return {name: [points[i].get(name) for i in kept] for name in CURVES} if points else {}
