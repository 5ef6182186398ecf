"""Exchange with other tools: our shards in their feature files, and a site from theirs.

An exporter reads finished shards, the public contract (docs/shards.md), and nothing else. An importer builds a
corpus and a summary, from which ``publish`` makes the site as from our own. The field maps, and what is lost each way,
are in docs/exchange.md. Numpy only.

To add a format: one module with an ``export`` or ``read`` function and its line in ``EXPORTERS`` or ``IMPORTERS``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from generator.publish.exchange.export import EXPORTERS, export_site
from generator.publish.exchange.importing import IMPORTERS, import_site
from generator.publish.exchange.single_file import export_single_file
from generator.publish.exchange.zipped import export_zip

__all__ = ["ARCHIVES", "EXPORTERS", "IMPORTERS", "export_archive", "export_site", "import_site", "is_archive"]

ARCHIVES = ("single-file", "zip")
"""Forms in which a site is kept or handed on as one file."""


def is_archive(format_name: str) -> bool:
    """Whether ``--to`` asks for a site as one file, not for another tool's format."""
    return format_name in ARCHIVES


def export_archive(
    format_name: str, shards: Path, site: Path, out: Path, wanted: Sequence[str]
) -> dict[str, Any]:
    """Writes a site, or chosen channels of it, as one file; returns ``n_bytes`` and ``notes``."""
    return export_zip(site, out) if format_name == "zip" else export_single_file(shards, out, wanted)
