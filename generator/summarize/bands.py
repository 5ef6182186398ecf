"""Bands between quantiles of each sign's own activations, and the examples drawn from them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int, Int64

from generator.summarize.histogram import LAST, Counts, codes_of, low_edges
from generator.summarize.lists import places
from generator.summarize.samples import Sampled
from generator.summarize.view import Scope


@dataclass(frozen=True)
class Band:
    """Activations of one sign between two quantile levels."""

    sign: int
    low: float
    high: float

    @property
    def group(self) -> str:
        """Its name among the example groups: ``band:+99-99.9``."""
        return f"band:{'+' if self.sign > 0 else '-'}{100 * self.low:.6g}-{100 * self.high:.6g}"


@dataclass(frozen=True)
class BandEdges:
    """Where the bands of every channel lie. Axis 1 is the order of ``bands_of``."""

    low: Float64[np.ndarray, "channel bin"]  # activation, low < high for either sign
    high: Float64[np.ndarray, "channel bin"]
    count: Int64[np.ndarray, "channel bin"]
    first: Int64[np.ndarray, "channel bin"]  # magnitude code of the innermost fine bin
    stop: Int64[np.ndarray, "channel bin"]  # and one past the outermost


def bands_of(scope: Scope) -> list[Band]:
    """The bands of the run file, the strongest first, positive before negative (where any channel is signed)."""
    levels = [*sorted(set(scope.settings.bands)), 1.0]
    signs = (1, -1) if scope.is_signed.any() else (1,)
    pairs = list(zip(levels, levels[1:]))[::-1]
    return [Band(sign, low, high) for sign in signs for low, high in pairs if low < high]


def band_edges(counts: Counts, bands: list[Band], scope: Scope, extreme: dict[int, np.ndarray]) -> BandEdges:
    """Finds the edges by rank in the fine histogram; counts are exact for these edges.

    The band between levels p and q of one sign's n values begins with the fine bin that holds the ⌈p·n⌉-th smallest
    magnitude and ends before the one that holds the ⌈q·n⌉-th; the last band ends with the largest value. So a fine bin, at
    most 1/64 wide, is never split, and a band is empty where both levels fall into one.

    Args:
        counts: The fine histogram.
        bands: What ``bands_of`` gave.
        scope: The run.
        extreme: The outermost activation of each channel by sign: {1: max, −1: min}.
    """
    shape = (scope.n_channels, len(bands))
    edges = BandEdges(
        np.full(shape, np.nan),
        np.full(shape, np.nan),
        *(np.zeros(shape, np.int64) for _ in range(3)),
    )
    ranked = {sign: _by_magnitude(counts, sign) for sign in {b.sign for b in bands}}
    for index, band in enumerate(bands):
        _fill(edges, index, band, ranked[band.sign], extreme[band.sign], scope)
    return edges


def _by_magnitude(counts: Counts, sign: int) -> Counts:
    """The bins of one sign with their magnitude codes 1, 2, 3, …"""
    chosen = np.flatnonzero(counts.code * sign > 0)
    chosen = chosen[np.lexsort((counts.code[chosen] * sign, counts.channel[chosen]))]
    offsets = np.searchsorted(counts.channel[chosen], np.arange(counts.n_channels + 1))
    return Counts(offsets, counts.code[chosen] * sign, counts.count[chosen])


def _fill(
    edges: BandEdges, index: int, band: Band, ranked: Counts, extreme: np.ndarray, scope: Scope
) -> None:
    cumulative = np.concatenate([[0], ranked.count.cumsum()])
    before = cumulative[ranked.offsets[:-1]]
    n = cumulative[ranked.offsets[1:]] - before
    c = np.flatnonzero((n > 0) & (scope.is_signed | (band.sign > 0)))
    before, n = before[c], n[c]
    ranks = np.ceil(np.round(np.array([[band.low], [band.high]]) * n, 9))
    inner, outer = np.searchsorted(cumulative, before + np.clip(ranks, 1, n)) - 1  # places of the bins
    first, stop = ranked.code[inner], ranked.code[outer]
    up_to, limit = cumulative[outer], low_edges(stop)
    if band.high >= 1:
        stop, up_to, limit = np.full(len(c), LAST + 1), before + n, np.abs(extreme[c])
    edges.first[c, index], edges.stop[c, index] = first, stop
    edges.count[c, index] = up_to - cumulative[inner]
    bounds = np.sort(band.sign * np.stack([low_edges(first), limit]), axis=0)
    edges.low[c, index], edges.high[c, index] = bounds


def band_examples(
    samples: Sampled, bands: list[Band], edges: BandEdges, scope: Scope
) -> list[Int[np.ndarray, " n"]]:
    """For every band the rows of ``samples`` that show it, by channel, strongest first.

    Of the sampled entries whose value lies in the band, those with the lowest hash, one per document. Where a band holds
    whole strata this is a uniform sample of its documents' lowest-hash tokens; at its ends a stratum may be underrepresented.
    """
    code, chosen = codes_of(samples.value), []
    for index, band in enumerate(bands):
        first, stop = edges.first[samples.channel, index], edges.stop[samples.channel, index]
        size = code * band.sign
        inside = np.flatnonzero((size >= np.maximum(first, 1)) & (size < stop))
        chosen.append(_spread(inside, samples, scope))
    return chosen


def _spread(rows: Int[np.ndarray, " n"], samples: Sampled, scope: Scope) -> Int[np.ndarray, " m"]:
    """Of some rows those with the lowest hash of each channel, one per document."""
    rows = rows[np.lexsort((samples.token[rows], samples.hash[rows], samples.channel[rows]))]
    doc = samples.channel[rows] * scope.corpus.n_docs + scope.corpus.doc[samples.token[rows]]
    rows = rows[np.sort(np.unique(doc, return_index=True)[1])]
    rows = rows[places(samples.channel[rows]) < scope.settings.per_band]
    return rows[np.lexsort((samples.token[rows], -np.abs(samples.value[rows]), samples.channel[rows]))]
