"""Loads the base model and its adapter, if it has one, after checking on empty weights that they belong together."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from generator.config import ModelTable
from generator.errors import FeaturebookError, nearest
from generator.measure.checkpoints import AdapterFiles, check_base_files, find_adapter
from generator.measure.names import public_name
from generator.progress import Progress

TASK_CLASSES = {
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
    "FEATURE_EXTRACTION": "AutoModel",
}
"""PEFT's task types -> the class that PEFT wraps for them. Others are tried in turn when the modules do not fit."""


@lru_cache(maxsize=8)
def load_model_config(model: ModelTable) -> Any:
    """The base model's ``config.json``.

    Raises:
        FeaturebookError: it cannot be found or read, or needs code of its own.
    """
    from transformers import AutoConfig

    check_base_files(model.base)
    try:
        config = AutoConfig.from_pretrained(
            model.base, revision=model.revision, trust_remote_code=model.trust_remote_code
        )
    except Exception as error:  # OSError, ValueError, KeyError, the hub's and the HTTP library's exceptions
        raise FeaturebookError(_cannot_load(model, error)) from error
    if getattr(config, "is_encoder_decoder", False):
        raise FeaturebookError(
            f"{model.base!r} is an encoder-decoder model ({config.model_type}); it reads two texts at once, which "
            "Featurebook does not. Take a decoder or an encoder."
        )
    return config


def _cannot_load(model: ModelTable, error: Exception) -> str:
    first = (str(error).strip().splitlines() or ["no message"])[0][:300]
    message = f"The base model {model.base!r} cannot be loaded: {type(error).__name__}: {first}."
    if "trust_remote_code" in str(error):
        return f"{message} It brings code of its own; set model.trust_remote_code = true only if you have read it."
    return (
        f"{message} Check model.base and model.revision, and the network; a download that was interrupted goes on "
        "when the same command is run again."
    )


@dataclass(frozen=True)
class Blueprint:
    """Model and adapter, if there is one, matched without any weights."""

    config: Any
    """transformers' configuration of the base model."""
    class_name: str
    """The transformers class: the one whose modules the adapter names, or the first that the checkpoint is made for."""
    empty: nn.Module
    """The model on the meta device: modules and shapes only."""
    adapter: AdapterFiles | None

    @property
    def n_parameters(self) -> int:
        """Parameters of the base model, shared ones counted once."""
        return sum(p.numel() for p in self.empty.parameters())

    @property
    def adapter_config(self) -> dict[str, Any]:
        """The adapter's configuration; empty without an adapter."""
        return self.adapter.config if self.adapter else {}


def read_blueprint(model: ModelTable) -> Blueprint:
    """Finds the class of a model, and compares all shapes with those of its adapter.

    Raises:
        FeaturebookError: a file is missing or damaged; the adapter was made for another model.
    """
    config = load_model_config(model)
    if model.adapter is not None:
        return _match_adapter(model, config, find_adapter(model))
    for class_name in _candidates(config, {}):
        empty = _build_empty(class_name, config, model)
        if empty is not None:
            return Blueprint(config, class_name, empty, None)
    raise FeaturebookError(f"transformers has no model class for {config.model_type!r} ({model.base}).")


def _match_adapter(model: ModelTable, config: Any, adapter: AdapterFiles) -> Blueprint:
    modules = adapter.modules()
    if not modules:
        raise FeaturebookError(
            f"{adapter.folder} holds no LoRA tensors (lora_A, lora_B). Copy the adapter again."
        )
    _set_labels(config, adapter)
    best: tuple[int, str, nn.Module] | None = None
    for class_name in _candidates(config, adapter.config):
        empty = _build_empty(class_name, config, model)
        if empty is None:
            continue
        names = {name for name, _ in empty.named_modules()}
        n_found = sum(name in names for name in modules)
        if best is None or n_found > best[0]:
            best = n_found, class_name, empty
        if n_found == len(modules):
            break
    if best is None:
        raise FeaturebookError(f"transformers has no model class for {config.model_type!r} ({model.base}).")
    blueprint = Blueprint(config, best[1], best[2], adapter)
    _check_shapes(blueprint, adapter, modules)
    return blueprint


