"""The demo's text, recipe and shipped models; the known-answer model gives what was planted."""

import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from generator.config import load_run
from generator.demo import corpus, recipe
from generator.demo.scripts import SENTENCES
from generator.demo.traces import PROBLEMS, Random, think, trace
from tests import known_answer

DEMO = Path(recipe.__file__).parent
REPOSITORY = DEMO.parent.parent
SHIPPED = [path for path in DEMO.rglob("*") if path.is_file() and "__pycache__" not in path.parts]

TINY = recipe.Recipe(
    vocabulary=300,
    hidden=16,
    layers=4,  # one crosscoder reads layer 3
    heads=2,
    kv_heads=1,
    neurons=24,
    base=recipe.Training(n_documents=40, steps=2, learning_rate=1e-2, batch=2, length=64),
    adapter=recipe.Training(n_documents=20, steps=2, learning_rate=1e-2, batch=2, length=64, seed=1),
)


# --- Text ------------------------------------------------------------------------------------------------------


def test_corpus_comes_out_the_same_again():
    assert corpus.to_jsonl(corpus.published()) == corpus.CORPUS_PATH.read_bytes()


def test_corpus_has_the_size_and_the_difficulties_that_the_docs_promise():
    lines = corpus.CORPUS_PATH.read_bytes().splitlines()  # of bytes: the texts hold U+2028
    documents = [json.loads(line) for line in lines]
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "base")
    lengths = [len(tokenizer(d["text"])["input_ids"]) for d in documents]
    assert len({d["id"] for d in documents}) == len(documents) == 400
    counts = Counter(d["kind"] for d in documents)
    assert counts.pop("script") == corpus.PUBLISHED["script"] + len(SENTENCES)
    assert counts == {kind: n for kind, n in corpus.PUBLISHED.items() if kind != "script"}
    assert {f"script/{language}" for language in SENTENCES} <= {d["id"] for d in documents}
    assert 90_000 < sum(lengths) < 120_000
    assert max(lengths) > recipe.Recipe().context, "one document must be longer than the model's context"
    text = "\n".join(d["text"] for d in documents)
    for needle in (
        "</script>",
        "<img src=x onerror",
        "\t",
        "\u200b",
        "\u202e",
        "👩\u200d🚀",
    ):
        assert needle in text, needle
    assert max(len(line) for line in text.split("\n")) > 1500


def test_no_published_text_is_in_the_training_texts(monkeypatch):
    held_out = {document.text for document in corpus.published()}
    assert not held_out & set(corpus.training_texts("adapter", corpus.ADAPTER_SHARES, 300))
    some = corpus.training_texts(
        "published", {"trace": 1.0}, 5
    )  # the split that the published corpus is made of
    assert some == [], "texts that equal a published one must be left out"


def test_every_statement_of_a_trace_is_true_or_taken_back():
    for number in range(300):
        text = trace(Random(number))
        for left, claimed in re.findall(r"((?:\d+ [-+*/] )+\d+) = (\d+)", text):
            right = eval(left)
            if right != int(claimed):
                assert re.search(rf"{re.escape(left)}\D.*{re.escape(left)} = {int(right)}\b", text, re.S), (
                    text
                )


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda f: f.__name__)
def test_every_problem_is_checked_and_answered_right(problem):
    for number in range(50):
        made = problem(Random(number))
        assert all(eval(step.calculation) == step.value for step in made.steps)
        left, right = made.check.split(" = ")
        assert eval(left) == int(right)
        assert str(made.steps[-1].value) in re.findall(r"\d+", made.answer)
        assert made.answer in think(Random(number), made)[-1]


# --- Recipe ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made_twice(tmp_path_factory):
    """The tiny recipe, run twice into two folders; its held-out texts are few."""
    folders = [tmp_path_factory.mktemp("demo") for _ in range(2)]
    few = corpus.published()[:12]
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "published", lambda: few)
        reports = [recipe.make(folder, TINY, log=lambda line: None) for folder in folders]
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    return folders, reports


