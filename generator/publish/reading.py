"""Shards as a reader works with them: tables of examples as one record each, bins with their edges.

The twin of ``opened`` in ``site_assets/assets/shards.mjs``. On disk these things stand in the short form of docs/shards.md.
"""

from itertools import chain, repeat
from typing import Any


def opened(shard: dict[str, Any]) -> dict[str, Any]:
    """A channel, layer or home shard with its examples as lists of records, a document's with its channels as one; any
    other shard as it is.

    A record has ``group``, ``doc``, ``doc_name``, ``has_page``, ``position``, ``value``, ``start`` (position of the
    window's first token), ``token_ids``, ``text`` and ``values``.
    """
    if "groups" in shard:
        names = chain.from_iterable(repeat(g["group"], g["n_examples"]) for g in shard["groups"])
        examples = _records(shard, shard["examples"], list(names))
        groups = [{**g, **shares(g, shard["stats"])} for g in shard["groups"]]
        return {**shard, "examples": examples, "groups": groups, "histogram": with_edges(shard["histogram"])}
    if "cards" in shard:
        return {**shard, "cards": [_opened_card(shard, card) for card in shard["cards"]]}
    if "modules" in shard:
        return {
            **shard,
            "modules": [
                {**entry, "channels": [_opened_channel(shard, channel) for channel in entry["channels"]]}
                for entry in shard["modules"]
            ],
        }
    if "strongest" in shard:
        return {**shard, "channels": _rows(shard["channels"])}
    return shard


def shares(group: dict[str, Any], stats: dict[str, Any]) -> dict[str, float | None]:
    """A group's ``share`` of the measured tokens and, of a band, its ``share_of_side``: of those with the same sign."""
    n, band = stats["n_tokens"], group["group"].removeprefix("band:")
    name = {"+": "share_positive", "-": "share_negative"}.get(band[0]) if band != group["group"] else None
    n_side = round((stats[name] or 0.0) * n) if name else 0
    count = group["count"]
    return {"share": count / n if n else None, "share_of_side": count / n_side if n_side else None}


def with_edges(histogram: dict[str, Any]) -> dict[str, Any]:
    """A histogram with the ``edges`` of its bins, one more than bins."""
    first, step, counts = histogram["first"], histogram["step"], histogram["counts"]
    return {**histogram, "edges": [(first + i) * step for i in range(len(counts) + 1)] if counts else []}


def _rows(table: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """The channels of a document, one record each."""
    rows = [dict(zip(table, row)) for row in zip(*table.values())]
    return [{**row, **{name: bool(row[name]) for name in ("has_page", "is_signed")}} for row in rows]


def _opened_channel(shard: dict[str, Any], channel: dict[str, Any]) -> dict[str, Any]:
    sides = {
        side: _records(shard, channel[side], [side] * len(channel[side]["doc"])) for side in ("top", "bottom")
    }
    return {**channel, **sides, "histogram": with_edges(channel["histogram"])}


def _opened_card(shard: dict[str, Any], card: dict[str, Any]) -> dict[str, Any]:
    examples = _records(shard, card["example"], [card["example_group"]])
    return {**card, "example": examples[0] if examples else None}


def _records(
    shard: dict[str, Any], table: dict[str, list[Any]], groups: list[str | None]
) -> list[dict[str, Any]]:
    pages = set(shard["doc_pages"])
    names = ("doc", "position", "peak", "value", "text", "values")
    return [
        {
            "group": group,
            "doc": doc,
            "doc_name": shard["doc_names"][str(doc)],
            "has_page": doc in pages,
            "position": position,
            "value": value,
            "start": position - peak,
            "token_ids": [shard["token_ids"][index] for index in text],
            "text": text,
            "values": values,
        }
        for group, doc, position, peak, value, text, values in zip(groups, *(table[name] for name in names))
    ]
