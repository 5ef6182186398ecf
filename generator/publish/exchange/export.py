"""Writes shards in the formats of other tools."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from generator.artifacts import Writer, to_json
from generator.errors import FeaturebookError, nearest
from generator.publish.exchange import circuit_tracer, neuronpedia, openai, saedashboard
from generator.publish.exchange.shelf import Shelf, Source

EXPORTERS: dict[str, Callable[[Shelf, list[Source], Writer], list[str]]] = {
    "neuronpedia": neuronpedia.export,
    "circuit-tracer": circuit_tracer.export,
    "saedashboard": saedashboard.export,
    "openai": openai.export,
}
"""Format -> the function that writes it; it returns sentences on what the format cannot carry."""

SIDECAR = "featurebook.json"
"""Beside the files of the other tool: which file is ours to replace, and the id of every feature."""


def export_site(
    shards: Path, out: Path | Writer, format_name: str, collection: str | None = None
) -> dict[str, Any]:
    """Writes the features of a built site in the format of another tool. Same shards, same bytes.

    Args:
        shards: The folder of shards, ``build/shards``.
        out: A new folder, or one that an earlier export made: its files are replaced.
        format_name: A key of ``EXPORTERS``.
        collection: Only this one; all when None.

    Returns:
        ``n_features``, ``n_files`` and ``notes``, sentences on what was lost.

    Raises:
        FeaturebookError: unknown format or collection, shards that are missing, a folder that holds something else.
    """
    if format_name not in EXPORTERS:
        raise FeaturebookError(
            f"There is no export format {format_name!r}. {nearest(format_name, EXPORTERS)}"
        )
    shelf = Shelf(shards)
    sources = shelf.sources(collection)
    writer = out if isinstance(out, Writer) else Writer(out)
    before = _files_before(writer.root)
    notes = EXPORTERS[format_name](shelf, sources, writer)
    n_files = len(writer.written)
    ids = {source.name: {str(index): entry for index, entry in _heads(shelf, source)} for source in sources}
    writer.write(
        SIDECAR,
        to_json({"schema": 1, "format": format_name, "files": sorted(writer.written), "features": ids}),
    )
    for path in before - writer.written:
        target = (writer.root / path).resolve()
        if target.is_relative_to(writer.root):
            target.unlink(missing_ok=True)
    return {"n_features": sum(len(s.ids) for s in sources), "n_files": n_files, "notes": notes}


def _heads(shelf: Shelf, source: Source) -> list[tuple[int, dict[str, Any]]]:
    """What a feature is, by its index: what no other format has a place for, so that an import gives it back."""
    names = ("id", "collection", "kind", "layer", "module", "rank_index", "rank", "is_signed")
    return [(index, {name: shard[name] for name in names}) for index, shard in shelf.features(source)]


def _files_before(root: Path) -> set[str]:
    """The files of an earlier export to this folder.

    Raises:
        FeaturebookError: the folder holds files and no export of ours.
    """
    if not root.is_dir() or not any(root.iterdir()):
        return set()
    try:
        return {str(path) for path in orjson.loads((root / SIDECAR).read_bytes())["files"]}
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        raise FeaturebookError(
            f"{root} is not empty and holds no export of ours. Give a new folder to --out, or empty it."
        ) from None
