"""Attention of one text: every head for pages and for export, the mean over heads, rollout, entropies."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import nn

from generator.artifacts import atomic_path, to_json, write_bytes
from generator.measure.analyze import attention
from generator.measure.analyze.anatomy import Anatomy, eager
from generator.measure.analyze.attribution import rollout
from generator.measure.analyze.capture import feed_of, run, variants
from generator.measure.analyze.heads import attending, check_attention

ENCODING = "sqrt8"
"""A byte q stands for (q / 255)²."""


@dataclass(frozen=True)
class TextAttention:
    """The attention of one variant of a model on one text."""

    heads: list[Float[np.ndarray, "head token key"]]
    """Float16, one per layer, of the tokens that are kept."""
    mean: list[Float[np.ndarray, "token key"]]
    """Mean over the heads, per layer."""
    rollout: list[Float[np.ndarray, "token key"]]
    """From the input up to each layer."""
    entropy: list[Float[np.ndarray, "head token"]]
    """Of each query's whole row, in nats, per layer."""


def text_attention(
    model: nn.Module, anatomy: Anatomy, token_ids: Sequence[int], n_kept: int
) -> dict[str, TextAttention]:
    """Variant -> its attention.

    Args:
        model: With PEFT's layers, if any.
        anatomy: Of the model.
        token_ids: The text.
        n_kept: Tokens whose weights are kept. A causal model reads no further; of another one the rows stay as they are,
            without what lies on later keys.

    Raises:
        FeaturebookError: the model gives no attention weights.
    """
    check_attention(anatomy)
    if anatomy.is_causal:
        token_ids = token_ids[:n_kept]
    inputs = feed_of(token_ids, anatomy.device).inputs()
    found = {}
    for name, switched in variants(model).items():
        heads: dict[int, np.ndarray] = {}
        means: dict[int, np.ndarray] = {}
        entropy: dict[int, np.ndarray] = {}

        def receive(layer: int, weights: torch.Tensor) -> None:
            rows = attention.renormalised(weights[0])
            heads[layer] = rows[:, :n_kept, :n_kept].half().cpu().numpy()  # noqa: B023
            means[layer] = rows.mean(0).double().cpu().numpy()  # noqa: B023
            entropy[layer] = attention.entropy(rows)[:, :n_kept].cpu().numpy()  # noqa: B023

        with switched(), eager(anatomy.model), torch.no_grad(), attending(anatomy, receive):
            run(anatomy, inputs)
        order = range(anatomy.n_layers)
        rolled, result = [], np.eye(len(token_ids))
        for layer in order:
            result = rollout([means[layer]]) @ result
            rolled.append(result[:n_kept, :n_kept])
        found[name] = TextAttention(
            [heads[i] for i in order],
            [means[i][:n_kept, :n_kept] for i in order],
            rolled,
            [entropy[i] for i in order],
        )
    return found


def write_attention(
    found: dict[str, TextAttention], token_ids: Sequence[int], folder: Path, key: str
) -> dict[str, Any]:
    """Writes ``attention.json``, ``heads-<layer>.json`` and ``attention.npz``; returns their sizes for the text's file."""
    first = next(iter(found.values()))
    n_heads, n_tokens = first.heads[0].shape[:2]
    shape = {"n_tokens": n_tokens, "n_layers": len(first.heads), "n_heads": n_heads}
    whole = {
        name: {
            "mean": [encoded(m) for m in a.mean],
            "rollout": [encoded(r) for r in a.rollout],
            "entropy": [np.round(e.astype(np.float64), 4).tolist() for e in a.entropy],
        }
        for name, a in found.items()
    }
    write_bytes(folder / "attention.json", to_json(shape | whole | {"encoding": ENCODING, "key": key}))
    for layer in range(len(first.heads)):
        parts = {name: encoded(a.heads[layer]) for name, a in found.items()}
        content = {"layer": layer, "n_tokens": n_tokens, "n_heads": n_heads, "encoding": ENCODING, "key": key}
        write_bytes(folder / f"heads-{layer}.json", to_json(content | parts))
    with atomic_path(folder / "attention.npz") as temporary, temporary.open("wb") as file:
        arrays: dict[str, Any] = {name: np.stack(a.heads) for name, a in found.items()}
        np.savez_compressed(file, tokens=np.array(token_ids[:n_tokens], np.int32), **arrays)
    return shape


def quantised(weights: Float[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """Bytes q with (q / 255)² ≈ weight, for weights between 0 and 1; within 0.004."""
    share = np.sqrt(np.clip(np.nan_to_num(np.asarray(weights, np.float32)), 0, 1))
    return np.rint(255 * share).astype(np.uint8)


def encoded(weights: Float[np.ndarray, "..."]) -> str:
    """``quantised`` in base64, row by row."""
    return base64.b64encode(np.ascontiguousarray(quantised(weights)).tobytes()).decode()
