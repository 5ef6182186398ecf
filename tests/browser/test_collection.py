"""The map of a dictionary, the scatter on its latents' pages, and the ways between pages."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.visiting import Visit

MAP = "section[aria-labelledby=map] .fb-points"


def place_of(visit: Visit, index: int) -> tuple[float, float]:
    """Where a point of the map lies on the screen, from the drawn path."""
    picture = visit.page.locator(f"{MAP} svg")
    path = picture.locator("path").get_attribute("d") or ""
    left, top = map(float, re.findall(r"M([\d.]+) ([\d.]+)", path)[index])
    visit.page.locator(MAP).scroll_into_view_if_needed()
    box = picture.bounding_box()
    assert box is not None
    unit = box["width"] / 600
    return box["x"] + left * unit, box["y"] + top * unit


def test_a_point_says_what_it_is_and_opens_its_page(visit: Visit) -> None:
    page = visit.open("atlas/sae/")
    points = visit.site.shard("collection/sae/points")["columns"]
    page.mouse.move(*place_of(visit, 7))
    tooltip = page.get_by_role("tooltip")
    expect(tooltip).to_contain_text(points["id"][7].replace("/", " "))
    expect(tooltip).to_contain_text("of tokens")
    page.mouse.click(*place_of(visit, 7))
    page.wait_for_url(f"**/atlas/{points['id'][7]}/")


def test_the_keyboard_walks_over_the_map(visit: Visit) -> None:
    page = visit.open("atlas/sae/")
    cursor = page.locator(f"{MAP} a")
    cursor.focus()
    visited = {cursor.get_attribute("href")}
    for key in ("ArrowRight", "ArrowUp", "ArrowLeft", "ArrowDown"):
        page.keyboard.press(key)
        visited.add(cursor.get_attribute("href"))
    assert len(visited) >= 3
    expect(page.get_by_role("tooltip")).to_be_visible()
    target = cursor.get_attribute("href")
    page.keyboard.press("Enter")
    page.wait_for_url(str(target))


@pytest.mark.parametrize("visit", [{"has_touch": True}], indirect=True)
def test_a_first_tap_shows_a_second_opens(visit: Visit) -> None:
    page = visit.open("atlas/sae/")
    page.touchscreen.tap(*place_of(visit, 4))
    expect(page.get_by_role("tooltip")).to_be_visible()
    assert page.url.endswith("/atlas/sae/")
    page.touchscreen.tap(*place_of(visit, 4))
    page.wait_for_url("**/atlas/sae/*/")


def test_a_cell_of_the_weights_says_its_value_and_opens_the_direction(visit: Visit) -> None:
    page = visit.open("atlas/sae/1/")
    cell = page.locator("#loadings td a[data-cell]").first
    cell.focus()
    expect(page.get_by_role("tooltip")).to_contain_text("decoder weight")
    page.keyboard.press("ArrowRight")
    focused = page.locator("#loadings td a:focus")
    expect(focused).to_have_attribute("href", re.compile("/atlas/lora/L1/"))


def test_an_unsigned_channel_is_spoken_of_as_one(visit: Visit) -> None:
    page = visit.open("atlas/sae/1/")
    names = page.locator(".fb-segment > span").all_text_contents()
    assert names[:3] == ["Top", "Bands", "Random"]
    page.get_by_role("button", name="Bands").click()
    expect(page.locator(".fb-band").first).to_contain_text("of the active ones")
    legend = page.locator(".fb-toolbar__legend").text_content() or ""
    assert legend.startswith("0") and "−" not in legend


def test_from_a_direction_to_its_latents_and_back(visit: Visit) -> None:
    page = visit.open("atlas/lora/L0/gate_proj/")
    page.locator("#latents td a").first.click()
    page.wait_for_url("**/atlas/sae/*/")
    page.locator("#loadings").get_by_role("link", name="L0 gate_proj").first.wait_for()
    page.locator(".fb-crumbs a").first.click()
    page.wait_for_url("**/atlas/sae/")
    page.get_by_role("link", name="Table of all 24 latents").click()
    expect(page.get_by_role("status")).to_have_text("21 of 41 channels")
    page.locator("input[name=dead]").check()
    expect(page.get_by_role("status")).to_have_text("24 of 41 channels")


def test_home_leads_to_both_collections(visit: Visit) -> None:
    page = visit.open("")
    facts = page.locator(".fb-home-facts")
    expect(facts).to_contain_text("17 directions, 24 latents")
    facts.get_by_role("link", name="sae").click()
    page.wait_for_url("**/atlas/sae/")
    assert visit.errors == []
