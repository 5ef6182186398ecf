"""Collections: what their pages say, and where their points lie."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from generator.blocks import Corpus
from generator.errors import FeaturebookError
from generator.publish.book import open_book
from generator.publish.collection import collection_shard
from generator.summaries import Summary
from tests.publish.conftest import Publication, publish_to_memory
from tests.toy import DEAD_LATENTS, toy_config


def test_columns_hold_every_latent_that_lives(publication: Publication) -> None:
    shard = publication.shard("collection/sae")
    alive = [f"sae/{i}" for i in range(24) if i not in DEAD_LATENTS]
    assert shard["columns"]["id"] == alive
    assert (shard["n_channels"], shard["n_dead"]) == (24, len(DEAD_LATENTS))
    for identifier, density, largest in zip(*(shard["columns"][name] for name in ("id", "density", "max"))):
        stats = publication.shard(identifier)["stats"]
        assert density == pytest.approx(stats["density"], rel=5e-3)
        assert largest == pytest.approx(stats["max"], rel=5e-3)


def test_densities_fall_into_bins_of_a_quarter_decade(publication: Publication) -> None:
    for name in ("sae", "lora"):
        shard = publication.shard(f"collection/{name}")
        edges, counts = (shard["density_histogram"][key] for key in ("edges", "counts"))
        own = [publication.shard(i)["stats"]["density"] for i in shard["columns"]["id"]]
        logs = np.log10([density for density in own if density])
        assert np.histogram(logs, edges)[0].tolist() == counts
        assert {float(e * 4) for e in edges} == {round(e * 4) for e in edges}


def test_l0_is_the_sum_of_the_densities(publication: Publication, run: tuple[Corpus, Summary]) -> None:
    _, summary = run
    is_latent = np.array([c.kind == "sae" for c in summary.channels])
    total = summary.statistics["share_active"][is_latent].sum()
    assert publication.shard("collection/sae")["l0_mean"] == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("name", ["sae", "lora"])
def test_every_direction_has_its_place_in_the_grid(
    run: tuple[Corpus, Summary], publication: Publication, name: str
) -> None:
    _, summary = run
    grid = publication.shard(f"collection/{name}")["grid"]
    seen = []
    for layer, row in zip(grid["layers"], grid["places"], strict=True):
        for module, place in zip(grid["modules"], row, strict=True):
            if place >= 0:
                seen.append(place)
                channel = next(c for c in summary.channels if c.id == grid["ids"][place])
                assert (channel.layer if channel.layer >= 0 else None) == layer
                assert module in (channel.module, f"{channel.module}/r{channel.rank_index}")
    assert sorted(seen) == list(range(len(grid["ids"])))
    assert grid["modules"][:2] == ["gate_proj", "up_proj"]


def test_a_dictionary_over_something_else_has_no_grid_and_no_map(run: tuple[Corpus, Summary]) -> None:
    corpus, summary = run
    publication = publish_to_memory(toy_config(), corpus, dataclasses.replace(summary, loadings=[], maps=[]))
    assert publication.shard("collection/sae")["grid"] is None
    assert publication.shard("collection/sae/points")["layout"] is None
    assert "loadings" not in publication.shard("sae/1")
    assert "latents" not in publication.shard("lora/L0/gate_proj")


def test_points_lie_on_the_map_in_the_order_of_the_columns(publication: Publication) -> None:
    points = publication.shard("collection/sae/points")
    assert points["columns"]["id"] == publication.shard("collection/sae")["columns"]["id"]
    x, y = points["layout"]["x"], points["layout"]["y"]
    assert len(x) == len(y) == len(points["columns"]["id"])
    assert max(max(x), max(y)) == 1000 and min(x) == min(y) == 0
    assert points["layout"]["method"].startswith("The two principal components")
    assert publication.shard("collection/lora/points")["layout"] is None


def test_a_crosscoders_page_gives_the_error_of_each_place(run: tuple[Corpus, Summary]) -> None:
    corpus, summary = run
    said = summary.facts["collections"]["sae"]
    names = [("base", "L1 resid_post"), ("base", "L2 resid_post"), ("tuned", "L1 resid_post")]
    places = [{"model": model, "name": name, "hook_point": "x"} for model, name in names]
    for errors, wanted in (
        (
            [0.25, 0.5, 0.125],
            {
                "base": ("0.250 · 0.500", "at L1 resid_post to L2 resid_post"),
                "tuned": ("0.125", "at L1 resid_post"),
            },
        ),
        ([0.25, None, 0.125], {}),
    ):
        facts = said | {"places": places, "held_out": said["held_out"] | {"fvu_by_place": errors}}
        own = dataclasses.replace(summary, facts=summary.facts | {"collections": {"sae": facts}})
        head = publish_to_memory(toy_config(), corpus, own).front_matter("sae")["collection"]
        found = {row["name"]: (row["value"], row["note"]) for row in head["rows"]}
        shown = {name: value for name, value in found.items() if name.startswith("held-out FVU, ")}
        assert shown == {f"held-out FVU, {model}": value for model, value in wanted.items()}


def test_the_page_says_what_is_known(publication: Publication) -> None:
    head = publication.front_matter("sae")["collection"]
    rows = {row["name"]: row["value"] for row in head["rows"]}
    assert rows["dead"] == "12.5 %" and rows["architecture"] == "jumprelu" and rows["held-out L0"] == "4.25"
    assert {row["name"]: row["value"] for row in head["settings"]}["lr"] == "0.0005"
    adapter = {row["name"]: row["value"] for row in publication.front_matter("lora")["collection"]["rows"]}
    assert adapter["directions"] == "17" and adapter["rank"] == "1, 3" and adapter["basis"] == "svd"


@pytest.mark.parametrize(
    "facts", [{}, {"sae": {}}, {"sae": {"kind": "sae", "settings": None, "held_out": None, "notes": None}}]
)
def test_every_fact_may_be_absent(run: tuple[Corpus, Summary], facts: dict[str, Any]) -> None:
    corpus, summary = run
    bare = dataclasses.replace(summary, facts={**summary.facts, "collections": facts})
    publication = publish_to_memory(toy_config(), corpus, bare)
    rows = {row["name"]: row["value"] for row in publication.front_matter("sae")["collection"]["rows"]}
    assert rows["L0"] == "4.08" and rows["architecture"] == "–" and "held-out FVU" not in rows


def test_facts_have_no_paths_and_nothing_that_is_not_finite(run: tuple[Corpus, Summary]) -> None:
    corpus, summary = run
    facts = {"collections": {"sae": {"path": "/home/somebody/sae", "threshold": np.float32("nan"), "l0": {}}}}
    book = open_book(toy_config(), corpus, dataclasses.replace(summary, facts=facts))
    assert collection_shard(book, "sae")["facts"] == {"path": "sae", "threshold": None, "l0": {}}


def test_a_collection_named_like_a_page_is_refused(run: tuple[Corpus, Summary]) -> None:
    corpus, summary = run
    channels = [
        dataclasses.replace(c, id=c.id.replace("sae/", "explorer/"), collection="explorer")
        if c.kind == "sae"
        else c
        for c in summary.channels
    ]
    with pytest.raises(FeaturebookError, match="'explorer'"):
        publish_to_memory(toy_config(), corpus, dataclasses.replace(summary, channels=channels))


def test_only_published_latents_stand_on_the_page(run: tuple[Corpus, Summary]) -> None:
    subset = publish_to_memory(toy_config(channels=["sae/1", "sae/2", "sae/5", "lora/L0/*"]), *run)
    shard = subset.shard("collection/sae")
    assert shard["columns"]["id"] == ["sae/1", "sae/2"]
    assert (shard["n_channels"], shard["n_dead"], shard["n_channels_measured"]) == (3, 1, 24)
    assert sum(shard["grid"]["has_page"]) == 7
    assert set(subset.shard("collection/sae/points")["columns"]["id"]) == {"sae/1", "sae/2"}
