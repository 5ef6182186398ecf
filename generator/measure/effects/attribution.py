"""Where a channel's activation comes from: integrated gradients from its strongest example to the input tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from generator.blocks import Corpus
from generator.errors import FeaturebookError
from generator.measure.analyze.anatomy import Anatomy
from generator.measure.analyze.attribution import Attribution, DirectionScalar, Scalar, SumScalar, attribute
from generator.measure.effects.logits import round_to
from generator.measure.lora import AdaptedModule
from generator.summaries import Summary

SHOWN_TOKENS = 24
"""Tokens on the page, at most: the peak and those before it."""

SHOWN_AFTER = 8
"""Of them after the peak, where the model looks ahead."""


@dataclass(frozen=True)
class Example:
    """The text that is read for one channel, and where the peak stands in it."""

    token_ids: Int[np.ndarray, " token"]
    position: int
    doc: int
    start: int
    """Position in the document of the token after ``n_before`` carried ones."""
    n_before: int
    """1 where a special token from the document's beginning stands before the window, else 0."""
    value: float
    """The activation as it was measured in the whole document."""


def strongest_example(
    summary: Summary, corpus: Corpus, index: int, n_tokens: int, *, is_causal: bool
) -> Example | None:
    """The example of largest size, cut to the tokens up to its peak (around it, where the model looks ahead).

    Args:
        summary: That the channel stands in.
        corpus: The text.
        index: The channel.
        n_tokens: At most so many tokens.
        is_causal: Whether a token sees nothing to its right.
    """
    rows = summary.examples.of(index)
    if not len(rows["value"]) or not np.isfinite(rows["value"]).any():
        return None
    best = int(np.nanargmax(np.abs(np.where(np.isfinite(rows["value"]), rows["value"], np.nan))))
    doc, position = int(rows["doc"][best]), int(rows["position"][best])
    span = corpus.tokens_of(doc)
    stop = position + 1 if is_causal else min(span.stop - span.start, position + n_tokens // 4 + 1)
    start = max(0, stop - n_tokens)
    ids = corpus.token_ids[span.start + start : span.start + stop]
    first = corpus.token_ids[span.start : span.start + 1]
    has_first = start > 0 and bool(corpus.is_special[first[0]])
    if has_first:
        ids = np.concatenate([first, ids[1:]])
    return Example(ids, position - start, doc, start, int(has_first), float(rows["value"][best]))


def attribution_of(
    anatomy: Anatomy,
    scalar_at: Callable[[int], Scalar],
    example: Example,
    activation_range: float,
    *,
    n_nodes: int,
    max_nodes: int,
) -> dict[str, Any]:
    """The finding of one channel: scores of the tokens around the peak, what lies outside, and how complete it is.

    Args:
        anatomy: The adapted model.
        scalar_at: Makes the number to be explained, at a position.
        example: The text.
        activation_range: Largest less smallest measured activation.
        n_nodes: Points on the path, to begin with.
        max_nodes: At most.
    """
    ids = example.token_ids.tolist()
    try:
        found = attribute(
            anatomy, ids, scalar_at(example.position),
            n_nodes=n_nodes, max_nodes=max_nodes, activation_range=activation_range or None,
        )["integrated_gradients"]  # fmt: skip
    except FeaturebookError as error:
        return {"undefined": f"Undefined here: {error}"}
    if not np.isfinite(found.scores).all():
        return {"undefined": "Undefined here: the gradients are not finite."}
    return _told(found, example, activation_range)


def _told(found: Attribution, example: Example, activation_range: float) -> dict[str, Any]:
    stop = min(len(found.scores), example.position + SHOWN_AFTER + 1)
    start = max(0, stop - SHOWN_TOKENS)
    shown = slice(start, stop)
    assert found.gap is not None and found.baseline_value is not None
    return {
        "doc": example.doc,
        "start": example.start + start,
        "position": example.start + example.position,
        "token_ids": example.token_ids[shown].tolist(),
        "scores": [round_to(score) for score in found.scores[shown].tolist()],
        "elsewhere": round_to(float(found.scores.sum() - found.scores[shown].sum())),
        "n_elsewhere": len(found.scores) - (stop - start),
        "n_tokens": len(found.scores),
        "value": round_to(found.value),
        "measured": round_to(example.value),
        "baseline_value": round_to(found.baseline_value),
        "gap": round_to(found.gap),
        "warning": found.warning(activation_range or None),
        "n_nodes": found.method["n_nodes"],
    }


def scalars_of_adapter(
    adapted: Sequence[AdaptedModule], where: dict[str, tuple[int, int]]
) -> dict[str, Callable[[int], DirectionScalar]]:
    """Channel id -> the direction's scalar at a position; directions of embeddings have none.

    Args:
        adapted: The adapter's modules.
        where: Channel id -> (module, direction).
    """

    def at(module: int, direction: int) -> Callable[[int], DirectionScalar]:
        one = adapted[module]
        return lambda position: DirectionScalar(one.layer, one.read[direction], position)

    return {
        identifier: at(module, direction)
        for identifier, (module, direction) in where.items()
        if adapted[module].kind == "linear"
    }


def scalar_of_latent(
    parts: dict[str, Callable[[int], DirectionScalar]],
    inputs: Sequence[str],
    weights: Float[np.ndarray, " k"],
    bias: float = 0.0,
) -> Callable[[int], SumScalar] | None:
    """A latent's pre-activation at a position; None where one of its inputs is not read from a linear module.

    Args:
        parts: Of the adapter's directions.
        inputs: Ids of the channels that the dictionary reads.
        weights: The latent's encoder row.
        bias: A constant, which no token is given any of.
    """
    if any(identifier not in parts for identifier in inputs):
        return None
    return lambda position: SumScalar([parts[i](position) for i in inputs], weights, bias, position)
