"""Numbers for people."""

import doctest
import math

import pytest

from generator.publish import numbers
from generator.publish.numbers import count, percent, significant, three_digits


def test_docstrings_are_true() -> None:
    assert doctest.testmod(numbers).failed == 0


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (-1e-9, "−1.00 × 10⁻⁹"),
        (0.000999, "9.99 × 10⁻⁴"),
        (0.00123, "0.00123"),
        (0.99951, "1.00"),
        (9.995, "9.99"),
        (99.96, "100"),
        (123.4, "123"),
        (1234.0, "1,230"),
        (-98765.0, "−98,800"),
        (1234567.0, "1.23 × 10⁶"),
        (math.nan, "–"),
        (math.inf, "–"),
        (None, "–"),
    ],
)
def test_three_significant_digits(value: float | None, shown: str) -> None:
    assert three_digits(value) == shown


def test_shares_and_counts() -> None:
    assert (percent(0.5), percent(0.0), percent(None), percent(1.0)) == ("50.0 %", "0 %", "–", "100 %")
    assert (count(98412), count(0), count(None)) == ("98,412", "0", "–")


def test_six_digits_are_within_half_a_unit() -> None:
    assert significant(math.pi * 1e-7) == 3.14159e-7
    assert significant(math.nan) is None
    assert significant(-2.0) == -2.0
