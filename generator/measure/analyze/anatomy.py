"""Where things are in a transformer, found by watching one short forward pass: no list of model families.

What is looked for: the numbered layers, the norm that reads each layer's input, the norm after the last layer, the
modules that return attention weights. A post-norm model (BERT) has no such norms, and then there is none.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from generator.errors import FeaturebookError

PROBE_TOKENS = 4


@dataclass(frozen=True)
class Anatomy:
    """The parts of one model that the analysis reads."""

    model: nn.Module
    """transformers' model with its head; PEFT's wrapper taken off (its layers stay in place)."""
    body: nn.Module
    """The model without its head: what runs when only hidden states are wanted."""
    embedding: nn.Module
    """Token ids → vectors."""
    layers: list[nn.Module]
    input_norms: list[nn.Module | None]
    """The norm that reads each layer's input; None where the layer reads it as it is."""
    final_norm: nn.Module | None
    """The norm that reads the last layer's output."""
    attentions: list[nn.Module]
    """The module that returns each layer's attention weights; empty when the model has none to give."""
    is_tuple: list[bool]
    """Whether a layer returns its hidden state first in a tuple."""
    is_causal: bool
    """Whether a token sees nothing to its right."""

    @property
    def n_layers(self) -> int:
        """Numbered layers."""
        return len(self.layers)

    @property
    def device(self) -> torch.device:
        """Where token ids go."""
        return next(self.embedding.parameters()).device

    @property
    def config(self) -> Any:
        """transformers' configuration of the language model."""
        return self.model.config.get_text_config()  # type: ignore[operator, union-attr]


def study(model: nn.Module) -> Anatomy:
    """Runs a few tokens through the model and notes which module reads and returns what.

    Args:
        model: Any transformers encoder or decoder, with or without PEFT's wrapper.

    Raises:
        FeaturebookError: an encoder-decoder, or a model without numbered layers.
    """
    model = bare(model)
    if getattr(model.config, "is_encoder_decoder", False):
        raise FeaturebookError(
            f"{type(model).__name__} is an encoder-decoder model, which is not analysed. Take a decoder or an encoder."
        )
    body: nn.Module = getattr(model, "base_model", model)
    layers = _layers(model)
    with eager(model), _watch(model, layers) as seen, torch.no_grad():
        embedding = model.get_input_embeddings()  # type: ignore[operator]
        ids = torch.arange(3, 3 + PROBE_TOKENS, device=next(embedding.parameters()).device) % _vocabulary(
            model
        )
        model(input_ids=ids[None], use_cache=False) if _takes_cache(model) else model(input_ids=ids[None])
    if any(layer not in seen.inputs for layer in layers):
        raise FeaturebookError(
            f"Not every layer of {type(model).__name__} runs when it reads text, so they cannot be put on one axis."
        )
    attentions = [seen.attention[layer] for layer in layers if layer in seen.attention]
    return Anatomy(
        model=model,
        body=body,
        embedding=embedding,
        layers=layers,
        input_norms=[seen.norm_reading(seen.inputs[layer]) for layer in layers],
        final_norm=seen.norm_reading(seen.outputs[layers[-1]]),
        attentions=attentions if len(attentions) == len(layers) else [],
        is_tuple=[seen.is_tuple[layer] for layer in layers],
        is_causal=seen.is_causal if seen.is_causal is not None else not _is_masked(model),
    )


