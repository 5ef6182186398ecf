"""Panels: selection, absence, and the reason where something is undefined."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from generator.blocks import Corpus
from generator.errors import FeaturebookError
from generator.publish import panels
from generator.publish.numbers import significant
from generator.publish.panels import ALWAYS, PANELS, selected_panels
from generator.summaries import Summary
from tests.publish.conftest import Publication, publish_to_memory
from tests.toy import toy_config

DOWN = "lora/L0/down_proj"


def test_all_panels_are_shown_in_the_order_of_the_registry(publication: Publication) -> None:
    of_latents = ["loadings", "density", "logits", "attribution", "crosscoder", "latent_effects"]
    of_other_stages = ["ablation", "runs"]
    absent = [*of_latents, *of_other_stages, "labels"]  # nobody labelled it
    assert publication.shard(DOWN)["panels"] == [name for name, _ in PANELS if name not in absent]
    absent = ["bottom_tokens", "write", "latents", *of_other_stages]
    assert publication.shard("sae/1")["panels"] == [name for name, _ in PANELS if name not in absent]


def test_the_run_file_chooses_panels_and_their_order(run: tuple[Corpus, Summary]) -> None:
    shard = publish_to_memory(toy_config(panels=["write", "top_tokens"]), *run).shard(DOWN)
    assert shard["panels"] == ["write", "top_tokens"]
    assert "profiles" not in shard
    assert shard["neighbours"] == {} and shard["bottom_tokens"] == []


def test_an_unknown_panel_names_the_nearest(run: tuple[Corpus, Summary]) -> None:
    with pytest.raises(FeaturebookError, match=r"neighbour'.*neighbours"):
        publish_to_memory(toy_config(panels=["neighbour"]), *run)


def test_a_new_panel_is_one_line(run: tuple[Corpus, Summary], monkeypatch: pytest.MonkeyPatch) -> None:
    def effects(record: Any) -> dict[str, Any]:
        return {"module": record.channel.module}

    monkeypatch.setattr(panels, "PANELS", [*PANELS, ("effects", effects)])
    shard = publish_to_memory(toy_config(), *run).shard(DOWN)
    assert shard["effects"] == {"module": "down_proj"} and shard["panels"][-1] == "effects"


def test_nothing_to_show_is_absent(run: tuple[Corpus, Summary]) -> None:
    corpus, summary = run
    bare = dataclasses.replace(summary, profiles={}, neighbours={})
    shard = publish_to_memory(toy_config(), corpus, bare).shard(DOWN)
    assert (
        "profiles" not in shard and "profiles" not in shard["panels"] and "neighbours" not in shard["panels"]
    )
    assert shard["neighbours"] == ALWAYS["neighbours"]


def test_the_write_is_scaling_times_activation_times_norm(
    run: tuple[Corpus, Summary], publication: Publication
) -> None:
    _, summary = run
    channel = next(c for c in summary.channels if c.id == DOWN)
    shard = publication.shard(DOWN)
    largest = max(abs(shard["stats"]["min"]), abs(shard["stats"]["max"]))
    assert channel.write_norm > 0
    assert shard["write"]["max"] == pytest.approx(channel.scaling * largest * channel.write_norm)
    assert shard["write"]["read_norm"] == channel.read_norm


def test_the_write_names_the_spaces_in_which_it_was_compared(publication: Publication) -> None:
    write = publication.shard(DOWN)["write"]
    assert (write["read_space"], write["write_space"]) == ("L0.mlp", "residual")
    gate = publication.shard("lora/L0/gate_proj")["write"]
    assert (gate["read_space"], gate["write_space"]) == ("residual", "L0.mlp")


def test_a_direction_that_writes_nothing_says_so(
    run: tuple[Corpus, Summary], publication: Publication
) -> None:
    _, summary = run
    silent = next(c for c in summary.channels if c.write_norm == 0)
    assert list(publication.shard(silent.id)["write"]) == ["undefined"]
    assert publication.front_matter(silent.id)["channel"]["stats"]["max_write"] == "–"


def test_tokens_and_neighbours_are_the_summarys(
    run: tuple[Corpus, Summary], publication: Publication
) -> None:
    _, summary = run
    index = [c.id for c in summary.channels].index(DOWN)
    shard = publication.shard(DOWN)
    for name, ragged in (("top_tokens", summary.top_tokens), ("bottom_tokens", summary.bottom_tokens)):
        rows = ragged.of(index)
        assert [(t["token_id"], t["mean"], t["count"]) for t in shard[name]] == list(
            zip(rows["token_id"].tolist(), map(significant, rows["mean"].tolist()), rows["count"].tolist())
        )
    for name, ragged in summary.neighbours.items():
        rows = ragged.of(index)
        assert [n["id"] for n in shard["neighbours"][name]] == [
            summary.channels[i].id for i in rows["channel"]
        ]
        assert [n["value"] for n in shard["neighbours"][name]] == [
            significant(v) for v in rows["value"].tolist()
        ]


def test_profiles_mark_empty_bins_with_null(run: tuple[Corpus, Summary], publication: Publication) -> None:
    _, summary = run
    index = [c.id for c in summary.channels].index(DOWN)
    for name, profile in summary.profiles.items():
        shown = publication.shard(DOWN)["profiles"][name]
        n = len(shown["names"])
        assert shown["names"] == profile.names[:n] and shown["count"] == profile.count[index, :n].tolist()
        assert shown["count"][-1] > 0 and not profile.count[index, n:].any()
        assert [m is None for m in shown["mean"]] == (profile.count[index, :n] == 0).tolist()
    assert any(np.any(p.count == 0) for p in summary.profiles.values()), "the toy has no empty bin"


def test_no_panel_twice() -> None:
    assert selected_panels(["write", "write"]) == [p for p in PANELS if p[0] == "write"]
