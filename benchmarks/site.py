"""A site of N channels: publishing, ``mkdocs build``, peak memory and bytes per channel, beside plain Material for MkDocs.

``python -m benchmarks.site 500 2000 8000 [--preset full] [--plain] [--again] [--serve]``. The run is made up
(benchmarks/synthetic.py), everything else is the real code; each figure is of a process of its own. ``--plain`` builds the same
titles and facts as plain Markdown, every page in the navigation and in the built-in search. ``--again`` changes a label and
publishes and builds anew. BENCHMARK_FOLDER names a folder for the files.
"""

import argparse
import gzip
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
SAMPLED = 300
"""Files of a kind that are compressed to learn how well the kind compresses."""

CONFIG = """INHERIT: {root}/mkdocs.yml
docs_dir: {folder}/docs
site_dir: {folder}/site
hooks: [{root}/site_assets/hooks/atlas.py, {root}/site_assets/hooks/held.py]
theme: {{custom_dir: {root}/site_assets}}
extra: {{shards: {folder}/shards, pages: {folder}/html}}
nav: [{{Home: index.md}}, {{Explorer: atlas/explorer.md}}, {{Layers: atlas/layers.md}}, {{Guide: [{{Guide: guide.md}}]}}]
"""
LABEL = '{{"id":"sae/77","polarity":"positive","text":"{text}","author":"Ann","source":"human","date":"2026-01-02"}}\n'
PLAIN = """site_name: Plain
theme: {{name: material, font: false}}
docs_dir: {folder}/plain
site_dir: {folder}/plain-site
"""


