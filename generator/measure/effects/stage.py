"""The effects of a run: one findings file per panel, from the model, the adapter's vectors and the summaries."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from generator.config import CollectionTable
from generator.errors import FeaturebookError, nearest
from generator.findings import save_findings
from generator.measure.analyze.ablation import adapted_modules, list_parts, places_of
from generator.measure.analyze.attribution import Scalar
from generator.measure.effects.attribution import (
    attribution_of,
    scalar_of_latent,
    scalars_of_adapter,
    strongest_example,
)
from generator.measure.effects.hooked import find_over_hook_points
from generator.measure.effects.logits import find_way_out, logit_effects, round_to
from generator.measure.effects.run import EffectsRun, strongest_of
from generator.measure.effects.writes import (
    Writes,
    undefined_writes,
    writes_of_adapter,
    writes_of_decoder,
    writes_of_latents,
)
from generator.measure.hook_points import resolve
from generator.measure.lora import AdaptedModule
from generator.measure.variants import OWN_MODELS
from generator.summaries import Summary

LOGITS_METHOD = (
    "W_U · (γ ⊙ write) / s: the final norm’s gain folded in, s its typical divisor, centred over the vocabulary. What later "
    "layers make of the write is left out."
)
ATTRIBUTION_METHOD = (
    "Integrated gradients from the mean embedding of the vocabulary (Sundararajan et al. 2017)."
)


def measure_effects(run: EffectsRun, folder: Path) -> dict[str, Any]:
    """Writes the findings that ``[effects]`` asks for.

    Args:
        run: What is read.
        folder: Gets one file for each panel.

    Returns:
        Facts for the manifest.
    """
    table = run.config.effects
    assert table is not None
    facts: dict[str, Any] = {}
    if "logits" in table.parts:
        values, told = find_logits(run)
        save_findings(folder / "logits.h5", "logits", values, told)
        facts["n_logit_effects"] = sum("undefined" not in value for value in values.values())
    if "attribution" in table.parts:
        values, told = find_attributions(run)
        save_findings(folder / "attribution.h5", "attribution", values, told)
        facts["n_attributions"] = len(values)
    for panel, (values, told) in find_over_hook_points(run).items():
        save_findings(folder / f"{panel}.h5", panel, values, told)
        facts[f"n_{panel}"] = len(values)
    return facts


def find_logits(run: EffectsRun) -> tuple[dict[str, Any], dict[str, Any]]:
    """Channel id -> its logit effects or why there are none; and what holds for all."""
    table = run.config.effects
    assert table is not None
    sources = [writes_of_adapter(*run.channels)] if run.adapter else []
    sources += [_writes_of_collection(run, collection) for collection in run.config.collections]
    values: dict[str, Any] = {}
    try:
        way = find_way_out(run.anatomy, run.corpus, seed=run.config.seed)
    except FeaturebookError as error:
        ids = [i for source in sources for i in (*source.ids, *source.undefined)]
        return {identifier: {"undefined": str(error)} for identifier in ids}, {}
    for source in sources:
        values |= {identifier: {"undefined": why} for identifier, why in source.undefined.items()}
        for ids, vectors in source.tiles():
            for identifier, found in zip(ids, logit_effects(vectors, way, table.top_tokens)):
                values[identifier] = found if "undefined" in found else found | {"note": source.note}
    return values, {"method": LOGITS_METHOD, "divisor": round_to(way.divisor), "n_vocabulary": way.n_tokens}


def _writes_of_collection(run: EffectsRun, table: CollectionTable) -> Writes:
    summary = run.latents[table.name]
    if summary.loadings:
        return writes_of_latents(summary, *run.channels)
    return _writes_at_hook_points(run, table, [channel.id for channel in summary.channels])


def _writes_at_hook_points(run: EffectsRun, table: CollectionTable, ids: list[str]) -> Writes:
    """The decoder of a dictionary at its last place in the residual stream of the run's own model."""
    table = run.with_places(table)
    own = [index for index, name in enumerate(table.models) if name in OWN_MODELS]
    if not own or not table.hook_points:
        return undefined_writes(ids, "this dictionary reads another model, or its file names no place.")
    points = resolve(table.hook_points, run.anatomy.model, run.anatomy.device).points
    places = [index for index, point in enumerate(points) if point.space == "residual"]
    if not places:
        return undefined_writes(
            ids, "this dictionary does not read the residual stream, so its latents do not write there."
        )
    decoder = run.dictionary(table).W_dec.cpu()
    first = sum(point.width for point in points) * own[-1] + sum(
        point.width for point in points[: places[-1]]
    )
    columns = slice(first, first + points[places[-1]].width)
    return writes_of_decoder(ids, decoder[:, columns], points[places[-1]].id)


