"""A model and an adapter whose every activation is known beforehand.

Every token's embedding holds *planted properties* of the token (is it a digit, and which; is it "Wait"; …) in its
first coordinates, and one more coordinate that brings every embedding to the same norm, so that RMSNorm only
multiplies by its gain. All maps that write to the residual stream are zero, so every layer reads the embedding:

* q, k, v, gate, up: the direction reads a planted property; its value is a table over the vocabulary;
* o: queries or keys are zero, so attention is uniform and the value is a running mean over the document so far;
* down: the value is silu(gate) · up of one neuron, both of them properties.

The adapter's own writes to v, gate and up are not zero: who reads o and down without the adapter gets other numbers.
Everything is computed in float64 from the planted tables; no code of the package is used.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

HIDDEN, HEAD, NEURONS, LAYERS = 16, 8, 8, 2
ALPHA = 16.0
EPSILON = 1e-6  # of RMSNorm
PROPERTIES = ("digit", "wait", "operator", "newline", "noise", "negative")
"""Planted in the coordinates 0, 1, …: what each means is said in ``plant``."""
FILLER = HIDDEN - 1
"""The coordinate that brings every embedding to norm √HIDDEN, so that its root mean square is 1."""
GAIN = np.linspace(0.5, 1.5, HIDDEN)
"""Gain of every RMSNorm: known, and different at each coordinate."""
START = "<s>"

TEXTS = (
    "We add 3 + 4 = 8. Wait, 3 + 4 = 7.",
    "Count: 0 1 2 3 4 5 6 7 8 9.\n\nWait, that is all.",
    "9 - 9 = 0.",
    "9 - 9 = 0.",  # the same once more: ties everywhere
    "No number here, nothing to see.\n\nNothing at all.",
    "Wait",
    "5",
    "naïve 日本 <b>&amp;</b> </script>\t{{ 7 * 7 }}",
    " ".join(str(n) for n in range(60)),
)


@dataclass(frozen=True)
class Planted:
    """What one direction was made to read and to write."""

    read: dict[str, float]
    """Coefficient of each property in A (or of each neuron or head coordinate "0", "1", … for down and o)."""
    write: tuple[float, ...] = ()
    """The first entries of B."""


# What every direction reads. o reads the running mean of what v holds; down reads neurons.
DIRECTIONS: dict[str, Planted] = {
    "lora/L0/q_proj": Planted({"digit": 9.0}, (0.5, -0.25)),
    "lora/L0/k_proj": Planted({}),  # constant zero
    "lora/L0/v_proj": Planted({"wait": 2.0}, (0.125, 0.0, 0.25)),
    "lora/L0/o_proj": Planted({"0": 1.0, "9": -0.5}),
    "lora/L0/gate_proj": Planted({"noise": 1.0}, (0.0625, 0.0)),
    "lora/L0/up_proj": Planted({"negative": 3.0}, (0.0, 0.125)),
    "lora/L0/down_proj": Planted({"0": 1.0, "1": 0.5}),
    "lora/L1/q_proj": Planted({"operator": 1.0}),
    "lora/L1/k_proj": Planted({"newline": 1000.0}, (1.0, 2.0, 2.0)),
    "lora/L1/v_proj": Planted({"digit": 1.0, "wait": -0.5}, (0.0, 0.5)),
    "lora/L1/o_proj": Planted({"1": 2.0}),
    "lora/L1/gate_proj": Planted({"noise": 1e-6}, (0.0, 0.0, 1000.0)),
    "lora/L1/up_proj": Planted({"noise": -1.0, "operator": 0.5}, (0.25,)),
    "lora/L1/down_proj": Planted({"2": 1.0, "1": -1.0}, (3.0, 0.0, -4.0)),
}
EXTRA_ROWS = ({"digit": -2.0}, {"wait": 1.0, "noise": 0.25})
"""Two more rows of A for gate_proj where its rank is 3."""

VALUE_WEIGHT = (("digit", 9.0), ("noise", 1.0), ("operator", 1.0))
"""Coordinate i of v reads this property, times this, before the adapter adds its part."""
GATE_WEIGHT = (("digit", 4.0), ("noise", 2.0), ("newline", 1.0))
"""Neuron i's gate, likewise."""
UP_WEIGHT = (("noise", 1.0), ("negative", 2.0), ("digit", 5.0))
"""Neuron i's up, likewise."""


