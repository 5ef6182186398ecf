"""A site's corpus and summary from somebody else's feature files, without a model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from generator.artifacts import Artifact, content_key, path_key, write_bytes
from generator.config import RunConfig, load_run
from generator.errors import FeaturebookError, nearest
from generator.publish.exchange import neuronpedia, saedashboard
from generator.publish.exchange.building import build_corpus, build_summary
from generator.publish.exchange.export import SIDECAR
from generator.publish.exchange.foreign import ForeignSet
from generator.publish.exchange.shapes import Reading, load_json
from generator.publish.exchange.shelf import slug_of

IMPORTERS: dict[str, Callable[[Path], ForeignSet]] = {
    "saedashboard": saedashboard.read,
    "neuronpedia": neuronpedia.read,
}
"""Format -> the function that reads it."""

RUN_FILE = "run.toml"
"""In the build folder: what publishing needs to know beside the corpus and the summary."""


def import_site(source: Path, build: Path, format_name: str) -> RunConfig:
    """Reads feature files and leaves a build folder as if the stages up to the summary had run.

    Writes ``corpus/``, ``summary/`` and ``run.toml`` below ``build``; ``build RUN.toml --only publish`` makes the site.

    Args:
        source: A file or folder of feature files.
        build: A new build folder, or one of an earlier import.
        format_name: A key of ``IMPORTERS``.

    Returns:
        The run that ``run.toml`` holds.

    Raises:
        FeaturebookError: unknown format, files of another shape, no features, a build folder that a run made.
    """
    if format_name not in IMPORTERS:
        raise FeaturebookError(
            f"There is no import format {format_name!r}. {nearest(format_name, IMPORTERS)}"
        )
    _check_free(build)
    found = IMPORTERS[format_name](source)
    if not found.features:
        raise FeaturebookError(f"{source} holds no features.")
    _check_distinct(found, source)
    corpus = build_corpus(found)
    summary = build_summary(found, corpus, _heads(source))
    key = content_key("import", format_name, path_key(str(source)))
    for stage in ("corpus", "summary"):
        Artifact(build / stage, key).begin()
    corpus.save(build / "corpus" / "corpus.h5")
    summary.save(build / "summary" / "summary.h5")
    write_bytes(build / RUN_FILE, _run_file(found, source).encode())
    config = load_run(build / RUN_FILE)
    Artifact(build / "corpus", key).finish(
        stage="corpus", is_imported=True, n_documents=corpus.n_docs, n_tokens=corpus.n_tokens
    )
    Artifact(build / "summary", key).finish(
        stage="summarize", is_imported=True, n_channels=len(summary.channels)
    )
    return config


def _check_free(build: Path) -> None:
    """Refuses to overwrite what a run computed."""
    for stage in ("corpus", "summary"):
        manifest = Artifact(build / stage, "").manifest()
        if manifest is not None and not manifest.get("is_imported"):
            raise FeaturebookError(
                f"{build / stage} holds the results of a run. Give another folder to --build-dir, for instance build-imported."
            )


def _check_distinct(found: ForeignSet, source: Path) -> None:
    seen = set()
    for f in found.features:
        place = (f.set_name, f.layer, f.index)
        if place in seen:
            raise FeaturebookError(
                f"{source}: feature {f.index} of {f.set_name!r}, layer {f.layer}, is there twice. Import one copy of it."
            )
        seen.add(place)


def _heads(source: Path) -> dict[tuple[int, str, int], dict[str, Any]]:
    """What our own export wrote beside the files, by layer, set name and index; nothing when it did not write them."""
    folder = (source if source.is_dir() else source.parent).resolve()
    path = next((f / SIDECAR for f in (folder, *folder.parents[:2]) if (f / SIDECAR).is_file()), None)
    if path is None:
        return {}
    sidecar = Reading(load_json(path), str(path))
    heads: dict[tuple[int, str, int], dict[str, Any]] = {}
    tables = Reading(sidecar.value.get("features"), f"{path}: features")
    for name, table in tables.value.items():
        for index, entry in Reading(table, f"{path}: {name}").value.items():
            head = _head(Reading(entry, f"{path}: {name}: {index}"))
            layer = head["layer"]
            for set_name in (head["collection"], slug_of(head["collection"])):
                heads[layer, set_name, int(index) if index.isdigit() else -1] = head
    return heads


def _head(entry: Reading) -> dict[str, Any]:
    is_signed = entry.value.get("is_signed")
    if not isinstance(is_signed, bool):
        raise entry.wrong("is_signed", "true or false")
    return {
        **{name: entry.text(name) for name in ("id", "collection", "kind", "module")},
        **{name: entry.integer(name) for name in ("rank_index", "rank")},
        "layer": entry.integer("layer", -1),
        "is_signed": is_signed,
    }


def _run_file(found: ForeignSet, source: Path) -> str:
    sets = list(dict.fromkeys(f.set_name for f in found.features))
    model = found.facts.get("model") or "unknown"
    title = f"{sets[0]} of {model}" if len(sets) == 1 else f"{len(sets)} sets of features of {model}"
    lines = [
        f"# Made from {found.format} files. [model] and [corpus] only name what the files name; nothing of them is read.",
        f"name = {_toml(source.stem or 'imported')}",
        "",
        "[model]",
        f"base = {_toml(model)}",
        f"adapter = {_toml(', '.join(sets[:4]))}",
        "",
        "[corpus]",
        f"source = {_toml(found.facts.get('dataset') or 'unknown')}",
        "",
        "[publish]",
        f"title = {_toml(title)}",
    ]
    return "\n".join(lines) + "\n"


def _toml(text: str) -> str:
    """A basic string; names come from files, so anything may stand in them."""
    whole = text.encode("utf-8", "replace").decode()
    return json.dumps(whole, ensure_ascii=False).replace("\x7f", "\\u007f")