def _candidates(config: Any, adapter_config: dict[str, Any]) -> list[str]:
    by_task = TASK_CLASSES.get(str(adapter_config.get("task_type")))
    names = [
        by_task,
        *(getattr(config, "architectures", None) or []),
        "AutoModelForCausalLM",
        "AutoModelForMaskedLM",
    ]
    return list(dict.fromkeys([n for n in names if n] + list(TASK_CLASSES.values())))


def _set_labels(config: Any, adapter: AdapterFiles) -> None:
    """A classification head saved with the adapter fixes the number of labels."""
    heads = [t.shape for key, t in adapter.tensors.items() if ".lora_" not in key and len(t.shape) == 2]
    if adapter.config.get("task_type") in ("SEQ_CLS", "TOKEN_CLS") and heads:
        config.num_labels = heads[-1][0]


def _build_empty(class_name: str, config: Any, model: ModelTable) -> nn.Module | None:
    import transformers

    chosen = getattr(transformers, class_name, None)
    if chosen is None:
        return None
    try:
        with torch.device("meta"), _quiet():
            if class_name.startswith("Auto"):
                return chosen.from_config(config, trust_remote_code=model.trust_remote_code)
            return chosen(config)
    except (ValueError, TypeError, AttributeError, NotImplementedError, RuntimeError, ImportError):
        return None  # this architecture has no such head


def _check_shapes(blueprint: Blueprint, adapter: AdapterFiles, modules: dict[str, dict[str, Any]]) -> None:
    known = dict(blueprint.empty.named_modules())
    order = {name: i for i, name in enumerate(known)}
    for name, tensors in sorted(modules.items(), key=lambda item: order.get(item[0], -1)):  # model order
        if name not in known:
            near = nearest(name, [n for n, m in known.items() if n and not list(m.children())])
            raise FeaturebookError(
                f"The adapter {adapter.folder.name!r} adapts {name!r}, which {blueprint.class_name} does not have. It "
                f"was made for another model (its adapter_config.json names "
                f"{public_name(str(adapter.config.get('base_model_name_or_path')))!r}). {near}"
            )
        _check_module(blueprint, name, known[name], tensors)


def _check_module(blueprint: Blueprint, name: str, module: nn.Module, tensors: dict[str, Any]) -> None:
    weight = getattr(module, "weight", None)
    if weight is None or weight.ndim != 2:
        raise FeaturebookError(
            f"The adapter adapts {name!r}, a {type(module).__name__}; only linear layers, Conv1D and embeddings read a "
            "scalar per token as x·A."
        )
    is_embedding = isinstance(module, nn.Embedding)
    d_out, d_in = weight.shape if isinstance(module, nn.Linear) else weight.shape[::-1]
    side_a, side_b = (
        ("lora_embedding_A", "lora_embedding_B") if is_embedding else ("lora_A.weight", "lora_B.weight")
    )
    for side, axis, wanted in ((side_a, 1, d_in), (side_b, 0, d_out)):
        if side not in tensors:
            raise FeaturebookError(
                f"The adapter has no {side} for {name!r}: its file is incomplete. Copy it again."
            )
        if tensors[side].shape[axis] != wanted:
            raise FeaturebookError(
                f"The adapter does not fit the model at {name!r}: its {side} has shape {tuple(tensors[side].shape)}, the "
                f"module's weight {tuple(weight.shape)}. The adapter was made for another model than "
                f"{public_name(blueprint.config.name_or_path)!r}."
            )


@dataclass(frozen=True)
class LoadedModel:
    """A base model with its adapter in place, if it has one, in evaluation mode."""

    model: Any
    """transformers' model (a ``PreTrainedModel``) whose adapted modules are PEFT's LoRA layers."""
    adapter_name: str
    """As PEFT calls it; empty without an adapter."""
    blueprint: Blueprint
    device: torch.device
    """Where token ids go."""
    dtype: torch.dtype


