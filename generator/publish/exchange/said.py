"""What a shard says of a feature beside its activations, as other tools ask for it: logits, labels, like decoders."""

from dataclasses import dataclass
from typing import Any

from generator.publish.exchange.shelf import Source


@dataclass(frozen=True)
class Logits:
    """What a unit of activation adds to the logits; all empty where the shard has none or says why they are undefined."""

    top: list[tuple[str, float]]
    """Token and logit, the highest first."""
    bottom: list[tuple[str, float]]
    """The lowest first."""
    centres: list[float]
    """Of the histogram's bins over the vocabulary."""
    counts: list[int]


def logits_of(shard: dict[str, Any]) -> Logits:
    """The effects on the logits; tokens without any visible text are left out, which no other tool can name."""
    found = shard.get("logits") or {}
    if "top" not in found:
        return Logits([], [], [], [])
    histogram = found["histogram"]
    counts, low, high = histogram["counts"], histogram["low"], histogram["high"]
    width = (high - low) / max(1, len(counts))
    centres = [round(low + (i + 0.5) * width, 6) for i in range(len(counts))]
    return Logits(_tokens(shard, found["top"]), _tokens(shard, found["bottom"]), centres, counts)


def _tokens(shard: dict[str, Any], rows: dict[str, list[Any]]) -> list[tuple[str, float]]:
    texts = (shard["tokens"][index] for index in rows["text"])
    return [(text, value) for text, value in zip(texts, rows["value"]) if text and value is not None]


def logit_fields(shard: dict[str, Any]) -> dict[str, list[Any]]:
    """The same under the names that SAEDashboard and Neuronpedia share."""
    logits = logits_of(shard)
    return {
        "pos_str": [text for text, _ in logits.top],
        "pos_values": [value for _, value in logits.top],
        "neg_str": [text for text, _ in logits.bottom],
        "neg_values": [value for _, value in logits.bottom],
        "logits_hist_data_bar_values": logits.centres,
        "logits_hist_data_bar_heights": logits.counts,
    }


def labels_of(shard: dict[str, Any]) -> list[dict[str, Any]]:
    """The labels that have a text, first what counts most."""
    return [label for label in shard.get("labels") or [] if label["text"]]


def nearest(source: Source, shard: dict[str, Any], name: str) -> tuple[list[int], list[float]]:
    """A list of neighbours, those of the same source: their indices and values.

    Args:
        source: Of the feature.
        shard: The feature's.
        name: ``correlation``, ``write_cosine``, …
    """
    index_of = {identifier: index for index, identifier in source.ids.items()}
    entries = shard["neighbours"].get(name, [])
    known = [e for e in entries if e["id"] in index_of and e["value"] is not None]
    return [index_of[e["id"]] for e in known], [e["value"] for e in known]
