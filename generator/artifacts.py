"""A finished output on disk: content key, atomic write, manifest written last.

A stage's folder counts as done only when its ``manifest.json`` names the key that is wanted now. The manifest
is written after everything else, so a killed run never counts as done; the files that were finished before it
was killed carry the key themselves and are used again.
"""

import errno
import hashlib
import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from generator.errors import FeaturebookError

_CANONICAL = orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY


def content_key(*parts: Any) -> str:
    """A hexadecimal SHA-256 (32 characters kept) over the canonical JSON of ``parts``."""
    return hashlib.sha256(orjson.dumps(parts, option=_CANONICAL)).hexdigest()[:32]


def digest(content: bytes) -> str:
    """A fast hash of bytes, to see whether a file still holds them."""
    return hashlib.blake2b(content, digest_size=12).hexdigest()


def file_key(path: Path) -> str:
    """The content key of a file's bytes (of its size and samples, for a file of several hundred megabytes)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= SAMPLED_ABOVE:
            return hashlib.file_digest(file, "sha256").hexdigest()[:32]
        digest = hashlib.sha256(str(size).encode())
        for index in range(64):
            file.seek((size - 2**20) * index // 63)
            digest.update(file.read(2**20))
        return digest.hexdigest()[:32]


SAMPLED_ABOVE = 256 * 2**20
"""Bytes; a larger file is keyed by its size and 64 evenly spread samples instead of every byte."""

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".h5", ".npz", ".gguf", ".onnx")


def path_key(path: str, *, weights: bool = True) -> Any:
    """A key of what a path holds: of the bytes of a file, of all files of a folder or of a glob.

    Args:
        path: A file, a folder, a glob, or something that is none of them (a hub id), which stands for itself.
        weights: Whether model weights count; a tokenizer's key leaves them out.

    Returns:
        Something for ``content_key``: names relative to the path, and hashes. Names of folders above do not count, so
        a copied folder keeps its key.
    """
    root = Path(path)
    if root.is_file():
        return file_key(root)
    if root.is_dir():
        files = sorted(file for file in root.rglob("*") if file.is_file())
    elif "*" in path:
        root = Path(*itertools.takewhile(lambda part: "*" not in part, root.parts))
        files = sorted(file for file in root.glob(str(Path(path).relative_to(root))) if file.is_file())
    else:
        return path
    kept = [file for file in files if weights or file.suffix not in WEIGHT_SUFFIXES]
    return [[str(file.relative_to(root)), file_key(file)] for file in kept]


def to_json(value: Any) -> bytes:
    """JSON with sorted keys and a final newline; NaN and infinities become null. Same value, same bytes."""
    return orjson.dumps(value, option=_CANONICAL | orjson.OPT_APPEND_NEWLINE)


def read_json(path: Path) -> Any:
    """The JSON of a file.

    Raises:
        FeaturebookError: the file is missing or is not JSON.
    """
    try:
        return orjson.loads(path.read_bytes())
    except FileNotFoundError:
        raise FeaturebookError(f"{path} is missing. Build the stage that writes it.") from None
    except orjson.JSONDecodeError as error:
        raise FeaturebookError(f"{path} is not valid JSON ({error}). Delete it and build again.") from None


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its name when the block ends without an error.

    The bytes are flushed to the disk before the rename, so that the name never stands for half a file.

    Raises:
        FeaturebookError: the disk is full; the file that stood there before is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if is_disk_full(error):
            raise FeaturebookError(
                f"The disk is full: could not write {path}. Free some space and run the same command again; "
                "what was finished before is kept."
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def remove_dead_temporaries(folder: Path) -> None:
    """Removes what killed processes left half written in a folder; the number of the process is in the name."""
    for path in folder.glob(".*.tmp"):
        number = path.name.split(".")[-2]
        if number.isdigit() and not _is_another_process(int(number)):
            path.unlink(missing_ok=True)


def _is_another_process(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return number != os.getpid()


def is_disk_full(error: OSError) -> bool:
    """Whether an error means that no space is left (HDF5 reports it in words, without an errno)."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


