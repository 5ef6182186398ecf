"""Checkpoints of crosscoders: three places of width 4, in the exact layouts on disk, with their formulas in float64."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from generator.measure.dictionaries import LoadOptions
from tests.measure_dictionaries.checkpoints import D_IN, Case, Checkpoint, N, as_float64, draw, relu

PLACES, WIDTH = 3, 4
assert PLACES * WIDTH == D_IN

FACTORS = [0.5, 2.0, 1.25]
PARAMETERS = {
    "W_enc": (PLACES, WIDTH, N),
    "W_dec": (N, PLACES, WIDTH),
    "b_enc": (N,),
    "b_dec": (PLACES, WIDTH),
}
LEARNING = {
    "encoder.weight": (PLACES, WIDTH, N),
    "encoder.bias": (N,),
    "decoder.weight": (PLACES, N, WIDTH),
    "decoder.bias": (PLACES, WIDTH),
}


def by_place(x: np.ndarray) -> np.ndarray:
    """(token, place, d_model)."""
    return x.reshape(len(x), PLACES, WIDTH)


def side_by_side(x: np.ndarray) -> np.ndarray:
    """(token, place · d_model)."""
    return x.reshape(len(x), D_IN)


def encode(x: np.ndarray, W_enc: np.ndarray, b_enc: np.ndarray) -> np.ndarray:
    return np.einsum("tpd,pdf->tf", x, W_enc) + b_enc


# --- neelnanda-io/Crosscoders, ckkissane ------------------------------------------------------------------------


def crosscoders(name: str, cfg_name: str) -> Callable[[Path], Checkpoint]:
    def make(folder: Path) -> Checkpoint:
        folder.mkdir(parents=True, exist_ok=True)
        tensors = draw(**PARAMETERS)
        torch.save(tensors, folder / name)
        cfg = {"dict_size": N, "model_name": "gpt2-small", "enc_dtype": "fp32", "seq_len": 1024}
        (folder / cfg_name).write_text(json.dumps(cfg))
        return Checkpoint(folder, as_float64(tensors))

    return make


def scaled(x: np.ndarray) -> np.ndarray:
    return by_place(x) * np.array(FACTORS)[:, None]


def plain_output(a: dict[str, np.ndarray], f: np.ndarray, x: np.ndarray) -> np.ndarray:
    decoded = np.einsum("tf,fpd->tpd", f, a["W_dec"]) + a["b_dec"]
    return side_by_side(decoded / np.array(FACTORS)[:, None])


# --- crosscoder_learning ----------------------------------------------------------------------------------------


def learning(norm: int | None, *, normalizer: str = "", threshold: float | None = None, prefix: str = "",
             on_hub: bool = False) -> Callable[[Path], Checkpoint]:  # fmt: skip
    """``normalizer``: ``relative`` (one scale a place), ``each`` (one a component), or off (NaN, as it is saved then)."""

    def make(folder: Path) -> Checkpoint:
        folder.mkdir(parents=True, exist_ok=True)
        extra = {"activation_mean": (PLACES, WIDTH), "activation_std": (PLACES, WIDTH)}
        tensors = draw(**LEARNING, **extra)
        tensors["activation_std"] = tensors["activation_std"].abs() + 0.5
        scale = 2.5 / (tensors["activation_std"].square().sum(-1) + 1e-8).sqrt()
        tensors["activation_global_scale"] = scale if normalizer == "relative" else torch.ones(PLACES)
        tensors["target_rms"] = torch.tensor(2.5)
        if not normalizer:
            tensors["activation_mean"].fill_(float("nan"))
            tensors["activation_std"].fill_(float("nan"))
        if norm is not None:
            tensors["code_normalization_id"] = torch.tensor(norm)
        if threshold is not None:
            tensors |= {"k": torch.tensor(5, dtype=torch.int), "threshold": torch.tensor(threshold)}
        stored = {prefix + name: tensor for name, tensor in tensors.items()}
        if on_hub:
            save_file(stored, folder / "model.safetensors")
            (folder / "config.json").write_text(json.dumps({"dict_class": "BatchTopKCrossCoder", "k": 5}))
        else:
            torch.save(stored, folder / "ae.pt")
        return Checkpoint(folder, as_float64(tensors))

    return make


def learned(a: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """As ``BatchTopKCrossCoder.get_activations``."""
    z = relu(encode(normalized(a, x), a["encoder.weight"], a["encoder.bias"]))
    code = z * code_norms(a)
    return code * (code > a["threshold"]) if "threshold" in a else code


def normalized(a: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    if np.isnan(a["activation_mean"]).any():
        return by_place(x)
    shifted = by_place(x) - a["activation_mean"]
    if (a["activation_global_scale"] == 1).all():
        return shifted / (a["activation_std"] + 1e-8)
    return shifted * a["activation_global_scale"][:, None]


def code_norms(a: dict[str, np.ndarray]) -> np.ndarray:
    W = a["decoder.weight"]
    apart, across = np.linalg.norm(W, axis=2).sum(0), np.sqrt((W**2).sum((0, 2)))
    number = int(a.get("code_normalization_id", np.array(1)))
    return {1: apart, 2: across, 3: 1.0 * across + 0.1 * apart, 4: np.ones(N)}[number]


def learned_output(a: dict[str, np.ndarray], f: np.ndarray, x: np.ndarray) -> np.ndarray:
    decoded = np.einsum("tf,pfd->tpd", f / code_norms(a), a["decoder.weight"]) + a["decoder.bias"]
    if np.isnan(a["activation_mean"]).any():
        return side_by_side(decoded)
    if (a["activation_global_scale"] == 1).all():
        return side_by_side(decoded * (a["activation_std"] + 1e-8) + a["activation_mean"])
    return side_by_side(decoded / a["activation_global_scale"][:, None] + a["activation_mean"])


# --- crosslayer-features ----------------------------------------------------------------------------------------


class TrainingConfig:
    """What that project's trainer pickles beside the weights."""

    def __init__(self) -> None:
        self.ae_dim, self.dtype = N, torch.float32


