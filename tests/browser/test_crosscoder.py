"""Both demo crosscoders in the browser: a latent's pages, what ablating it does, ranking at a token, the collections' pages."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator, expect
from safetensors.torch import load_file

import generator
from tests.browser.visiting import Site, Visit, build_demo, served

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
DARK = {"color_scheme": "dark"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """In place of the toy's: a part of the demo."""
    with served(build_demo(tmp_path_factory.mktemp("demo"))) as site:
        yield site


def ablated(site: Site, collection: str) -> list[dict[str, Any]]:
    """The shards of the latents that were ablated, those that move most tokens first."""
    folder = site.folder / "shards" / collection
    shards = [site.shard(f"{collection}/{path.stem}") for path in folder.glob("*.json")]
    shards = [shard for shard in shards if "latent_effects" in shard["panels"]]
    return sorted(shards, key=lambda s: (-len(s["latent_effects"]["examples"][0]["moved"]), s["id"]))


def norms_of(collection: str, latent: int) -> np.ndarray:
    """Of a latent's decoder at each place, in the model's units, from the shipped file."""
    a = load_file(Path(generator.__file__).parent / "demo" / collection / "model.safetensors")
    raw = a["decoder.weight"][:, latent].double().norm(dim=1)
    found: np.ndarray = (raw / a["activation_global_scale"] / raw.sum()).numpy()
    return found


def shown(cell: Locator) -> float:
    """A number as the page writes it."""
    return float(cell.inner_text().replace("−", "-").replace(",", "").rstrip(" %"))


def column(table: Locator, index: int) -> list[float]:
    """One column of numbers."""
    return [shown(row.locator("th, td").nth(index)) for row in table.locator("tbody tr").all()]


def captioned(page: Any, name: str) -> Locator:
    """A table by its caption."""
    return page.locator("table", has=page.locator("caption", has_text=re.compile(f"^{name}$")))


def test_a_latent_over_layers_shows_where_it_lives(visit: Visit) -> None:
    shard = ablated(visit.site, "crosslayer")[0]
    found, page = shard["crosscoder"], visit.open(f"atlas/{shard['id']}/")
    table = captioned(page, "Decoder norm by place")
    expect(table.locator("tbody tr")).to_have_count(6)
    wanted = norms_of("crosslayer", int(shard["id"].split("/")[1]))
    np.testing.assert_allclose(column(table, 3), wanted, rtol=1e-2)
    relative = wanted / [place["size"] for place in found["places"]]
    np.testing.assert_allclose(column(table, 2), relative, rtol=1e-2)
    expect(table.locator("tr.is-marked th")).to_have_text(f"L{relative.argmax()}")
    p = relative / relative.sum()
    entropy = -(p * np.log(p)).sum() / math.log(6)
    n_active = (relative > 0.05 * relative.max()).sum()
    section = page.locator("#crosscoder")
    expect(section).to_contain_text(f"Longest at L{relative.argmax()}; active at {n_active} of 6 places")
    words = re.search(r"Entropy of the profile ([\d.]+)", section.inner_text())
    assert words and float(words[1]) == pytest.approx(entropy, abs=2e-3)
    expect(section.get_by_role("region", name="Decoder cosines").locator("svg, table").first).to_be_visible()
    logits = captioned(page, "Logit effects by place")
    expect(logits.locator("tbody tr")).to_have_count(6)
    top = found["logits"][2]["top"]
    assert column(logits, 2)[2] == pytest.approx(top["value"][0], rel=1e-2)
    expect(logits.locator("tbody tr").nth(2).locator("li")).to_have_count(10)
    near = captioned(page, "Most aligned with the decoder")
    layer, neuron, _ = found["neurons"][5][0]
    expect(near.locator("tbody tr").nth(5)).to_contain_text(f"L{layer} neuron {neuron}")
    expect(near.locator("a[href*='/atlas/modeldiff/']").first).to_be_visible()
    layer, neuron, _ = found["correlated"][0]
    expect(section).to_contain_text(f"L{layer} neuron {neuron}")
    headings = page.locator(".fb-panel h2").all_inner_texts()
    assert len(headings) == len(set(headings)), headings
    assert not visit.errors and not visit.strays and not visit.violations()


