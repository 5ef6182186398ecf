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

DEAD_PANELS = ("loadings", "neighbours")
"""What is left to show of a latent that was never active: what it would read and write."""


def channel_shard(record: FeatureRecord) -> dict[str, Any]:
    """All that the page of a channel shows; little for a dead latent, which has neither examples nor groups."""
    channel, book = record.channel, record.book
    is_dead = book.is_dead(record.index)
    panels = {}
    for name, build in selected_panels(book.config.publish.panels):
        shown = build(record) if not is_dead or name in DEAD_PANELS else None
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
        "is_dead": is_dead,
        "previous": book.neighbour_in_order(record.index, -1),
        "next": book.neighbour_in_order(record.index, 1),
        "scale": record.scale,
        "stats": stats_of(book, record.index),
        "histogram": histogram_of(book, record.index),
        "examples": [] if is_dead else examples_of(record),
        "groups": [] if is_dead else groups_of(book, record.index),
        "tokens": record.strings.strings,
        "special": record.strings.special,
        "panels": list(panels),
        **ALWAYS,
        **panels,
    }
