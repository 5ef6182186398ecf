"""Puts a bundle together: every part into a folder of its own, then all of it into one ZIP with sorted entries of one date."""

import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from generator.artifacts import atomic_path
from generator.errors import FeaturebookError, nearest
from generator.progress import Progress, Silent
from generator.publish.exchange.bundle.analysis import Analysis, open_analysis
from generator.publish.exchange.bundle.analysis_tables import analysis_tables
from generator.publish.exchange.bundle.animation import animate
from generator.publish.exchange.bundle.channel_tables import TABLES, write_channel_tables
from generator.publish.exchange.bundle.csvs import write_table
from generator.publish.exchange.bundle.drawing import Chart, render
from generator.publish.exchange.bundle.model_charts import model_charts
from generator.publish.exchange.bundle.provenance import provenance_page
from generator.publish.exchange.bundle.report import write_report
from generator.publish.exchange.bundle.text_charts import text_charts
from generator.publish.exchange.bundle.text_tables import text_tables
from generator.publish.exchange.shelf import Shelf
from generator.publish.exchange.zipped import OLDEST

NO_ANALYSIS = "the run has no analysis. Add a table [analyze] to the run file and build."
INSTALL = "Install it with `pip install 'featurebook[export]'`."


@dataclass
class Workplace:
    """What the parts of a bundle are made from, and where they are put."""

    shelf: Shelf
    analysis: Analysis | None
    build: Path
    folder: Path
    """Becomes the ZIP."""
    collection: str | None
    progress: Progress
    about: dict[str, str] = field(default_factory=dict)  # "tables/layers.csv" -> "one metric at one layer"
    left_out: list[str] = field(default_factory=list)
    """Sentences on what is not in the bundle."""

    @cached_property
    def charts(self) -> list[Chart]:
        """Every chart of the analysis; drawn when asked for."""
        return [
            chart for model in (self.analysis.models if self.analysis else []) for chart in _charts(model)
        ]


def _charts(model: Any) -> Iterator[Chart]:
    yield from model_charts(model)
    for text in model.texts():
        yield from text_charts(model, text)


@dataclass(frozen=True)
class Part:
    """One part of a bundle."""

    make: Callable[[Workplace], None]
    needs: tuple[str, ...] = ()
    """Libraries of the extra ``export``."""
    needs_analysis: bool = True