CONFIG_CLASS = f"{TrainingConfig.__module__}.TrainingConfig"


def crosslayer(folder: Path) -> Checkpoint:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = draw(**PARAMETERS, log_threshold=(N,), layer_stds=(1, PLACES, WIDTH))
    tensors["layer_stds"] = tensors["layer_stds"].abs() + 0.5
    state = {name: t for name, t in tensors.items() if name != "layer_stds"}
    content = {
        "step": 200,
        "model_state_dict": state,
        "optimizer_state_dict": {"state": {}, "param_groups": []},
        "config": TrainingConfig(),
        "layer_stds": tensors["layer_stds"],
    }
    torch.save(content, folder / "crosscoder_step_200.pt")
    torch.save({"step": 3}, folder / "crosscoder_step_3.pt")  # an earlier one, which is not read
    return Checkpoint(folder, as_float64(tensors))


def crosslayer_formula(a: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    z = encode(by_place(x) / a["layer_stds"], a["W_enc"], a["b_enc"])
    return z * (z > np.exp(a["log_threshold"]))


def crosslayer_output(a: dict[str, np.ndarray], f: np.ndarray, x: np.ndarray) -> np.ndarray:
    return side_by_side((np.einsum("tf,fpd->tpd", f, a["W_dec"]) + a["b_dec"]) * a["layer_stds"])


GIVEN = LoadOptions(input_factor=FACTORS)
CROSSCODERS: dict[str, Case] = {
    "crosscoders": Case(
        "crosscoders", crosscoders("17.pt", "17_cfg.json"),
        lambda a, x: relu(encode(scaled(x), a["W_enc"], a["b_enc"])), GIVEN, output=plain_output,
    ),
    "model_diff": Case(
        "model_diff", crosscoders("cc_weights.pt", "cfg.json"),
        lambda a, x: relu(encode(scaled(x), a["W_enc"], a["b_enc"])), GIVEN, output=plain_output,
    ),
    "crosscoder_learning, first kind": Case("crosscoder_learning", learning(1), learned, output=learned_output),
    "crosscoder_learning, before kinds were stored": Case(
        "crosscoder_learning", learning(None, prefix="_orig_mod."), learned, output=learned_output
    ),
    "crosscoder_learning SAE": Case(
        "crosscoder_learning", learning(2, normalizer="each"), learned, output=learned_output
    ),
    "crosscoder_learning MIXED": Case("crosscoder_learning", learning(3), learned, output=learned_output),
    "crosscoder_learning NONE": Case("crosscoder_learning", learning(4), learned, output=learned_output),
    "crosscoder_learning BatchTopK": Case(
        "crosscoder_learning", learning(1, normalizer="relative", threshold=1.5, on_hub=True), learned,
        output=learned_output,
    ),
    "crosslayer_features": Case(
        "crosslayer_features", crosslayer, crosslayer_formula, LoadOptions(allow_classes=(CONFIG_CLASS,)),
        output=crosslayer_output,
    ),
}  # fmt: skip