def test_recipe_is_deterministic(made_twice):
    (one, two), _ = made_twice
    names = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(two) for path in two.rglob("*") if path.is_file())
    assert {
        Path(name, file) for name in ("crosslayer", "modeldiff") for file in recipe.CROSSCODER_FILES
    } <= set(names)
    assert {
        *recipe.SAE_FILES,
        "model.safetensors",
        "adapter_model.safetensors",
        "tokenizer.json",
        "report.json",
    } <= {n.name for n in names}
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_recipe_reports_the_losses_of_the_weights_it_saved(made_twice):
    (folder, _), (report, _) = made_twice
    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    model = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32)
    few = corpus.published()[:12]
    kind = few[0].kind
    losses = []
    for document in (d for d in few if d.kind == kind):
        ids = torch.tensor([tokenizer(document.text)["input_ids"][: TINY.context]])
        with torch.no_grad():
            losses.append(recipe.next_token_losses(model, ids)[0])
    assert report["losses"]["base"][kind] == pytest.approx(torch.cat(losses).mean().item(), abs=2e-3)
    assert report["losses"]["base"] != report["losses"]["adapted"]


def test_training_lowers_the_loss():
    training = replace(TINY.base, steps=30, n_documents=40)
    texts = corpus.training_texts("base", corpus.BASE_SHARES, 40)
    tokenizer = recipe.train_tokenizer(texts, TINY.vocabulary)
    lines: list[str] = []
    recipe.train_base(tokenizer, texts, replace(TINY, base=training), lines.append)
    first, last = (float(line.split()[-1]) for line in (lines[0], lines[-1]))
    assert last < first - 0.3


# --- What is shipped -------------------------------------------------------------------------------------------


def test_shipped_files_are_small_and_name_no_machine():
    assert sum(path.stat().st_size for path in SHIPPED) < 10_000_000
    for path in SHIPPED:
        if path.suffix in (".json", ".jsonl", ".jinja", ".md"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"(?<![\w.])/(home|root|tmp|work|usr|mnt|workspace)/", text), path


def test_shipped_weights_are_bfloat16_and_have_the_promised_shape():
    for name in ("base/model.safetensors", "adapter/adapter_model.safetensors"):
        with safe_open(DEMO / name, "pt") as file:
            assert {file.get_slice(key).get_dtype() for key in file.keys()} == {"BF16"}  # noqa: SIM118
    model = AutoModelForCausalLM.from_pretrained(DEMO / "base", dtype=torch.float32)
    assert model.config.model_type == "qwen2" and model.config.num_hidden_layers == 6
    assert model.config.num_key_value_heads < model.config.num_attention_heads
    assert 1_000_000 < sum(p.numel() for p in model.parameters()) < 2_000_000
    lora = json.loads((DEMO / "adapter" / "adapter_config.json").read_text())
    assert (lora["r"], lora["lora_alpha"], lora["use_rslora"]) == (1, 16.0, True)
    assert lora["target_modules"] == sorted(recipe.PROJECTIONS)
    adapted = PeftModel.from_pretrained(model, DEMO / "adapter")
    assert sum("lora_A" in name for name, _ in adapted.named_parameters()) == 42


def test_report_says_what_the_shipped_weights_do():
    report = json.loads((DEMO / "report.json").read_text())
    losses = report["losses"]
    assert losses["adapted"]["trace"] < losses["base"]["trace"]
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "base")
    model = AutoModelForCausalLM.from_pretrained(DEMO / "base", dtype=torch.float32)
    model = PeftModel.from_pretrained(model, DEMO / "adapter").eval()
    found = []
    for document in (d for d in corpus.published() if d.kind == "trace"):
        ids = torch.tensor([tokenizer(document.text)["input_ids"][: recipe.Recipe().context]])
        with torch.no_grad():
            found.append(recipe.next_token_losses(model, ids)[0])
    assert torch.cat(found).mean().item() == pytest.approx(losses["adapted"]["trace"], abs=5e-3)


def test_chat_template_writes_what_the_traces_look_like():
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "base")
    messages = [{"role": "user", "content": "What is 2 + 3?"}]
    written = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert written == "<|im_start|>user\nWhat is 2 + 3?<|im_end|>\n<|im_start|>think\n"
    assert tokenizer("x")["input_ids"][0] == tokenizer.bos_token_id


