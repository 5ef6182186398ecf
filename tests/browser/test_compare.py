"""The page that compares channels, against the shards it is drawn from, and the tray that leads to it."""

import base64
import re

import numpy as np
from playwright.sync_api import expect

from tests.browser.visiting import Site, Visit

PAIR = ["lora/L0/gate_proj", "lora/L0/up_proj"]


def values_of(site: Site, identifier: str, n_tokens: int) -> np.ndarray:
    """The activations of a values shard; NaN where not finite."""
    shard = site.shard(f"values/{identifier}")
    steps = np.zeros(n_tokens)
    if isinstance(shard["values"], str):
        steps = np.frombuffer(base64.b64decode(shard["values"]), np.int8).astype(float)
    else:
        steps[shard["values"]["at"]] = shard["values"]["steps"]
    return np.where(steps == -128, np.nan, steps * shard["scale"])


def test_the_correlation_is_that_of_the_values(visit: Visit) -> None:
    page = visit.open(f"atlas/compare/?ids={','.join(PAIR)}")
    head = visit.site.shard("compare")
    n_tokens = sum(document["n_tokens"] for document in head["documents"])
    counted = np.setdiff1d(np.arange(n_tokens), head["unmeasured"])
    a, b = (values_of(visit.site, identifier, n_tokens)[counted] for identifier in PAIR)
    both = np.isfinite(a) & np.isfinite(b)
    want = float(np.corrcoef(a[both], b[both])[0, 1])
    shown = page.locator(".fb-compare__pair tbody td").nth(1).inner_text()
    number = float(re.match(r"[−\d.]+", shown)[0].replace("−", "-"))  # type: ignore[index]
    assert abs(number - want) <= 0.0051
    assert f"({both.sum()} tokens)" in shown
    assert page.locator(".fb-dots circle").count() == len(head["documents"])


def test_every_passage_shows_every_channel(visit: Visit) -> None:
    page = visit.open(f"atlas/compare/?ids={','.join([*PAIR, 'sae/1'])}")
    expect(page.locator(".fb-compare__head")).to_have_count(3)
    rows = page.locator(".fb-compare__row")
    assert rows.count() > 3
    for row in rows.all()[:3]:
        runs = row.locator(".fb-run")
        assert runs.count() == 3
        texts = {run.inner_text() for run in runs.all()}
        assert len(texts) == 1, "the same text for every channel"
    assert visit.errors == [] and visit.violations() == []


def test_the_tray_gathers_channels_and_opens_the_comparison(visit: Visit) -> None:
    page = visit.open("atlas/lora/L0/gate_proj/")
    page.get_by_role("button", name="Compare", exact=True).click()
    tray = page.get_by_role("complementary", name="Channels to compare")
    expect(tray).to_contain_text("L0 gate_proj")
    visit.open("atlas/lora/L0/up_proj/")
    page.get_by_role("button", name="Compare", exact=True).click()
    tray.get_by_role("link", name="Compare 2").click()
    page.wait_for_url("**/atlas/compare/?ids=lora/L0/gate_proj,lora/L0/up_proj")
    expect(page.locator(".fb-compare__head")).to_have_count(2)


def test_without_a_choice_the_page_asks_for_one(visit: Visit) -> None:
    page = visit.open("atlas/compare/")
    page.get_by_label("Ids of two to four channels").fill("lora/L0/gate_proj, sae/1")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator(".fb-compare__head")).to_have_count(2)


def test_a_fifth_id_is_left_out_and_named(visit: Visit) -> None:
    ids = "lora/L0/gate_proj,lora/L0/up_proj,lora/L0/down_proj,sae/1,sae/2"
    page = visit.open(f"atlas/compare/?ids={ids}")
    expect(page.locator(".fb-compare__head")).to_have_count(4)
    expect(page.locator("main")).to_contain_text("4 channels stand side by side at most; left out: sae 2")


def test_an_unknown_id_is_named(visit: Visit) -> None:
    page = visit.page
    page.goto(f"{visit.site.url}atlas/compare/?ids=lora/L0/gate_proj,lora/L9/none")
    expect(page.get_by_role("alert")).to_contain_text("lora/L9/none")