@dataclass(frozen=True)
class Expected:
    """Everything that a page may say about the run, from the planted tables."""

    run_file: Path
    base: Path
    adapter: Path
    texts: tuple[str, ...]
    channel_ids: list[str]  # column order of ``values``: layer, then q k v o gate up down, then rank index
    token_ids: Int[np.ndarray, " token"]  # all documents one after another, the start token of each included
    doc_offsets: Int[np.ndarray, " doc_bound"]
    is_special: Bool[np.ndarray, " token"]  # the start tokens
    values: Float[np.ndarray, "token channel"]  # x·A in float64
    scaling: dict[str, float]  # per channel id: alpha/√r
    read_norm: dict[str, float]
    write_norm: dict[str, float]

    def channel(self, channel_id: str) -> Float[np.ndarray, " token"]:
        """One channel's values over the corpus."""
        return self.values[:, self.channel_ids.index(channel_id)]


def build(folder: Path, gate_rank: int = 1) -> Expected:
    """Writes ``base/``, ``adapter/``, ``corpus.jsonl`` and ``run.toml`` into the folder.

    Args:
        folder: An empty folder.
        gate_rank: Rank of gate_proj (1 or 3) through ``rank_pattern``; all other modules have rank 1.

    Returns:
        What extraction must find, column by column; rows of A for a rank above 1.
    """
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder / "base")
    rows = [{"name": f"planted/{i}", "kind": "planted", "text": text} for i, text in enumerate(TEXTS)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "run.toml").write_text(RUN_FILE, encoding="utf-8")

    properties = plant(tokenizer)
    reads, writes = read_vectors(gate_rank), write_vectors(gate_rank)
    save_models(folder, embedding(properties), reads, writes, gate_rank)

    encoded = [tokenizer(text)["input_ids"] for text in TEXTS]
    offsets = np.cumsum([0, *map(len, encoded)])
    ids = np.concatenate([np.array(row) for row in encoded])
    normed = {name: column / math.sqrt(1 + EPSILON) for name, column in properties.items()}
    columns = expected_columns({name: column[ids] for name, column in normed.items()}, offsets, gate_rank)
    scaling = {c: ALPHA / math.sqrt(gate_rank if "gate_proj" in c else 1) for c in columns}
    return Expected(
        run_file=folder / "run.toml",
        base=folder / "base",
        adapter=folder / "adapter",
        texts=TEXTS,
        channel_ids=list(columns),
        token_ids=ids,
        doc_offsets=offsets,
        is_special=ids == tokenizer.bos_token_id,
        values=np.stack(list(columns.values()), axis=1),
        scaling=scaling,
        read_norm={c: float(np.linalg.norm(reads[module_of(c)][row_of(c)])) for c in columns},
        write_norm={c: float(np.linalg.norm(writes[module_of(c)][row_of(c)])) for c in columns},
    )


RUN_FILE = """
name = "known-answer"

[model]
base = "./base"
adapter = "./adapter"
dtype = "float32"
device = "cpu"

[corpus]
source = "./corpus.jsonl"
text = "text"
name = "name"

[extract]
basis = "rows"
batch_tokens = 64
chunk_tokens = 40

[summarize]
k = 5
context = 4
per_document = 0
min_count = 1

[publish]
title = "Known answers"
"""


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer in which digits stand alone; every text begins with ``<s>``."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=[START],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([*TEXTS, " Wait Wait Wait"], trainer)
    bpe.post_processor = processors.TemplateProcessing(single=f"{START} $A", special_tokens=[(START, 0)])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=START, pad_token=START)


def plant(tokenizer: PreTrainedTokenizerFast) -> dict[str, Float[np.ndarray, " vocabulary"]]:
    """The planted properties of every token, as the model's float32 weights hold them.

    digit: d/9 for the digits 1…9, and 0 for "0" and all else. wait: 1 for "Wait" with or without a space.
    operator: 1 for +, −1 for -. newline: how many newlines the token has. noise: a number in (−1, 1) that differs
    from token to token. negative: between −1 and −0.5 everywhere, the start token included.
    """
    texts = [tokenizer.decode([i]) for i in range(len(tokenizer))]
    plain = [text.strip(" ") for text in texts]
    noise = np.modf(np.arange(1, len(texts) + 1) * ((math.sqrt(5) - 1) / 2))[0] * 2 - 1
    planted = {
        "digit": [int(p) / 9 if len(p) == 1 and p in "123456789" else 0.0 for p in plain],
        "wait": [float(p == "Wait") for p in plain],
        "operator": [{"+": 1.0, "-": -1.0}.get(p, 0.0) for p in plain],
        "newline": [float(t.count("\n")) for t in texts],
        "noise": noise,
        "negative": -0.75 + noise / 4,
    }
    return {name: np.asarray(column, np.float32).astype(np.float64) for name, column in planted.items()}


