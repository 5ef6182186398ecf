"""The stage ``effects`` as a run file asks for it: a crosscoder trained, measured and published."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generator.errors import FeaturebookError
from generator.findings import load_findings
from generator.measure.collections import load_as_collected
from generator.pipeline import Folders, build
from generator.publish.reading import opened
from generator.stages.corpus import load_corpus
from generator.summaries import Summary
from tests.measure.conftest import corpus_file, make_toy  # noqa: F401 (fixtures)
from tests.measure.test_collections import crosscoder_table, save_crosscoder
from tests.measure.toys import Toy

CROSSCODER: dict[str, Any] = {
    "name": "cc", "kind": "crosscoder", "hook_points": ["blocks.*.hook_resid_post"], "models": ["base", "adapted"],
    "train": {"batch": 8, "epochs": 4, "warmup_steps": 2, "held_out": 0.3, "width": 24, "k": 4, "dead_after": 10**6},
}  # fmt: skip


def test_effects_reach_the_pages(make_toy: Callable[..., Toy], tmp_path: Path) -> None:  # noqa: F811
    toy = make_toy("qwen2", r=2)
    effects = {"latents": 3, "examples": 2, "documents": 1, "attribution": 2, "nodes": 8, "max_nodes": 8}
    config = toy.config(collections=[CROSSCODER], effects=effects)
    folders = Folders(build=tmp_path / "build", docs=tmp_path / "docs")
    folders.docs.mkdir()
    build(config, folders)
    corpus = load_corpus(folders)

    def shard_of(identifier: str) -> dict[str, Any]:
        found: dict[str, Any] = opened(
            json.loads((folders.build / "shards" / f"{identifier}.json").read_bytes())
        )
        return found

    shards = [shard_of(f"cc/{f}") for f in range(24)]
    alive = [shard for shard in shards if not shard["is_dead"]]
    assert alive and all(len(shard["crosscoder"]["norms"]) == 6 for shard in alive)
    ablated = [shard for shard in alive if "latent_effects" in shard]
    assert 1 <= len(ablated) <= 3
    for shard in ablated:
        by_peak = {(one["doc"], one["position"]): one for one in shard["examples"]}
        for example in shard["latent_effects"]["examples"]:
            tokens = corpus.tokens_of(example["doc"])
            ids = corpus.token_ids[tokens][example["start"] : example["start"] + len(example["text"])]
            assert [shard["token_ids"][i] for i in example["text"]] == ids.tolist()
            peak = example["values"][example["position"] - example["start"]]
            wanted = by_peak[example["doc"], example["position"]]["value"]
            assert peak == pytest.approx(wanted, rel=1e-2)  # as collecting measured it
    assert shard_of("collection/cc")["crosscoder"]["n_latents"] == len(alive)
    directions = [shard_of(f"lora/L0/down_proj/r{r}") for r in range(2)]
    assert all(len(shard["logits"]["top"]["text"]) == 10 for shard in directions)
    documents = [shard_of(f"doc/{doc}") for doc in range(corpus.n_docs)]
    assert sum("effects" in shard for shard in documents) == 1


def test_estimated_factors_and_a_chosen_place_reach_the_effects(
    make_toy: Callable[..., Toy],  # noqa: F811
    tmp_path: Path,
) -> None:
    toy = make_toy("qwen2", r=2)
    tables = [
        crosscoder_table(save_crosscoder(tmp_path / "two", 2), input_factor="estimate"),
        crosscoder_table(
            save_crosscoder(tmp_path / "three", 3), name="across", hook_points=["layers.*"], models=["adapted"],
            input_factor="estimate",
        ),
    ]  # fmt: skip
    effects = {"parts": ["logits", "latent_effects"], "latents": 2, "examples": 1, "documents": 0}
    folders = Folders(build=tmp_path / "build", docs=tmp_path / "docs")
    folders.docs.mkdir()
    config = toy.config(collections=tables, effects=effects | {"ablate_at": "blocks.0.hook_resid_post"})
    build(config, folders)
    logits = load_findings(folders.build / "effects" / "logits.h5")
    ablated = load_findings(folders.build / "effects" / "latent_effects.h5")
    for name in ("cc", "across"):
        summary = Summary.load(folders.build / "latents" / f"{name}.h5")
        dictionary = load_as_collected(
            config.collections[name == "across"], folders.build, summary.facts["collections"][name]
        )
        found = [logits.of(channel.id) for channel in summary.channels]
        assert all(one is not None and "top" in one for one in found)
        norms = dictionary.W_dec[:, -32:].norm(dim=1)
        tops = torch.tensor([one["top"][0][1] for one in found if one])
        assert np.corrcoef(norms, tops)[0, 1] > 0.5  # of the decoder in the model's units
    places = {
        ablated.of(i)["place"] for i in ("across/0", *(f"across/{f}" for f in range(40))) if ablated.of(i)
    }  # type: ignore[index]
    assert places == {0}  # it reads that place; the other one does not, and keeps to its peaks
    with pytest.raises(FeaturebookError, match=r"ablate_at = 'layers\.2:input' is no place of a collection"):
        wrong = toy.config(collections=tables, effects=effects | {"ablate_at": "layers.2:input"})
        build(wrong, folders, only=["effects"])
