"""Reading a channel's page: keys, how much text, the brush, an example in its document."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.visiting import Visit

PAGE = "atlas/lora/L0/gate_proj/"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}


def test_keys_lead_from_page_to_page_and_keep_the_view(visit: Visit) -> None:
    page = visit.open(PAGE)
    page.get_by_role("button", name="Negative").click()
    following = page.locator("a[rel=next]").get_attribute("href") or ""
    assert following.endswith("#show=bottom")
    page.keyboard.press("n")
    page.wait_for_url(re.compile(r"/atlas/lora/L0/up_proj/#show=bottom$"))
    expect(page.get_by_role("button", name="Negative")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("p")
    page.wait_for_url(re.compile(r"/gate_proj/#show=bottom$"))


def test_who_goes_on_finds_the_next_page_fetched_ahead(visit: Visit) -> None:
    page = visit.open(PAGE)
    page.wait_for_load_state("networkidle")
    assert page.locator("link[rel=prefetch]").count() == 0, "who came from elsewhere may not go on"
    page.keyboard.press("n")
    page.wait_for_url("**/atlas/lora/L0/up_proj/")
    ahead = page.locator("link[rel=prefetch]")
    expect(ahead).to_have_count(2)
    on = [f"{visit.site.url}atlas/lora/L0/down_proj/", f"{visit.site.url}shards/lora/L0/down_proj.json"]
    assert [page.evaluate("(link) => link.href", link) for link in ahead.element_handles()] == on
    assert not visit.errors and not visit.violations()


def test_j_and_k_walk_over_the_examples(visit: Visit) -> None:
    page = visit.open(PAGE)
    where = "Array.from(document.querySelectorAll('.fb-run')).findIndex((run) => run.contains(document.activeElement))"
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.evaluate(where) == 1
    page.keyboard.press("k")
    assert page.evaluate(where) == 0


def test_slash_searches_and_no_key_acts_while_one_types(visit: Visit) -> None:
    page = visit.open(PAGE)
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.tagName") == "INPUT"
    page.keyboard.type("np?j")
    assert page.evaluate("document.activeElement.value") == "np?j"
    assert page.url.endswith(PAGE) and page.locator("dialog[open].fb-keys").count() == 0


def test_help_lists_what_the_page_offers_and_switches_the_keys_off(visit: Visit) -> None:
    page = visit.open(PAGE)
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys")
    for words in ("next page", "next example", "search", "the example in its document"):
        expect(dialog).to_contain_text(words)
    dialog.get_by_label("Keys of a single character are on").uncheck()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    page.keyboard.press("n")
    page.keyboard.press("s")  # the theme's own key for its search
    page.wait_for_timeout(300)
    assert page.url.endswith(PAGE)
    assert page.evaluate("document.activeElement.tagName") == "BODY"


def test_the_brush_filters_the_examples(visit: Visit) -> None:
    page = visit.open(PAGE)
    shard = visit.site.shard("lora/L0/gate_proj")
    edges, box = shard["histogram"]["edges"], page.locator(".fb-brush").bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.3 * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], y, steps=4)
    page.mouse.up()
    low, high = (float(end) for end in re.search(r"range=([-.\d]+)\.\.([-.\d]+)", page.url).groups())  # type: ignore[union-attr]
    step = edges[1] - edges[0]
    assert abs(low - (edges[0] + 0.3 * (edges[-1] - edges[0]))) <= step
    kept = {(e["doc"], e["position"]) for e in shard["examples"] if low <= e["value"] <= high}
    heading = page.locator(".fb-band").inner_text()
    assert heading.startswith(f"{len(kept)} example")
    page.get_by_role("button", name="Clear").click()
    assert "range" not in page.url
    page.get_by_label("Examples with an activation from").fill("1")
    page.keyboard.press("Enter")
    expect(page.locator(".fb-band")).to_contain_text("kept from 1.00")


def test_heatmap_and_histogram_point_at_each_other(visit: Visit) -> None:
    page = visit.open(PAGE)
    page.locator(".fb-token--target").first.hover()
    expect(page.locator(".fb-brush__mark")).to_be_visible()
    box = page.locator(".fb-brush").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] / 2)
    shard = visit.site.shard("lora/L0/gate_proj")
    low = shard["histogram"]["edges"][-2]
    lit = page.locator(".fb-token.is-lit")
    expect(lit).not_to_have_count(0)
    strong = [
        e
        for e in shard["examples"]
        if e["group"] == "top" and any((v or 0) * shard["scale"] >= low for v in e["values"])
    ]
    assert page.locator("figure:has(.is-lit)").count() <= len(strong)
    page.mouse.move(5, 5)
    expect(lit).to_have_count(0)


def test_an_example_opens_in_its_document(visit: Visit) -> None:
    page = visit.open(PAGE)
    shard = visit.site.shard("lora/L0/gate_proj")
    figures = page.locator(".fb-example")
    docs = [int(figure.get_attribute("data-doc") or -1) for figure in figures.all()]
    there = {e["doc"]: e["has_page"] for e in shard["examples"]}
    figure = figures.nth(next(i for i, doc in enumerate(docs) if there[doc]))
    figure.locator(".fb-run [tabindex='0']").focus()
    page.keyboard.press("d")
    prose = figure.locator(".fb-prose")
    expect(prose).to_be_visible()
    doc = int(figure.get_attribute("data-doc") or -1)
    text = visit.site.shard(f"doc/{doc}")
    assert text["tokens"][text["text"][1]].strip() in prose.inner_text()
    coloured = figure.locator(".fb-prose [class*=' p'], .fb-prose [class*=' n']")
    before = coloured.count()
    figure.get_by_label("Colour only from this size of activation").fill("60")
    assert before > 0 and coloured.count() < before
    expect(figure.locator("output")).to_contain_text("token")


def test_a_value_kept_open_goes_with_its_token(visit: Visit) -> None:
    page = visit.open("atlas/lora/L0/gate_proj/")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator(".fb-tooltip")).to_be_visible()
    page.keyboard.press("d")
    expect(page.locator(".fb-indoc")).to_be_visible()
    expect(page.locator(".fb-tooltip")).to_be_hidden()


def test_a_document_without_a_page_says_why(visit: Visit) -> None:
    page = visit.open(PAGE + "#text=document")
    shard = visit.site.shard("lora/L0/gate_proj")
    doc = next(e["doc"] for e in shard["examples"] if e["group"] == "top" and not e["has_page"])
    figure = page.locator(f".fb-example[data-doc='{doc}']").first
    figure.scroll_into_view_if_needed()
    expect(figure.locator(".fb-indoc")).to_contain_text("[summarize]")


@pytest.mark.parametrize("visit", [{}, PHONE], indirect=True, ids=["laptop", "phone"])
def test_what_makes_it_fire_is_answered_without_scrolling(visit: Visit) -> None:
    page = visit.open(PAGE)
    height = (page.viewport_size or {})["height"]
    firsts = page.locator(".fb-example").all()[:3]
    for figure in firsts:
        box = figure.bounding_box()
        assert box is not None and box["y"] + box["height"] <= height


def test_print_shows_the_text_without_controls(visit: Visit) -> None:
    page = visit.open(PAGE)
    page.emulate_media(media="print")
    expect(page.locator(".fb-example .fb-run").first).to_be_visible()
    for control in (".fb-head__actions", ".fb-brush__fields", ".fb-toolbar--quiet", ".fb-footer__keys"):
        expect(page.locator(control).first).to_be_hidden()
