"""Loss recovered at a hook point against a rerun by hand, document by document."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from generator.blocks import Corpus
from generator.measure.dictionaries import Dictionary
from generator.measure.dictionaries.activations import JumpRelu
from generator.measure.effects.reading import PlaceReader
from generator.measure.training.replayed import loss_replayed
from generator.measure.variants import Models
from generator.pipeline import Folders, build
from generator.progress import Silent
from generator.stages.corpus import load_corpus
from tests.measure.toys import Toy

D = 32
DOCS = [0, 1, 3]


def setting(
    make_toy: Callable[..., Toy], tmp_path: Path, point: str, family: str = "qwen2", **changes: Any
) -> tuple[PlaceReader, Corpus]:
    table = {"name": "sae", "path": "x", "hook_points": [point], **changes}
    config = make_toy(family).config(collections=[table])
    folders = Folders(tmp_path / "build", tmp_path / "docs", tmp_path / "labels")
    build(config, folders, only=["corpus"])
    corpus = load_corpus(folders)
    return PlaceReader(config.collections[0], Models(config, corpus, Silent())), corpus


def signs(scale: float = 1.0, centre: float = 0.0) -> Dictionary:
    """Two latents per input, one for each sign: rebuilds exactly at scale 1."""
    W = torch.cat([torch.eye(D), -torch.eye(D)])
    bias = torch.zeros(2 * D)
    return Dictionary(W, bias, scale * W, torch.full((D,), centre), JumpRelu(bias))


def by_hand(reader: PlaceReader, corpus: Corpus, values: Callable[[torch.Tensor], torch.Tensor]) -> float:
    """Mean cross-entropy with the place's measured vectors replaced by ``values`` of them."""
    model, point = reader.models.get("adapted").model, reader.places[0].point
    losses = []
    for doc in DOCS:
        span = corpus.tokens_of(doc)
        ids = torch.from_numpy(corpus.token_ids[span.start : span.stop].astype(np.int64))[None]
        kept = torch.from_numpy(corpus.is_measured[span.start : span.stop])

        def change(_: Any, __: Any, output: Any, kept: torch.Tensor = kept) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            hidden = hidden.clone()
            hidden[0, kept] = values(hidden[0, kept])
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        handle = model.get_submodule(point.path).register_forward_hook(change)
        with torch.no_grad():
            found = model(input_ids=ids).logits[0].double()
        handle.remove()
        each = F.cross_entropy(found[:-1], ids[0, 1:], reduction="none")
        losses.append(each[kept[:-1]])
    return float(torch.cat(losses).mean())


@pytest.mark.parametrize("point", ["layers.1", "layers.0.mlp"])
@pytest.mark.parametrize("family", ["qwen2", "gpt2"])
def test_each_pass_is_a_rerun_by_hand(
    point: str, family: str, make_toy: Callable[..., Toy], tmp_path: Path
) -> None:
    point = point.replace("layers", "h") if family == "gpt2" else point
    reader, corpus = setting(make_toy, tmp_path, point, family)
    half = signs(0.5, centre=0.25)
    found = loss_replayed(reader, corpus, half, DOCS, batch_tokens=40)
    seen: list[torch.Tensor] = []
    full = by_hand(reader, corpus, lambda x: (seen.append(x.double()), x)[1])
    mean = torch.cat(seen).mean(0).float()
    assert found["loss"]["full"] == pytest.approx(full, abs=1e-5)
    assert found["loss"]["rebuilt"] == pytest.approx(
        by_hand(reader, corpus, lambda x: 0.5 * x + 0.25), abs=1e-5
    )
    assert found["loss"]["baseline"] == pytest.approx(
        by_hand(reader, corpus, lambda x: mean.expand_as(x)), abs=1e-5
    )
    assert abs(found["loss"]["rebuilt"] - full) > 1e-3, "the case tests nothing"
    assert found["replayed"] == reader.places[0].name and found["baseline"] == "place at its mean"


def test_what_rebuilds_exactly_gives_one(make_toy: Callable[..., Toy], tmp_path: Path) -> None:
    reader, corpus = setting(make_toy, tmp_path, "layers.1")
    found = loss_replayed(reader, corpus, signs(), DOCS)
    assert found["loss"]["rebuilt"] == pytest.approx(found["loss"]["full"], abs=1e-6)
    assert found.get("value") is None or found["value"] == pytest.approx(1, abs=1e-4)


def test_a_centred_place_keeps_the_mean_of_its_components(
    make_toy: Callable[..., Toy], tmp_path: Path
) -> None:
    reader, corpus = setting(make_toy, tmp_path, "layers.1", is_centred=True)
    found = loss_replayed(reader, corpus, signs(), DOCS)
    assert found["loss"]["rebuilt"] == pytest.approx(found["loss"]["full"], abs=1e-6)


def test_a_transcoder_and_an_encoder_say_why_not(make_toy: Callable[..., Toy], tmp_path: Path) -> None:
    reader, corpus = setting(make_toy, tmp_path, "layers.1")
    W = torch.eye(D)
    other = Dictionary(W, torch.zeros(D), W, torch.zeros(D), JumpRelu(torch.zeros(D)), is_transcoder=True)
    assert "another place" in loss_replayed(reader, corpus, other, DOCS)["undefined"]
    reader, corpus = setting(make_toy, tmp_path / "bert", "layer.1", "bert")
    assert "no next token" in loss_replayed(reader, corpus, signs(), DOCS)["undefined"]
