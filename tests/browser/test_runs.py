"""The page that compares two runs, against the shard it is drawn from; the panel; the explorer's way into a comparison."""

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.visiting import Site, Visit

NAME = "earlier <i>seed</i>"
PATH = "atlas/runs/earlier~20~3ci~3eseed~3c/i~3e/"


def columns_of(site: Site) -> dict[str, list[Any]]:
    return site.shard(PATH.removeprefix("atlas/").removesuffix("/"))["columns"]


def shown(visit: Visit, column: str) -> list[str]:
    """The texts of a column, in the order in which the rows stand on the screen."""
    return visit.page.evaluate(
        """(column) => [...document.querySelectorAll(".fb-rows tbody tr")]
            .sort((a, b) => a.dataset.place - b.dataset.place).map((row) => row.querySelector(`.fb-col-${column}`).innerText)""",
        column,
    )


def test_the_table_sorts_and_the_address_keeps_it(visit: Visit) -> None:
    page = visit.open(PATH)
    expect(page.locator("h1")).to_have_text(f"This run and {NAME}")
    columns = columns_of(visit.site)
    known = sorted(value for value in columns["read"] if value is not None)
    page.get_by_role("button", name="cos read").click()
    assert shown(visit, "read")[:5] == [f"{value:.3f}" for value in known[::-1][:5]]
    page.get_by_role("button", name="cos read").click()
    assert shown(visit, "read")[:5] == [f"{value:.3f}" for value in known[:5]], "what is not known stays last"
    assert page.url.endswith("#sort=read")
    page.reload()
    page.locator(".fb-mount:not(.fb-mounted)").first.wait_for(state="detached")
    assert shown(visit, "read")[0] == f"{known[0]:.3f}"
    assert visit.errors == [] and visit.strays == [] and visit.violations() == []


def test_the_filter_keeps_pairs_or_what_has_none(visit: Visit) -> None:
    page = visit.open(PATH)
    columns = columns_of(visit.site)
    alone = [i for i, other in zip(columns["id"], columns["other"]) if other is None]
    page.get_by_label("Show").select_option("alone")
    expect(page.get_by_role("status")).to_have_text(f"{len(alone)} of {len(columns['id'])} channels")
    page.get_by_label("Find").fill("embed_tokens")
    expect(page.get_by_role("status")).to_have_text(f"1 of {len(columns['id'])} channels")
    assert page.url.endswith("#q=embed_tokens&show=alone")


def test_changes_are_sorted_by_their_ratio(visit: Visit) -> None:
    page = visit.open(f"{PATH}#show=paired&sort=-density")
    columns = columns_of(visit.site)
    pairs = zip(columns["density"], columns["there_density"], columns["other"])
    ratios = [here / there for here, there, other in pairs if other is not None and there]
    here, there = re.findall(r"[\d.]+", shown(visit, "density")[0])
    assert float(here) / float(there) == pytest.approx(max(ratios), rel=0.02)
    assert (
        page.locator(".fb-col-other a").first.get_attribute("href").startswith("https://example.org/b/atlas/")
    )  # type: ignore[union-attr]


def test_a_channel_leads_to_its_counterpart(visit: Visit) -> None:
    page = visit.open("atlas/lora/L0/v_proj/")
    panel = page.locator("#runs")
    expect(panel).to_contain_text("sign turned")
    panel.get_by_role("link", name=NAME).click()
    page.wait_for_url(f"**/{PATH}")
    page.locator(".fb-mount:not(.fb-mounted)").first.wait_for(state="detached")
    page.go_back()
    page.goto(visit.site.url + "atlas/runs/")
    expect(page.locator("article").get_by_role("link", name=NAME)).to_be_visible()


def test_rows_of_the_explorer_go_into_the_comparison(visit: Visit) -> None:
    page = visit.open("atlas/explorer/")
    for name in ("lora/L0/gate_proj", "lora/L0/up_proj"):
        page.get_by_role("button", name=f"Compare {name}").click()
    expect(page.get_by_role("button", name="Compare lora/L0/up_proj")).to_have_attribute(
        "aria-pressed", "true"
    )
    page.get_by_role("complementary", name="Channels to compare").get_by_role(
        "link", name="Compare 2"
    ).click()
    page.wait_for_url("**/atlas/compare/?ids=lora/L0/gate_proj,lora/L0/up_proj")
    expect(page.locator(".fb-compare__head")).to_have_count(2)
    assert visit.errors == [] and visit.violations() == []