def export_bundle(
    build: Path,
    out: Path,
    collection: str | None = None,
    parts: Sequence[str] = (),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Writes everything that was computed as files in one ZIP. Same build folder, same libraries: same bytes.

    Args:
        build: The build folder: ``shards/``, and ``analysis/`` where the run has one.
        out: The ZIP.
        collection: Only the channels of this collection.
        parts: Keys of ``PARTS``; all when empty, less those whose library is not installed.
        progress: Advances by one per part and chart.

    Returns:
        ``n_files``, ``n_bytes`` and ``notes``: what was left out, and why.

    Raises:
        FeaturebookError: no shards, an unknown part or collection, a part asked for by name whose library or analysis is missing.
    """
    for name in parts:
        if name not in PARTS:
            raise FeaturebookError(f"There is no part {name!r} of a bundle. {nearest(name, PARTS)}")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
        place = Workplace(
            Shelf(build / "shards"),
            open_analysis(build),
            build,
            Path(temporary),
            collection,
            progress or Silent(),
        )
        place.shelf.sources(collection)  # an unknown collection is refused before anything is drawn
        for name in PARTS:  # in their order: the report is made of the figures
            if name in (parts or PARTS) and _is_possible(name, place, is_asked_for=bool(parts)):
                PARTS[name].make(place)
                place.progress.advance()
        if parts and "figures" not in parts:
            shutil.rmtree(place.folder / "figures", ignore_errors=True)
        _write_readme(place)
        n_files = _pack(place.folder, out)
    return {"n_files": n_files, "n_bytes": out.stat().st_size, "notes": place.left_out}


def _is_possible(name: str, place: Workplace, *, is_asked_for: bool) -> bool:
    """Whether a part can be made; the reason is noted, or raised where the part was asked for by name."""
    part = PARTS[name]
    missing = [library for library in part.needs if find_spec(library) is None]
    if part.needs_analysis and place.analysis is None:
        reason = f"{name}: {NO_ANALYSIS}"
    elif missing:
        reason = f"{name}: {' and '.join(missing)} is not installed. {INSTALL}"
    else:
        return True
    if is_asked_for:
        raise FeaturebookError(f"The bundle cannot have {reason}")
    place.left_out.append(f"Without {reason}")
    return False


def _tables(place: Workplace) -> None:
    folder = place.folder / "tables"
    for name in write_channel_tables(place.shelf, place.collection, folder):
        place.about[f"tables/{name}.csv"] = f"Each row: {TABLES[name]}."
    if place.analysis:
        for tables in (analysis_tables, text_tables):
            for table in tables(place.analysis):
                if write_table(table, folder):
                    place.about[f"tables/{table.name}.csv"] = f"Each row: {table.about}."


def _attention(place: Workplace) -> None:
    """Weights as NPZ, and what their axes mean."""
    assert place.analysis is not None
    for model in place.analysis.models:
        for text in model.texts():
            source = text.folder / "attention.npz"
            if source.exists():
                path = f"attention/{model.name}/{text.id}.npz"
                (place.folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, place.folder / path)
                place.about[path] = (
                    "Attention weights, arrays `base` and `adapted`, float16 (layer, head, query, key), and `tokens`, the token ids."
                )


def _figures(place: Workplace) -> None:
    for chart in place.charts:
        _draw(place, chart)


def _draw(place: Workplace, chart: Chart) -> None:
    if not (place.folder / "figures" / f"{chart.name}.svg").exists():
        for path in render(chart, place.folder / "figures"):
            place.about[path.relative_to(place.folder).as_posix()] = f"{chart.title}. {chart.caption}"
        place.progress.advance()


def _animation(place: Workplace) -> None:
    assert place.analysis is not None
    for model in place.analysis.models:
        for text in model.texts():
            for path in animate(text, place.folder / "animation"):
                name = path.relative_to(place.folder).as_posix()
                place.about[name] = f"Attention of {model.name} on “{text.facts['name']}”, layer after layer."


def _report(place: Workplace) -> None:
    _figures(place)
    out = place.folder / "report.pdf"
    write_report(
        place.shelf.home, place.analysis, place.charts, place.folder / "figures", out, place.left_out
    )
    place.about["report.pdf"] = "Figures, tables and notes on method, to be read or printed."


def _provenance(place: Workplace) -> None:
    names = _files(place.folder)
    hashes = {name: hashlib.sha256((place.folder / name).read_bytes()).hexdigest() for name in names}
    page = provenance_page(place.shelf.home, place.analysis, place.build, hashes, place.left_out)
    (place.folder / "provenance.html").write_text(page, encoding="utf-8")
    place.about["provenance.html"] = (
        "Settings, versions, seeds, keys, warnings, and the SHA-256 of every other file."
    )


PARTS: dict[str, Part] = {
    "tables": Part(_tables, needs_analysis=False),
    "attention": Part(_attention),
    "figures": Part(_figures, ("matplotlib",)),
    "animation": Part(_animation, ("matplotlib",)),
    "report": Part(_report, ("matplotlib", "typst")),
    "provenance": Part(_provenance, needs_analysis=False),
}
"""Name -> what makes it. The provenance page is last: it names the hash of every other file."""


def _write_readme(place: Workplace) -> None:
    home = place.shelf.home
    lines = [
        f"# {home['title']}",
        "",
        "Everything that was computed, as files. Tables are CSV (RFC 4180, UTF-8). A text that begins with =, +, -, @, a tab or a line",
        "break has ' before it, so that no spreadsheet runs it as a formula; take it away to have the text. Control characters stand",
        "as \\xNN. Empty cells are undefined; the column `undefined` says why. Columns `method.…` say how a number was measured.",
        "",
        *([*(f"* {sentence}" for sentence in place.left_out), ""] if place.left_out else []),
        *(
            f"* `{name}`: {' '.join(place.about[name].split())}"
            for name in _files(place.folder)
            if name in place.about
        ),
        "",
    ]
    (place.folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _pack(folder: Path, out: Path) -> int:
    names = _files(folder)
    with (
        atomic_path(out) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive,
    ):
        for name in names:
            entry = zipfile.ZipInfo(name, OLDEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            with (folder / name).open("rb") as source, archive.open(entry, "w") as target:
                shutil.copyfileobj(source, target, 2**20)
    return len(names)