# --- attribution -----------------------------------------------------------------------------------------------


def find_attributions(run: EffectsRun) -> tuple[dict[str, Any], dict[str, Any]]:
    """Channel id -> where its strongest activation comes from, for the chosen channels; and what holds for all."""
    table = run.config.effects
    assert table is not None
    if run.adapter is None:
        return {}, {}
    anatomy = run.anatomy
    adapted = adapted_modules(anatomy.model, run.config.extract.basis)
    scalars = scalars_of_adapter(adapted, _places_of_channels(run, adapted))
    biases: dict[str, np.ndarray] = {}
    values: dict[str, Any] = {}
    for summary, index in chosen_channels(run):
        channel = summary.channels[index]
        make: Callable[[int], Scalar] | None = scalars.get(channel.id)
        if summary.loadings:
            row = summary.loadings[0]
            if channel.collection not in biases:
                biases[channel.collection] = _biases(run, channel.collection)
            bias = float(biases[channel.collection][index])
            make = scalar_of_latent(scalars, row.inputs, row.read[index], bias)
        example = strongest_example(
            summary, run.corpus, index, table.attribution_tokens, is_causal=anatomy.is_causal
        )
        if make is None or example is None:
            continue
        reach = float(summary.statistics["max"][index] - summary.statistics["min"][index])
        values[channel.id] = attribution_of(
            anatomy, make, example, reach if np.isfinite(reach) else 0.0,
            n_nodes=table.nodes, max_nodes=table.max_nodes,
        )  # fmt: skip
        run.progress.advance()
    return values, {"method": ATTRIBUTION_METHOD, "n_tokens": table.attribution_tokens}


def _places_of_channels(run: EffectsRun, adapted: Sequence[AdaptedModule]) -> dict[str, tuple[int, int]]:
    """Channel id -> (module, direction)."""
    parts = list_parts(adapted, places_of(run.anatomy.model, adapted), run.config.collection)
    single = [part for part in parts if part.kind == "direction"]
    return {part.channel: (part.removed[0][0], part.removed[0][1][0]) for part in single}


def _biases(run: EffectsRun, collection: str) -> np.ndarray:
    """What each latent of a dictionary over the adapter's activations adds to its encoder's product."""
    dictionary = run.dictionary(next(one for one in run.config.collections if one.name == collection))
    bias = dictionary.b_enc.double()
    if dictionary.subtracts_b_dec:
        bias = bias - dictionary.W_enc.double() @ dictionary.b_dec.double()
    return bias.cpu().numpy()


def chosen_channels(run: EffectsRun) -> list[tuple[Summary, int]]:
    """The channels whose activation is attributed, as (summary, index).

    Raises:
        FeaturebookError: a glob that matches nothing.
    """
    table = run.config.effects
    assert table is not None and run.adapter is not None
    summaries = [run.adapter, *(s for s in run.latents.values() if s.loadings)]
    known = {c.id: (s, i) for s in summaries for i, c in enumerate(s.channels)}
    if isinstance(table.attribution, int):
        picked = [known[i] for i in run.config.publish.picked if i in known]
        order = picked + _strongest_by_turns(summaries)
        unique = {s.channels[i].id: (s, i) for s, i in order}
        return list(unique.values())[: table.attribution]
    for glob in table.attribution:
        if not any(fnmatchcase(identifier, glob) for identifier in known):
            raise FeaturebookError(
                f"effects.attribution: no channel matches {glob!r}. {nearest(glob, known)}"
            )
    return [
        place
        for identifier, place in known.items()
        if any(fnmatchcase(identifier, g) for g in table.attribution)
    ]


def _strongest_by_turns(summaries: Sequence[Summary]) -> list[tuple[Summary, int]]:
    """Channels of largest peak against their own typical size, one of each collection and layer in turn."""
    queues: dict[tuple[str, int], list[tuple[Summary, int]]] = {}
    for summary in summaries:
        for index in strongest_of(summary):
            channel = summary.channels[index]
            queues.setdefault((channel.collection, channel.layer), []).append((summary, index))
    longest = max(map(len, queues.values()), default=0)
    return [queue[turn] for turn in range(longest) for queue in queues.values() if turn < len(queue)]
