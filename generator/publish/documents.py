"""Document shards: a whole document with the strongest channels at each token."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from generator.artifacts import to_json
from generator.publish.analysis import MAIN, Analysis, rounded
from generator.publish.book import SCHEMA, Book
from generator.publish.latent_effects import document_effects
from generator.publish.numbers import significant
from generator.publish.records import quantise, scale_of
from generator.publish.visible import plain

RAREST = 90
"""Largest rarity: one token in a billion."""

LONGEST_METADATA = 300
"""Characters of a metadata value that a document page shows."""


def doc_id(doc: int) -> str:
    """The id of a document's page."""
    return f"doc/{doc}"


def document_shard(book: Book, doc: int) -> dict[str, Any]:
    """All that the page of a document shows."""
    corpus, tokens = book.corpus, book.corpus.tokens_of(doc)
    strings = book.strings()
    token_ids = corpus.token_ids[tokens]
    text = strings.indices(token_ids, np.array([0, len(token_ids)]))
    channel, value = _firing(book, doc)
    order, largest = strongest_here(book, doc)
    scales = np.array([scale_of(book, index) for index in order])
    documents = list(book.documents)
    place = documents.index(doc)
    return {
        "schema": SCHEMA,
        "id": doc_id(doc),
        "doc": doc,
        "name": book.doc_names[doc],
        "metadata": shown_metadata(corpus.doc_metadata[doc]),
        "previous": doc_id(documents[place - 1]) if place else None,
        "next": doc_id(documents[place + 1]) if place + 1 < len(documents) else None,
        "n_tokens": len(token_ids),
        "text": text,
        "is_measured": corpus.is_measured[tokens].astype(np.int64),
        **strings.fields(),
        "channels": {
            "id": [book.summary.channels[index].id for index in order],
            "has_page": [int(index in book.published_set) for index in order],
            "is_signed": [int(book.summary.channels[index].is_signed) for index in order],
            "scale": scales,
            "reference_rms": [significant(book.summary.channels[index].reference_rms) for index in order],
            "max_here": [significant(here) for here in largest],
        },
        "strongest": _strongest(channel, value, order, scales, _rarity(book, channel, value)),
        **({"effects": effects} if (effects := document_effects(book, doc, order)) else {}),
        **(analysed_part(book.analysis, doc) if book.analysis else {}),
    }


def analysed_part(analysis: Analysis, doc: int) -> dict[str, Any]:
    """KL of base and adapted model at every token, and the page on which the text is analysed, where there are such."""
    shown: dict[str, Any] = {}
    listed = {entry["doc"] for entry in analysis.models.get(MAIN, {}).get("divergence", [])}
    file = analysis.read(MAIN, "divergence", f"{doc}.json") if doc in listed else None
    if file and "base_adapted" in file:
        names = ("base_adapted", "adapted_base", "surprise_change")
        shown["divergence"] = {name: rounded(file[name]) for name in names}
    page = analysis.text_of_document(doc)
    return {**shown, "analysed": page} if page else shown


def shown_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """What the source said of a document, long texts cut: it may hold the text again, or another like it."""
    shown: dict[str, Any] = {}
    for name, value in metadata.items():
        text = value if isinstance(value, str) else to_json(value).decode().strip()
        is_short = len(text) <= LONGEST_METADATA
        shown[plain(name)] = value if is_short else text[: LONGEST_METADATA - 1] + "…"
    return shown


def strongest_here(book: Book, doc: int) -> tuple[list[int], list[float]]:
    """The channels that are among the strongest at some token of a document, the strongest in it first.

    Strength is |activation| / reference RMS, as where the tokens' strongest were chosen; ties keep the order of the table.

    Returns:
        Channel indices, and the activation of largest size of each.
    """
    channel, value = (table.ravel() for table in _firing(book, doc))
    known = (channel >= 0) & np.isfinite(value)
    channel, value = channel[known], value[known]
    by_size = np.lexsort((-np.abs(value), channel))
    unique, first = np.unique(channel[by_size], return_index=True)
    largest = value[by_size][first]
    rms = np.array([book.summary.channels[index].reference_rms for index in unique.tolist()])
    strength = np.abs(largest) / np.where(rms > 0, rms, 1.0)
    order = np.lexsort((unique, -strength))
    return unique[order].tolist(), largest[order].tolist()


