"""Hook points stand for the places that they name: in every family, and in TransformerLens' own models."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

from generator.errors import FeaturebookError
from generator.measure.hook_points import HookPoint, resolve, watched
from tests.measure.toys import COMMON, FAMILIES, SMALL, VOCABULARY, randomise

CPU = torch.device("cpu")
IDS = torch.randint(3, VOCABULARY, (2, 9), generator=torch.Generator().manual_seed(0))

SEQUENTIAL = ["qwen2", "llama", "gpt2", "gemma2", "gemma3_text", "opt", "bloom", "mistral", "bert", "roberta"]
PARALLEL = ["gpt_neox", "gptj", "falcon", "phi", "cohere"]
KINDS = FAMILIES | {
    "gptj": COMMON | {"n_embd": 32, "n_layer": 3, "n_head": 4, "rotary_dim": 4},
    "falcon": COMMON | {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4},
    "phi": SMALL,
    "cohere": SMALL,
    "mixtral": SMALL | {"num_key_value_heads": 2, "num_local_experts": 4},
}
POST_NORM = ("bert", "roberta")


def model_of(family: str) -> Any:
    config = AutoConfig.for_model(family, **KINDS[family])
    torch.manual_seed(0)
    kind = AutoModelForMaskedLM if family in POST_NORM else AutoModelForCausalLM
    model = kind.from_config(config).eval()
    randomise(model)
    return model


def read(model: nn.Module, *names: str) -> list[Tensor]:
    """What some hook points hold, in the order of a pass; hidden states are (doc, token, d)."""
    points = resolve(names, model, CPU).points
    return values_at(model, points)


def values_at(model: nn.Module, points: list[HookPoint]) -> list[Tensor]:
    found: dict[int, Tensor] = {}
    with watched(model, points, lambda i, t: found.__setitem__(i, t.detach().clone())), torch.no_grad():
        model(input_ids=IDS)
    return [found[i].view(*IDS.shape, -1) for i in range(len(points))]


@pytest.mark.parametrize("family", [f for f in SEQUENTIAL + PARALLEL if f not in POST_NORM])
def test_residual_states_are_those_of_transformers(family: str) -> None:
    model = model_of(family)
    with torch.no_grad():
        states = model(input_ids=IDS, output_hidden_states=True).hidden_states
    before = read(model, "blocks.*.hook_resid_pre")
    after = read(model, "blocks.*.hook_resid_post")
    for layer in range(3):
        torch.testing.assert_close(before[layer], states[layer])
        if layer < 2:  # the last of transformers' states has passed the final norm
            torch.testing.assert_close(after[layer], states[layer + 1])


@pytest.mark.parametrize("family", SEQUENTIAL)
def test_the_stream_is_the_sum_of_what_is_written(family: str) -> None:
    model = model_of(family)
    names = ("hook_resid_pre", "hook_attn_out", "hook_resid_mid", "hook_mlp_out", "hook_resid_post")
    pre, attention, mid, mlp, post = (read(model, f"blocks.1.{name}")[0] for name in names)
    torch.testing.assert_close(mid, pre + attention, rtol=1e-5, atol=1e-5)
    start = mid
    if family in POST_NORM:  # the MLP's sum begins at the normed state
        path = resolve(["blocks.1.hook_resid_mid"], model, CPU).points[0].path
        start = model.get_submodule(path)(mid).detach()
    torch.testing.assert_close(post, start + mlp, rtol=1e-5, atol=1e-5)
    assert attention.norm() > 0.01 and mlp.norm() > 0.01 and not torch.allclose(attention, mlp)


@pytest.mark.parametrize("family", PARALLEL)
def test_blocks_side_by_side_write_to_one_state(family: str) -> None:
    model = model_of(family)
    names = ("hook_resid_pre", "hook_attn_out", "hook_mlp_out", "hook_resid_post")
    pre, attention, mlp, post = (read(model, f"blocks.1.{name}")[0] for name in names)
    torch.testing.assert_close(post, pre + attention + mlp, rtol=1e-5, atol=1e-5)
    paths = [resolve([f"blocks.1.{name}"], model, CPU).points[0].path for name in names[1:3]]
    assert "att" in paths[0] and "att" not in paths[1]  # the one that mixes tokens is attention's
    with pytest.raises(FeaturebookError, match="no hook_resid_mid"):
        resolve(["blocks.1.hook_resid_mid"], model, CPU)


@pytest.mark.parametrize("family", [*SEQUENTIAL, *PARALLEL])
def test_neurons_and_heads_are_the_inputs_of_what_is_written(family: str) -> None:
    """The matrix behind the place gives the write, up to a norm after it (Gemma)."""
    model = model_of(family)
    for name, write in (("attn.hook_z", "hook_attn_out"), ("mlp.hook_post", "hook_mlp_out")):
        (point,) = resolve([f"blocks.1.{name}"], model, CPU).points
        (out,) = resolve([f"blocks.1.{write}"], model, CPU).points
        value, wanted = values_at(model, [point])[0], values_at(model, [out])[0]
        product = model.get_submodule(point.path)(value).detach()
        if "gemma" in family:
            product = model.get_submodule(out.path)(product).detach()
        torch.testing.assert_close(product, wanted, rtol=1e-5, atol=1e-5)
        assert point.space == ("L1.mlp" if name == "mlp.hook_post" else point.space)


# --- TransformerLens ---------------------------------------------------------------------------------------------


def hooked_gpt2(model: Any, *, is_processed: bool) -> Any:
    """TransformerLens' own model with the same weights, its processing on (fold, centre) or off."""
    lens = pytest.importorskip(
        "transformer_lens", reason="transformer-lens is not installed (extra: oracles)"
    )
    conversions = pytest.importorskip("transformer_lens.pretrained.weight_conversions")
    cfg = lens.HookedTransformerConfig(
        n_layers=3, d_model=32, n_ctx=128, d_head=8, n_heads=4, d_mlp=128, d_vocab=VOCABULARY,
        act_fn="gelu_new", eps=1e-5, normalization_type="LNPre" if is_processed else "LN", device="cpu",
    )  # fmt: skip
    hooked = lens.HookedTransformer(cfg)
    hooked.load_and_process_state_dict(
        conversions.convert_gpt2_weights(model, cfg),
        fold_ln=is_processed,
        center_writing_weights=is_processed,
        center_unembed=is_processed,
        fold_value_biases=False,
    )
    return hooked


