"""The pages of the analysis in the browser: values, choices kept in the address, attention fetched layer by layer, keys."""

from playwright.sync_api import expect

from tests.browser.test_every_page import AXE, DARK, LEVELS, LIGHT, PHONE, UNFOLD, on_screens
from tests.browser.visiting import Visit
from tests.toy_analysis import PROMPT, UNDEFINED

MODEL = "atlas/analysis/main/"
TEXT = f"atlas/analysis/main/{PROMPT}/"
ALL = (
    "atlas/analysis/",
    MODEL,
    "atlas/analysis/masked/",
    TEXT,
    f"atlas/analysis/masked/{PROMPT}/",
    "atlas/layer/1/",
)


@on_screens(light=LIGHT, dark=DARK, phone=PHONE)
def test_pages_are_sound_accessible_and_fit(visit: Visit) -> None:
    for path in ALL:
        page = visit.open(path)
        page.evaluate(UNFOLD)
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"], path
        page.evaluate(AXE.read_text("utf-8"))
        found = page.evaluate("(tags) => axe.run(document, { runOnly: tags })", LEVELS)
        assert [(v["id"], v["nodes"][0]["html"][:120]) for v in found["violations"]] == [], path
        assert "NaN" not in page.inner_text("article"), path
        assert page.locator("article img[src='x'], article b, article script").count() == 0
        assert visit.errors == [] and visit.violations() == [] and visit.strays == []


def test_the_navigation_has_an_entry(visit: Visit) -> None:
    page = visit.open("atlas/explorer/")
    page.get_by_role("navigation", name="Header").get_by_role("link", name="Analysis").click()
    page.get_by_role("link", name="base", exact=True).click()
    expect(page.get_by_role("heading", name="Analysis of base")).to_be_visible()


def test_a_metric_is_chosen_told_and_kept_in_the_address(visit: Visit) -> None:
    page = visit.open(MODEL)
    section = page.locator("#geometry")
    section.get_by_label("Metric").select_option("norm_growth")
    expect(section.get_by_role("link", name="Norm growth")).to_have_attribute(
        "href", f"{visit.site.url}metrics/norm-growth/"
    )
    assert "metric=norm_growth" in page.url
    section.get_by_text("Numbers").click()
    expect(section.get_by_role("cell", name=UNDEFINED).first).to_be_visible()
    page.reload()
    expect(page.locator("#geometry").get_by_label("Metric")).to_have_value("norm_growth")  # fmt: skip


def test_heads_open_their_view_and_parts_their_pages(visit: Visit) -> None:
    page = visit.open(MODEL)
    page.locator("#heads").get_by_label("Position 0").select_option("without")
    expect(page.locator("#heads [data-cell='1 1']").first).to_have_text("1.75")
    link = page.locator("#ablation [data-cell='0 0']").first
    assert (link.get_attribute("href") or "").endswith("/atlas/lora/L0/gate_proj/")
    expect(page.locator("#ablation [data-cell='0 1']").first).to_have_attribute(
        "aria-label", f"layer 0, q_proj, {UNDEFINED}"
    )
    page.locator("#heads [data-cell='1 0']").first.click()
    page.locator(".fb-attention__canvas").wait_for()
    expect(page.locator(".fb-player output")).to_have_text("layer 1 of 1")  # fmt: skip


def test_attention_is_read_by_keys_and_fetched_by_layer(visit: Visit) -> None:
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(request.url.rsplit("/", 1)[-1]))
    page = visit.open(TEXT)
    canvas = page.locator(".fb-attention__canvas")
    expect(canvas).to_have_attribute(
        "aria-label", "Attention, 5 × 5 tokens. Token 4 ‘…’ to token 0 ‘<s>’: 20.0 %"
    )
    assert "heads-0.json" in asked and "heads-1.json" not in asked
    canvas.focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    expect(canvas).to_have_attribute(
        "aria-label", "Attention, 5 × 5 tokens. Token 3 ‘[RLO]’ to token 1 ‘␣two’: 25.2 %"
    )
    page.get_by_role("slider", name="Layer").fill("1")
    page.wait_for_timeout(300)
    assert "heads-1.json" in asked
    page.locator("#attention").get_by_label("Show").select_option("entropy")
    expect(page.locator("#attention [data-cell='0 4']")).to_have_attribute("aria-label", "head 0, token 4 ‘…’, 1.61 nats")  # fmt: skip


def test_play_moves_one_layer_at_a_press_where_less_motion_is_preferred(visit: Visit) -> None:
    visit.page.emulate_media(reduced_motion="reduce")
    page = visit.open(TEXT)
    page.get_by_role("button", name="Next layer").click()
    expect(page.locator(".fb-player output")).to_have_text("layer 1 of 1")


def test_predictions_follow_the_token_and_the_colour(visit: Visit) -> None:
    page = visit.open(TEXT)
    reader = page.locator("#predictions")
    reader.locator(".fb-token").nth(1).click()
    expect(reader.get_by_role("heading", name="At ␣two token 1")).to_be_visible()
    expect(reader.get_by_role("cell", name="75.0 %").first).to_be_visible()
    reader.get_by_label("Colour by").select_option("kl")
    assert "colour=kl" in page.url and "t=1" in page.url
    page.keyboard.press("Escape")
    expect(page.locator("#attribution")).to_contain_text("The attributions miss 0.5, 50% of the range.")
    expect(page.locator("#logit-parts")).to_contain_text("together 1.50")


def test_the_document_has_the_kl_among_its_channels_and_links_to_its_analysis(visit: Visit) -> None:
    page = visit.open("atlas/doc/1/#t=2")
    expect(page.get_by_role("link", name="Analysis of this text")).to_be_visible()
    expect(page.get_by_role("button", name="Draw KL(base ‖ adapted) in the text").first).to_be_attached()
    expect(page.get_by_role("heading", name="What comes next")).to_be_visible()


def test_a_channel_tells_what_zeroing_it_does(visit: Visit) -> None:
    page = visit.open("atlas/lora/L0/gate_proj/")
    expect(page.locator("#ablation")).to_contain_text("Rank 1 of 2 directions by KL")
    expect(page.locator("#ablation")).to_contain_text(UNDEFINED)
