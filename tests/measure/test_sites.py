"""Ids, shared inputs and spaces, found in one traced pass: right for every family without a name in the code."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from generator.errors import FeaturebookError
from generator.measure.extract import Extractor, open_extractor
from generator.measure.sites import choose_modules, find_places, unique_suffix
from generator.measure.trace import is_norm, norm_gain
from generator.progress import Silent
from tests.measure.toys import Toy

RESIDUAL, MLP, OWN = "residual", "L1.mlp", None
LLAMA_LIKE = {
    "q_proj": (RESIDUAL, OWN), "k_proj": (RESIDUAL, OWN), "v_proj": (RESIDUAL, OWN), "o_proj": (OWN, RESIDUAL),
    "gate_proj": (RESIDUAL, MLP), "up_proj": (RESIDUAL, MLP), "down_proj": (MLP, RESIDUAL),
}  # fmt: skip
NEOX_LIKE = {
    "query_key_value": (RESIDUAL, OWN), "dense": (OWN, RESIDUAL),
    "dense_h_to_4h": (RESIDUAL, MLP), "dense_4h_to_h": (MLP, RESIDUAL),
}  # fmt: skip
BERT_LIKE = {
    "query": (RESIDUAL, OWN), "key": (RESIDUAL, OWN), "value": (RESIDUAL, OWN),
    "attention.output.dense": (OWN, RESIDUAL), "intermediate.dense": (RESIDUAL, MLP), "output.dense": (MLP, RESIDUAL),
}  # fmt: skip
SPACES: dict[str, dict[str, tuple[str | None, str | None]]] = {
    "qwen2": LLAMA_LIKE,
    "llama": LLAMA_LIKE,
    "gemma2": LLAMA_LIKE,
    "gemma3_text": LLAMA_LIKE,
    "gpt2": {"c_attn": (RESIDUAL, OWN), "attn.c_proj": (OWN, RESIDUAL), "c_fc": (RESIDUAL, MLP), "mlp.c_proj": (MLP, RESIDUAL)},
    "gpt_neox": NEOX_LIKE,
    "bloom": NEOX_LIKE,
    "bert": BERT_LIKE,
    "opt": {
        "k_proj": (RESIDUAL, OWN), "v_proj": (RESIDUAL, OWN), "q_proj": (RESIDUAL, OWN), "out_proj": (OWN, RESIDUAL),
        "fc1": (RESIDUAL, MLP), "fc2": (MLP, RESIDUAL),
    },
}  # fmt: skip


def open_toy(toy: Toy, **tables: Any) -> Extractor:
    extract = {"basis": "rows", "packing": "sorted", "calibration_documents": 1} | tables.pop("extract", {})
    return open_extractor(toy.config(extract=extract, **tables), toy.corpus(), Silent())


def space_of(extractor: Extractor, channel: int, side: str) -> str:
    found = [d.space for d in extractor.directions if d.side == side and channel in d.channels]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("family", SPACES)
def test_spaces(family: str, make_toy: Callable[..., Toy]) -> None:
    extractor = open_toy(make_toy(family))
    of_layer = {c.module: i for i, c in enumerate(extractor.channels) if c.layer == 1}
    assert list(of_layer) == list(SPACES[family])  # model order
    own = set()
    for module, channel in of_layer.items():
        for side, wanted in zip(("read", "write"), SPACES[family][module]):
            space = space_of(extractor, channel, side)
            if wanted is None:
                assert space == f"L1.{module}.{'in' if side == 'read' else 'out'}"
                own.add(space)
            else:
                assert space == wanted, (module, side)
    pairs = {(d.space, d.side) for d in extractor.directions}
    assert len(pairs) == len(extractor.directions)


def test_the_mlp_space_is_what_a_perturbed_neuron_moves(make_toy: Callable[..., Toy]) -> None:
    """The traced claim, checked by its definition: only the same neuron of the other module's input moves."""
    from transformers import AutoModelForCausalLM

    toy = make_toy("qwen2")
    model = AutoModelForCausalLM.from_pretrained(toy.base)
    mlp = model.model.layers[1].mlp
    seen: list[torch.Tensor] = []
    mlp.down_proj.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    x = torch.randn(1, 3, 32)
    with torch.no_grad():
        mlp(x)
        for module in (mlp.gate_proj, mlp.up_proj):
            handle = module.register_forward_hook(lambda m, args, out: out + torch.eye(48)[7])
            mlp(x)
            handle.remove()
    for moved in seen[1:]:
        assert (moved != seen[0]).any(dim=(0, 1)).nonzero().flatten().tolist() == [7]


@pytest.mark.parametrize(
    ("family", "norm"),
    [("qwen2", "layers.1.input_layernorm"), ("gpt2", "h.1.ln_1"), ("gemma2", "layers.1.input_layernorm")],
)
def test_folded_read_is_the_read_behind_the_norm(
    family: str, norm: str, make_toy: Callable[..., Toy]
) -> None:
    """A ⊙ g for the norm in front: weight, 1 + weight in Gemma, weight of a LayerNorm."""
    toy = make_toy(family)
    extractor = open_toy(toy)
    from transformers import AutoModelForCausalLM

    body = AutoModelForCausalLM.from_pretrained(toy.base).base_model
    gain = body.get_submodule(norm).weight.detach().numpy() + (1 if family == "gemma2" else 0)
    channel = next(
        i for i, c in enumerate(extractor.channels) if c.layer == 1 and c.module in ("q_proj", "c_attn")
    )
    reads = next(d for d in extractor.directions if (d.space, d.side) == ("residual", "read"))
    row = int(np.flatnonzero(reads.channels == channel)[0])
    assert reads.folded is not None
    np.testing.assert_allclose(reads.folded[row], reads.vectors[row] * gain, rtol=2e-5, atol=1e-6)


