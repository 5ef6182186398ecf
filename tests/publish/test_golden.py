"""The toy's shards and pages, byte by byte as they were reviewed; the JavaScript tests read the same files.

A run that differs writes tests/golden/site-changed beside tests/golden/site. If the change is meant, look at the
difference and replace the folder by it.
"""

import shutil
from pathlib import Path

from tests.publish.conftest import Publication

GOLDEN = Path(__file__).parents[1] / "golden" / "site"
CHANGED = GOLDEN.with_name("site-changed")
IDS = [
    "lora/L0/gate_proj",
    "lora/L0/k_proj",
    "lora/L1/q_proj/r1",
    "sae/1",
    "sae/5",
    "layer/0",
    "doc/0",
    "explorer",
    "home",
    "layers",
    "documents",
]
FETCHED = [
    "search",
    "search/words/0",
    "search/passages/0",
    "search/tokens/0",
    "search/tokens/1",
]
FETCHED += ["explorer/columns/id", "explorer/columns/max", *(f"explorer/rows/{part}" for part in range(3))]
"""What the explorer and the search fetch piece by piece."""


def test_the_toy_site_is_as_it_was_reviewed(publication: Publication) -> None:
    shards = {f"shards/{path}": content for path, content in publication.shards.items()}
    docs = {f"docs/{path}": content for path, content in publication.docs.items()}
    names = [f"shards/{i}.json" for i in [*IDS, *FETCHED, "collection/sae", "collection/sae/points"]] + [
        "docs/atlas/sae.md"
    ]
    names += (
        [f"shards/{i}.json" for i in IDS] + [f"docs/atlas/{i}.md" for i in IDS] + ["docs/atlas/site.json"]
    )
    got = {name: content for name, content in {**shards, **docs}.items() if name in names}
    want = {p.relative_to(GOLDEN).as_posix(): p.read_bytes() for p in GOLDEN.rglob("*") if p.is_file()}
    shutil.rmtree(CHANGED, ignore_errors=True)
    if got != want:
        for name, content in got.items():
            (CHANGED / name).parent.mkdir(parents=True, exist_ok=True)
            (CHANGED / name).write_bytes(content)
    changed = sorted(name for name in got.keys() | want.keys() if got.get(name) != want.get(name))
    assert not changed, f"compare {CHANGED.name} with {GOLDEN.name}: {changed}"
