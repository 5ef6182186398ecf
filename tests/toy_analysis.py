"""An analysis in closed form, in the files of docs/analysis.md: every number on the pages can be told beforehand.

The main model has two layers of two heads and an adapter; attention is uniform over the keys up to the query in head 0 and lies on
the query itself in head 1. A masked model beside it has no adapter: half of its sections say why they are undefined.
"""

import base64
import math
from pathlib import Path
from typing import Any

import numpy as np

from generator.artifacts import to_json
from generator.findings import save_findings

N_LAYERS, N_HEADS, N = 2, 2, 5
TEXT = [b"<s>", b" two", b"<img src=x onerror=alert(1)>", b"\xe2\x80", b"\xae", b" four"]
"""The vocabulary of the toy's texts: markup, and a bidi override whose bytes lie in two tokens."""

TOKENS = [0, 1, 2, 3, 4]
PROMPT = "prompt-0badcafe"
UNDEFINED = "undefined (n = 1)"
NOTHING = {"undefined": "The model has no adapter, so there is nothing to compare it with."}


def value(number: float | None, n: int = 100) -> dict[str, Any]:
    """A value with its n; undefined for None."""
    return {"value": number, "n": n} if number is not None else {"value": None, "n": 1, "reason": UNDEFINED}


def uniform_entropy(query: int) -> float:
    """Entropy of uniform attention over the keys up to a query."""
    return math.log(query + 1)


def write_analysis(folder: Path) -> Path:
    """Writes the folder of the stage."""
    main = _model("main", "causal", ["base", "adapted"]) | {
        "adapter": "adapter",
        "parts": dict.fromkeys(("layers", "heads", "ablation", "divergence", "texts"), "done"),
        "texts": [PROMPT, "doc-1"],
        "divergence": [{"doc": 1, "name": "doc", "n": 72, "mean": 0.5, "max": 2.0, "at": 3}],
    }
    masked = _model("masked", "masked", ["base"]) | {"texts": [PROMPT]}
    texts = [
        {"id": PROMPT, "kind": "prompt", "name": "<b>two</b>", "text": "<b>two</b> four", "doc": None},
        {"id": "doc-1", "kind": "document", "name": "doc", "text": None, "doc": 1},
    ]
    files: dict[str, Any] = {
        "analysis.json": {"models": [main, masked], "texts": texts, "settings": {}},
        "main/layers.json": {"variants": [geometry("base", 1.0), geometry("adapted", 2.0)]},
        "main/heads.json": {"variants": [_heads("base"), _heads("adapted")]},
        "main/ablation.json": _ablation(),
        "main/divergence/1.json": {"doc": 1, "method": {}, "base_adapted": [0.5] * 71 + [2.0], "adapted_base": [0.25] * 72,
                                   "surprise_change": [0.125] * 71 + [None]},
        "masked/layers.json": {"variants": [geometry("base", 1.0)]},
        "masked/heads.json": {"undefined": "The model gives no attention weights."},
        "masked/ablation.json": NOTHING,
        f"main/texts/{PROMPT}.json": _text(PROMPT, "prompt", None, ["base", "adapted"]),
        "main/texts/doc-1.json": _text("doc-1", "document", 1, ["base", "adapted"]),
        f"masked/texts/{PROMPT}.json": _masked_text(),
    }  # fmt: skip
    for text in (PROMPT, "doc-1"):
        files |= {f"main/texts/{text}/{name}.json": file for name, file in _attention().items()}
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(to_json({"schema": 1, "key": "toy", **content}))
    effect = {"divergence": value(0.25), "loss_change": value(-0.125)}
    context = [{"kind": "adapter", "key": "adapter", "divergence": value(1.0), "loss_change": value(None)}]
    zeroed = {**effect, "rank": 1, "n_directions": 2, "context": context}
    save_findings(folder / "ablation.h5", "ablation", {"lora/L0/gate_proj": zeroed}, {"method": {}})
    return folder