def embedding(properties: dict[str, Float[np.ndarray, " vocabulary"]]) -> Float[np.ndarray, "vocabulary d"]:
    """Properties in the first coordinates, and the filler that makes the mean square 1."""
    table = np.zeros((len(properties["digit"]), HIDDEN))
    for index, name in enumerate(PROPERTIES):
        table[:, index] = properties[name]
    table[:, FILLER] = np.sqrt(HIDDEN - (table**2).sum(axis=1))
    return table


def residual_vector(coefficients: dict[str, float]) -> Float[np.ndarray, " d"]:
    """The vector whose product with a normed embedding is Σ coefficient · property: the gain is divided out."""
    vector = np.zeros(HIDDEN)
    for name, coefficient in coefficients.items():
        index = PROPERTIES.index(name)
        vector[index] = coefficient / GAIN[index]
    return vector


def read_vectors(gate_rank: int) -> dict[str, Float[np.ndarray, "rank d_in"]]:
    """A of every module."""
    found = {}
    for name, planted in DIRECTIONS.items():
        if name.endswith(("o_proj", "down_proj")):
            vector = np.zeros(HIDDEN if name.endswith("o_proj") else NEURONS)
            for index, coefficient in planted.read.items():
                vector[int(index)] = coefficient
            found[name] = vector[None]
        else:
            extra = EXTRA_ROWS[: gate_rank - 1] if name.endswith("gate_proj") else ()
            found[name] = np.stack([residual_vector(read) for read in (planted.read, *extra)])
    return found


OUTPUTS = {"q_proj": 2 * HEAD, "k_proj": HEAD, "v_proj": HEAD, "gate_proj": NEURONS, "up_proj": NEURONS}
"""Width of each module's output; HIDDEN for the others."""


def write_vectors(gate_rank: int) -> dict[str, Float[np.ndarray, "rank d_out"]]:
    """B of every module, a row per rank; the further rows of gate_proj write nothing."""
    found = {}
    for name, planted in DIRECTIONS.items():
        rank = gate_rank if name.endswith("gate_proj") else 1
        rows = np.zeros((rank, OUTPUTS.get(name.split("/")[-1], HIDDEN)))
        rows[0, : len(planted.write)] = planted.write
        found[name] = rows
    return found


