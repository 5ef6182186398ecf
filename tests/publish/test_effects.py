"""Panels of findings: tokens as indices into the shard's table, and sentences where nothing is defined."""

import json

import pytest

from generator.artifacts import to_json
from generator.blocks import Corpus
from generator.findings import Findings
from generator.publish.book import open_book
from generator.publish.effects import attribution, logits
from generator.publish.records import FeatureRecord, open_own_record
from generator.publish.shards import channel_shard
from generator.summaries import Summary
from tests.publish.test_schemas import validator
from tests.toy import toy_config

DOWN, UP = "lora/L0/down_proj", "lora/L0/up_proj"
LOGITS = {
    "top": [[270, 1.5], [0, 0.25]], "bottom": [[3, -2.0], [271, -1.0]], "low": -2.0, "high": 1.5,
    "counts": [1, 0, 3], "note": "The direction’s own write: scaling · B.",
}  # fmt: skip
NUMBERS = {
    "elsewhere": -0.5, "n_elsewhere": 4, "n_tokens": 7, "value": 3.0, "measured": 3.1, "baseline_value": 0.5,
    "gap": 0.01, "n_nodes": 64,
}  # fmt: skip


@pytest.fixture(scope="module")
def record(run: tuple[Corpus, Summary]) -> FeatureRecord:
    corpus, summary = run
    found = {
        "doc": 4, "start": 2, "position": 4, "token_ids": corpus.token_ids[corpus.tokens_of(4)][2:5].tolist(),
        "scores": [1.0, -0.25, 2.5], "warning": "", **NUMBERS,
    }  # fmt: skip
    findings = {
        "logits": Findings("logits", {"divisor": 5.25}, {
            DOWN: to_json(LOGITS), UP: to_json({"undefined": "Undefined here: for a reason."}),
        }),
        "attribution": Findings("attribution", {"method": "Integrated gradients."}, {DOWN: to_json(found)}),
    }  # fmt: skip
    book = open_book(toy_config(), corpus, summary, findings=findings)
    return open_own_record(book, book.index_of[DOWN])


def other(record: FeatureRecord, identifier: str) -> FeatureRecord:
    return open_own_record(record.book, record.book.index_of[identifier])


def test_tokens_of_logit_effects_are_those_of_the_vocabulary(record: FeatureRecord) -> None:
    shard = channel_shard(record)
    for side in ("top", "bottom"):
        shown = shard["logits"][side]
        assert [shard["token_ids"][i] for i in shown["text"]] == [token for token, _ in LOGITS[side]]
        assert shown["value"] == [value for _, value in LOGITS[side]]
    assert shard["logits"]["divisor"] == 5.25
    assert {"logits", "attribution"} < set(shard["panels"])
    for made in (shard, channel_shard(other(record, UP))):
        validator("channel").validate(json.loads(to_json(made)))


def test_an_attribution_shows_the_text_of_the_document(record: FeatureRecord) -> None:
    shard = channel_shard(record)
    shown, corpus = shard["attribution"], record.book.corpus
    ids = corpus.token_ids[corpus.tokens_of(4)][2:5].tolist()
    assert [shard["token_ids"][i] for i in shown["text"]] == ids
    assert shown["scores"] == [1.0, -0.25, 2.5] and shown["position"] - shown["start"] == 2
    assert {name: shown[name] for name in NUMBERS} == NUMBERS
    assert shown["method"] == "Integrated gradients." and shown["has_page"] == (4 in record.book.documents)


def test_undefined_says_why_and_nothing_found_is_absent(record: FeatureRecord) -> None:
    assert logits(other(record, UP)) == {"undefined": "Undefined here: for a reason."}
    assert attribution(other(record, UP)) is None
    assert logits(other(record, "lora/L1/down_proj")) is None
    assert "logits" not in channel_shard(other(record, "lora/L1/down_proj"))["panels"]
