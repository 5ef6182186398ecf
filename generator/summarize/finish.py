"""From accumulated statistics to the summary."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from generator.blocks import Directions
from generator.summaries import ByToken, Profile, Ragged, Summary
from generator.summarize.accumulator import Accumulator
from generator.summarize.bands import Band, BandEdges, band_edges, band_examples, bands_of
from generator.summarize.cosines import cosine_matrices, direction_neighbours
from generator.summarize.firing import StrongestByToken
from generator.summarize.histogram import Counts
from generator.summarize.neighbours import PAIR_KINDS, in_order
from generator.summarize.pairs import Pairs
from generator.summarize.tokens import TOKEN_CLASSES, TokenMeans, extreme_tokens
from generator.summarize.view import Scope, float64_mean

QUANTILE_LEVELS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)

_COSINES = ("read_cosine", "write_cosine")


def finish(accumulator: Accumulator, directions: list[Directions], facts: dict[str, Any]) -> Summary:
    """The summary of everything the accumulator has seen.

    Args:
        accumulator: All blocks of the run.
        directions: Read and write vectors by space, for cosines and neighbours.
        facts: Of the model and adapter; passed on.
    """
    scope, kinds = accumulator.scope, accumulator.statistics
    with np.errstate(invalid="ignore", divide="ignore"):
        counts: Counts = kinds["histogram"].result()
        statistics = _statistics(accumulator, counts)
        histogram = counts.shown()
        bands = bands_of(scope)
        edges = band_edges(counts, bands, scope, {1: statistics["max"], -1: statistics["min"]})
        groups = _groups(scope, bands)
        examples, example_values = _examples(accumulator, groups, bands, edges, counts.has_zero())
        rms = np.hypot(statistics["mean"], statistics["std"])
        top_tokens, bottom_tokens, by_token, token_classes = _tokens(kinds["tokens"], rms, scope)
        neighbours, notes = _neighbours(kinds["pairs"], directions, scope)
        cosines, cosine_notes = cosine_matrices(directions, scope.channels)
        levels = np.array(QUANTILE_LEVELS)
        return Summary(
            channels=list(scope.channels),
            facts=facts,
            settings=scope.settings.model_dump(),
            statistics=statistics,
            quantile_levels=levels,
            quantiles=counts.quantiles(levels, statistics["min"], statistics["max"]),
            histogram_step=histogram.step,
            histogram_first=histogram.first,
            histogram=Ragged(histogram.offsets, {"count": histogram.count}),
            groups=groups,
            bands={name: getattr(edges, name) for name in ("low", "high", "count")},
            examples=examples,
            example_values=example_values,
            top_tokens=top_tokens,
            bottom_tokens=bottom_tokens,
            by_token=by_token,
            profiles=_profiles(kinds["profiles"].result()) | {"token_class": token_classes},
            neighbours=neighbours,
            cosines=cosines,
            documents=kinds["documents"].state(),
            shared=[shared] if (shared := kinds["values"].result(scope)) else [],
            notes=notes + cosine_notes,
        )


def ragged(channel: Int[np.ndarray, " n"], n_channels: int, columns: dict[str, np.ndarray]) -> Ragged:
    """Columns sorted by channel, with the offsets of each channel."""
    return Ragged(np.searchsorted(channel, np.arange(n_channels + 1)), columns)


def _statistics(accumulator: Accumulator, counts: Counts) -> dict[str, np.ndarray]:
    kinds = accumulator.statistics
    statistics = kinds["moments"].result()
    n = statistics["n_tokens"]
    return statistics | {
        "share_positive": float64_mean(counts.positive().astype(np.float64), n),
        "share_negative": float64_mean(counts.negative().astype(np.float64), n),
        "share_active": float64_mean(kinds["activity"].n_active.astype(np.float64), n),
        "n_documents": kinds["activity"].n_documents,
    }


def _groups(scope: Scope, bands: list[Band]) -> list[str]:
    sides = ["top", "bottom"] if scope.is_signed.any() else ["top"]
    return [*sides, *(b.group for b in bands), "random"]


def _examples(
    accumulator: Accumulator,
    groups: list[str],
    bands: list[Band],
    edges: BandEdges,
    has_zero: np.ndarray,
) -> tuple[Ragged, np.ndarray]:
    """All example lists, sorted by channel, group and rank, and their windows one after another."""
    parts = [*_extremes(accumulator, groups, has_zero), *_sampled(accumulator, groups, bands, edges)]
    channel, group, token, value = (np.concatenate([p[i] for p in parts]) for i in range(4))
    window = np.concatenate([p[4] for p in parts])
    order = np.lexsort((np.arange(len(channel)), group, channel))  # parts come in order of rank
    return _windows(
        accumulator.scope, channel[order], group[order], token[order], value[order], window[order]
    )


def _extremes(
    accumulator: Accumulator, groups: list[str], has_zero: np.ndarray
) -> list[tuple[np.ndarray, ...]]:
    """The lists of both sides; one ends where a 0 would follow."""
    parts: list[tuple[np.ndarray, ...]] = []
    for side, sign in (("top", 1), ("bottom", -1)):
        if side in groups:
            r = accumulator.statistics[side].result()
            kept = np.flatnonzero(~has_zero[r.channel] | (sign * r.value > 0))
            index = np.full(len(kept), groups.index(side))
            parts.append((r.channel[kept], index, r.token[kept], r.value[kept], r.window[kept]))
    return parts


def _sampled(
    accumulator: Accumulator, groups: list[str], bands: list[Band], edges: BandEdges
) -> list[tuple[np.ndarray, ...]]:
    samples = accumulator.statistics["samples"]
    strata, random = samples.strata(), samples.random()
    picked = band_examples(strata, bands, edges, accumulator.scope)
    rows = np.concatenate([np.zeros(0, np.int64), *picked])
    channel = strata.channel[rows]
    first = groups.index("random") - len(bands)
    group = np.repeat(first + np.arange(len(bands)), [len(p) for p in picked])
    last = np.full(len(random.channel), groups.index("random"))
    return [
        (channel, group, strata.token[rows], strata.value[rows], strata.window[rows]),
        (random.channel, last, random.token, random.value, random.window),
    ]


def _windows(
    scope: Scope,
    channel: np.ndarray,
    group: np.ndarray,
    token: np.ndarray,
    value: np.ndarray,
    window: np.ndarray,
) -> tuple[Ragged, np.ndarray]:
    """Clips the windows to their documents."""
    corpus, context = scope.corpus, scope.settings.context
    doc, position = corpus.doc[token].astype(np.int64), corpus.position[token].astype(np.int64)
    n_tokens = np.diff(corpus.doc_offsets)[doc]
    start = np.maximum(position - context, 0)
    length = np.minimum(position + context + 1, n_tokens) - start
    at = np.arange(2 * context + 1)
    skipped = (start - position + context)[:, None]
    inside = (at >= skipped) & (at < skipped + length[:, None])
    columns = {
        "group": group,
        "doc": doc,
        "position": position,
        "value": value,
        "start": start,
        "length": length,
        "values_at": np.cumsum(length) - length,
    }
    return ragged(channel, scope.n_channels, columns), window[inside]


def _tokens(
    means: TokenMeans, rms: Float[np.ndarray, " channel"], scope: Scope
) -> tuple[Ragged, Ragged, ByToken, Profile]:
    found = means.result()
    strongest = StrongestByToken(len(scope.corpus.token_bytes), scope.settings.token_channels)
    sides: dict[int, list[dict[str, np.ndarray]]] = {1: [], -1: []}
    for c in range(scope.n_channels):
        ids, sums, counts = found.of(c)
        mean = float64_mean(sums, counts)
        is_listed = (mean != 0) if scope.is_signed[c] else (mean > 0)
        strongest.add(c, ids[is_listed], mean[is_listed], float(rms[c]))
        mean = np.where(is_listed & (counts >= scope.settings.min_count), mean, np.nan)
        for sign, lists in sides.items():
            is_wanted = sign > 0 or scope.is_signed[c]
            best = extreme_tokens(ids, sign * mean, counts, int(scope.settings.top_tokens * is_wanted))
            lists.append(best | {"mean": sign * best["mean"]})
    mean, count = found.by_class(scope)
    classes = Profile(list(TOKEN_CLASSES), mean, count)
    return _stack(sides[1]), _stack(sides[-1]), strongest.result(), classes


def _stack(lists: list[dict[str, np.ndarray]]) -> Ragged:
    offsets = np.cumsum([0, *(len(part["token_id"]) for part in lists)], dtype=np.int64)
    nothing = {"token_id": np.zeros(0, np.int64), "mean": np.zeros(0), "count": np.zeros(0, np.int64)}
    parts = lists or [nothing]  # a run without channels has no list
    return Ragged(offsets, {name: np.concatenate([part[name] for part in parts]) for name in nothing})


def _profiles(results: dict[str, tuple[list[str], np.ndarray, np.ndarray]]) -> dict[str, Profile]:
    return {name: Profile(*result) for name, result in results.items()}


def _neighbours(
    pairs: Pairs, directions: Sequence[Directions], scope: Scope
) -> tuple[dict[str, Ragged], list[str]]:
    limit, notes = scope.settings.neighbours, []
    lists = {side: direction_neighbours(directions, side.split("_")[0], limit) for side in _COSINES}
    nearest = [part.nearest(limit) for part in pairs.parts.values()]
    for kind in PAIR_KINDS:
        lists[kind] = in_order([found for of_part in nearest for found in of_part[kind]])
    for name, part in pairs.parts.items():
        if part.n_sampled is not None:
            notes.append(
                f"Correlation and co-activation of the {len(part.members):,} channels of {name} are those of "
                f"{part.n_sampled:,} tokens chosen by hash, for pairs that are active together at one of them."
            )
    columns = {kind: {"channel": found.neighbour, "value": found.value} for kind, found in lists.items()}
    return {k: ragged(found.channel, scope.n_channels, columns[k]) for k, found in lists.items()}, notes
