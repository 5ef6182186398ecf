"""The panels ``crosscoder`` and ``latent_effects`` of every collection over hook points, and its effects in whole documents."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch

from generator.blocks import Corpus
from generator.config import CollectionTable
from generator.errors import FeaturebookError, nearest
from generator.measure.dictionaries import Dictionary
from generator.measure.effects.alignment import NamedVectors
from generator.measure.effects.crosscoder import find_crosscoder
from generator.measure.effects.latents import Ablation, Piece, example_of, piece_of, rounded
from generator.measure.effects.reading import PlaceReader
from generator.measure.effects.run import EffectsRun, strongest_of
from generator.summaries import Summary

Panels = dict[str, tuple[dict[str, Any], dict[str, Any]]]
"""Panel -> (findings by id, facts)."""

ABLATION_METHOD = (
    "z(t) · decoder is taken from every measured token of the piece at one place, and the rest of the model runs on. A change below 0: "
    "without the latent the true next token is less likely."
)


def find_over_hook_points(run: EffectsRun) -> Panels:
    """What ``[effects]`` asks for of collections over hook points; empty without any.

    Raises:
        FeaturebookError: a glob that matches nothing, a place that a collection does not have.
    """
    table = run.config.effects
    assert table is not None
    collections = [c for c in run.config.collections if not run.latents[c.name].loadings]
    wanted = [panel for panel in ("crosscoder", "latent_effects") if panel in table.parts]
    if not collections or not wanted:
        return {}
    found: Panels = {panel: ({}, {"collections": {}}) for panel in wanted}
    if "latent_effects" in wanted and table.documents:
        found["document_effects"] = ({}, {"method": ABLATION_METHOD})
    _check_globs(run, collections)
    readers = {c.name: PlaceReader(run.with_places(c), run.models) for c in collections}
    asked = _asked_place(table.ablate_at, readers)
    for collection in collections:
        _find(run, collection, readers, asked.get(collection.name), found)
    return found


def _asked_place(name: str, readers: dict[str, PlaceReader]) -> dict[str, int]:
    """Collection -> the place where its latents shall be ablated; those that do not have it are left out.

    Raises:
        FeaturebookError: no collection has it.
    """
    if not name:
        return {}
    found = {collection: reader.find(name) for collection, reader in readers.items()}
    if all(index is None for index in found.values()):
        known = [place.name for reader in readers.values() for place in reader.places]
        raise FeaturebookError(
            f"effects.ablate_at = {name!r} is no place of a collection. {nearest(name, known)}"
        )
    return {collection: index for collection, index in found.items() if index is not None}


def _find(
    run: EffectsRun,
    collection: CollectionTable,
    readers: dict[str, PlaceReader],
    asked: int | None,
    found: Panels,
) -> None:
    table = run.config.effects
    assert table is not None
    summary = run.latents[collection.name]
    ids = [channel.id for channel in summary.channels]
    reader, dictionary = readers[collection.name], run.dictionary(collection)
    if dictionary.is_transcoder:
        return  # it writes to another place than it reads
    chosen = _chosen(run, summary)
    if "crosscoder" in found:
        others = _vectors(run, collection.name, readers)
        told = find_crosscoder(
            reader, dictionary, run.corpus, ids, others, table, chosen, run.progress, run.config.seed
        )
        values, facts = found["crosscoder"]
        values |= told.values
        facts["collections"][collection.name] = told.facts
    if "latent_effects" not in found:
        return
    why = _why_not(reader)
    values, facts = found["latent_effects"]
    if why:
        values |= {ids[f]: {"undefined": why} for f in chosen}
        return
    ablation = Ablation(reader, dictionary, run.corpus)
    places = _places(reader, dictionary, asked, found.get("crosscoder"), ids)
    facts["collections"][collection.name] = {"places": [place.name for place in reader.places]}
    facts["method"] = ABLATION_METHOD
    values |= _examples(run, ablation, summary, chosen, places, table.examples)
    if "document_effects" in found:
        _documents(run, ablation, summary, places, found["document_effects"][0])


def _why_not(reader: PlaceReader) -> str:
    """The sentence why ablating says nothing of a next token; empty where it does."""
    for anatomy in reader.anatomies.values():
        name = type(anatomy.model).__name__
        if not anatomy.is_causal or not name.endswith(("ForCausalLM", "LMHeadModel")):
            return f"Undefined here: {name} predicts no next token."
    return ""


def _places(
    reader: PlaceReader, dictionary: Dictionary, asked: int | None, crosscoder: Any, ids: Sequence[str]
) -> list[int]:
    """Where each latent is ablated: the asked place, else its peak; by plain norms where sizes were not measured."""
    if asked is not None:
        return [asked] * len(ids)
    if crosscoder is not None:
        return [int(crosscoder[0][identifier]["peak"]) for identifier in ids]
    norms = dictionary.W_dec.view(len(ids), len(reader.places), -1).norm(dim=2)
    return norms.argmax(1).tolist()


def _check_globs(run: EffectsRun, collections: Sequence[CollectionTable]) -> None:
    table = run.config.effects
    assert table is not None
    known = [channel.id for c in collections for channel in run.latents[c.name].channels]
    for glob in table.latents if isinstance(table.latents, list) else ():
        if not any(fnmatchcase(identifier, glob) for identifier in known):
            raise FeaturebookError(f"effects.latents: no latent matches {glob!r}. {nearest(glob, known)}")


def _chosen(run: EffectsRun, summary: Summary) -> list[int]:
    """The latents of one collection that are ablated."""
    table = run.config.effects
    assert table is not None
    ids = [channel.id for channel in summary.channels]
    if isinstance(table.latents, list):
        return [
            f for f, identifier in enumerate(ids) if any(fnmatchcase(identifier, g) for g in table.latents)
        ]
    picked = [ids.index(identifier) for identifier in run.config.publish.picked if identifier in ids]
    return list(dict.fromkeys([*picked, *strongest_of(summary)]))[: table.latents]


def _vectors(run: EffectsRun, name: str, readers: dict[str, PlaceReader]) -> NamedVectors:
    """LoRA directions and the latents of other collections, with their vectors in the residual stream."""
    ids: list[str] = []
    sides: list[str] = []
    parts: list[np.ndarray] = []
    channels, directions = run.channels
    for one in directions:
        if one.space == "residual":
            ids += [channels[int(i)].id for i in one.channels]
            sides += [one.side] * len(one.channels)
            parts.append(np.asarray(one.vectors, np.float32))
    for collection in run.config.collections:
        summary = run.latents[collection.name]
        if collection.name != name and not summary.loadings:
            vectors = _strongest_writes(readers[collection.name], run.dictionary(collection))
            ids += [channel.id for channel in summary.channels] if vectors is not None else []
            sides += ["write"] * len(vectors) if vectors is not None else []
            parts += [vectors] if vectors is not None else []
    widths = {part.shape[1] for part in parts}
    if len(widths) != 1:
        return NamedVectors([], [], torch.zeros(0, 0))
    return NamedVectors(ids, sides, torch.from_numpy(np.concatenate(parts)))


def _strongest_writes(reader: PlaceReader, dictionary: Dictionary) -> np.ndarray | None:
    """Of every latent of another collection, its decoder at the place of the residual stream where it is longest."""
    residual = [i for i, place in enumerate(reader.places) if place.point.space == "residual"]
    if not residual or dictionary.is_transcoder:
        return None
    decoder = dictionary.W_dec.cpu().view(dictionary.n_features, len(reader.places), -1)[:, residual]
    best = decoder.norm(dim=2).argmax(1)
    return decoder[torch.arange(len(best)), best].numpy()


# --- ablation --------------------------------------------------------------------------------------------------


def _examples(
    run: EffectsRun,
    ablation: Ablation,
    summary: Summary,
    chosen: Sequence[int],
    places: Sequence[int],
    n: int,
) -> dict[str, Any]:
    """Channel id -> its strongest examples, ablated."""
    corpus, values = run.corpus, {}
    for f in chosen:
        told = [_example(corpus, ablation, f, places[f], row) for row in _top_rows(summary, f)[:n]]
        shown = [one for one in told if one is not None]
        run.progress.advance()
        if shown:
            values[summary.channels[f].id] = {"place": places[f], "examples": shown} | _mean(shown)
    return values


def _top_rows(summary: Summary, f: int) -> list[dict[str, int]]:
    rows = summary.examples.of(f)
    top = rows["group"] == summary.groups.index("top")
    names = ("doc", "position", "start", "length")
    return [dict(zip(names, row)) for row in zip(*(rows[name][top].tolist() for name in names))]


def _example(
    corpus: Corpus, ablation: Ablation, f: int, place: int, row: dict[str, int]
) -> dict[str, Any] | None:
    first = int(corpus.doc_offsets[row["doc"]])
    peak = first + row["position"]
    piece = piece_of(corpus, peak)
    window = slice(
        max(piece.start, first + row["start"]), min(piece.stop, first + row["start"] + row["length"])
    )
    for found in ablation.of(piece, [(f, place)], stop=window.stop):
        return example_of(corpus, found, piece, row["doc"], peak, window)
    return None


def _mean(examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean change of log p at the shown tokens where the latent is active and a next token is known."""
    changes = [
        change
        for example in examples
        for value, change in zip(example["values"], example["changes"])
        if value and change is not None
    ]
    return {"mean": round(float(np.mean(changes)), 4) if changes else None, "n": len(changes)}


