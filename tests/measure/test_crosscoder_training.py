"""Crosscoders from the run file to the page: trained from the model, read again, and shown at the right token."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generator.errors import FeaturebookError
from generator.measure.dictionaries import load_dictionary
from generator.measure.dictionaries.crosscoder_learning import Parts, save_crosscoder_learning
from generator.measure.streams import ModelSource
from generator.measure.training.rows import is_held_out
from generator.measure.variants import Models
from generator.pipeline import Folders, build
from generator.progress import Silent
from generator.publish.reading import opened
from generator.stages.corpus import load_corpus
from tests.measure.test_collections import D, latents, run, token_sae
from tests.measure.toys import Toy

TRAIN = {
    "batch": 8,
    "epochs": 30,
    "warmup_steps": 2,
    "held_out": 0.3,
    "width": 48,
    "k": 5,
    "dead_after": 10**6,
}
BETWEEN: dict[str, Any] = {
    "name": "cc",
    "kind": "crosscoder",
    "hook_points": ["blocks.1.hook_resid_post"],
    "models": ["base", "adapted"],
}
ACROSS = {"name": "layers-of-one", "kind": "crosscoder", "hook_points": ["blocks.*.hook_resid_post"]}


@pytest.fixture(scope="module")
def trained(make_toy: Callable[..., Toy], tmp_path_factory: pytest.TempPathFactory) -> tuple[Toy, Path]:
    toy, folder = make_toy("qwen2", r=2), tmp_path_factory.mktemp("trained")
    tables = [{**table, "train": TRAIN} for table in (BETWEEN, ACROSS)]
    return toy, run(toy, folder, *tables, extract={"keep_activations": False})


def test_crosscoders_learn_from_the_model_itself(trained: tuple[Toy, Path]) -> None:
    toy, folder = trained
    corpus = load_corpus(Folders(folder))
    for table, n_places in ((BETWEEN, 2), (ACROSS, 3)):
        own = folder / "dictionaries" / table["name"]
        facts = json.loads((own / "training.json").read_bytes())
        lines = [json.loads(line) for line in (own / "metrics.jsonl").read_text().splitlines()]
        curve = [line["fvu"] for line in lines if "step" in line]
        assert curve[-1] < 0.5 * curve[0]
        crosscoder = load_dictionary(own, "crosscoder_learning", d_in=n_places * D)
        config = toy.config(collections=[{**table, "train": TRAIN}])
        source = ModelSource(config.collections[0], Models(config, corpus, Silent()))
        (block,) = source.blocks(slice(0, corpus.n_tokens), 10**6)
        source.close()
        side = is_held_out(corpus.doc, TRAIN["held_out"], 42) & corpus.is_measured
        x = block.values[side].astype(np.float64)
        rebuilt = crosscoder.reconstruct(torch.from_numpy(block.values[side])).double().numpy()
        error, spread = (
            ((x - y) ** 2).reshape(len(x), n_places, D).sum((0, 2)) for y in (rebuilt, x.mean(0))
        )
        np.testing.assert_allclose(facts["held_out"]["fvu_by_place"], error / spread, rtol=1e-3)
        shown = latents(folder, table["name"]).facts["collections"][table["name"]]
        assert shown["held_out"]["fvu_by_place"] == facts["held_out"]["fvu_by_place"]
        assert len(shown["places"]) == n_places


def test_places_have_names_for_axes(trained: tuple[Toy, Path]) -> None:
    _, folder = trained
    places = latents(folder, "layers-of-one").facts["collections"]["layers-of-one"]["places"]
    assert [place["name"] for place in places] == [f"L{layer} resid_post" for layer in range(3)]
    assert {place["model"] for place in places} == {"adapted"}


def test_a_trained_one_is_read_elsewhere_by_its_path(trained: tuple[Toy, Path], tmp_path: Path) -> None:
    toy, folder = trained
    path = folder / "dictionaries" / "cc"
    table = {**BETWEEN, "path": str(path), "format": "crosscoder_learning", "is_square": True}
    again, first = latents(run(toy, tmp_path, table), "cc"), latents(folder, "cc")
    np.testing.assert_array_equal(again.statistics["max"], first.statistics["max"])
    assert again.facts["collections"]["cc"]["held_out"] == first.facts["collections"]["cc"]["held_out"]
    (plane,) = again.maps
    assert len(plane.channels) == np.count_nonzero(again.statistics["share_active"])
    with pytest.raises(FeaturebookError, match=r"trained on other places: model\.layers\.1:output"):
        run(toy, tmp_path, {**table, "hook_points": ["blocks.2.hook_resid_post"]})


def test_the_page_lights_up_exactly_the_token_that_a_latent_knows(
    make_toy: Callable[..., Toy], tmp_path: Path
) -> None:
    toy = make_toy("qwen2", r=2)
    corpus = toy.corpus()
    sae_folder, token = token_sae(toy, tmp_path / "sae", corpus)
    sae = load_dictionary(sae_folder, "saelens", d_in=D)
    n, scale = sae.n_features, torch.tensor([2.0, 0.5])
    halves = sae.W_enc.T.expand(2, D, n) / 2
    parts = Parts(
        W_enc=halves / scale[:, None, None],
        b_enc=torch.zeros(n),
        W_dec=(sae.W_dec * scale[:, None, None]).contiguous(),
        b_dec=torch.zeros(2, D),
        mean=torch.zeros(2, D),
        deviation=torch.ones(2, D),
        scale=scale,
        k=1,
        threshold=float(sae.activation.threshold[0] * (sae.W_dec[0].norm() * scale).sum()),  # type: ignore[union-attr]
    )
    save_crosscoder_learning(parts, tmp_path / "cc", {})
    table = {
        **BETWEEN,
        "hook_points": ["blocks.0.hook_resid_pre"],  # the embeddings, which the adapter leaves as they are
        "path": str(tmp_path / "cc"),
        "format": "crosscoder_learning",
    }
    folders = Folders(tmp_path / "build", tmp_path / "docs", tmp_path / "labels")
    build(toy.config(collections=[table], publish={"title": "x"}), folders)
    shard = json.loads((tmp_path / "build/shards/cc/0.json").read_bytes())
    lit, dark = 0, 0
    for example in opened(shard)["examples"]:
        for text, value in zip(example["text"], example["values"], strict=True):
            assert (value > 0) == (shard["token_ids"][text] == token)
            lit, dark = lit + (value > 0), dark + (value == 0)
        if example["value"] > 0:
            assert shard["token_ids"][example["text"][example["position"] - example["start"]]] == token
    assert lit > 1 and dark > lit
    n_here = int((corpus.token_ids[corpus.is_measured] == token).sum())
    assert round(shard["stats"]["density"] * shard["stats"]["n_tokens"]) == n_here
    assert {row["token_id"] for row in shard["top_tokens"]} <= {token}
