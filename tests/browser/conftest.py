"""A site built from the toy run, a server for it, and Chromium: what the browser tests share."""

import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

REPOSITORY = Path(__file__).parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome")
REMEDY = (
    "The browser tests need Chromium and found none ($CHROMIUM, /usr/bin/chromium, PATH). Install it "
    "(Debian: apt-get install chromium) or set CHROMIUM to its path."
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
]
WATCH_CSP = """
window.cspViolations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.cspViolations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test of this folder needs the browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


def find_chromium() -> str:
    """The browser's path; fails with the remedy when there is none."""
    candidates = [os.environ.get("CHROMIUM"), "/usr/bin/chromium", *map(shutil.which, NAMES)]
    for candidate in candidates:
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    pytest.fail(REMEDY, pytrace=False)


@dataclass(frozen=True)
class Site:
    """A built site that is being served."""

    folder: Path
    url: str
    """Ends in a slash."""

    def shard(self, identifier: str) -> dict[str, Any]:
        """What /shards/<identifier>.json holds."""
        return json.loads((self.folder / "shards" / f"{identifier}.json").read_text("utf-8"))


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The toy run as a site below a path, as GitHub Pages serves a project, on a free port of this machine."""
    folder = build_site(tmp_path_factory.mktemp("toy"))
    handler = functools.partial(QuietHandler, directory=str(folder.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Site(folder, f"http://127.0.0.1:{server.server_address[1]}/{folder.name}/")
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line per request."""

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


def build_site(root: Path) -> Path:
    """Builds the toy's site with the repository's own templates and settings; returns its folder."""
    shutil.copytree(REPOSITORY / "docs", root / "docs", ignore=shutil.ignore_patterns("atlas", "shards"))
    (root / "site_assets").symlink_to(REPOSITORY / "site_assets")
    shutil.copy(REPOSITORY / "mkdocs.yml", root)
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


@pytest.fixture(scope="session")
def playwright_driver() -> Iterator[Playwright]:
    """Playwright itself, without its own browsers."""
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="session")
def chromium(playwright_driver: Playwright) -> Iterator[Browser]:
    """Debian's Chromium with a fresh profile."""
    browser = playwright_driver.chromium.launch(executable_path=find_chromium(), headless=True, args=FLAGS)
    yield browser
    browser.close()


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
        """Opens a page of the site and waits until all its mount points are drawn."""
        self.page.goto(self.site.url + path)
        # wait_for_function would evaluate a string, which the site's Content-Security-Policy forbids
        self.page.locator(".fb-mount:not(.fb-mounted)").first.wait_for(state="detached")
        return self.page

    def violations(self) -> list[str]:
        """Violations of the Content-Security-Policy so far."""
        return self.page.evaluate("window.cspViolations")


@pytest.fixture
def visit(chromium: Browser, site: Site, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A new page in a new context; parametrise indirectly with context options (size, colour scheme)."""
    options = {"viewport": {"width": 1280, "height": 800}, "locale": "en-GB", **getattr(request, "param", {})}
    context = chromium.new_context(**options)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.add_init_script(WATCH_CSP)
    page = context.new_page()
    page.set_default_timeout(10_000)
    visit = Visit(page, site)
    page.on("console", lambda message: visit.errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: visit.errors.append(str(error)))
    page.on("requestfailed", lambda failed: visit.errors.append(f"{failed.url}: {failed.failure}"))
    page.on("request", lambda sent: None if sent.url.startswith(site.url) else visit.strays.append(sent.url))
    yield visit
    context.close()