def bare(model: nn.Module) -> nn.Module:
    """The transformers model inside PEFT's wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]


@contextmanager
def eager(model: nn.Module) -> Iterator[None]:
    """Eager attention while the block runs: the other kernels return no weights.

    Raises:
        FeaturebookError: the model cannot be switched.
    """
    model = bare(model)
    before = getattr(model.config, "_attn_implementation", None)
    if before in (None, "eager"):
        yield
        return
    try:
        model.set_attn_implementation("eager")  # type: ignore[operator]
    except (ValueError, AttributeError) as error:
        raise FeaturebookError(
            f"{type(model).__name__} has no eager attention ({error}), so its attention weights cannot be read. Leave "
            "attention out of the analysis."
        ) from error
    try:
        yield
    finally:
        model.set_attn_implementation(before)  # type: ignore[operator]


@contextmanager
def adapter_off(model: nn.Module) -> Iterator[None]:
    """The base model: all of PEFT's layers are switched off while the block runs."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    switches: list[Any] = [
        m for m in model.modules() if isinstance(m, BaseTunerLayer | AuxiliaryTrainingWrapper)
    ]
    needs_gradient = {p: p.requires_grad for p in model.parameters()}
    for switch in switches:
        switch.enable_adapters(False)
    try:
        yield
    finally:
        for switch in switches:
            switch.enable_adapters(True)
        for parameter, needed in needs_gradient.items():  # PEFT turns gradients on with the adapter
            parameter.requires_grad_(needed)


def has_adapter(model: nn.Module) -> bool:
    """Whether there is anything for ``adapter_off`` to switch."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return any(isinstance(module, BaseTunerLayer) for module in model.modules())


def _layers(model: nn.Module) -> list[nn.Module]:
    from generator.measure.model import layer_list

    name = layer_list(model)
    if name is None:
        raise FeaturebookError(
            f"{type(model).__name__} has no numbered layers, so there is nothing to compare."
        )
    return list(model.get_submodule(name))  # type: ignore[call-overload]


def _vocabulary(model: nn.Module) -> int:
    return int(model.config.get_text_config().vocab_size)  # type: ignore[operator, union-attr]


def _takes_cache(model: nn.Module) -> bool:
    return not _is_masked(model)


def _is_masked(model: nn.Module) -> bool:
    return type(model).__name__.endswith("ForMaskedLM")


class _Seen:
    """What the probe saw. Tensors are kept so that identity means sameness."""

    def __init__(self) -> None:
        self.inputs: dict[nn.Module, Tensor] = {}
        self.outputs: dict[nn.Module, Tensor] = {}
        self.is_tuple: dict[nn.Module, bool] = {}
        self.norms: list[tuple[nn.Module, Tensor]] = []
        self.attention: dict[nn.Module, nn.Module] = {}
        self.is_causal: bool | None = None

    def norm_reading(self, hidden: Tensor) -> nn.Module | None:
        return next((norm for norm, read in self.norms if read is hidden), None)


@contextmanager
def _watch(model: nn.Module, layers: list[nn.Module]) -> Iterator[_Seen]:
    seen, handles = _Seen(), []
    for layer in layers:
        handles.append(layer.register_forward_hook(_note_layer(seen), with_kwargs=True))
        handles += [
            m.register_forward_hook(_note_attention(seen, layer)) for m in layer.modules() if m is not layer
        ]
    for module in model.modules():
        if "norm" in type(module).__name__.lower():
            handles.append(module.register_forward_hook(_note_norm(seen)))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _note_layer(seen: _Seen) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        seen.inputs[module] = args[0] if args else kwargs["hidden_states"]
        seen.is_tuple[module] = isinstance(output, tuple)
        seen.outputs[module] = output[0] if isinstance(output, tuple) else output

    return hook


def _note_norm(seen: _Seen) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if args and isinstance(args[0], Tensor):
            seen.norms.append((module, args[0]))

    return hook


def _note_attention(seen: _Seen, layer: nn.Module) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        weights = attention_weights(output)
        if weights is None or layer in seen.attention or weights.shape[-1] != weights.shape[-2]:
            return
        rows = weights.float().sum(-1)
        if torch.allclose(rows, torch.ones_like(rows), atol=0.05):
            seen.attention[layer] = module  # hooks run from the inside out: this is the innermost
            is_causal = not bool(weights.float().triu(1).any())
            seen.is_causal = is_causal if seen.is_causal is None else seen.is_causal and is_causal

    return hook


def attention_weights(output: Any) -> Tensor | None:
    """The (doc, head, token, token) weights in what an attention module returned, if any."""
    if not isinstance(output, tuple):
        return None
    found = [part for part in output[1:] if isinstance(part, Tensor) and part.ndim == 4]
    return found[0] if found else None
