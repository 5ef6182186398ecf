"""Findings of the toy made by hand: logit effects, an attribution, profiles over places and an ablation."""

from typing import Any

import numpy as np

from generator.artifacts import to_json
from generator.blocks import Corpus
from generator.findings import Findings

LATENTS = 24
PLACES = [
    {"model": model, "hook_point": f"model.layers.{layer}:output", "layer": layer, "name": "resid_post",
     "space": "residual", "size": size, "fvu": 0.25}
    for model in ("base", "adapted")
    for layer, size in ((0, 2.0), (1, 8.0))
]  # fmt: skip
LOGITS = {
    "top": [[270, 1.5], [0, 0.25]], "bottom": [[3, -2.0], [271, -1.0]], "low": -2.0, "high": 1.5,
    "counts": [1, 0, 3], "note": "The decoder row.",
}  # fmt: skip


def profile_of(f: int) -> dict[str, Any]:
    """Kind 0 peaks at base L0, 1 at base L1 (as long as at no other, and L1 is larger), 2 is of the adapted model alone."""
    norms = [[4.0, 1, 0, 0], [3.0, 16, 3, 8], [0, 0, 1, 8.0]][f % 3]
    relative = [0.02, 0.45, 1.0][f % 3]
    return {
        "norms": norms, "peak": int(np.argmax(np.array(norms) / [2, 8, 2, 8])), "n_active": 2, "entropy": 0.5,
        "cosines": [0.5, 0, -0.25, 1, 0.125, 0], "relative_norm": relative, "model_cosine": 0.75,
        "scaling": {"own": 1, **{name: {"beta": [0.5, 1.0], "nu": 0.5} for name in ("reconstruction", "error")}},
        "logits": [None, {"top": [[270, 1.5]], "bottom": [[3, -2.0]]}, None, None],
        "neurons": [[], [[0, 5, 0.5]], [], []],
        "channels": [[], [["lora/L0/o_proj", "write", -0.5], ["other/1", "write", 0.25]], [], []],
        "correlated": [[1, 7, 0.875]],
    }  # fmt: skip


def ablation_of(corpus: Corpus) -> dict[str, Any]:
    """Four tokens of document 0; the last has no next one that is known."""
    ids = corpus.token_ids[corpus.tokens_of(0)][2:6].tolist()
    moved = [{"at": 1, "up": [[270, 0.25, 0.5]], "down": [[3, 0.125, 0.0]]}]
    example = {"doc": 0, "position": 3, "start": 2, "token_ids": ids, "values": [0, 2.0, 0, 1.0],
               "changes": [0.0, -0.5, 0.25, None], "moved": moved}  # fmt: skip
    return {"place": 3, "examples": [example], "mean": -0.5, "n": 1}


def attribution_of(corpus: Corpus) -> dict[str, Any]:
    """Three tokens of document 0, the peak the last."""
    return {
        "doc": 0, "start": 2, "position": 4, "token_ids": corpus.token_ids[corpus.tokens_of(0)][2:5].tolist(),
        "scores": [1.0, -0.25, 2.5], "warning": "", "elsewhere": -0.5, "n_elsewhere": 4, "n_tokens": 7,
        "value": 3.0, "measured": 3.1, "baseline_value": 0.5, "gap": 0.01, "n_nodes": 64,
    }  # fmt: skip


def toy_findings(corpus: Corpus) -> dict[str, Findings]:
    """Of the toy's dictionary, as if it read two layers of two models; latent 1 has every panel, latent 2 is told why not."""
    places = {"places": PLACES, "n_models": 2, "n_tokens": 640, "logits": {"divisors": [1.0] * 4}}
    names = [f"{place['model']} {place['hook_point']}" for place in PLACES]
    why = to_json({"undefined": "Undefined here: for a reason."})
    made = [
        Findings("crosscoder", {"collections": {"sae": places}}, {
            f"sae/{f}": to_json(profile_of(f)) for f in range(LATENTS)
        }),
        Findings("latent_effects", {"collections": {"sae": {"places": names}}, "method": "Run again."}, {
            "sae/1": to_json(ablation_of(corpus)), "sae/2": why,
        }),
        Findings("document_effects", {"method": "Run again."}, {
            "doc/0": to_json({"sae/1": {"at": [3, 5], "change": [-0.5, 0.25]}, "sae/999": {"at": [1], "change": [1.0]}}),
        }),
        Findings("logits", {"divisor": 5.25}, {"sae/1": to_json(LOGITS), "sae/2": why}),
        Findings("attribution", {"method": "Integrated gradients."}, {"sae/1": to_json(attribution_of(corpus))}),
    ]  # fmt: skip
    return {one.panel: one for one in made}
