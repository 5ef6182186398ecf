"""Every shard obeys its JSON Schema, and docs/shards.md names every field."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from referencing import Registry, Resource

from generator.publish import panels
from tests.publish.conftest import Publication

ROOT = Path(__file__).parents[2]
SCHEMAS = {
    path.stem: orjson.loads(path.read_bytes())
    for path in sorted((ROOT / "generator/publish/schemas").glob("*.json"))
}
REGISTRY: Registry = Registry().with_resources(
    [(f"{name}.json", Resource.from_contents(schema)) for name, schema in SCHEMAS.items()]
)
DOCUMENTATION = (ROOT / "docs/shards.md").read_text(encoding="utf-8")


def validator(name: str) -> Any:
    """A draft 2020-12 validator of one kind of shard."""
    return jsonschema.Draft202012Validator(SCHEMAS[name], registry=REGISTRY)


FETCHED = [
    ("explorer/columns/", "explorer_column"),
    ("explorer/rows/", "explorer_rows"),
    ("search/words/", "search_words"),
    ("search/passages/", "search_passages"),
    ("search/tokens/", "search_token_leaf"),
    ("search", "search"),
]
"""What the explorer and the search fetch piece by piece."""


def kind_of(path: str) -> str:
    """Which schema a shard has."""
    if path.startswith("collection/"):
        return "points" if path.endswith("/points.json") else "collection"
    for start, kind in FETCHED:
        if path.startswith(start):
            return kind
    first = path.split("/")[0].removesuffix(".json")
    named = ("about", "annotate", "layer", "explorer", "home", "compare", "values", "runs")
    return "document" if first == "doc" else first if first in named else "channel"


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema_is_one(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])


def test_every_shard_is_valid(publication: Publication) -> None:
    seen = set()
    for path, content in publication.shards.items():
        if not path.startswith("."):
            validator(kind_of(path)).validate(orjson.loads(content))
            seen.add(kind_of(path))
    analysed = {name for name in SCHEMAS if name.startswith("analysis")}  # tests/publish_analysis
    assert seen == set(SCHEMAS) - {"parts", "runs"} - analysed  # runs: tests/publish/test_runs.py


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schema", 2),
        ("scale", -1.0),
        ("tokens", [1]),
        ("rank_index", "r1"),
        ("unheard_of", 3),
        ("examples", []),
    ],
)
def test_a_wrong_shard_is_not(publication: Publication, field: str, value: object) -> None:
    shard = {**publication.shard("lora/L0/gate_proj"), field: value}
    assert not validator("channel").is_valid(shard)


def test_shards_are_canonical(publication: Publication) -> None:
    for path, content in publication.shards.items():
        parsed = orjson.loads(content)
        assert orjson.dumps(parsed, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE) == content, path


def test_an_example_is_consistent_with_itself(publication: Publication) -> None:
    for path in publication.shards:
        if path.startswith(("lora/", "sae/")):
            shard = publication.shard(path.removesuffix(".json"))
            assert len(shard["examples"]) == sum(group["n_examples"] for group in shard["groups"])
            for example in shard["examples"]:
                n = len(example["token_ids"])
                assert len(example["text"]) == len(example["values"]) == n
                assert 0 <= example["position"] - example["start"] < n
                assert max(example["text"]) < len(shard["tokens"])
            assert max(shard["special"], default=-1) < len(shard["tokens"])
            entries = list(zip(shard["tokens"], shard["token_ids"], strict=True))
            assert len(set(entries)) == len(entries)


def properties(schema: Any) -> set[str]:
    """All property names at any depth."""
    if isinstance(schema, dict):
        own = set(schema["properties"]) if isinstance(schema.get("properties"), dict) else set()
        return own.union(*(properties(value) for value in schema.values()))
    return set().union(*(properties(value) for value in schema)) if isinstance(schema, list) else set()


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_is_documented(name: str) -> None:
    named = set(re.findall(r"`([A-Za-z_0-9]+)`", DOCUMENTATION))
    missing = properties(SCHEMAS[name]) - named
    assert not missing, f"docs/shards.md does not name {sorted(missing)}"


def test_every_panel_is_documented() -> None:
    for name, _ in panels.PANELS:
        assert f"### `{name}`" in DOCUMENTATION
