"""Checkpoints of every format, made with random numbers in the exact layout on disk, with two oracles each.

``formula`` is the format's definition in float64, written without looking at the loaders; ``library`` is the original
library's own ``encode``, where it is installed (the ``oracles`` extra).
"""

import importlib
import importlib.util
import json
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from generator.measure.dictionaries import LoadOptions

D_IN, N, K, D_OUT = 12, 40, 5, 9


@dataclass
class Checkpoint:
    """One file in a folder, its random arrays and its oracles."""

    path: Path
    arrays: dict[str, np.ndarray]  # "W_enc" -> float64, as stored
    library: Callable[[torch.Tensor], torch.Tensor] | None = None
    facts: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A format and how to make and check a file of it."""

    format: str
    make: Callable[[Path], Checkpoint]
    formula: Callable[[dict[str, np.ndarray], np.ndarray], np.ndarray]
    options: LoadOptions = field(default_factory=LoadOptions)
    d_out: int = D_IN
    output: Callable[[dict[str, np.ndarray], np.ndarray, np.ndarray], np.ndarray] | None = None


def inputs(n_tokens: int = 64, seed: int = 1) -> torch.Tensor:
    """Random inputs off centre."""
    return torch.randn(n_tokens, D_IN, generator=torch.Generator().manual_seed(seed)) * 1.5 + 0.2


def draw(**shapes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """Random float32 tensors."""
    generator = torch.Generator().manual_seed(7)
    return {name: torch.randn(*shape, generator=generator) * 0.5 for name, shape in shapes.items()}


def as_float64(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: t.double().numpy() for name, t in tensors.items()}


# --- float64 ----------------------------------------------------------------------------------------------------


def relu(z: np.ndarray) -> np.ndarray:
    return np.maximum(z, 0)


def keep_best(z: np.ndarray, score: np.ndarray, k: int) -> np.ndarray:
    """Zero except at each row's ``k`` greatest scores."""
    best = np.argsort(-score, axis=1)[:, :k]
    out = np.zeros_like(z)
    np.put_along_axis(out, best, np.take_along_axis(z, best, 1), 1)
    return out


def layer_norm(x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(1, keepdims=True)
    return centred / (centred.std(1, ddof=1, keepdims=True) + 1e-5)


# --- SAELens ----------------------------------------------------------------------------------------------------


def saelens(architecture: str, extra: dict[str, tuple[int, ...]], cfg: dict, d_out: int = D_IN) -> Callable:
    """Writes a version 6 folder."""

    def make(folder: Path) -> Checkpoint:
        tensors = draw(W_enc=(D_IN, N), W_dec=(N, d_out), b_dec=(d_out,), b_enc=(N,), **extra)
        if architecture == "gated":
            del tensors["b_enc"]
        if "threshold" in tensors:
            tensors["threshold"] = tensors["threshold"].abs() * 0.5
        full = {
            "architecture": architecture,
            "d_in": D_IN,
            "d_sae": N,
            "dtype": "float32",
            "device": "cpu",
            "normalize_activations": "none",
            "reshape_activations": "none",
            "apply_b_dec_to_input": "transcoder" not in architecture,
            "metadata": {"sae_lens_version": "6.54.12", "hook_name": "blocks.3.hook_resid_post"},
            **({"d_out": d_out} if "transcoder" in architecture else {}),
            **cfg,
        }
        return write_saelens(folder, tensors, full)

    return make


def saelens_old(folder: Path) -> Checkpoint:
    """Writes a folder as versions before 6 did: flat, with the old names, top-k as an activation function."""
    tensors = draw(W_enc=(D_IN, N), W_dec=(N, D_IN), b_dec=(D_IN,), b_enc=(N,))
    cfg = {
        "d_in": D_IN,
        "d_sae": N,
        "dtype": "torch.float32",
        "device": "cpu",
        "hook_point": "blocks.3.hook_resid_post",
        "hook_point_layer": 3,
        "hook_point_head_index": None,
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": K},
        "normalize_activations": False,
        "model_name": "gpt2-small",
        "sae_lens_training_version": None,
    }
    return write_saelens(folder, {**tensors, "scaling_factor": torch.ones(N)}, cfg)


def write_saelens(folder: Path, tensors: dict[str, torch.Tensor], cfg: dict) -> Checkpoint:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(cfg))

    def library(x: torch.Tensor) -> torch.Tensor:
        sae_lens = pytest.importorskip("sae_lens", reason="sae-lens is not installed (extra: oracles)")
        return sae_lens.SAE.load_from_disk(folder).encode(x)

    return Checkpoint(folder, as_float64(tensors), library)


