"""Values on the shared documents and cosines: what the summary holds, within half a step."""

import base64
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from generator.blocks import Corpus
from generator.summaries import SharedValues, Summary
from tests.publish.conftest import Publication, publish_to_memory
from tests.toy import toy_config


def values_of(shard: dict[str, Any], n_tokens: int) -> np.ndarray:
    """The activations of a values shard; NaN where not finite."""
    packed = shard["values"]
    steps = np.zeros(n_tokens)
    if isinstance(packed, str):
        steps = np.frombuffer(base64.b64decode(packed), np.int8).astype(float)
    else:
        steps[packed["at"]] = packed["steps"]
    return np.where(steps == -128, np.nan, steps * shard["scale"])


@pytest.mark.parametrize("identifier", ["lora/L0/gate_proj", "lora/L0/k_proj", "lora/L0/o_proj", "sae/1"])
def test_values_are_right_within_half_a_step(
    publication: Publication, run: tuple[Corpus, Summary], identifier: str
) -> None:
    corpus, summary = run
    index = next(i for i, c in enumerate(summary.channels) if c.id == identifier)
    (shared,) = [s for s in summary.shared if s.holds(index)]
    shard, head = publication.shard(f"values/{identifier}"), publication.shard("compare")
    n_tokens = sum(document["n_tokens"] for document in head["documents"])
    want, got = shared.of(index), values_of(shard, n_tokens)
    assert np.array_equal(np.isnan(got), ~np.isfinite(want))
    inside = corpus.is_measured[:n_tokens] & np.isfinite(want)
    assert np.abs(got - want)[inside].max() <= shard["scale"] / 2 + 1e-9
    assert head["unmeasured"] == np.flatnonzero(~corpus.is_measured[:n_tokens]).tolist()


def test_few_values_are_listed_alone(run: tuple[Corpus, Summary]) -> None:
    corpus, summary = run
    sparse = {
        "bounds": np.array([0, 2, *[2] * (len(summary.channels) - 1)]),
        "token": np.array([3, 70], np.int32),
        "value": np.array([1.0, 2.0], np.float16),
    }
    unit = np.ones(len(summary.channels), np.float32)
    shared = SharedValues(0, np.array([0, 1]), corpus.doc_offsets[:3].astype(np.int64), unit, sparse)
    changed = publish_to_memory(toy_config(), corpus, replace(summary, shared=[shared]))
    shard = changed.shard(f"values/{summary.channels[0].id}")
    assert shard["values"]["at"] == [3, 70]
    assert np.allclose(np.array(shard["values"]["steps"]) * shard["scale"], [1, 2], atol=shard["scale"] / 2)


def test_cosines_are_those_of_the_summary(publication: Publication, run: tuple[Corpus, Summary]) -> None:
    summary = run[1]
    head = publication.shard("compare")
    assert [space["space"] for space in head["spaces"]] == [matrix.space for matrix in summary.cosines]
    checked = 0
    for matrix, space in zip(summary.cosines, head["spaces"]):
        for row, (identifier, side) in enumerate(space["members"]):
            for own in publication.shard(f"values/{identifier}")["cosines"]:
                if head["spaces"][own["space"]] is space and own["side"] == side:
                    assert np.allclose(own["thousandths"], matrix.values[row] * 1000, atol=0.5001)
                    checked += 1
    assert checked


def test_dead_latents_and_what_is_not_published_have_no_values(publication: Publication) -> None:
    assert "values/sae/5.json" not in publication.shards
    assert "values/sae/1.json" in publication.shards


def test_without_shared_documents_the_page_stands(run: tuple[Corpus, Summary]) -> None:
    corpus, summary = run
    bare = publish_to_memory(toy_config(), corpus, replace(summary, shared=[]))
    assert bare.shard("compare")["documents"] == []
    assert all(
        bare.shard(path.removesuffix(".json"))["values"] is None
        for path in bare.shards
        if path.startswith("values/")
    )
