"""Finding: the search box, tokens exact to the byte, passages, and what the explorer keeps in its address."""

import csv
import io
import json
import re

from playwright.sync_api import expect

from generator.publish.exchange.shelf import expanded
from tests.browser.visiting import Visit


def test_the_box_finds_channels_tokens_and_passages(visit: Visit) -> None:
    page = visit.open("")
    page.locator("#fb-search-input").focus()
    page.keyboard.type("wait")
    results = page.get_by_role("listbox", name="Results")
    for kind in ("channel", "token", "passage"):
        expect(results.locator(f".fb-hit--{kind}").first).to_be_visible()
    assert results.locator(".fb-hit--channel .fb-thumb").count() > 0
    expect(results.locator(".fb-hit--passage mark").first).to_have_text(re.compile("wait", re.IGNORECASE))
    page.keyboard.press("ArrowDown")
    marked = results.locator("[aria-selected=true]")
    expect(marked).to_have_count(1)
    address = marked.get_attribute("href") or ""
    page.keyboard.press("Escape")
    expect(results).to_be_hidden()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(address)
    assert not visit.errors and not visit.violations() and not visit.strays


def test_the_box_is_asked_for_again_when_it_did_not_come(visit: Visit) -> None:
    page = visit.open("")
    page.route("**/search-box.mjs", lambda route: route.abort())
    page.locator("#fb-search-input").fill("wai")
    page.wait_for_load_state("networkidle")
    page.unroute("**/search-box.mjs")
    page.keyboard.type("t")
    expect(page.locator(".fb-search .fb-hit--channel").first).to_be_visible()


def test_a_passage_opens_its_document_at_the_word(visit: Visit) -> None:
    page = visit.open("statistics/")
    page.locator("#fb-search-input").fill("carry")
    passage = page.locator(".fb-search .fb-hit--passage").first
    target = passage.get_attribute("href") or ""
    passage.click()
    page.wait_for_url(re.compile("/atlas/doc/"))
    doc, position = (int(x) for x in re.search(r"doc/(\d+)/#t=(\d+)", target).groups())  # type: ignore[union-attr]
    shard = visit.site.shard(f"doc/{doc}")
    assert "carry" in shard["tokens"][shard["text"][position]]
    assert not visit.errors


def test_a_token_is_exact_to_the_byte(visit: Visit) -> None:
    page = visit.open("atlas/search/?q=" + "%22%20Wait%22")
    page.locator(".fb-hit--token").first.click()
    page.wait_for_url(re.compile(r"/atlas/token/\?t=%20Wait"))
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text("␣Wait")
    ids = visit.site.shard("explorer/columns/id")["values"]
    listing = {
        i for i in ids if " Wait" in [t["text"] for t in visit.site.shard(i)["top_tokens"] if t["mean"] > 0]
    }
    leaves = [
        visit.site.shard(f"search/tokens/{n}")
        for n in range(len(visit.site.shard("search")["tokens"]["first"].split()))
    ]
    (entry,) = [token for leaf in leaves for token in leaf["tokens"] if token["bytes"] == b" Wait".hex()]
    links = page.locator("section[aria-labelledby=fires-high-on-it] th a").all()
    shown = [(link.get_attribute("href") or "").split("/atlas/")[1].rstrip("/") for link in links]
    assert shown == [ids[row] for row in entry["high"]["row"]]
    dead = {i for i, is_dead in zip(ids, expanded(visit.site.shard("explorer")["is_dead"])) if is_dead}
    assert listing - dead < set(shown), "all that list the token among their own, and others"
    visit.open("atlas/token/?t=%0A")
    expect(page.get_by_role("heading", level=1)).to_have_text("↵")
    visit.open("atlas/token/?t=%FE%00")
    expect(page.locator(".fb-lead")).to_contain_text("The corpus does not hold this token")
    assert not visit.errors and not visit.violations()


def test_all_results_hold_the_guide(visit: Visit) -> None:
    page = visit.open("atlas/search/?q=skewness")
    guide = page.locator(".fb-hit--guide")
    expect(guide.first).to_be_visible()
    guide.first.click()
    page.wait_for_load_state()
    expect(page.locator("article")).to_contain_text(re.compile("skewness", re.IGNORECASE))


