"""Speed and bytes of a first search: the real index of a made-up run of N channels, the real code, Chromium slowed down.

``python -m benchmarks.search [--channels 32000] [--slower 4] [--times 5]`` publishes the files of the explorer and the search of a
made-up run whose channels all have labels and whose vocabulary holds English, Chinese, Arabic and code; then a fresh page, with
nothing in its cache, is asked one query at a time. A line per query: milliseconds from the key press that ends the query to the drawn list
(the 30 ms that the box waits for the next key included), kilobytes fetched (modules, index, rows) as they are and as a server
with gzip sends them, requests, and the milliseconds of a second query on the same page. The modules are joined as a site has them. Beside the median stands the best time,
which other work on the machine disturbs least, and the milliseconds that the main thread itself was busy, without throttling.
"""

import argparse
import functools
import gzip
import http.server
import shutil
import statistics
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from mkdocs.config import load_config
from playwright.sync_api import Browser, Page, Request, sync_playwright

from benchmarks.reading import TRACED, busy_ms
from benchmarks.synthetic import synthetic_channels, synthetic_config, synthetic_corpus, synthetic_summary
from generator.artifacts import to_json
from generator.publish.book import Book, open_book
from generator.publish.explorer import explorer_shard, n_parts, part_id, rows_shard
from generator.publish.labels import Label, Labels
from generator.publish.search import search_index
from tests.browser.conftest import FLAGS, find_chromium

ROOT = Path(__file__).parents[1]
ASSETS = ROOT / "site_assets" / "assets"
CHINESE = "检查等待让我们再看一遍这个数字加法乘法答案首先然后因此所以如果那么函数返回错误正确"
ARABIC = [
    "كتاب",
    "انتظر",
    "حساب",
    "جمع",
    "ضرب",
    "جواب",
    "أولا",
    "ثم",
    "إذا",
    "خطأ",
    "صحيح",
    "رقم",
    "دالة",
    "تحقق",
    "مرة",
    "أخرى",
]
CODE = ["readLine", "gate_proj", "HTMLParser", "is_open", "maxValue", "to_json", "np.float32", "self._rows"]
ENGLISH = [
    "wait",
    "check",
    "sum",
    "carry",
    "answer",
    "first",
    "then",
    "because",
    "number",
    "proof",
    "error",
    "function",
    "again",
    "verify",
]
QUERIES = {
    "English": ("check", "answer"), "Chinese": ("等待", "答案"), "Arabic": ("انتظر", "حساب"), "code": ("readLi", "gate_proj"),
    "id": ("sae 1234", "L12 gate"), "two words": ("wait carry", "proof error"), "exact token": ('" check"', '" Wait'),
}  # fmt: skip
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>search</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src data:">
<form class="fb-search" data-root="."><input id="fb-search-input" name="q"></form>
<script type="module" src="assets/main.mjs"></script>"""
WATCH = """() => { const input = document.getElementById("fb-search-input")
input.addEventListener("input", () => { window.began = performance.now(); performance.mark("asked"); window.took = null })
new MutationObserver(() => { const list = document.getElementById("fb-search-list")
  if (list && list.querySelector("a.fb-hit--all") && window.took === null && list.dataset.for !== input.value) {
    list.dataset.for = input.value; window.found = list.querySelectorAll("a").length - 1
    requestAnimationFrame(() => setTimeout(() => { performance.mark("listed"); window.took = performance.now() - window.began })) } })
  .observe(document.body, { childList: true, subtree: true }) }"""


def main() -> None:
    """Publishes, serves, asks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--channels", type=int, default=32_000)
    parser.add_argument("--slower", type=float, default=4.0, help="Chromium's CPU throttling")
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_index(multilingual_book(options.channels), folder)
        write_assets(folder / "assets")
        (folder / "index.html").write_text(PAGE, encoding="utf-8")
        handler = functools.partial(_Quiet, directory=name)
        with (
            http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
            sync_playwright() as driver,
        ):
            threading.Thread(target=server.serve_forever, daemon=True).start()
            browser = driver.chromium.launch(executable_path=find_chromium(), headless=True, args=FLAGS)
            print(
                f"{'query':12} {'first ms':>9} {'best':>6} {'busy ms':>8} {'kB raw':>8} {'kB gzip':>8} {'requests':>9} {'again ms':>9} {'found':>6}"
            )
            for kind, queries in QUERIES.items():
                runs = [
                    _ask(browser, server.server_address[1], folder, queries, options.slower)
                    for _ in range(options.times)
                ]
                first, raw, packed, requests, again, found = (
                    statistics.median(column) for column in zip(*runs)
                )
                best = min(run[0] for run in runs)
                busy = statistics.median(
                    _busy(browser, server.server_address[1], queries[0]) for _ in range(options.times)
                )
                print(
                    f"{kind:12} {first:9.0f} {best:6.0f} {busy:8.1f} {raw:8.1f} {packed:8.1f} {requests:9.0f} {again:9.0f} {found:6.0f}"
                )
            browser.close()
            server.shutdown()


