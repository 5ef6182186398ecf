"""The compact preset: less of the same, and said so."""

import numpy as np
import pytest

from generator.blocks import Corpus
from generator.publish.numbers import rounded, significant
from generator.publish.presets import AUTOMATIC_ABOVE, PRESETS, first_of_each, preset_of
from generator.summaries import Summary
from tests.publish.conftest import Publication, publish_to_memory
from tests.publish.test_schemas import validator
from tests.toy import toy_config

COMPACT = PRESETS["compact"]
IDS = ["lora/L0/gate_proj", "lora/L1/q_proj/r1", "sae/1"]


@pytest.fixture(scope="module")
def compact(run: tuple[Corpus, Summary]) -> Publication:
    return publish_to_memory(toy_config(preset="compact"), *run)


def test_auto_goes_by_the_number_of_pages() -> None:
    assert preset_of("auto", AUTOMATIC_ABOVE).name == "full"
    assert preset_of("auto", AUTOMATIC_ABOVE + 1).name == "compact"
    assert preset_of("full", 10**6).name == "full"


def test_the_first_of_each_group() -> None:
    group = np.array([0, 0, 0, 2, 2, 3])
    assert first_of_each(group, np.array([2, 9, 1, 0])).tolist() == [0, 1, 3]


@pytest.mark.parametrize("identifier", IDS)
def test_examples_are_the_first_of_each_group_and_shorter(
    publication: Publication, compact: Publication, identifier: str
) -> None:
    whole, less = publication.shard(identifier), compact.shard(identifier)
    assert (whole["preset"], less["preset"]) == ("full", "compact")
    for before, group in zip(whole["groups"], less["groups"], strict=True):
        own = [e for e in less["examples"] if e["group"] == group["group"]]
        all_ = [e for e in whole["examples"] if e["group"] == group["group"]]
        assert before["n_examples"] == before["n_found"] == group["n_found"] == len(all_)
        assert group["n_examples"] == len(own) == min(len(all_), COMPACT.most_examples(group["group"]) or 0)
        for short, long in zip(own, all_):
            first = short["start"] - long["start"]
            peak = short["position"] - short["start"]
            assert peak <= COMPACT.context and len(short["text"]) - 1 - peak <= COMPACT.context
            assert (short["doc"], short["position"]) == (long["doc"], long["position"])
            assert short["value"] == significant(long["value"])
            part = slice(first, first + len(short["text"]))
            assert short["token_ids"] == long["token_ids"][part]
            for a, b in zip(short["values"], long["values"][part]):
                assert (a is None) == (b is None)
                if a is not None:
                    error = (less["scale"] + whole["scale"]) / 2 * (1 + 1e-9)
                    assert abs(a * less["scale"] - b * whole["scale"]) <= error


def test_a_compact_shard_is_valid_and_keeps_what_it_is_measured_by(
    publication: Publication, compact: Publication
) -> None:
    import orjson

    for identifier in IDS:
        raw = orjson.loads(compact.shards[f"{identifier}.json"])
        validator("channel").validate(raw)
        whole = publication.shard(identifier)
        assert raw["panels"] == whole["panels"]
        assert raw["stats"] == rounded(whole["stats"], 6) and raw["profiles"] == rounded(whole["profiles"], 4)
        assert raw["histogram"] == {k: v for k, v in whole["histogram"].items() if k != "edges"}
        assert len(raw["top_tokens"]) <= COMPACT.tokens
        assert all(len(entries) <= COMPACT.neighbours for entries in raw["neighbours"].values())


def test_weights_that_are_left_out_are_the_smallest(
    run: tuple[Corpus, Summary], monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses

    monkeypatch.setitem(PRESETS, "compact", dataclasses.replace(COMPACT, weights=3))
    shard = publish_to_memory(toy_config(preset="compact"), *run).shard("sae/1")["loadings"]
    weights = run[1].loadings[0].read[1].astype(np.float64)
    assert shard["n_inputs"] == len(weights)
    assert sorted(shard["read"]["places"]) == sorted(np.argsort(-np.abs(weights))[:3].tolist())
    np.testing.assert_allclose(
        np.array(shard["read"]["weights"]) * shard["read"]["scale"],
        weights[shard["read"]["places"]],
        atol=shard["read"]["scale"],
    )


def test_the_site_names_its_preset(publication: Publication, compact: Publication) -> None:
    assert compact.shard("home")["preset"] == "compact" and publication.shard("home")["preset"] == "full"
    assert compact.front_matter("sae/1")["channel"]["preset"] == "compact"