def load_model(
    table: ModelTable, progress: Progress, *, device: str | None = None, seed: int = 0
) -> LoadedModel:
    """Loads the base model and the adapter, if the run file names one.

    Args:
        table: ``[model]`` of the run file.
        progress: Gets notes on what is unusual: random heads, offloading.
        device: Overrules the run file (a worker's own GPU).
        seed: Of PEFT's initialisations that change the base weights (PiSSA and the like).

    Raises:
        FeaturebookError: a bad path, a damaged file, an adapter for another model, NaN weights, no such device.
    """
    blueprint = read_blueprint(table)
    _check_attention(table)
    place = choose_device(table, device)
    dtype = choose_dtype(table, blueprint, place)
    device_map = choose_device_map(
        blueprint, place, dtype, is_auto=(device or table.device) == "auto", progress=progress
    )
    torch.manual_seed(seed)
    model = _load_base(table, blueprint, place, dtype, device_map, progress)
    if blueprint.adapter:
        model = _load_adapter(model, blueprint.adapter)
    _check_finite(model)
    name = blueprint.adapter.name if blueprint.adapter else ""
    return LoadedModel(model.eval(), name, blueprint, place, dtype)


def _check_attention(table: ModelTable) -> None:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    wanted = table.attn_implementation
    known = ["eager", *ALL_ATTENTION_FUNCTIONS.valid_keys()]
    if wanted and wanted not in known and "/" not in wanted:
        raise FeaturebookError(f"model.attn_implementation = {wanted!r} is unknown. {nearest(wanted, known)}")


def choose_device(table: ModelTable, device: str | None = None) -> torch.device:
    """The device that the run file (or a worker) asks for.

    Raises:
        FeaturebookError: no such device on this machine.
    """
    wanted = device or table.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(wanted)
    except RuntimeError as error:
        raise FeaturebookError(
            f"model.device = {wanted!r} is no device. Take auto, cpu, cuda, cuda:1 or mps."
        ) from error
    is_there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}.get(
        place.type, True
    )
    if not is_there or (place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count()):
        raise FeaturebookError(
            f"model.device = {wanted!r}, but this machine has no such device. Take auto or cpu."
        )
    return place


def choose_dtype(table: ModelTable, blueprint: Blueprint, place: torch.device) -> torch.dtype:
    """The base weights' dtype: for ``auto`` the checkpoint's on a GPU, float32 on a CPU.

    Half precision on a CPU is 10 to 1000 times slower than float32 unless the CPU has instructions for it, and a default
    that depends on the CPU would change the numbers from machine to machine.
    """
    if table.dtype != "auto":
        return getattr(torch, table.dtype)
    if place.type == "cpu":
        return torch.float32
    stored = getattr(blueprint.config, "dtype", None) or getattr(
        blueprint.config.get_text_config(), "dtype", None
    )
    return getattr(torch, stored) if isinstance(stored, str) else stored or torch.float32


def choose_device_map(
    blueprint: Blueprint, place: torch.device, dtype: torch.dtype, *, is_auto: bool, progress: Progress
) -> Any:
    """None on a CPU, one device when the model fits it, else accelerate's ``auto`` map."""
    if place.type != "cuda":
        return None
    needed = blueprint.n_parameters * dtype.itemsize
    free, _ = torch.cuda.mem_get_info(place)
    if not is_auto or needed < 0.9 * free:
        return {"": place}
    progress.note(
        f"The model needs {needed / 1e9:.1f} GB and {place} has {free / 1e9:.1f} GB free: spread over all GPUs (and main "
        "memory if they do not suffice) by accelerate's device map"
    )
    return "auto"


def _load_base(
    table: ModelTable,
    blueprint: Blueprint,
    place: torch.device,
    dtype: torch.dtype,
    device_map: Any,
    progress: Progress,
) -> nn.Module:
    import transformers

    options: dict[str, Any] = (
        {"attn_implementation": table.attn_implementation} if table.attn_implementation else {}
    )
    try:
        with _quiet():
            model, loaded = getattr(transformers, blueprint.class_name).from_pretrained(
                table.base,
                config=blueprint.config,
                revision=table.revision,
                trust_remote_code=table.trust_remote_code,
                dtype=dtype,
                device_map=device_map,
                output_loading_info=True,
                **options,
            )
    except torch.OutOfMemoryError as error:
        raise FeaturebookError(
            f'The model does not fit the memory of {place}. Set model.device = "auto" to spread it, or model.dtype = "bfloat16".'
        ) from error
    except (
        Exception
    ) as error:  # OSError, ValueError, RuntimeError, SafetensorError, ImportError of a kernel, …
        raise FeaturebookError(_cannot_load(table, error)) from error
    _check_missing(sorted(loaded.get("missing_keys", ())), model, blueprint, progress)
    return model if device_map is not None else model.to(place)