def centred(a: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    return (x - a["b_dec"]) @ a["W_enc"] + a["b_enc"]


def plain(a: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    return x @ a["W_enc"] + a["b_enc"]


def gated_saelens(a: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    e = (x - a["b_dec"]) @ a["W_enc"]
    return (e + a["b_gate"] > 0) * relu(e * np.exp(a["r_mag"]) + a["b_mag"])


def rescaled_topk(a: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    z = centred(a, x) * np.linalg.norm(a["W_dec"], axis=1)
    return relu(keep_best(z, z, K))


def skip_output(a: dict[str, np.ndarray], f: np.ndarray, x: np.ndarray) -> np.ndarray:
    return f @ a["W_dec"] + a["b_dec"] + x @ a["W_skip"].T


# --- sparsify ---------------------------------------------------------------------------------------------------


def sparsify(**cfg: object) -> Callable:
    """Writes ``{hookpoint}/cfg.json`` and ``sae.safetensors``."""

    def make(folder: Path) -> Checkpoint:
        folder = folder / "layers.5.mlp"
        folder.mkdir(parents=True)
        shapes = {"encoder.weight": (N, D_IN), "encoder.bias": (N,), "W_dec": (N, D_IN), "b_dec": (D_IN,)}
        if cfg.get("skip_connection"):
            shapes["W_skip"] = (D_IN, D_IN)
        tensors = draw(**shapes)
        save_file(tensors, folder / "sae.safetensors")
        full = {
            "activation": "topk",
            "expansion_factor": 32,
            "normalize_decoder": True,
            "num_latents": N,
            "k": K,
            "multi_topk": False,
            "skip_connection": False,
            "transcode": False,
            **cfg,
            "d_in": D_IN,
        }
        (folder / "cfg.json").write_text(json.dumps(full))

        def library(x: torch.Tensor) -> torch.Tensor:
            original = pytest.importorskip(
                "sparsify", reason="eai-sparsify is not installed (extra: oracles)"
            )
            out = original.SparseCoder.load_from_disk(folder).encode(x)
            return torch.zeros(len(x), N).scatter_(1, out.top_indices, out.top_acts)

        return Checkpoint(folder, as_float64(tensors), library)

    return make


def sparsify_pre(a: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    return relu((x - a["b_dec"]) @ a["encoder.weight"].T + a["encoder.bias"])


def group_best(z: np.ndarray) -> np.ndarray:
    groups = z.reshape(len(z), K, N // K)
    return np.where(groups == groups.max(2, keepdims=True), groups, 0).reshape(z.shape)


# --- dictionary_learning ----------------------------------------------------------------------------------------

LINEAR = {"encoder.weight": (N, D_IN), "decoder.weight": (D_IN, N)}
PARAMETERS = {"W_enc": (D_IN, N), "b_enc": (N,), "W_dec": (N, D_IN), "b_dec": (D_IN,)}


def original_class(module: str, name: str) -> type:
    """A class of dictionary_learning. Its ``__init__`` wants nnsight, which ``encode`` does not, so it is passed over."""
    if "dictionary_learning" not in sys.modules:
        spec = importlib.util.find_spec("dictionary_learning")
        if spec is None:
            pytest.skip("dictionary-learning is not installed (extra: oracles)")
        for package, below in (("dictionary_learning", ""), ("dictionary_learning.trainers", "/trainers")):
            bare = types.ModuleType(package)
            bare.__path__ = [f"{spec.submodule_search_locations[0]}{below}"]
            sys.modules[package] = bare
    return getattr(importlib.import_module(f"dictionary_learning.{module}"), name)


def dictionary_learning(module: str, name: str, shapes: dict, buffers: dict | None = None) -> Callable:
    """Writes ``trainer_0/ae.pt`` and ``config.json``."""

    def make(folder: Path) -> Checkpoint:
        folder = folder / "trainer_0"
        folder.mkdir(parents=True)
        tensors = draw(**shapes)
        if "threshold" in tensors:
            tensors["threshold"] = tensors["threshold"].abs() * 0.5
        tensors |= buffers or {}
        torch.save(tensors, folder / "ae.pt")
        trainer = {"dict_class": name, "activation_dim": D_IN, "dict_size": N, "submodule_name": "resid_post"}
        (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"ctx_len": 128}}))

        def library(x: torch.Tensor) -> torch.Tensor:
            return original_class(module, name).from_pretrained(str(folder / "ae.pt")).encode(x)

        return Checkpoint(folder, as_float64(tensors), library)

    return make


def auto_encoder(a: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(a["decoder.weight"], axis=0)
    return relu((x - a["bias"]) @ a["encoder.weight"].T + a["encoder.bias"]) * norms


def gated_auto_encoder(a: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    e = (x - a["decoder_bias"]) @ a["encoder.weight"].T
    return (e + a["gate_bias"] > 0) * relu(np.exp(a["r_mag"]) * e + a["mag_bias"])


def linear_centred(a: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    return relu((x - a["b_dec"]) @ a["encoder.weight"].T + a["encoder.bias"])


BUFFERS = {"k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(0.8)}
LINEAR_B_DEC = {**LINEAR, "encoder.bias": (N,), "b_dec": (D_IN,)}


def resumable(folder: Path) -> Checkpoint:
    """A checkpoint to resume from: the biases are those of inputs divided by ``norm_factor``."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = draw(**LINEAR_B_DEC) | BUFFERS
    wrapped = {
        "step": 9,
        "ae": tensors,
        "optimizer": {"state": {}},
        "config": {"lr": 1e-3},
        "norm_factor": 2.5,
    }
    torch.save(wrapped, folder / "ae.pt")
    return Checkpoint(folder, as_float64(tensors))


def resumable_formula(a: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    z = relu((x / 2.5 - a["b_dec"]) @ a["encoder.weight"].T + a["encoder.bias"])
    return 2.5 * z * (z > a["threshold"])


# --- Gemma Scope, OpenAI, the rank-1 project ----------------------------------------------------------------------


def gemma_scope(folder: Path) -> Checkpoint:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = draw(**PARAMETERS, threshold=(N,))
    tensors["threshold"] = tensors["threshold"].abs() * 0.5
    np.savez(folder / "params.npz", **{name: t.numpy() for name, t in tensors.items()})

    def library(x: torch.Tensor) -> torch.Tensor:
        """The layout was made for SAELens' jumprelu class."""
        sae_lens = pytest.importorskip("sae_lens", reason="sae-lens is not installed (extra: oracles)")
        sae = sae_lens.JumpReLUSAE(sae_lens.JumpReLUSAEConfig(D_IN, N, apply_b_dec_to_input=False))
        sae.load_state_dict({k: torch.from_numpy(v) for k, v in np.load(folder / "params.npz").items()})
        return sae.encode(x)

    return Checkpoint(folder, as_float64(tensors), library)


def gemma_scope_2(folder: Path) -> Checkpoint:
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {"w_enc": (D_IN, N), "w_dec": (N, D_OUT), "b_enc": (N,), "b_dec": (D_OUT,), "threshold": (N,)}
    tensors = draw(**shapes, affine_skip_connection=(D_IN, D_OUT))
    tensors["threshold"] = tensors["threshold"].abs() * 0.5
    save_file(tensors, folder / "params.safetensors")
    config = {"architecture": "jump_relu", "hf_hook_point_in": "a.input", "hf_hook_point_out": "a.output"}
    (folder / "config.json").write_text(json.dumps(config))
    return Checkpoint(folder, as_float64(tensors))


def openai(activation: str) -> Callable:
    def make(folder: Path) -> Checkpoint:
        folder.mkdir(parents=True, exist_ok=True)
        tensors = draw(**LINEAR, latent_bias=(N,), pre_bias=(D_IN,))
        state = {**tensors, "stats_last_nonzero": torch.zeros(N, dtype=torch.long), "activation": activation}
        if activation == "TopK":
            state["activation_state_dict"] = {"k": K, "postact_fn": "ReLU"}
        torch.save(state, folder / "autoencoder.pt")
        return Checkpoint(folder, as_float64(tensors))

    return make


def openai_pre(a: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    return (x - a["pre_bias"]) @ a["encoder.weight"].T + a["latent_bias"]


def openai_topk(a: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    z = openai_pre(a, layer_norm(x))
    return relu(keep_best(z, z, K))


def openai_output(a: dict[str, np.ndarray], f: np.ndarray, x: np.ndarray) -> np.ndarray:
    out = f @ a["decoder.weight"].T + a["pre_bias"]
    return out * x.std(1, ddof=1, keepdims=True) + x.mean(1, keepdims=True)


def rank1_lora(folder: Path) -> Checkpoint:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = draw(**PARAMETERS)
    content = {
        "model_state_dict": tensors,
        "config": {"d_model": D_IN, "dict_size": N, "k": K, "adapter_types": ["gate_proj", "up_proj"]},
        "final_metrics": {"fvu": np.float64(0.25), "num_dead_latents": 3},
        "activation_rates": np.zeros(N, np.float32),
    }
    torch.save(content, folder / "trained_sae_adapters_g-u.pt")
    return Checkpoint(folder / "trained_sae_adapters_g-u.pt", as_float64(tensors))


def rank1_topk(a: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    z = plain(a, x)
    return relu(keep_best(z, z * np.linalg.norm(a["W_dec"], axis=1), K))


def rank1_threshold(a: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    z = plain(a, x)
    return relu(z) * (z * np.linalg.norm(a["W_dec"], axis=1) > 1.3)


def jump(a: dict[str, np.ndarray], z: np.ndarray) -> np.ndarray:
    return relu(z) * (z > a["threshold"])


def rescaled(x: np.ndarray) -> np.ndarray:
    return x * (D_IN**0.5 / np.linalg.norm(x, axis=1, keepdims=True))


TOPK = {"k": K, "rescale_acts_by_decoder_norm": False}
THRESHOLD = {"threshold": (N,)}
SKIP = {"W_skip": (D_OUT, D_IN)}
MATRYOSHKA = {**BUFFERS, "group_sizes": torch.tensor([10, 30])}

CASES: dict[str, Case] = {
    "saelens standard": Case(
        "saelens", saelens("standard", {}, {}), lambda a, x: relu(centred(a, x)),
        output=lambda a, f, x: f @ a["W_dec"] + a["b_dec"],
    ),
    "saelens standard, uncentred": Case(
        "saelens", saelens("standard", {}, {"apply_b_dec_to_input": False}), lambda a, x: relu(plain(a, x))
    ),
    "saelens layer norm": Case(
        "saelens", saelens("standard", {}, {"normalize_activations": "layer_norm"}),
        lambda a, x: relu(centred(a, layer_norm(x))),
    ),
    "saelens constant norm": Case(
        "saelens", saelens("standard", {}, {"normalize_activations": "constant_norm_rescale"}),
        lambda a, x: relu(centred(a, rescaled(x))),
        output=lambda a, f, x: (f @ a["W_dec"] + a["b_dec"]) * np.linalg.norm(x, axis=1, keepdims=True) / D_IN**0.5,
    ),
    "saelens topk": Case(
        "saelens", saelens("topk", {}, TOPK), lambda a, x: relu(keep_best(centred(a, x), centred(a, x), K))
    ),
    "saelens topk, rescaled": Case(
        "saelens", saelens("topk", {}, {**TOPK, "rescale_acts_by_decoder_norm": True}), rescaled_topk,
        output=lambda a, f, x: f / np.linalg.norm(a["W_dec"], axis=1) @ a["W_dec"] + a["b_dec"],
    ),
    "saelens abstopk": Case(
        "saelens", saelens("abstopk", {}, TOPK), lambda a, x: keep_best(centred(a, x), abs(centred(a, x)), K)
    ),
    "saelens jumprelu": Case(
        "saelens", saelens("jumprelu", THRESHOLD, {}), lambda a, x: jump(a, centred(a, x))
    ),
    "saelens gated": Case(
        "saelens", saelens("gated", {"b_gate": (N,), "b_mag": (N,), "r_mag": (N,)}, {}), gated_saelens
    ),
    "saelens transcoder": Case(
        "saelens", saelens("transcoder", {}, {}, D_OUT), lambda a, x: relu(plain(a, x)), d_out=D_OUT
    ),
    "saelens skip transcoder": Case(
        "saelens", saelens("skip_transcoder", SKIP, {}, D_OUT), lambda a, x: relu(plain(a, x)),
        d_out=D_OUT, output=skip_output,
    ),
    "saelens jumprelu transcoder": Case(
        "saelens", saelens("jumprelu_transcoder", THRESHOLD, {}, D_OUT), lambda a, x: jump(a, plain(a, x)), d_out=D_OUT
    ),
    "saelens jumprelu skip transcoder": Case(
        "saelens", saelens("jumprelu_skip_transcoder", {**THRESHOLD, **SKIP}, {}, D_OUT),
        lambda a, x: jump(a, plain(a, x)), d_out=D_OUT, output=skip_output,
    ),
    "saelens before version 6": Case(
        "saelens", saelens_old, lambda a, x: relu(keep_best(centred(a, x), centred(a, x), K))
    ),
    "sparsify topk": Case(
        "sparsify", sparsify(), lambda a, x: keep_best(sparsify_pre(a, x), sparsify_pre(a, x), K),
        output=lambda a, f, x: f @ a["W_dec"] + a["b_dec"],
    ),
    "sparsify groupmax": Case("sparsify", sparsify(activation="groupmax"), lambda a, x: group_best(sparsify_pre(a, x))),
    "sparsify transcoder": Case(
        "sparsify", sparsify(transcode=True, skip_connection=True),
        lambda a, x: relu(keep_best(*[x @ a["encoder.weight"].T + a["encoder.bias"]] * 2, K)), output=skip_output,
    ),
    "dictionary_learning AutoEncoder": Case(
        "dictionary_learning",
        dictionary_learning("dictionary", "AutoEncoder", {**LINEAR, "encoder.bias": (N,), "bias": (D_IN,)}),
        auto_encoder,
    ),
    "dictionary_learning AutoEncoderNew": Case(
        "dictionary_learning",
        dictionary_learning("dictionary", "AutoEncoderNew", {**LINEAR, "encoder.bias": (N,), "decoder.bias": (D_IN,)}),
        lambda a, x: relu(x @ a["encoder.weight"].T + a["encoder.bias"]),
        output=lambda a, f, x: f @ a["decoder.weight"].T + a["decoder.bias"],
    ),
    "dictionary_learning GatedAutoEncoder": Case(
        "dictionary_learning",
        dictionary_learning(
            "dictionary", "GatedAutoEncoder",
            {**LINEAR, "decoder_bias": (D_IN,), "r_mag": (N,), "gate_bias": (N,), "mag_bias": (N,)},
        ),
        gated_auto_encoder,
    ),
    "dictionary_learning JumpReluAutoEncoder": Case(
        "dictionary_learning",
        dictionary_learning("dictionary", "JumpReluAutoEncoder", {**PARAMETERS, **THRESHOLD}),
        lambda a, x: jump(a, plain(a, x)),
    ),
    "dictionary_learning AutoEncoderTopK": Case(
        "dictionary_learning",
        dictionary_learning("trainers.top_k", "AutoEncoderTopK", LINEAR_B_DEC, BUFFERS),
        lambda a, x: keep_best(linear_centred(a, x), linear_centred(a, x), K),
    ),
    "dictionary_learning BatchTopKSAE": Case(
        "dictionary_learning",
        dictionary_learning("trainers.batch_top_k", "BatchTopKSAE", LINEAR_B_DEC, BUFFERS),
        lambda a, x: jump(a, linear_centred(a, x)),
    ),
    "dictionary_learning MatryoshkaBatchTopKSAE": Case(
        "dictionary_learning",
        dictionary_learning("trainers.matryoshka_batch_top_k", "MatryoshkaBatchTopKSAE", PARAMETERS, MATRYOSHKA),
        lambda a, x: jump(a, centred(a, x)),
    ),
    "dictionary_learning, to resume from": Case(
        "dictionary_learning", resumable, resumable_formula, LoadOptions(architecture="BatchTopKSAE")
    ),
    "gemma_scope": Case("gemma_scope", gemma_scope, lambda a, x: jump(a, plain(a, x))),
    "gemma_scope_2": Case(
        "gemma_scope_2", gemma_scope_2,
        lambda a, x: jump(a, x @ a["w_enc"] + a["b_enc"]), d_out=D_OUT,
        output=lambda a, f, x: f @ a["w_dec"] + a["b_dec"] + x @ a["affine_skip_connection"],
    ),
    "openai TopK": Case("openai", openai("TopK"), openai_topk, output=openai_output),
    "openai ReLU": Case("openai", openai("ReLU"), lambda a, x: relu(openai_pre(a, x))),
    "rank1_lora, k per token": Case("rank1_lora", rank1_lora, rank1_topk),
    "rank1_lora, threshold": Case(
        "rank1_lora", rank1_lora, rank1_threshold, LoadOptions(selection="threshold", threshold=1.3)
    ),
}  # fmt: skip
