"""A site built from text that tries to be something else: no script runs, no policy is violated, the text is shown as it is.

Tokens, ids, titles, document names, metadata and labels are hostile; the site is made by the real publish and MkDocs.
"""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from generator.artifacts import Writer, to_json
from generator.blocks import Corpus
from generator.config import CorpusTable, ModelTable, PublishTable, RunConfig
from generator.progress import Silent
from generator.publish import publish
from generator.publish.addresses import page_url, shard_path
from tests.browser.conftest import WATCH_CSP
from tests.browser.test_every_page import mounted
from tests.browser.visiting import REPOSITORY, Site, Visit, run, served
from tests.toy import save_other_run, toy_channels, toy_corpus, toy_summary, toy_values
from tests.toy_analysis import write_analysis

ATTACKS = [
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "{{ config.site_name }}",
    "{% raw %}",
    "${alert(3)}",
    "[x](javascript:alert(4))",
    "<!--<script>",
    "]]>",
    "\u202egnp.exe\u202c",
    "\u2066isolated\u2069",
    "--- \n: !!python/object {}",
    "' onmouseover='alert(5)",
    "&lt;b&gt;",
    "\x00\x1b[31m",
    "javascript:alert(6)//",
    "../../../etc/passwd",
]
LONG = "A" * 1_000_000
OTHER_RUN = ATTACKS[0] + ATTACKS[2]
IDS = [
    "lora/<img src=x>/{{ x }}",
    "lora/..",
    "lora/a b&c='d'",
    "lora/%2e%2e",
    "lora/index",
    'lora/"q"',
    "lora/../../../etc/passwd",
    "lora/</script><script>alert(7)</script>",
    "lora/nul\x00'\"%41&amp;",
]
SHOWN = """() => {
    const text = (node) => node.dataset?.source ?? Array.from(node.childNodes, (child) => child.nodeType === 3 ? child.data : text(child)).join("")
    return Array.from(document.querySelectorAll(".fb-run"), text)
}"""
"""The exact source of every run, as copying gives it."""


def hostile_run() -> tuple[Corpus, list[str]]:
    """The toy's corpus with the attacks, and one token of a million characters, in place of words."""
    corpus = toy_corpus()
    token_bytes = list(corpus.token_bytes)
    words = np.unique(corpus.token_ids[~corpus.is_special[corpus.token_ids]])
    texts = [*ATTACKS, LONG]
    for token, text in zip(words[-len(texts) :].tolist(), texts):
        token_bytes[token] = text.encode()
    names = [ATTACKS[doc % len(ATTACKS)] for doc in range(corpus.n_docs)]
    metadata = [{"kind": ATTACKS[doc % len(ATTACKS)], ATTACKS[1]: ATTACKS[0]} for doc in range(corpus.n_docs)]
    changed = replace(corpus, token_bytes=token_bytes, doc_names=names, doc_metadata=metadata)
    return changed, texts


