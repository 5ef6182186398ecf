"""What a page may weigh: bytes beyond the theme's own files, and requests. Times are in benchmarks/reading.py."""

import gzip

import pytest
from playwright.sync_api import Response

from tests.browser.visiting import Visit

THEMES_OWN = ("/assets/stylesheets/", "/assets/javascripts/")
BUDGETS = {
    "channel": ("atlas/lora/L0/gate_proj/", 60_000, 26),
    "latent": ("atlas/sae/1/", 60_000, 30),
    "layer": ("atlas/layer/0/", 60_000, 20),
    "document": ("atlas/doc/1/", 60_000, 20),
    "explorer": ("atlas/explorer/", 60_000, 26),
    "compare": ("atlas/compare/?ids=lora/L0/gate_proj,lora/L0/up_proj", 60_000, 26),
    "home": ("", 60_000, 20),
}
"""Page type -> (address, bytes after gzip, requests) of the toy run."""


@pytest.mark.parametrize(("path", "most_bytes", "most_requests"), BUDGETS.values(), ids=BUDGETS.keys())
def test_a_page_keeps_within_its_budget(visit: Visit, path: str, most_bytes: int, most_requests: int) -> None:
    answers: list[Response] = []
    visit.page.on("response", lambda answer: answers.append(answer))
    page = visit.open(path)
    page.wait_for_load_state("networkidle")
    ours = {
        a.url: len(gzip.compress(a.body(), 6)) for a in answers if not any(p in a.url for p in THEMES_OWN)
    }
    heaviest = sorted(ours.items(), key=lambda item: -item[1])[:8]
    assert sum(ours.values()) < most_bytes, heaviest
    assert len(answers) < most_requests, sorted(answer.url for answer in answers)


def test_what_a_page_is_drawn_by_is_asked_for_with_the_page(visit: Visit) -> None:
    """Two modules and the shard, all named in the page, so that none is found behind another; no script of the theme."""
    page = visit.open("atlas/lora/L0/gate_proj/")
    named = page.evaluate(
        "[...document.querySelectorAll('link[rel=modulepreload], link[rel=preload], script[src]')].map((element) => element.href || element.src)"
    )
    root = visit.site.url
    assert {url.removeprefix(root) for url in named} == {
        "assets/main.mjs",
        "assets/pages/channel.mjs",
        "assets/theme/start.js",
        "shards/lora/L0/gate_proj.json",
    }
    drawn = page.evaluate(
        "performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('.mjs')).map(({ name }) => name)"
    )
    first = [url.removeprefix(root) for url in drawn if "panels" not in url]
    assert set(first) == {"assets/main.mjs", "assets/pages/channel.mjs"}
