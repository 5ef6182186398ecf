"""The whole analysis of a model on a corpus, as files that publishing reads without torch.

``layers.json``, ``heads.json``, ``ablation.json`` and one ``divergence/<doc>.json`` per chosen document. A part that the model
does not have (no attention weights, no adapter, no language-model head) is a file that says why.
"""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from generator.artifacts import content_key, read_json, to_json, write_bytes
from generator.blocks import Corpus
from generator.errors import FeaturebookError
from generator.measure.analyze.ablation import (
    AblationResult,
    AblationSettings,
    choose_documents,
    measure_ablation,
)
from generator.measure.analyze.clusters import map_heads
from generator.measure.analyze.heads import HeadResult, HeadSettings, measure_heads
from generator.measure.analyze.layers import GeometrySettings, StackResult, measure_geometry
from generator.measure.analyze.predictions import TokenDivergence, measure_divergence
from generator.measure.analyze.values import correlations, normalised
from generator.progress import Progress

SCHEMA = 1


@dataclass(frozen=True)
class AnalysisSettings:
    """What is analysed, and how."""

    geometry: GeometrySettings = field(default_factory=GeometrySettings)
    heads: HeadSettings = field(default_factory=HeadSettings)
    ablation: AblationSettings = field(default_factory=AblationSettings)
    head_documents: int = 64
    """Documents, chosen by hash, that head scores come from; attention costs more than the rest."""
    n_clusters: int = 6
    parts: tuple[str, ...] = ("layers", "heads", "divergence", "ablation")
    seed: int = 0


def analyze(
    model: nn.Module,
    corpus: Corpus,
    settings: AnalysisSettings,
    folder: Path,
    key: str,
    progress: Progress,
    *,
    docs: list[int] | None = None,
) -> dict[str, Any]:
    """Computes what is missing and writes it below ``folder``.

    Args:
        model: A loaded transformers model, with PEFT's layers where there is an adapter.
        corpus: The text.
        settings: What and how.
        folder: Where the files go; those of the same key are left as they are.
        key: Of model, adapter and corpus.
        progress: Advances by tokens.
        docs: Documents whose tokens get a divergence (those with a page).

    Returns:
        Facts for the manifest: each part -> "done", or why it is undefined.
    """
    key = content_key(SCHEMA, key, asdict(settings))
    chosen = choose_documents(corpus, settings.head_documents, settings.seed)
    makers: dict[str, Callable[[], dict[str, Any]]] = {
        "layers": lambda: _layers(measure_geometry(model, corpus, settings.geometry, progress)),
        "heads": lambda: _heads(
            measure_heads(model, corpus, settings.heads, progress, docs=chosen), settings
        ),
        "ablation": lambda: _ablation(
            measure_ablation(model, corpus, settings.ablation, progress, folder=folder / "partial", key=key)
        ),
    }
    facts = {
        name: _write(folder / f"{name}.json", key, maker)
        for name, maker in makers.items()
        if name in settings.parts
    }
    shutil.rmtree(folder / "partial", ignore_errors=True)
    if "divergence" in settings.parts and docs:
        facts["divergence"] = _divergences(model, corpus, folder / "divergence", key, progress, docs)
    return facts


def _write(path: Path, key: str, make: Callable[[], dict[str, Any]]) -> str:
    """Writes one part unless it is there; the reason instead where the model does not have it."""
    content = _finished(path, key)
    if content is None:
        try:
            content = make()
        except FeaturebookError as error:
            content = {"undefined": str(error)}
        content |= {"schema": SCHEMA, "key": key}
        write_bytes(path, to_json(content))
    return content.get("undefined", "done")


def _finished(path: Path, key: str) -> dict[str, Any] | None:
    try:
        content = read_json(path)
    except FeaturebookError:
        return None
    return content if content.get("key") == key else None


def _layers(results: list[StackResult]) -> dict[str, Any]:
    return {"variants": [_stack(result) for result in results]}


def _stack(result: StackResult) -> dict[str, Any]:
    """One variant, with its metrics' correlations and common scale at the residual point without excluded positions."""
    main = [
        curve
        for curve in result.curves
        if curve.method["point"] == "residual" and curve.method["positions"] != "all"
    ]
    return {
        "variant": result.variant,
        "n_tokens": result.n_tokens,
        "curves": [curve.as_json() for curve in result.curves],
        "cka": [matrix.as_json() for matrix in result.cka.values()],
        "correlations": correlations(main).as_json(),
        "normalised": [normalised(curve).as_json() for curve in main],
    }


def _heads(results: list[HeadResult], settings: AnalysisSettings) -> dict[str, Any]:
    variants = []
    for result in results:
        heads = map_heads(result.scores, settings.n_clusters)
        variants.append(
            {
                "variant": result.variant,
                "scores": [matrix.as_json() for matrix in result.scores],
                "map": {
                    "heads": heads.heads,
                    "points": heads.points.tolist(),
                    "explained": heads.explained,
                    "cluster": heads.cluster.tolist(),
                    "names": heads.names,
                    "method": heads.method,
                },
            }
        )
    return {"variants": variants}


def _ablation(result: AblationResult) -> dict[str, Any]:
    return {
        "effects": [
            {
                "key": effect.part.key,
                "kind": effect.part.kind,
                "layer": effect.part.layer,
                "module": effect.part.module,
                "channel": effect.part.channel,
                "divergence": effect.divergence.as_json(),
                "loss_change": effect.loss_change.as_json(),
            }
            for effect in result.effects
        ],
        "grids": [result.grid(quantity).as_json() for quantity in ("divergence", "loss_change")],
        "method": result.method,
    }


def _divergences(
    model: nn.Module, corpus: Corpus, folder: Path, key: str, progress: Progress, docs: list[int]
) -> str:
    missing = [doc for doc in docs if _finished(folder / f"{doc}.json", key) is None]
    try:
        for found in measure_divergence(model, corpus, progress, docs=missing):
            content = _divergence(found) | {"schema": SCHEMA, "key": key}
            write_bytes(folder / f"{found.doc}.json", to_json(content))
    except FeaturebookError as error:
        return str(error)
    return "done"


def _divergence(found: TokenDivergence) -> dict[str, Any]:
    method = {"unit": "nats", "convention": "of the distribution of the next token (of this token at masks)"}
    names = ("base_adapted", "adapted_base", "surprise_change")
    columns = {name: np.ascontiguousarray(getattr(found, name)) for name in names}
    return {"doc": found.doc, "method": method, **columns}