def test_demo_run_file_names_what_is_shipped():
    config = load_run(REPOSITORY / "generator" / "runs" / "demo.toml")
    assert Path(config.model.base) == DEMO / "base"
    assert Path(config.model.adapter) == DEMO / "adapter"
    assert Path(config.corpus.source) == corpus.CORPUS_PATH


def test_page_about_the_demo_quotes_the_report():
    page = (REPOSITORY / "docs" / "demo.md").read_text(encoding="utf-8")
    losses = json.loads((DEMO / "report.json").read_text())["losses"]
    for kind in ("prose", "trace"):
        row = next(line for line in page.splitlines() if line.startswith(f"| {kind} "))
        assert f"{losses['base'][kind]:.3f}" in row and f"{losses['adapted'][kind]:.3f}" in row


# --- Directions that mean something ----------------------------------------------------------------------------

NAMED = [
    # direction, side, name, what the text up to and including the peak ends with
    ("lora/L1/gate_proj", -1, "“Hold on”, before a doubt", r"Hold on$"),
    ("lora/L1/up_proj", -1, "a result is rejected: “is not”", r"\d is not$"),
    ("lora/L2/down_proj", +1, "“the first” part, number or sum", r"[Tt]he first$"),
    ("lora/L2/k_proj", -1, "“right” in a doubt: “that is not right”", r"([Ww]ait|Hmm)[^\n]* right$"),
    ("lora/L3/q_proj", -1, "“Therefore”, the conclusion begins", r"\n\nTherefore$"),
    (
        "lora/L3/up_proj",
        +1,
        "a step opens: “Then.”, “Next.”, “Take”",
        r"(Then|Next|Okay|good|again|this)\.$|\n\nTake$",
    ),
    ("lora/L4/down_proj", +1, "needless doubt: “did I get this right”", r"(get this|that) right$"),
    ("lora/L4/q_proj", +1, "last word before a calculation", r"(tens|ones|are|sure|gap|bill|discount)$"),
    ("lora/L5/down_proj", +1, "line break after a turn has ended", r"<\|im_end\|>\n$"),
    ("lora/L5/o_proj", -1, "the final answer comes next", r"<\|im_start\|>answer\n$"),
    ("lora/L5/up_proj", -1, "from a count to its use: “3 numbers, so”", r"\d numbers, so$"),
    ("lora/L5/v_proj", +1, "“is”, before a calculation", r" is$"),
]
"""The directions that docs/demo.md names."""
N_CONTEXTS = 30
"""Strongest contexts looked at, one per document."""


NAMED_LATENTS = [
    # latent, name, what the text up to and including the peak ends with
    (21, "“further away”, in a view", r"further away$"),
    (23, "needless doubt: “get this right”, “is that right”", r"(get this|is that) right$"),
    (24, "a step has opened: “Then.”, “Next.”, “Okay.”", r"(Then|Next|Okay)\.$"),
    (76, "characters of several tokens: other scripts, emoji", r"[^\x00-\u02ff]$"),
    (77, "“So far so good”", r"far so good$"),
    (152, "a result is rejected: “but 20 + 42 is something else”", r"(but|mistake:) \d+ [-+*/] \d+ is$"),
    (118, "what is asked: “the question asks for”", r"the question asks for$"),
    (162, "“Let me”, opens a paragraph: a check or a correction", r"\n\nLet$"),
    (238, "end of a function's head: “):”", r"\):\n$"),
    (273, "divisor to come: “Now I share them: 90 /”", r"share them: \d+ / $"),
    (303, "“Therefore,”, the conclusion", r"Therefore,$"),
    (313, "the noun before the answer: “Therefore, the answer”", r"(Therefore|Thus|So)[^\n]* (answer|sum)$"),
    (325, "a check comes out right: “Yes,”", r"\d\. Yes,$"),
]
"""The latents of ``sae/`` that docs/demo.md names."""


@dataclass(frozen=True)
class Read:
    """The 42 directions and the named latents over the published corpus."""

    contexts: list[list[int]]  # the tokens up to and including each token, at most 60 of them
    doc: np.ndarray  # (token,)
    values: dict[str, np.ndarray]  # "lora/L3/q_proj" or "sae/23" -> (token,), NaN at special tokens