def main() -> None:
    """Prints a few lines per size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", type=int, nargs="+")
    parser.add_argument("--preset", default="auto")
    for name in ("plain", "again", "serve", "publish-only"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.publish_only:
        publish_synthetic(options.sizes[0], options.folder, options.preset)
        return
    for n in options.sizes:
        with tempfile.TemporaryDirectory(dir=os.environ.get("BENCHMARK_FOLDER")) as name:
            measure(n, Path(name), options)


def publish_synthetic(n: int, folder: Path, preset: str) -> None:
    """Publishes a made-up run, and says what publishing alone took."""
    from benchmarks.synthetic import synthetic_channels, synthetic_config, synthetic_corpus, synthetic_summary
    from generator.artifacts import Writer
    from generator.progress import Silent
    from generator.publish import publish
    from generator.publish.kept import Kept

    corpus = synthetic_corpus()
    summary = synthetic_summary(corpus, synthetic_channels(n))
    before, began, cpu = _peak_megabytes(), time.perf_counter(), _cpu_seconds()
    writers, config = (Writer(folder / "shards"), Writer(folder / "docs")), synthetic_config(preset=preset)
    places = folder / "docs/notes", Silent(), folder / "labels"
    publish(config, corpus, summary, *writers, *places, kept=Kept(folder / "publish", preset))
    wall, cpu = time.perf_counter() - began, _cpu_seconds() - cpu
    print(
        f"{n:6} publish alone  {wall:7.1f} s wall {cpu:7.1f} s CPU {1e3 * wall / n:7.2f} ms wall a channel; "
        f"{before:.0f} MB of run and imports before, {_peak_megabytes():.0f} MB at the peak"
    )


def measure(n: int, folder: Path, options: argparse.Namespace) -> None:
    """One size, in an empty folder."""
    docs = folder / "docs"
    docs.mkdir()
    (docs / "index.md").write_text("---\ntemplate: home.html\nshard: shards/home.json\n---\n# Home\n")
    (docs / "guide.md").write_text("# Guide\n\nA hand-written page.\n")
    (folder / "mkdocs.yml").write_text(CONFIG.format(root=ROOT, folder=folder))
    publish = [sys.executable, "-m", "benchmarks.site", str(n), "--publish-only", "--preset", options.preset]
    build = [sys.executable, "-m", "mkdocs", "build", "-q", "-f", str(folder / "mkdocs.yml")]
    (folder / "labels").mkdir()
    (folder / "labels/one.jsonl").write_text(
        LABEL.format(text="a word")
    )  # a first label would bring the feed to every page
    _timed(n, "publish", [*publish, "--folder", str(folder)])
    _timed(n, "mkdocs build", build)
    _show_bytes(n, folder / "site")
    if options.again:
        (folder / "labels/one.jsonl").write_text(LABEL.format(text="so far"))
        _timed(n, "publish again", [*publish, "--folder", str(folder)])
        _timed(n, "build again", build)
    if options.serve:
        _serve(n, folder)
    if options.plain:
        _write_plain(folder)
        _timed(n, "plain build", [*build[:-1], str(folder / "plain.yml")])
        _show_bytes(n, folder / "plain-site")


def _timed(n: int, name: str, command: list[str]) -> None:
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    wall, cpu = time.perf_counter() - began, usage.ru_utime + usage.ru_stime
    if status:
        sys.exit(f"{' '.join(command)} failed")
    print(
        f"{n:6} {name:14} {wall:7.1f} s wall {cpu:7.1f} s CPU {1e3 * wall / n:7.2f} ms wall a channel, "
        f"{usage.ru_maxrss / 1024:.0f} MB at the peak",
        flush=True,
    )


def _show_bytes(n: int, site: Path) -> None:
    """Bytes per channel of the pages of channels, their shards, and all that lists or searches channels."""
    kinds: dict[str, list[Path]] = {}
    for path in sorted(p for p in site.rglob("*") if p.is_file()):
        kind = _kind(path.relative_to(site))
        kinds.setdefault(kind, []).append(path)
    for kind, paths in sorted(kinds.items()):
        sizes = [path.stat().st_size for path in paths]
        sample = random.Random(0).sample(paths, min(SAMPLED, len(paths)))
        packed = sum(len(gzip.compress(p.read_bytes(), 6)) for p in sample) / max(
            1, sum(p.stat().st_size for p in sample)
        )
        total = sum(sizes)
        print(
            f"{n:6}   {kind:32} {len(paths):6} files {total / 1e6:8.1f} MB {total / n / 1e3:7.2f} kB a channel, "
            f"gzip {packed * total / n / 1e3:6.2f} kB"
        )


def _kind(path: Path) -> str:
    parts = path.parts
    if parts[0] == "atlas" and parts[1] in ("lora", "sae") and len(parts) > 3:
        return "HTML of channels"
    if parts[0] == "shards" and parts[1] in ("lora", "sae") and len(parts) > 2:
        return "shards of channels"
    if parts[0] == "shards" and parts[1] in ("doc", "layer"):
        return "shards of documents and layers"
    if parts[0] == "shards" or parts[:2] == ("search", "search_index.json") or parts[0].startswith("sitemap"):
        return "index: all other shards, sitemap"
    return "pages of the theme and all else"


def _serve(n: int, folder: Path) -> None:
    """Seconds from the start of ``mkdocs serve`` to its first answer, and for the first page of a channel."""
    address = "http://127.0.0.1:8347/"
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "serve",
        "-q",
        "-a",
        "127.0.0.1:8347",
        "-f",
        str(folder / "mkdocs.yml"),
    ]
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"})
    try:
        _answer(address)
        first = time.perf_counter() - began
        began = time.perf_counter()
        _answer(f"{address}atlas/sae/1/")
        print(
            f"{n:6} mkdocs serve answers after {first:.1f} s, a channel's page then takes {time.perf_counter() - began:.2f} s"
        )
    finally:
        process.terminate()
        process.wait()


def _answer(address: str) -> None:
    for _ in range(6000):
        try:
            urllib.request.urlopen(address).read()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{address} does not answer")


def _write_plain(folder: Path) -> None:
    """The pages of channels as Markdown bodies."""
    import yaml

    (folder / "plain.yml").write_text(PLAIN.format(folder=folder))
    for path in [p for name in ("lora", "sae") for p in (folder / "docs/atlas" / name).rglob("*.md")]:
        meta = yaml.load(path.read_text().split("---\n")[1], Loader=yaml.CSafeLoader)
        channel = meta["channel"]
        facts = "".join(f"| {name} | {value} |\n" for name, value in channel["stats"].items())
        tokens = " ".join(f"`{token}`" for token in channel["top_tokens"])
        target = folder / "plain" / path.relative_to(folder / "docs/atlas")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(
            f"# {meta['title']}\n\n{meta['description']}\n\n| | |\n|--|--|\n{facts}\n\n{tokens}\n"
        )
    (folder / "plain/index.md").write_text("# Home\n")


def _cpu_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _peak_megabytes() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