def _model(name: str, kind: str, variants: list[str]) -> dict[str, Any]:
    return {
        "name": name, "base": "base", "adapter": None, "architecture": "ToyModel", "kind": kind, "variants": variants,
        "n_layers": N_LAYERS, "n_heads": N_HEADS, "d": 4, "n_parameters": 64, "context": 128, "n_documents": 10, "n_tokens": 720,
        "parts": {"layers": "done"}, "divergence": [],
    }  # fmt: skip


def geometry(variant: str, scale: float) -> dict[str, Any]:
    """Effective rank ``scale · (layer + 1)``, a norm that is undefined at the input, CKA ½ between different layers."""
    where = {
        "point": "residual",
        "positions": "without special tokens and first positions",
        "convention": "toy",
    }
    rank = {"metric": "effective_rank", "method": {**where, "warning": "n = 100 is below 5 · d"},
            "values": [value(scale * (layer + 1)) for layer in range(N_LAYERS + 1)]}  # fmt: skip
    norm = {"metric": "norm_growth", "method": where, "values": [value(None), value(1.5), value(1.0)]}
    cka = [[value(1.0 if a == b else 0.5) for b in range(N_LAYERS + 1)] for a in range(N_LAYERS + 1)]
    return {
        "variant": variant, "n_tokens": 720, "curves": [rank, norm],
        "cka": [{"metric": "debiased_cka", "axes": ["layer", "layer"], "values": cka, "method": where}],
        "correlations": {"metric": "metric_correlation", "axes": ["metric", "metric"],
                         "values": [[value(1.0, 3), value(-1.0, 2)], [value(-1.0, 2), value(1.0, 2)]],
                         "method": {"metrics": ["effective_rank", "norm_growth"], "n": "layers"}},
        "normalised": [{**rank, "values": [value(0.0), value(0.5), value(1.0)]}, {**norm, "values": [value(None), value(1.0), value(0.0)]}],
    }  # fmt: skip


def _heads(variant: str) -> dict[str, Any]:
    def score(metric: str, position_0: str, shift: float) -> dict[str, Any]:
        values = [[value(shift + layer + head / 2) for head in range(N_HEADS)] for layer in range(N_LAYERS)]
        return {
            "metric": metric,
            "axes": ["layer", "head"],
            "values": values,
            "method": {"position_0": position_0},
        }

    scores = [score("entropy", "included", 0.0), score("entropy", "left out, other keys renormalised", 0.25), score("sink_mass", "included", 0.0)]  # fmt: skip
    heads = [[layer, head] for layer in range(N_LAYERS) for head in range(N_HEADS)]
    points = {"heads": heads, "points": [[0.0, 0.0], [1.0, 1.0], [2.0, 0.0], [3.0, 1.0]], "explained": [0.75, 0.25],
              "cluster": [0, 1, 0, 1], "names": ["broad", "focused"], "method": {"features": ["entropy"]}}  # fmt: skip
    return {"variant": variant, "scores": scores, "map": points}


def _ablation() -> dict[str, Any]:
    def effect(kind: str, layer: int, module: str, channel: str, kl: float) -> dict[str, Any]:
        return {"key": f"{kind} {module or layer}", "kind": kind, "layer": layer, "module": module, "channel": channel,
                "divergence": value(kl), "loss_change": value(-kl / 2)}  # fmt: skip

    effects = [effect("direction", 0, "gate_proj", "lora/L0/gate_proj", 0.25), effect("direction", 1, "q_proj", "gone/1", 0.5),
               effect("module", 0, "gate_proj", "", 0.25), effect("layer", 0, "", "", 0.75), effect("adapter", -1, "", "", 1.0)]  # fmt: skip
    method: dict[str, Any] = {"layers": [0, 1], "modules": ["gate_proj", "q_proj"], "convention": "toy"}
    grids = []
    for name, sign in (("divergence", 1), ("loss_change", -1)):
        values = [[value(0.25), value(None)], [value(None), value(sign * 0.5)]]
        quantity = method | {"quantity": name}
        grids.append(
            {"metric": f"ablation_{name}", "axes": ["layer", "module"], "values": values, "method": quantity}
        )
    return {"effects": effects, "grids": grids, "method": {"convention": "toy"}}


