"""MkDocs hooks: accelerators with a fall-back, never the only way.

Where hooks do not run (Zensical), the titles in mkdocs.yml stand, pages keep their white space, and the shards have to lie
under ``docs/shards`` (``cp -r build/shards docs/shards``), where any builder copies them as static files.
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

SITE_SETTINGS = {
    "title": "site_name",
    "description": "site_description",
    "repository": "repo_url",
    "site_url": "site_url",
}
SOMETIMES = {"Analysis": "atlas/analysis.md", "Runs": "atlas/runs.md"}
"""Titles and lists of what only some runs have: analysed models, other runs."""

INDENT = re.compile(r"\n\s+")
SCRIPT_POLICY = "script-src 'self'"
KEEPS_SPACE = ("<pre", "<textarea")

is_serving = False


def on_startup(*, command: str, **_: Any) -> None:
    """Remembers whether this is ``mkdocs serve``, which has an address of its own."""
    global is_serving
    is_serving = command == "serve"


def on_config(config: Any) -> Any:
    """Takes title, description, repository and address of the run from docs/atlas/site.json, when it is there."""
    path = Path(config.docs_dir) / "atlas" / "site.json"
    if not path.is_file():
        return config
    settings = json.loads(path.read_text("utf-8"))
    for title, page in SOMETIMES.items():
        if config.nav and (Path(config.docs_dir) / page).is_file():
            config.nav = with_page(config.nav, title, page)
    if (path.parent / "feed.xml").is_file():
        config.extra["feed"] = "atlas/feed.xml"
    for name, option in SITE_SETTINGS.items():
        if settings.get(name) and not (is_serving and option == "site_url"):
            config[option] = settings[name]
    return config


def with_page(nav: list[Any], title: str, page: str) -> list[Any]:
    """The navigation with a page behind the last generated one, where it does not name it already."""
    pages = [next(iter(entry.values())) if isinstance(entry, dict) else entry for entry in nav]
    if page in pages:
        return nav
    place = 1 + max((i for i, name in enumerate(pages) if str(name).startswith("atlas/")), default=-1)
    return [*nav[:place], {title: page}, *nav[place:]]


def on_post_page(output: str, **_: Any) -> str:
    """Strips the indentation of templates where no element keeps its white space.

    ``mkdocs serve`` injects its live reload as an inline script, which the published pages' policy forbids; so the
    policy allows inline scripts there, and there only.
    """
    if is_serving:
        output = output.replace(SCRIPT_POLICY, f"{SCRIPT_POLICY} 'unsafe-inline'")
    return output if any(tag in output for tag in KEEPS_SPACE) else INDENT.sub("\n", output)


def on_post_build(config: Any) -> None:
    """Places the shards in the site: hard links, or copies across devices."""
    source = Path(config.config_file_path).parent / config.extra.get("shards", "build/shards")
    if source.is_dir() and not (Path(config.docs_dir) / "shards").is_dir():
        shutil.copytree(source, Path(config.site_dir) / "shards", copy_function=place, dirs_exist_ok=True)


def place(source: str, target: str) -> str:
    """Makes ``target`` the same file as ``source``; a copy where the file system cannot link."""
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