def hostile_analysis(folder: Path) -> Path:
    """The toy's analysis with attacks for every name of a model, a text or a base."""
    write_analysis(folder)
    listing = json.loads((folder / "analysis.json").read_text("utf-8"))
    for number, entry in enumerate([*listing["models"], *listing["texts"]]):
        for name in {"architecture", "base", "adapter", "text"} & set(entry):
            entry[name] = ATTACKS[number % 3]
    for number, text in enumerate(listing["texts"]):
        text["name"] = ATTACKS[number]
    (folder / "analysis.json").write_bytes(to_json(listing))
    return folder


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("hostile")
    shutil.copytree(
        REPOSITORY / "docs", root / "docs", ignore=shutil.ignore_patterns("atlas", "shards", "notes")
    )
    (root / "site_assets").symlink_to(REPOSITORY / "site_assets")
    shutil.copy(REPOSITORY / "mkdocs.yml", root)
    corpus, _ = hostile_run()
    channels = toy_channels()
    channels = [replace(c, id=IDS[i]) if i < len(IDS) else c for i, c in enumerate(channels)]
    channels = [replace(c, module=ATTACKS[i % 4]) if i < len(IDS) else c for i, c in enumerate(channels)]
    labels = [
        {
            "id": c.id,
            "text": ATTACKS[i % len(ATTACKS)].replace("\n", " ").replace("\x00\x1b", ""),
            "author": "<b>x</b>",
        }
        for i, c in enumerate(channels)
    ]
    (root / "labels").mkdir()
    lines = [
        json.dumps({**label, "polarity": "positive", "source": "human", "date": "2025-01-01"})
        for label in labels
    ]
    (root / "labels" / "hostile.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    summary = toy_summary(corpus, channels, toy_values(corpus, channels))
    config = RunConfig(
        name="hostile",
        model=ModelTable(base="models/</script>", adapter="{{ x }}"),
        corpus=CorpusTable(source="<img src=x onerror=alert(7)>.jsonl"),
        publish=PublishTable.model_validate(
            {
                "title": ATTACKS[1] + ATTACKS[8],
                "description": ATTACKS[0] + ATTACKS[8],
                "site_url": "https://example.org/h/",
                "authors": [ATTACKS[1] + ATTACKS[8]],
                "discussions": "https://example.org/d",
                "giscus": dict.fromkeys(("repo", "repo_id", "category", "category_id"), ATTACKS[1]),
                "compare_with": [
                    {"name": OTHER_RUN, "build": str(root / "other"), "site": "javascript:alert(9)//"}
                ],
            }
        ),
    )
    save_other_run(root / "other")
    analysis = hostile_analysis(root / "analysis")
    shards, docs = Writer(root / "build" / "shards"), Writer(root / "docs")
    publish(
        config, corpus, summary, shards, docs, root / "none", Silent(), root / "labels", analysis=analysis
    )
    run([sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", "served"], root)
    with served(root / "served") as site:
        yield site


def watched(chromium: Browser, site: Site) -> Visit:
    """A page that keeps every fault: dialogs, errors, violations, requests to elsewhere."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.add_init_script(WATCH_CSP)
    page = context.new_page()
    page.set_default_timeout(120_000)  # laying out a token of a million characters takes its time
    visit = Visit(page, site)
    page.on("dialog", lambda dialog: visit.errors.append(f"dialog {dialog.message}"))
    page.on("pageerror", lambda error: visit.errors.append(str(error)))
    page.on("console", lambda message: visit.errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda sent: None if sent.url.startswith(site.url) else visit.strays.append(sent.url))
    return visit


PAGES = {
    "home": "",
    "direction": page_url(IDS[0]),
    "direction of dots": page_url(IDS[1]),
    "direction with quotes": page_url(IDS[5]),
    "plain direction": "atlas/lora/L1/gate_proj/",
    "collection": "atlas/lora/",
    "layer": "atlas/layer/0/",
    "document": "atlas/doc/1/#t=20",
    "document of the long token": "atlas/doc/0/",
    "documents": "atlas/documents/",
    "layers": "atlas/layers/",
    "explorer": "atlas/explorer/",
    "compare": "atlas/compare/?ids=lora/L1/gate_proj,lora/L1/up_proj",
    "two runs": page_url(f"runs/{OTHER_RUN}"),
    "search": f"atlas/search/?q={quote(ATTACKS[1])}",
    "token": f"atlas/token/?t={quote(ATTACKS[0])}",
    "annotate": "atlas/annotate/",
    "annotate, blind": "atlas/annotate/?blind=1",
    "discuss": f"atlas/discuss/?id={quote(IDS[0])}",
    "analysis": "atlas/analysis/",
    "analysed model": "atlas/analysis/main/",
    "analysed text": "atlas/analysis/main/prompt-0badcafe/",
    "compare of nothing": "atlas/compare/?ids=<img src=x onerror=alert(8)>,{{ x }}",
}


def test_every_page_type_of_the_site_is_among_them(hostile: Site) -> None:
    """By the module that draws a page; dead latents need a dictionary, which this run has not."""
    types = {page: mounted(page) for page in hostile.folder.rglob("*.html")}
    tried = {types[hostile.folder / re.split(r"[?#]", path)[0] / "index.html"] for path in PAGES.values()}
    assert set(types.values()) <= tried


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())
def test_nothing_runs_and_nothing_leaves(chromium: Browser, hostile: Site, path: str) -> None:
    visit = watched(chromium, hostile)
    page = visit.page
    page.goto(hostile.url + path)
    if path == PAGES["compare of nothing"]:
        page.get_by_role("alert").wait_for()
        page.wait_for_load_state(
            "networkidle"
        )  # one missing channel is enough for the alert; the others come later
        visit.errors = [error for error in visit.errors if "404" not in error and "no channel" not in error]
    else:
        page.locator(".fb-mount:not(.fb-mounted), .fb-mount [aria-busy]").first.wait_for(state="detached")
    page.mouse.wheel(0, 20_000)
    page.wait_for_timeout(150)
    assert visit.errors == [] and visit.strays == [] and visit.violations() == []
    planted = (
        "article img[src='x'], article b, article script, [onerror], [onmouseover], a[href^='javascript']"
    )
    assert page.locator(planted).count() == 0
    visible = page.evaluate("document.body.innerText")
    assert not set(visible) & set("\u202e\u202c\u2066\u2069"), "nothing reorders the page"
    page.context.close()


def test_examples_show_the_exact_text(chromium: Browser, hostile: Site) -> None:
    visit = watched(chromium, hostile)
    seen = ""
    for identifier in ("lora/L1/gate_proj", IDS[0], "lora/L1/k_proj"):
        shard = hostile.shard(shard_path(identifier).removesuffix(".json"))
        page = visit.open(page_url(identifier) + "#text=whole")
        wanted = {
            "".join(shard["tokens"][index] for index in example["text"])
            for example in shard["examples"]
            if example["group"] == "top"
        }
        assert set(page.evaluate(SHOWN)) == wanted
        seen += "".join(wanted)
    assert sum(attack in seen for attack in ATTACKS) >= 6, "the examples hold attacks at all"
    assert visit.errors == [] and visit.violations() == []
    visit.page.context.close()


def test_any_id_can_be_starred(chromium: Browser, hostile: Site) -> None:
    """An attribute of a page cannot hold every character of an id."""
    visit = watched(chromium, hostile)
    for identifier in IDS:
        star = visit.open(page_url(identifier)).get_by_role("button", name="Star")
        star.click()
        expect(star).to_have_attribute("aria-pressed", "true")
    kept = visit.page.evaluate(
        "JSON.parse(Object.values(localStorage).find((text) => text.includes('records')))"
    )
    assert {record["id"] for record in kept["records"]} == set(IDS)
    visit.page.context.close()


def test_no_id_becomes_a_path_unescaped(hostile: Site) -> None:
    for identifier in IDS:
        page = hostile.folder / page_url(identifier) / "index.html"
        assert page.is_file() and page.resolve().is_relative_to(hostile.folder / "atlas" / "lora")
        name = page.parent.relative_to(hostile.folder).as_posix()
        assert not set(name) & set("<>\"'{} &%?#")
    feed = ElementTree.parse(hostile.folder / "atlas" / "feed.xml").getroot()
    addresses = [link.get("href") or "" for link in feed.iter("{http://www.w3.org/2005/Atom}link")]
    assert all(f"https://example.org/h/{page_url(identifier)}" in addresses for identifier in IDS)
    written = {path.name for path in hostile.folder.parent.iterdir()}
    assert written == {"docs", "site_assets", "mkdocs.yml", "labels", "build", "served", "other", "analysis"}


def test_pages_hold_the_text_escaped_even_before_a_script_runs(hostile: Site) -> None:
    for page in hostile.folder.rglob("*.html"):
        text = page.read_text("utf-8")
        assert "<img src=x" not in text and "<script>alert" not in text, page
        assert not set(text) & set("\u202e\u2066\x00"), page


@pytest.mark.parametrize("token", [LONG])
def test_a_token_of_a_million_characters_does_not_break_a_page(
    chromium: Browser, hostile: Site, token: str
) -> None:
    holders = [
        path
        for path in sorted((hostile.folder / "shards" / "doc").glob("*.json"))
        if token in json.loads(path.read_text("utf-8"))["tokens"]
    ]
    assert holders, "the corpus holds it"
    visit = watched(chromium, hostile)
    page = visit.open(f"atlas/doc/{holders[0].stem}/")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert visit.errors == [] and visit.violations() == []
    page.context.close()
