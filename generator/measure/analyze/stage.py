"""The analysis of one model on a corpus, as files that publishing reads without torch: docs/analysis.md has their form.

A part that the model does not have (no attention weights, no adapter, no language-model head) is a file that says why.
Every file carries the key of what it depends on, so a killed run goes on where it was, and new prompts compute nothing else anew.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
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
from generator.measure.analyze.layers import GeometrySettings, measure_geometry
from generator.measure.analyze.memory import halving
from generator.measure.analyze.predictions import TokenDivergence, measure_divergence
from generator.measure.analyze.report import Reader, TextSettings, describe, layers_json
from generator.measure.analyze.texts import Reading, Text
from generator.progress import Progress

SCHEMA = 1
PARTS = ("layers", "heads", "ablation", "divergence", "texts")


@dataclass(frozen=True)
class AnalysisSettings:
    """What is analysed, and how."""

    geometry: GeometrySettings = field(default_factory=GeometrySettings)
    heads: HeadSettings = field(default_factory=HeadSettings)
    ablation: AblationSettings = field(default_factory=AblationSettings)
    text: TextSettings = field(default_factory=TextSettings)
    corpus_documents: int | None = None
    """Documents, chosen by hash, that the geometry reads; all when absent."""
    head_documents: int = 64
    """Documents, chosen by hash, that head scores come from; attention costs more than the rest."""
    divergence_tokens: int = 512
    """Tokens of a forward pass whose distributions over the vocabulary are compared."""
    n_clusters: int = 6
    parts: tuple[str, ...] = PARTS
    seed: int = 0


def analyze(
    model: nn.Module,
    corpus: Corpus,
    settings: AnalysisSettings,
    folder: Path,
    key: str,
    progress: Progress,
    *,
    docs: Sequence[int] = (),
) -> dict[str, Any]:
    """Computes what is missing of the corpus-level parts and writes it below ``folder``.

    Args:
        model: A loaded transformers model, with PEFT's layers where there is an adapter.
        corpus: The text.
        settings: What and how.
        folder: Where the files go; those of the same key are left as they are.
        key: Of model, adapter and corpus.
        progress: Advances by tokens.
        docs: Documents whose tokens get a divergence (those with a page).

    Returns:
        Facts for the index: each part -> "done", or why it is undefined.
    """
    longest = int(np.diff(corpus.pieces[:, [0, 2]]).max(initial=1))
    read = None
    if settings.corpus_documents is not None:
        read = choose_documents(corpus, settings.corpus_documents, settings.seed)
    chosen = choose_documents(corpus, settings.head_documents, settings.seed)
    of = settings.seed, settings.corpus_documents, settings.head_documents, settings.n_clusters

    def layers() -> dict[str, Any]:
        return layers_json(
            halving(
                settings.geometry.batch_tokens,
                lambda n: measure_geometry(
                    model, corpus, replace(settings.geometry, batch_tokens=n), progress, docs=read
                ),
                progress,
                smallest=longest,
            )
        )

    def heads() -> dict[str, Any]:
        found = halving(
            settings.heads.batch_tokens,
            lambda n: measure_heads(
                model, corpus, replace(settings.heads, batch_tokens=n), progress, docs=chosen
            ),
            progress,
            smallest=longest,
        )
        return _heads(found, settings)

    def ablation() -> dict[str, Any]:
        partial = folder / "partial"
        found = measure_ablation(model, corpus, settings.ablation, progress, folder=partial, key=key)
        return _ablation(found)

    makers: dict[str, tuple[Callable[[], dict[str, Any]], Any]] = {
        "layers": (layers, settings.geometry),
        "heads": (heads, settings.heads),
        "ablation": (ablation, settings.ablation),
    }
    facts = {
        name: _write(folder / f"{name}.json", content_key(SCHEMA, key, name, of, asdict(part)), make)
        for name, (make, part) in makers.items()
        if name in settings.parts
    }
    shutil.rmtree(folder / "partial", ignore_errors=True)
    if "divergence" in settings.parts and docs:
        facts["divergence"] = _divergences(
            model, corpus, folder / "divergence", key, progress, docs, settings
        )
    return facts


def analyze_text(
    reader: Reader,
    text: Text,
    read: Callable[[], Reading],
    settings: AnalysisSettings,
    folder: Path,
    key: str,
    progress: Progress,
) -> str:
    """Writes the files of one prompt or document unless they are there.

    Args:
        reader: The model and its tokenizer.
        text: Which text.
        read: Gives its tokens as this model reads them.
        settings: What is computed.
        folder: The model's; the files go to ``texts/``.
        key: Of model and adapter.
        progress: Advances by tokens.

    Returns:
        "done", or why the text cannot be analysed.
    """

    def make() -> dict[str, Any]:
        reading = read()
        content = describe(reader, text, reading, settings.text, folder / "texts" / text.id, key, progress)
        progress.advance(len(reading.token_ids))
        return content

    key = content_key(SCHEMA, key, text.as_json(), asdict(settings.text))
    return _write(folder / "texts" / f"{text.id}.json", key, make, about=text.as_json())


def _write(
    path: Path, key: str, make: Callable[[], dict[str, Any]], *, about: dict[str, Any] | None = None
) -> str:
    """Writes one part unless it is there; the reason instead where the model does not have it."""
    content = _finished(path, key)
    if content is None:
        try:
            content = make()
        except FeaturebookError as error:
            content = {"undefined": str(error)} | (about or {})
        content |= {"schema": SCHEMA, "key": key}
        write_bytes(path, to_json(content))
    return content.get("undefined", "done")


def _finished(path: Path, key: str) -> dict[str, Any] | None:
    try:
        content = read_json(path)
    except FeaturebookError:
        return None
    return content if content.get("key") == key else None


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


def ablation_findings(content: dict[str, Any]) -> dict[str, Any]:
    """Channel id -> its effect, its rank among all, and the effects of the parts that it belongs to.

    Args:
        content: Of ``ablation.json``; one that is undefined gives nothing.
    """
    effects = content.get("effects", [])
    own = [e for e in effects if e["kind"] == "direction" and e["divergence"]["value"] is not None]
    order = sorted(own, key=lambda e: (-e["divergence"]["value"], e["channel"]))
    rank = {e["channel"]: number for number, e in enumerate(order, 1)}

    def context(effect: dict[str, Any]) -> list[dict[str, Any]]:
        is_around = {
            "module": lambda e: (e["layer"], e["module"]) == (effect["layer"], effect["module"]),
            "layer": lambda e: e["layer"] == effect["layer"],
            "type": lambda e: e["module"] == effect["module"],
            "adapter": lambda e: True,
        }
        names = ("kind", "key", "divergence", "loss_change")
        return [
            {n: e[n] for n in names} for e in effects if e["kind"] in is_around and is_around[e["kind"]](e)
        ]

    return {
        e["channel"]: {
            "divergence": e["divergence"],
            "loss_change": e["loss_change"],
            "rank": rank.get(e["channel"]),
            "n_directions": len(own),
            "context": context(e),
        }
        for e in effects
        if e["kind"] == "direction"
    }


def _divergences(
    model: nn.Module,
    corpus: Corpus,
    folder: Path,
    key: str,
    progress: Progress,
    docs: Sequence[int],
    settings: AnalysisSettings,
) -> str:
    key = content_key(SCHEMA, key, "divergence")
    missing = [doc for doc in docs if _finished(folder / f"{doc}.json", key) is None]
    longest = int(np.diff(corpus.pieces[:, [0, 2]]).max(initial=1))

    def attempt(batch_tokens: int) -> None:
        left = [doc for doc in missing if _finished(folder / f"{doc}.json", key) is None]
        for found in measure_divergence(model, corpus, progress, batch_tokens=batch_tokens, docs=left):
            content = _divergence(found) | {"schema": SCHEMA, "key": key}
            write_bytes(folder / f"{found.doc}.json", to_json(content))

    try:
        halving(settings.divergence_tokens, attempt, progress, smallest=longest)
    except FeaturebookError as error:
        return str(error)
    return "done"


def _divergence(found: TokenDivergence) -> dict[str, Any]:
    method = {"unit": "nats", "convention": "of the distribution of the next token (of this token at masks)"}
    names = ("base_adapted", "adapted_base", "surprise_change")
    columns = {name: np.ascontiguousarray(getattr(found, name)) for name in names}
    return {"doc": found.doc, "method": method, **columns}


def divergence_summary(folder: Path, corpus: Corpus, docs: Sequence[int]) -> list[dict[str, Any]]:
    """Documents by mean KL(base ‖ adapted), largest first, with the token where it is largest."""
    rows = []
    for doc in docs:
        path = folder / "divergence" / f"{doc}.json"
        values = np.array(read_json(path)["base_adapted"]) if path.exists() else np.zeros(0)
        if len(values):
            at = int(values.argmax())
            rows.append(
                {
                    "doc": int(doc),
                    "name": corpus.doc_names[doc],
                    "n": len(values),
                    "mean": float(values.mean()),
                    "max": float(values[at]),
                    "at": at,
                }
            )
    return sorted(rows, key=lambda row: (-row["mean"], row["doc"]))
