"""The shard of one channel: a record as JSON (docs/shards.md, schemas/channel.json)."""

from typing import Any

from generator.publish.book import SCHEMA
from generator.publish.numbers import rounded
from generator.publish.panels import ALWAYS, selected_panels
from generator.publish.records import (
    FeatureRecord,
    examples_of,
    groups_of,
    histogram_of,
    identity_of,
    kept_examples,
    no_examples,
    sources_of,
    stats_of,
)

DEAD_PANELS = ("loadings", "neighbours", "labels")
"""What is left to show of a latent that was never active: what it would read and write, and what was said of it."""


def channel_shard(record: FeatureRecord) -> dict[str, Any]:
    """All that the page of a channel shows; little for a dead latent, which has neither examples nor groups."""
    book = record.book
    is_dead = book.is_dead(record.index)
    examples = examples_of(record, no_examples if is_dead else kept_examples(record))
    examples["value"] = rounded(examples["value"], book.preset.precision)
    panels = {}
    for name, build in selected_panels(book.config.publish.panels):
        shown = build(record) if not is_dead or name in DEAD_PANELS else None
        if shown is not None:
            panels[name] = rounded(shown, book.preset.digits)
    return {
        "schema": SCHEMA,
        **identity_of(book, record.index),
        "preset": book.preset.name,
        "steps": book.preset.steps,
        "previous": book.neighbour_in_order(record.index, -1),
        "next": book.neighbour_in_order(record.index, 1),
        "scale": record.scale,
        "stats": rounded(stats_of(book, record.index), book.preset.precision),
        "histogram": histogram_of(book, record.index),
        "examples": examples,
        **sources_of(book, examples),
        "groups": [] if is_dead else groups_of(record),
        **record.strings.fields(),
        "panels": list(panels),
        **ALWAYS,
        **panels,
    }
