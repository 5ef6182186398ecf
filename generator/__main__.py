"""The command line: ``python -m generator build``."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from generator import __version__
from generator.errors import FeaturebookError

DEMO = Path(__file__).parent / "runs" / "demo.toml"

run_file = click.argument("run", type=click.Path(path_type=Path), default=DEMO, metavar="[RUN.toml]")
build_folder = click.option(
    "--build-dir",
    type=click.Path(path_type=Path),
    default=Path("build"),
    show_default=True,
    help="Folder for everything computed.",
)
docs_folder = click.option(
    "--docs-dir",
    type=click.Path(path_type=Path),
    default=Path("docs"),
    show_default=True,
    help="MkDocs' folder of pages; generated ones go below atlas/.",
)
labels_folder = click.option(
    "--labels-dir",
    type=click.Path(path_type=Path),
    default=Path("labels"),
    show_default=True,
    help="Folder of labels, *.jsonl.",
)


class _Terminated(KeyboardInterrupt):
    """SIGTERM came."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Ends a command that is asked to terminate as Ctrl-C does: what it had made for the while is cleared away."""

    def stop(number: int, frame: object) -> None:
        if os.getpid() != main_process:  # a forked worker goes at once; the main process clears away
            os._exit(128 + number)
        raise _Terminated

    main_process = os.getpid()
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Commands(click.Group):
    """Prints what the user can mend as one message, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _terminable():
                return super().invoke(ctx)
        except FeaturebookError as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"Error: {error}", err=True)
            sys.exit(1)
        except KeyboardInterrupt as stopped:
            click.echo("Interrupted. The same command goes on where this one stopped.", err=True)
            sys.exit(143 if isinstance(stopped, _Terminated) else 130)


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _refused(conflicts: list[str], *remedy: str) -> FeaturebookError:
    """Names the records of label files that contradict one another."""
    return FeaturebookError("\n".join([f"{_counted(len(conflicts), 'conflict')}.", *conflicts, *remedy]))


@click.group(cls=_Commands)
@click.version_option(__version__, prog_name="featurebook")
@click.option("--debug", is_flag=True, help="Show where an error came from.")
def main(debug: bool) -> None:
    """Publish what a language model has learned as a searchable static website.

    RUN.toml names a model, its adapter and a corpus; without it, the bundled demo is built.
    """


@main.command()
@run_file
@click.option(
    "--only", default="", metavar="STAGE[,STAGE]", help="Run only these stages; take the others as they are."
)
@click.option("--force", is_flag=True, help="Run the stages even when they are up to date.")
@click.option("--dry-run", is_flag=True, help="Print what would run, and why.")
@build_folder
@docs_folder
@labels_folder
def build(
    run: Path, only: str, force: bool, dry_run: bool, build_dir: Path, docs_dir: Path, labels_dir: Path
) -> None:
    """Build everything that is not up to date: corpus, activations, summary, pages."""
    from generator.config import load_run
    from generator.pipeline import Folders
    from generator.pipeline import build as run_stages

    stages = [name.strip() for name in only.split(",") if name.strip()]
    folders = Folders(build_dir, docs_dir, labels_dir)
    run_stages(load_run(run), folders, only=stages, force=force, dry_run=dry_run)


@main.command()
@run_file
@build_folder
@docs_folder
@labels_folder
def status(run: Path, build_dir: Path, docs_dir: Path, labels_dir: Path) -> None:
    """Say of every stage whether it is done, and what it holds."""
    from generator.config import load_run
    from generator.pipeline import Folders
    from generator.pipeline import status as stage_rows

    for name, state, facts in stage_rows(load_run(run), Folders(build_dir, docs_dir, labels_dir)):
        click.echo(f"{name:<10} {state:<40} {facts}".rstrip())


@main.command()
@run_file
def check(run: Path) -> None:
    """Check a run file, its paths, modules and shapes, and estimate memory and disk, without computing anything."""
    from generator.config import load_run
    from generator.measure.plan import check as plan

    for line in plan(load_run(run)).lines:
        click.echo(line)


@main.command()
@click.option(
    "--prompt", "prompts", multiple=True, required=True, help="A text to analyse; may be given again."
)
@run_file
@build_folder
@docs_folder
@labels_folder
def analyze(prompts: tuple[str, ...], run: Path, build_dir: Path, docs_dir: Path, labels_dir: Path) -> None:
    """Analyse prompts alone, without the corpus, and add their pages to the site (docs/analysis.md)."""
    from generator.config import load_run
    from generator.pipeline import Folders, analyze_alone

    for text in analyze_alone(load_run(run), prompts, Folders(build_dir, docs_dir, labels_dir)):
        click.echo(f"{text.id}: {text.name}")


@main.command()
@click.option(
    "--to",
    "format_name",
    required=True,
    metavar="FORMAT",
    help="neuronpedia, circuit-tracer, saedashboard, openai; single-file, zip or bundle.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="A new folder for the files; the file, for single-file, zip and bundle.",
)
@click.option("--collection", default=None, help="Only this collection.")
@click.option(
    "--ids",
    multiple=True,
    metavar="GLOB",
    help="single-file: only channels whose id matches; may be repeated.",
)
@click.option(
    "--site-dir",
    type=click.Path(path_type=Path),
    default=Path("site"),
    show_default=True,
    help="zip: the site that MkDocs built.",
)
@click.option(
    "--parts",
    default="",
    metavar="PART[,PART]",
    help="bundle: only these of tables, attention, figures, animation, report, provenance.",
)
@build_folder
def export(
    format_name: str,
    out: Path,
    collection: str | None,
    ids: tuple[str, ...],
    site_dir: Path,
    parts: str,
    build_dir: Path,
) -> None:
    """Write the features of a built site in the format of another tool, or as an archive (docs/exchange.md)."""
    from generator.publish.exchange import export_archive, export_site, is_archive

    if format_name == "bundle":
        from generator.progress import show
        from generator.publish.exchange.bundle import export_bundle

        chosen = [name.strip() for name in parts.split(",") if name.strip()]
        with show("bundle", None, "charts") as progress:
            facts = export_bundle(build_dir, out, collection, chosen, progress)
        click.echo(f"{out}: {facts['n_files']:,} files, {facts['n_bytes']:,} bytes")
    elif is_archive(format_name):
        chosen = [*ids, *([f"{collection}/*"] if collection else [])]
        facts = export_archive(format_name, build_dir / "shards", site_dir, out, chosen)
        click.echo(f"{out}: {facts['n_bytes']:,} bytes")
    else:
        facts = export_site(build_dir / "shards", out, format_name, collection)
        click.echo(f"{facts['n_features']:,} features in {facts['n_files']:,} files below {out}")
    for note in facts["notes"]:
        click.echo(f"  {note}")


@main.command("import")
@click.option("--from", "format_name", required=True, metavar="FORMAT", help="saedashboard or neuronpedia.")
@click.argument("source", type=click.Path(path_type=Path))
@build_folder
@docs_folder
def import_features(format_name: str, source: Path, build_dir: Path, docs_dir: Path) -> None:
    """Make a site from somebody else's feature files, without a model (docs/exchange.md)."""
    from generator.pipeline import Folders
    from generator.pipeline import build as run_stages
    from generator.publish.exchange import import_site

    run_stages(import_site(source, build_dir, format_name), Folders(build_dir, docs_dir), only=["publish"])
    click.echo(
        f"Publish again with: python -m generator build {build_dir / 'run.toml'} --only publish --build-dir {build_dir}"
    )


