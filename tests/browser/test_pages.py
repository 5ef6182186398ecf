"""What the explorer, layer, document and home pages do, against the shards they are drawn from."""

import csv
import io
import json
import math
import re
from typing import Any
from urllib.parse import unquote

import pytest
from playwright.sync_api import Page, Route, expect

from generator.publish.exchange.shelf import expanded
from generator.publish.search.words import words
from tests.browser.visiting import Site, Visit

NEGATIVE = str.maketrans("−\u202f", "- ")
WATCH_COPY = "document.addEventListener('copy', (event) => { window.copied = event.clipboardData.getData('text/plain') })"


def ids_shown(page: Page) -> list[str]:
    """Ids of the explorer's rows, in the order of the screen."""
    rows = page.locator(".fb-rows tbody tr").all()
    ordered = sorted(rows, key=lambda row: int(row.get_attribute("aria-rowindex") or 0))
    return [id_of(row.locator(".fb-col-id a").get_attribute("href") or "") for row in ordered]


def shows(page: Page, wanted: list[str]) -> bool:
    """Whether the table begins with these rows; of a long table only those in sight are drawn."""
    shown = ids_shown(page)
    return shown == wanted[: len(shown)] and len(shown) >= min(12, len(wanted))


def id_of(address: str) -> str:
    """The id behind the address of a page."""
    return unquote(address.split("/atlas/")[1].split("#")[0].rstrip("/"))


