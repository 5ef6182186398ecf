"""Where things are in a transformer, found by watching one short forward pass: no list of model families.

What is looked for: the numbered layers, the norm that reads each layer's input, the norm after the last layer, the
modules that return attention weights. A post-norm model (BERT) has no such norms, and then there is none.
"""

import inspect
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from generator.errors import FeaturebookError
from generator.measure.corpus import positions

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
    n_returned: list[int]
    """How many things a layer returns, its hidden state first; 0 where it returns the state itself."""
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

    @cached_property
    def context(self) -> int | None:
        """Longest text in tokens that the model has positions for; None where it has no limit of its own."""
        limit = positions(self.config)
        tables = (m for m in self.model.modules() if isinstance(m, nn.Embedding) and m is not self.embedding)
        for table in tables:
            if limit and table.num_embeddings == limit and table.padding_idx is not None:
                return limit - table.padding_idx - 1  # RoBERTa counts positions from behind its padding
        return limit

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
    with _eager_if_possible(model), _watch(model, layers) as seen, torch.no_grad():
        embedding = model.get_input_embeddings()  # type: ignore[operator]
        ids = torch.arange(3, 3 + PROBE_TOKENS, device=next(embedding.parameters()).device) % _vocabulary(
            model
        )
        model(input_ids=ids[None], use_cache=False) if _takes_cache(model) else model(input_ids=ids[None])
    if any(layer not in seen.inputs for layer in layers):
        raise FeaturebookError(
            f"Not every layer of {type(model).__name__} runs when it reads text, so they cannot be put on one axis."
        )
    if max(seen.n_runs.values()) > 1:
        raise FeaturebookError(
            f"{type(model).__name__} runs a layer more than once (its layers share weights), so a layer's module does not say "
            "at which depth a state was read. Take a model whose layers are their own."
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
        n_returned=[seen.n_returned[layer] for layer in layers],
        is_causal=seen.is_causal if seen.is_causal is not None else not _is_masked(model),
    )


def bare(model: nn.Module) -> nn.Module:
    """The transformers model inside PEFT's wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]


@contextmanager
def eager(model: nn.Module) -> Iterator[None]:
    """Eager attention while the block runs: the other kernels return no weights, and some families only when asked.

    Raises:
        FeaturebookError: the model cannot be switched.
    """
    model = bare(model)
    before: Any = getattr(model.config, "_attn_implementation", None)
    is_other = before not in (None, "eager")
    if is_other:
        _switch_to_eager(model, before)
    try:
        with _asked_for_weights(model):
            yield
    finally:
        if is_other:
            model.set_attn_implementation(before)  # type: ignore[operator]


def _switch_to_eager(model: Any, before: str) -> None:
    """transformers refuses by an exception, or only logs and leaves the kernel as it was (Falcon)."""
    why = f"it stays with {before}"
    try:
        model.set_attn_implementation("eager")
    except (ValueError, AttributeError) as error:
        why = str(error)
    if model.config._attn_implementation != "eager":
        raise FeaturebookError(
            f"{type(model).__name__} cannot be switched to eager attention ({why}), so its attention weights cannot be read. "
            'Set model.attn_implementation = "eager" where the model takes it, or leave attention out of the analysis.'
        )


@contextmanager
def _asked_for_weights(model: nn.Module) -> Iterator[None]:
    """Sets ``output_attentions`` where a layer takes it as an argument (Falcon, MPNet): elsewhere hooks see the weights anyway."""
    config: Any = model.config
    takes = [_takes(layer, "output_attentions") for layer in _layers(model)]
    before = getattr(config, "output_attentions", False)
    config.output_attentions = before or any(takes)
    try:
        yield
    finally:
        config.output_attentions = before


@contextmanager
def _eager_if_possible(model: nn.Module) -> Iterator[None]:
    """A model that cannot is studied as it is; ``eager`` says why when weights are wanted."""
    with ExitStack() as stack:
        with suppress(FeaturebookError):
            stack.enter_context(eager(model))
        yield


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


def _takes(module: nn.Module, argument: str) -> bool:
    return argument in inspect.signature(module.forward).parameters


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
        self.n_returned: dict[nn.Module, int] = {}
        self.n_runs: Counter[nn.Module] = Counter()
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
        seen.n_returned[module] = len(output) if isinstance(output, tuple) else 0
        seen.n_runs[module] += 1
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