@main.group()
def labels() -> None:
    """Check and merge label files (docs/labels.md)."""


label_files = click.argument(
    "files", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="[FILE.jsonl]..."
)


@labels.command("check")
@label_files
@labels_folder
def check_labels(files: tuple[Path, ...], labels_dir: Path) -> None:
    """Read label files (those of the folder when none is named) and say what is in them; faults and conflicts are errors."""
    from generator.publish.label_merge import merge_files
    from generator.publish.labels import label_files as files_of

    chosen = list(files) or files_of(labels_dir)
    merged = merge_files(chosen)
    people = len({record.author for record in merged.records})
    click.echo(
        f"{_counted(len(merged.records), 'record')} by {_counted(people, 'author')} in {_counted(len(chosen), 'file')}, "
        f"{merged.n_same:,} twice"
    )
    if merged.conflicts:
        raise _refused(merged.conflicts)


@labels.command("merge")
@label_files
@click.option(
    "--into", type=click.Path(path_type=Path, dir_okay=False), help="File to write; its records take part."
)
@click.option("--newest", is_flag=True, help="Where one author contradicts themselves, take the later day.")
def merge_labels(files: tuple[Path, ...], into: Path | None, newest: bool) -> None:
    """Merge label files: duplicates are dropped, conflicts are reported and nothing is written."""
    from generator.publish.label_merge import merge_files, write_labels

    if not files:
        raise FeaturebookError("Name the files to merge, for instance labels/*.jsonl.")
    known = [into] if into and into.exists() and into not in files else []
    merged = merge_files([*known, *files], newest=newest)
    if merged.conflicts:
        remedy = "Nothing was written. Delete one record of each, or take the later day with --newest."
        raise _refused(merged.conflicts, remedy)
    click.echo(f"{_counted(len(merged.records), 'record')}, {_counted(merged.n_same, 'duplicate')} dropped")
    if into:
        write_labels(into, merged.records)


if __name__ == "__main__":
    main(prog_name="python -m generator")
