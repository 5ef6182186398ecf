"""Runs a model from the middle: the residual stream of any layer goes through the rest of the model as the model does it.

The skipped layers return what they are given, so whatever stands around the layers (masks, position embeddings, final
norm, head, soft caps, scales) is the model's own and not a list of special cases.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from generator.errors import FeaturebookError
from generator.measure.analyze.anatomy import Anatomy
from generator.measure.analyze.capture import run


@contextmanager
def starting_at(anatomy: Anatomy, layer: int, hidden: Float[Tensor, "doc token d"]) -> Iterator[None]:
    """A forward pass in the block reads ``hidden`` as the input of ``layer``; earlier layers do not run.

    Args:
        anatomy: The model.
        layer: 0 runs the whole model as it is; ``n_layers`` runs none of the layers.
        hidden: The residual stream at the input of that layer.
    """
    skipped = anatomy.layers[:layer]
    before = [module.__dict__.get("forward") for module in skipped]
    for index, module in enumerate(skipped):
        is_last = index == layer - 1
        module.forward = _returning(hidden if is_last else None, anatomy.n_returned[index])
    try:
        yield
    finally:
        for module, forward in zip(skipped, before):
            _restore(module, forward)


def unembed(
    anatomy: Anatomy, inputs: dict[str, Tensor], hidden: Float[Tensor, "doc token d"]
) -> Float[Tensor, "doc token vocabulary"]:
    """Logits of a residual stream as if it were the last layer's output: the norm's statistics are its own.

    Raises:
        FeaturebookError: the model has no language-model head.
    """
    with starting_at(anatomy, anatomy.n_layers, hidden):
        return logits(anatomy, inputs)


def logits(anatomy: Anatomy, inputs: dict[str, Tensor]) -> Float[Tensor, "doc token vocabulary"]:
    """The model's logits.

    Raises:
        FeaturebookError: the model has no language-model head.
    """
    check_head(anatomy)
    return run(anatomy, inputs, with_head=True).logits


def check_head(anatomy: Anatomy) -> None:
    """Refuses a model that predicts no tokens.

    Raises:
        FeaturebookError: with the class.
    """
    name = type(anatomy.model).__name__
    if not name.endswith(("ForCausalLM", "ForMaskedLM", "LMHeadModel")):
        raise FeaturebookError(
            f"{name} has no language-model head, so it predicts no tokens. Load the model as a causal or masked "
            "language model, or leave predictions out of the analysis."
        )


def _returning(hidden: Tensor | None, n_returned: int) -> Any:
    def forward(*args: Any, **kwargs: Any) -> Any:
        given = args[0] if args else kwargs["hidden_states"]
        result = given if hidden is None else hidden
        return (result, *[None] * (n_returned - 1)) if n_returned else result

    return forward


def _restore(module: nn.Module, forward: Any) -> None:
    if forward is None:
        del module.__dict__["forward"]
    else:
        module.forward = forward


def log_probabilities(values: Tensor) -> Tensor:
    """Log-softmax over the vocabulary, in float32."""
    return torch.log_softmax(values.float(), -1)
