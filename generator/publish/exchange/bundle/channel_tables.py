"""Tables of channels, read from finished shards one by one: a site of 32,000 channels needs no more memory than a small one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from generator.publish.addresses import page_url
from generator.publish.exchange.bundle.csvs import Files, Row
from generator.publish.exchange.shelf import Shelf

HEAD = ("id", "collection", "kind", "layer", "module", "rank_index", "rank", "basis", "is_signed", "is_dead")
STATS = (
    "n_tokens", "n_nonfinite", "n_documents", "share_documents", "mean", "std", "skewness", "kurtosis", "min", "max", "density",
    "threshold", "share_positive", "share_negative",
)  # fmt: skip
WRITE = ("scaling", "read_norm", "write_norm", "max")

TABLES = {
    "channels": "one channel with its statistics",
    "top-tokens": "a token of highest (`top`) or lowest (`bottom`) mean activation of a channel",
    "labels": "what somebody says of a channel",
    "logit-effects": "a token whose logit a unit of activation raises (`top`) or lowers (`bottom`) most",
}
"""Name, and what a row is."""


def write_channel_tables(shelf: Shelf, collection: str | None, folder: Path) -> dict[str, int]:
    """Writes statistics, strongest tokens, labels and effects of every channel with a page; returns rows by table."""
    columns: dict[str, tuple[str, ...]] = dict.fromkeys(TABLES, ())
    with Files(folder) as files:
        for source in shelf.sources(collection):
            for _, shard in shelf.features(source):
                for name, row in _rows(shard):
                    columns[name] = columns[name] or tuple(row)  # all rows of a table have the same columns
                    files.add(name, columns[name], row)
    return files.n_rows


def _rows(shard: dict[str, Any]) -> Iterator[tuple[str, Row]]:
    yield "channels", _channel(shard)
    for side in ("top", "bottom"):
        head = {"id": shard["id"], "side": side}
        for rank, entry in enumerate(shard.get(f"{side}_tokens") or [], 1):
            columns = {name: entry[name] for name in ("token_id", "text", "mean", "count")}
            yield "top-tokens", head | {"rank": rank} | columns
        effects = shard.get("logits") or {}
        listed = effects.get(side) or {"text": [], "value": []}
        for rank, (text, value) in enumerate(zip(listed["text"], listed["value"]), 1):
            columns = {"token": shard["tokens"][text], "value": value, "divisor": effects["divisor"]}
            yield "logit-effects", head | {"rank": rank} | columns
    for label in shard.get("labels") or []:
        yield "labels", {"id": shard["id"]} | dict(sorted(label.items()))


def _channel(shard: dict[str, Any]) -> Row:
    row = {name: shard.get(name) for name in HEAD} | {name: shard["stats"].get(name) for name in STATS}
    for level, value in sorted(shard["stats"]["quantiles"].items(), key=lambda item: float(item[0])):
        row[f"quantile_{level}"] = value
    write = shard.get("write") or {}
    row |= {name if name != "max" else "max_write": write.get(name) for name in WRITE}
    label: Row = next(iter(shard.get("labels") or []), {})
    return row | {
        "label": label.get("text"),
        "label_author": label.get("author"),
        "page": page_url(shard["id"]),
    }
