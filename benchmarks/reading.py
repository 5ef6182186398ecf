"""What it costs to open a page: time until it is drawn at four times slower JavaScript, bytes beyond the theme's own, requests.

    python -m generator build && mkdocs build && python benchmarks/reading.py --site-dir site

Serves a built site on this machine, with the headers of GitHub Pages, opens one page of each type in Chromium (fresh profile, CPU
throttled by the DevTools protocol), and prints the median of several visits. *Drawn* is from the start of the navigation until every
mount point is drawn and the main thread is free: on a first visit, with the best one beside it; from the home page, once that has come to
rest (the files that all pages share are in the browser's cache); by the key "n" from the page before, as one reads channel after channel;
and without throttling. The first row is a hand-written page of the theme, which draws nothing of ours. *Busy* is what the main thread
itself computed on a first visit, without throttling: other work on the machine disturbs it least. The bytes are all that the page fetches
on its own, panels below the screen included.
"""

import argparse
import functools
import gzip
import http.server
import statistics
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import orjson
from playwright.sync_api import Browser, Page, Response, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.browser.conftest import FLAGS, find_chromium
from tests.browser.visiting import QuietHandler

THEMES_OWN = ("/assets/stylesheets/", "/assets/javascripts/")
SETTLING = 800
"""Milliseconds before a page is asked whether it is drawn: the asking puts 300 kB of script into it, 30 ms at 4× throttling. And
before one goes on from it: what it draws below the screen is not the next page's."""
TASK = "RunTask"
TRACED = ["toplevel", "blink.user_timing", "disabled-by-default-devtools.timeline"]
WATCH = """
const seen = new MutationObserver(() => {
  if (!document.querySelector(".fb-mount") || document.querySelector(".fb-mount:not(.fb-mounted)")) return
  seen.disconnect()
  requestAnimationFrame(() => setTimeout(() => {
    performance.mark("drawn")
    window.drawnAt = performance.now()
  }))
})
seen.observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ["class"] })
addEventListener("load", () => {
  if (!document.querySelector(".fb-mount")) requestAnimationFrame(() => setTimeout(() => { performance.mark("drawn"); window.drawnAt = performance.now() }))
})
"""


class Pages(QuietHandler):
    """Answers as GitHub Pages does: connections are kept, and so are files, for ten minutes."""

    protocol_version = "HTTP/1.1"

    def end_headers(self) -> None:
        """With how long the file may be kept."""
        self.send_header("Cache-Control", "max-age=600")
        super().end_headers()


def pages_of(site: Path) -> dict[str, str]:
    """One page of each type, by name."""
    shards = site / "shards"
    first = {
        "direction": next((p for p in sorted(shards.glob("lora/*/*.json"))), None),
        "latent": next((p for p in sorted(shards.glob("sae/*.json"))), None),
        "layer": next((p for p in sorted(shards.glob("layer/*.json"))), None),
        "document": next((p for p in sorted(shards.glob("doc/*.json"))), None),
        "crosscoder": next((p for p in sorted(shards.glob("crosslayer/*.json"))), None),
        "two runs": next((p for p in sorted(shards.glob("runs/**/*.json"))), None),
    }
    found = {
        name: f"atlas/{path.relative_to(shards).with_suffix('').as_posix()}/"
        for name, path in first.items()
        if path
    }
    pair = [
        p.relative_to(shards).with_suffix("").as_posix() for p in sorted(shards.glob("lora/*/*.json"))[:2]
    ]
    return {
        "the theme's": "architecture/",
        "home": "",
        **found,
        "explorer": "atlas/explorer/",
        "compare": f"atlas/compare/?ids={','.join(pair)}",
    }


def busy_ms(trace: bytes, start: str, end: str) -> float:
    """Milliseconds of its own time that the main thread spent from the first event of one name to the last of another."""
    events = orjson.loads(trace)["traceEvents"]
    last = max((event for event in events if event["name"] == end), key=lambda event: event["ts"])
    thread = (last["pid"], last["tid"])
    own = [
        event for event in events if (event["pid"], event.get("tid")) == thread and event["ts"] <= last["ts"]
    ]
    began = min(event["ts"] for event in own if event["name"] == start)
    return sum(event.get("tdur", 0) for event in own if event["name"] == TASK and event["ts"] >= began) / 1000


