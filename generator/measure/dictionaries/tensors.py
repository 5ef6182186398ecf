"""Reading tensors from files that somebody else made: nothing in them is executed, and misfits are explained."""

import pickle
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from generator.errors import FeaturebookError

_MAKERS: dict[str, Any] = {
    "_reconstruct": np.array(0.0).__reduce__()[0],  # numpy's own "make an array of this type"
    "scalar": np.float64(0.0).__reduce__()[0],  # and "make a number of this type"
}

SAFE_GLOBALS: list[Any] = [
    np.ndarray,
    np.dtype,
    *(type(np.dtype(code)) for code in "?bBhHiIlLqQefd"),
    *(
        (maker, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for name, maker in _MAKERS.items()
    ),
    (lambda: b"", "builtins.bytes"),  # what an empty array is pickled with; it takes no arguments here
]
"""What a ``.pt`` file may name besides tensors and plain containers: numpy arrays and numbers, which training
scripts leave among their metrics, as numpy 1 (``numpy.core``) and 2 call them. Nothing here runs code of the file."""

MOST_INFLATED, INFLATED_BYTES = 50, 256_000_000
"""A ZIP that unpacks to more than so many times its size, and more than so many bytes, is refused. Trained weights do not shrink
like that."""


@dataclass(frozen=True)
class TensorFile:
    """Named tensors of a checkpoint, and where they came from."""

    path: Path
    tensors: dict[str, Tensor]
    is_square: bool = False
    """See ``LoadOptions.is_square``."""

    def __post_init__(self) -> None:
        for name, tensor in self.tensors.items():
            _refuse_claims(name, tensor, self.path)

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
        if not tensor.is_floating_point():
            raise FeaturebookError(
                f"{name} in {self.path} holds {tensor.dtype}; expected floating-point numbers, not quantised ones."
            )
        tensor = tensor.float().contiguous()
        if not torch.isfinite(tensor).all():
            raise FeaturebookError(f"{name} in {self.path} holds values that are not finite.")
        return tensor

    def take_wholes(self, name: str) -> list[int]:
        """Whole numbers of at least 1, stored as a tensor.

        Raises:
            FeaturebookError: missing, something else.
        """
        self.require(name)
        values = self.tensors[name].double().flatten().tolist()
        if not all(1 <= value < 2**31 and value == int(value) for value in values):
            raise FeaturebookError(
                f"{name} in {self.path} is {str(values)[:80]}; expected whole numbers of at least 1."
            )
        return [int(value) for value in values]

    def take_whole(self, name: str) -> int:
        """The same of one number."""
        values = self.take_wholes(name)
        if len(values) != 1:
            raise FeaturebookError(f"{name} in {self.path} holds {len(values)} values; expected one number.")
        return values[0]

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
    _refuse_bomb(path)
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
    _refuse_bomb(path)
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
        f"{path} holds none of {', '.join(names)}. Files there: {listing(path)}. Is the format right?"
    )


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise FeaturebookError(
            f"{path} is missing. Files there: {listing(path.parent)}. Is the format right?"
        )


def listing(folder: Path) -> str:
    """The first names in a folder, for messages."""
    names = sorted(p.name for p in folder.iterdir())[:12] if folder.is_dir() else []
    return ", ".join(names) or "none"


def _refuse_bomb(path: Path) -> None:
    """A ZIP of a few bytes that unpacks to more than memory holds."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, OSError):
        return  # no ZIP, or a damaged one, which the reader says
    size = path.stat().st_size
    if unpacked > max(INFLATED_BYTES, MOST_INFLATED * size):
        raise FeaturebookError(
            f"{path} has {size:,} bytes and would unpack to {unpacked:,}; weights do not shrink like that."
        )


def _refuse_claims(name: str, tensor: Tensor, path: Path) -> None:
    """Complex numbers, and a view that makes a matrix of any size of a few bytes."""
    if tensor.is_complex() or tensor.is_quantized or tensor.layout != torch.strided:
        raise FeaturebookError(
            f"{name} in {path} is {tensor.dtype}, {tensor.layout}; expected plain real numbers."
        )
    claimed, held = tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()
    if claimed > held:
        raise FeaturebookError(
            f"{name} in {path} claims {claimed:,} bytes, and the file holds {held:,} for it."
        )


def _what_was_refused(message: str) -> str:
    for marker in ("GLOBAL ", "<class '", "but got "):
        if marker in message:
            return message.split(marker, 1)[1].split()[0].rstrip(".,'>")
    return message.rsplit("WeightsUnpickler error:", 1)[-1].strip().splitlines()[0][:160]


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
