"""Settings that lie beside tensors, as somebody else wrote them: each value is checked where it is read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from generator.errors import FeaturebookError
from generator.measure.dictionaries.tensors import listing


@dataclass(frozen=True)
class Settings:
    """A JSON object, or a dict inside a ``.pt`` file. A value of null counts as absent."""

    where: str
    """How messages call it: a path, or ``config in`` a path."""
    values: dict[str, Any]

    def whole(self, name: str, default: int | None = None, least: int = 1) -> int:
        """A whole number of at least ``least``.

        Raises:
            FeaturebookError: something else, or absent without a default.
        """
        value = self._get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self._wrong(name, f"a whole number of at least {least}")
        return value

    def number(self, name: str, default: float) -> float:
        """A finite number.

        Raises:
            FeaturebookError: something else.
        """
        value = self._get(name, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < float("inf"):
            raise self._wrong(name, "a number")
        return float(value)

    def text(self, name: str, default: str = "") -> str:
        """A string.

        Raises:
            FeaturebookError: something else.
        """
        value = self._get(name, default)
        if not isinstance(value, str):
            raise self._wrong(name, "a string")
        return value

    def names(self, name: str) -> list[str]:
        """A list of strings, empty when it is absent.

        Raises:
            FeaturebookError: something else.
        """
        value = self._get(name, [])
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise self._wrong(name, "a list of strings")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """True or false.

        Raises:
            FeaturebookError: something else.
        """
        value = self._get(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def part(self, name: str) -> "Settings":
        """The object under a name; an empty one when it is absent.

        Raises:
            FeaturebookError: something else.
        """
        value = self._get(name, {})
        if not isinstance(value, dict):
            raise self._wrong(name, "an object")
        return Settings(f"{name} in {self.where}", value)

    def _get(self, name: str, default: Any) -> Any:
        value = self.values.get(name)
        return default if value is None else value

    def _wrong(self, name: str, expected: str) -> FeaturebookError:
        return FeaturebookError(
            f"{self.where} has {name} = {repr(self.values.get(name))[:80]}; expected {expected}."
        )


def read_settings(path: Path) -> Settings:
    """A JSON file that must hold an object.

    Raises:
        FeaturebookError: missing, not JSON, not an object.
    """
    try:
        value = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        raise FeaturebookError(
            f"{path} is missing. Files there: {listing(path.parent)}. Is the format right?"
        ) from None
    except orjson.JSONDecodeError as error:
        raise FeaturebookError(f"{path} is not valid JSON ({error}).") from None
    if not isinstance(value, dict):
        raise FeaturebookError(f"{path} holds a {type(value).__name__}; expected an object.")
    return Settings(str(path), value)
