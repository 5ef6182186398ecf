"""Labelling in the browser: written on a page, kept, exported, imported; blind; no storage."""

import json
import re
from pathlib import Path

from playwright.sync_api import Page, expect

from generator.publish.labels import read_label_file
from tests.browser.visiting import Visit

GATE = "atlas/lora/L0/gate_proj/"
NO_STORAGE = "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') }"


def records(page: Page) -> list[dict[str, object]]:
    """What the browser keeps."""
    key = page.evaluate(
        "Object.keys(localStorage).find((name) => name.startsWith('featurebook.annotations'))"
    )
    return json.loads(page.evaluate("(key) => localStorage.getItem(key)", key))["records"]


def write(page: Page, side: str, text: str) -> None:
    """Fills one field of the form."""
    page.locator(".fb-annotation").get_by_label(side, exact=True).fill(text)


def test_a_label_is_written_saved_and_still_there_after_a_reload(visit: Visit) -> None:
    page = visit.open(GATE)
    page.keyboard.press("a")
    write(page, "Positive side", "“so far”")
    write(page, "Negative side", "<img src=x onerror=alert(1)>")
    page.get_by_label("Your name").fill("Ada")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".fb-annotation [role=status]")).to_have_text("Saved in this browser.")
    expect(page.locator(".fb-dock__progress")).to_contain_text("1 of ")
    assert [(r["id"], r["polarity"], r["text"]) for r in records(page)] == [
        ("lora/L0/gate_proj", "negative", "<img src=x onerror=alert(1)>"),
        ("lora/L0/gate_proj", "positive", "“so far”"),
    ]
    page = visit.open(GATE + "?annotate=1")
    expect(page.get_by_label("Positive side")).to_have_value("“so far”")
    page.keyboard.press("Escape")
    expect(page.locator(".fb-dock")).to_have_count(0)
    expect(page.locator("[data-annotate]")).to_be_focused()
    assert visit.errors == []


def test_ctrl_enter_saves_and_goes_to_the_next_channel_that_waits(visit: Visit) -> None:
    page = visit.open(GATE + "?annotate=1")
    write(page, "Positive side", "first")
    page.keyboard.press("Control+Enter")
    ids = visit.site.shard("annotate")["ids"]
    following = ids[ids.index("lora/L0/gate_proj") + 1]
    page.wait_for_url(f"**/atlas/{following}/?annotate=1")
    page.get_by_role("button", name="Skip").click()
    page.wait_for_url(f"**/atlas/{ids[ids.index(following) + 1]}/?annotate=1")
    assert {(r["id"], r.get("skipped", False)) for r in records(page)} == {
        ("lora/L0/gate_proj", False),
        (following, True),
    }


def test_a_star_is_kept_and_shown(visit: Visit) -> None:
    page = visit.open(GATE)
    star = page.locator(".fb-head .fb-star")
    star.click()
    expect(star).to_have_attribute("aria-pressed", "true")
    page = visit.open(GATE)
    expect(page.locator(".fb-head .fb-star")).to_have_attribute("aria-pressed", "true")
    page.locator(".fb-head .fb-star").click()
    assert records(page) == []


def test_blind_mode_shows_no_name_until_the_label_is_saved(visit: Visit) -> None:
    visit.page.add_init_script("Math.random = () => 0")  # one channel of the toy is zero everywhere
    page = visit.open("atlas/annotate/")
    page.get_by_role("button", name="Blind").click()
    form = page.locator(".fb-blind form")
    form.wait_for()
    ids = visit.site.shard("annotate")["ids"]
    blind = page.locator(".fb-blind")
    html = blind.inner_html()
    assert not [name for name in ids if name in html], "the address of a channel"
    assert blind.locator(".fb-example").count() > 0
    expect(blind.locator("a[href*='/atlas/']")).to_have_count(0)
    form.locator("input").first.fill("guessed")
    page.get_by_role("button", name="Save", exact=True).click()
    told = blind.locator("[role=status]").last
    expect(told).to_contain_text("It was")
    (record,) = records(page)
    assert record["id"] in told.inner_text()
    labelled = dict(zip(ids, visit.site.shard("annotate")["labelled"]))
    assert not labelled[record["id"]], "somebody had labelled it already"
    form.locator("input").first.press("Control+Enter")
    expect(blind.locator("form input").first).to_have_value("")