def read_demo(names: list[str]) -> Read:
    """Runs the adapted model over the published corpus and reads ``lora_A`` of the directions with hooks."""
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "base")
    model = AutoModelForCausalLM.from_pretrained(DEMO / "base", dtype=torch.float32)
    model = PeftModel.from_pretrained(model, DEMO / "adapter").eval()
    rows: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for name, row in rows.items():
        lora_a = model.get_submodule(known_answer.module_path(name)).lora_A["default"]
        lora_a.register_forward_hook(lambda module, args, out, row=row: row.append(out[0, :, 0].numpy()))
    contexts, docs, special = [], [], []
    for index, document in enumerate(corpus.published()):
        ids = tokenizer(document.text)["input_ids"][: recipe.Recipe().context]
        with torch.no_grad():
            model.base_model.model.model(torch.tensor([ids]))
        contexts += [ids[max(0, i - 59) : i + 1] for i in range(len(ids))]
        docs += [index] * len(ids)
        special += [token in tokenizer.all_special_ids for token in ids]
    read = {name: np.concatenate(row) for name, row in rows.items()}
    values = read | latents_of(
        np.stack(list(read.values()), axis=1), [latent for latent, *_ in NAMED_LATENTS]
    )
    return Read(contexts, np.array(docs), {name: np.where(special, np.nan, v) for name, v in values.items()})


def latents_of(rows: np.ndarray, wanted: list[int]) -> dict[str, np.ndarray]:
    """What SAELens' jumprelu gives for some latents of the shipped files: (token, channel) -> "sae/23" -> (token,)."""
    weights = load_file(DEMO / "sae" / "sae_weights.safetensors")
    centred = torch.from_numpy(rows) - weights["b_dec"]
    pre = centred @ weights["W_enc"][:, wanted] + weights["b_enc"][wanted]
    values = torch.where(pre > weights["threshold"][wanted], pre.relu(), 0.0).numpy()
    return {f"sae/{latent}": values[:, i] for i, latent in enumerate(wanted)}


def strongest(read: Read, name: str, side: int = 1) -> list[int]:
    """The tokens of the largest values on one side, the best of each of ``N_CONTEXTS`` documents."""
    order = np.argsort(-side * read.values[name], kind="stable")  # NaN last
    _, first = np.unique(read.doc[order], return_index=True)
    return order[np.sort(first)[:N_CONTEXTS]].tolist()


def share_of_hits(read: Read, tokens: list[int], pattern: str) -> float:
    """The share of these tokens whose text, up to and including them, ends as told."""
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "base")
    texts = tokenizer.batch_decode([read.contexts[token] for token in tokens])
    assert len(texts) == N_CONTEXTS
    return float(np.mean([bool(re.search(pattern, text)) for text in texts]))


