"""What a shard must say, recomputed the slow way from every value: an oracle that shares no code with the package."""

import math
from collections import defaultdict
from typing import Any

import numpy as np

SIX_DIGITS = 5.1e-6
"""Relative error of a derived number in a shard: six significant digits (docs/shards.md)."""


def ranked(values: np.ndarray, doc: np.ndarray, position: np.ndarray, *, largest: bool) -> list[int]:
    """All tokens from the best, ties by document and position."""
    sign = -1.0 if largest else 1.0
    return sorted(range(len(values)), key=lambda i: (sign * float(values[i]), int(doc[i]), int(position[i])))


def top(
    values: np.ndarray,
    doc: np.ndarray,
    position: np.ndarray,
    *,
    k: int,
    context: int,
    per_document: int,
    largest: bool,
) -> list[tuple[int, int, float]]:
    """(document, position, value) of the k best tokens, at most ``per_document`` of a document, further than ``context`` apart; none from a 0 on."""
    taken: list[tuple[int, int, float]] = []
    by_doc: dict[int, list[int]] = defaultdict(list)
    for i in ranked(values, doc, position, largest=largest):
        if values[i] == 0:
            break
        d, p = int(doc[i]), int(position[i])
        if per_document and (
            len(by_doc[d]) >= per_document or any(abs(p - other) <= context for other in by_doc[d])
        ):
            continue
        by_doc[d].append(p)
        taken.append((d, p, float(values[i])))
        if len(taken) == k:
            break
    return taken


def assert_shard_is_true(
    shard: dict[str, Any],
    values: np.ndarray,
    corpus: Any,
    settings: Any,
    *,
    is_measured: np.ndarray | None = None,
    rtol: float = 1e-9,
    value_error: float = 0.0,
) -> None:
    """Compares every number of a channel's shard with the values of all its tokens.

    Args:
        shard: The parsed JSON.
        values: float32 of shape (token,), the channel over the whole corpus.
        corpus: The corpus that the shard's run read.
        settings: The run's [summarize] table.
        is_measured: Mask of the tokens that count; the corpus's own when None.
        rtol: Relative tolerance of statistics.
        value_error: How far extraction's values may lie from ``values`` (rounding of another code path); ties
            and bin edges are then compared up to it.
    """
    mask = (corpus.is_measured if is_measured is None else is_measured) & np.isfinite(values)
    x = values[mask].astype(np.float64)
    doc, position, token = corpus.doc[mask], corpus.position[mask], corpus.token_ids[mask]
    stats = shard["stats"]
    assert stats["n_tokens"] == len(x)
    close = {"rtol": max(rtol, 1e-6 if value_error else 0), "atol": value_error + 1e-12 * np.abs(x).max()}
    np.testing.assert_allclose(
        [stats["min"], stats["max"], stats["mean"]], [x.min(), x.max(), x.mean()], **close
    )
    deviation = x - x.mean()
    m2, m3, m4 = (float(np.mean(deviation**p)) for p in (2, 3, 4))
    np.testing.assert_allclose(stats["std"], math.sqrt(m2), **close)
    if m2 > 1e-12 * float(np.mean(x**2)):
        loose = {"rtol": 1e-6 if not value_error else 1e-2, "atol": 1e-6 if not value_error else 1e-2}
        np.testing.assert_allclose(stats["skewness"], m3 / m2**1.5, **loose)
        np.testing.assert_allclose(stats["kurtosis"], m4 / m2**2 - 3, **loose)
    active = np.abs(x) > stats["threshold"]
    unsure = np.mean(np.abs(np.abs(x) - stats["threshold"]) <= value_error) if value_error else 0
    assert abs(stats["density"] - active.mean()) <= unsure + 1e-12
    near_zero = np.mean(np.abs(x) <= value_error) if value_error else 0
    assert abs(stats["share_positive"] - (x > 0).mean()) <= near_zero + 1e-12
    assert abs(stats["share_negative"] - (x < 0).mean()) <= near_zero + 1e-12
    _assert_quantiles(stats["quantiles"], x, value_error)
    _assert_histogram(shard["histogram"], x, value_error)
    _assert_top(shard, x, doc, position, settings, value_error)
    _assert_windows(shard, values, corpus)
    _assert_tokens(shard, x, token, settings, value_error)


