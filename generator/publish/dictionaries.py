"""What latents of a dictionary over channels read and write, seen from the latent and from the channel."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from generator.publish.book import STEPS, Book
from generator.publish.explorer import token_texts
from generator.publish.numbers import rounded, significant
from generator.publish.records import FeatureRecord
from generator.summaries import Loadings

SIDES = ("read", "write")
"""Encoder weights, decoder weights."""


def loadings(record: FeatureRecord) -> dict[str, Any] | None:
    """The weights of a latent over the channels that its dictionary reads, in the order of the collection's ``inputs``."""
    if record.index not in record.book.loadings_of:
        return None
    table, row = record.book.loadings_of[record.index]
    return {
        "collection": record.channel.collection,
        "n_inputs": len(table.inputs),
        **{side: _side(record.book, table.inputs, getattr(table, side)[row]) for side in SIDES},
    }


def _side(book: Book, inputs: list[str], weights: Float[np.ndarray, " input"]) -> dict[str, Any]:
    """One side of a latent: quantised weights and the strongest by size, each with its share of Σ|weight|."""
    weights = np.nan_to_num(weights.astype(np.float64), posinf=0.0, neginf=0.0)
    scale = rounded(float(np.abs(weights).max(initial=0.0)) / STEPS, book.preset.digits)
    by_size = np.argsort(-np.abs(weights), kind="stable")
    order, kept = by_size[: book.preset.named], np.sort(by_size[: book.preset.weights])
    total = float(np.abs(weights).sum())
    return {
        "scale": scale,
        "weights": np.rint(weights[kept] / (scale or 1.0)).astype(np.int64),
        "places": None if len(kept) == len(weights) else kept,
        "strongest": [
            {
                "id": inputs[i],
                "has_page": book.index_of.get(inputs[i]) in book.published_set,
                "weight": significant(weights[i]),
                "share": significant(abs(weights[i]) / total),
            }
            for i in order.tolist()
            if weights[i]
        ],
    }


def density(record: FeatureRecord) -> dict[str, Any] | None:
    """A latent's place among all of its dictionary: how often it is active, and how much at most."""
    book, index = record.book, record.index
    if not book.is_latent(index):
        return None
    return {
        "density": significant(book.statistics["share_active"][index]),
        "max": significant(book.largest(index)),
    }


def latents(record: FeatureRecord) -> list[dict[str, Any]] | None:
    """The latents that read a channel and write to it most, of both signs, for every dictionary that reads it."""
    found = []
    for table in record.book.summary.loadings:
        if record.channel.id in table.inputs:
            found.append(_latents_of(record.book, table, table.inputs.index(record.channel.id)))
    return found or None


def _latents_of(book: Book, table: Loadings, column: int) -> dict[str, Any]:
    alive = np.flatnonzero(~book.dead[table.channels])
    shown: dict[str, Any] = {"collection": book.summary.channels[int(table.channels[0])].collection}
    for side in SIDES:
        matrix = getattr(table, side)
        weights = np.nan_to_num(matrix[alive, column].astype(np.float64), posinf=0.0, neginf=0.0)
        order = np.argsort(-weights, kind="stable")
        shown[side] = {
            "positive": _strongest(book, table, matrix, alive, weights, order[: book.preset.named], 1),
            "negative": _strongest(book, table, matrix, alive, weights, order[::-1][: book.preset.named], -1),
        }
    return shown


def _strongest(
    book: Book,
    table: Loadings,
    matrix: Float[np.ndarray, "channel input"],
    alive: Int[np.ndarray, " k"],
    weights: Float[np.ndarray, " k"],
    order: Int[np.ndarray, " _"],
    sign: int,
) -> list[dict[str, Any]]:
    """The first of an order whose weight has the sign, with the share of the latent's own Σ|weight| that it is."""
    entries = []
    for place in order.tolist():
        if weights[place] * sign <= 0:
            break
        index = int(table.channels[alive[place]])
        total = float(np.abs(matrix[alive[place]].astype(np.float64)).sum())
        entries.append(
            {
                "id": book.summary.channels[index].id,
                "has_page": index in book.published_set,
                "weight": significant(weights[place]),
                "share": significant(abs(weights[place]) / total),
                "top_tokens": token_texts(book, book.summary.top_tokens, index, 3),
            }
        )
    return entries
