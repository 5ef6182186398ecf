"""The demo as a reader meets it: built by the two commands of the README, then read, searched and compared in the browser."""

import gzip
import io
import json
import re
import sys
import zipfile
from collections.abc import Iterator
from urllib.request import urlopen

import pytest
from playwright.sync_api import Response, expect

from tests.browser.test_every_page import AXE, LEVELS, UNFOLD
from tests.browser.visiting import REPOSITORY, Site, Visit, copy_pages, run, served

LABELS = [json.loads(line) for line in (REPOSITORY / "labels" / "demo.jsonl").read_text("utf-8").splitlines()]
NAMED = {
    label["id"].split("/")[0]: label for label in LABELS
}  # "sae" -> {"id": "sae/12", "text": "a turn has ended", …}
THEMES_OWN = ("/assets/stylesheets/", "/assets/javascripts/")
PAGES = {
    "home": "",
    "explorer": "atlas/explorer/",
    "layers": "atlas/layers/",
    "layer": "atlas/layer/3/",
    "document": "atlas/doc/1/",
    "direction": f"atlas/{NAMED['lora']['id']}/",
    "latent": f"atlas/{NAMED['sae']['id']}/",
    "latent over layers": f"atlas/{NAMED['crosslayer']['id']}/",
    "latent of two models": f"atlas/{NAMED['modeldiff']['id']}/",
    "adapter": "atlas/lora/",
    "autoencoder": "atlas/sae/",
    "crosscoder over layers": "atlas/crosslayer/",
    "crosscoder of two models": "atlas/modeldiff/",
    "compare": "atlas/compare/?ids=lora/L2/down_proj,lora/L4/down_proj,sae/1",
    "token": "atlas/token/?t=%20Wait",
    "analysis": "atlas/analysis/",
    "model with an adapter": "atlas/analysis/main/",
    "masked model": "atlas/analysis/bert/",
    "text": "atlas/analysis/main/doc-1/",
    "text of a masked model": "atlas/analysis/bert/doc-1/",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The demo's site, made by `generator build` and `mkdocs build --strict` in a folder of its own."""
    root = tmp_path_factory.mktemp("demo")
    copy_pages(root)
    (root / "labels").symlink_to(REPOSITORY / "labels")
    run([sys.executable, "-m", "generator", "build"], root)
    run([sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", "served"], root)
    with served(root / "served") as site:
        yield site


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())
def test_a_page_of_the_demo_is_whole(visit: Visit, path: str) -> None:
    page = visit.open(path)
    page.evaluate(UNFOLD)
    page.mouse.wheel(0, 20_000)
    page.wait_for_load_state("networkidle")
    assert (visit.errors, visit.strays, visit.violations()) == ([], [], [])
    assert "NaN" not in page.locator(".md-content").inner_text()
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("(tags) => axe.run(document, { runOnly: tags })", LEVELS)
    assert [(fault["id"], fault["nodes"][0]["html"][:160]) for fault in found["violations"]] == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("name", ["direction", "latent", "latent over layers", "latent of two models"])
def test_a_feature_page_weighs_less_than_60_kb(visit: Visit, name: str) -> None:
    answers: list[Response] = []
    visit.page.on("response", lambda answer: answers.append(answer))
    visit.open(PAGES[name]).wait_for_load_state("networkidle")
    ours = {
        a.url: len(gzip.compress(a.body(), 6)) for a in answers if not any(p in a.url for p in THEMES_OWN)
    }
    assert sum(ours.values()) < 60_000, sorted(ours.items(), key=lambda item: -item[1])[:8]


@pytest.mark.parametrize("label", NAMED.values(), ids=NAMED.keys())
def test_a_named_channel_is_found_by_its_name_and_says_it(visit: Visit, label: dict[str, str]) -> None:
    page = visit.open("")
    page.locator("#fb-search-input").fill(label["text"])
    hit = page.locator(f".fb-search .fb-hit--channel[href$='/atlas/{label['id']}/']")
    expect(hit).to_be_visible()
    hit.click()
    page.wait_for_url(re.compile(f"/atlas/{label['id']}/"))
    expect(page.locator(".md-content")).to_contain_text(label["text"])
    assert page.locator(".fb-example, .fb-heat").count() > 0
    assert visit.errors == []


def test_every_channel_and_layer_has_its_page(visit: Visit) -> None:
    ids = visit.site.shard("explorer/columns/id")["values"]
    assert len(ids) == len(set(ids)) == 42 + 336 + 256 + 512
    missing = [i for i in ids if not (visit.site.folder / "atlas" / i / "index.html").exists()]
    missing += [f"layer/{n}" for n in range(6) if not (visit.site.folder / f"atlas/layer/{n}").exists()]
    assert missing == []


def test_the_offered_bundle_is_a_zip_without_a_fault(visit: Visit) -> None:
    page = visit.open(PAGES["layers"])
    address = page.locator("a[href$='bundle.zip']").first.evaluate("link => link.href")
    with urlopen(address) as answer:
        bundle = zipfile.ZipFile(io.BytesIO(answer.read()))
    assert bundle.testzip() is None
    assert any(name.endswith(".csv") for name in bundle.namelist())