def row_of_page(name: str) -> list[str]:
    """The cells of the row of docs/demo.md that names a direction or latent."""
    page = (REPOSITORY / "docs" / "demo.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if f"(atlas/{name}.md)" in line)
    return [cell.strip() for cell in row.split(" |")]


@pytest.fixture(scope="module")
def read():
    """Directions and latents, read once."""
    return read_demo(json.loads((DEMO / "sae" / "cfg.json").read_text())["metadata"]["input_channels"])


@pytest.mark.parametrize(("name", "side", "title", "pattern"), NAMED, ids=lambda x: str(x)[:24])
def test_named_directions_fire_where_the_docs_say(read, name, side, title, pattern):
    share = share_of_hits(read, strongest(read, name, side), pattern)
    _, told_side, told_name, told_share, *_ = row_of_page(name)
    assert (told_side, told_name) == ({1: "+", -1: "−"}[side], title)
    assert share >= 0.75
    assert share == pytest.approx(float(told_share.rstrip(" %")) / 100, abs=0.07)


# --- The sparse autoencoder ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("latent", "title", "pattern"), NAMED_LATENTS, ids=lambda x: str(x)[:24])
def test_named_latents_fire_where_the_docs_say(read, latent, title, pattern):
    tokens = strongest(read, f"sae/{latent}")
    assert (read.values[f"sae/{latent}"][tokens] > 0).all()
    share = share_of_hits(read, tokens, pattern)
    _, told_name, told_share, *_ = row_of_page(f"sae/{latent}")
    assert told_name == title
    assert share >= 0.75
    assert share == pytest.approx(float(told_share.rstrip(" %")) / 100, abs=0.07)


def test_shipped_autoencoder_fits_the_run_that_trains_it():
    loading = load_run(REPOSITORY / "generator" / "runs" / "demo.toml")
    training = load_run(recipe.SAE_RUN)
    loaded, (trained,) = loading.collections[0], training.collections
    assert Path(loaded.path) == DEMO / "sae" and (loaded.name, loaded.format) == ("sae", "saelens")
    assert trained.name == "sae" and trained.train.expansion >= 8
    read = ("name", "seed", "model", "corpus", "extract", "summarize")
    assert all(getattr(loading, name) == getattr(training, name) for name in read)
    figures = json.loads((DEMO / "sae" / "training.json").read_text())
    given = trained.train.model_dump()
    assert {key: given[key] for key in figures["settings"] if key in given} == figures["settings"]
    assert figures["n_features"] == trained.train.expansion * 42
    assert sum((DEMO / "sae" / name).stat().st_size for name in recipe.SAE_FILES) < 500_000


def test_page_about_the_demo_quotes_the_figures_of_the_autoencoder():
    held_out = json.loads((DEMO / "sae" / "training.json").read_text())["held_out"]
    page = (REPOSITORY / "docs" / "demo.md").read_text(encoding="utf-8")
    for name, text in (
        ("held-out FVU", f"{held_out['fvu']:.3f}"),
        ("held-out L0", f"{held_out['l0']:.2f}"),
        ("dead on the held-out documents", f"{held_out['dead_share']:.1%}".replace("%", " %")),
    ):
        row = next(line for line in page.splitlines() if line.startswith(f"| {name} "))
        assert text in row
    assert held_out["fvu"] < 0.12 and held_out["dead_share"] < 0.05


# --- Known answers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate_rank", [1, 3])
def test_known_answer_model_gives_what_was_planted(tmp_path, gate_rank):
    expected = known_answer.build(tmp_path, gate_rank)
    tokenizer = AutoTokenizer.from_pretrained(expected.base)
    model = AutoModelForCausalLM.from_pretrained(expected.base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, expected.adapter).eval()
    read: dict[str, list[torch.Tensor]] = {name: [] for name in known_answer.DIRECTIONS}
    for name, values in read.items():
        lora_a = model.get_submodule(known_answer.module_path(name)).lora_A["default"]
        lora_a.register_forward_hook(lambda module, args, output, values=values: values.append(output[0]))
    ids = [tokenizer(text)["input_ids"] for text in expected.texts]
    with torch.no_grad():
        for row in ids:
            model(torch.tensor([row]))
    np.testing.assert_array_equal(np.concatenate(ids), expected.token_ids)
    for index, channel_id in enumerate(expected.channel_ids):
        rows = torch.cat(read[known_answer.module_of(channel_id)])
        got = rows[:, known_answer.row_of(channel_id)].double().numpy()
        scale = max(np.abs(expected.values[:, index]).max(), 1e-12)
        np.testing.assert_allclose(
            got / scale, expected.values[:, index] / scale, atol=1e-5, err_msg=channel_id
        )
        module = model.get_submodule(known_answer.module_path(known_answer.module_of(channel_id)))
        assert module.scaling["default"] == pytest.approx(expected.scaling[channel_id])


def test_known_answers_have_the_awkward_channels(tmp_path):
    expected = known_answer.build(tmp_path)
    assert not expected.channel("lora/L0/k_proj").any()
    assert (expected.channel("lora/L0/up_proj") < 0).all()
    ties = Counter(expected.channel("lora/L0/q_proj").tolist())
    assert ties[max(ties)] > 1, "the largest value must occur several times"
    assert len(expected.channel_ids) == 14 and expected.values.shape == (len(expected.token_ids), 14)
    assert load_run(expected.run_file).model.base == str(expected.base)
