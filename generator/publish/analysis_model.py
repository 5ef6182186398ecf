"""Shards of analysed models: curves over layers, heads, ablation, divergence, and what a layer's page shows of them."""

from typing import Any

from generator.publish.analysis import (
    ANALYSIS,
    MAIN,
    Analysis,
    measured,
    model_facts,
    model_id,
    rounded,
    text_id,
)
from generator.publish.book import SCHEMA, Book
from generator.publish.visible import plain

LONGEST_TEXT = 400
"""Characters of a prompt in a list."""

STRIP_CELLS = 32
"""Cells of the longest document's strip of divergences; each is a run of tokens, and shows the largest of them."""


def analysis_shard(analysis: Analysis) -> dict[str, Any]:
    """The list of models and texts."""
    return {
        "schema": SCHEMA,
        "id": ANALYSIS,
        "models": [{**model_facts(m), "texts": m["texts"]} for m in analysis.models.values()],
        "texts": [
            {**text, "name": plain(text["name"]), "text": (text["text"] or "")[:LONGEST_TEXT]}
            for text in analysis.texts.values()
        ],
        "settings": analysis.facts["settings"],
    }


def model_shard(book: Book, analysis: Analysis, name: str) -> dict[str, Any]:
    """All that the page of a model shows."""
    model = analysis.models[name]
    return {
        "schema": SCHEMA,
        "id": model_id(name),
        "model": model_facts(model),
        "layers": geometry(analysis.part(name, "layers")),
        "heads": _heads(analysis.part(name, "heads")),
        "ablation": _ablation(book, name, analysis.part(name, "ablation")),
        "divergence": [
            {**rounded(entry), "name": plain(entry["name"]), "has_page": entry["doc"] in book.documents}
            for entry in model["divergence"]
        ],
        "strips": _strips(analysis, name, model["divergence"]),
        "texts": [
            {"id": text_id(name, text), "name": plain(analysis.texts[text]["name"]), "kind": analysis.texts[text]["kind"]}
            for text in model["texts"]
        ],
    }  # fmt: skip