def save_models(
    folder: Path,
    table: Float[np.ndarray, "vocabulary d"],
    reads: dict[str, Float[np.ndarray, "rank d_in"]],
    writes: dict[str, Float[np.ndarray, "rank d_out"]],
    gate_rank: int,
) -> None:
    """Saves the base model and the adapter as transformers and peft do."""
    config = Qwen2Config(
        vocab_size=len(table),
        hidden_size=HIDDEN,
        intermediate_size=NEURONS,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        rms_norm_eps=EPSILON,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    base = Qwen2ForCausalLM(config)
    fill_base(base, table)
    base.save_pretrained(folder / "base")
    lora = LoraConfig(
        r=1,
        lora_alpha=ALPHA,
        use_rslora=True,
        rank_pattern={"gate_proj": gate_rank} if gate_rank > 1 else {},
        target_modules=sorted({name.split("/")[-1] for name in DIRECTIONS}),
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(base, lora)
    with torch.no_grad():
        for name in DIRECTIONS:
            module = adapted.get_submodule(module_path(name))
            module.lora_A["default"].weight.copy_(torch.from_numpy(reads[name]))
            module.lora_B["default"].weight.copy_(torch.from_numpy(writes[name].T))
    adapted.peft_config["default"].base_model_name_or_path = "base"
    adapted.save_pretrained(folder / "adapter", save_embedding_layers=False)


@torch.no_grad()
def fill_base(model: Qwen2ForCausalLM, table: Float[np.ndarray, "vocabulary d"]) -> None:
    """Everything zero but the embedding, the gains, and what v, gate and up read."""
    for parameter in model.parameters():
        parameter.zero_()
    model.get_input_embeddings().weight.copy_(torch.from_numpy(table))
    for layer in model.model.layers:
        layer.input_layernorm.weight.copy_(torch.from_numpy(GAIN))
        layer.post_attention_layernorm.weight.copy_(torch.from_numpy(GAIN))
        for module, weight in (
            (layer.self_attn.v_proj, VALUE_WEIGHT),
            (layer.mlp.gate_proj, GATE_WEIGHT),
            (layer.mlp.up_proj, UP_WEIGHT),
        ):
            for row, (name, coefficient) in enumerate(weight):
                module.weight[row].copy_(torch.from_numpy(residual_vector({name: coefficient})))
    model.model.norm.weight.fill_(1.0)


def module_path(name: str) -> str:
    """ "lora/L0/q_proj" -> its path in the PEFT model."""
    _, layer, module = name.split("/")
    block = "mlp" if module in ("gate_proj", "up_proj", "down_proj") else "self_attn"
    return f"base_model.model.model.layers.{layer[1:]}.{block}.{module}"


def module_of(channel_id: str) -> str:
    """ "lora/L0/gate_proj/r2" -> "lora/L0/gate_proj"."""
    return "/".join(channel_id.split("/")[:3])


def row_of(channel_id: str) -> int:
    """ "lora/L0/gate_proj/r2" -> 2; 0 for an id without a rank index."""
    rest = channel_id.split("/")[3:]
    return int(rest[0][1:]) if rest else 0


# --- What extraction must find ---------------------------------------------------------------------------------


def expected_columns(
    at: dict[str, Float[np.ndarray, " token"]], offsets: Int[np.ndarray, " doc_bound"], gate_rank: int
) -> dict[str, Float[np.ndarray, " token"]]:
    """The values of every channel at every token of the corpus.

    Args:
        at: The normed properties of the corpus's tokens.
        offsets: Where the documents begin.
        gate_rank: 1 or 3.
    """
    columns: dict[str, Float[np.ndarray, " token"]] = {}
    for layer in range(LAYERS):
        name = f"lora/L{layer}/"
        for module in ("q_proj", "k_proj", "v_proj"):
            columns[name + module] = weighted(at, DIRECTIONS[name + module].read)
        held = with_adapter(at, VALUE_WEIGHT, HEAD, name + "v_proj", columns[name + "v_proj"])
        columns[name + "o_proj"] = read_heads(running_mean(held, offsets), DIRECTIONS[name + "o_proj"].read)
        gate, up = name + "gate_proj", name + "up_proj"
        gate_value, columns[up] = weighted(at, DIRECTIONS[gate].read), weighted(at, DIRECTIONS[up].read)
        if gate_rank == 1:
            columns[gate] = gate_value
        else:
            for row, read in enumerate((DIRECTIONS[gate].read, *EXTRA_ROWS)):
                columns[f"{gate}/r{row}"] = weighted(at, read)
        scaling = ALPHA / math.sqrt(gate_rank)
        opened = silu(with_adapter(at, GATE_WEIGHT, NEURONS, gate, gate_value, scaling))
        neurons = opened * with_adapter(at, UP_WEIGHT, NEURONS, up, columns[up])
        read = DIRECTIONS[name + "down_proj"].read
        columns[name + "down_proj"] = sum(c * neurons[:, int(i)] for i, c in read.items())
    return {name: columns[name] for name in sorted(columns, key=channel_order)}


MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def channel_order(channel_id: str) -> tuple[str, int, int]:
    """Layer, module in the order of the model, rank index."""
    _, layer, module = module_of(channel_id).split("/")
    return layer, MODULES.index(module), row_of(channel_id)


def weighted(
    at: dict[str, Float[np.ndarray, " token"]], coefficients: dict[str, float]
) -> Float[np.ndarray, " token"]:
    """Σ coefficient · property."""
    return sum((c * at[name] for name, c in coefficients.items()), np.zeros(len(at["digit"])))


def with_adapter(
    at: dict[str, Float[np.ndarray, " token"]],
    weight: tuple[tuple[str, float], ...],
    width: int,
    name: str,
    value: Float[np.ndarray, " token"],
    scaling: float = ALPHA,
) -> Float[np.ndarray, "token d_out"]:
    """A module's output: what its weight reads, and scaling · value · B."""
    output = np.zeros((len(value), width))
    for index, (source, coefficient) in enumerate(weight):
        output[:, index] = coefficient * at[source]
    write = DIRECTIONS[name].write
    output[:, : len(write)] += scaling * value[:, None] * np.array(write).reshape(1, -1)
    return output


def running_mean(
    held: Float[np.ndarray, "token d"], offsets: Int[np.ndarray, " doc_bound"]
) -> Float[np.ndarray, "token d"]:
    """The mean over the document up to and including each token: causal attention with equal scores."""
    parts = []
    for start, stop in zip(offsets, offsets[1:]):
        counts = np.arange(1, stop - start + 1)[:, None]
        parts.append(np.cumsum(held[start:stop], axis=0) / counts)
    return np.concatenate(parts)


def read_heads(mixed: Float[np.ndarray, "token d"], read: dict[str, float]) -> Float[np.ndarray, " token"]:
    """What o reads: coordinate i of the heads' outputs side by side; both query heads share the one value head."""
    return sum((c * mixed[:, int(i) % HEAD] for i, c in read.items()), np.zeros(len(mixed)))


def silu(x: Float[np.ndarray, "token d"]) -> Float[np.ndarray, "token d"]:
    """x · sigmoid(x)."""
    return x / (1 + np.exp(-x))
