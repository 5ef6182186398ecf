"""The dictionaries of a run (``[[collections]]``): trained or loaded, and turned into channels."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from jaxtyping import Int

from generator.artifacts import read_json, to_json, write_bytes
from generator.blocks import Activations, Block, Channel, Corpus, Directions
from generator.config import CollectionTable, RunConfig
from generator.errors import FeaturebookError, nearest
from generator.measure.collect import collect, latent_channels
from generator.measure.dictionaries import Dictionary, LoadOptions, load_dictionary
from generator.measure.extract import calibration_documents
from generator.measure.training import ActivationRows, train
from generator.measure.training.recovered import LossMeter
from generator.measure.training.state import append_line
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
    """A dictionary that stands where extraction would: it gives the latents of any blocks of the adapter's activations."""

    dictionary: Dictionary
    columns: Int[np.ndarray, " channel"]
    """Channels of the adapter that it reads."""
    channels: list[Channel]
    directions: list[Directions]
    loadings: Loadings
    facts: dict[str, Any]
    """For the collection's page."""

    def blocks(self, source: Iterable[Block]) -> Iterator[Block]:
        """The latents of a stream of blocks, as dense blocks."""
        everything = slice(0, self.dictionary.n_features)
        for sparse in collect(self.dictionary, source, self.columns):
            yield sparse.panel(everything)


def train_collection(
    table: CollectionTable, activations: Activations, corpus: Corpus, chunks: list[slice], folder: Path,
    progress: Progress, key: str, meter: LossMeter,
) -> dict[str, Any]:  # fmt: skip
    """Trains one dictionary into its folder, or goes on from the checkpoint there; then measures its loss recovered.

    Returns:
        Facts for the manifest.
    """
    assert table.train is not None
    ids = [channel.id for channel in activations.load_channels()[0]]
    columns = _columns(table, ids)
    rows = ActivationRows(activations, corpus, chunks, columns)
    inputs = [ids[i] for i in columns]
    result = train(rows, table.train, folder, progress, key, {"input_channels": inputs})
    facts = result.facts | {"curves": _curves(folder / "metrics.jsonl")}
    if table.loss_documents:
        split = table.train.held_out, table.train.seed
        facts |= {"loss_recovered": meter.of(result.dictionary, inputs, split, table.loss_documents)}
        append_line(folder / "metrics.jsonl", {"loss_recovered": facts["loss_recovered"]})
    write_bytes(folder / "training.json", to_json(facts))
    return {f"n_latents_{table.name}": result.dictionary.n_features}


def open_stream(
    table: CollectionTable, config: RunConfig, activations: Activations, corpus: Corpus, chunks: list[slice],
    trained: Path, meter: LossMeter,
) -> LatentStream:  # fmt: skip
    """Loads a collection's dictionary and makes its channel table.

    Args:
        table: The collection.
        config: The run.
        activations: Of the adapter.
        corpus: The text.
        chunks: Of the activations.
        trained: The folder that ``train_collection`` wrote, for a collection with ``train``.
        meter: Measures the loss recovered of a dictionary that carries no such figure.

    Raises:
        FeaturebookError: the dictionary cannot be read, or was made for other channels.
    """
    ids = [channel.id for channel in activations.load_channels()[0]]
    columns = _columns(table, ids)
    dictionary = _load(table, trained, len(columns))
    _check_inputs(table, dictionary, [ids[i] for i in columns])
    channels, directions = latent_channels(dictionary, table.name)
    stream = LatentStream(
        dictionary=dictionary,
        columns=columns,
        channels=channels,
        directions=directions,
        loadings=Loadings(
            channels=np.arange(len(channels)),
            inputs=[ids[i] for i in columns],
            read=dictionary.W_enc.cpu().numpy(),
            write=dictionary.W_dec.cpu().numpy(),
        ),
        facts=_facts(table, dictionary, config.collection, trained),
    )
    if table.loss_documents and "loss_recovered" not in stream.facts:
        found = meter.of(dictionary, stream.loadings.inputs, _split(stream.facts), table.loss_documents)
        stream.facts["loss_recovered"] = found
    rms = _reference_rms(stream, config, activations, corpus, chunks)
    return replace(stream, channels=[replace(c, reference_rms=float(r)) for c, r in zip(channels, rms)])


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


def _load(table: CollectionTable, trained: Path, width: int) -> Dictionary:
    options = LoadOptions(
        architecture=table.architecture,
        input_factor=table.input_factor,
        normalize_decoder=table.normalize_decoder,
        is_square=table.is_square or table.train is not None,
        selection=table.selection,
        threshold=table.threshold,
    )
    if table.train is not None:
        return load_dictionary(trained, "saelens", d_in=width, options=options)
    return load_dictionary(_fetched(table), table.format, d_in=width, options=options)


def _fetched(table: CollectionTable) -> Path:
    """The collection's files on this disk; a hub id is downloaded."""
    path = Path(str(table.path))
    if path.exists() or path.is_absolute():
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(table.path), revision=table.revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise FeaturebookError(
            f"The dictionary {table.path!r} of collection {table.name!r} is neither here nor could it be downloaded "
            f"({type(error).__name__}). Check the name and the connection; a download goes on where it stopped."
        ) from error


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
        "notes": [str(note) for note in notes.get("remarks", [])],
        **{key: training[key] for key in CARRIED if key in training},
    }


def _split(facts: dict[str, Any]) -> tuple[float, int] | None:
    """Share and seed of the held-out documents of a dictionary that Featurebook trained."""
    settings = facts.get("settings", {})
    return (settings["held_out"], settings["seed"]) if {"held_out", "seed"} <= set(settings) else None


def _reference_rms(
    stream: LatentStream, config: RunConfig, activations: Activations, corpus: Corpus, chunks: list[slice]
) -> np.ndarray:
    """Root mean square of every latent over the calibration documents; the median latent's where it is silent there."""
    docs = calibration_documents(corpus.n_docs, config.extract.calibration_documents, config.seed)
    wanted = np.isin(corpus.doc, docs)
    squares, n = np.zeros(stream.dictionary.n_features), 0
    for chunk in chunks:
        if not wanted[chunk].any():
            continue
        for block in stream.blocks(activations.blocks(corpus, chunk)):
            rows = block.is_measured & wanted[block.start : block.stop]
            squares += np.square(block.values[rows], dtype=np.float64).sum(axis=0)
            n += int(rows.sum())
    rms = np.sqrt(squares / max(n, 1))
    typical = float(np.median(rms[rms > 0])) if (rms > 0).any() else 1.0
    return np.where(rms > 0, rms, typical)


def _curves(path: Path) -> dict[str, list[Any]]:
    """The training curves, thinned evenly; the last point is kept."""
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    points = [line for line in lines if "step" in line]
    kept = np.unique(np.linspace(0, len(points) - 1, min(len(points), CURVE_POINTS)).round().astype(int))
    return {name: [points[i].get(name) for i in kept] for name in CURVES} if points else {}
