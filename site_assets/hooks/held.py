"""MkDocs hook: pages of channels that nothing changed are not rendered again. An accelerator; without it, all are.

``mkdocs build`` keeps the HTML of each such page under a hash of its source and of everything that all of them share
(templates, settings, navigation), and takes it from there the next time. ``mkdocs serve`` renders a page when it is first
asked for. Pages with a note are rendered each time, since links in a note depend on other pages.
"""

import hashlib
import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mkdocs
from mkdocs.commands import build as building
from mkdocs.structure.pages import Page

CHANNEL = b'---\ntemplate: "channel.html"\n'
"""How the source of a channel's page begins."""

NO_BODY = b"\n---\n"
"""How it ends where there is no note."""

state = SimpleNamespace(command="build", is_dirty=False, held={}, keys={}, is_ready=False)
"""``held``: address -> file that is not rendered with the others; ``keys``: source path -> name in the cache."""

lock = threading.RLock()


def on_startup(*, command: str, dirty: bool, **_: Any) -> None:
    """Remembers what was asked for."""
    state.command, state.is_dirty = command, dirty


def on_config(config: Any) -> None:
    """A build begins: until it has ended, nothing can be rendered on request."""
    state.held, state.keys, state.is_ready = {}, {}, False


def on_nav(nav: Any, config: Any, files: Any) -> Any:
    """Takes pages out of the build: all under serve, else those whose HTML is in the cache."""
    if state.is_dirty:
        return nav
    shared = None if state.command == "serve" else _shared_key(config, nav)
    for file in files.documentation_pages():
        if not file.src_uri.startswith("atlas/"):
            continue
        source = Path(file.abs_src_path).read_bytes()
        if not source.startswith(CHANNEL):
            continue
        if shared is None:
            _hold(file, lambda dirty=False: None)
        elif source.endswith(NO_BODY):
            name = hashlib.sha256(shared + file.src_uri.encode() + b"\0" + source).hexdigest()[:32]
            state.keys[file.src_uri] = name
            cached = _cache(config) / f"{name}.html"
            if cached.is_file():
                _hold(file, _linking(cached, file.abs_dest_path))
    return nav


def on_env(env: Any, config: Any, files: Any) -> None:
    """Keeps what rendering on request needs."""
    state.env, state.config, state.files = env, config, files


def on_page_context(context: Any, page: Any, config: Any, nav: Any) -> None:
    """Keeps the navigation, complete by now."""
    state.nav = nav


def on_post_page(output: str, page: Any, config: Any) -> None:
    """Keeps the HTML of a page for the next build. The white space is stripped before: this hook comes last."""
    name = state.keys.get(page.file.src_uri)
    if name and state.command == "build":
        folder = _cache(config)
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{name}.{os.getpid()}.tmp"
        temporary.write_bytes(output.encode("utf-8", "xmlcharrefreplace"))
        temporary.replace(folder / f"{name}.html")


def on_post_template(output_content: str, template_name: str, config: Any) -> str:
    """Puts the pages that are not rendered into the sitemap."""
    if template_name != "sitemap.xml" or not state.held or not config.site_url:
        return output_content
    entries = "".join(
        f"    <url>\n         <loc>{file.page.canonical_url}</loc>\n    </url>\n"
        for file in state.held.values()
    )
    return output_content.replace("</urlset>", f"{entries}</urlset>")


def on_post_build(config: Any) -> None:
    """Drops what no page uses any more from the cache; from now on pages can be rendered on request."""
    if state.keys and _cache(config).is_dir():
        used = {f"{name}.html" for name in state.keys.values()}
        for entry in os.scandir(_cache(config)):
            if entry.name not in used:
                os.unlink(entry.path)
    state.is_ready = True


def on_serve(server: Any, config: Any, builder: Any) -> Any:
    """Renders a page when it is asked for, and watches the list of generated pages instead of each of them."""
    docs = Path(config.docs_dir)
    server.unwatch(config.docs_dir)
    for entry in docs.iterdir():
        if entry.name != "atlas":
            server.watch(str(entry))
    listed = docs / "atlas" / ".featurebook-files.json"
    if listed.is_file():
        server.watch(str(listed))
    serve_file = server.get_app()

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "ignore")
        _render(path.removeprefix(server.mount_path).lstrip("/"))
        return serve_file(environ, start_response)

    server.set_app(answer)
    return server


def _render(address: str) -> None:
    """Writes the page of an address, if it is held back and its source is newer than what was written."""
    with lock:
        file = state.held.get(address) if state.is_ready else None
        if file is None:
            return
        changed, written = Path(file.abs_src_path), Path(file.abs_dest_path)
        if written.is_file() and written.stat().st_mtime >= changed.stat().st_mtime:
            return
        page = Page(None, file, state.config)
        building._populate_page(page, state.config, state.files)
        building._build_page(page, state.config, [], state.nav, state.env)


def _hold(file: Any, place: Any) -> None:
    """Makes a page a file that is copied rather than rendered; links to it still find it."""
    file.is_documentation_page = lambda: False
    file.copy_file = place
    state.held[file.url] = file


def _linking(cached: Path, target: str) -> Any:
    def place(dirty: bool = False) -> None:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            os.link(cached, target)
        except OSError:
            Path(target).write_bytes(cached.read_bytes())

    return place


def _cache(config: Any) -> Path:
    return Path(config.config_file_path).parent / config.extra.get("pages", "build/html")


def _shared_key(config: Any, nav: Any) -> bytes:
    """A hash of all that the HTML of a channel's page depends on beside its source."""
    digest = hashlib.sha256(mkdocs.__version__.encode())
    for folder in config.theme.dirs:
        for path in sorted(Path(folder).rglob("*.html")):
            digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    for path in [*Path(__file__).parent.glob("*.py"), *Path(config.theme.custom_dir).rglob("*.svg")]:
        digest.update(path.read_bytes())
    places = [(item.title, getattr(item, "url", None), [str(c) for c in item.children or []]) for item in nav]
    names = (
        "site_name",
        "site_url",
        "site_description",
        "copyright",
        "repo_url",
        "extra",
        "extra_css",
        "plugins",
    )
    settings = [repr(config[name]) if name != "plugins" else sorted(config[name]) for name in names]
    digest.update(repr((places, settings, repr(dict(config.theme)))).encode())
    return digest.digest()
