"""The demo's two crosscoders, computed again from the shipped files: what docs/demo.md says of them is so."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from generator.config import load_run
from generator.demo import corpus, recipe
from generator.measure.training.rows import is_held_out
from tests.test_demo import DEMO, REPOSITORY, Read, row_of_page, share_of_hits, strongest

CROSSCODERS = {"crosslayer": 6, "modeldiff": 2}  # name -> places
NAMED = [
    # latent, name, what the text up to and including the peak ends with
    ("crosslayer/38", "“Let” opens a paragraph: a check or a correction", r"\n\nLet$"),
    ("crosslayer/93", "a check comes out right: “Yes”", r"\. Yes$"),
    ("crosslayer/117", "whose turn it is: “answer”", r"<\|im_start\|>answer$"),
    ("crosslayer/206", "“Final answer: ”, a number comes", r"Final answer: $"),
    ("crosslayer/216", "a result is rejected: “is not”", r" is not$"),
    ("crosslayer/222", "“Hold on”, before a doubt", r"\n\nHold on$"),
    ("modeldiff/34", "the second side of a garden: “35 m long and”", r"\d m long and$"),
    ("modeldiff/191", "a result is rejected: “is not”", r" is not$"),
    ("modeldiff/264", "a check comes out right: “Yes,”", r"\. Yes,$"),
    ("modeldiff/396", "“Wait”, a doubt opens a paragraph", r"\n\nWait$"),
    ("modeldiff/422", "“Let” opens a paragraph: a check or a correction", r"\n\nLet$"),
]
"""The latents that docs/demo.md names."""


def streams(model: PeftModel, ids: list[int]) -> np.ndarray:
    """The residual stream after every layer: (layer, token, d_model)."""
    with torch.no_grad():
        found = model.base_model.model.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    # transformers puts the final norm behind the last one, so the last layer is read by a hook instead
    return torch.cat([*found[1:-1], LAST.pop()]).numpy()


LAST: list[torch.Tensor] = []


@dataclass(frozen=True)
class Inputs:
    """The residual stream at the places of both crosscoders."""

    contexts: list[list[int]]
    doc: np.ndarray
    is_special: np.ndarray
    is_whole: np.ndarray  # (token,): its document is not longer than the model's context
    rows: dict[str, np.ndarray]  # name -> (token, places, d_model)


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    """One pass of the adapted and one of the base model over the published corpus."""
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "base")
    model = AutoModelForCausalLM.from_pretrained(DEMO / "base", dtype=torch.float32)
    model = PeftModel.from_pretrained(model, DEMO / "adapter").eval()
    layers = model.base_model.model.model.layers
    layers[-1].register_forward_hook(lambda m, a, out: LAST.append(out if torch.is_tensor(out) else out[0]))
    contexts, docs, whole, across, between = [], [], [], [], []
    for index, document in enumerate(corpus.published()):
        every = tokenizer(document.text)["input_ids"]
        ids = every[: recipe.Recipe().context]
        adapted = streams(model, ids)
        with model.disable_adapter():
            base = streams(model, ids)
        across.append(adapted.transpose(1, 0, 2))
        between.append(np.stack([base[3], adapted[3]], axis=1))
        contexts += [ids[max(0, i - 59) : i + 1] for i in range(len(ids))]
        docs += [index] * len(ids)
        whole += [len(ids) == len(every)] * len(ids)
    special = np.isin([context[-1] for context in contexts], tokenizer.all_special_ids)
    rows = {"crosslayer": np.concatenate(across), "modeldiff": np.concatenate(between)}
    return Inputs(contexts, np.array(docs), special, np.array(whole), rows)


def tensors(name: str) -> dict[str, np.ndarray]:
    file = load_file(DEMO / name / "model.safetensors")
    return {key: tensor.double().numpy() for key, tensor in file.items()}


def encoded(name: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Latents (times their decoder norms) and reconstruction, by the format's formula: x is (token, place, d_model)."""
    a = tensors(name)
    scale = a["activation_global_scale"][:, None]
    pre = (
        np.einsum("tpd,pdf->tf", (x - a["activation_mean"]) * scale, a["encoder.weight"]) + a["encoder.bias"]
    )
    code = np.maximum(pre, 0) * np.linalg.norm(a["decoder.weight"], axis=2).sum(0)
    code *= code > a["threshold"]
    z = code / np.linalg.norm(a["decoder.weight"], axis=2).sum(0)
    rebuilt = np.einsum("tf,pfd->tpd", z, a["decoder.weight"]) + a["decoder.bias"]
    return code, rebuilt / scale + a["activation_mean"]


