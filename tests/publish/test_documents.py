"""Document shards."""

import json

import numpy as np
import pytest

from generator.artifacts import to_json
from generator.blocks import Corpus
from generator.findings import Findings
from generator.publish.book import open_book
from generator.publish.documents import (
    LONGEST_METADATA,
    document_shard,
    share_as_strong,
    shown_metadata,
)
from generator.summaries import Summary
from tests.publish.conftest import Publication
from tests.publish.test_schemas import validator
from tests.toy import N_LATENTS, toy_config, toy_values


def test_the_whole_document_is_there(run: tuple[Corpus, Summary], publication: Publication) -> None:
    corpus, summary = run
    for doc in summary.documents["doc"].tolist():
        shard = publication.shard(f"doc/{doc}")
        tokens = corpus.tokens_of(doc)
        token_ids = [shard["token_ids"][i] for i in shard["text"]]
        assert token_ids == corpus.token_ids[tokens].tolist()
        assert shard["n_tokens"] == len(token_ids)
        assert shard["is_measured"] == corpus.is_measured[tokens].astype(int).tolist()
        raw = b"".join(corpus.token_bytes[i] for i in token_ids)
        shown = "".join(shard["tokens"][i] for i in shard["text"])
        if "\\x" not in shown:
            assert shown == raw.decode()


def test_the_strongest_channels_are_the_summarys(
    run: tuple[Corpus, Summary], publication: Publication
) -> None:
    _, summary = run
    chosen = summary.documents
    for number, doc in enumerate(chosen["doc"].tolist()):
        shard = publication.shard(f"doc/{doc}")
        first = chosen["offsets"][number]
        for token in range(shard["n_tokens"]):
            stored = zip(chosen["channel"][first + token].tolist(), chosen["value"][first + token].tolist())
            firing = [(c, v) for c, v in stored if c >= 0 and (summary.channels[c].is_signed or v)]
            places, values = (shard["strongest"][name][token] for name in ("channel", "value"))
            assert len(places) == len(values) == len(firing)
            for place, value, (index, stored_value) in zip(places, values, firing):
                entry = shard["channels"][place]
                assert entry["id"] == summary.channels[index].id
                assert entry["is_signed"] == summary.channels[index].is_signed
                assert abs(value * entry["scale"] - stored_value) <= entry["scale"] / 2 * (1 + 1e-6)


def test_the_strongest_in_the_document_come_first(publication: Publication) -> None:
    channels = publication.shard("doc/0")["channels"]
    strength = [abs(c["max_here"]) / c["reference_rms"] for c in channels]
    assert len(strength) > 8 and strength == sorted(strength, reverse=True)


def test_scales_are_those_of_the_channels_own_pages(publication: Publication) -> None:
    for channel in publication.shard("doc/1")["channels"]:
        assert channel["scale"] == publication.shard(channel["id"])["scale"]


def test_documents_follow_one_another(publication: Publication) -> None:
    shards = [publication.shard(f"doc/{doc}") for doc in range(4)]
    assert [s["next"] for s in shards] == ["doc/1", "doc/2", "doc/3", None]
    assert [s["previous"] for s in shards] == [None, "doc/0", "doc/1", "doc/2"]


def test_examples_know_which_documents_have_a_page(publication: Publication) -> None:
    examples = publication.shard("lora/L0/gate_proj")["examples"]
    assert {e["doc"] < 4 for e in examples} == {True, False}
    assert all(e["has_page"] == (e["doc"] < 4) for e in examples)


def test_names_are_one_plain_line(publication: Publication) -> None:
    assert publication.shard("doc/1")["name"] == '<b>bold</b> "quoted" {{ name }} .txt'
    assert publication.shard("doc/2")["name"] == "lone \ufffd surrogate"


@pytest.mark.parametrize("value", ["x" * 5000, ["y" * 5000], {"z": list(range(5000))}])
def test_long_metadata_is_cut(value: object) -> None:
    shown = shown_metadata({"field": value, "kind": "trace", "row": 3})
    assert len(shown["field"]) == LONGEST_METADATA and shown["field"].endswith("…")
    assert (shown["kind"], shown["row"]) == ("trace", 3)


def test_values_that_are_not_finite_are_null(run: tuple[Corpus, Summary]) -> None:
    from dataclasses import replace

    from generator.publish.book import open_book
    from generator.publish.documents import document_shard
    from generator.publish.reading import opened
    from tests.toy import toy_config

    corpus, summary = run
    value = summary.documents["value"].copy()
    value[1, 0] = np.inf
    broken = replace(summary, documents={**summary.documents, "value": value})
    shard = opened(document_shard(open_book(toy_config(), corpus, broken), 0))
    assert shard["strongest"]["value"][1][0] is None
    assert all(np.isfinite(channel["max_here"]) for channel in shard["channels"])


def test_rarity_counts_the_tokens_that_are_as_strong(run: tuple[Corpus, Summary]) -> None:
    corpus, summary = run
    book = open_book(toy_config(), corpus, summary)
    values = toy_values(corpus, summary.channels[: len(summary.channels) - N_LATENTS])
    for index in (0, 2, 7):
        own = values[corpus.is_measured, index].astype(np.float32).astype(np.float64)
        step = float(summary.histogram_step[index])
        asked = np.array([own.max(), own.min(), np.quantile(own, 0.99), np.quantile(own, 0.01)])
        for value, share in zip(asked, share_as_strong(book, index, asked), strict=True):
            # exact at the edges of bins, so between the counts at the two edges beside the value
            low, high = np.floor(value / step) * step, np.ceil(value / step) * step
            counts = sorted((own >= edge).sum() if value > 0 else (own < edge).sum() for edge in (low, high))
            assert max(counts[0], 1) / len(own) - 1e-9 <= share <= max(counts[1], 1) / len(own) + 1e-9


def test_effects_stand_by_the_place_of_their_channel(run: tuple[Corpus, Summary]) -> None:
    corpus, summary = run
    found = {"sae/1": {"at": [3, 5], "change": [-0.5, 0.25]}, "sae/999": {"at": [1], "change": [1.0]}}
    findings = {"document_effects": Findings("document_effects", {}, {"doc/0": to_json(found)})}
    book = open_book(toy_config(), corpus, summary, findings=findings)
    shard = json.loads(to_json(document_shard(book, 0)))
    validator("document").validate(shard)
    (place,) = shard["effects"]
    assert shard["channels"]["id"][int(place)] == "sae/1" and shard["effects"][place] == found["sae/1"]
    assert "effects" not in document_shard(book, 1)
