"""OpenAI's sae-viewer: ``atoms/{i}.json``."""

from typing import Any

from generator.artifacts import Writer, to_json
from generator.publish.exchange.shelf import Shelf, Source, activations_of, rounded


def export(shelf: Shelf, sources: list[Source], writer: Writer) -> list[str]:
    """Writes ``<source>/atoms/<index>.json``."""
    n_signed = 0
    for source in sources:
        for index, shard in shelf.features(source):
            n_signed += shard["is_signed"]
            writer.write(f"{source.name}/atoms/{index}.json", to_json(atom(shard)))
    notes = ["Bands are left out: the format knows top and random examples only."]
    if n_signed:
        notes.append(
            f"The examples of negative sign of {n_signed} signed features are left out for the same reason."
        )
    return notes


def atom(shard: dict[str, Any]) -> dict[str, Any]:
    """One feature as the viewer reads it."""
    stats, edges = shard["stats"], shard["histogram"]["edges"]
    mean, std = stats["mean"] or 0.0, stats["std"] or 0.0
    return {
        "density": stats["density"] or 0.0,
        "mean_act": mean,
        "mean_act_squared": mean * mean + std * std,
        "skew": stats["skewness"] or 0.0,
        "kurtosis": stats["kurtosis"] or 0.0,
        "hist": {str(edge): count for edge, count in zip(edges, shard["histogram"]["counts"])},
        "top": [_sequence(shard, e) for e in shard["examples"] if e["group"] == "top"],
        "random": [_sequence(shard, e) for e in shard["examples"] if e["group"] == "random"],
    }


def _sequence(shard: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    """One example, token by token: a character that several tokens share stands at the first of them.

    ``density`` is of the window; ``normalized_acts`` are in units of the feature's largest activation.
    """
    stats = shard["stats"]
    acts = activations_of(shard, example)
    peak = example["position"] - example["start"]
    acts[peak] = example["value"] or 0.0
    largest = max(abs(stats["min"] or 0.0), abs(stats["max"] or 0.0)) or 1.0
    n_active = sum(abs(act) > stats["threshold"] for act in acts)
    return {
        "density": n_active / len(acts),
        "doc_id": example["doc"],
        "idx": peak,
        "acts": rounded(acts),
        "act": example["value"] or 0.0,
        "tokens": [shard["tokens"][index] for index in example["text"]],
        "token_ints": example["token_ids"],
        "normalized_acts": rounded([act / largest for act in acts]),
    }