@dataclass(frozen=True)
class Artifact:
    """The output folder of one stage."""

    folder: Path
    """Where the stage writes, for instance ``build/corpus``."""
    key: str
    """The content key that the folder must have to be up to date."""

    @property
    def manifest_path(self) -> Path:
        """The file whose presence, with the right key, makes the artifact done."""
        return self.folder / "manifest.json"

    def manifest(self) -> dict[str, Any] | None:
        """What the last finished run wrote, or None when there is none (or it cannot be read)."""
        try:
            return orjson.loads(self.manifest_path.read_bytes())
        except (FileNotFoundError, NotADirectoryError, orjson.JSONDecodeError):
            return None

    def is_done(self) -> bool:
        """Whether the folder holds the output of exactly this key."""
        manifest = self.manifest()
        return manifest is not None and manifest.get("key") == self.key

    def begin(self) -> None:
        """Withdraws the manifest, so that the folder does not count as done while it is written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.manifest_path.unlink(missing_ok=True)

    def finish(self, **facts: Any) -> None:
        """Writes the manifest: the key and the facts that ``status`` and later stages show."""
        write_bytes(self.manifest_path, to_json({"key": self.key, **facts}))

    def clear(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Writer:
    """Writes files below one folder, and remembers which, so that leftovers of an earlier run can be removed.

    Publishing takes one as an argument; a test passes ``MemoryWriter`` and looks into a dict.
    """

    is_shared = True
    """Whether other processes see what is written."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.written: set[str] = set()  # "atlas/lora/L0/q_proj.md"
        self._folders: set[str] = set()  # that are known to lie below the root

    def write(self, path: str, content: bytes) -> None:
        """Writes ``content`` at ``path`` below the root; a file that already holds these bytes is left alone.

        Raises:
            FeaturebookError: the path leads outside the root.
        """
        target = self._target(path)
        self.written.add(path)
        try:
            if os.stat(target).st_size == len(content) and _content_of(target) == content:
                return
        except OSError:
            os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            with open(target, "wb") as file:
                file.write(content)
        except OSError as error:
            if is_disk_full(error):
                raise FeaturebookError(
                    f"The disk is full: could not write {target}. Free some space."
                ) from error
            raise

    def has(self, path: str, wanted: str, size: int) -> bool:
        """Whether a file holds the bytes of this digest; then it counts as written."""
        try:
            target = self._target(path)
            if os.stat(target).st_size != size or digest(_content_of(target)) != wanted:
                return False
        except OSError:
            return False
        self.written.add(path)
        return True

    def _target(self, path: str) -> str:
        """The absolute path, which no symbolic link leads outside; a folder is asked for that once."""
        folder, name = os.path.split(path)
        if folder not in self._folders:
            if not (self.root / folder).resolve().is_relative_to(self.root):
                raise FeaturebookError(f"Refused to write {path!r}: it leads outside {self.root}.")
            self._folders.add(folder)
        target = os.path.join(self.root, folder, name)
        if name in ("", ".", "..") or os.path.islink(target):
            raise FeaturebookError(f"Refused to write {path!r}: it leads outside {self.root}.")
        return target


def _content_of(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


class MemoryWriter(Writer):
    """A writer that keeps everything in a dict, for tests."""

    is_shared = False

    def __init__(self) -> None:
        super().__init__(Path("/nowhere"))
        self.files: dict[str, bytes] = {}  # "atlas/index.md" -> b"# Atlas"

    def has(self, path: str, wanted: str, size: int) -> bool:
        """Whether these bytes are kept under ``path``."""
        if digest(self.files.get(path, b"")) != wanted:
            return False
        self.written.add(path)
        return True

    def write(self, path: str, content: bytes) -> None:
        """Keeps ``content`` under ``path``."""
        self.written.add(path)
        self.files[path] = content
