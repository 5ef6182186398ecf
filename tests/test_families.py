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
    masked=SHORT,
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
    made = families.FamilyRecipe()
    length = (made.masked if name == "bert" else made.training).length
    found = families.held_out_loss(model, tokenizer, length, losses, most=320)
    assert found == pytest.approx(read_json(DEMO / "families.json")["models"][name]["loss"], rel=0.15)
