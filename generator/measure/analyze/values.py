"""What every metric returns: a number with its n, or the reason why there is none; and how it was computed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Value:
    """One number of one metric. Never NaN: an undefined value has a reason instead."""

    value: float | None
    n: int
    """What it was computed from: tokens, rows of attention, pairs, as the metric says."""
    reason: str = ""
    """Why ``value`` is None: ``undefined (n = 1)``."""

    def as_json(self) -> dict[str, Any]:
        """For tables and pages."""
        return {"value": self.value, "n": self.n} | ({"reason": self.reason} if self.reason else {})


def defined(value: float, n: int) -> Value:
    """A value that is a number; one that is not finite becomes undefined."""
    return Value(float(value), n) if math.isfinite(value) else undefined("the result is not finite", n)


def undefined(why: str, n: int) -> Value:
    """No value: ``why`` says in a few words what is missing."""
    return Value(None, n, f"undefined ({why})")


def mean_of(total: float, n: int, *, missing: str = "n = 0") -> Value:
    """``total / n``, undefined without observations."""
    return defined(total / n, n) if n else undefined(missing, 0)


@dataclass(frozen=True)
class Curve:
    """One metric over the layers of one model."""

    metric: str  # "effective_rank"
    values: list[Value]
    """One per layer; index 0 is the input of the first layer, the last is the output of the last layer."""
    method: dict[str, Any] = field(default_factory=dict)
    """Convention, source, residual point, positions, dtype, centring: what one must know to quote a value."""

    def as_json(self) -> dict[str, Any]:
        """For tables and pages."""
        return {
            "metric": self.metric,
            "values": [value.as_json() for value in self.values],
            "method": self.method,
        }


@dataclass(frozen=True)
class Matrix:
    """One metric for every pair of layers, or every layer and head."""

    metric: str  # "debiased_cka"
    values: list[list[Value]]
    axes: tuple[str, str]  # ("layer", "head")
    method: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For tables and pages."""
        rows = [[value.as_json() for value in row] for row in self.values]
        return {"metric": self.metric, "axes": list(self.axes), "values": rows, "method": self.method}


def correlations(curves: Sequence[Curve]) -> Matrix:
    """Pearson correlation over layers between metrics, over the layers at which both are defined."""
    rows = [[_pearson(a, b) for b in curves] for a in curves]
    names = [curve.metric for curve in curves]
    return Matrix("metric_correlation", rows, ("metric", "metric"), {"metrics": names, "n": "layers"})


def _pearson(a: Curve, b: Curve) -> Value:
    pairs = [
        (x.value, y.value) for x, y in zip(a.values, b.values) if x.value is not None and y.value is not None
    ]
    n = len(pairs)
    if n < 3:
        return undefined(f"{n} layers with both", n)
    mean_x, mean_y = (sum(column) / n for column in zip(*pairs))
    xx = sum((x - mean_x) ** 2 for x, _ in pairs)
    yy = sum((y - mean_y) ** 2 for _, y in pairs)
    if not xx or not yy:
        return undefined("constant over the layers", n)
    xy = sum((x - mean_x) * (y - mean_y) for x, y in pairs)
    return defined(max(-1.0, min(1.0, xy / math.sqrt(xx * yy))), n)


def normalised(curve: Curve) -> Curve:
    """The curve scaled so that its smallest value is 0 and its largest 1, for one heatmap of several metrics."""
    known = [value.value for value in curve.values if value.value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)

    def scale(value: Value) -> Value:
        if value.value is None:
            return value
        if high == low:
            return undefined("constant over the layers", value.n)
        return defined((value.value - low) / (high - low), value.n)

    return Curve(
        curve.metric, [scale(v) for v in curve.values], curve.method | {"scaled": "minimum 0, maximum 1"}
    )
