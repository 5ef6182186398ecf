"""The demo's small BERT, GPT-2 and Llama: the recipe gives the same bytes again, the shipped weights the reported losses."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from generator.artifacts import read_json
from generator.demo import corpus, families, recipe

DEMO = Path(recipe.__file__).parent
SHORT = recipe.Training(n_documents=30, steps=2, learning_rate=1e-3, batch=2, length=32)
TINY = families.FamilyRecipe(
    vocabulary=300,
    hidden=16,
    layers=1,
    heads=2,
    neurons=24,
    context=64,
    n_traces=5,
    training=SHORT,
    first=SHORT,
    masked=(SHORT, SHORT),
)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def test_recipe_is_deterministic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    few = corpus.published()[:12]
    monkeypatch.setattr(families, "published", lambda: few)
    recipe.run_deterministically()
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "base")
    made = []
    for name in ("one", "two"):
        tokenizer.save_pretrained(tmp_path / name / "base")
        report = families.make_families(tmp_path / name, TINY, log=lambda line: None)
        assert set(report) == set(families.FAMILIES)
        files = [p for p in (tmp_path / name).rglob("*") if p.is_file()]
        made.append({str(p.relative_to(tmp_path / name)): p.read_bytes() for p in files})
    assert made[0] == made[1] and "bert/model.safetensors" in made[0]


def test_shipped_models_are_small_and_of_their_families():
    folders = [DEMO / name for name in families.FAMILIES]
    assert sum(path.stat().st_size for folder in folders for path in folder.iterdir()) < 6_000_000
    for folder in folders:
        assert read_json(folder / "config.json")["model_type"] == folder.name
        with safe_open(folder / "model.safetensors", "pt") as file:
            assert {file.get_slice(key).get_dtype() for key in file.keys()} == {"BF16"}  # noqa: SIM118
    assert AutoTokenizer.from_pretrained(DEMO / "bert").mask_token == "[MASK]"


@pytest.mark.parametrize("name", list(families.FAMILIES))
def test_shipped_weights_have_the_reported_loss(name: str):
    kind = AutoModelForMaskedLM if name == "bert" else AutoModelForCausalLM
    model = kind.from_pretrained(DEMO / name, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(DEMO / name)
    losses = families.FAMILIES[name][1](tokenizer)
    assert tokenizer.model_max_length == families.FamilyRecipe().length
    found = families.held_out_loss(model, tokenizer, tokenizer.model_max_length, losses, most=320)
    assert found == pytest.approx(read_json(DEMO / "families.json")["models"][name]["loss"], rel=0.15)


@torch.no_grad()
def test_bert_fills_masks_from_their_context():
    model = AutoModelForMaskedLM.from_pretrained(DEMO / "bert", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "bert")
    for text, expected in (
        ("Let me check: 525 - 418 = 107. That is [MASK].", {"correct", "right"}),
        ("So far so [MASK]. The gap is the same.", {"good"}),
        ("Ice floats because it is lighter than [MASK].", {"wet"}),
    ):
        ids = tokenizer(text, return_tensors="pt").input_ids
        at = int((ids[0] == tokenizer.mask_token_id).nonzero())
        top = tokenizer.convert_ids_to_tokens(model(input_ids=ids).logits[0, at].topk(5).indices.tolist())
        assert expected <= set(top), (text, top)
    assert read_json(DEMO / "families.json")["models"]["bert"]["loss"] < 5.66 / 2, (
        "half of the tokens' own entropy"
    )