def _check_missing(missing: list[str], model: nn.Module, blueprint: Blueprint, progress: Progress) -> None:
    """Weights that the checkpoint lacks are random: fatal inside the layers, worth a note in a head."""
    tensors = blueprint.adapter.tensors if blueprint.adapter else ()
    supplied = {key.split("base_model.model.", 1)[-1] for key in tensors}
    missing = [key for key in missing if key not in supplied]
    layers = layer_list(model)
    inside = [key for key in missing if layers and key.startswith(f"{layers}.")]
    if inside:
        raise FeaturebookError(
            f"The checkpoint of the base model lacks {len(inside)} weights of its layers, {inside[0]!r} first. It is incomplete or "
            f"made for another class than {blueprint.class_name}: fetch it again."
        )
    if missing:
        progress.note(
            f"{len(missing)} weights outside the layers are not in the checkpoint and are random: {missing[:3]}"
        )


def _load_adapter(base: nn.Module, adapter: AdapterFiles) -> nn.Module:
    from peft import PeftModel

    try:
        with _quiet():
            wrapped = PeftModel.from_pretrained(base, str(adapter.folder), adapter_name=adapter.name)
    except Exception as error:  # whatever PEFT, torch and safetensors raise on a file they do not like
        raise FeaturebookError(
            f"The adapter {adapter.folder.name!r} cannot be loaded: {type(error).__name__}: {str(error).strip()[:400]}."
        ) from error
    model = wrapped.get_base_model()
    _check_all_loaded(model, adapter)
    return model


def _check_all_loaded(model: nn.Module, adapter: AdapterFiles) -> None:
    """A module that the configuration adapts but the file does not would run with random weights."""
    from peft.tuners.lora import LoraLayer

    stored = adapter.modules()
    lacking = [name for name, m in model.named_modules() if isinstance(m, LoraLayer) and name not in stored]
    if lacking:
        raise FeaturebookError(
            f"adapter_config.json of {adapter.folder.name!r} adapts {len(lacking)} modules for which its weights hold nothing, "
            f"{lacking[0]!r} first. The adapter is incomplete, or its configuration was edited: copy it again."
        )


def _check_finite(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if parameter.is_meta or not parameter.is_floating_point():
            continue
        if not all(bool(torch.isfinite(part).all()) for part in parameter.detach().flatten().split(1 << 26)):
            raise FeaturebookError(
                f"The weight {name!r} holds NaN or infinite values, so nothing measured with it would mean anything. Check the "
                "training run, or fetch the checkpoint again."
            )


def layer_list(model: nn.Module) -> str | None:
    """The dotted path of the list of numbered layers: the longest ``ModuleList``, the outermost of equals.

    A list as long as the configuration's ``num_hidden_layers`` wins over longer ones (a vision tower, experts).
    """
    lists = [
        (name, len(module))
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module)
    ]
    outer = [
        (n, size)
        for n, size in lists
        if not any(n.startswith(f"{other}.") for other, _ in lists if other != n)
    ]
    if not outer:
        return None
    config = getattr(model, "config", None)
    wanted = getattr(config.get_text_config(), "num_hidden_layers", None) if config is not None else None
    return max(outer, key=lambda entry: (entry[1] == wanted, entry[1]))[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the libraries' warnings (unused heads, deprecations) off the terminal; what matters is checked by us."""
    from transformers.utils import logging as transformers_logging

    level = transformers_logging.get_verbosity()
    was_bar = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(level)
        if was_bar:
            transformers_logging.enable_progress_bar()
