"""The toy run as a served site, and a page with what went wrong on it: shared by the browser tests."""

import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page

from generator.publish.reading import opened

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Site:
    """A built site that is being served."""

    folder: Path
    url: str
    """Ends in a slash."""

    def shard(self, identifier: str) -> dict[str, Any]:
        """What /shards/<identifier>.json holds."""
        return opened(json.loads((self.folder / "shards" / f"{identifier}.json").read_text("utf-8")))


@dataclass
class Visit:
    """A page with what went wrong on it."""

    page: Page
    site: Site
    errors: list[str] = field(default_factory=list)
    """Console errors, uncaught exceptions, failed requests."""
    strays: list[str] = field(default_factory=list)
    """Requests that left the site."""

    def open(self, path: str) -> Page:
        """Opens a page of the site and waits until all its mount points are drawn, with the panels below."""
        self.page.goto(self.site.url + path)
        # wait_for_function would evaluate a string, which the site's Content-Security-Policy forbids
        self.page.locator(".fb-mount:not(.fb-mounted)").first.wait_for(state="detached")
        self.page.locator(".fb-mount [aria-busy]").first.wait_for(state="detached")
        return self.page

    def violations(self) -> list[str]:
        """Violations of the Content-Security-Policy so far."""
        return self.page.evaluate("window.cspViolations")


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line per request."""

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@contextmanager
def served(folder: Path, root: Path | None = None) -> Iterator[Site]:
    """Serves a site below a path, as GitHub Pages serves a project, on a free port of this machine.

    The path is the folder's own below ``root``, which is the folder that holds it when none is given.
    """
    root = root or folder.parent
    path = quote(folder.relative_to(root).as_posix())
    handler = functools.partial(QuietHandler, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Site(folder, f"http://127.0.0.1:{server.server_address[1]}/{path}/")
        server.shutdown()


def build_demo(root: Path) -> Path:
    """Builds the site of a part of the demo, from its models and crosscoders as they are shipped; returns its folder."""
    copy_pages(root)
    run([sys.executable, "-m", "tests.demo_part", str(root)], REPOSITORY)
    run([sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", "served"], root)
    return root / "served"


def copy_pages(root: Path) -> None:
    """The repository's hand-written pages, templates and settings."""
    shutil.copytree(REPOSITORY / "docs", root / "docs", ignore=shutil.ignore_patterns("atlas", "shards"))
    (root / "site_assets").symlink_to(REPOSITORY / "site_assets")
    shutil.copy(REPOSITORY / "mkdocs.yml", root)


def build_site(root: Path) -> Path:
    """Builds the toy's site with the repository's own templates and settings; returns its folder."""
    copy_pages(root)
    run([sys.executable, "-m", "tests.toy", str(root / "run")], REPOSITORY)
    shutil.move(root / "run" / "docs" / "atlas", root / "docs" / "atlas")
    (root / "build").mkdir()
    shutil.move(root / "run" / "shards", root / "build" / "shards")
    run([sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", "served"], root)
    return root / "served"


def run(command: list[str], folder: Path) -> None:
    """Runs a command; its output is the failure's message."""
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}", pytrace=False)