def traced_ms(browser: Browser, address: str) -> float:
    """Milliseconds that the main thread computed until the page was drawn, nothing slowed down."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.add_init_script(WATCH)
    page = context.new_page()
    browser.start_tracing(page=page, categories=TRACED)
    page.goto(address)
    wait_until_drawn(page)
    trace = browser.stop_tracing()
    context.close()
    return busy_ms(trace, "navigationStart", "drawn")


def wait_until_drawn(page: Page) -> float:
    """Milliseconds from the start of the navigation."""
    page.wait_for_timeout(SETTLING)
    while (drawn := page.evaluate("window.drawnAt ?? null")) is None:
        page.wait_for_timeout(100)
    return float(drawn)


def slowed_page(browser: Browser, slowdown: int) -> Page:
    """A page in a fresh context that notes when it is drawn; whoever is done with it closes its context."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.add_init_script(WATCH)
    page = context.new_page()
    context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": slowdown})
    return page


def drawn_ms(browser: Browser, address: str, slowdown: int, after: str | None = None) -> float:
    """Milliseconds until the page is drawn, in a fresh context; ``after`` another page was read, if one is named."""
    page = slowed_page(browser, slowdown)
    if after is not None:
        page.goto(after)
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(SETTLING)
    page.goto(address)
    drawn = wait_until_drawn(page)
    page.context.close()
    return drawn


def stepped_ms(browser: Browser, address: str, slowdown: int) -> float:
    """Milliseconds until the second page after this one is drawn, for who goes on with "n"."""
    page = slowed_page(browser, slowdown)
    page.goto(address)
    for _ in range(2):  # nothing is asked of the pages on the way, which would have to be cleared away
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(SETTLING)
        with page.expect_navigation(wait_until="commit"):
            page.keyboard.press("n")
    drawn = wait_until_drawn(page)
    page.context.close()
    return drawn


def weight_of(browser: Browser, address: str) -> tuple[int, int]:
    """Bytes (gzip) beyond the theme's own files, and requests in all."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    page.goto(address)
    page.locator(".fb-mount:not(.fb-mounted)").first.wait_for(state="detached", timeout=60_000)
    page.wait_for_load_state("networkidle")
    ours = [answer for answer in answers if not any(part in answer.url for part in THEMES_OWN)]
    n_bytes = sum(len(gzip.compress(answer.body(), 6)) for answer in ours)
    context.close()
    return n_bytes, len(answers)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--site-dir", type=Path, default=Path("site"))
    parser.add_argument("--visits", type=int, default=5)
    parser.add_argument("--slowdown", type=int, default=4)
    given = parser.parse_args()
    handler: Callable[..., Pages] = functools.partial(Pages, directory=str(given.site_dir))
    rows = []
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        sync_playwright() as driver,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = f"http://127.0.0.1:{server.server_address[1]}/"
        browser = driver.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        drawn_ms(browser, root, 1)  # the browser's own start
        for name, path in pages_of(given.site_dir).items():
            slow, then, stepped, fast, busy = [], [], [], [], []
            goes_on = (
                path.endswith("/") and 'rel="next"' in (given.site_dir / path / "index.html").read_text()
            )
            for _ in range(given.visits):
                slow.append(drawn_ms(browser, root + path, given.slowdown))
                then.append(drawn_ms(browser, root + path, given.slowdown, after=root))
                if goes_on:
                    stepped.append(stepped_ms(browser, root + path, given.slowdown))
                fast.append(drawn_ms(browser, root + path, 1))
                busy.append(traced_ms(browser, root + path))
            n_bytes, n_requests = weight_of(browser, root + path)
            row = {
                "page": name,
                "ms_slow": statistics.median(slow),
                "ms_slow_then": statistics.median(then),
                "ms_slow_stepped": statistics.median(stepped) if goes_on else None,
                "ms": statistics.median(fast),
                "busy_ms": statistics.median(busy),
            }
            rows.append({**row, "best_ms_slow": min(slow), "gzip_bytes": n_bytes, "requests": n_requests})
        browser.close()
        server.shutdown()
    print(
        f"{'page':<12} {f'drawn at {given.slowdown}×':>12} {'best':>8} {'from home':>9} {'by n':>8} {'at 1×':>8} {'busy':>8} {'kB gzip':>8} {'requests':>8}"
    )
    for row in rows:
        stepped_text = "–" if row["ms_slow_stepped"] is None else f"{row['ms_slow_stepped']:.0f} ms"
        print(
            f"{row['page']:<12} {row['ms_slow']:>9.0f} ms {row['best_ms_slow']:>5.0f} ms {row['ms_slow_then']:>6.0f} ms {stepped_text:>8} {row['ms']:>5.0f} ms {row['busy_ms']:>5.0f} ms "
            f"{row['gzip_bytes'] / 1000:>8.1f} {row['requests']:>8}"
        )
    print(orjson.dumps(rows).decode())


if __name__ == "__main__":
    main()
