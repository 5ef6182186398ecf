"""Features as other tools' files describe them, before they become a corpus and a summary."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from generator.errors import FeaturebookError
from generator.publish.exchange.shapes import Reading


@dataclass(frozen=True)
class Interval:
    """A range of activations from which examples were drawn."""

    low: float
    high: float
    share: float
    """Of all tokens, inside it; NaN when not known."""


TOP = -1.0
"""``bin_min`` and ``bin_contains`` of the strongest examples, which belong to no interval."""


def interval_of(low: float, high: float, share: float) -> Interval | None:
    """The interval of an example by SAEDashboard's convention; None for the group of the strongest."""
    if low == TOP and share == TOP:
        return None
    return Interval(low, high, share if 0 <= share <= 1 else math.nan)


@dataclass(frozen=True)
class ForeignExample:
    """A run of tokens with one value each."""

    tokens: tuple[str, ...]
    values: tuple[float, ...]
    peak: int
    """Index of the token that it is an example for."""

    @property
    def value(self) -> float:
        """The activation at the peak."""
        return self.values[self.peak]


@dataclass
class ForeignFeature:
    """One feature, as far as a file tells it."""

    index: int
    layer: int
    """−1 where it belongs to no numbered layer."""
    set_name: str
    """Of the dictionary: ``res-jb``."""
    density: float = math.nan
    maximum: float = math.nan
    n_tokens: int = 0
    """Tokens behind the statistics; 0 when not known."""
    histogram: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    """Centres of bins of equal width, and counts."""
    correlated: list[tuple[int, float]] = field(default_factory=list)
    """Index of another feature of the set, and Pearson's r."""
    top: list[ForeignExample] = field(default_factory=list)
    by_interval: dict[tuple[float, float], tuple[Interval, list[ForeignExample]]] = field(
        default_factory=dict
    )

    def add(self, example: ForeignExample, interval: Interval | None) -> None:
        """Takes an example; ``None`` is the group of the strongest."""
        if interval is None:
            self.top.append(example)
        else:
            self.by_interval.setdefault((interval.low, interval.high), (interval, []))[1].append(example)

    @property
    def examples(self) -> list[ForeignExample]:
        """All examples."""
        return [*self.top, *(e for _, examples in self.by_interval.values() for e in examples)]

    @property
    def largest(self) -> float:
        """The maximum that the file gives, else the largest peak."""
        if math.isfinite(self.maximum):
            return self.maximum
        return max((e.value for e in self.examples if math.isfinite(e.value)), default=math.nan)


@dataclass(frozen=True)
class ForeignSet:
    """Everything that was read."""

    format: str
    features: list[ForeignFeature]
    facts: dict[str, Any]
    """``model`` and ``dataset``, as the files name them."""


def example_from(entry: Reading, tokens: str, values: str, peak: int | None) -> ForeignExample:
    """An example from the fields of these names; without a peak, the value of largest size is it.

    Raises:
        FeaturebookError: lists of unequal or no length, a peak outside them.
    """
    texts, numbers = entry.strings(tokens), entry.numbers(values)
    if len(texts) != len(numbers) or not texts:
        raise FeaturebookError(
            f"{entry.where}: found {len(texts)} {tokens!r} and {len(numbers)} {values!r}, expected as many of both, and one or more."
        )
    if peak is None or peak < 0:
        peak = int(np.argmax(np.abs(np.nan_to_num(numbers))))
    if peak >= len(texts):
        raise FeaturebookError(
            f"{entry.where}: the chosen token has index {peak}, expected less than {len(texts)}."
        )
    return ForeignExample(tuple(texts), tuple(numbers), peak)


def group_name(feature: ForeignFeature, interval: Interval) -> str:
    """``bottom``, ``random``, ``+`` or ``-`` for an interval.

    An interval that ends at zero from below holds everything negative; one that covers the whole range is a draw from
    everything; any other is a band.
    """
    if interval.high <= 0 and interval.low < 0:
        return "-" if interval.high < 0 else "bottom"
    reaches_top = interval.high >= feature.largest * (1 - 1e-4)
    if interval.low < 0 or (interval.low == 0 and reaches_top):
        return "random"
    return "+"
