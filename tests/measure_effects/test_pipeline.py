"""The stage ``effects`` as a run file asks for it: a crosscoder trained, measured and published."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from generator.pipeline import Folders, build, load_corpus
from generator.publish.reading import opened
from tests.measure.conftest import corpus_file, make_toy  # noqa: F401 (fixtures)
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