NAMES = ["hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out", "hook_mlp_out"]


@pytest.mark.parametrize("name", [*NAMES, "attn.hook_z", "mlp.hook_post"])
def test_equal_to_transformer_lens(name: str) -> None:
    model = model_of("gpt2")
    _, cache = hooked_gpt2(model, is_processed=False).run_with_cache(IDS, prepend_bos=False)
    wanted = cache[f"blocks.1.{name}"].flatten(2)
    torch.testing.assert_close(read(model, f"blocks.1.{name}")[0], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_centred_rows_are_those_of_centred_weights(name: str) -> None:
    from generator.measure.backends import flat

    model = model_of("gpt2")
    _, cache = hooked_gpt2(model, is_processed=True).run_with_cache(IDS, prepend_bos=False)
    ours = read(model, f"blocks.1.{name}")[0]
    wanted = cache[f"blocks.1.{name}"].flatten(0, 1)
    torch.testing.assert_close(flat(ours, is_centred=True), wanted, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(flat(ours, is_centred=False), wanted, rtol=1e-3, atol=1e-4)


def hooked_gemma2(model: Any) -> Any:
    lens = pytest.importorskip(
        "transformer_lens", reason="transformer-lens is not installed (extra: oracles)"
    )
    conversions = pytest.importorskip("transformer_lens.pretrained.weight_conversions")
    of = model.config
    cfg = lens.HookedTransformerConfig(
        n_layers=3, d_model=32, n_ctx=128, d_head=of.head_dim, n_heads=of.num_attention_heads,
        n_key_value_heads=of.num_key_value_heads, d_mlp=of.intermediate_size, d_vocab=VOCABULARY,
        act_fn="gelu_pytorch_tanh", eps=of.rms_norm_eps, normalization_type="RMS", final_rms=True, gated_mlp=True,
        positional_embedding_type="rotary", rotary_dim=of.head_dim, use_attn_scale=True,
        attn_scale=of.query_pre_attn_scalar**0.5, attn_scores_soft_cap=of.attn_logit_softcapping,
        use_normalization_before_and_after=True, original_architecture="Gemma2ForCausalLM", device="cpu",
    )  # fmt: skip
    hooked = lens.HookedTransformer(cfg)
    hooked.load_and_process_state_dict(
        conversions.convert_gemma_weights(model, cfg), fold_ln=False, center_writing_weights=False,
        center_unembed=False, fold_value_biases=False,
    )  # fmt: skip
    return hooked


@pytest.mark.parametrize("name", [*NAMES, "attn.hook_z", "mlp.hook_post"])
def test_equal_to_transformer_lens_where_blocks_end_in_a_norm(name: str) -> None:
    model = model_of("gemma2")
    _, cache = hooked_gemma2(model).run_with_cache(IDS, prepend_bos=False)
    wanted = cache[f"blocks.1.{name}"].flatten(2)
    torch.testing.assert_close(read(model, f"blocks.1.{name}")[0], wanted, rtol=1e-4, atol=1e-4)
    if name == "hook_mlp_out":
        assert not torch.allclose(read(model, "layers.1.mlp:output")[0], wanted, rtol=0.1, atol=0.1)


def test_notes_say_on_which_side_of_a_blocks_norm_a_place_is() -> None:
    behind, before = "behind the norm that follows the block", "before the norm that follows the block"
    for name, family, words in (
        ("blocks.1.hook_mlp_out", "gemma2", behind),
        ("blocks.*.hook_attn_out", "gemma3_text", behind),
        ("layers.*.mlp:output", "gemma2", before),
        ("layers.*.self_attn:output", "gemma2", before),
    ):
        notes = resolve([name], model_of(family), CPU).notes
        assert [note for note in notes if words in note], (name, notes)
    for name, family in (("blocks.1.hook_resid_post", "gemma2"), ("blocks.1.hook_mlp_out", "llama")):
        assert not any("follows the block" in note for note in resolve([name], model_of(family), CPU).notes)


def test_notes_say_where_transformer_lens_differs() -> None:
    names = ["blocks.0.hook_resid_post"]
    assert any("is_centred" in note for note in resolve(names, model_of("gpt2"), CPU).notes)
    assert not any("is_centred" in note for note in resolve(names, model_of("llama"), CPU).notes)
    assert any("BOS" in note for note in resolve(names, model_of("llama"), CPU).notes)
    assert resolve(["model.layers.0:output"], model_of("llama"), CPU).notes == []


# --- names --------------------------------------------------------------------------------------------------------


def ids_of(model: nn.Module, *names: str) -> list[str]:
    return [point.id for point in resolve(names, model, CPU).points]


def test_globs() -> None:
    model = model_of("llama")
    layers = [f"model.layers.{n}:output" for n in range(3)]
    assert ids_of(model, "model.layers.*:output") == layers == ids_of(model, "layers.*")
    assert ids_of(model, "model.layers.[02].mlp") == [
        "model.layers.0.mlp:output",
        "model.layers.2.mlp:output",
    ]
    assert ids_of(model, "down_proj:input") == [f"model.layers.{n}.mlp.down_proj:input" for n in range(3)]
    assert ids_of(model, "model.**.down_proj:input") == ids_of(model, "down_proj:input")
    assert ids_of(model, "model.layers.2.output") == ["model.layers.2:output"]  # as Gemma Scope 2 writes it


def test_points_come_in_the_order_of_a_pass_and_once() -> None:
    model = model_of("llama")
    names = ("layers.2:output", "blocks.0.hook_mlp_out", "layers.*.mlp:output", "layers.0:input")
    assert ids_of(model, *names) == [
        "model.layers.0:input",
        "model.layers.0.mlp:output",
        "model.layers.1.mlp:output",
        "model.layers.2.mlp:output",
        "model.layers.2:output",
    ]


def test_a_place_has_one_name_however_it_was_asked_for() -> None:
    model = model_of("gemma2")
    wanted = {
        "model.layers.1:input": (1, "resid_pre", "residual"),
        "model.layers.1:output": (1, "resid_post", "residual"),
        "model.layers.1.post_feedforward_layernorm": (1, "mlp_out", "residual"),
        "model.layers.1.mlp.down_proj:input": (1, "post", "L1.mlp"),
        "model.layers.1.mlp:output": (
            1,
            "mlp",
            "L1.mlp.out",
        ),  # before the norm: not what is added to the stream
        "model.embed_tokens": (-1, "model.embed_tokens", "residual"),
    }
    for name, (layer, module, space) in wanted.items():
        (point,) = resolve([name], model, CPU).points
        assert (point.layer, point.module, point.space) == (layer, module, space), name
        assert point.width == (48 if module == "post" else 32)


REFUSALS: dict[str, tuple[str, ...]] = {
    "model.layer.1:output": ("no module 'model.layer.1'", "model.layers.1"),
    "model.layers.7:output": ("no module", "LlamaForCausalLM"),
    "blocks.1.hook_resid_pots": ("hook_resid_post", "Did you mean"),
    "blocks.9.hook_resid_post": ("layer 9", "0 to 2"),
    "model.layers.1.mlp:outputs": (":input or :output",),
    "model.rotary_emb:output": ("no vector for each token", "shape"),
    "blocks.1.hook_normalized_resid_post": ("has no hook_normalized_resid_post",),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_does_not_exist_is_refused_with_what_does(name: str) -> None:
    with pytest.raises(FeaturebookError) as caught:
        resolve([name], model_of("llama"), CPU)
    for words in REFUSALS[name]:
        assert re.search(re.escape(words), str(caught.value)), str(caught.value)


def test_experts_have_no_neurons_of_their_own_place() -> None:
    with pytest.raises(FeaturebookError, match=re.escape("no mlp.hook_post")):
        resolve(["blocks.0.mlp.hook_post"], model_of("mixtral"), CPU)


def test_an_adapter_changes_neither_names_nor_places(make_toy: Callable[..., Any]) -> None:
    from generator.measure.model import load_model
    from generator.progress import Silent

    toy = make_toy("gemma2", r=3)
    loaded = load_model(toy.config().model, Silent())
    aliases = [f"blocks.1.{name}" for name in (*NAMES, "attn.hook_z", "mlp.hook_post")]
    bare = [p.id for p in resolve(aliases, model_of("gemma2"), CPU).points]
    assert [p.id for p in resolve(aliases, loaded.model, CPU).points] == bare
    with pytest.raises(FeaturebookError, match="no module"):
        resolve(["model.layers.0.self_attn.q_proj.lora_A.default"], loaded.model, CPU)
