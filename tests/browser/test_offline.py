"""Archives: a single file from file://, and the zipped site below another path of another server. Nothing is fetched elsewhere."""

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from generator.errors import FeaturebookError
from generator.publish.exchange import export_archive
from generator.publish.reading import opened
from tests.browser.conftest import WATCH_CSP
from tests.browser.visiting import Site, Visit, served


@pytest.fixture(scope="module")
def single_file(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("archive") / "chosen.html"
    chosen = ["lora/L0/*", "sae/1", "sae/5"]
    export_archive("single-file", site.folder / "shards", site.folder, out, chosen)
    return out


@pytest.fixture
def offline(chromium: Browser, single_file: Path) -> Iterator[tuple[Page, list[str]]]:
    """A page of the single file, and what went wrong on it, every request included."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, offline=True)
    context.add_init_script(WATCH_CSP)
    page, faults = context.new_page(), list[str]()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("dialog", lambda dialog: faults.append(dialog.message))
    address = single_file.as_uri()
    page.on(
        "request",
        lambda sent: None if sent.url.startswith((address, "data:")) else faults.append(sent.url),
    )
    yield page, faults
    context.close()


def test_a_single_file_shows_its_channels_without_any_request(
    offline: tuple[Page, list[str]], single_file: Path, site: Site
) -> None:
    page, faults = offline
    page.goto(single_file.as_uri())
    rows = page.locator(".fb-single tbody tr")
    expect(rows).to_have_count(9)  # seven directions of layer 0, two latents
    page.get_by_label("Filter by id, label or token").fill("gate_proj")
    page.get_by_role("link", name="L0 gate_proj").click()
    expect(page.locator("h1")).to_have_text("L0 gate_proj")
    shard = site.shard("lora/L0/gate_proj")
    strongest = max(example["value"] for example in shard["examples"])
    expect(page.locator(".fb-example__value").first).to_contain_text(f"{strongest:.2f}")
    page.get_by_role("button", name="Negative").click()
    assert "id=lora/L0/gate_proj" in page.url and "show=bottom" in page.url
    page.reload()
    expect(page.get_by_role("button", name="Negative")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("n")
    expect(page.locator("h1")).to_have_text("L0 up_proj")
    page.goto(f"{single_file.as_uri()}#id=sae/5")
    expect(page.locator(".fb-lead")).to_contain_text("dead latent")
    assert faults == [] and page.evaluate("window.cspViolations") == []


def test_a_single_file_says_what_channels_are_called(
    offline: tuple[Page, list[str]], single_file: Path, site: Site
) -> None:
    page, faults = offline
    label = site.shard("lora/L0/gate_proj")["labels"][0]["text"]
    page.goto(single_file.as_uri())
    page.get_by_label("Filter by id, label or token").fill(label)
    page.locator(".fb-single tbody tr:visible a").click()
    expect(page.locator(".fb-label__text").first).to_have_text(label)
    assert faults == []


def test_going_on_before_a_channel_is_drawn_is_no_fault(
    offline: tuple[Page, list[str]], single_file: Path
) -> None:
    page, faults = offline
    page.goto(single_file.as_uri())
    page.locator(".fb-single").wait_for()
    page.evaluate(
        "() => { for (const id of ['lora/L0/gate_proj', 'sae/5', 'lora/L0/up_proj', 'sae/5']) { location.hash = `id=${id}`; dispatchEvent(new HashChangeEvent('hashchange')) } }"
    )
    expect(page.locator(".fb-lead")).to_contain_text("dead latent")
    expect(page.locator(".fb-panels .fb-panel").first).to_be_visible()
    assert faults == []


def test_a_single_file_fits_a_phone(offline: tuple[Page, list[str]], single_file: Path) -> None:
    page, _ = offline
    page.set_viewport_size({"width": 390, "height": 844})
    for address in ("", "#id=lora/L0/gate_proj", "#id=sae/1", "#id=sae/5"):
        page.goto(single_file.as_uri() + address)
        page.locator(".fb-single, .fb-mounted .fb-panel").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_an_example_opens_in_its_document_in_a_single_file(
    offline: tuple[Page, list[str]], single_file: Path, site: Site
) -> None:
    page, faults = offline
    page.goto(f"{single_file.as_uri()}#id=lora/L0/gate_proj")
    docs = {e["doc"] for e in site.shard("lora/L0/gate_proj")["examples"] if e["has_page"]}
    figure = page.locator(",".join(f".fb-example[data-doc='{doc}']" for doc in sorted(docs))).first
    figure.locator(".fb-run [tabindex='0']").focus()
    page.keyboard.press("d")
    document = site.shard(f"doc/{figure.get_attribute('data-doc')}")
    expect(figure.locator(".fb-prose")).to_be_visible()
    shown = figure.locator(".fb-prose").inner_text()
    words = [w for i in document["text"] if (w := document["tokens"][i].strip()).isalpha() and w.isascii()]
    assert len(words) > 20 and all(word in shown for word in words)
    coloured = figure.locator(".fb-prose [class*=' p'], .fb-prose [class*=' n']")
    before = coloured.count()
    figure.get_by_label("Colour only from this size of activation").fill("60")
    assert before > 0 and coloured.count() < before
    assert faults == [] and page.evaluate("window.cspViolations") == []


def test_a_single_file_knows_only_its_channels_of_a_document(single_file: Path, site: Site) -> None:
    held = re.findall(
        r'<script type="application/json" data-shard="doc/(\d+)">(.*?)</script>',
        single_file.read_text("utf-8"),
    )
    assert held
    for doc, text in held:
        small, whole = opened(json.loads(text)), site.shard(f"doc/{doc}")
        ids = [channel["id"] for channel in small["channels"]]
        assert all(i.startswith("lora/L0/") or i in ("sae/1", "sae/5") for i in ids)
        for token in range(whole["n_tokens"]):
            want = {
                (whole["channels"][channel]["id"], value)
                for channel, value in zip(
                    whole["strongest"]["channel"][token], whole["strongest"]["value"][token]
                )
                if whole["channels"][channel]["id"] in ids
            }
            got = zip(small["strongest"]["channel"][token], small["strongest"]["value"][token])
            assert {(ids[channel], value) for channel, value in got} == want


def test_hostile_text_stays_text_in_a_single_file(offline: tuple[Page, list[str]], single_file: Path) -> None:
    page, faults = offline
    page.goto(f"{single_file.as_uri()}#id=lora/L0/gate_proj&text=whole")
    expect(page.locator("article")).to_contain_text("</script>")
    assert page.locator("article img, article b, article script").count() == 0
    source = single_file.read_text("utf-8")
    assert source.count("</script>") == source.count("<script ")
    assert faults == []


def test_the_same_shards_give_the_same_file(site: Site, single_file: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.html"
    chosen = ["lora/L0/*", "sae/1", "sae/5"]
    export_archive("single-file", site.folder / "shards", site.folder, again, chosen)
    assert again.read_bytes() == single_file.read_bytes()
    with pytest.raises(FeaturebookError, match="lora/L0/gate_proj"):
        export_archive("single-file", site.folder / "shards", site.folder, again, ["lora/L0/gate_prj"])


@pytest.fixture(scope="module")
def unzipped(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The zipped site, unpacked below a path of its own and served by another server."""
    root = tmp_path_factory.mktemp("elsewhere")
    facts = export_archive("zip", site.folder / "shards", site.folder, root / "site.zip", [])
    assert facts["n_bytes"] == (root / "site.zip").stat().st_size
    folder = root / "www" / "a b" / "deep"
    with zipfile.ZipFile(root / "site.zip") as archive:
        archive.extractall(folder)
    with served(folder, root / "www") as site:
        yield site


@pytest.mark.parametrize(
    "path", ["", "atlas/explorer/", "atlas/lora/L0/gate_proj/", "atlas/doc/1/", "atlas/layer/0/"]
)
def test_the_zipped_site_works_below_any_path(chromium: Browser, unzipped: Site, path: str) -> None:
    page = chromium.new_page()
    page.add_init_script(WATCH_CSP)
    visit = Visit(page, unzipped)
    page.on("pageerror", lambda error: visit.errors.append(str(error)))
    page.on("requestfailed", lambda failed: visit.errors.append(failed.url))
    page.on("response", lambda got: visit.errors.append(got.url) if got.status >= 400 else None)
    page.on(
        "request", lambda sent: None if sent.url.startswith(unzipped.url) else visit.strays.append(sent.url)
    )
    visit.open(path)
    page.wait_for_load_state("networkidle")
    assert visit.errors == [] and visit.strays == [] and visit.violations() == []
    page.close()


def test_the_same_site_gives_the_same_zip(site: Site, tmp_path: Path) -> None:
    for name in ("one.zip", "two.zip"):
        export_archive("zip", site.folder / "shards", site.folder, tmp_path / name, [])
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with pytest.raises(FeaturebookError, match="holds no built site"):
        export_archive("zip", tmp_path, tmp_path, tmp_path / "three.zip", [])
