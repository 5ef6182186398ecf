"""The provenance page: one HTML file that loads nothing, with settings, versions, keys, hashes, seeds and warnings."""

import html
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from generator.artifacts import read_json
from generator.publish.exchange.bundle.analysis import Analysis
from generator.publish.visible import plain

STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2.2rem}
table{border-collapse:collapse;width:100%;font-size:14px}
th,td{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8884;overflow-wrap:anywhere}
th{font-weight:600;white-space:nowrap}code{font:13px ui-monospace,monospace}
"""

TIMINGS = (
    "Times are not kept: the same inputs have to give the same bytes. The command that builds prints them, and "
    "the guide's page on performance has measured ones."
)


def provenance_page(
    home: dict[str, Any], analysis: Analysis | None, build: Path, hashes: dict[str, str], left_out: list[str]
) -> str:
    """The page as HTML.

    Args:
        home: The shard of the home page.
        analysis: Of the run, if it has one.
        build: The build folder, whose stages' facts are listed.
        hashes: Path in the bundle -> SHA-256 of the file.
        left_out: Parts of the bundle that are missing, with the reason.
    """
    known = home["provenance"]
    warned = list(warnings(home, analysis))
    sections = [
        _section("The run", _pairs(_run_facts(home, analysis))),
        _section("Warnings and what was approximated", _list([*left_out, *warned]) or "<p>None.</p>"),
        _section("Versions", _pairs(known["versions"].items())),
        _section("Seeds", _pairs(_seeds(known, analysis))),
        _section("Keys of contents", _pairs(sorted(_keys(known, build).items()))),
        _section("Settings", _pairs(_flat("", known["settings"]))),
        _section("Stages", "".join(map(_stage, _manifests(build)))),
        _section("Times", f"<p>{TIMINGS}</p>"),
        _section("Files of the bundle, SHA-256", _pairs(sorted(hashes.items()), is_code=True)),
    ]
    title = f"Provenance of {plain(home['title'])}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        'content="width=device-width,initial-scale=1"><meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body><h1>{html.escape(title)}</h1>"
        f"{''.join(sections)}</body></html>\n"
    )


def warnings(home: dict[str, Any], analysis: Analysis | None) -> Iterator[str]:
    """Sentences on what was approximated, is undefined or is to be read with care, each once."""
    yield from dict.fromkeys(map(str, home["notes"]))
    for model in analysis.models if analysis else []:
        found: dict[str, list[str]] = {}
        for part, reason in model.facts["parts"].items():
            if reason != "done":
                found.setdefault(reason, []).append(part)
        for _, entry in model.variants("layers"):
            for curve in entry["curves"]:
                if curve["method"].get("warning"):
                    found.setdefault(curve["method"]["warning"], []).append(curve["metric"])
        for text in model.texts():
            for variant, entry in text.variants("attribution"):
                warning = entry.get("integrated_gradients", {}).get("warning")
                if warning:
                    found.setdefault(warning, []).append(f"{text.id} {variant}")
        for sentence, where in found.items():
            yield f"{model.name}, {', '.join(dict.fromkeys(where))}: {sentence}"


def _run_facts(home: dict[str, Any], analysis: Analysis | None) -> Iterator[tuple[str, Any]]:
    yield "name", home["name"]
    yield "description", home["description"]
    yield "base model", home["model"]["base"]
    yield "adapter", home["model"]["adapter"]
    yield from (
        (f"corpus {name}", home["corpus"][name])
        for name in ("source", "n_documents", "n_tokens", "n_measured")
    )
    yield "channels", home["n_channels"]
    for model in analysis.models if analysis else []:
        named = ("architecture", "kind", "n_layers", "n_heads", "d", "n_parameters")
        yield f"analysed: {model.name}", ", ".join(f"{name} {model.facts[name]}" for name in named)


def _seeds(known: dict[str, Any], analysis: Analysis | None) -> Iterator[tuple[str, Any]]:
    yield "run", known["seed"]
    if analysis and "seed" in analysis.index["settings"]:
        yield "analyze", analysis.index["settings"]["seed"]


def _keys(known: dict[str, Any], build: Path) -> dict[str, str]:
    """Keys that the site recorded, and those of the stages in the build folder."""
    stages = {path.parent.name: read_json(path).get("key", "") for path in _manifests(build)}
    return {**stages, **known["keys"]}


def _manifests(build: Path) -> list[Path]:
    """Of the finished stages; a bundle that was made before says nothing of this one."""
    return [path for path in sorted(build.glob("*/manifest.json")) if path.parent.name != "bundle"]


def _stage(path: Path) -> str:
    facts = {key: value for key, value in read_json(path).items() if key not in ("key", "stage")}
    return f"<h3>{html.escape(path.parent.name)}</h3>{_pairs(_flat('', facts))}"


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Nested settings as dotted names."""
    if isinstance(value, dict) and value:
        for key in sorted(value):
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), value[key])
    elif isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        for index, entry in enumerate(value):
            yield from _flat(f"{prefix}[{index}]", entry)
    else:
        yield prefix, value


def _section(title: str, body: str) -> str:
    return f"<h2>{html.escape(title)}</h2>{body}"


def _pairs(rows: Iterable[tuple[str, Any]], *, is_code: bool = False) -> str:
    cells = (
        (html.escape(plain(str(name))), html.escape(plain(str("–" if value in (None, "", []) else value))))
        for name, value in rows
    )
    tag = "<code>{}</code>" if is_code else "{}"
    body = "".join(
        f'<tr><th scope="row">{name}</th><td>{tag.format(value)}</td></tr>' for name, value in cells
    )
    return f"<table>{body}</table>"


def _list(sentences: list[str]) -> str:
    entries = "".join(f"<li>{html.escape(plain(sentence))}</li>" for sentence in sentences)
    return f"<ul>{entries}</ul>" if entries else ""
