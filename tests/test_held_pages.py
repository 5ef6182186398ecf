"""Pages of channels are rendered once: the cache of ``mkdocs build``, and rendering on request under ``mkdocs serve``."""

import re
from pathlib import Path
from typing import Any

import pytest
from mkdocs.commands import build as building
from mkdocs.config import load_config
from mkdocs.livereload import LiveReloadServer

from tests.test_site_build import CHANNEL, ROOT
from tests.toy import write_toy

NAV = [{"Home": "index.md"}, {"Explorer": "atlas/explorer.md"}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_toy(tmp_path)
    (tmp_path / "docs/index.md").write_text("# Toy\n\n[A direction](atlas/lora/L0/gate_proj.md)\n", "utf-8")
    return tmp_path


def load(folder: Path, command: str) -> Any:
    extra = {"shards": str(folder / "shards"), "pages": str(folder / "html")}
    config = load_config(
        str(ROOT / "mkdocs.yml"),
        docs_dir=str(folder / "docs"),
        site_dir=str(folder / "site"),
        extra=extra,
        nav=NAV,
    )
    config.plugins.on_startup(command=command, dirty=False)
    return config


def rendered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Builds, and says which pages were rendered."""
    names: list[str] = []
    whole = building._build_page

    def counted(page: Any, *rest: Any, **more: Any) -> None:
        names.append(page.file.src_uri)
        whole(page, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(building, "_build_page", counted)
        building.build(load(folder, "build"))
    return names


def files(site: Path) -> dict[str, bytes]:
    return {p.relative_to(site).as_posix(): p.read_bytes() for p in site.rglob("*.html")}


def addresses(site: Path) -> set[str]:
    return set(re.findall("<loc>(.*?)</loc>", (site / "sitemap.xml").read_text("utf-8")))


def test_a_second_build_renders_no_channel_and_gives_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "atlas/lora/L0/gate_proj.md" in rendered(folder, monkeypatch)
    first, listed = files(folder / "site"), addresses(folder / "site")
    again = rendered(folder, monkeypatch)
    assert again and not [name for name in again if name.startswith(("atlas/lora/", "atlas/sae/"))]
    assert files(folder / "site") == first and addresses(folder / "site") == listed
    assert b'href="atlas/lora/L0/gate_proj/"' in first["index.html"]


def test_only_what_changed_is_rendered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered(folder, monkeypatch)
    source = folder / "docs/atlas/lora/L0/gate_proj.md"
    source.write_text(source.read_text("utf-8").replace("L0 gate_proj", "L0 renamed"), "utf-8")
    again = [name for name in rendered(folder, monkeypatch) if name.startswith("atlas/lora/")]
    assert again == ["atlas/lora/L0/gate_proj.md"]
    assert "L0 renamed" in (folder / "site" / CHANNEL).read_text("utf-8")
    n_pages = len(list((folder / "docs/atlas").rglob("*.md")))
    assert 0 < len(list((folder / "html").iterdir())) < n_pages, "the old page has left the cache"


def test_pages_with_a_note_are_rendered_each_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder / "docs/atlas/lora/L0/up_proj.md"
    source.write_text(source.read_text("utf-8") + "\nA note.\n", "utf-8")
    for _ in range(2):
        assert source.relative_to(folder / "docs").as_posix() in rendered(folder, monkeypatch)


def test_another_title_renders_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered(folder, monkeypatch)
    site = folder / "docs/atlas/site.json"
    site.write_text(site.read_text("utf-8").replace('"title":"Toy"', '"title":"Other"'), "utf-8")
    assert "atlas/lora/L0/gate_proj.md" in rendered(folder, monkeypatch)
    assert "Other" in (folder / "site" / CHANNEL).read_text("utf-8")


def test_serve_renders_a_page_when_it_is_asked_for(folder: Path) -> None:
    config = load(folder, "serve")
    building.build(config, serve_url="http://127.0.0.1:8000/")
    assert not (folder / "site" / CHANNEL).exists() and (folder / "site/index.html").exists()
    server = LiveReloadServer(lambda: None, "127.0.0.1", 0, str(folder / "site"))
    server.watch(config.docs_dir)
    server = config.plugins.on_serve(server, config=config, builder=lambda: None)
    watched = [Path(path).name for path in server._watched_paths]
    assert "index.md" in watched and "docs" not in watched and "atlas" not in watched

    def fetch(path: str) -> tuple[str, bytes]:
        status: list[str] = []
        body = server.get_app()({"PATH_INFO": path}, lambda line, _: status.append(line))
        return status[0], b"".join(body)

    assert fetch("/atlas/lora/L0/gate_proj/")[0] == "200 OK"
    assert b"L0 gate_proj" in fetch("/atlas/lora/L0/gate_proj/")[1]
    assert fetch("/atlas/lora/L0/nothing/")[0].startswith("404")
    server.server_close()
