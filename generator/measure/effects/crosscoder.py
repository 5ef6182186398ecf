"""Findings of dictionaries over hook points: profiles over places, models compared, logits by place, neurons (docs/crosscoders.md)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from generator.blocks import Corpus
from generator.config import EffectsTable
from generator.errors import FeaturebookError
from generator.measure.analyze.ablation import choose_documents
from generator.measure.analyze.capture import feeds
from generator.measure.dictionaries import Dictionary
from generator.measure.effects.alignment import NamedVectors, Neurons, aligned, find_neurons, pairs
from generator.measure.effects.logits import find_way_out, logit_effects, round_to
from generator.measure.effects.profile import ModelDifference, Profile, difference, profile
from generator.measure.effects.reading import PlaceReader
from generator.measure.effects.streamed import SampleTotals
from generator.progress import Progress

NEURONS, CHANNELS, TOKENS = 5, 4, 5
"""Listed by place: neurons, channels, and tokens of either side."""

CORRELATED = 1 << 25
"""Latents × neurons up to which every latent is correlated with every neuron (256 MB); beyond, the chosen latents are."""

BATCH_TOKENS = 2048
"""Tokens of a forward pass."""


@dataclass(frozen=True)
class CrosscoderFindings:
    """Of one collection."""

    values: dict[str, dict[str, Any]]  # "crosscoder/77" -> {"norms": […], …}
    facts: dict[str, Any]
    """Of the collection: ``places`` with their sizes and FVU, what was sampled, thresholds."""


def find_crosscoder(
    reader: PlaceReader,
    dictionary: Dictionary,
    corpus: Corpus,
    ids: Sequence[str],
    others: NamedVectors,
    table: EffectsTable,
    chosen: Sequence[int],
    progress: Progress,
    seed: int = 0,
) -> CrosscoderFindings:
    """Everything that the weights and a sample of the text say of each latent.

    Args:
        reader: The collection's places.
        dictionary: Over them, in their order.
        corpus: The text.
        ids: Of the latents.
        others: Vectors of the residual stream that the decoder is compared with.
        table: How much is read.
        chosen: Latents that are correlated with neurons where all would be too many.
        progress: Advances by tokens read.
        seed: Of the choice of documents.
    """
    n_places = len(reader.places)
    neurons = _neurons(reader)
    rows = np.arange(dictionary.n_features)
    if neurons is not None and len(rows) * len(neurons.layers) > CORRELATED:
        rows = np.array(sorted(chosen), np.int64)
    totals = _sample(reader, dictionary, corpus, neurons, rows, table, progress, seed)
    decoder = dictionary.W_dec.cpu().view(dictionary.n_features, n_places, -1)
    found = profile(decoder.numpy(), totals.sizes)
    models = difference(decoder.numpy(), totals.sizes) if len(reader.table.models) == 2 else None
    values: list[dict[str, Any]] = [_profile_of(found, models, f) for f in range(len(ids))]
    _add_scaling(values, totals)
    _add_neurons(values, reader, decoder, neurons)
    _add_correlations(values, totals, neurons)
    _add_channels(values, reader, decoder, others)
    facts = _facts(reader, totals, corpus, neurons, rows, dictionary.n_features)
    facts["logits"] = _add_logits(values, reader, decoder, corpus, seed)
    return CrosscoderFindings(dict(zip(ids, values)), facts)


def _neurons(reader: PlaceReader) -> Neurons | None:
    loaded = reader.models.get(reader.table.models[-1])
    return find_neurons(loaded.model, loaded.device)


def _sample(
    reader: PlaceReader, dictionary: Dictionary, corpus: Corpus, neurons: Neurons | None, rows: np.ndarray,
    table: EffectsTable, progress: Progress, seed: int,
) -> SampleTotals:  # fmt: skip
    """One pass over the sampled documents' measured tokens."""
    n_neurons = len(neurons.layers) if neurons else 0
    totals = SampleTotals(dictionary, len(reader.places), len(reader.table.models), n_neurons, rows)
    docs = choose_documents(corpus, table.sample_documents, seed)
    device = reader.anatomies[reader.table.models[0]].device
    for feed in feeds(corpus, batch_tokens=BATCH_TOKENS, device=device, docs=docs):
        x, beside = reader.read(feed.inputs(), neurons.points if neurons else ())
        kept = torch.from_numpy(corpus.is_measured[feed.rows]).to(x.device)
        picked = None if beside is None else feed.flatten(beside)[kept.to(beside.device)]
        totals.add(feed.flatten(x)[kept].to(dictionary.W_enc.device), picked)
        progress.advance(int(kept.sum()))
    return totals


def _facts(
    reader: PlaceReader,
    totals: SampleTotals,
    corpus: Corpus,
    neurons: Neurons | None,
    rows: np.ndarray,
    n: int,
) -> dict[str, Any]:
    return {
        "places": [
            {
                "model": place.model, "hook_point": place.point.id, "layer": place.point.layer,
                "name": place.point.module, "space": place.point.space,
                "size": round_to(float(size)), "fvu": _number(fvu),
            }
            for place, size, fvu in zip(reader.places, totals.sizes, totals.fvu)
        ],
        "n_models": len(reader.table.models),
        "n_tokens": totals.n_tokens,
        "n_neurons": len(neurons.layers) if neurons else 0,
        "correlated": "all" if len(rows) == n else "chosen",
    }  # fmt: skip


