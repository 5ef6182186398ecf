"""What a channel's shard says of the summary: nothing lost, nothing rounded beyond what is stated."""

import dataclasses

import numpy as np
import pytest

from generator.blocks import Corpus
from generator.publish.book import Book, open_book
from generator.publish.numbers import significant
from generator.publish.records import basis_sentence, open_record, quantise, scale_of
from generator.publish.tokens import join_bytes
from generator.summaries import Summary
from tests.publish.conftest import Publication, publish_to_memory
from tests.toy import toy_config

GATE = "lora/L0/gate_proj"


def _index(summary: Summary, identifier: str) -> int:
    return [channel.id for channel in summary.channels].index(identifier)


def test_every_example_of_the_summary_is_there_in_its_order(
    run: tuple[Corpus, Summary], publication: Publication
) -> None:
    corpus, summary = run
    for index, channel in enumerate(summary.channels):
        shard, rows = publication.shard(channel.id), summary.examples.of(index)
        if shard["is_dead"]:
            assert shard["examples"] == []
            continue
        want = list(zip(rows["group"], rows["doc"], rows["position"], rows["start"], rows["value"]))
        got = [
            (summary.groups.index(e["group"]), e["doc"], e["position"], e["start"], e["value"])
            for e in shard["examples"]
        ]
        assert got == want
        for example, length in zip(shard["examples"], rows["length"]):
            first = corpus.doc_offsets[example["doc"]] + example["start"]
            assert example["token_ids"] == corpus.token_ids[first : first + length].tolist()
            texts = [shard["tokens"][i] for i in example["text"]]
            assert texts == join_bytes([corpus.token_bytes[i] for i in example["token_ids"]])


def test_top_falls_and_bottom_rises(publication: Publication) -> None:
    examples = publication.shard(GATE)["examples"]
    top = [e["value"] for e in examples if e["group"] == "top"]
    bottom = [e["value"] for e in examples if e["group"] == "bottom"]
    assert len(top) > 1 and len(bottom) > 1
    assert top == sorted(top, reverse=True) and bottom == sorted(bottom)


def test_quantised_values_are_within_half_a_step(
    run: tuple[Corpus, Summary], publication: Publication
) -> None:
    _, summary = run
    n_null = 0
    for index, channel in enumerate(summary.channels):
        shard, rows = publication.shard(channel.id), summary.examples.of(index)
        for example, at in zip(shard["examples"], rows["values_at"].tolist()):
            stored = summary.example_values[at : at + len(example["values"])].astype(np.float64)
            got = np.array([np.nan if v is None else v * shard["scale"] for v in example["values"]])
            assert (np.isnan(got) == ~np.isfinite(stored)).all()
            assert np.nanmax(np.abs(got - stored), initial=0) <= shard["scale"] / 2 * (1 + 1e-9)
            n_null += int(np.isnan(got).sum())
    assert n_null > 0, "the toy lost its values that are not finite"


def test_the_scale_takes_the_largest_measured_value_to_a_thousand(publication: Publication) -> None:
    shard = publication.shard(GATE)
    largest = max(abs(shard["stats"]["min"]), shard["stats"]["max"])
    assert shard["scale"] == largest / 1000
    peaks = [e["values"][e["position"] - e["start"]] for e in shard["examples"] if e["group"] == "top"]
    assert peaks[0] == 1000


def test_a_channel_of_zeros_has_a_scale_of_zero(publication: Publication) -> None:
    shard = publication.shard("lora/L0/o_proj")
    assert shard["scale"] == 0 and shard["stats"]["max"] == 0
    assert {v for e in shard["examples"] for v in e["values"]} == {0}
    assert shard["stats"]["skewness"] is None


def test_a_channel_that_is_zero_where_measured_is_scaled_by_the_rest(run: tuple[Corpus, Summary]) -> None:
    corpus, summary = run
    values = np.where(np.isfinite(summary.example_values), summary.example_values, 0)
    zeros = {
        **summary.statistics,
        "min": np.zeros(len(summary.channels)),
        "max": np.zeros(len(summary.channels)),
    }
    book = open_book(
        toy_config(), corpus, dataclasses.replace(summary, statistics=zeros, example_values=values)
    )
    rows = summary.examples.of(0)
    windows = [values[a : a + n] for a, n in zip(rows["values_at"], rows["length"])]
    assert scale_of(book, 0) == pytest.approx(np.abs(np.concatenate(windows)).max() / 1000)


def test_values_beyond_the_measured_range_keep_their_precision() -> None:
    assert np.asarray(quantise(np.array([2.5, -0.25]), 1e-3)).tolist() == [2500, -250]
    assert quantise(np.array([np.inf, 1.0]), 0.5) == [None, 2]


def test_statistics_are_the_summarys(run: tuple[Corpus, Summary], publication: Publication) -> None:
    corpus, summary = run
    index = _index(summary, GATE)
    stats = publication.shard(GATE)["stats"]
    for name in ("n_tokens", "n_documents", "n_nonfinite", "mean", "std", "skewness", "min", "max"):
        assert stats[name] == summary.statistics[name][index]
    assert stats["density"] == summary.statistics["share_active"][index]
    assert stats["share_documents"] == stats["n_documents"] / corpus.n_docs
    assert stats["threshold"] == summary.channels[index].threshold
    assert [float(level) for level in stats["quantiles"]] == sorted(summary.quantile_levels.tolist())
    assert stats["quantiles"]["0.001"] == significant(summary.quantiles[index, 0])