def test_a_latent_of_two_models_is_compared_between_them(visit: Visit) -> None:
    shard = ablated(visit.site, "modeldiff")[0]
    found, page = shard["crosscoder"], visit.open(f"atlas/{shard['id']}/")
    section = page.locator("#crosscoder")
    norms = norms_of("modeldiff", int(shard["id"].split("/")[1]))
    np.testing.assert_allclose(column(captioned(page, "Decoder norm by model"), 1), norms, rtol=1e-2)
    relative = 0.5 + 0.5 * (norms[1] - norms[0]) / norms.max()
    assert found["relative_norm"] == pytest.approx(relative, abs=1e-3)
    expect(section).to_contain_text(
        re.compile(r"Relative norm [\d.]+ \((base only|adapted only|shared|between)")
    )
    for words in ("cosine between its decoders", "complete shrinkage", "latent decoupling"):
        expect(section).to_contain_text(words)
    scaling = captioned(page, "Latent scaling")
    assert column(scaling, 3) == pytest.approx(
        [found["scaling"][name]["nu"] for name in ("error", "reconstruction")], rel=1e-2
    )
    section.scroll_into_view_if_needed()  # the other latents are fetched when the panel comes into view
    chart = section.locator("figure", has_text="Relative norm of all latents")
    marked = chart.locator(".fb-bar--marked")
    expect(marked).to_have_count(1)
    bar, box = marked.bounding_box(), chart.locator("svg").first.bounding_box()
    assert bar and box
    norms_of_all = visit.site.shard("collection/modeldiff")["crosscoder"]["relative_norms"]
    place = min(len(norms_of_all["counts"]) - 1, int(relative * len(norms_of_all["counts"])))
    below = sum(norms_of_all["counts"][:place])
    expect(section).to_contain_text(f"{below} of 512 latents stand in lower bins" if below else "0 of 512")
    assert abs((bar["x"] + bar["width"] / 2 - box["x"]) / box["width"] - relative) < 0.12
    rows = captioned(page, "Logit effects by place").locator("tbody tr")
    expect(rows.locator("th")).to_have_text(["base", "adapted"])
    assert not visit.errors and not visit.strays and not visit.violations()


@pytest.mark.parametrize("collection", ["crosslayer", "modeldiff"])
def test_ablating_colours_the_text_by_effect_or_by_activation(visit: Visit, collection: str) -> None:
    shard = ablated(visit.site, collection)[0]
    effects = shard["latent_effects"]
    example = effects["examples"][0]
    page = visit.open(f"atlas/{shard['id']}/")
    panel = page.locator("#latent-effects")
    expect(panel).to_contain_text(f"Taken away at {effects['place']}")
    run = panel.locator(".fb-run").first
    strongest = max(example["moved"], key=lambda one: abs(example["changes"][one["at"]] or 0))
    tone = "[class*=' n'], [class*=' p']"
    by_effect = [span.get_attribute("class") for span in run.locator(tone).all()]
    assert by_effect
    group = token_at(run, example, strongest["at"], shard)
    group.scroll_into_view_if_needed()
    group.hover()
    tooltip = page.get_by_role("tooltip")
    expect(tooltip).to_contain_text(f"{example['changes'][strongest['at']]:+.2f}"[:4].replace("-", "−"))
    expect(tooltip).to_contain_text("activation")
    if strongest["up"]["text"]:
        expect(tooltip).to_contain_text("without it more likely")
        expect(tooltip.locator("li").first).to_contain_text("→")
    page.keyboard.press("Escape")
    panel.get_by_role("button", name="Activation").click()
    by_activation = [
        span.get_attribute("class") for span in panel.locator(".fb-run").first.locator(tone).all()
    ]
    assert by_activation and by_activation != by_effect
    panel.locator("summary").first.click()
    rows = captioned(page, "Next tokens that move most").first.locator("tbody tr")
    expect(rows).to_have_count(len(example["moved"]))
    assert not visit.errors and not visit.violations()