def test_the_explorer_keeps_its_view_in_the_address(visit: Visit) -> None:
    page = visit.open("atlas/explorer/#collection=lora&layer=1..1&show=grid&colour=peak")
    expect(page.get_by_role("button", name="Grid")).to_have_attribute("aria-pressed", "true")
    n = sum(
        name == "lora" and layer == 1
        for name, layer in zip(*(expanded(visit.site.shard("explorer")[c]) for c in ("collection", "layer")))
    )
    expect(page.locator(".fb-count")).to_contain_text(f"{n} of ")
    expect(page.locator(".fb-plane .fb-cells td a").first).to_be_visible()
    page.get_by_role("button", name="Map").click()
    expect(page.locator(".fb-plane .fb-points")).to_be_visible()
    assert "show=map" in page.url and "collection=lora" in page.url
    page.get_by_role("button", name="Table").click()
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("Kurt.").check(force=True)
    expect(page.locator(".fb-rows thead .fb-col-kurtosis")).to_be_visible()
    assert "columns=" in page.url
    assert not visit.errors and not visit.violations()


def test_a_filter_without_a_field_gets_one_and_is_counted(visit: Visit) -> None:
    page = visit.open("atlas/explorer/#kurtosis=0..&labelled=1")
    expect(page.get_by_label("Kurtosis, from")).to_have_value("0")
    expect(page.locator(".fb-filters-more > summary")).to_have_text("Filters (2)")
    page.get_by_label("Kurtosis, from").fill("")
    expect(page.locator(".fb-filters-more > summary")).to_have_text("Filters (1)")
    assert "kurtosis" not in page.url
    page.get_by_role("button", name="Clear all").click()
    expect(page.locator(".fb-filters-more > summary")).to_have_text("Filters")


def test_who_comes_back_finds_the_rows_where_they_were(visit: Visit) -> None:
    page = visit.open("atlas/explorer/#sort=-density")
    table = page.locator(".fb-rows")
    table.evaluate("(table) => table.scrollTo(0, 400)")
    page.locator(".fb-rows tbody tr[data-place='12'] a").first.click()
    page.wait_for_url(re.compile("/atlas/(?!explorer)"))
    page.go_back()
    expect(page.locator(".fb-rows tbody tr[data-place='12'] a").first).to_be_visible()
    assert table.evaluate("(table) => table.scrollTop") == 400
    page.get_by_role("checkbox", name="labelled").check(force=True)
    page.wait_for_url("**labelled**")
    page.reload()
    expect(page.locator(".fb-rows tbody a").first).to_be_visible()
    assert table.evaluate("(table) => table.scrollTop") == 0


def test_an_address_with_an_unknown_map_shows_a_scatter(visit: Visit) -> None:
    page = visit.open("atlas/explorer/#show=map&map=constructor")
    expect(page.locator(".fb-plane .fb-points")).to_be_visible()
    assert not visit.errors


def test_a_star_set_here_filters_the_table(visit: Visit) -> None:
    page = visit.open("atlas/explorer/#collection=sae")
    page.locator(".fb-row-star:not(.fb-row-tray)").nth(1).click()
    name = page.locator(".fb-rows tbody .fb-col-id a").nth(1).inner_text()
    page.get_by_label("starred", exact=True).check(force=True)
    expect(
        page.locator(".fb-rows tbody .fb-col-id a").filter(has_text=re.compile(f"^{name}$"))
    ).to_be_visible()
    page.reload()
    expect(
        page.locator(".fb-rows tbody .fb-col-id a").filter(has_text=re.compile(f"^{name}$"))
    ).to_be_visible()


def test_csv_has_labels_and_the_order_of_the_table(visit: Visit) -> None:
    page = visit.open("atlas/explorer/#labelled=1&sort=-density")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    table = list(csv.DictReader(io.StringIO(download.value.path().read_text("utf-8"), newline="")))
    densities = [float(row["density"]) for row in table]
    assert table and all(row["label"] for row in table) and densities == sorted(densities, reverse=True)
    assert all(isinstance(json.loads(row["top_tokens"]), list) for row in table)