def test_an_export_is_a_label_file_and_can_be_imported(visit: Visit, tmp_path: Path) -> None:
    page = visit.open(GATE + "?annotate=1")
    write(page, "Positive side", "exported \u202e“text”")
    page.get_by_label("Note", exact=True).fill("two\nlines")
    page.get_by_label("Your name").fill("Ada L.")
    page.get_by_role("button", name="Save", exact=True).click()
    page = visit.open("atlas/annotate/")
    with page.expect_download() as caught:
        page.get_by_role("button", name="Download the file").click()
    assert caught.value.suggested_filename == "ada-l.jsonl"
    path = tmp_path / "ada-l.jsonl"
    caught.value.save_as(path)
    read = {(x.polarity, x.text, x.note, x.author, x.run) for x in read_label_file(path)}
    assert read == {
        ("positive", "exported \u202e“text”", "", "Ada L.", "toy"),
        ("both", "", "two\nlines", "Ada L.", "toy"),
    }
    before = records(page)
    page.evaluate("localStorage.clear()")
    page = visit.open("atlas/annotate/")
    page.locator("input[type=file]").set_input_files(path)
    expect(page.locator(".fb-panel > [role=status]")).to_have_text("2 taken over. You sign as “Ada L.” now.")
    assert records(page) == before


def test_a_browser_that_keeps_nothing_says_so(visit: Visit) -> None:
    visit.page.add_init_script(NO_STORAGE)
    page = visit.open(GATE + "?annotate=1")
    write(page, "Positive side", "lost soon")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".fb-annotation [role=status]")).to_contain_text("could not keep the last change")


def test_a_star_that_cannot_be_kept_is_told_apart(visit: Visit) -> None:
    visit.page.add_init_script(NO_STORAGE)
    page = visit.open(GATE)
    expect(page.locator(".fb-head [role=alert]")).to_have_count(0)
    page.locator(".fb-head .fb-star").click()
    expect(page.locator(".fb-head [role=alert]")).to_contain_text("could not keep the last change")
    page = visit.open("atlas/explorer/")
    page.locator(".fb-row-star:not(.fb-row-tray)").first.click()
    expect(page.locator(".fb-count")).to_contain_text("could not keep the last change")


def test_a_form_that_does_not_come_is_said_and_asked_for_again(visit: Visit) -> None:
    page = visit.open(GATE)
    page.route("**/annotate-dock.mjs", lambda route: route.abort())
    page.keyboard.press("a")
    expect(page.locator(".fb-head [role=alert]")).to_contain_text("could not be loaded")
    page.unroute("**/annotate-dock.mjs")
    page.keyboard.press("a")
    expect(page.locator(".fb-dock")).to_be_visible()
    expect(page.locator(".fb-head [role=alert]")).to_have_count(0)


def test_colours_are_chosen_where_nothing_can_be_kept(visit: Visit) -> None:
    visit.page.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError') } })"
    )
    page = visit.open("atlas/annotate/")
    page.locator(".fb-schemes label:visible").click()
    expect(page.locator("body")).to_have_attribute("data-md-color-scheme", re.compile("default|slate"))
    assert visit.errors == []


def test_the_name_is_given_without_losing_the_place(visit: Visit) -> None:
    page = visit.open(GATE)
    page.locator(".fb-head .fb-star").click()
    expect(page.locator(".fb-head .fb-star")).to_have_attribute("aria-pressed", "true")
    page = visit.open("atlas/annotate/")
    page.get_by_label("Your name, for credit").fill("Zoë")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Download the file")).to_be_focused()
    expect(page.locator(".fb-caption code")).to_have_text("labels/zoe.jsonl")
    offer = page.get_by_role("link", name="Open a GitHub issue").get_attribute("href") or ""
    assert offer.startswith("https://github.com/toy/toy/issues/new?title=Labels+by+Zo%C3%AB")


def test_a_page_without_a_clipboard_copies_all_the_same(visit: Visit) -> None:
    visit.page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page = visit.open(GATE)
    page.get_by_role("button", name="Copy link", exact=True).first.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    page.locator(".fb-share summary").click()
    page.get_by_role("button", name="Cite…").click()
    page.get_by_role("button", name="Copy BibTeX").click()
    expect(page.locator("dialog").get_by_role("button", name="Copied")).to_be_focused()
    assert visit.errors == []


def test_the_keys_are_listed(visit: Visit) -> None:
    page = visit.open(GATE)
    page.keyboard.press("?")
    dialog = page.locator("dialog[open]")
    expect(dialog).to_contain_text("label this channel")
    expect(dialog).to_contain_text("save the label and go to the next channel")
