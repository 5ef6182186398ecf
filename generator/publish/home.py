"""The home page's shard: what was studied, the grid of all directions, picked cards, provenance; and site.json."""

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from generator.errors import nearest
from generator.progress import Progress
from generator.publish.book import SCHEMA, Book
from generator.publish.explorer import token_texts
from generator.publish.layers import MODULE_ORDER, modules_of
from generator.publish.numbers import significant
from generator.publish.records import examples_of, open_record
from generator.publish.tokens import StringTable, without_surrogates

CARDS = 6
"""Directions shown as cards when the run file picks none."""

GRID_COLUMNS = 64
"""Most columns of the grid; beyond, a cell stands for the strongest-writing channel of its module."""

GRID_STATISTICS = ("max_write", "max_abs", "density", "std", "skewness", "kurtosis")
"""What the grid can be coloured by."""


def home_shard(book: Book, progress: Progress) -> dict[str, Any]:
    """All that the home page shows."""
    strings = book.strings()
    cards = [_card(book, index, strings) for index in picked(book, progress)]
    return {
        "schema": SCHEMA,
        "id": "home",
        **site_facts(book),
        "model": model_facts(book),
        "corpus": corpus_facts(book),
        "grid": _grid(book),
        "cards": cards,
        "tokens": strings.strings,
        "special": strings.special,
        "notes": book.summary.notes,
        "provenance": provenance(book),
    }


def site_facts(book: Book) -> dict[str, Any]:
    """What MkDocs and the home page need to know of the whole: docs/atlas/site.json."""
    publish = book.config.publish
    return {
        "schema": SCHEMA,
        "title": publish.title,
        "description": publish.description,
        "repository": publish.repository,
        "site_url": publish.site_url,
        "name": book.config.name,
        "n_channels": len(book.published),
        "n_channels_measured": len(book.summary.channels),
        "n_layers": len(book.layers),
        "n_documents": len(book.documents),
        "collections": _collections(book),
    }


def _collections(book: Book) -> list[dict[str, Any]]:
    found: dict[tuple[str, str], int] = {}
    for index in book.published:
        channel = book.summary.channels[index]
        key = (channel.collection, channel.kind)
        found[key] = found.get(key, 0) + 1
    return [{"name": name, "kind": kind, "n_channels": n} for (name, kind), n in found.items()]


def model_facts(book: Book) -> dict[str, Any]:
    """Model and adapter as extraction described them, without paths of the machine that ran it."""
    return {
        "base": without_paths(book.config.model.base),
        "adapter": without_paths(book.config.model.adapter),
        **without_paths(book.summary.facts),
    }


def corpus_facts(book: Book) -> dict[str, Any]:
    """Size and source of the text."""
    corpus = book.corpus
    return {
        "source": without_paths(book.config.corpus.source),
        "n_documents": corpus.n_docs,
        "n_tokens": corpus.n_tokens,
        "n_measured": int(corpus.is_measured.sum()),
        "tokenizer": without_paths(corpus.tokenizer),
    }


def provenance(book: Book) -> dict[str, Any]:
    """How the site was made: enough to make it again."""
    facts = without_paths(book.summary.facts)
    config = book.config.model_dump(mode="json", exclude={"publish"})
    return {
        "settings": {**without_paths(config), "summarize": without_paths(book.summary.settings)},
        "seed": book.config.seed,
        "versions": {
            "featurebook": _version("featurebook"),
            "numpy": np.__version__,
            "python": platform.python_version(),
            **facts.get("versions", {}),
        },
        "keys": facts.get("keys", {}),
    }


