"""What holds on every page type: nothing fails, nothing leaves the site, no hostile text runs, it fits, it is accessible."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.browser.visiting import REPOSITORY, Site, Visit

PAGES = {
    "home": "",
    "explorer": "atlas/explorer/",
    "layers": "atlas/layers/",
    "layer of rank 1": "atlas/layer/0/",
    "layer of rank 3": "atlas/layer/1/",
    "documents": "atlas/documents/",
    "document": "atlas/doc/1/#t=20",
    "channel": "atlas/lora/L0/gate_proj/",
    "channel of rank 3": "atlas/lora/L1/q_proj/r1/",
    "channel of zeros": "atlas/lora/L0/o_proj/",
    "latent": "atlas/sae/1/",
    "dead latent": "atlas/sae/5/",
    "dictionary": "atlas/sae/",
    "adapter": "atlas/lora/",
    "annotate": "atlas/annotate/",
    "annotate, blind": "atlas/annotate/?blind=1",
    "annotate on a channel": "atlas/lora/L0/gate_proj/?annotate=1",
    "discuss": "atlas/discuss/?id=lora/L0/gate_proj",
    "embedded part": "atlas/lora/L0/gate_proj/?embed=1&panel=neighbours",
    "compare": "atlas/compare/?ids=lora/L0/gate_proj,lora/L0/up_proj,sae/1",
    "two runs": "atlas/runs/earlier~20~3ci~3eseed~3c/i~3e/",
    "other runs": "atlas/runs/",
    "analysis": "atlas/analysis/",
    "analysed model": "atlas/analysis/main/",
    "analysed text": "atlas/analysis/main/prompt-0badcafe/",
    "search": "atlas/search/?q=wait",
    "token": "atlas/token/?t=%20wait",
    "channel in documents": "atlas/lora/L0/gate_proj/#text=document",
    "hand-written": "architecture/",
}
LIGHT, DARK = {"color_scheme": "light"}, {"color_scheme": "dark"}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
AXE = REPOSITORY / "node_modules" / "axe-core" / "axe.min.js"
UNFOLD = "document.querySelectorAll('article details').forEach((fold) => { fold.open = true })"
SMALL_TEXT = """() => {
    const walker = document.createTreeWalker(document.querySelector("article"), NodeFilter.SHOW_TEXT), found = new Set()
    while (walker.nextNode()) {
        const parent = walker.currentNode.parentElement
        if (!walker.currentNode.data.trim() || !parent.checkVisibility()) continue
        const size = parseFloat(getComputedStyle(parent).fontSize)
        if (size < 12.99) found.add(`${parent.tagName}.${parent.className} ${size}`)
    }
    return [...found]
}"""
"""The elements with text below 13 px."""
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]

every_page = pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())


def on_screens(**screens: dict[str, Any]) -> pytest.MarkDecorator:
    """Runs a test with several window sizes or colour schemes."""
    return pytest.mark.parametrize("visit", screens.values(), ids=screens.keys(), indirect=True)


def test_every_page_type_is_listed(site: Site) -> None:
    """By the module that draws a page, so that a new type cannot be left out."""
    types = {page: mounted(page) for page in site.folder.rglob("*.html")}
    tried = {types[site.folder / re.split(r"[?#]", path)[0] / "index.html"] for path in PAGES.values()}
    assert set(types.values()) <= tried


def mounted(page: Path) -> str:
    """The name of the page module that a page asks for; empty for hand-written pages."""
    found = re.search(r'data-page="([a-z]+)"', page.read_text("utf-8"))
    return found[1] if found else ""


@every_page
def test_nothing_fails_leaves_the_site_or_runs(visit: Visit, path: str) -> None:
    visit.page.on("dialog", lambda dialog: visit.errors.append(f"dialog: {dialog.message}"))
    page = visit.open(path)
    page.evaluate(UNFOLD)
    page.mouse.wheel(0, 20_000)
    page.wait_for_load_state("networkidle")
    assert visit.errors == []
    assert visit.strays == []
    assert visit.violations() == []
    assert page.locator("img[src='x'], article b, article script").count() == 0


@every_page
@on_screens(wide=LIGHT, phone=PHONE)
def test_the_page_fits_the_window_and_can_be_read(visit: Visit, path: str) -> None:
    page = visit.open(path)
    page.evaluate(UNFOLD)
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    assert page.evaluate(SMALL_TEXT) == []


@every_page
@on_screens(light=LIGHT, dark=DARK, phone=PHONE)
def test_axe_finds_no_violation(visit: Visit, path: str) -> None:
    page = visit.open(path)
    page.evaluate(UNFOLD)
    page.wait_for_timeout(250)  # colours change with a transition
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("(tags) => axe.run(document, { runOnly: tags })", LEVELS)
    faults = [
        f"{violation['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
        for violation in found["violations"]
        for node in violation["nodes"][:3]
    ]
    assert faults == []
