"""Layer shards: the modules of one depth side by side."""

from typing import Any

import numpy as np

from generator.blocks import Channel
from generator.publish.analysis_model import layer_part
from generator.publish.book import SCHEMA, Book
from generator.publish.panels import write
from generator.publish.records import (
    FeatureRecord,
    examples_of,
    histogram_of,
    open_record,
    sources_of,
    stats_of,
)

MODULE_ORDER = ("gate_proj", "up_proj", "down_proj", "q_proj", "k_proj", "v_proj", "o_proj")
"""Modules that are named so stand in this order, then all others in the order of the table."""

EXAMPLES_PER_SIDE = 3
"""Examples of each sign that a layer page shows for a channel."""

CHANNELS_PER_MODULE = 64
"""Channels of one module that a layer page draws; the explorer lists the rest."""

SIDES = ("top", "bottom")
"""Groups of examples that a layer page shows."""

LARGEST_MATRIX = 128
"""Members of a cosine matrix that a layer page draws."""


def layer_id(layer: int) -> str:
    """The id of a layer's page."""
    return f"layer/{layer}"


def modules_of(book: Book, layer: int) -> list[tuple[str, str, list[int]]]:
    """The modules of a layer with their published channels: (collection, module, channel indices), in page order."""
    modules: dict[tuple[str, str], list[int]] = {}
    for index in book.layers[layer]:
        channel = book.summary.channels[index]
        modules.setdefault((channel.collection, channel.module), []).append(index)
    ordered = sorted(modules.items(), key=lambda item: _module_rank(item[0][1]))
    return [(collection, module, channels) for (collection, module), channels in ordered]


def _module_rank(module: str) -> int:
    last = module.rsplit(".", 1)[-1]
    return MODULE_ORDER.index(last) if last in MODULE_ORDER else len(MODULE_ORDER)


def layer_shard(book: Book, layer: int) -> dict[str, Any]:
    """All that the page of a layer shows."""
    layers = list(book.layers)
    place = layers.index(layer)
    strings = book.strings()
    modules = modules_of(book, layer)
    drawn = [index for _, _, channels in modules for index in channels[:CHANNELS_PER_MODULE]]
    shown: list[dict[str, Any]] = [
        {
            "collection": collection,
            "module": module,
            "n_channels": len(channels),
            "channels": [
                _channel(open_record(book, index, strings)) for index in channels[:CHANNELS_PER_MODULE]
            ],
        }
        for collection, module, channels in modules
    ]
    tables = [channel[side] for entry in shown for channel in entry["channels"] for side in SIDES]
    return {
        "schema": SCHEMA,
        "id": layer_id(layer),
        "layer": layer,
        "previous": layer_id(layers[place - 1]) if place else None,
        "next": layer_id(layers[place + 1]) if place + 1 < len(layers) else None,
        "modules": shown,
        **strings.fields(),
        **sources_of(book, *tables),
        "cosines": _cosines(book, drawn),
        **({"analysis": analysed} if (analysed := _analysed(book, layer)) else {}),
    }


def _analysed(book: Book, layer: int) -> dict[str, Any] | None:
    return layer_part(book, book.analysis, layer) if book.analysis else None


def _strongest(record: FeatureRecord, side: str) -> dict[str, Any]:
    """The strongest examples of one sign."""
    groups = record.book.summary.groups
    number = groups.index(side) if side in groups else -1
    return examples_of(record, lambda rows: np.flatnonzero(rows["group"] == number)[:EXAMPLES_PER_SIDE])


def _channel(record: FeatureRecord) -> dict[str, Any]:
    channel: Channel = record.channel
    return {
        "id": channel.id,
        "kind": channel.kind,
        "rank_index": channel.rank_index,
        "is_signed": channel.is_signed,
        "label": record.book.labels.text(channel.id),
        "scale": record.scale,
        "stats": stats_of(record.book, record.index),
        "histogram": histogram_of(record.book, record.index),
        **{side: _strongest(record, side) for side in SIDES},
        "write": write(record) or {"undefined": "What this latent writes is not known."},
    }


def _cosines(book: Book, drawn: list[int]) -> list[dict[str, Any]]:
    """The parts of the cosine matrices that concern the drawn channels, in their order on the page."""
    place = {index: place for place, index in enumerate(drawn)}
    found = []
    for matrix in book.summary.cosines:
        rows = [row for row, (channel, _) in enumerate(matrix.members) if channel in place]
        rows.sort(key=lambda row: (place[matrix.members[row][0]], matrix.members[row][1]))
        rows = rows[:LARGEST_MATRIX]
        if len(rows) < 2:
            continue
        values = np.round(matrix.values[np.ix_(rows, rows)].astype(np.float64), 3) + 0.0
        found.append(
            {
                "space": matrix.space,
                "members": [
                    {"id": book.summary.channels[matrix.members[row][0]].id, "side": matrix.members[row][1]}
                    for row in rows
                ],
                "values": values.tolist(),
            }
        )
    return found
