"""The built site, page by page: what the templates and the hooks promise. The toy run is full of hostile text."""

import gzip
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

from benchmarks.synthetic import synthetic_channels, synthetic_config, synthetic_corpus, synthetic_summary
from generator.artifacts import Writer
from generator.progress import Silent
from generator.publish import publish
from tests.toy import write_toy

ROOT = Path(__file__).parents[1]
CHANNEL = "atlas/lora/L0/gate_proj/index.html"
SLIM = 13_000
"""Bytes of a channel page: the toy's hostile description included."""


class Tags(HTMLParser):
    """All start tags of a page with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def build_site(folder: Path, **options: Any) -> Path:
    """Builds the toy's site with the repository's own mkdocs.yml."""
    docs = folder / "docs"
    if not (docs / "index.md").exists():
        (docs / "index.md").write_text(
            "---\ntemplate: home.html\nshard: shards/home.json\n---\n# Toy\n", "utf-8"
        )
        (docs / "guide.md").write_text("# Guide\n\n| a | b |\n|--:|---|\n| 1 | 2 |\n", "utf-8")
    settings = {"extra": {"shards": str(folder / "shards")}, **options}
    config = load_config(
        str(ROOT / "mkdocs.yml"),
        docs_dir=str(docs),
        site_dir=str(folder / "site"),
        nav=[{"Home": "index.md"}, {"Explorer": "atlas/explorer.md"}, {"Guide": [{"Guide": "guide.md"}]}],
        **settings,
    )
    config.plugins.on_startup(command="build", dirty=False)
    build(config)
    return folder / "site"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    write_toy(folder)
    return build_site(folder)


def pages_of(site: Path) -> dict[str, Tags]:
    return {path.relative_to(site).as_posix(): Tags(path.read_text("utf-8")) for path in site.rglob("*.html")}


def test_the_security_policy_holds_on_every_page(site: Path) -> None:
    for name, tags in pages_of(site).items():
        policies = [
            meta["content"] or ""
            for meta in tags.of("meta")
            if meta.get("http-equiv") == "Content-Security-Policy"
        ]
        assert len(policies) == 1, name
        assert "unsafe" not in policies[0] and "default-src 'none'" in policies[0]
        inline = [
            script
            for script in tags.of("script")
            if "src" not in script and script.get("type") != "application/json"
        ]
        assert not inline and not tags.of("style"), name
        for tag, attributes in tags.found:
            assert not [key for key in attributes if key == "style" or key.startswith("on")], (
                name,
                tag,
                attributes,
            )


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for name, tags in pages_of(site).items():
        links = [link for link in tags.of("link") if link.get("rel") != "canonical"]
        loads = [
            tag.get("src") or tag.get("href") for kind in ("script", "img", "iframe") for tag in tags.of(kind)
        ]
        loads += [link.get("href") for link in links]
        assert not [load for load in loads if load and load.startswith(("http", "//"))], name


def test_no_text_of_the_run_becomes_markup(site: Path) -> None:
    tags = Tags((site / CHANNEL).read_text("utf-8"))
    assert not tags.of("img")
    text = (site / CHANNEL).read_text("utf-8")
    assert "<img src=x" not in text and '"><script>' not in text
    assert not set(text) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200b")


def test_a_link_to_a_channel_unfurls(site: Path) -> None:
    metas = {
        meta.get("property") or meta.get("name"): meta.get("content")
        for meta in Tags((site / CHANNEL).read_text("utf-8")).of("meta")
    }
    assert (metas["og:title"] or "").endswith(" · L0 gate_proj — lora")
    assert metas["og:description"] == metas["description"] and "Highest on" in (metas["description"] or "")
    assert (metas["og:url"] or "").endswith("/atlas/lora/L0/gate_proj/")
    card = "atlas/cards/lora/L0/gate_proj.png"  # the channel has a label, so a picture of its own
    assert (metas["og:image"] or "").endswith(f"/{card}") and (site / card).is_file()


def test_a_channel_page_is_slim_and_says_something_without_javascript(site: Path) -> None:
    html = (site / CHANNEL).read_text("utf-8")
    assert len(html.encode()) < SLIM
    for part in (
        "Top tokens",
        "skewness",
        'rel="next"',
        ">JSON</a>",
        "<noscript>",
        'href="../../../layer/0/"',
    ):
        assert part in html, part


def test_mount_points_name_modules_and_shards_that_exist(site: Path) -> None:
    names = set()
    for name, tags in pages_of(site).items():
        for mount in [div for div in tags.of("div") if (div.get("class") or "").split()[:1] == ["fb-mount"]]:
            names.add(mount["data-page"])
            assert (ROOT / f"site_assets/assets/pages/{mount['data-page']}.mjs").is_file(), name
            if mount.get("data-shard"):
                assert (site / name).parent.joinpath(mount["data-shard"] or "").resolve().is_file(), name
    assert {"channel", "layer", "document", "explorer"} <= names


def test_title_and_address_come_from_the_run(site: Path) -> None:
    settings = json.loads((site.parent / "docs/atlas/site.json").read_text("utf-8"))
    html = (site / CHANNEL).read_text("utf-8")
    assert f'<meta property="og:site_name" content="{settings["title"]}">' in html
    assert f'<link rel="canonical" href="{settings["site_url"]}' in html
    assert not (site / "atlas/site.json").exists()


def test_python_and_templates_stay_out_of_the_site(site: Path) -> None:
    assert not list(site.rglob("*.py*")) and not (site / "channel.html").exists()


def test_every_style_and_script_that_a_page_names_is_there_once(site: Path) -> None:
    for name, tags in pages_of(site).items():
        links = [tag["href"] for tag in tags.of("link") if tag.get("rel") in ("stylesheet", "modulepreload")]
        named = [
            str(address) for address in [*links, *(tag["src"] for tag in tags.of("script") if "src" in tag)]
        ]
        assert (
            len(named) == len(set(named)) and sum(address.endswith("/tokens.css") for address in named) == 1
        )
        for address in named:
            place = (
                site / f"assets/{address.partition('/assets/')[2]}"
                if name == "404.html"
                else (site / name).parent / address
            )
            assert place.resolve().is_file(), (name, address)


def test_shards_are_the_same_files(site: Path) -> None:
    placed, made = site / "shards/lora/L0/gate_proj.json", site.parent / "shards/lora/L0/gate_proj.json"
    assert placed.read_bytes() == made.read_bytes()


def test_it_builds_without_hooks_from_shards_under_docs(tmp_path: Path) -> None:
    write_toy(tmp_path)
    (tmp_path / "shards").rename(tmp_path / "docs/shards")
    site = build_site(tmp_path, hooks=[])
    assert (site / "shards/lora/L0/gate_proj.json").is_file()
    assert "L0 gate_proj" in (site / CHANNEL).read_text("utf-8")


def test_live_reload_works_under_serve_and_nowhere_else(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks = load_config(str(ROOT / "mkdocs.yml")).hooks
    hook = next(iter(hooks.values()))
    page = "<meta content=\"script-src 'self'; x\">"
    assert hook.on_post_page(page) == page
    monkeypatch.setattr(hook, "is_serving", True)
    assert "script-src 'self' 'unsafe-inline'; x" in hook.on_post_page(page)


def weights(root: Path, preset: str) -> dict[str, list[tuple[int, int]]]:
    """Bytes of page and shard, raw and gzip, of all channels of a made-up run by kind; ``benchmarks/site.py`` measures large ones."""
    corpus = synthetic_corpus(n_docs=500)
    writers = Writer(root / "shards"), Writer(root / "docs")
    summary = synthetic_summary(corpus, synthetic_channels(240))
    publish(synthetic_config(preset=preset), corpus, summary, *writers, root / "none", Silent())
    site = build_site(root)
    found: dict[str, list[tuple[int, int]]] = {}
    for channel in summary.channels:
        files = [site / "atlas" / channel.id / "index.html", site / "shards" / f"{channel.id}.json"]
        contents = [path.read_bytes() for path in files]
        packed = sum(len(gzip.compress(content, 6)) for content in contents)
        found.setdefault(channel.kind, []).append((sum(map(len, contents)), packed))
    return found


INDEX = 1700, 450
"""Bytes of a channel in the explorer, the search and the sitemap, raw and gzip, at 8,000 channels (docs/performance.md)."""


def test_compact_channels_stay_in_their_budget(tmp_path: Path) -> None:
    found = weights(tmp_path, "compact")
    for place, budget in enumerate((20_000, 6_000)):
        latent, direction = (np.mean([sizes[place] for sizes in found[kind]]) for kind in ("sae", "lora"))
        assert (7552 * latent + 448 * direction) / 8000 + INDEX[place] < budget


def test_full_channels_stay_in_their_budget(tmp_path: Path) -> None:
    for kind, sizes in weights(tmp_path, "full").items():
        assert max(raw for raw, _ in sizes) < 70_000, kind
