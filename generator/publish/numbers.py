"""How numbers are written for people: three significant digits, the same everywhere."""

import math
from decimal import ROUND_HALF_UP, Context
from typing import Any

import numpy as np

UNDEFINED = "–"
"""Shown where a number is not defined."""


def three_digits(value: float | None) -> str:
    """A number with three significant digits; a true minus sign, never a minus zero.

    >>> three_digits(-0.01234), three_digits(98412.0), three_digits(None), three_digits(-0.0)
    ('−0.0123', '98,400', '–', '0')
    """
    if value is None or not math.isfinite(value):
        return UNDEFINED
    if value == 0:
        return "0"
    rounded = _THREE_DIGITS.create_decimal_from_float(abs(value))
    power = rounded.adjusted()
    if -4 < power < 6:
        text = f"{rounded:,.{max(0, 2 - power)}f}"
    else:
        text = f"{rounded.scaleb(-power):.2f} × 10{str(power).translate(_SUPERSCRIPT)}"
    return "−" + text if value < 0 else text


_THREE_DIGITS = Context(prec=3, rounding=ROUND_HALF_UP)
"""A tie, as in 1.125, goes up, as in the browser."""

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def percent(share: float | None) -> str:
    """A share of one as a percentage.

    >>> percent(0.02314)
    '2.31 %'
    """
    return UNDEFINED if share is None or not math.isfinite(share) else f"{three_digits(100 * share)} %"


def count(n: int | None) -> str:
    """An exact count with separators."""
    return UNDEFINED if n is None else f"{n:,}".replace("-", "−")


def significant(value: float | None, digits: int = 6) -> float | None:
    """A number rounded to some significant digits, for tables that would be large; None when not finite."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.{digits}g}")


def rounded(value: Any, digits: int | None) -> Any:
    """JSON with every number that is not whole rounded to some significant digits; as it is when None."""
    if digits is None:
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        value = value.tolist()
    if isinstance(value, dict):
        return {name: rounded(part, digits) for name, part in value.items()}
    if isinstance(value, list):
        return [rounded(part, digits) for part in value]
    return significant(value, digits) if isinstance(value, float) else value