def test_the_histogram_has_the_summarys_bins(run: tuple[Corpus, Summary], publication: Publication) -> None:
    _, summary = run
    index = _index(summary, GATE)
    histogram, stats = publication.shard(GATE)["histogram"], publication.shard(GATE)["stats"]
    assert sum(histogram["counts"]) == stats["n_tokens"]
    assert len(histogram["edges"]) == len(histogram["counts"]) + 1
    assert histogram["edges"][0] <= stats["min"] and stats["max"] <= histogram["edges"][-1]
    steps = np.diff(histogram["edges"])
    assert (steps == summary.histogram_step[index]).all()


def test_groups_say_how_many_tokens_they_stand_for(
    run: tuple[Corpus, Summary], publication: Publication
) -> None:
    _, summary = run
    shard = publication.shard(GATE)
    groups = {g["group"]: g for g in shard["groups"]}
    assert list(groups) == summary.groups
    stats = shard["stats"]
    assert groups["top"]["count"] == round(stats["share_positive"] * stats["n_tokens"])
    assert groups["top"]["share"] == pytest.approx(stats["share_positive"])
    assert groups["bottom"]["low"] == significant(stats["min"])
    band = next(name for name in groups if name.startswith("band:+"))
    assert 0 < groups[band]["low"] < groups[band]["high"] == significant(stats["max"])
    inside = [e for e in shard["examples"] if e["group"] == band]
    assert inside and all(groups[band]["low"] <= e["value"] <= groups[band]["high"] for e in inside)


def test_a_group_that_stands_for_no_token_has_no_range(run: tuple[Corpus, Summary]) -> None:
    corpus, summary = run
    n = len(summary.channels)
    above = {
        **summary.statistics,
        "min": np.full(n, 0.3),
        "share_negative": np.zeros(n),
        "share_positive": np.ones(n),
    }
    shard = publish_to_memory(toy_config(), corpus, dataclasses.replace(summary, statistics=above)).shard(
        GATE
    )
    bottom = next(group for group in shard["groups"] if group["group"] == "bottom")
    assert bottom == {
        "group": "bottom",
        "count": 0,
        "share": 0.0,
        "share_of_side": None,
        "low": None,
        "high": None,
        "n_examples": bottom["n_found"],
        "n_found": int((summary.groups.index("bottom") == summary.examples.of(0)["group"]).sum()),
    }


def test_previous_and_next_walk_the_whole_table_once(
    run: tuple[Corpus, Summary], publication: Publication
) -> None:
    _, summary = run
    shards = {c.id: publication.shard(c.id) for c in summary.channels}
    (first,) = [name for name, shard in shards.items() if shard["previous"] is None]
    walk = [first]
    while shards[walk[-1]]["next"]:
        walk.append(shards[walk[-1]]["next"])
        assert shards[walk[-1]]["previous"] == walk[-2]
    assert sorted(walk) == sorted(shards)
    layers = [shards[name]["layer"] for name in walk]
    assert layers == sorted(layers, key=lambda x: (x is None, x)), "those outside the layers come last"


def test_the_basis_is_named(book: Book) -> None:
    sentences = {c.id: basis_sentence(c) for c in book.summary.channels}
    assert "rank-1" in sentences[GATE]
    assert "singular value" in sentences["lora/L1/q_proj/r1"] and "1 of 3" in sentences["lora/L1/q_proj/r1"]
    rows = dataclasses.replace(book.summary.channels[0], rank=8, rank_index=2, basis="rows")
    assert "invertible mixing" in basis_sentence(rows)
    assert basis_sentence(dataclasses.replace(rows, kind="sae")) == ""


def test_a_channel_without_sign_has_no_bottom(run: tuple[Corpus, Summary]) -> None:
    corpus, summary = run
    channels = [dataclasses.replace(c, is_signed=False, kind="sae") for c in summary.channels]
    shard = publish_to_memory(toy_config(), corpus, dataclasses.replace(summary, channels=channels)).shard(
        GATE
    )
    assert shard["bottom_tokens"] == [] and "bottom_tokens" not in shard["panels"]
    assert "bottom" not in [g["group"] for g in shard["groups"]]


def test_a_record_without_examples_is_still_a_record(run: tuple[Corpus, Summary]) -> None:
    corpus, summary = run
    empty = {name: column[:0] for name, column in summary.examples.columns.items()}
    offsets = np.zeros_like(summary.examples.offsets)
    bare = dataclasses.replace(
        summary, examples=dataclasses.replace(summary.examples, offsets=offsets, columns=empty)
    )
    publication = publish_to_memory(toy_config(), corpus, bare)
    assert publication.shard(GATE)["examples"] == []
    assert publication.shard("home")["cards"][0]["example"] is None
    assert open_record(open_book(toy_config(), corpus, bare), 0).scale > 0
