"""What lies in a model's and an adapter's folder, read without loading weights and without torch."""

import json
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from generator.artifacts import read_json
from generator.config import ModelTable
from generator.errors import FeaturebookError, nearest

PREFIX = "base_model.model."
"""What PEFT writes before a module's path in the base model."""
_BITS = {
    "F64": 64,
    "F32": 32,
    "F16": 16,
    "BF16": 16,
    "I64": 64,
    "I32": 32,
    "I16": 16,
    "I8": 8,
    "U8": 8,
    "BOOL": 8,
}


@dataclass(frozen=True)
class Tensor:
    """A tensor of a checkpoint, by its header only."""

    shape: tuple[int, ...]
    dtype: str
    """As safetensors names it: ``BF16``, ``F32``, …"""


def read_header(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; the layout is described at github.com/huggingface/safetensors.

    Raises:
        FeaturebookError: the file is missing, cut short, or is no safetensors file.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(size, 100_000_000):
                raise ValueError(f"the header claims {length} bytes")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        ends = [entry["data_offsets"][1] for entry in header.values()]
        if 8 + length + max(ends, default=0) > size:
            raise ValueError(f"it has {size} bytes and its header promises {8 + length + max(ends)}")
        return {name: Tensor(tuple(entry["shape"]), entry["dtype"]) for name, entry in header.items()}
    except FileNotFoundError:
        raise FeaturebookError(f"{path} is missing. Download or copy the checkpoint again.") from None
    except (ValueError, KeyError, TypeError, struct.error, OSError) as error:
        raise FeaturebookError(
            f"{path} is not a whole safetensors file ({error}). An interrupted download or copy is the usual cause: "
            "fetch it again."
        ) from error


def check_base_files(base: str) -> None:
    """Checks the weight files of a model on this machine; a hub id is left to the hub's own checks.

    Raises:
        FeaturebookError: no config, no weights, a shard that the index names is missing, a damaged file.
    """
    folder = Path(base)
    if not folder.is_dir():
        if folder.is_absolute() or base.startswith((".", "~")):
            raise FeaturebookError(f"model.base = {base!r} does not exist. Give a model folder or a hub id.")
        return
    if not (folder / "config.json").is_file():
        raise FeaturebookError(f"{folder} has no config.json, so it is no model folder. Check model.base.")
    index = folder / "model.safetensors.index.json"
    names = sorted(set(read_json(index)["weight_map"].values())) if index.is_file() else ["model.safetensors"]
    if not index.is_file() and not (folder / names[0]).is_file():
        if any(folder.glob("*.bin")):
            return  # loaded with weights_only=True
        raise FeaturebookError(
            f"{folder} holds no weights (model.safetensors). Download or copy the model again."
        )
    for name in names:
        read_header(folder / name)


@dataclass(frozen=True)
class AdapterFiles:
    """A PEFT adapter on this machine."""

    folder: Path
    name: str
    """What PEFT shall call it."""
    config: dict[str, Any]  # adapter_config.json
    tensors: dict[str, Tensor]  # "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight" -> …

    def modules(self) -> dict[str, dict[str, Tensor]]:
        """The adapted modules' dotted paths in the base model -> their tensors by suffix ("lora_A.weight")."""
        found: dict[str, dict[str, Tensor]] = {}
        for key, tensor in self.tensors.items():
            path, dot, suffix = key.removeprefix(PREFIX).partition(".lora_")
            if dot:
                found.setdefault(path, {})[f"lora_{suffix}"] = tensor
        return found


def find_adapter(model: ModelTable) -> AdapterFiles:
    """Finds the adapter of a run and checks that it is one that is read exactly.

    Raises:
        FeaturebookError: missing, damaged, one of several and not named, or not LoRA.
    """
    folder = _adapter_folder(model)
    folder, name = _choose_adapter(folder, model.adapter_name)
    config = read_json(folder / "adapter_config.json")
    _refuse_variants(config, folder)
    return AdapterFiles(folder, name, config, _adapter_tensors(folder))


def _adapter_folder(model: ModelTable) -> Path:
    assert model.adapter is not None
    folder = Path(model.adapter).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or model.adapter.startswith((".", "~")):
        raise FeaturebookError(
            f"model.adapter = {model.adapter!r} does not exist. Give a PEFT folder or a hub id."
        )
    from huggingface_hub import snapshot_download

    patterns = ["adapter_*", "*/adapter_*"]
    try:
        return Path(
            snapshot_download(model.adapter, revision=model.adapter_revision, allow_patterns=patterns)
        )
    except Exception as error:  # the hub's and the HTTP library's own families of exceptions
        raise FeaturebookError(
            f"The adapter {model.adapter!r} is no folder here and cannot be fetched from the hub: "
            f"{type(error).__name__}: {str(error).splitlines()[0][:200]}. Check model.adapter and the network; a "
            "download that was interrupted goes on when the same command is run again."
        ) from error


def _choose_adapter(folder: Path, wanted: str) -> tuple[Path, str]:
    """PEFT keeps the adapter called ``default`` in the folder itself and others in subfolders of their names."""
    found = {p.parent.name: p.parent for p in sorted(folder.glob("*/adapter_config.json"))}
    if (folder / "adapter_config.json").is_file():
        found = {"default": folder, **found}
    if not found:
        raise FeaturebookError(
            f"{folder} holds no adapter_config.json, so it is no PEFT adapter. Check model.adapter."
        )
    if wanted and wanted not in found:
        raise FeaturebookError(f"{folder} holds no adapter {wanted!r}. {nearest(wanted, found)}")
    if not wanted and len(found) > 1:
        raise FeaturebookError(
            f'{folder} holds several adapters ({", ".join(found)}). Say which: model.adapter_name = "{next(iter(found))}".'
        )
    name = wanted or next(iter(found))
    return found[name], name


_REFUSED = {
    "target_parameters": "adapts parameters of no module of their own (fused experts)",
    "use_qalora": "is QALoRA, which pools the input before A",
    "alora_invocation_tokens": "is activated LoRA, which writes only after an invocation sequence",
    "arrow_config": "is Arrow, which routes between several adapters",
    "layer_replication": "replicates layers, so that one module stands for several",
    "use_bdlora": "is block-diagonal LoRA",
    "kasa_config": "is KaSA, which changes the base weights as well",
    "monteclora_config": "is MonteCLoRA, which samples its weights",
    "megatron_config": "belongs to a Megatron model",
}
"""Options of ``LoraConfig`` (peft 0.21) that change what x·A or its write means -> the reason they are refused."""


def _refuse_variants(config: dict[str, Any], folder: Path) -> None:
    kind = str(config.get("peft_type", "unknown")).upper()
    if kind != "LORA":
        raise FeaturebookError(
            f"{folder} is a {kind} adapter; only LoRA reads one scalar per direction as x·A. Methods that can be converted "
            "(peft.convert_to_lora, for instance) work once they are saved as LoRA."
        )
    for option, reason in _REFUSED.items():
        if config.get(option):
            raise FeaturebookError(
                f"{folder} uses {option}: it {reason}, so x·A would not be what the model computes. Train or convert to plain "
                "LoRA, or merge it and study the model without this adapter."
            )


def _adapter_tensors(folder: Path) -> dict[str, Tensor]:
    weights = folder / "adapter_model.safetensors"
    if weights.is_file():
        return read_header(weights)
    pickled = folder / "adapter_model.bin"
    if not pickled.is_file():
        raise FeaturebookError(
            f"{folder} has an adapter_config.json but no adapter_model.safetensors. Copy the whole folder."
        )
    import torch

    try:
        state = torch.load(pickled, map_location="cpu", weights_only=True)
    except Exception as error:  # UnpicklingError, RuntimeError, EOFError, …
        raise FeaturebookError(
            f"{pickled} cannot be read without running code from it ({str(error).splitlines()[0][:150]}). Save the adapter "
            "as safetensors: peft_model.save_pretrained(folder, safe_serialization=True)."
        ) from error
    return {key: Tensor(tuple(t.shape), str(t.dtype)) for key, t in state.items()}


def n_bytes(tensors: dict[str, Tensor]) -> int:
    """Bytes of all tensors together."""
    return sum(prod(t.shape) * _BITS.get(t.dtype, 32) // 8 for t in tensors.values())
