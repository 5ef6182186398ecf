"""Rows of a corpus, one dict each, from wherever they lie. Nothing here knows about tokens."""

import glob
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from generator.config import CorpusTable
from generator.errors import FeaturebookError

TEXT_SUFFIXES = (".txt", ".md", ".text", ".rst")
TABLE_SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet")


@dataclass(frozen=True)
class Row:
    """One row of the source."""

    where: str
    """For messages: ``corpus.jsonl:12``."""
    fields: dict[str, Any]
    """Column name -> value. Rows of a text folder have ``text`` and ``name``."""


def read_rows(table: CorpusTable, *, is_sample: bool = False) -> Iterator[Row]:
    """All rows of the source, one at a time, in a fixed order.

    Args:
        table: ``[corpus]`` of the run file.
        is_sample: Only the first rows will be read: a hub data set is streamed instead of downloaded whole.

    Raises:
        FeaturebookError: the source is missing, empty of files, or malformed (file and line are named).
    """
    files = local_files(table.source)
    for path in files:
        yield from _read_file(path, root=Path(table.source))
    if not files:
        yield from _read_dataset(table, is_sample)


def local_files(source: str) -> list[Path]:
    """The files that a source on this machine stands for, in sorted order; none when it is a hub id.

    Raises:
        FeaturebookError: it is plainly a path, but nothing is there.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        return _files_of_folder(path)
    if "*" in source or "?" in source:
        found = sorted(Path(match) for match in glob.glob(str(path), recursive=True) if Path(match).is_file())
        if not found:
            raise FeaturebookError(f"No file matches corpus.source = {source!r}. Check the path of the glob.")
        return found
    if (
        path.is_absolute()
        or source.startswith((".", "~"))
        or path.suffix in (*TEXT_SUFFIXES, *TABLE_SUFFIXES)
    ):
        raise FeaturebookError(
            f"corpus.source = {source!r} does not exist. Give a .jsonl, .json or .parquet file, a folder of text "
            "files, or the id of a Hugging Face dataset."
        )
    return []


def _files_of_folder(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    for suffixes in (TABLE_SUFFIXES, TEXT_SUFFIXES):
        chosen = [p for p in files if p.suffix.lower() in suffixes]
        if chosen:
            return chosen
    if not files:
        raise FeaturebookError(f"corpus.source = {str(folder)!r} is an empty folder. Put text files into it.")
    return files


def _read_file(path: Path, root: Path) -> Iterator[Row]:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from _read_parquet(path)
    elif suffix == ".json":
        yield from _read_json(path)
    elif suffix in (".jsonl", ".ndjson"):
        yield from _read_json_lines(path)
    else:
        name = str(path.relative_to(root)) if root.is_dir() else path.name
        yield Row(name, {"text": path.read_bytes().decode("utf-8", "replace"), "name": name})


def _read_json_lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _row(f"{path.name}:{number}", _parse(line, path, number))


def _parse(line: bytes, path: Path, number: int) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass
    try:  # the standard library reads what orjson refuses: lone surrogates, NaN, very long integers
        return json.loads(line.decode("utf-8", "replace"))
    except json.JSONDecodeError as error:
        raise FeaturebookError(
            f"{path}:{number} is not valid JSON ({error.msg}, column {error.colno}). A .jsonl file holds one JSON "
            "object per line: correct or remove this line."
        ) from None


def _read_json(path: Path) -> Iterator[Row]:
    """A list of objects, an object that holds one such list, or JSON lines under a wrong name."""
    try:
        whole = json.loads(path.read_bytes().decode("utf-8", "replace"))
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            yield from _read_json_lines(path)
            return
        raise FeaturebookError(
            f"{path}:{error.lineno} is not valid JSON ({error.msg}). Correct this line."
        ) from None
    if isinstance(whole, dict):
        lists = [value for value in whole.values() if isinstance(value, list)]
        whole = lists[0] if len(lists) == 1 else [whole]
    for number, item in enumerate(whole if isinstance(whole, list) else [whole], start=1):
        yield _row(f"{path.name}[{number}]", item)


def _row(where: str, value: Any) -> Row:
    if isinstance(value, str):
        value = {"text": value}
    if not isinstance(value, dict):
        raise FeaturebookError(
            f"{where} holds {type(value).__name__}, not an object. Every row must be an object such as "
            '{"text": "…"}.'
        )
    return Row(where, value)


def _read_parquet(path: Path) -> Iterator[Row]:
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=256):
                for fields in batch.to_pylist():
                    number += 1
                    yield Row(f"{path.name}[{number}]", fields)
    except (ArrowException, OSError) as error:
        raise FeaturebookError(
            f"{path} cannot be read as Parquet ({error}). Write it anew; an interrupted copy is a frequent cause."
        ) from error


def _read_dataset(table: CorpusTable, is_sample: bool) -> Iterator[Row]:
    """A data set of the hub, or of its local cache."""
    from datasets import load_dataset

    try:
        rows = load_dataset(
            table.source, table.config_name, split=table.split, revision=table.revision, streaming=is_sample
        )
    except Exception as error:  # its exceptions come from six libraries; none of them says what to do here
        raise FeaturebookError(
            f"The data set {table.source!r} (split {table.split!r}) cannot be loaded: "
            f"{type(error).__name__}: {_first_line(error)}. Check corpus.source, split and config_name, and the network; "
            "run the same command again after an interrupted download. A file or folder of your own works without "
            'a network: corpus.source = "texts.jsonl".'
        ) from error
    for number, fields in enumerate(rows):
        yield Row(f"{table.source}[{number}]", dict(fields))


def estimate_rows(table: CorpusTable, mean_row_bytes: float) -> int | None:
    """About how many rows the source has, without reading it; None for a data set of the hub.

    Args:
        table: ``[corpus]`` of the run file.
        mean_row_bytes: Mean size of the rows seen so far, as JSON.
    """
    files = local_files(table.source)
    if not files:
        return None
    total = 0.0
    for path in files:
        if path.suffix.lower() == ".parquet":
            from pyarrow import parquet

            total += parquet.read_metadata(path).num_rows
        elif path.suffix.lower() in TABLE_SUFFIXES:
            total += path.stat().st_size / max(mean_row_bytes, 1)
        else:
            total += 1
    return round(total)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300]