def test_norm_gain_is_measured_not_read() -> None:
    layer = torch.nn.LayerNorm(8)
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    assert is_norm(layer, torch.randn(2, 8))
    torch.testing.assert_close(
        norm_gain(layer, torch.randn(2, 8)), layer.weight.detach(), rtol=1e-4, atol=1e-5
    )
    assert not is_norm(torch.nn.Linear(8, 8), torch.randn(2, 8))
    assert not is_norm(torch.nn.GELU(), torch.randn(2, 8))


def test_embedding_channels_have_their_dotted_path(make_toy: Callable[..., Toy]) -> None:
    extractor = open_toy(make_toy("qwen2", r=2, target_modules=["embed_tokens", "v_proj"]))
    assert [c.id for c in extractor.channels[:3]] == [
        "lora/model.embed_tokens/r0", "lora/model.embed_tokens/r1", "lora/L0/v_proj/r0",
    ]  # fmt: skip
    assert extractor.channels[0].layer == -1
    assert space_of(extractor, 0, "write") == "residual"
    assert space_of(extractor, 0, "read") == "model.embed_tokens.in"


def test_write_norms_and_scaling_give_the_modules_output(make_toy: Callable[..., Toy]) -> None:
    from generator.measure.lora import read_adapted
    from generator.measure.model import load_model

    toy = make_toy("qwen2", r=3)
    extractor = open_toy(toy, extract={"basis": "svd"})
    module = next(
        m
        for m in read_adapted(load_model(toy.config().model, Silent()).model, "default", "rows")
        if "layers.1.mlp.up_proj" in m.name
    )
    total = module.scaling * module.write.T @ module.read
    mine = [i for i, c in enumerate(extractor.channels) if c.layer == 1 and c.module == "up_proj"]
    read, write = (
        next(
            d.vectors[np.isin(d.channels, mine)]
            for d in extractor.directions
            if d.side == side and set(mine) <= set(d.channels.tolist())
        )
        for side in ("read", "write")
    )
    first = extractor.channels[mine[0]]
    np.testing.assert_allclose(first.scaling * write.T @ read, total.numpy(), atol=1e-5)
    assert [extractor.channels[i].basis for i in mine] == ["svd"] * 3 and first.scaling == pytest.approx(
        16 / 3
    )
    np.testing.assert_allclose(
        [extractor.channels[i].write_norm for i in mine], np.linalg.norm(write, axis=1), rtol=1e-5
    )
    np.testing.assert_allclose([extractor.channels[i].read_norm for i in mine], 1, rtol=1e-5)


def test_unique_suffix() -> None:
    names = ["attn", "attn.c_proj", "mlp", "mlp.c_proj", "mlp.c_fc", "output.dense", "attention.output.dense"]
    assert unique_suffix("mlp.c_fc", names) == "c_fc"
    assert unique_suffix("attn.c_proj", names) == "attn.c_proj"
    assert unique_suffix("output.dense", names) == "output.dense"
    assert unique_suffix("attention.output.dense", names) == "attention.output.dense"


def test_layers_of_another_tower_are_not_numbered() -> None:
    names = ["language.layers.0.q", "language.layers.0.o", "vision.blocks.0.q"]
    places = find_places(names, names, "language.layers")
    assert [p.id("lora", 0, 1) for p in places] == ["lora/L0/q", "lora/L0/o", "lora/vision.blocks.0.q"]
    assert places[0].id("my-lora", 3, 8) == "my-lora/L0/q/r3"


def test_a_glob_that_matches_nothing_names_the_nearest() -> None:
    names = ["layers.0.mlp.gate_proj", "layers.0.mlp.up_proj", "layers.1.mlp.up_proj"]
    places = find_places(names, names, "layers")
    with pytest.raises(
        FeaturebookError, match=r"no adapted module matches 'gate_prj'. Did you mean gate_proj"
    ):
        choose_modules(places, ["gate_prj"])
    with pytest.raises(FeaturebookError, match="leaves no module"):
        choose_modules(places, ["*", "!*"])
    assert choose_modules(places, ["L0.*"]) == [True, True, False]
    assert choose_modules(places, ["!layers.0.*"]) == [False, False, True]
    assert choose_modules(places, ["up_proj"]) == [False, True, True]


def test_modules_that_share_an_input_share_a_projection(make_toy: Callable[..., Toy]) -> None:
    sites = open_toy(make_toy("qwen2"))._engine.sites
    assert sorted(len(site.members) for site in sites) == [1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_a_module_that_runs_twice_is_refused(make_toy: Callable[..., Toy]) -> None:
    """ALBERT shares the weights of its layers."""
    import transformers

    toy = make_toy("bert")
    config = transformers.AlbertConfig(vocab_size=384, embedding_size=16, hidden_size=32, intermediate_size=48,
                                       num_hidden_layers=3, num_attention_heads=4)  # fmt: skip
    from peft import LoraConfig, get_peft_model

    from tests.measure.toys import toy_tokenizer

    base, adapter = toy.base.parent / "albert", toy.base.parent / "albert-adapter"
    model = transformers.AlbertForMaskedLM(config)
    model.save_pretrained(base)
    toy_tokenizer().save_pretrained(base)
    get_peft_model(model, LoraConfig(target_modules=["query"])).save_pretrained(adapter)
    with pytest.raises(FeaturebookError, match="runs 3 times in one forward pass"):
        open_toy(Toy(base, adapter, toy.corpus_file))
