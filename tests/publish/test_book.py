"""Which channels get a page, and links when some do not."""

import pytest

from generator.blocks import Corpus
from generator.errors import FeaturebookError
from generator.summaries import Summary
from tests.publish.conftest import Publication, publish_to_memory
from tests.toy import toy_config


def _channel_ids(publication: Publication) -> list[str]:
    return sorted(
        path.removesuffix(".json") for path in publication.shards if path.startswith(("lora/", "sae/"))
    )


def test_globs_choose_and_take_away(run: tuple[Corpus, Summary]) -> None:
    chosen = publish_to_memory(toy_config(channels=["lora/L1/*", "!*/r[12]", "lora/L0/up_proj"]), *run)
    ids = _channel_ids(chosen)
    assert "lora/L1/q_proj/r0" in ids and "lora/L1/q_proj/r1" not in ids
    assert [i for i in ids if "/L0/" in i] == ["lora/L0/up_proj"]


def test_only_taking_away_starts_from_all(run: tuple[Corpus, Summary], publication: Publication) -> None:
    left = publish_to_memory(toy_config(channels=["!*/q_proj*"]), *run)
    assert _channel_ids(left) == [i for i in _channel_ids(publication) if "q_proj" not in i]


def test_a_number_is_spread_over_the_table(run: tuple[Corpus, Summary]) -> None:
    few = publish_to_memory(toy_config(channels=3), *run)
    ids = _channel_ids(few)
    assert len(ids) == 3 == few.facts["n_channels"]
    assert ids == ["lora/L0/q_proj", "sae/23", "sae/3"]
    assert len(_channel_ids(publish_to_memory(toy_config(channels=10_000), *run))) == 17 + 24


@pytest.mark.parametrize("channels", [["lora/L7/*"], 0, ["*", "!*"]])
def test_nothing_left_is_an_error(run: tuple[Corpus, Summary], channels: object) -> None:
    with pytest.raises(FeaturebookError, match=r"publish\.channels"):
        publish_to_memory(toy_config(channels=channels), *run)


def test_an_unmatched_glob_names_the_nearest(run: tuple[Corpus, Summary]) -> None:
    with pytest.raises(FeaturebookError, match=r"lora/L0/gate_proj"):
        publish_to_memory(toy_config(channels=["lora/L0/gate_prj"]), *run)


def test_a_subset_has_no_dead_links(run: tuple[Corpus, Summary]) -> None:
    subset = publish_to_memory(toy_config(channels=["lora/L1/*proj"]), *run)
    pages = {path.removesuffix(".md") + "/" for path in subset.docs if path.endswith(".md")}
    ids = {path.removesuffix(".json") for path in subset.shards}
    n_plain = n_links = 0
    for path in subset.docs:
        if path.endswith(".md"):
            for target in _values(
                subset.front_matter(path.removeprefix("atlas/").removesuffix(".md")), "path"
            ):
                assert target in pages
                n_links += 1
    for path in subset.shards:
        if not path.startswith("."):
            shard = subset.shard(path.removesuffix(".json"))
            assert {shard.get("previous"), shard.get("next")} <= ids | {None}
            for entry in _entries(shard):
                assert entry["has_page"] == (entry["id"] in ids)
                n_plain += not entry["has_page"]
    assert n_links > 20 and n_plain > 20
    assert "layer/0.json" not in subset.shards
    assert set(subset.shard("explorer/columns/id")["values"]) <= ids
    cells = [cell for row in subset.shard("home")["grid"]["cells"] for cell in row if cell]
    assert cells and set(cells) <= ids
    members = [m["id"] for c in subset.shard("layer/1")["cosines"] for m in c["members"]]
    assert members and set(members) <= ids


def _values(tree: object, key: str) -> list[str]:
    if isinstance(tree, dict):
        own = [tree[key]] if isinstance(tree.get(key), str) else []
        return own + [v for child in tree.values() for v in _values(child, key)]
    return [v for child in tree for v in _values(child, key)] if isinstance(tree, list) else []


def _entries(tree: object) -> list[dict[str, object]]:
    """Everything that names another channel."""
    if isinstance(tree, dict):
        own = [tree] if "has_page" in tree and "id" in tree else []
        return own + [e for child in tree.values() for e in _entries(child)]
    return [e for child in tree for e in _entries(child)] if isinstance(tree, list) else []