def _strips(analysis: Analysis, name: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """KL(base ‖ adapted) along each document, all in cells of ``width`` tokens: the largest in each, and at which token."""
    files = [analysis.read(name, "divergence", f"{entry['doc']}.json") or {} for entry in entries]
    documents = [file.get("base_adapted", []) for file in files]
    width = max(1, -(-max(map(len, documents), default=0) // STRIP_CELLS))
    at = [
        [max(range(start, min(start + width, len(values))), key=values.__getitem__) for start in range(0, len(values), width)]
        for values in documents
    ]  # fmt: skip
    largest = [[values[token] for token in tokens] for values, tokens in zip(documents, at)]
    return {"width": width, "at": at, "largest": rounded(largest)}


def geometry(file: dict[str, Any]) -> dict[str, Any]:
    """Curves of all variants on the same axes, CKA, correlations and the common scale; or why there are none."""
    if "undefined" in file:
        return {"undefined": file["undefined"]}
    variants = file["variants"]
    return {
        "variants": [variant["variant"] for variant in variants],
        "n_tokens": [variant["n_tokens"] for variant in variants],
        "curves": _beside(variants, "curves"),
        "cka": _beside(variants, "cka"),
        "correlations": _beside(
            [{**v, "correlations": [v["correlations"]]} for v in variants], "correlations"
        ),
        "normalised": _beside(variants, "normalised"),
    }


def _beside(variants: list[dict[str, Any]], section: str) -> list[dict[str, Any]]:
    """What is measured alike in all variants, once, with the values of each: metric, method and ``series``."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for variant in variants:
        for entry in variant[section]:
            method = entry["method"]
            key = (
                entry["metric"],
                *(str(method.get(m)) for m in ("point", "positions", "position_0", "quantity")),
            )
            shown = {name: value for name, value in method.items() if name not in ("warning", "n_nonfinite")}
            together = found.setdefault(
                key, {"metric": entry["metric"], "method": rounded(shown), "series": []}
            )
            together["series"].append(
                {
                    "variant": variant["variant"],
                    **measured(entry["values"]),
                    "warning": method.get("warning", ""),
                }
            )
    return list(found.values())


def _heads(file: dict[str, Any]) -> dict[str, Any]:
    if "undefined" in file:
        return {"undefined": file["undefined"]}
    return {
        "variants": [variant["variant"] for variant in file["variants"]],
        "scores": _beside(file["variants"], "scores"),
        "maps": [{"variant": v["variant"], **rounded(v["map"])} for v in file["variants"]],
    }


def _ablation(book: Book, name: str, file: dict[str, Any]) -> dict[str, Any]:
    """Grids of layer × module, and every part by its effect; channels link where they have a page."""
    if "undefined" in file:
        return {"undefined": file["undefined"]}
    effects = []
    for effect in file["effects"]:
        index = book.index_of.get(effect["channel"], -1) if name == MAIN else -1
        linked = effect["channel"] if index in book.published_set else ""
        effects.append({**rounded(effect), "channel": linked})
    grids = [
        {"metric": grid["metric"], "method": grid["method"], **measured(grid["values"])}
        for grid in file["grids"]
    ]
    return {"grids": grids, "effects": effects, "method": rounded(file["method"])}


def layer_part(book: Book, analysis: Analysis, layer: int) -> dict[str, Any] | None:
    """What a layer's page shows of the analysis of the main model; None beyond its layers."""
    if layer >= analysis.n_layers:
        return None
    return {
        "model": model_id(MAIN),
        "geometry": _layer_geometry(geometry(analysis.layers), layer),
        "heads": _layer_heads(_heads(analysis.heads), layer),
        "ablation": _layer_ablation(_ablation(book, MAIN, analysis.ablation), layer),
    }


def _layer_geometry(shown: dict[str, Any], layer: int) -> dict[str, Any]:
    """Each curve at the layer's input and output: entries ``layer`` and ``layer + 1`` of the files."""
    if "undefined" in shown:
        return shown
    curves = [
        {**curve, "series": [_cut(series, [layer, layer + 1]) for series in curve["series"]]}
        for curve in shown["curves"]
        if curve["method"].get("point") == "residual" and curve["method"].get("positions") != "all"
    ]
    return {"variants": shown["variants"], "curves": curves}


def _cut(series: dict[str, Any], places: list[int]) -> dict[str, Any]:
    counts = series["n"]
    reasons = series["reasons"]
    return {
        **series,
        "values": [series["values"][place] for place in places],
        "n": [counts[place] for place in places] if isinstance(counts, list) else counts,
        "reasons": {str(at): reasons[str(place)] for at, place in enumerate(places) if str(place) in reasons},
    }


def _layer_heads(shown: dict[str, Any], layer: int) -> dict[str, Any]:
    """The scores of the layer's heads, position 0 included, on the scale of all layers."""
    if "undefined" in shown:
        return shown
    scores = []
    for score in shown["scores"]:
        if score["method"].get("position_0") != "included":
            continue
        series = []
        for entry in score["series"]:
            known = [value for row in entry["values"] for value in row if value is not None]
            width = len(entry["values"][layer])
            flat = {**entry, "values": [value for row in entry["values"] for value in row]}
            row = _cut(flat, list(range(layer * width, (layer + 1) * width)))
            series.append({**row, "low": min(known, default=None), "high": max(known, default=None)})
        scores.append({**score, "series": series})
    clusters = [
        {
            "variant": m["variant"],
            "names": [m["names"][c] for (at, _), c in zip(m["heads"], m["cluster"]) if at == layer],
        }
        for m in shown["maps"]
        if "heads" in m
    ]
    return {"variants": shown["variants"], "scores": scores, "clusters": clusters}


def _layer_ablation(shown: dict[str, Any], layer: int) -> dict[str, Any]:
    if "undefined" in shown:
        return shown
    effects = [e for e in shown["effects"] if e["layer"] == layer and e["kind"] in ("layer", "module")]
    return {"effects": effects, "method": shown["method"]}