def _number(value: float) -> float | None:
    return round_to(float(value)) if math.isfinite(value) else None


def _numbers(values: Sequence[float] | np.ndarray, digits: int = 4) -> list[float | None]:
    return [round_to(float(v), digits) if math.isfinite(v) else None for v in values]


def _profile_of(found: Profile, models: ModelDifference | None, f: int) -> dict[str, Any]:
    n_places = found.norms.shape[1]
    value: dict[str, Any] = {
        "norms": _numbers(found.norms[f]),
        "peak": int(found.peak[f]),
        "n_active": int(found.n_active[f]),
        "entropy": _number(float(found.entropy[f])),
    }
    if n_places > 1:
        value["cosines"] = _numbers(found.cosines[f][np.triu_indices(n_places, 1)], 3)
    if models is not None:
        value |= {
            "relative_norm": _number(float(models.relative_norm[f])),
            "model_cosine": _number(float(models.cosine[f])),
        }
    return value


def _add_scaling(values: list[dict[str, Any]], totals: SampleTotals) -> None:
    scaling = totals.scaling
    if scaling is None:
        return
    ratios = {name: scaling.ratio(name) for name in ("reconstruction", "error")}
    for f, value in enumerate(values):
        value["scaling"] = {"own": int(scaling.own[f])} | {
            name: {"beta": _numbers(getattr(scaling, name)[f]), "nu": _number(float(ratios[name][f]))}
            for name in ratios
        }


def _residual(reader: PlaceReader) -> list[int]:
    return [index for index, place in enumerate(reader.places) if place.point.space == "residual"]


def _add_neurons(
    values: list[dict[str, Any]], reader: PlaceReader, decoder: Tensor, neurons: Neurons | None
) -> None:
    """By place of the residual stream, the neurons of the layers so far that write most nearly along the decoder."""
    if neurons is None or neurons.writes.shape[1] != reader.width:
        return
    for value in values:
        value["neurons"] = [[] for _ in reader.places]
    for index in _residual(reader):
        point = reader.places[index].point
        before = np.flatnonzero(neurons.layers < point.layer + (point.side == "output"))
        before = before if len(before) else np.arange(len(neurons.layers))
        names = [(int(neurons.layers[n]), int(neurons.numbers[n])) for n in before.tolist()]
        places, cosines = aligned(decoder[:, index], neurons.writes[before], NEURONS)
        for f, value in enumerate(values):
            value["neurons"][index] = pairs(places[f], cosines[f], names)


def _add_correlations(values: list[dict[str, Any]], totals: SampleTotals, neurons: Neurons | None) -> None:
    if neurons is None or not totals.n_tokens:
        return
    found = totals.correlations
    for row, f in enumerate(totals.rows.tolist()):
        size = np.nan_to_num(np.abs(found[row]), nan=-1.0)
        best = np.argsort(-size, kind="stable")[:NEURONS]
        values[f]["correlated"] = [
            [int(neurons.layers[n]), int(neurons.numbers[n]), round_to(float(found[row, n]), 3)]
            for n in best.tolist()
            if size[n] > 0
        ]


def _add_channels(
    values: list[dict[str, Any]], reader: PlaceReader, decoder: Tensor, others: NamedVectors
) -> None:
    if not others.ids or others.vectors.shape[1] != reader.width:
        return
    names = list(zip(others.ids, others.sides))
    for value in values:
        value["channels"] = [[] for _ in reader.places]
    for index in _residual(reader):
        places, cosines = aligned(decoder[:, index], others.vectors, CHANNELS)
        for f, value in enumerate(values):
            value["channels"][index] = pairs(places[f], cosines[f], names)


def _add_logits(
    values: list[dict[str, Any]], reader: PlaceReader, decoder: Tensor, corpus: Corpus, seed: int
) -> dict[str, Any]:
    """By place of the residual stream, what a unit of activation adds to the logits on the straight way out of its model."""
    divisors: list[float | None] = [None] * len(reader.places)
    tops: list[list[Any]] = [[None] * len(reader.places) for _ in values]
    for name in reader.table.models:
        own = [i for i in _residual(reader) if reader.owners[i] == name]
        if not own:
            continue
        try:
            with reader.unchanged(own[0]) as anatomy:
                way = find_way_out(anatomy, corpus, seed=seed)
        except FeaturebookError as error:
            return {"undefined": str(error)}
        for index in own:
            divisors[index] = round_to(way.divisor)
            vectors: Float[Tensor, "feature d_out"] = decoder[:, index]
            for f, found in enumerate(logit_effects(vectors, way, TOKENS)):
                if "undefined" not in found:
                    tops[f][index] = {"top": found["top"], "bottom": found["bottom"]}
    for value, top in zip(values, tops):
        value["logits"] = top
    return {"divisors": divisors}
