"""Latents and the directions that they read and write, seen from both sides."""

import numpy as np
import pytest

from generator.blocks import Corpus
from generator.publish.presets import PRESETS
from generator.summaries import Summary
from tests.publish.conftest import Publication, publish_to_memory
from tests.toy import DEAD_LATENTS, toy_config

SIDES = ["read", "write"]
STRONGEST = PRESETS["full"].named


@pytest.mark.parametrize("side", SIDES)
def test_a_latent_shows_its_weights_in_the_order_of_the_grid(
    run: tuple[Corpus, Summary], publication: Publication, side: str
) -> None:
    _, summary = run
    (table,) = summary.loadings
    grid = publication.shard("collection/sae")["grid"]
    assert grid["ids"] == table.inputs
    for row in range(len(table.channels)):
        shown = publication.shard(f"sae/{row}")["loadings"][side]
        want = getattr(table, side)[row]
        got = np.array(shown["weights"]) * shown["scale"]
        assert np.abs(got - want).max() <= shown["scale"] / 2 * (1 + 1e-6)
        strongest = shown["strongest"]
        assert [entry["id"] for entry in strongest] == [
            table.inputs[i] for i in np.argsort(-np.abs(want), kind="stable")[:STRONGEST]
        ]
        for entry in strongest:
            weight = want[table.inputs.index(entry["id"])]
            assert entry["weight"] == pytest.approx(weight, rel=1e-5)
            assert entry["share"] == pytest.approx(abs(weight) / np.abs(want).sum(), rel=1e-5)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("sign", ["positive", "negative"])
def test_a_direction_names_the_latents_that_it_is_strongest_in(
    run: tuple[Corpus, Summary], publication: Publication, side: str, sign: str
) -> None:
    _, summary = run
    (table,) = summary.loadings
    for column, identifier in enumerate(table.inputs):
        (shown,) = publication.shard(identifier)["latents"]
        weights = getattr(table, side)[:, column].astype(np.float64) * (1 if sign == "positive" else -1)
        weights[list(DEAD_LATENTS)] = 0
        best = sorted((w for w in weights.tolist() if w > 0), reverse=True)[:STRONGEST]
        got = shown[side][sign]
        assert [abs(entry["weight"]) for entry in got] == pytest.approx(best, rel=1e-5)
        assert all((entry["weight"] > 0) == (sign == "positive") for entry in got)
        assert not {entry["id"] for entry in got} & {f"sae/{i}" for i in DEAD_LATENTS}
        for entry in got:
            own = publication.shard(entry["id"])["loadings"][side]["strongest"]
            here = [other for other in own if other["id"] == identifier]
            assert not here or (here[0]["weight"], here[0]["share"]) == (entry["weight"], entry["share"])


def test_a_direction_that_no_dictionary_reads_says_nothing(publication: Publication) -> None:
    assert "latents" not in publication.shard("lora/model.embed_tokens")


def test_a_dead_latent_has_a_short_page(publication: Publication) -> None:
    for latent in DEAD_LATENTS:
        shard = publication.shard(f"sae/{latent}")
        assert shard["is_dead"] and shard["panels"] == ["loadings", "neighbours"]
        assert shard["examples"] == shard["groups"] == shard["top_tokens"] == []
        page = publication.front_matter(f"sae/{latent}")
        assert page["channel"]["is_dead"] and page["description"].startswith("A dead latent")
        assert page["channel"]["top_tokens"] == []
    assert not publication.shard("lora/L0/o_proj")["is_dead"], "a direction of zeros is no latent"


def test_an_unsigned_channel_has_one_side(publication: Publication) -> None:
    shard = publication.shard("sae/1")
    groups = {group["group"]: group for group in shard["groups"]}
    assert set(groups) == {"top", "band:+99-100", "band:+90-99", "band:+50-90", "random"}
    n_active = groups["top"]["count"]
    for name, group in groups.items():
        if name.startswith("band:"):
            assert group["share_of_side"] == pytest.approx(group["count"] / n_active)
    assert groups["random"]["count"] == n_active < shard["stats"]["n_tokens"]


def test_a_signed_channel_has_both(publication: Publication) -> None:
    groups = {g["group"]: g for g in publication.shard("lora/L0/gate_proj")["groups"]}
    assert groups["band:-99-100"]["share_of_side"] == pytest.approx(
        groups["band:-99-100"]["count"] / groups["bottom"]["count"]
    )
    assert groups["random"]["count"] == publication.shard("lora/L0/gate_proj")["stats"]["n_tokens"]


def test_names_and_ways_between_pages(publication: Publication) -> None:
    latent = publication.front_matter("sae/1")
    assert latent["title"] == "中文 label · Latent 1 — sae" and latent["channel"]["name"] == "Latent 1"
    assert latent["channel"]["collection_page"] == {"id": "sae", "path": "atlas/sae/"}
    assert "atlas/sae.md" in publication.docs and "collection/sae.json" in publication.shards


def test_links_to_unpublished_pages_are_marked(run: tuple[Corpus, Summary]) -> None:
    subset = publish_to_memory(toy_config(channels=["sae/1", "sae/2", "lora/L0/*"]), *run)
    for entry in subset.shard("sae/1")["loadings"]["read"]["strongest"]:
        assert entry["has_page"] == entry["id"].startswith("lora/L0/")
    (shown,) = subset.shard("lora/L0/gate_proj")["latents"]
    entries = [entry for side in SIDES for sign in shown[side].values() for entry in sign]
    assert {entry["id"] for entry in entries if entry["has_page"]} <= {"sae/1", "sae/2"}
    assert any(not entry["has_page"] for entry in entries)
