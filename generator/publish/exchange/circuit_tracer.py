"""The static feature store of circuit-tracer and the attribution-graph front end: ``index.json.gz`` and ``layer_N.bin``.

The front end looks up ``offsets[i]`` and ``offsets[i + 1]`` of a layer, asks for those bytes, and inflates what follows a
little-endian length of four bytes.
"""

import gzip
import struct
from typing import Any

import orjson

from generator.artifacts import Writer, to_json
from generator.publish.exchange.said import logits_of
from generator.publish.exchange.shelf import Shelf, Source, has_range, rounded, slug_of, window_of

NAMES = {"top": "Top activations", "bottom": "Bottom activations", "random": "Random samples"}
"""Names of groups; the front end takes its scale from the first group, which is ``top``."""


def export(shelf: Shelf, sources: list[Source], writer: Writer) -> list[str]:
    """Writes ``<collection>/features/index.json.gz`` and one ``layer_N.bin`` per layer."""
    by_collection: dict[str, dict[str, Source]] = {}
    has_layers = {source.collection for source in sources if source.layer is not None}
    for source in sources:
        name = slug_of(source.collection)
        if source.layer is None and source.collection in has_layers:
            name += "-outside"  # the number 0 is taken by a layer
        by_collection.setdefault(name, {})[str(source.layer or 0)] = source
    for name, layers in by_collection.items():
        index = {}
        for layer, source in layers.items():
            content, offsets = _packed(shelf, source)
            filename = f"layer_{layer}.bin"
            writer.write(f"{name}/features/{filename}", content)
            index[layer] = {"filename": filename, "offsets": offsets}
        compressed = gzip.compress(to_json(index), mtime=0)
        writer.write(f"{name}/features/index.json.gz", compressed)
    return [
        "The front end colours from the smallest to the largest activation: the most negative value is the palest."
    ]


def _packed(shelf: Shelf, source: Source) -> tuple[bytes, list[int]]:
    """All features of a layer one after another, and where each begins; an index without a feature has no bytes."""
    parts, offsets = [], [0]
    for index, shard in shelf.features(source):
        offsets += [offsets[-1]] * (index + 1 - len(offsets))
        content = gzip.compress(orjson.dumps(feature(source, index, shard)), mtime=0)
        parts.append(struct.pack("<I", len(content)) + content)
        offsets.append(offsets[-1] + len(parts[-1]))
    return b"".join(parts), offsets


def feature(source: Source, index: int, shard: dict[str, Any]) -> dict[str, Any]:
    """One feature as the front end reads it."""
    stats, logits = shard["stats"], logits_of(shard)
    return {
        "transcoder_id": source.name,
        "index": index,
        "examples_quantiles": _groups(shard),
        "top_logits": [text for text, _ in logits.top],
        "bottom_logits": [text for text, _ in logits.bottom],
        "act_min": stats["min"] or 0.0,
        "act_max": stats["max"] or 0.0,
        "quantile_values": [],
        "histogram": [float(count) for count in shard["histogram"]["counts"]],
        "activation_frequency": stats["density"] or 0.0,
    }


def _groups(shard: dict[str, Any]) -> list[dict[str, Any]]:
    """The groups in their order, each under a name that says its range."""
    groups: dict[str, list[dict[str, Any]]] = {}
    seen: set[tuple[str, ...]] = set()
    for example in shard["examples"]:
        window = window_of(shard, example)
        if window is None or not (example["group"] == "top" or has_range(shard, example["group"])):
            continue
        text = tuple(window.tokens)
        groups.setdefault(example["group"], []).append(
            {
                "tokens": window.tokens,
                "tokens_acts_list": rounded(window.values),
                "train_token_ind": window.peak,
                "is_repeated_datapoint": text in seen,
            }
        )
        seen.add(text)
    return [{"quantile_name": _name(shard, name), "examples": shown} for name, shown in groups.items()]


def _name(shard: dict[str, Any], name: str) -> str:
    if name in NAMES:
        return NAMES[name]
    group = next(entry for entry in shard["groups"] if entry["group"] == name)
    return f"Interval {group['low']:.4g} to {group['high']:.4g}"