def _text(name: str, kind: str, doc: int | None, variants: list[str]) -> dict[str, Any]:
    each: dict[str, Any] = {
        "tokens": [[5, 1]] * N,
        "probability": [[0.75, 0.25]] * N,
        "entropy": [0.5623] * N,
    }
    lens = [{"layer": layer, **each, "actual": [0.25] * (N - 1) + [None], "divergence": [0.1] * N} for layer in range(N_LAYERS + 1)]  # fmt: skip
    gradients = {"scores": [0.0, 1.0, -0.5, 0.0, 0.5], "method": {}}
    integrated = {
        **gradients,
        "baseline_value": 0.0,
        "gap": 0.5,
        "warning": "The attributions miss 0.5, 50% of the range.",
    }
    attribution = {"value": 1.5, "gradient_times_input": gradients, "integrated_gradients": integrated}
    parts = {"embedding": 0.5, "heads": [[0.25, -0.25], [0.5, 0.0]], "attention_bias": [0.0, 0.0], "mlps": [0.25, 0.25], "bias": 0.0,
             "logit": 1.5, "gap": 0.0}  # fmt: skip
    said = [{"tokens": [5, 1], "probability": [0.75, 0.5], "is_finished": True}]

    def both(content: Any) -> dict[str, Any]:
        return dict.fromkeys(variants, content)

    return {
        "id": name, "kind": kind, "name": "<b>two</b>", "doc": doc, "read": {"n_tokens": 9, "n_read": N, "note": "The first 5 of 9 tokens."},
        "vocabulary": {"bytes": [piece.hex() for piece in TEXT], "is_special": [i == 0 for i in range(len(TEXT))]}, "tokens": TOKENS,
        "predictions": {"kind": "next", "positions": list(range(N)), "method": {}, **both(each)},
        "surprise": both([None, 1.0, 2.0, 0.0, 3.0]),
        "divergence": {"base_adapted": [0.5] * N, "adapted_base": [0.25] * N, "surprise_change": [0.125] * (N - 1) + [None], "method": {}},
        "continuations": {**both(said), "method": {"seed": 0, "temperature": 1.0, "top_k": 50}},
        "lens": {**both(lens), "method": {}}, "attribution": {"position": 4, "token": 5, **both(attribution)},
        "logit_parts": {"position": 4, "token": 5, "method": {}, **both(parts)},
        "attention": {"n_tokens": N, "n_layers": N_LAYERS, "n_heads": N_HEADS, "heads_per_key": 1},
        "geometry": {"variants": [geometry(variant, 1.0) for variant in variants]},
    }  # fmt: skip


def _masked_text() -> dict[str, Any]:
    text = _text(PROMPT, "prompt", None, ["base"])
    mask = {"tokens": [[5, 1]], "probability": [[0.75, 0.25]], "entropy": [0.5623]}
    sections = ("surprise", "divergence", "continuations", "lens", "logit_parts", "attention")
    return {
        **text,
        **dict.fromkeys(sections, NOTHING),
        "predictions": {"kind": "masks", "positions": [2], "method": {}, "base": mask},
    }


def _attention() -> dict[str, Any]:
    lower = np.tril(np.ones((N, N))) / np.arange(1, N + 1)[:, None]
    heads = np.stack([lower, np.eye(N)])
    packed = [_packed(heads.mean(axis=0))] * N_LAYERS
    entropy = [[round(uniform_entropy(query), 4) for query in range(N)], [0.0] * N]
    shape = {"n_tokens": N, "n_heads": N_HEADS, "encoding": "sqrt8"}
    each = {"mean": packed, "rollout": packed, "entropy": [entropy] * N_LAYERS}
    files: dict[str, Any] = {"attention": {**shape, "n_layers": N_LAYERS, "base": each, "adapted": each}}
    for layer in range(N_LAYERS):
        files[f"heads-{layer}"] = {**shape, "layer": layer, "base": _packed(heads), "adapted": _packed(heads)}
    return files


def _packed(weights: np.ndarray) -> str:
    """Weights as the stage writes them: q = round(255 · √w), base64."""
    return base64.b64encode(np.rint(255 * np.sqrt(weights)).astype(np.uint8).tobytes()).decode()