def token_at(run: Locator, example: dict[str, Any], index: int, shard: dict[str, Any]) -> Locator:
    """The drawn group of a token: one for each token that does not only continue a character."""
    begun = [i for i, text in enumerate(example["text"]) if i == 0 or shard["tokens"][text] != ""]
    place = max(place for place, first in enumerate(begun) if first <= index)
    return run.locator(".fb-token").nth(place)


def test_latents_at_a_token_of_a_document_have_three_rankings(visit: Visit) -> None:
    docs = [
        visit.site.shard(f"doc/{path.stem}") for path in (visit.site.folder / "shards/doc").glob("*.json")
    ]
    doc = next(shard for shard in docs if shard.get("effects"))
    changed = [at for one in doc["effects"].values() for at, c in zip(one["at"], one["change"]) if c]
    token = max(set(changed), key=changed.count)
    page = visit.open(f"atlas/{doc['id']}/#t={token}")
    table = page.locator(".fb-firing__table")
    names = table.locator("tbody th")
    orders = {}
    for name in ("Value", "Quantile", "Effect"):
        page.get_by_role("group", name="Ranked by").get_by_role("button", name=name).click()
        orders[name] = names.all_inner_texts()
        if name == "Quantile":
            shares = [
                float(t.split()[0]) for t in table.locator("tbody tr td:nth-child(5)").all_inner_texts()
            ]
            assert shares == sorted(shares)
        if name == "Effect":
            cells = table.locator("tbody tr td:last-child").all_inner_texts()
            sizes = [abs(float(t.replace("−", "-"))) for t in cells if t != "–"]
            assert len(sizes) > 1 and sizes == sorted(sizes, reverse=True)
    assert len({tuple(sorted(order)) for order in orders.values()}) == 1
    assert orders["Effect"] != orders["Value"]
    assert any(name.startswith(("crosslayer", "modeldiff")) for name in orders["Value"])
    assert not visit.errors


@pytest.mark.parametrize(("collection", "n_places", "n"), [("crosslayer", 6, 256), ("modeldiff", 2, 512)])
def test_the_collection_shows_places_norms_and_profiles(
    visit: Visit, collection: str, n_places: int, n: int
) -> None:
    page = visit.open(f"atlas/{collection}/")
    places = captioned(page, "Places")
    expect(places.locator("tbody tr")).to_have_count(n_places)
    found = visit.site.shard(f"collection/{collection}")["crosscoder"]
    assert column(places, 3) == found["peaks"] and sum(found["peaks"]) == found["n_latents"] <= n
    panel = page.locator("section[aria-labelledby=places]")
    if collection == "modeldiff":
        expect(panel).to_contain_text("complete shrinkage")
        expect(panel).to_contain_text(f"{found['relative_norms']['classes']['shared']} shared")
    else:
        expect(panel).not_to_contain_text("shrinkage")
    expect(page.locator("main")).to_contain_text("Inputs are centred and scaled, place by place")
    canvas = panel.locator("canvas")
    canvas.scroll_into_view_if_needed()
    canvas.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    wanted = found["profiles"]["ids"][1]
    expect(page.get_by_role("tooltip")).to_contain_text(wanted.split("/")[1])
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/atlas/{wanted}/")
    assert not visit.errors and not visit.strays and not visit.violations()


@pytest.mark.parametrize("visit", [PHONE, PHONE | DARK], indirect=True, ids=["phone", "dark phone"])
@pytest.mark.parametrize("collection", ["crosslayer", "modeldiff"])
def test_nothing_is_wider_than_a_phone(visit: Visit, collection: str) -> None:
    shard = ablated(visit.site, collection)[0]
    for path in (f"atlas/{shard['id']}/", f"atlas/{collection}/"):
        page = visit.open(path)
        for fold in page.locator("details.fb-fold > summary").all():
            fold.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert not visit.errors
