"""The shard of one channel: a record as JSON (docs/shards.md, schemas/channel.json)."""

from typing import Any

from generator.publish.book import SCHEMA
from generator.publish.panels import ALWAYS, selected_panels
from generator.publish.records import (
    FeatureRecord,
    basis_sentence,
    examples_of,
    groups_of,
    histogram_of,
    stats_of,
)


def channel_shard(record: FeatureRecord) -> dict[str, Any]:
    """All that the page of a channel shows."""
    channel, book = record.channel, record.book
    panels = {}
    for name, build in selected_panels(book.config.publish.panels):
        shown = build(record)
        if shown is not None:
            panels[name] = shown
    return {
        "schema": SCHEMA,
        "id": channel.id,
        "collection": channel.collection,
        "kind": channel.kind,
        "layer": channel.layer if channel.layer >= 0 else None,
        "module": channel.module,
        "rank_index": channel.rank_index,
        "rank": channel.rank,
        "basis": channel.basis,
        "basis_note": basis_sentence(channel),
        "is_signed": channel.is_signed,
        "previous": book.neighbour_in_order(record.index, -1),
        "next": book.neighbour_in_order(record.index, 1),
        "scale": record.scale,
        "stats": stats_of(book, record.index),
        "histogram": histogram_of(book, record.index),
        "examples": examples_of(record),
        "groups": groups_of(book, record.index),
        "tokens": record.strings.strings,
        "special": record.strings.special,
        "panels": list(panels),
        **ALWAYS,
        **panels,
    }
