"""Sharing: labels and credits are shown as text, links keep the view, frames show one part, comments wait for a click."""

import re
from xml.etree import ElementTree

from playwright.sync_api import Route, expect

from tests.browser.visiting import Visit

GATE = "atlas/lora/L0/gate_proj/"
HOSTILE = "opens with <script>alert('label')</script> & {{ 7*7 }}"


def test_labels_stand_under_the_name_in_the_title_and_in_the_panel(visit: Visit) -> None:
    page = visit.open(GATE)
    expect(page.locator(".fb-label__text").first).to_have_text(HOSTILE)
    expect(page.locator(".fb-label").first).to_contain_text("ada <b>& co</b>, 2026-11-20 · detection 0.85")
    assert page.title().startswith(HOSTILE)
    rows = page.locator("#labels tbody tr")
    expect(rows).to_have_count(4)
    expect(rows.nth(1)).to_contain_text("[not a link](javascript:alert(1))")
    expect(rows.nth(3)).to_contain_text("model")
    assert page.locator("#labels a[href^='javascript']").count() == 0


def test_labels_stand_on_cards_layers_and_lists_and_their_authors_on_the_home_page(visit: Visit) -> None:
    page = visit.open("")
    expect(page.locator(".fb-credits li").first).to_have_text("ada <b>& co</b>: 2 channels")
    assert visit.open("atlas/layer/0/").locator(".fb-named").first.inner_text() == HOSTILE
    near = visit.open("atlas/lora/L0/k_proj/").locator(".fb-near__label").all_inner_texts()
    assert HOSTILE in near


def test_meta_data_name_page_and_picture(visit: Visit) -> None:
    home = visit.open("").locator("meta[property='og:title']")
    assert home.get_attribute("content") == "Toy"
    page = visit.open(GATE)
    meta = {
        tag.get_attribute("property"): tag.get_attribute("content")
        for tag in page.locator("meta[property^='og:']").all()
    }
    assert meta["og:title"].startswith(HOSTILE)
    assert meta["og:image"] == "https://example.org/toy/atlas/cards/lora/L0/gate_proj.png"
    assert (visit.site.folder / "atlas/cards/lora/L0/gate_proj.png").read_bytes().startswith(b"\x89PNG")
    assert page.locator("meta[name='twitter:card']").get_attribute("content") == "summary_large_image"
    plain = visit.open("atlas/lora/L0/up_proj/").locator("meta[property='og:image']").get_attribute("content")
    assert plain == "https://example.org/toy/assets/card.png" or "cards/" in plain
    feed = page.locator("link[type='application/atom+xml']")
    assert feed.count() == 1
    ElementTree.fromstring((visit.site.folder / "atlas/feed.xml").read_bytes())


def test_the_parts_of_a_collection_stand_alone_too(visit: Visit) -> None:
    page = visit.open("atlas/sae/?embed=1&panel=map")
    expect(page.get_by_role("heading", name="Map of the latents")).to_be_visible()
    expect(page.get_by_role("heading", name="How often they fire")).to_be_hidden()
    page = visit.open(GATE + "?embed=1&panel=histogram")
    expect(page.get_by_role("img", name="Histogram of activations")).to_be_visible()
    expect(page.locator(".fb-brush__fields")).to_be_hidden()
    page = visit.open("atlas/explorer/?embed=1&panel=map")
    expect(page.locator("article")).to_contain_text("It has none: leave “panel” away.")
    assert visit.errors == []


def test_a_copied_link_reproduces_the_view(visit: Visit) -> None:
    page = visit.open(GATE + "#show=random")
    page.locator(".fb-share summary").click()
    page.get_by_role("button", name="Copy link to this view").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"https://example.org/toy/{GATE}#show=random"
    page = visit.open(copied.removeprefix("https://example.org/toy/"))
    expect(page.locator('.fb-segment[data-show="random"]')).to_have_attribute("aria-pressed", "true")


def test_every_example_with_a_page_has_a_link_of_its_own(visit: Visit) -> None:
    page = visit.open(GATE)
    example = page.locator(".fb-example", has=page.locator(".fb-example__source a")).first
    example.locator(".fb-example__toggle").click()
    example.get_by_role("button", name="Copy link").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert re.search(r"/atlas/doc/\d+/#t=\d+&c=lora", copied)
    opened = visit.open(copied.removeprefix(visit.site.url))
    expect(opened.locator("h1")).to_contain_text("Document")


def test_a_citation_names_author_page_and_address(visit: Visit) -> None:
    page = visit.open(GATE)
    page.locator(".fb-share summary").click()
    page.get_by_role("button", name="Cite…").click()
    dialog = page.locator("dialog[open]")
    expect(dialog.locator(".fb-citation")).to_contain_text("Ada & Co.")
    expect(dialog.locator(".fb-citation")).to_contain_text(f"https://example.org/toy/{GATE}")
    dialog.get_by_role("button", name="Copy BibTeX").click()
    assert page.evaluate("navigator.clipboard.readText()").startswith("@misc{Co-")


def test_a_frame_shows_one_part_and_its_links_leave_it(visit: Visit) -> None:
    page = visit.open(GATE)
    page.locator(".fb-share summary").click()
    page.get_by_role("button", name="Embed…").click()
    page.locator("dialog[open] select").select_option("neighbours")
    code = page.locator("dialog[open] pre").inner_text()
    assert f"https://example.org/toy/{GATE}?embed=1&#38;panel=neighbours" in code

    page = visit.open(GATE + "?embed=1&panel=neighbours")
    expect(page.locator("#neighbours")).to_be_visible()
    for hidden in (".md-header", ".fb-head", '[data-slot="examples"]', "#profiles", ".fb-footer"):
        expect(page.locator(hidden).first).to_be_hidden()
    link = page.locator("#neighbours a").first
    with page.context.expect_page() as opened:
        link.click()
    opened.value.close()
    page = visit.open(GATE + "?embed=1&panel=nothing")
    expect(page.locator("article")).to_contain_text("This page has no part “nothing”. It has: examples")


def test_a_page_can_be_framed(visit: Visit) -> None:
    address = f"{visit.site.url}host-of-a-frame"
    frame = f'<iframe src="{visit.site.url}{GATE}?embed=1&panel=examples" width="800" height="600"></iframe>'
    visit.page.route(address, lambda route: route.fulfill(content_type="text/html", body=frame))
    visit.page.goto(address)
    expect(visit.page.frame_locator("iframe").locator(".fb-example").first).to_be_visible()


def test_comments_wait_for_a_click_on_the_one_page_that_admits_them(visit: Visit) -> None:
    asked: list[str] = []

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(content_type="text/html", body="<p>comments</p>")

    visit.page.route("https://giscus.app/**", answer)
    page = visit.open("atlas/discuss/?id=lora/L0/gate_proj")
    assert asked == []
    policy = page.locator("meta[http-equiv='Content-Security-Policy']").get_attribute("content") or ""
    assert "frame-src https://giscus.app;" in policy and "script-src 'self';" in policy
    page.get_by_role("button", name="Load comments").click()
    expect(page.frame_locator(".fb-giscus").locator("p")).to_have_text("comments")
    assert len(asked) == 1 and "term=lora%2FL0%2Fgate_proj" in asked[0]
    assert visit.violations() == []
    other = visit.open(GATE)
    policy = other.locator("meta[http-equiv='Content-Security-Policy']").get_attribute("content") or ""
    assert "giscus" not in policy and "frame-src" not in policy