def parts(n: int) -> Iterator[slice]:
    return (slice(start, start + 8192) for start in range(0, n, 8192))


@pytest.fixture(scope="module")
def read(inputs: Inputs) -> Read:
    """The named latents at every token."""
    values: dict[str, np.ndarray] = {}
    for name, rows in inputs.rows.items():
        wanted = [latent for latent, *_ in NAMED if latent.startswith(f"{name}/")]
        columns = [int(latent.split("/")[1]) for latent in wanted]
        found = np.concatenate([encoded(name, rows[part])[0][:, columns] for part in parts(len(rows))])
        values |= dict(zip(wanted, np.where(inputs.is_special[:, None], np.nan, found).T))
    return Read(inputs.contexts, inputs.doc, values)


@pytest.mark.parametrize(("latent", "title", "pattern"), NAMED, ids=lambda x: str(x)[:24])
def test_named_latents_fire_where_the_docs_say(read: Read, latent: str, title: str, pattern: str) -> None:
    tokens = strongest(read, latent)
    assert (read.values[latent][tokens] > 0).all()
    share = share_of_hits(read, tokens, pattern)
    _, told_name, told_share, *_ = row_of_page(latent)
    assert told_name == title
    assert share >= 0.75
    assert share == pytest.approx(float(told_share.rstrip(" %")) / 100, abs=0.07)
    lines = (REPOSITORY / "labels" / "demo.jsonl").read_text(encoding="utf-8").splitlines()
    assert title in [label["text"] for label in map(json.loads, lines) if label["id"] == latent]


@pytest.mark.parametrize("name", CROSSCODERS)
def test_the_error_of_each_place_is_what_was_told(inputs: Inputs, name: str) -> None:
    told = json.loads((DEMO / name / "training.json").read_text())["held_out"]
    settings = json.loads((DEMO / name / "training.json").read_text())["settings"]
    held_out = is_held_out(inputs.doc, settings["held_out"], settings["seed"])
    assert inputs.is_whole[held_out].all(), "the long documents are cut here and read in pieces there"
    x = inputs.rows[name][held_out & ~inputs.is_special].astype(np.float64)
    rebuilt = np.concatenate([encoded(name, x[part])[1] for part in parts(len(x))])
    fvu = ((x - rebuilt) ** 2).sum((0, 2)) / ((x - x.mean(0)) ** 2).sum((0, 2))
    assert len(x) == told["n_tokens"]
    np.testing.assert_allclose(fvu, told["fvu_by_place"], rtol=5e-3)


@pytest.mark.parametrize("name", CROSSCODERS)
def test_the_page_about_the_demo_quotes_the_figures(name: str) -> None:
    held_out = json.loads((DEMO / name / "training.json").read_text())["held_out"]
    page = (REPOSITORY / "docs" / "demo.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` "))
    for text in (
        f"{held_out['fvu']:.3f}",
        " · ".join(f"{fvu:.3f}" for fvu in held_out["fvu_by_place"]),
        f"{held_out['l0']:.1f}",
        f"{held_out['dead_share']:.1%}".replace("%", " %"),
    ):
        assert text in row
    assert max(held_out["fvu_by_place"]) < 0.15 and held_out["dead_share"] < 0.05


def test_the_shipped_files_fit_the_run_that_trains_them() -> None:
    loading, training = (
        load_run(run) for run in (REPOSITORY / "generator/runs/demo.toml", recipe.CROSSCODER_RUN)
    )
    loaded = {collection.name: collection for collection in loading.collections}
    assert [collection.name for collection in training.collections] == list(CROSSCODERS)
    for trained in training.collections:
        shipped = loaded[trained.name]
        assert (shipped.format, Path(str(shipped.path))) == ("crosscoder_learning", DEMO / trained.name)
        alike: tuple[Any, Any] = tuple((c.kind, c.hook_points, c.models) for c in (shipped, trained))
        assert alike[0] == alike[1]
        figures = json.loads((DEMO / trained.name / "training.json").read_text())
        assert trained.train is not None
        given = trained.train.model_dump()
        resolved = {"dead_after", "aux_k"}  # numbers there
        assert {k: v for k, v in figures["settings"].items() if k not in resolved} == {
            k: given[k] for k in figures["settings"] if k not in resolved
        }
        config = json.loads((DEMO / trained.name / "config.json").read_text())
        assert len(config["places"]) == config["num_layers"] == CROSSCODERS[trained.name]
    files = [DEMO / name / file for name in CROSSCODERS for file in recipe.CROSSCODER_FILES]
    assert sum(path.stat().st_size for path in files) < 1_500_000
