"""Reading tensors from files that somebody else made: nothing in them is executed, and misfits are explained."""

import pickle
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from torch import Tensor

from generator.errors import FeaturebookError

SAFE_GLOBALS: list[Any] = [
    np.ndarray,
    np.dtype,
    np.dtypes.Float32DType,
    np.dtypes.Float64DType,
    np.dtypes.Int64DType,
    np.array(0.0).__reduce__()[0],  # numpy's own "make an array of this type"
    np.float64(0.0).__reduce__()[0],  # and "make a number of this type"
]
"""What a ``.pt`` file may name besides tensors and plain containers: numpy arrays and numbers, which training
scripts leave among their metrics. Nothing here runs code of the file."""


@dataclass(frozen=True)
class TensorFile:
    """Named tensors of a checkpoint, and where they came from."""

    path: Path
    tensors: dict[str, Tensor]
    is_square: bool = False
    """See ``LoadOptions.is_square``."""

    def require(self, *names: str) -> None:
        """Checks that these tensors are there.

        Raises:
            FeaturebookError: some are missing; both lists are shown.
        """
        missing = [name for name in names if name not in self.tensors]
        if missing:
            raise FeaturebookError(
                f"{self.path} lacks {', '.join(missing)}. Found: {', '.join(sorted(self.tensors)) or 'nothing'}; "
                f"expected: {', '.join(names)}. Is the format right?"
            )

    def take(self, name: str, **axes: int) -> Tensor:
        """One tensor in float32, checked.

        Args:
            name: Its name.
            axes: Axis names and the sizes wanted, in order: ``take("W_enc", d_in=16, feature=64)``.

        Raises:
            FeaturebookError: missing, of another shape (a transposed one is named so), not finite.
        """
        self.require(name)
        tensor, wanted = self.tensors[name], tuple(axes.values())
        if tuple(tensor.shape) != wanted:
            hint = " It looks transposed." if tuple(tensor.shape) == wanted[::-1] else ""
            named = ", ".join(f"{axis} {size}" for axis, size in axes.items())
            raise FeaturebookError(
                f"{name} in {self.path} has shape {tuple(tensor.shape)}; expected {wanted} ({named}).{hint}"
            )
        tensor = tensor.float().contiguous()
        if not torch.isfinite(tensor).all():
            raise FeaturebookError(f"{name} in {self.path} holds values that are not finite.")
        return tensor

    def sizes(self, d_in: str, feature: str) -> tuple[int, int]:
        """Width and number of latents, from the lengths of two vectors.

        Raises:
            FeaturebookError: they are equal, so that a transposed matrix could not be told, and nobody vouched for it.
        """
        self.require(d_in, feature)
        for name in (d_in, feature):
            if self.tensors[name].ndim != 1:
                raise FeaturebookError(
                    f"{name} in {self.path} has shape {tuple(self.tensors[name].shape)}; expected one axis."
                )
        width, n_features = len(self.tensors[d_in]), len(self.tensors[feature])
        if width == n_features and not self.is_square:
            raise FeaturebookError(
                f"{self.path} has as many latents as inputs ({width}), so shapes cannot show whether its matrices lie "
                "the way the format says. If you know they do, set is_square = true."
            )
        return width, n_features


def read_json_object(path: Path) -> dict[str, Any]:
    """A JSON file that must hold an object.

    Raises:
        FeaturebookError: missing, not JSON, not an object.
    """
    try:
        value = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        raise FeaturebookError(
            f"{path} is missing. Files there: {_listing(path.parent)}. Is the format right?"
        ) from None
    except orjson.JSONDecodeError as error:
        raise FeaturebookError(f"{path} is not valid JSON ({error}).") from None
    if not isinstance(value, dict):
        raise FeaturebookError(f"{path} holds a {type(value).__name__}; expected an object.")
    return value


def read_safetensors(path: Path, is_square: bool = False) -> TensorFile:
    """The tensors of a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _require_file(path)
    try:
        return TensorFile(path, load_file(path), is_square)
    except SafetensorError as error:
        raise FeaturebookError(f"{path} is not a whole safetensors file ({error}). Fetch it again.") from None


def read_npz(path: Path, is_square: bool = False) -> TensorFile:
    """The arrays of an npz file; arrays of Python objects are refused."""
    _require_file(path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            tensors = {name: torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in arrays.files}
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise FeaturebookError(
                f"{path} holds pickled Python objects, which could run code when read; expected plain arrays."
            ) from None
        raise FeaturebookError(f"{path} is not an npz file ({error}).") from None
    except (zipfile.BadZipFile, OSError, EOFError, TypeError) as error:
        raise FeaturebookError(f"{path} is not a whole npz file ({error}). Fetch it again.") from None
    return TensorFile(path, tensors, is_square)


def read_torch(path: Path, allow_classes: Sequence[str] = ()) -> dict[str, Any]:
    """The dict in a ``torch.save`` file, unpickled with ``weights_only=True`` and ``SAFE_GLOBALS``.

    Args:
        path: The file.
        allow_classes: Names of further classes that it may hold; a bare holder of values stands in for each, so that
            nothing of theirs is imported or run.

    Raises:
        FeaturebookError: missing, damaged, not a dict, or it wants a class that is not on the list.
    """
    _require_file(path)
    try:
        stands_in: list[Any] = [(type("Holder", (), {}), name) for name in allow_classes]
        with torch.serialization.safe_globals(SAFE_GLOBALS + stands_in):
            value = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "WeightsUnpickler error" in str(error):
            raise FeaturebookError(
                f"{path} holds pickled Python objects ({_what_was_refused(str(error))}), which could run code when "
                "read; only tensors, numbers, strings and plain containers are. Save its state_dict anew, or name the class in "
                "allow_classes: its values are then read, and none of its code."
            ) from None
        raise FeaturebookError(f"{path} is not a torch file ({_first_line(error)}).") from None
    except (RuntimeError, EOFError, OSError, zipfile.BadZipFile, ValueError, KeyError) as error:
        raise FeaturebookError(
            f"{path} is not a whole torch file ({_first_line(error)}). Fetch it again."
        ) from None
    if not isinstance(value, dict):
        raise FeaturebookError(f"{path} holds a {type(value).__name__}; expected a dict of tensors.")
    return value


def only_tensors(values: dict[str, Any]) -> dict[str, Tensor]:
    """The entries that are tensors, names freed of torch.compile's and DataParallel's prefixes."""
    return {
        name.removeprefix("_orig_mod.").removeprefix("module."): value
        for name, value in values.items()
        if isinstance(value, Tensor)
    }


def find_file(path: Path, *names: str) -> Path:
    """``path`` itself when it is a file, else the first of ``names`` that its folder holds.

    Raises:
        FeaturebookError: there is none.
    """
    if path.is_file():
        return path
    for name in names:
        if (path / name).is_file():
            return path / name
    if not path.exists():
        raise FeaturebookError(f"{path} does not exist.")
    raise FeaturebookError(
        f"{path} holds none of {', '.join(names)}. Files there: {_listing(path)}. Is the format right?"
    )


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise FeaturebookError(
            f"{path} is missing. Files there: {_listing(path.parent)}. Is the format right?"
        )


def _listing(folder: Path) -> str:
    names = sorted(p.name for p in folder.iterdir())[:12] if folder.is_dir() else []
    return ", ".join(names) or "none"


def _what_was_refused(message: str) -> str:
    marker = "GLOBAL "
    if marker in message:
        return message.split(marker, 1)[1].split()[0].rstrip(".,")
    return message.splitlines()[0][:160]


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
