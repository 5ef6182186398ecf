"""What pages say of latents over hook points: from findings made by hand."""

import json
from typing import Any

import pytest

from generator.artifacts import to_json
from generator.blocks import Corpus
from generator.publish.book import Book, open_book
from generator.publish.collection import collection_shard
from generator.publish.crosscoder import class_of
from generator.publish.explorer import explorer_shard, number
from generator.publish.records import open_own_record
from generator.publish.shards import channel_shard
from generator.summaries import Summary
from tests.publish.test_schemas import validator
from tests.toy import N_LATENTS, toy_config
from tests.toy_findings import PLACES, toy_findings


@pytest.fixture(scope="module")
def book(run: tuple[Corpus, Summary]) -> Book:
    corpus, summary = run
    return open_book(toy_config(), corpus, summary, findings=toy_findings(corpus))


def shard_of(book: Book, identifier: str) -> dict[str, Any]:
    shard = channel_shard(open_own_record(book, book.index_of[identifier]))
    plain: dict[str, Any] = json.loads(to_json(shard))
    validator("channel").validate(plain)
    return plain


def test_a_latent_page_has_its_profile_classes_and_neighbours(book: Book) -> None:
    shard = shard_of(book, "sae/1")
    shown = shard["crosscoder"]
    assert shown["norms"] == [3, 16, 3, 8] and shown["peak"] == 1 and shown["class"] == "shared"
    assert shown["places"] == PLACES and shown["scaling"]["error"]["nu"] == 0.5
    top = shown["logits"][1]["top"]
    assert [shard["token_ids"][i] for i in top["text"]] == [270] and top["value"] == [1.5]
    assert [(one["id"], one["has_page"]) for one in shown["channels"][1]] == [
        ("lora/L0/o_proj", True), ("other/1", False),
    ]  # fmt: skip
    assert shown["neurons"][1] == [[0, 5, 0.5]] and shown["correlated"] == [[1, 7, 0.875]]


def test_ablation_shows_the_text_with_its_changes(book: Book) -> None:
    shard = shard_of(book, "sae/1")
    shown = shard["latent_effects"]
    (example,) = shown["examples"]
    ids = book.corpus.token_ids[book.corpus.tokens_of(0)][2:6].tolist()
    assert [shard["token_ids"][i] for i in example["text"]] == ids
    assert example["changes"] == [0.0, -0.5, 0.25, None] and example["values"] == [0, 2.0, 0, 1.0]
    (moved,) = example["moved"]
    assert [shard["token_ids"][i] for i in moved["up"]["text"]] == [270] and moved["up"]["after"] == [0.5]
    assert shown["place"] == "adapted model.layers.1:output" and shown["mean"] == -0.5
    assert shard_of(book, "sae/2")["latent_effects"] == {"undefined": "Undefined here: for a reason."}
    assert "latent_effects" not in shard_of(book, "sae/3")["panels"]


def test_classes_by_relative_norm() -> None:
    values = [0.0, 0.1, 0.2, 0.4, 0.6, 0.7, 0.9, 1.0, None]
    assert [class_of(value) for value in values] == [
        "first", "first", "between", "shared", "shared", "between", "second", "second", None,
    ]  # fmt: skip


def test_the_collection_counts_peaks_and_classes(book: Book) -> None:
    shard = json.loads(to_json(collection_shard(book, "sae")))
    validator("collection").validate(shard)
    found = shard["crosscoder"]
    alive = [f for f in range(N_LATENTS) if not book.is_dead(book.index_of[f"sae/{f}"])]
    kinds = [f % 3 for f in alive]
    assert found["n_latents"] == len(alive) and sum(found["relative_norms"]["counts"]) == len(alive)
    assert found["peaks"] == [kinds.count(0), kinds.count(1), 0, kinds.count(2)]
    assert found["relative_norms"]["classes"] == {
        "first": kinds.count(0), "shared": kinds.count(1), "second": kinds.count(2), "between": 0,
    }  # fmt: skip
    values = found["profiles"]["values"]
    assert len(values) == len(alive) and all(max(row) == found["profiles"]["steps"] for row in values)
    peaks = [row.index(max(row)) for row in values]
    assert peaks == sorted(peaks)


def test_the_explorer_sorts_by_peak_layer_and_relative_norm(book: Book) -> None:
    assert {"peak_layer", "relative_norm"} <= set(explorer_shard(book)["numbers"])
    one, direction = book.index_of["sae/1"], book.index_of["lora/L0/o_proj"]
    assert (number(book, "peak_layer", one), number(book, "relative_norm", one)) == (1, 0.45)
    assert number(book, "peak_layer", direction) is None
