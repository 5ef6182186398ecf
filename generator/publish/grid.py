"""The grid of the home page: layers × modules, a cell per direction."""

from typing import Any

from generator.publish.book import Book
from generator.publish.explorer import token_texts
from generator.publish.layers import MODULE_ORDER, modules_of
from generator.publish.numbers import significant

GRID_COLUMNS = 64
"""Most columns of the grid; beyond, a cell stands for the channel of its module that writes most."""

GRID_STATISTICS = ("max_write", "max_abs", "density", "std", "skewness", "kurtosis")
"""What the grid can be coloured by."""

Column = tuple[str, str, int]
"""(collection, module, rank index)."""


def module_grid(book: Book) -> dict[str, Any]:
    """Layers × modules; a module of rank r has r columns where there is room."""
    slots = _slots(book)
    is_folded = len(slots) > GRID_COLUMNS
    if is_folded:
        slots = _folded(book, slots)
    modules = list(dict.fromkeys(module for _, module, _ in slots))
    columns = sorted(slots, key=lambda column: (place_of_module(modules, column[1]), column[0], column[2]))
    cells = [[slots[column].get(layer) for column in columns] for layer in book.layers]

    def each(value: Any) -> list[list[Any]]:
        return [[None if index is None else value(index) for index in row] for row in cells]

    return {
        "layers": list(book.layers),
        "modules": [_name(columns, column) for column in columns],
        "is_folded": is_folded,
        "cells": each(lambda index: book.summary.channels[index].id),
        "top_tokens": each(lambda index: token_texts(book, book.summary.top_tokens, index, 3)),
        "statistics": {
            name: each(lambda index, name=name: _number(book, name, index)) for name in GRID_STATISTICS
        },
    }


def _slots(book: Book) -> dict[Column, dict[int, int]]:
    """Column -> layer -> channel index."""
    slots: dict[Column, dict[int, int]] = {}
    for layer in book.layers:
        for collection, module, indices in modules_of(book, layer):
            for index in indices:
                if book.is_latent(index):
                    continue
                column = (collection, module, book.summary.channels[index].rank_index)
                slots.setdefault(column, {})[layer] = index
    return slots


def _folded(book: Book, slots: dict[Column, dict[int, int]]) -> dict[Column, dict[int, int]]:
    """One column per module: of its channels in a layer, the one that writes most."""
    folded: dict[Column, dict[int, int]] = {}
    for (collection, module, _), by_layer in slots.items():
        column = folded.setdefault((collection, module, 0), {})
        for layer, index in by_layer.items():
            if layer not in column or (book.max_write(index) or 0) > (book.max_write(column[layer]) or 0):
                column[layer] = index
    return folded


def place_of_module(modules: list[str], module: str) -> int:
    """Where a module stands among the columns: the usual names in their order, then all others."""
    last = module.rsplit(".", 1)[-1]
    return MODULE_ORDER.index(last) if last in MODULE_ORDER else len(MODULE_ORDER) + modules.index(module)


def _name(columns: list[Column], column: Column) -> str:
    collection, module, rank_index = column
    has_ranks = sum(other[:2] == column[:2] for other in columns) > 1
    has_collections = len({other[0] for other in columns}) > 1
    return (f"{collection} " if has_collections else "") + module + (f"/r{rank_index}" if has_ranks else "")


def _number(book: Book, name: str, index: int) -> float | None:
    if name == "max_write":
        return significant(book.max_write(index))
    if name == "max_abs":
        return significant(book.largest(index))
    return significant(book.statistics["share_active" if name == "density" else name][index])
