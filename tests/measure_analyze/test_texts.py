"""Prompts and documents as each family reads them, and everything that is said of one text."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch

from generator.artifacts import to_json
from generator.errors import FeaturebookError
from generator.measure.analyze.anatomy import study
from generator.measure.analyze.heads import prompt_attention
from generator.measure.analyze.memory import halving
from generator.measure.analyze.report import Reader, TextSettings, describe
from generator.measure.analyze.stage import ablation_findings
from generator.measure.analyze.texts import (
    Glossary,
    Reading,
    Text,
    choose_texts,
    prompt,
    read_prompt,
    read_prompts,
)
from generator.measure.analyze.weights import encoded, quantised
from generator.progress import Silent
from tests.measure_analyze.conftest import CONTEXT, VOCABULARY, toy, toy_corpus

SETTINGS = TextSettings(
    attention_tokens=6, top_tokens=3, continuations=2, continuation_tokens=3, nodes=8, max_nodes=16
)
BYTES = [f" {i}".encode() for i in range(VOCABULARY)]
SPECIAL = np.arange(VOCABULARY) < 3


class Words:
    """A tokenizer whose tokens are numbers between spaces; 0 is the mask, where there is one."""

    mask_token: str | None = "<m>"
    mask_token_id: int | None = 0
    eos_token_id = 2

    def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:
        return {"input_ids": [0 if word == self.mask_token else int(word) for word in text.split()]}


class NoMask(Words):
    mask_token = None
    mask_token_id = None


def reader(family: str, rank: int = 0, tokenizer: Any = None) -> Reader:
    model, anatomy = toy(family, rank)
    return Reader(model, anatomy, tokenizer or Words(), BYTES, SPECIAL, CONTEXT)


def told(
    family: str, ids: list[int], folder: Path, *, rank: int = 0, kind: str = "prompt", **changes: Any
) -> Any:
    """What is in the file of a text, read back as JSON."""
    text = Text("t", kind, "a text", doc=None if kind == "prompt" else 3)
    made = describe(
        reader(family, rank, **changes), text, Reading(ids, len(ids)), SETTINGS, folder, "k", Silent()
    )
    raw = to_json(made)
    assert b"NaN" not in raw and b"Infinity" not in raw
    return orjson.loads(raw)


# --- Reading ---------------------------------------------------------------------------------------------------


def test_a_prompt_is_asked_of_every_family():
    text = "5 6 [MASK] 7"
    masked = read_prompt(text, Words(), is_masked=True)
    assert masked.token_ids == [5, 6, 0, 7] and not masked.note
    causal = read_prompt(text, Words(), is_masked=False)
    assert causal.token_ids == [5, 6] and "up to the first [MASK]" in causal.note
    added = read_prompt("5 6", Words(), is_masked=True)
    assert added.token_ids == [5, 6, 0] and "added" in added.note
    assert read_prompt("5 6", NoMask(), is_masked=True).token_ids == [5, 6]
    with pytest.raises(FeaturebookError, match="Nothing of the prompt is left"):
        read_prompt("[MASK] 5", Words(), is_masked=False)


def test_prompts_come_from_a_list_or_a_file(tmp_path: Path):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"text": "one two", "name": "first"}\n\n{"text": "three"}\n{"text": "three"}\n')
    found = read_prompts(str(path))
    assert [(t.name, t.text) for t in found] == [("first", "one two"), ("three", "three")]
    assert found[1] == prompt("three") == read_prompts(["three"])[0]
    for content, message in (
        (b"{", "line 1 is not JSON"),
        (b"[1]", "Prompt 1 is empty"),
        (b'{"text": " "}', "empty"),
    ):
        path.write_bytes(content)
        with pytest.raises(FeaturebookError, match=message):
            read_prompts(str(path))
    with pytest.raises(FeaturebookError, match="cannot be read"):
        read_prompts(str(tmp_path / "none.jsonl"))


def test_documents_are_chosen_by_name_or_number():
    corpus = toy_corpus((4, 5))
    assert [t.id for t in choose_texts(corpus, ["1", "0", "1"])] == ["doc-1", "doc-0"]
    with pytest.raises(FeaturebookError, match="no document of the corpus"):
        choose_texts(corpus, ["nine"])


def test_a_file_carries_its_own_vocabulary():
    words = Glossary([b"a", b"\xff"], np.array([False, True]))
    assert words.of(np.array([[1, 0], [1, 7]])) == [[0, 1], [0, 2]]
    assert words.as_json() == {"bytes": ["ff", "61", ""], "is_special": [True, False, False]}


# --- What is said of a text ------------------------------------------------------------------------------------


def test_causal_model_base_and_adapted_side_by_side(tmp_path: Path):
    ids = [1, 5, 9, 5, 9, 30, 7, 8]
    found = told("qwen2", ids, tmp_path, rank=1)
    assert not [name for name, part in found.items() if isinstance(part, dict) and "undefined" in part]
    names = [bytes.fromhex(b) for b in found["vocabulary"]["bytes"]]
    assert [names[t] for t in found["tokens"]] == [BYTES[i] for i in ids]
    _, anatomy = toy("qwen2", 1)
    with torch.no_grad():
        expected = anatomy.model(input_ids=torch.tensor([ids])).logits[0].softmax(-1)
    top = found["predictions"]["adapted"]
    np.testing.assert_allclose(top["probability"], expected.topk(3).values, atol=1e-5)
    assert [[names[t] for t in row] for row in top["tokens"]] == [
        [BYTES[i] for i in row] for row in expected.topk(3).indices.tolist()
    ]
    change = np.subtract(found["surprise"]["adapted"][1:], found["surprise"]["base"][1:])
    np.testing.assert_allclose(found["divergence"]["surprise_change"][:-1], change, atol=1e-5)
    assert found["divergence"]["surprise_change"][-1] is None
    last = found["lens"]["adapted"][-1]
    np.testing.assert_allclose(
        last["probability"][-1], top["probability"][-1][: len(last["probability"][-1])], atol=1e-5
    )
    assert len(found["continuations"]["base"]) == 2
    assert [v["variant"] for v in found["geometry"]["variants"]] == ["base", "adapted"]


def test_the_explained_logit_is_one_and_the_same(tmp_path: Path):
    ids = [1, 5, 9, 5, 9, 30]
    found = told("llama", ids, tmp_path, rank=1)
    top = found["predictions"]["adapted"]["tokens"][-1][0]
    assert found["attribution"]["token"] == found["logit_parts"]["token"] == top
    assert found["attribution"]["position"] == found["logit_parts"]["position"] == len(ids) - 1
    for variant in ("base", "adapted"):
        parts = found["logit_parts"][variant]
        total = (
            parts["embedding"]
            + parts["bias"]
            + sum(np.sum(parts[n]) for n in ("heads", "mlps", "attention_bias"))
        )
        assert total == pytest.approx(parts["logit"], abs=1e-3)
        integrated = found["attribution"][variant]["integrated_gradients"]
        difference = found["attribution"][variant]["value"] - integrated["baseline_value"]
        assert sum(integrated["scores"]) == pytest.approx(difference + integrated["gap"], abs=1e-3)


def test_a_document_is_explained_where_the_adapter_changes_most(tmp_path: Path):
    found = told("gpt2", [1, 5, 9, 5, 9, 30, 4], tmp_path, rank=1, kind="document")
    position = int(np.argmax(found["divergence"]["base_adapted"]))
    assert found["attribution"]["position"] == position
    scores = found["attribution"]["base"]["gradient_times_input"]["scores"]
    assert len(scores) == 7 and not any(scores[position + 1 :])
    assert "prompts only" in found["continuations"]["undefined"]


def test_masked_model_fills_every_mask_and_says_what_it_has_not(tmp_path: Path):
    found = told("bert", [1, 5, 0, 7, 0, 2], tmp_path)
    assert found["predictions"]["kind"] == "masks" and found["predictions"]["positions"] == [2, 4]
    assert found["attribution"]["position"] == 2
    assert (
        "no next-token" in found["surprise"]["undefined"] and "no adapter" in found["divergence"]["undefined"]
    )
    assert "pre-norm" in found["logit_parts"]["undefined"]
    assert "undefined" not in found["lens"] and "undefined" not in found["attention"]


# --- Attention -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["qwen2", "bert"])
def test_attention_files_hold_the_weights_of_the_tokens_that_are_kept(family: str, tmp_path: Path):
    ids = [1, 5, 9, 5, 9, 30, 7, 8]
    found = told(family, ids, tmp_path)["attention"]
    assert (found["n_tokens"], found["n_layers"], found["n_heads"]) == (6, 3, 4)
    exact = prompt_attention(toy(family)[1], ids)
    stored = np.load(tmp_path / "attention.npz")
    np.testing.assert_allclose(stored["base"], np.stack(exact)[:, :, :6, :6], atol=1e-3)
    assert stored["tokens"].tolist() == ids[:6]
    one = orjson.loads((tmp_path / "heads-2.json").read_bytes())
    decoded = (np.frombuffer(base64.b64decode(one["base"]), np.uint8) / 255.0).reshape(4, 6, 6) ** 2
    np.testing.assert_allclose(decoded, exact[2][:, :6, :6], atol=0.004)
    whole = orjson.loads((tmp_path / "attention.json").read_bytes())
    entropy = -(exact[1] * np.log(np.maximum(exact[1], 1e-30))).sum(-1)[:, :6]
    np.testing.assert_allclose(whole["base"]["entropy"][1], entropy, atol=1e-4)


def test_small_weights_differ_from_none_and_none_is_far_off():
    weights = np.linspace(0, 1, 10001)
    assert np.abs((quantised(weights) / 255.0) ** 2 - weights).max() <= 0.004
    assert quantised(np.array([0.0, 0.00002, 1.0])).tolist() == [0, 1, 255]
    assert base64.b64decode(encoded(np.array([[0.0, 1.0], [np.nan, 0.25]]))) == bytes([0, 255, 0, 128])


# --- Bad input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
@pytest.mark.parametrize(
    "ids", [[5], [0], [0, 0, 0], [7] * 9], ids=["one token", "one mask", "padding", "constant"]
)
def test_poor_texts_give_reasons_and_never_nan(family: str, ids: list[int], tmp_path: Path):
    found = told(family, ids, tmp_path)
    for variant in found["geometry"]["variants"]:
        for curve in variant["curves"]:
            assert all(v["value"] is not None or v["reason"].startswith("undefined") for v in curve["values"])


def test_a_prompt_beyond_the_context_is_refused_with_both_lengths(tmp_path: Path):
    with pytest.raises(FeaturebookError, match=f"{CONTEXT + 1} tokens and the model reads {CONTEXT}"):
        told("gpt2", [5] * (CONTEXT + 1), tmp_path)


def test_a_tokenizer_without_a_mask_is_told(tmp_path: Path):
    found = told("bert", [1, 5, 7], tmp_path, tokenizer=NoMask())
    assert "no mask token" in found["predictions"]["undefined"]


def test_a_model_without_attention_is_told(tmp_path: Path):
    sizes = {"num_heads": 4, "head_dim": 8, "expand": 1, "n_groups": 1, "state_size": 8, "chunk_size": 8}
    sizes |= {"num_hidden_layers": 2, "hidden_size": 32, "vocab_size": VOCABULARY}
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    model = (
        AutoModelForCausalLM.from_config(AutoConfig.for_model("mamba2", **sizes)).eval().requires_grad_(False)
    )
    one = Reader(model, study(model), Words(), BYTES, SPECIAL, None)
    text, reading = Text("t", "prompt", "a text"), Reading([1, 5, 9], 3)
    found = describe(one, text, reading, SETTINGS, tmp_path, "k", Silent())
    assert "no attention weights" in found["attention"]["undefined"]
    assert "undefined" not in found["lens"] and "undefined" not in found["geometry"]


# --- Memory and findings ---------------------------------------------------------------------------------------


def test_batches_are_halved_until_they_fit_and_no_further():
    tried: list[int] = []

    def attempt(size: int) -> int:
        tried.append(size)
        if size > 300:
            raise torch.OutOfMemoryError
        return size

    assert halving(1000, attempt, Silent(), smallest=100) == 250 and tried == [1000, 500, 250]
    with pytest.raises(FeaturebookError, match="one text at a time"):
        halving(1000, attempt, Silent(), smallest=400)


def test_findings_rank_directions_and_name_what_they_belong_to():
    def effect(kind: str, layer: int, module: str, value: float | None, channel: str = "") -> dict[str, Any]:
        of = {"value": value, "n": 3}
        key = f"{kind} {layer} {module}"
        return {"key": key, "kind": kind, "layer": layer, "module": module, "channel": channel} | {
            "divergence": of,
            "loss_change": of,
        }

    effects = [
        effect("direction", 0, "q", 0.1, "a"),
        effect("direction", 1, "q", 0.4, "b"),
        effect("direction", 1, "v", None, "c"),
        effect("module", 0, "q", 0.1),
        effect("module", 1, "q", 0.4),
        effect("layer", 1, "", 0.5),
        effect("type", -1, "q", 0.6),
        effect("adapter", -1, "", 0.9),
    ]
    found = ablation_findings({"effects": effects})
    assert {c: f["rank"] for c, f in found.items()} == {"a": 2, "b": 1, "c": None}
    assert [e["kind"] for e in found["b"]["context"]] == ["module", "layer", "type", "adapter"]
    assert found["b"]["context"][0]["key"] == "module 1 q"
    assert ablation_findings({"undefined": "no adapter"}) == {}
