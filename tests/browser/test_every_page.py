"""What holds on every page type: nothing fails, nothing leaves the site, no hostile text runs, it fits, it is accessible."""

import json

import pytest

from tests.browser.visiting import REPOSITORY, Visit

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
    "hand-written": "architecture/",
}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
SCREENS = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"color_scheme": "light", **PHONE},
    "dark phone": {"color_scheme": "dark", **PHONE},
}
AXE = REPOSITORY / "node_modules" / "axe-core" / "axe.min.js"
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]

every_page = pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())
every_screen = pytest.mark.parametrize("visit", SCREENS.values(), ids=SCREENS.keys(), indirect=True)


@every_page
def test_nothing_fails_and_nothing_leaves_the_site(visit: Visit, path: str) -> None:
    page = visit.open(path)
    page.mouse.wheel(0, 20_000)
    page.wait_for_load_state("networkidle")
    assert visit.errors == []
    assert visit.strays == []
    assert visit.violations() == []


@every_page
def test_hostile_text_makes_no_element(visit: Visit, path: str) -> None:
    page = visit.open(path)
    page.on("dialog", lambda dialog: visit.errors.append(f"dialog: {dialog.message}"))
    assert page.locator("img[src='x'], article b, article script").count() == 0
    assert visit.errors == []


@every_page
@every_screen
def test_the_page_fits_the_window(visit: Visit, path: str) -> None:
    page = visit.open(path)
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


@every_page
def test_no_text_is_smaller_than_13_px(visit: Visit, path: str) -> None:
    page = visit.open(path)
    for fold in page.locator("article details:not([open]) > summary").all():
        fold.click()
    small = page.evaluate("""() => {
        const walker = document.createTreeWalker(document.querySelector("article"), NodeFilter.SHOW_TEXT), found = new Set()
        while (walker.nextNode()) {
            const parent = walker.currentNode.parentElement
            if (!walker.currentNode.data.trim() || !parent.checkVisibility()) continue
            const size = parseFloat(getComputedStyle(parent).fontSize)
            if (size < 12.99) found.add(`${parent.tagName}.${parent.className} ${size}`)
        }
        return [...found]
    }""")
    assert small == []


@every_page
@every_screen
def test_axe_finds_no_violation(visit: Visit, path: str) -> None:
    page = visit.open(path)
    for fold in page.locator("article details:not([open]) > summary").all():
        fold.click()
    page.mouse.move(0, 0)
    page.wait_for_timeout(250)  # colours change with a transition
    page.evaluate(AXE.read_text("utf-8"))
    options = {"runOnly": {"type": "tag", "values": LEVELS}}
    found = page.evaluate("(options) => axe.run(document, options)", options)
    faults = [
        f"{violation['id']}: {node['html'][:160]} — {json.dumps(node['failureSummary'])[:300]}"
        for violation in found["violations"]
        for node in violation["nodes"][:4]
    ]
    assert faults == []