def _documents(
    run: EffectsRun, ablation: Ablation, summary: Summary, places: Sequence[int], values: dict[str, Any]
) -> None:
    """In whole documents, the latents that are among the strongest at some token: the change there."""
    table, kept, corpus = run.config.effects, summary.documents, run.corpus
    assert table is not None
    if not kept:
        return
    for place, doc in enumerate(kept["doc"].tolist()[: table.documents]):
        rows = slice(*kept["offsets"][place : place + 2].tolist())
        shown = kept["channel"][rows]
        order = _strongest_in(shown, kept["value"][rows], table.document_latents)
        tokens = corpus.tokens_of(doc)
        told = values.setdefault(f"doc/{doc}", {})
        for piece in (Piece(*p) for p in corpus.pieces.tolist() if tokens.start <= p[1] < tokens.stop):
            for found in ablation.of(piece, [(f, places[f]) for f in order]):
                own = slice(piece.measured - piece.start, None)
                at = np.arange(piece.measured, piece.stop) - tokens.start
                is_shown = (shown[at] == found.latent).any(1) & ~np.isnan(found.change[own])
                changes = rounded(found.change[own][is_shown])
                entry = told.setdefault(summary.channels[found.latent].id, {"at": [], "change": []})
                entry["at"] += at[is_shown].tolist()
                entry["change"] += changes


def _strongest_in(shown: np.ndarray, values: np.ndarray, n: int) -> list[int]:
    """The latents of a document by their largest activation there."""
    largest: dict[int, float] = {}
    for f, value in zip(shown.ravel().tolist(), np.nan_to_num(np.abs(values)).ravel().tolist()):
        if f >= 0 and value > 0:
            largest[f] = max(largest.get(f, 0.0), value)
    return sorted(largest, key=lambda f: (-largest[f], f))[:n]
