"""What channels write to the residual stream, and which channels are chosen."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generator.blocks import Channel, Directions
from generator.config import EffectsTable
from generator.errors import FeaturebookError
from generator.measure.effects.run import EffectsRun
from generator.measure.effects.stage import chosen_channels
from generator.measure.effects.writes import writes_of_adapter, writes_of_latents
from generator.progress import Silent
from generator.summaries import Loadings, Summary
from tests.toy import toy_channels, toy_config, toy_corpus, toy_summary, toy_values

WIDTH = 6


def toy_directions(channels: list[Channel]) -> list[Directions]:
    """o_proj and down_proj write to the residual stream, all others elsewhere."""
    random = np.random.default_rng(4)
    writing = np.array([i for i, c in enumerate(channels) if c.module in ("o_proj", "down_proj")])
    others = np.array([i for i in range(len(channels)) if i not in writing])
    vectors = random.standard_normal((len(channels), WIDTH)).astype(np.float32)
    return [
        Directions("residual", "read", others, vectors[others]),
        Directions("residual", "write", writing, vectors[writing]),
        Directions("L0.mlp", "write", others, vectors[others]),
    ]


def test_a_direction_writes_scaling_times_b() -> None:
    channels = [replace(c, scaling=2.0 + i) for i, c in enumerate(toy_channels())]
    directions = toy_directions(channels)
    found = writes_of_adapter(channels, directions)
    wanted = {
        channels[i].id: channels[i].scaling * v for i, v in zip(directions[1].channels, directions[1].vectors)
    }
    assert found.ids == [c.id for c in channels if c.module in ("o_proj", "down_proj")]
    for identifier, vector in zip(found.ids, found.vectors(slice(None)), strict=True):
        assert torch.equal(vector, torch.from_numpy(wanted[identifier].astype(np.float32)))
    assert set(found.ids) | set(found.undefined) == {c.id for c in channels}
    assert "q_proj does not write to the residual stream" in found.undefined["lora/L0/q_proj"]


def latent_summary(summary: Summary, inputs: list[str]) -> Summary:
    """The channels as if they were latents that read ``inputs``."""
    n = len(summary.channels)
    random = np.random.default_rng(9)
    read, write = random.standard_normal((2, n, len(inputs))).astype(np.float32)
    latents = [
        replace(c, id=f"sae/{i}", collection="sae", kind="sae", layer=-1)
        for i, c in enumerate(summary.channels)
    ]
    return replace(summary, channels=latents, loadings=[Loadings(np.arange(n), inputs, read, write)])


@pytest.fixture(scope="module")
def summary() -> Summary:
    corpus, channels = toy_corpus(), toy_channels()
    return toy_summary(corpus, channels, toy_values(corpus, channels))


def test_a_latent_writes_the_sum_over_its_inputs(summary: Summary) -> None:
    channels = summary.channels
    inputs = [c.id for c in channels if c.layer >= 0][::-1]
    latents = latent_summary(summary, inputs)
    directions = toy_directions(channels)
    found = writes_of_latents(latents, channels, directions)
    (table,) = latents.loadings
    index_of = {c.id: i for i, c in enumerate(channels)}
    write = {int(i): v for i, v in zip(directions[1].channels, directions[1].vectors)}
    for row, (identifier, vector) in enumerate(zip(found.ids, found.vectors(slice(None)), strict=True)):
        total = np.zeros(WIDTH)
        for column, name in enumerate(inputs):
            index = index_of[name]
            if index in write:
                total += table.write[row, column] * channels[index].scaling * write[index].astype(np.float64)
        assert identifier == f"sae/{row}" and vector.numpy() == pytest.approx(total, rel=1e-4, abs=1e-4)
    assert "o_proj" in found.note and "down_proj" in found.note
    blind = writes_of_latents(latent_summary(summary, ["lora/L0/q_proj"]), channels, directions)
    assert not blind.ids and "none of the directions" in blind.undefined["sae/0"]


def run_of(summary: Summary, latents: Summary, **options: Any) -> EffectsRun:
    config = toy_config(picked=["lora/L1/up_proj"]).model_copy(update={"effects": EffectsTable(**options)})
    return EffectsRun(config, toy_corpus(), Path(), summary, {"sae": latents}, Path(), Silent())


def test_picked_channels_come_first_then_layers_and_collections_take_turns(summary: Summary) -> None:
    latents = latent_summary(summary, ["lora/L0/q_proj"])
    found = [s.channels[i] for s, i in chosen_channels(run_of(summary, latents, attribution=5))]
    assert found[0].id == "lora/L1/up_proj" and len({c.id for c in found}) == 5
    assert {(c.collection, c.layer) for c in found[1:]} == {
        ("lora", 0),
        ("lora", 1),
        ("lora", -1),
        ("sae", -1),
    }
    named = chosen_channels(run_of(summary, latents, attribution=["lora/L0/*_proj", "sae/3"]))
    assert {s.channels[i].id for s, i in named} == {
        *(c.id for c in summary.channels if c.layer == 0), "sae/3",
    }  # fmt: skip
    with pytest.raises(FeaturebookError, match="no channel matches"):
        chosen_channels(run_of(summary, latents, attribution=["lora/L9/*"]))
