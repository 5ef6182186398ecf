"""SAEDashboard's ``batch-{n}.json`` (sae_dashboard/neuronpedia/neuronpedia_dashboard.py), both ways."""

from pathlib import Path
from typing import Any

from generator.artifacts import Writer, to_json
from generator.publish.exchange.foreign import TOP, ForeignFeature, ForeignSet, example_from, interval_of
from generator.publish.exchange.said import logit_fields, nearest
from generator.publish.exchange.shapes import Reading, files_named, load_json
from generator.publish.exchange.shelf import (
    Shelf,
    Source,
    active_histogram,
    group_of,
    has_range,
    rounded,
    window_of,
)

FEATURES_PER_FILE = 128
BINS = 50
NO_LAYER = -1
"""``layer`` of a dictionary that belongs to no numbered layer; the field must be a number."""

EMPTY = (
    "neuron_alignment_indices",
    "neuron_alignment_values",
    "neuron_alignment_l1",
    "correlated_neurons_indices",
    "correlated_neurons_l1",
    "correlated_neurons_pearson",
    "correlated_features_l1",
    "decoder_weights_dist",
    "vector",
)
"""Fields for which shards have nothing."""


def export(shelf: Shelf, sources: list[Source], writer: Writer) -> list[str]:
    """Writes ``<source>/batch-<n>.json`` and ``<source>/skipped_indexes.json``."""
    for source in sources:
        head = {
            "model_id": shelf.model_id,
            "layer": NO_LAYER if source.layer is None else source.layer,
            "sae_set": source.collection,
            "sae_id_suffix": None,
        }
        features, skipped = [], []
        for index, shard in shelf.features(source):
            if shard["is_dead"]:
                skipped.append(index)
            else:
                features.append(_feature(shelf, source, index, shard))
        for batch, start in enumerate(range(0, len(features), FEATURES_PER_FILE)):
            chosen = features[start : start + FEATURES_PER_FILE]
            writer.write(f"{source.name}/batch-{batch}.json", to_json({**head, "features": chosen}))
        left_out = {"log_sparsity": None, "skipped_indexes": skipped}
        place = {"model_id": head["model_id"], "layer": str(head["layer"]), "sae_set": head["sae_set"]}
        writer.write(f"{source.name}/skipped_indexes.json", to_json({**place, **left_out}))
    return ["Dead latents are listed in skipped_indexes.json and have no entry."]


def _feature(shelf: Shelf, source: Source, index: int, shard: dict[str, Any]) -> dict[str, Any]:
    centres, counts = active_histogram(shard, BINS)
    corpus = shelf.home["corpus"]
    indices, values = nearest(source, shard, "correlation")
    return {
        **{name: [] for name in EMPTY},
        **logit_fields(shard),
        "feature_index": index,
        "frac_nonzero": shard["stats"]["density"] or 0.0,
        "freq_hist_data_bar_values": centres,
        "freq_hist_data_bar_heights": counts,
        "correlated_features_indices": indices,
        "correlated_features_pearson": values,
        "n_prompts_total": corpus["n_documents"],
        "n_tokens_in_prompt": round(corpus["n_measured"] / max(1, corpus["n_documents"])),
        "dataset": corpus["source"],
        "activations": activations(shard),
    }


def activations(shard: dict[str, Any]) -> list[dict[str, Any]]:
    """The examples; a group that stands for no token has none here."""
    found = []
    for example in shard["examples"]:
        window = window_of(shard, example)
        if window is None or not (example["group"] == "top" or has_range(shard, example["group"])):
            continue
        low, high, share = bounds_of(shard, example["group"])
        found.append(
            {
                "bin_min": low,
                "bin_max": high,
                "bin_contains": share,
                "qualifying_token_index": window.peak,
                "tokens": window.tokens,
                "values": rounded(window.values),
            }
        )
    return found


def bounds_of(shard: dict[str, Any], name: str) -> tuple[int | float, float | None, int | float | None]:
    """A group as an interval of activations and the share of tokens in it."""
    if name == "top":
        return int(TOP), shard["stats"]["max"], int(TOP)
    group = group_of(shard, name)
    return group["low"], group["high"], group["share"]


# --- reading ---------------------------------------------------------------------------------------------------


def read(source: Path) -> ForeignSet:
    """The features of a folder of ``batch-*.json`` files (at any depth), or of one such file.

    Raises:
        FeaturebookError: no such file, or one of another shape.
    """
    features: list[ForeignFeature] = []
    facts: dict[str, Any] = {}
    for path in files_named(source, "batch-*.json"):
        batch = Reading(load_json(path), f"{path}")
        set_name = batch.text("sae_set")
        suffix = batch.text("sae_id_suffix", None)
        layer = batch.integer("layer")
        facts |= {"model": batch.text("model_id")}
        for entry in batch.records("features"):
            index = entry.integer("feature_index")
            feature = read_feature(entry, index, layer, f"{set_name}__{suffix}" if suffix else set_name)
            feature.n_tokens = entry.integer("n_prompts_total", 0) * entry.integer("n_tokens_in_prompt", 0)
            facts |= {"dataset": entry.text("dataset", "")}
            _take_examples(feature, entry)
            features.append(feature)
    return ForeignSet("saedashboard", features, facts)


def read_feature(entry: Reading, index: int, layer: int, set_name: str) -> ForeignFeature:
    """What SAEDashboard and Neuronpedia say of a feature under the same names."""
    feature = ForeignFeature(index, max(layer, -1), set_name)
    feature.density = entry.number("frac_nonzero", float("nan"))
    feature.histogram = (
        entry.numbers("freq_hist_data_bar_values", []),
        entry.numbers("freq_hist_data_bar_heights", []),
    )
    indices = entry.numbers("correlated_features_indices", [])
    values = entry.numbers("correlated_features_pearson", [])
    if len(indices) == len(values):
        feature.correlated = [(int(i), value) for i, value in zip(indices, values)]
    return feature


def _take_examples(feature: ForeignFeature, entry: Reading) -> None:
    for activation in entry.records("activations"):
        peak = activation.integer("qualifying_token_index", None)
        example = example_from(activation, "tokens", "values", peak)
        low, high, share = (activation.number(name, TOP) for name in ("bin_min", "bin_max", "bin_contains"))
        interval = interval_of(low, high, share)
        if interval is None and high != TOP:
            feature.maximum = high
        feature.add(example, interval)