def rows_of(site: Site) -> list[dict[str, Any]]:
    """The explorer's head and parts as rows."""
    head = site.shard("explorer")
    names = ("collection", "layer", "module", "is_dead", "is_labelled")
    columns: dict[str, list[Any]] = {name: expanded(head[name]) for name in names}
    for part in range(-(-head["n_channels"] // head["rows_per_part"])):
        for name, values in site.shard(f"explorer/rows/{part}")["columns"].items():
            columns.setdefault(name, []).extend(values)
    return [dict(zip(columns, values)) for values in zip(*columns.values())]


def living(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without dead latents, which the explorer leaves out unless asked."""
    return [row for row in rows if not row["is_dead"]]


def number(text: str) -> float:
    """A number as the pages write it."""
    return float(text.strip().translate(NEGATIVE).replace(",", "").split(" ")[0])


def has_three_digits_of(shown: float, value: float, slack: float = 0.0) -> bool:
    """Whether a shown number is the value rounded to three digits (± slack before rounding)."""
    unit = 10.0 ** (math.floor(math.log10(max(abs(value), 1e-12))) - 2)
    return abs(shown - value) <= slack + 0.5001 * unit


# ---- explorer


def a_token_of_some(site: Site, rows: list[dict[str, Any]]) -> tuple[str, dict[str, float]]:
    """A word on which some of its listed channels fire and some do not, none at the edge: its |mean| / RMS by id."""
    for number in range(len(site.shard("search")["tokens"]["first"].split())):
        for token in site.shard(f"search/tokens/{number}")["tokens"]:
            pairs = [
                pair for side in ("high", "low") for pair in zip(token[side]["row"], token[side]["mean"])
            ]
            found = {
                rows[row]["id"]: abs(mean) / math.hypot(rows[row]["mean"], rows[row]["std"])
                for row, mean in pairs
                if rows[row]["std"] > 0
            }
            text = bytes.fromhex(token["bytes"]).decode("utf-8", "replace")
            is_clear = len(found) == len(pairs) and not any(0.99 < one < 1.01 for one in found.values())
            if is_clear and text.strip().isalpha() and min(found.values()) < 1 < max(found.values()):
                return text, found
    raise AssertionError("the toy has no such token")


def test_explorer_sorts_like_python(visit: Visit) -> None:
    page = visit.open("atlas/explorer/")
    rows = living(rows_of(visit.site))
    head = page.locator(".fb-rows thead")
    head.get_by_role("button", name="Max", exact=True).click()
    expect(head.locator(".fb-col-max")).to_have_attribute("aria-sort", "descending")
    expect(page.locator(".fb-rows .fb-waiting")).to_have_count(0)
    assert shows(page, [row["id"] for row in sorted(rows, key=lambda row: -row["max"])])

    head.get_by_role("button", name="Module").click()
    head.get_by_role("button", name="Skew").click(modifiers=["Shift"])
    expected = sorted(
        rows, key=lambda row: (row["module"], row["skewness"] is None, -(row["skewness"] or 0.0))
    )
    expect(page.locator(".fb-rows thead [aria-sort]")).to_have_count(1)
    expect(page).to_have_url(re.compile("sort=module"))
    expect(page.locator(".fb-rows .fb-waiting")).to_have_count(0)
    assert shows(page, [row["id"] for row in expected])
    assert page.locator(".fb-rows thead [aria-sort]").count() == 1

    page.reload()
    expect(page.locator(".fb-rows tbody a").first).to_be_visible()
    expect(page.locator(".fb-rows .fb-waiting")).to_have_count(0)
    assert shows(page, [row["id"] for row in expected]), "the address holds the order"


def test_explorer_filters_like_python(visit: Visit) -> None:
    page = visit.open("atlas/explorer/")
    every = rows_of(visit.site)
    rows = living(every)
    page.get_by_label("q_proj", exact=True).check(force=True)
    page.get_by_label("Layer (0–1), from").fill("1")
    wanted = [row["id"] for row in rows if row["module"] == "q_proj" and row["layer"] == 1]
    expect(page.locator(".fb-count")).to_have_text(f"{len(wanted)} of {len(every)} channels")
    assert wanted and shows(page, wanted)

    page.get_by_role("button", name="Clear all").click()
    box = page.get_by_label("Id, label or token")
    box.fill("WAIT")
    wanted = [
        row["id"]
        for row in rows
        if any(
            "wait" in words(token)
            for token in [row["label"] or "", *row["top_tokens"], *row["bottom_tokens"]]
        )
    ]
    expect(page.locator(".fb-count")).to_have_text(f"{len(wanted)} of {len(every)} channels")
    assert wanted and shows(page, wanted)

    text, strength = a_token_of_some(visit.site, every)
    box.fill(f'"{text}"')
    wanted = [row["id"] for row in rows if strength.get(row["id"], 0) >= 1]
    assert 0 < len(wanted) < len(strength)
    expect(page.locator(".fb-count")).to_have_text(f"{len(wanted)} of {len(every)} channels")
    assert shows(page, wanted)


def test_explorer_csv_holds_the_selection(visit: Visit) -> None:
    page = visit.open("atlas/explorer/#layer=0..0&sort=-max")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    text = download.value.path().read_text("utf-8")
    table = list(csv.DictReader(io.StringIO(text, newline="")))
    wanted = sorted(
        (row for row in living(rows_of(visit.site)) if row["layer"] == 0), key=lambda row: -row["max"]
    )
    assert [row["id"] for row in table] == [row["id"] for row in wanted]
    assert [json.loads(row["top_tokens"]) for row in table] == [row["top_tokens"] for row in wanted]
    assert [float(row["max"]) for row in table] == [row["max"] for row in wanted]


def test_explorer_draws_only_the_rows_in_sight(visit: Visit) -> None:
    head, n = visit.site.shard("explorer"), 32_000
    part = visit.site.shard("explorer/rows/0")
    for name in ("collection", "kind", "layer", "module", "is_dead", "is_labelled", "is_starred", "is_whole"):
        head[name] = {"values": head[name]["values"][:1], "runs": [0, n]}

    def rows(route: Route) -> None:
        first = int(re.search(r"(\d+)\.json", route.request.url)[1]) * head["rows_per_part"]  # type: ignore[index]
        ids = [f"lora/{first + at}" for at in range(head["rows_per_part"])]
        route.fulfill(json={**part, "columns": {**part["columns"], "id": ids}})

    visit.page.route("**/shards/explorer.json", lambda route: route.fulfill(json={**head, "n_channels": n}))
    visit.page.route("**/shards/explorer/rows/*.json", rows)
    page = visit.open("atlas/explorer/")
    expect(page.locator(".fb-rows table")).to_have_attribute("aria-rowcount", str(n + 1))
    assert page.locator(".fb-rows tbody tr").count() < 60

    page.locator(".fb-rows tbody a").first.focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".fb-col-id a:focus")).to_have_attribute("href", re.compile(r"/lora/1/$"))
    page.keyboard.press("End")
    expect(page.locator(".fb-col-id a:focus")).to_have_attribute("href", re.compile(rf"/lora/{n - 1}/$"))
    assert page.locator(".fb-rows tbody tr").count() < 60
    page.keyboard.press("Home")
    expect(page.locator(".fb-col-id a:focus")).to_have_attribute("href", re.compile(r"/lora/0/$"))
    assert page.locator(".fb-rows a[tabindex='0']").count() == 2, "one row is in the tab order"


# ---- layer


def test_layer_shows_every_direction_and_links_work(visit: Visit) -> None:
    page = visit.open("atlas/layer/1/")
    shard = visit.site.shard("layer/1")
    page.evaluate("document.querySelectorAll('article details').forEach((fold) => { fold.open = true })")
    headings = page.locator(".fb-module > h3").all_inner_texts()
    assert [text.split(" ")[0] for text in headings] == [module["module"] for module in shard["modules"]]

    linked = {id_of(a) for a in hrefs(page) if "/atlas/" in a and not a.endswith(".json")}
    drawn = {channel["id"] for module in shard["modules"] for channel in module["channels"]}
    assert drawn <= linked
    for address in {a.split("#")[0] for a in hrefs(page) if "//example.org" not in a}:  # the other run's site
        assert page.request.get(address).ok, address


def hrefs(page: Page) -> list[str]:
    """Absolute addresses of all links of the article."""
    return page.evaluate("[...document.querySelectorAll('article a[href]')].map((link) => link.href)")


def test_layer_examples_are_the_strongest_and_lead_to_their_token(visit: Visit) -> None:
    page = visit.open("atlas/layer/0/")
    channel = visit.site.shard("layer/0")["modules"][0]["channels"][0]
    column = page.locator(".fb-module").first
    values = [number(text) for text in column.locator(".fb-snippet__value").all_inner_texts()]
    expected = [example["value"] for example in channel["top"] + channel["bottom"]]
    assert len(values) == len(expected)
    assert all(has_three_digits_of(*pair) for pair in zip(values, expected))

    link = column.locator(".fb-snippet__link").first
    position = int(re.search(r"t=(\d+)", link.get_attribute("href") or "")[1])  # type: ignore[index]
    link.click()
    page.locator(".fb-mount:not(.fb-mounted)").first.wait_for(state="detached")
    expect(page.locator(".fb-prose .fb-token--target")).to_be_in_viewport()
    expect(page.locator(".fb-firing")).to_contain_text(f"Token {position} of")
    expect(page.locator(".fb-chosen a")).to_have_text(["L0 gate_proj"])


# ---- document


def test_a_token_lists_what_fires_there(visit: Visit) -> None:
    page = visit.open("atlas/doc/1/")
    shard = visit.site.shard("doc/1")
    for token in (3, 12, 40):
        page.mouse.click(*first_box(page, group_of(shard, token)))
        strongest = [
            (shard["channels"][channel], step)
            for channel, step in zip(shard["strongest"]["channel"][token], shard["strongest"]["value"][token])
            if channel >= 0
        ]
        table = page.locator(".fb-firing__table tbody tr")
        expect(table).to_have_count(len(strongest))
        assert [id_of(a.get_attribute("href") or "") for a in table.locator("th a").all()] == [
            channel["id"] for channel, _ in strongest
        ]
        cells = table.locator("td.fb-number").all_inner_texts()
        columns = len(cells) // max(
            1, len(strongest)
        )  # value, ratio, share, and effects where there are some
        for (channel, step), value, ratio in zip(strongest, cells[::columns], cells[1::columns]):
            assert has_three_digits_of(number(value), step * channel["scale"])
            assert has_three_digits_of(number(ratio), abs(step * channel["scale"]) / channel["reference_rms"])
        assert f"t={token}" in page.url
        page.keyboard.press("Escape")  # the tooltip may lie over the next token


def first_box(page: Page, group: int) -> tuple[float, float]:
    """The middle of what is seen of a token on its first line (a line break spans two)."""
    return page.locator(f".fb-prose [data-group='{group}']").evaluate("""(token) => {
        token.scrollIntoView({ block: "center" })
        const { left, width, top, height } = token.getClientRects()[0]
        return [left + width / 2, top + height / 2]
    }""")


def group_of(shard: dict[str, Any], token: int) -> int:
    """Index of the display group that a token belongs to: an empty text continues the group before."""
    texts = [shard["tokens"][index] for index in shard["text"]]
    is_start = [not i or text != "" for i, text in enumerate(texts)]
    return sum(is_start[: token + 1]) - 1


def test_a_channel_colours_the_text_by_its_value(visit: Visit) -> None:
    shard = visit.site.shard("doc/1")
    channel = shard["channels"][2]
    page = visit.open(f"atlas/doc/1/#c={channel['id']}")
    for token in range(shard["n_tokens"]):
        known = dict(zip(shard["strongest"]["channel"][token], shard["strongest"]["value"][token]))
        group = group_of(shard, token)
        if group_of(shard, token + 1) == group or (token and group_of(shard, token - 1) == group):
            continue  # several tokens: the strongest gives the colour
        strength = known.get(2, 0) / 1000
        shade = math.floor(abs(strength) * 16 + 0.5)
        expected = "" if shade == 0 else ("p" if strength > 0 else "n") + str(shade)
        classes = (page.locator(f".fb-prose [data-group='{group}']").get_attribute("class") or "").split()
        assert [name for name in classes if re.fullmatch(r"[pn]\d+", name)] == [expected] * bool(expected)


def test_hovering_a_token_says_the_value_of_what_is_drawn(visit: Visit) -> None:
    page = visit.open("atlas/doc/1/")
    shard = visit.site.shard("doc/1")
    drawn = id_of(page.locator(".fb-chosen a").get_attribute("href") or "")
    channel = next(i for i, one in enumerate(shard["channels"]) if one["id"] == drawn)
    token = next(t for t in range(5, 72) if channel in shard["strongest"]["channel"][t])
    step = shard["strongest"]["value"][token][shard["strongest"]["channel"][token].index(channel)]
    page.mouse.move(*first_box(page, group_of(shard, token)))
    said = page.locator(".fb-tooltip").inner_text()
    shown = re.search(r"([+−]?[\d.]+) ± ([\d.]+)", said)
    assert shown, said
    scale = shard["channels"][channel]["scale"]
    assert has_three_digits_of(number(shown[1].replace("+", "")), step * scale)
    assert has_three_digits_of(number(shown[2]), scale / 2)


def test_up_to_three_channels_are_drawn(visit: Visit) -> None:
    page = visit.open("atlas/doc/1/")
    expect(page.locator(".fb-chosen li")).to_have_count(1)
    for place in (1, 2, 3):
        page.locator(".fb-offers .fb-draw").nth(place).click()
    expect(page.locator(".fb-chosen li")).to_have_count(3)
    assert page.locator(".fb-prose .fb-line-1").count() > 0
    assert page.locator(".fb-prose .fb-line-2").count() > 0
    shown = page.locator(".fb-chosen a").all_inner_texts()
    page.reload()
    expect(page.locator(".fb-chosen a")).to_have_text(shown)


def test_the_text_is_read_by_keyboard(visit: Visit) -> None:
    page = visit.open("atlas/doc/1/")
    page.locator(".fb-prose").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(page.locator(".fb-prose .fb-token--target")).to_have_attribute("data-group", "2")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".fb-prose .fb-token--target")).to_have_attribute("data-group", "1")
    page.keyboard.press("Enter")
    expect(page.locator(".fb-firing a").first).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".fb-prose")).to_be_focused()


def test_hostile_text_is_shown_exactly_and_copied_exactly(visit: Visit) -> None:
    for doc in range(4):
        page = visit.open(f"atlas/doc/{doc}/")
        shard = visit.site.shard(f"doc/{doc}")
        source = "".join(shard["tokens"][index] for index in shard["text"])
        shown = page.locator(".fb-prose").evaluate("(prose) => prose.textContent")
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b\x07]", shown), (
            "no raw control reaches the page"
        )
        for raw, chip in (("\u202e", "[RLO]"), ("\u200b", "[ZWSP]"), ("\x07", "[BEL]")):
            assert source.count(raw) == shown.count(chip)
        for text in ("</script>", "<img src=x onerror=alert(1)>", "{{ x }}", "&amp;"):
            assert source.count(text) == shown.count(text)

        page.evaluate(WATCH_COPY)
        page.locator(".fb-prose").evaluate("(prose) => getSelection().selectAllChildren(prose)")
        page.keyboard.press("Control+c")
        assert page.evaluate("window.copied") == source
        assert visit.errors == []


def test_a_part_of_the_text_is_copied_exactly(visit: Visit) -> None:
    page = visit.open("atlas/doc/1/")
    shard = visit.site.shard("doc/1")
    texts = [shard["tokens"][index] for index in shard["text"]]
    page.evaluate(WATCH_COPY)
    page.evaluate(
        """([first, last]) => {
        const range = document.createRange()
        range.setStartBefore(document.querySelector(`[data-group="${first}"]`))
        range.setEndAfter(document.querySelector(`[data-group="${last}"]`))
        getSelection().removeAllRanges()
        getSelection().addRange(range)
    }""",
        [group_of(shard, 4), group_of(shard, 30)],
    )
    page.keyboard.press("Control+c")
    last = next(t for t in range(31, 72) if group_of(shard, t) > group_of(shard, 30))
    first = next(t for t in range(72) if group_of(shard, t) == group_of(shard, 4))
    assert page.evaluate("window.copied") == "".join(texts[first:last])


# ---- home and indexes


def test_the_grid_is_coloured_by_the_chosen_statistic(visit: Visit) -> None:
    page = visit.open("")
    grid = visit.site.shard("home")["grid"]
    cells = [cell for row in grid["cells"] for cell in row if cell]
    links = page.locator(".fb-cells td a")
    assert sorted(id_of(a.get_attribute("href") or "") for a in links.all()) == sorted(cells)
    for name in ("std", "skewness"):
        page.get_by_label("Colour:").select_option(name)
        values = {
            cell: value
            for ids, row in zip(grid["cells"], grid["statistics"][name])
            for cell, value in zip(ids, row)
            if cell and value is not None
        }
        strongest = max(values, key=lambda cell: abs(values[cell]))
        sign = "n" if values[strongest] < 0 else "p"
        expect(page.locator(f".fb-cells a[href$='/{strongest}/']")).to_have_class(f"{sign}16")


def test_a_cell_says_its_tokens_and_the_arrows_move(visit: Visit) -> None:
    page = visit.open("")
    grid = visit.site.shard("home")["grid"]
    assert page.locator(".fb-cells td a[tabindex='0']").count() == 1
    page.locator(".fb-cells td a").first.focus()
    expect(page.locator(".fb-tooltip")).to_contain_text(grid["top_tokens"][0][0][0].strip())
    page.keyboard.press("ArrowRight")
    expect(page.locator(".fb-cells td a:focus")).to_have_attribute("data-cell", "1 0")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".fb-cells td a:focus")).to_have_attribute("data-cell", "1 1")
    page.keyboard.press("Escape")
    expect(page.locator(".fb-tooltip")).to_be_hidden()


def test_the_box_of_the_home_page_leads_to_the_results(visit: Visit) -> None:
    page = visit.open("")
    page.get_by_label("Find a direction").last.fill("gate & wait")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/atlas/search/\?q=gate\+%26\+wait"))
    expect(page.locator("main input[name=q]")).to_have_value("gate & wait")


def test_the_documents_are_narrowed(visit: Visit) -> None:
    page = visit.open("atlas/documents/")
    page.get_by_label("Find").fill("bold")
    expect(page.locator(".fb-count")).to_have_text("1 of 4 documents")
    expect(page.locator(".fb-index > li:visible .fb-index__name")).to_contain_text(
        '<b>bold</b> "quoted" {{ name }}'
    )


# ---- heatmap, on a channel page


def test_the_tooltip_is_right_within_half_a_step(visit: Visit) -> None:
    page = visit.open("atlas/lora/L0/gate_proj/")
    shard = visit.site.shard("lora/L0/gate_proj")
    values = {(e["doc"], e["position"]): e["value"] for e in shard["examples"] if e["group"] == "top"}
    figures = page.locator("figure:has(.fb-token--target)")
    assert figures.count() > 2
    for figure in figures.all()[:4]:
        figure.locator(".fb-token--target").hover()
        tooltip = page.locator(".fb-tooltip")
        expect(tooltip).to_be_visible()
        text = tooltip.inner_text()
        position = int(re.search(r"position (\d+)", text)[1])  # type: ignore[index]
        shown = number(re.search(r"[+−]?[\d.]+(?= ±)", text)[0].replace("+", ""))  # type: ignore[index]
        doc = int(figure.get_attribute("data-doc") or -1)
        assert has_three_digits_of(shown, values[doc, position], slack=shard["scale"] / 2)
        page.mouse.move(0, 0)
        expect(tooltip).to_be_hidden()


def test_an_example_is_one_tab_stop(visit: Visit) -> None:
    page = visit.open("atlas/lora/L0/gate_proj/")
    runs = page.locator("figure .fb-run:visible")
    assert all(run.locator("[tabindex='0']").count() == 1 for run in runs.all())
    page.locator("figure .fb-run [tabindex='0']").first.focus()
    page.keyboard.press("Home")
    at_home = page.evaluate(
        "document.activeElement === document.activeElement.parentElement.firstElementChild"
    )
    page.keyboard.press("ArrowRight")
    moved = page.evaluate("document.activeElement === document.activeElement.parentElement.children[1]")
    assert at_home and moved


def test_an_example_is_copied_exactly(visit: Visit) -> None:
    page = visit.open("atlas/lora/L0/gate_proj/")
    shard = visit.site.shard("lora/L0/gate_proj")
    example = next(e for e in shard["examples"] if e["group"] == "top")
    source = "".join(shard["tokens"][index] for index in example["text"])
    page.evaluate(WATCH_COPY)
    page.locator("figure .fb-run").first.evaluate("(run) => getSelection().selectAllChildren(run)")
    page.keyboard.press("Control+c")
    copied = page.evaluate("window.copied")
    assert copied and copied in source


# ---- failure


def test_a_missing_shard_is_said_and_can_be_tried_again(visit: Visit) -> None:
    page = visit.page
    page.route("**/shards/doc/1.json", lambda route: route.abort(), times=2)
    page.goto(visit.site.url + "atlas/doc/1/")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("could not be")
    page.unroute("**/shards/doc/1.json")
    alert.get_by_role("button", name="Try again").click()
    expect(page.locator(".fb-prose")).to_be_visible()
    expect(alert).to_have_count(0)


@pytest.mark.parametrize(
    "visit", [{"viewport": {"width": 390, "height": 844}, "has_touch": True}], indirect=True
)
def test_a_tap_opens_the_list_at_the_foot_and_it_closes(visit: Visit) -> None:
    page = visit.open("atlas/doc/1/")
    page.touchscreen.tap(*first_box(page, 3))
    expect(page.locator(".fb-firing")).to_be_in_viewport()
    page.get_by_role("button", name="Close the list").tap()
    expect(page.locator(".fb-firing table")).to_have_count(0)