def _firing(book: Book, doc: int) -> tuple[Int[np.ndarray, "token k"], Float[np.ndarray, "token k"]]:
    """The strongest channels at each token and their values; a silent latent stands as −1, it is none."""
    rows = book.documents[doc]
    channel = book.summary.documents["channel"][rows].astype(np.int64)
    value = book.summary.documents["value"][rows].astype(np.float64)
    return np.where(book.unsigned[channel] & (value == 0), -1, channel), value


def strongest_in_turn(book: Book, doc: int) -> list[int]:
    """The published channels of ``strongest_here``, one of each collection at a time.

    Collections are not compared: a latent that is mostly silent has a small RMS, hence large ratios.
    """
    number = {name: turn for turn, name in enumerate(book.collections)}
    places: dict[str, int] = {}  # collection -> how many of its channels came before
    turns = []
    for index in strongest_here(book, doc)[0]:
        if index in book.published_set:
            name = book.summary.channels[index].collection
            places[name] = places.get(name, -1) + 1
            turns.append((places[name], number[name], index))
    return [index for *_, index in sorted(turns)]


def _strongest(
    channel: Int[np.ndarray, "token k"],
    value: Float[np.ndarray, "token k"],
    order: list[int],
    scales: Float[np.ndarray, " channel"],
    rarity: Int[np.ndarray, "token k"],
) -> dict[str, Any]:
    """Per token: indices into ``channels``, and as many values as integers × that channel's scale, and rarities."""
    size = max([int(channel.max(initial=-1)), *order], default=-1) + 2
    place = np.full(size, -1)
    place[order] = np.arange(len(order))
    here = np.where(channel >= 0, place[channel], -1)
    units = np.concatenate([np.where(scales > 0, scales, 1.0), [1.0]])[here]
    values = np.asarray(quantise(np.where(here >= 0, value, 0.0) / units, 1.0))
    known = here >= 0
    return {
        "channel": [row[kept].tolist() for row, kept in zip(here, known)],
        "value": [row[kept].tolist() for row, kept in zip(values, known)],
        "rarity": [row[kept].tolist() for row, kept in zip(rarity, known)],
    }


def _rarity(
    book: Book, channel: Int[np.ndarray, "token k"], value: Float[np.ndarray, "token k"]
) -> Int[np.ndarray, "token k"]:
    """−10 · log₁₀ of the share of measured tokens with an activation at least as far from zero, on the same side."""
    found = np.zeros(channel.shape, np.int64)
    shown = (channel >= 0) & np.isfinite(value)
    order = np.argsort(channel[shown], kind="stable")
    channels, values = channel[shown][order], value[shown][order]
    rarities = np.zeros(len(channels), np.int64)
    bounds = np.flatnonzero(np.diff(channels, prepend=-1, append=-1)) if len(channels) else [0]
    for start, stop in zip(bounds, bounds[1:]):
        shares = share_as_strong(book, int(channels[start]), values[start:stop])
        rarities[start:stop] = np.rint(-10 * np.log10(shares)).clip(0, RAREST)
    flat = np.zeros(len(channels), np.int64)
    flat[order] = rarities
    found[shown] = flat
    return found


def share_as_strong(book: Book, index: int, values: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    """Share of a channel's measured tokens that are at least as far from zero on the same side.

    From the exact histogram, straight inside a bin; never less than one token.
    """
    counts = book.summary.histogram.of(index)["count"].astype(np.float64)
    if not len(counts):
        return np.ones(len(values))
    first, step = int(book.summary.histogram_first[index]), float(book.summary.histogram_step[index])
    edges = (first + np.arange(len(counts) + 1)) * step
    below = np.concatenate([[0.0], np.cumsum(counts)])
    lower = np.interp(values, edges, below)
    as_strong = np.where(values < 0, lower, below[-1] - lower)
    return np.maximum(as_strong, 1.0) / max(below[-1], 1.0)
