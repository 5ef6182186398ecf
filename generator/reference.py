"""Writes the reference part of docs/run-file.md from the options' own docstrings: ``python -m generator.reference``."""

from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from generator.config import RunConfig, nested_table

MARKER = "<!-- Everything below is written by `python -m generator.reference`. -->"
PAGE = Path(__file__).parents[1] / "docs" / "run-file.md"


def run_file_reference() -> str:
    """Every option of the run file as Markdown tables: name, type, default, meaning."""
    parts = ["\n## Top level\n\nKeys that stand before the first table.\n", _options(RunConfig)]
    for table in _tables(RunConfig):
        title, _, rest = (table.__doc__ or "").partition(": ")
        parts.append(f"\n## {title.replace('``', '`')}\n\n{rest[:1].upper()}{rest[1:]}\n")
        parts.append(_options(table))
    return "\n".join(parts)


def _tables(model: type[BaseModel]) -> list[type[BaseModel]]:
    """All tables inside a table, each followed by its own."""
    found = []
    for option in model.model_fields.values():
        table = nested_table(option.annotation)
        if table:
            found += [table, *_tables(table)]
    return found


def _options(model: type[BaseModel]) -> str:
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, option in model.model_fields.items():
        if not nested_table(option.annotation):
            meaning = " ".join((option.description or "").split()).replace("``", "`").replace("|", "\\|")
            rows.append(f"| `{name}` | {_type(option.annotation)} | {_default(option)} | {meaning} |")
    return "\n".join([*rows, ""])


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_type(a) for a in arguments if a is not type(None))
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return "table"
    if origin is not None:
        return _type(arguments[0])
    return {str: "string", int: "integer", float: "number", bool: "boolean"}.get(annotation, str(annotation))


def _default(option: FieldInfo) -> str:
    if option.default is PydanticUndefined:
        return "required"
    if option.default is None:
        return "–"
    if option.default == {}:
        return "`{}`"
    if isinstance(option.default, bool):
        return f"`{str(option.default).lower()}`"
    return f"`{option.default!r}`".replace("'", '"')


def main() -> None:
    """Rewrites the reference part of the page and leaves the hand-written part alone."""
    hand_written = PAGE.read_text(encoding="utf-8").partition(MARKER)[0]
    PAGE.write_text(f"{hand_written}{MARKER}\n{run_file_reference()}", encoding="utf-8")


if __name__ == "__main__":
    main()
