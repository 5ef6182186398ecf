"""Chosen channels in one HTML file that works from ``file://``: styles, modules and shards stand inside, nothing is fetched.

Modules cannot be imported from ``file://``, so each stands as a ``data:`` address in an import map and relative names become
``fb/…``. Shards stand in ``<script type="application/json">`` with every ``<`` escaped, so that no text of a run can end
the element. The policy names the hashes of what is inline and allows no connection at all.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from functools import partial
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

from generator.artifacts import read_json, to_json, write_bytes
from generator.errors import FeaturebookError, nearest
from generator.publish.addresses import shard_path
from generator.publish.exchange.shelf import Shelf

ASSETS = Path(__file__).parents[3] / "site_assets" / "assets"
ENTRY = "single.mjs"
STYLES = (
    "tokens.css",
    "featurebook.css",
    "pages.css",
    "collection.css",
    "reading.css",
    "labels.css",
    "prose.css",
    "single.css",
)

_COMMENT = re.compile(r"/\*\*.*?\*/", re.DOTALL)
_IMPORT = re.compile(r"""(\bfrom\s*|\bimport\s*\(?\s*)(["'`])(\.{1,2}/[^"'`]+)\2""")


def export_single_file(shards: Path, out: Path, wanted: Iterable[str] = ()) -> dict[str, Any]:
    """Writes the file. Same shards, same bytes.

    Args:
        shards: The folder of shards, ``build/shards``.
        out: The HTML file.
        wanted: Globs over ids, all channels when none.

    Returns:
        ``n_features``, ``n_bytes`` and ``notes``.

    Raises:
        FeaturebookError: shards that are missing, a glob that matches nothing.
    """
    shelf = Shelf(shards)
    ids = chosen_ids(shelf, wanted)
    collections = sorted({f"collection/{identifier.split('/')[0]}" for identifier in ids})
    held = [*ids, *(c for c in collections if (shards / shard_path(c)).exists())]
    blocks = [_shard_block(identifier, _raw(shards, identifier)) for identifier in held]
    blocks += [_shard_block(identifier, shard) for identifier, shard in _documents(shards, ids)]
    home = shelf.home
    about = {
        "title": home["title"],
        "description": home["description"],
        "site_url": home["site_url"],
        "ids": ids,
        "note": "Other channels are not in this file, nor documents without an example of these.",
    }
    content = page(home["title"], about, blocks).encode()
    write_bytes(out, content)
    return {"n_features": len(ids), "n_bytes": len(content), "notes": [about["note"]]}


def chosen_ids(shelf: Shelf, wanted: Iterable[str]) -> list[str]:
    """The ids that globs ask for, in the order of the pages."""
    ids = [identifier for source in shelf.sources() for _, identifier in sorted(source.ids.items())]
    globs = list(wanted)
    for glob in globs:
        if not any(fnmatchcase(identifier, glob) for identifier in ids):
            raise FeaturebookError(f"--ids: no channel of the site matches {glob!r}. {nearest(glob, ids)}")
    return [i for i in ids if not globs or any(fnmatchcase(i, glob) for glob in globs)]


def _raw(shards: Path, identifier: str) -> dict[str, Any]:
    return read_json(shards / shard_path(identifier))


def _documents(shards: Path, ids: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What reading an example inside its document asks for, without what it says of other channels."""
    documents = sorted({doc for identifier in ids for doc in _raw(shards, identifier).get("doc_pages", ())})
    for doc in documents:
        yield f"doc/{doc}", _only(_raw(shards, f"doc/{doc}"), set(ids))
    if (shards / shard_path("compare")).exists():
        yield "compare", _raw(shards, "compare") | {"spaces": []}
    for identifier in ids:
        if (shards / shard_path(f"values/{identifier}")).exists():
            yield f"values/{identifier}", _raw(shards, f"values/{identifier}") | {"cosines": []}


def _only(document: dict[str, Any], ids: set[str]) -> dict[str, Any]:
    """A document's shard with the values of some channels alone."""
    table, strongest = document["channels"], document["strongest"]
    kept = [index for index, identifier in enumerate(table["id"]) if identifier in ids]
    place = {index: at for at, index in enumerate(kept)}
    pairs = [
        [(place[channel], value) for channel, value in zip(channels, values) if channel in place]
        for channels, values in zip(strongest["channel"], strongest["value"])
    ]
    return document | {
        "channels": {name: [column[index] for index in kept] for name, column in table.items()},
        "strongest": {
            "channel": [[channel for channel, _ in token] for token in pairs],
            "value": [[value for _, value in token] for token in pairs],
        },
    }


def _shard_block(identifier: str, shard: dict[str, Any]) -> str:
    return _json_block(shard, f'data-shard="{html.escape(identifier)}"')


def _json_block(value: Any, attribute: str) -> str:
    """JSON in a script element that no string inside can end."""
    text = to_json(value).decode().strip().replace("<", "\\u003c")
    return f'<script type="application/json" {attribute}>{text}</script>'


def page(title: str, about: dict[str, Any], blocks: list[str]) -> str:
    """The whole file."""
    style = "\n".join(_styles())
    imports = json.dumps({"imports": _import_map()}, sort_keys=True)
    start = f'import "fb/{ENTRY}"'
    scripts = " ".join(map(_hash_of, (imports, start)))
    policy = (
        f"default-src 'none'; script-src {scripts} data:; style-src {_hash_of(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return "\n".join(
        [
            '<!doctype html><html lang="en" data-single><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f'<meta name="color-scheme" content="light dark"><title>{html.escape(title)}</title>',
            f"<style>{style}</style>",
            f'<script type="importmap">{imports}</script></head>',
            '<body data-md-color-scheme="default" data-md-color-primary="custom" data-md-color-accent="custom">',
            '<main class="md-grid fb-atlas"><article class="md-content__inner md-typeset fb-mount" id="fb-app">'
            "<noscript>This file is drawn by JavaScript.</noscript></article></main>",
            '<footer class="fb-footer md-grid">Made with Featurebook</footer>',
            _json_block(about, 'id="fb-about"'),
            *blocks,
            f'<script type="module">{start}</script></body></html>\n',
        ]
    )


def _hash_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _styles() -> Iterable[str]:
    """The theme's own styles and ours."""
    spec = find_spec("material")
    if spec is None or not spec.submodule_search_locations:
        raise FeaturebookError(
            "mkdocs-material is not installed, whose styles stand in the file. Run `pip install .`."
        )
    theme = Path(next(iter(spec.submodule_search_locations))) / "templates" / "assets" / "stylesheets"
    for path in [*sorted(theme.glob("main.*.min.css")), *sorted(theme.glob("palette.*.min.css"))]:
        yield re.sub(r"/\*# sourceMappingURL=.*?\*/", "", path.read_text("utf-8")).replace(
            '@charset "UTF-8";', ""
        )
    for name in STYLES:
        yield _asset(name)


def _asset(name: str) -> str:
    try:
        return (ASSETS / name).read_text("utf-8")
    except OSError:
        raise FeaturebookError(
            f"{ASSETS / name} is missing. Run the command from a checkout of Featurebook, which holds site_assets/."
        ) from None


def _import_map() -> dict[str, str]:
    """Every module that the entry can reach, and all panels, as ``fb/<path>`` -> ``data:`` address."""
    waiting = [ENTRY, *(f"panels/{path.name}" for path in sorted((ASSETS / "panels").glob("*.mjs")))]
    modules: dict[str, str] = {}
    while waiting:
        name = waiting.pop()
        if f"fb/{name}" in modules:
            continue
        source = _COMMENT.sub("", _asset(name))
        folder = PurePosixPath(name).parent
        for _, quote, target in _IMPORT.findall(source):
            if quote != "`":
                waiting.append(_joined(folder, target))
        bare = _IMPORT.sub(partial(_with_bare_name, folder), source)
        encoded = base64.b64encode(bare.encode()).decode()
        modules[f"fb/{name}"] = f"data:text/javascript;base64,{encoded}"
    return modules


def _with_bare_name(folder: PurePosixPath, found: re.Match[str]) -> str:
    """An import whose address is the module's name in the import map."""
    return f"{found[1]}{found[2]}fb/{_joined(folder, found[3])}{found[2]}"


def _joined(folder: PurePosixPath, target: str) -> str:
    """``panels`` and ``../chart.mjs`` -> ``chart.mjs``."""
    parts: list[str] = list(folder.parts)
    for part in target.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
