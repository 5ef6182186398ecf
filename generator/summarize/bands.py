"""Bands between quantiles of each sign's own activations, and the examples drawn from them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int, Int64

from generator.summarize.histogram import Counts, codes_of, low_edges
from generator.summarize.samples import Entries
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
    cumulative = {sign: _by_magnitude(counts, sign) for sign in {b.sign for b in bands}}
    for index, band in enumerate(bands):
        _fill(edges, index, band, cumulative[band.sign], extreme[band.sign], scope)
    return edges


def _by_magnitude(counts: Counts, sign: int) -> Int64[np.ndarray, "channel bin"]:
    """Cumulative counts over magnitude codes 1, 2, 3, …"""
    columns = np.flatnonzero(counts.code * sign > 0)
    return counts.counts[:, columns[::sign]].cumsum(axis=1)


def _fill(
    edges: BandEdges, index: int, band: Band, cumulative: np.ndarray, extreme: np.ndarray, scope: Scope
) -> None:
    for c in range(len(cumulative)):
        n = int(cumulative[c, -1]) if cumulative.shape[1] else 0
        if not n or (band.sign < 0 and not scope.is_signed[c]):
            continue
        ranks = np.ceil(np.round(np.array([band.low, band.high]) * n, 9))
        first, stop = np.searchsorted(cumulative[c], np.clip(ranks, 1, n))
        stop = cumulative.shape[1] if band.high >= 1 else stop
        before = cumulative[c, first - 1] if first else 0
        up_to = cumulative[c, stop - 1] if stop else 0
        inner, outer = low_edges(np.array([first + 1, stop + 1]))
        outer = abs(float(extreme[c])) if band.high >= 1 else outer
        edges.first[c, index], edges.stop[c, index] = first + 1, stop + 1
        edges.count[c, index] = up_to - before
        edges.low[c, index], edges.high[c, index] = sorted((band.sign * inner, band.sign * outer))


def band_examples(
    entries: Entries, bands: list[Band], edges: BandEdges, scope: Scope
) -> list[tuple[int, int, Int[np.ndarray, " n"]]]:
    """Rows of ``entries`` for every (channel, band), strongest first.

    Of the sampled entries whose value lies in the band, those with the lowest hash, one per document. Where a band holds
    whole strata this is a uniform sample of its documents' lowest-hash tokens; at its ends a stratum may be underrepresented.
    """
    code = codes_of(entries.value)
    doc = scope.corpus.doc[entries.token]
    bounds = np.searchsorted(entries.channel, np.arange(scope.n_channels + 1))
    chosen = []
    for c in range(scope.n_channels):
        rows = np.arange(bounds[c], bounds[c + 1])
        for index, band in enumerate(bands):
            size = code[rows] * band.sign
            inside = rows[(size >= max(edges.first[c, index], 1)) & (size < edges.stop[c, index])]
            chosen.append((c, index, _spread(inside, entries, doc, scope.settings.per_band)))
    return chosen


def _spread(rows: np.ndarray, entries: Entries, doc: np.ndarray, limit: int) -> Int[np.ndarray, " n"]:
    rows = rows[np.lexsort((entries.token[rows], entries.hash[rows]))]
    _, first = np.unique(doc[rows], return_index=True)
    rows = rows[np.sort(first)][:limit]
    return rows[np.lexsort((entries.token[rows], -np.abs(entries.value[rows])))]