def multilingual_book(n: int) -> Book:
    """A made-up run of n channels, all labelled, with words that people search."""
    corpus = synthetic_corpus(n_docs=600)
    words = [
        *(f" {w}" for w in ENGLISH),
        *(CHINESE[i : i + 2] for i in range(0, len(CHINESE) - 1, 2)),
        *ARABIC,
        *CODE,
        " Wait",
    ]
    held = list(corpus.token_bytes)
    for place, word in enumerate(words):
        held[20 + 3 * place] = word.encode()
    corpus = replace(corpus, token_bytes=held)
    channels = synthetic_channels(n)
    labels = [
        Label(id=c.id, polarity="positive", text=f"{words[i % len(words)].strip()} after {words[i * 7 % len(words)].strip()}",
              author="made up", source="model", date="2026-01-01")
        for i, c in enumerate(channels)
    ]  # fmt: skip
    return open_book(synthetic_config(), corpus, synthetic_summary(corpus, channels), Labels(labels))


def write_index(book: Book, folder: Path) -> None:
    """Writes what the explorer and the search fetch, and says what it took."""
    began = time.perf_counter()
    sizes: dict[str, list[int]] = {}
    index = search_index(book)
    shards = [
        ("explorer", lambda: explorer_shard(book)),
        *((identifier, shard) for identifier, shard, _ in index.shards()),
    ]
    shards += [(part_id(n), functools.partial(rows_shard, book, n)) for n in range(n_parts(book))]
    for identifier, make in shards:
        path = folder / "shards" / f"{identifier}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        sizes.setdefault(identifier.rsplit("/", 1)[0], []).append(path.write_bytes(to_json(make())))
    n = len(book.published)
    print(f"{n:,} channels, {len(index.passages.places):,} passages: {time.perf_counter() - began:.1f} s")
    for kind, held in sizes.items():
        print(
            f"  {kind:18} {len(held):6,} files {sum(held) / 1e6:8.2f} MB {sum(held) / n:7.0f} B per channel, largest {max(held) / 1e3:6.1f} kB"
        )


def write_assets(folder: Path) -> None:
    """The modules and styles as a built site has them (site_assets/hooks/joined.py)."""
    shutil.copytree(ASSETS, folder)
    hook = load_config(str(ROOT / "mkdocs.yml")).hooks["site_assets/hooks/joined.py"]
    hook.on_post_build(SimpleNamespace(site_dir=folder.parent))


def _ask(
    browser: Browser, port: int, folder: Path, queries: tuple[str, str], slower: float
) -> tuple[float, float, float, int, float, int]:
    """A fresh page and two queries: ms, kB raw, kB gzip, requests, ms of the second, results of the first."""
    context = browser.new_context()
    page = context.new_page()
    fetched: list[str] = []

    def note(request: Request) -> None:
        fetched.append(request.url.split(f":{port}/")[-1])

    page.goto(f"http://127.0.0.1:{port}/index.html")
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": slower})
    page.on("request", note)
    page.evaluate(WATCH)
    first = _query(page, queries[0])
    found = page.evaluate("window.found")
    files = [(folder / path).read_bytes() for path in fetched if not path.startswith("data:")]
    again = _query(page, queries[1])
    context.close()
    raw, packed = (sum(map(len, held)) / 1e3 for held in (files, [gzip.compress(held, 6) for held in files]))
    return first, raw, packed, len(files), again, found


def _busy(browser: Browser, port: int, text: str) -> float:
    """Milliseconds of the main thread's own time that a first query takes, nothing slowed down."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{port}/index.html")
    page.evaluate(WATCH)
    page.focus("#fb-search-input")
    page.wait_for_timeout(500)
    browser.start_tracing(page=page, categories=TRACED)
    _query(page, text)
    trace = browser.stop_tracing()
    context.close()
    return busy_ms(trace, "asked", "listed")


def _query(page: Page, text: str) -> float:
    """Milliseconds from the input to the drawn list. The box is focused half a second before, as one does who types."""
    page.focus("#fb-search-input")
    page.wait_for_timeout(500)
    page.evaluate(
        "text => { const input = document.activeElement; input.value = text; input.dispatchEvent(new Event('input')) }",
        text,
    )
    for _ in range(400):
        took = page.evaluate("window.took")
        if took is not None:
            return float(took)
        page.wait_for_timeout(25)
    raise RuntimeError(f"{text!r} gave no list within ten seconds")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line per request."""

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


if __name__ == "__main__":
    main()