def without_paths(value: Any) -> Any:
    """A value whose absolute paths are cut to their last part: a published page must not show a machine's folders."""
    if isinstance(value, dict):
        return {str(key): without_paths(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(entry) for entry in value]
    if isinstance(value, str) and _ABSOLUTE.match(value) and "\n" not in value:
        return re.split(r"[/\\]", without_surrogates(value).rstrip("/\\"))[-1]
    return without_surrogates(value) if isinstance(value, str) else value


_ABSOLUTE = re.compile(r"(~?/|[A-Za-z]:[\\/])[^<>{}|]+$")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def picked(book: Book, progress: Progress) -> list[int]:
    """The channels shown as cards: those that the run file names, else the most skewed."""
    by_id = {book.summary.channels[index].id: index for index in book.published}
    if book.config.publish.picked:
        for name in book.config.publish.picked:
            if name not in by_id:
                progress.note(f"publish.picked: {name!r} has no page. {nearest(name, by_id)}")
        return [by_id[name] for name in book.config.publish.picked if name in by_id]
    skewness = book.statistics["skewness"]
    return sorted(book.published, key=lambda i: (-abs(skewness[i] or 0.0), book.place[i]))[:CARDS]


def _card(book: Book, index: int, strings: StringTable) -> dict[str, Any]:
    """A channel in short: its tokens and its strongest example of either sign."""
    record = open_record(book, index, strings)
    groups = book.summary.groups

    def strongest(columns: dict[str, np.ndarray]) -> np.ndarray:
        sides = [groups.index(name) for name in ("top", "bottom") if name in groups]
        firsts = [np.flatnonzero(columns["group"] == side)[:1] for side in sides]
        rows = np.concatenate(firsts)
        return rows[np.argsort(-np.abs(columns["value"][rows]), kind="stable")[:1]]

    examples = examples_of(record, strongest)
    channel = record.channel
    return {
        "id": channel.id,
        "label": None,
        "collection": channel.collection,
        "kind": channel.kind,
        "layer": channel.layer if channel.layer >= 0 else None,
        "module": channel.module,
        "rank_index": channel.rank_index,
        "rank": channel.rank,
        "scale": record.scale,
        "max_abs": book.largest(index),
        "top_tokens": token_texts(book, book.summary.top_tokens, index),
        "bottom_tokens": token_texts(book, book.summary.bottom_tokens, index) if channel.is_signed else [],
        "example": examples[0] if examples else None,
    }


def _grid(book: Book) -> dict[str, Any]:
    """Layers × modules; a module of rank r has r columns where there is room."""
    slots: dict[
        tuple[str, str, int], dict[int, int]
    ] = {}  # (collection, module, rank index) -> layer -> channel
    for layer in book.layers:
        for collection, module, channels in modules_of(book, layer):
            for index in channels:
                key = (collection, module, book.summary.channels[index].rank_index)
                slots.setdefault(key, {})[layer] = index
    is_folded = len(slots) > GRID_COLUMNS
    if is_folded:
        slots = _folded(book, slots)
    keys = sorted(slots, key=lambda key: (_order(slots, key[1]), key[2]))
    cells = [[slots[key].get(layer) for key in keys] for layer in book.layers]
    channels = book.summary.channels
    return {
        "layers": list(book.layers),
        "modules": [_column_name(slots, key) for key in keys],
        "is_folded": is_folded,
        "cells": [[None if i is None else channels[i].id for i in row] for row in cells],
        "top_tokens": [
            [None if i is None else token_texts(book, book.summary.top_tokens, i, 3) for i in row]
            for row in cells
        ],
        "statistics": {
            name: [[None if i is None else _grid_number(book, name, i) for i in row] for row in cells]
            for name in GRID_STATISTICS
        },
    }


def _folded(
    book: Book, slots: dict[tuple[str, str, int], dict[int, int]]
) -> dict[tuple[str, str, int], dict[int, int]]:
    """One column per module: of its channels in a layer, the one that writes most."""
    folded: dict[tuple[str, str, int], dict[int, int]] = {}
    for (collection, module, _), by_layer in slots.items():
        column = folded.setdefault((collection, module, 0), {})
        for layer, index in by_layer.items():
            if layer not in column or (book.max_write(index) or 0) > (book.max_write(column[layer]) or 0):
                column[layer] = index
    return folded


def _order(slots: dict[tuple[str, str, int], dict[int, int]], module: str) -> int:
    last = module.rsplit(".", 1)[-1]
    if last in MODULE_ORDER:
        return MODULE_ORDER.index(last)
    return len(MODULE_ORDER) + list(dict.fromkeys(key[1] for key in slots)).index(module)


def _column_name(slots: dict[tuple[str, str, int], dict[int, int]], key: tuple[str, str, int]) -> str:
    collection, module, rank_index = key
    has_ranks = sum(other[:2] == key[:2] for other in slots) > 1
    several = len({other[0] for other in slots}) > 1
    return (f"{collection} " if several else "") + module + (f"/r{rank_index}" if has_ranks else "")


def _grid_number(book: Book, name: str, index: int) -> float | None:
    if name == "max_write":
        return significant(book.max_write(index))
    if name == "max_abs":
        return significant(book.largest(index))
    return significant(book.statistics["share_active" if name == "density" else name][index])
