"""A site built from the toy run, a server for it, and Chromium: what the browser tests share."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from tests.browser.visiting import Site, Visit, build_site, served

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


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The toy run as a served site."""
    with served(build_site(tmp_path_factory.mktemp("toy"))) as site:
        yield site


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
