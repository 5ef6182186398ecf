"""The built site in one zip, which any static server serves from any folder. Same site, same bytes."""

import zipfile
from pathlib import Path
from typing import Any

from generator.artifacts import atomic_path
from generator.errors import FeaturebookError

LEFT_OUT = ("404.html", "sitemap.xml", "sitemap.xml.gz")
"""Files that speak of one address, or of the day on which they were made: an archive has neither."""

OLDEST = (1980, 1, 1, 0, 0, 0)
"""The date of every entry: the first one that the format knows."""


def export_zip(site: Path, out: Path) -> dict[str, Any]:
    """Packs a built site.

    Args:
        site: What MkDocs built, ``site/``.
        out: The archive.

    Returns:
        ``n_files``, ``n_bytes`` and ``notes``.

    Raises:
        FeaturebookError: there is no built site, or the archive would lie inside it.
    """
    if not (site / "index.html").is_file():
        raise FeaturebookError(
            f"{site} holds no built site (no index.html). Run `mkdocs build`, or name its folder with --site-dir."
        )
    if out.resolve().is_relative_to(site.resolve()):
        raise FeaturebookError(f"{out} lies inside {site}, which it packs. Give another place to --out.")
    names = sorted(path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file())
    kept = [name for name in names if name not in LEFT_OUT]
    with (
        atomic_path(out) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive,
    ):
        for name in kept:
            entry = zipfile.ZipInfo(name, OLDEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, (site / name).read_bytes())
    left = [name for name in names if name in LEFT_OUT]
    notes = [f"Left out, because they name an address or a day: {', '.join(left)}."] if left else []
    return {"n_files": len(kept), "n_bytes": out.stat().st_size, "notes": notes}