def _assert_quantiles(quantiles: dict[str, float], x: np.ndarray, value_error: float) -> None:
    """The stated error of a quantile is one fine bin, a 64th of its value; ranks between neighbours may differ."""
    for level, got in quantiles.items():
        low = float(np.quantile(x, float(level), method="lower"))
        high = float(np.quantile(x, float(level), method="higher"))
        slack = value_error + 1e-9
        assert low - abs(low) / 64 - slack <= got <= high + abs(high) / 64 + slack, (level, got, low, high)


def _assert_histogram(histogram: dict[str, list[float]], x: np.ndarray, value_error: float) -> None:
    edges, counts = np.array(histogram["edges"]), np.array(histogram["counts"])
    assert len(counts) <= 100
    assert counts.sum() == len(x)
    want = np.zeros(len(counts), np.int64)
    for value in x:  # the bins of negative values are closed on the side away from zero
        i = (
            np.searchsorted(edges, value, side="right") - 1
            if value >= 0
            else np.searchsorted(edges, value, side="left") - 1
        )
        if value < 0 and value == edges[0]:
            i = 0
        want[min(max(int(i), 0), len(counts) - 1)] += 1
    if value_error:
        unsure = sum(int(np.sum(np.abs(x - edge) <= value_error)) for edge in edges)
        assert np.abs(want - counts).sum() <= 2 * unsure
    else:
        np.testing.assert_array_equal(counts, want)


def _assert_top(
    shard: dict[str, Any],
    x: np.ndarray,
    doc: np.ndarray,
    position: np.ndarray,
    settings: Any,
    value_error: float,
) -> None:
    for group, largest in (("top", True), ("bottom", False)):
        got = [(e["doc"], e["position"], e["value"]) for e in shard["examples"] if e["group"] == group]
        if not shard["is_signed"] and not largest:
            assert got == []
            continue
        want = top(
            x,
            doc,
            position,
            k=settings.k,
            context=settings.context,
            per_document=settings.per_document,
            largest=largest,
        )
        assert len(got) == len(want)
        np.testing.assert_allclose([g[2] for g in got], [w[2] for w in want], rtol=1e-6, atol=value_error)
        if not value_error:
            assert [g[:2] for g in got] == [w[:2] for w in want]


def _assert_windows(shard: dict[str, Any], values: np.ndarray, corpus: Any) -> None:
    for example in shard["examples"]:
        tokens = corpus.tokens_of(example["doc"])
        rows = slice(
            tokens.start + example["start"], tokens.start + example["start"] + len(example["token_ids"])
        )
        assert rows.stop <= tokens.stop
        np.testing.assert_array_equal(example["token_ids"], corpus.token_ids[rows])
        shown = np.array([np.nan if v is None else v for v in example["values"]], np.float64) * shard["scale"]
        np.testing.assert_allclose(shown, values[rows], atol=shard["scale"] * 0.5001 + 1e-5, rtol=0)
        assert 0 <= example["position"] - example["start"] < len(example["token_ids"])


def _assert_tokens(
    shard: dict[str, Any], x: np.ndarray, token: np.ndarray, settings: Any, value_error: float
) -> None:
    sums: dict[int, list[float]] = defaultdict(list)
    for value, t in zip(x, token):
        sums[int(t)].append(float(value))
    means = {t: (math.fsum(v) / len(v), len(v)) for t, v in sums.items() if len(v) >= settings.min_count}
    means = {t: found for t, found in means.items() if found[0] != 0}
    for side, sign in (("top_tokens", -1), ("bottom_tokens", 1)):
        want = sorted((sign * mean, t) for t, (mean, _) in means.items())[: settings.top_tokens]
        got = shard[side]
        if not got and not shard["is_signed"]:
            continue
        np.testing.assert_allclose(
            [g["mean"] for g in got], [sign * w[0] for w in want], rtol=SIX_DIGITS, atol=value_error + 1e-9
        )
        for g in got:
            assert g["count"] == means[g["token_id"]][1]
            want_mean = means[g["token_id"]][0]
            assert math.isclose(g["mean"], want_mean, rel_tol=SIX_DIGITS, abs_tol=value_error + 1e-9)
