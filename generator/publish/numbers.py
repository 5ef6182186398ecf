"""How numbers are written for people: three significant digits, the same everywhere."""

import math

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
    mantissa, exponent = f"{abs(value):.2e}".split("e")
    power = int(exponent)
    if -4 < power < 6:
        rounded = float(f"{mantissa}e{power}")
        text = f"{rounded:,.{max(0, 2 - power)}f}"
    else:
        text = f"{mantissa} × 10{str(power).translate(_SUPERSCRIPT)}"
    return "−" + text if value < 0 else text


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
