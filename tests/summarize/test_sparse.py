"""Sparse blocks give what the dense blocks with the same values give, in every statistic."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from generator.blocks import Block, Corpus, SparseBlock
from generator.config import SummarizeTable
from generator.summaries import Summary
from generator.summarize import STATISTICS, Accumulator, finish
from generator.summarize.entries import Entries, by_channel
from generator.summarize.lists import by_list, make_keys
from generator.summarize.pairs import ExactPairs, SampledPairs
from generator.summarize.view import Scope, View

from .oracle import toy_channels, toy_corpus, with_ids

LENGTHS = [0, 30, 1, 200, 77, 5, 0, 120, 64, 3, 90, 41, 300]
N = 23
SETTINGS = SummarizeTable(
    k=6, context=5, documents=6, random=5, per_band=2, bands=[0.0, 0.5, 0.9], top_tokens=6, neighbours=4
)


def sparse_values(rng: np.random.Generator, n: int, kind: str) -> np.ndarray:
    """Latents on some tokens: of widely different density, some dead, some always on, with ties."""
    values = rng.exponential(1.0, (n, N)) * 2.0 ** rng.integers(-9, 9, N)
    if "signed" in kind:
        values *= rng.choice([-1, 1], values.shape)
    if "tied" in kind:
        values = np.round(values * 2) / 2
    density = rng.choice([0.0, 0.003, 0.03, 0.3, 1.0], N)
    density[:5] = [0.0, 0.003, 0.03, 0.3, 1.0]
    values = np.where(rng.random(values.shape) < density, values, 0)
    if "broken" in kind:
        values = np.where((rng.random(values.shape) < 0.05) & (values != 0), np.inf, values)
        values[rng.random(n) < 0.5, 7] = np.nan
        values[:, 8] = np.nan
    return values.astype(np.float32)


def to_sparse(block: Block) -> SparseBlock:
    """The CSR form of a dense block."""
    token, channel = np.nonzero(block.values)
    return SparseBlock(
        start=block.start,
        offsets=np.searchsorted(token, np.arange(len(block.values) + 1)),
        channel=channel.astype(np.int32),
        values=block.values[token, channel],
        is_measured=block.is_measured,
        n_channels=block.values.shape[1],
    )


def blocks_of(values: np.ndarray, corpus: Corpus, cuts: list[int]) -> list[Block]:
    bounds = corpus.doc_offsets[[0, *cuts, corpus.n_docs]].tolist()
    return [Block(a, values[a:b], corpus.is_measured[a:b]) for a, b in zip(bounds, bounds[1:])]


def both_ways(
    kind: str, cuts: list[int], settings: SummarizeTable = SETTINGS, merged: bool = False
) -> tuple[Accumulator, Accumulator]:
    """Accumulators of the same values, given as dense and as sparse blocks."""
    corpus = toy_corpus(LENGTHS, seed=3, excluded=0.2)
    corpus.is_measured[corpus.tokens_of(4)] = (
        False  # a document, and with some cuts a block, without a measured token
    )
    values = sparse_values(np.random.default_rng(len(cuts)), corpus.n_tokens, kind)
    ids = [f"{'a' if i < 17 else 'b'}/{i}" for i in range(N)]
    channels = [
        replace(c, reference_rms=0.5 + i)
        for i, c in enumerate(with_ids(toy_channels(N, signed="signed" in kind, threshold=0.7), ids))
    ]
    blocks = blocks_of(values, corpus, cuts)
    pair = []
    for form in (blocks, [to_sparse(block) for block in blocks]):
        parts = [Accumulator(channels, corpus, settings, 0) for _ in (form if merged else [0])]
        for index, block in enumerate(form):
            parts[index if merged else 0].add(block)
        for other in parts[:0:-1]:
            parts[0].merge(other)
        pair.append(parts[0])
    return pair[0], pair[1]


def arrays_of(summary: Summary, name: str) -> dict[str, np.ndarray]:
    """The arrays of a summary that come from one statistic."""
    examples = summary.examples.columns | {"offsets": summary.examples.offsets, "w": summary.example_values}
    ragged = {
        "histogram": {"": summary.histogram},
        "tokens": {"top": summary.top_tokens, "bottom": summary.bottom_tokens},
        "pairs": {k: summary.neighbours[k] for k in ("correlation", "coactivation")},
    }.get(name, {})
    of_ragged = {f"{k}/{c}": a for k, r in ragged.items() for c, a in (r.columns | {"of": r.offsets}).items()}
    profiles = {
        f"{kind}/{what}": getattr(profile, what)
        for kind, profile in summary.profiles.items()
        for what in ("mean", "count")
        if (kind == "token_class") == (name == "tokens") and name in ("tokens", "profiles")
    }
    plain = {
        "moments": summary.statistics,
        "activity": {k: summary.statistics[k] for k in ("share_active", "n_documents")},
        "histogram": {"quantiles": summary.quantiles, "step": summary.histogram_step, "first": summary.histogram_first}
        | {f"bands/{k}": a for k, a in summary.bands.items()},
        "top": examples,
        "bottom": examples,
        "samples": examples,
        "documents": summary.documents,
        "values": {k: a for s in summary.shared for k, a in s.values.items()},
    }.get(name, {})  # fmt: skip
    return plain | of_ragged | profiles


@cache
def both_summaries(kind: str, cuts: tuple[int, ...]) -> tuple[Summary, Summary]:
    """What comes of the dense and of the sparse blocks."""
    one, other = both_ways(kind, list(cuts))
    return finish(one, [], {}), finish(other, [], {})


KINDS = ["unsigned", "signed", "unsigned tied", "signed tied", "unsigned broken", "signed tied broken"]
CUTS = [(), (1, 2, 4, 5, 6, 9), tuple(range(1, len(LENGTHS)))]
each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("cuts", CUTS, ids=len)
def test_sparse_blocks_give_what_dense_blocks_give(name: str, kind: str, cuts: tuple[int, ...]) -> None:
    want, got = (arrays_of(summary, name) for summary in both_summaries(kind, cuts))
    assert want and set(want) == set(got)
    for key, array in want.items():
        if name == "pairs" and key.startswith("correlation"):
            continue  # the dense product is float32: see the next test
        if array.dtype == np.float64:
            np.testing.assert_allclose(got[key], array, rtol=1e-9, atol=1e-12, err_msg=key)
        else:
            np.testing.assert_array_equal(got[key], array, err_msg=key)


@each_kind
@pytest.mark.parametrize("exact_correlations", [100, 5])
def test_correlations_agree_to_the_precision_of_the_dense_product(kind: str, exact_correlations: int) -> None:
    settings = SETTINGS.model_copy(update={"exact_correlations": exact_correlations})
    one, other = both_ways(kind, [2, 9], settings)
    for name, part in one.statistics["pairs"].parts.items():
        theirs = other.statistics["pairs"].parts[name]
        if isinstance(part, ExactPairs):
            np.testing.assert_allclose(theirs.correlation(), part.correlation(), atol=2e-6)
            np.testing.assert_array_equal(theirs.coactivation(), part.coactivation())
        for measure in ("correlation", "coactivation"):
            (mine, its) = (np.concatenate([f.value for f in p.nearest(4)[measure]]) for p in (part, theirs))
            np.testing.assert_allclose(its, mine, atol=2e-6)


@each_kind
def test_merged_and_saved_states_agree(kind: str, tmp_path) -> None:
    settings = SETTINGS.model_copy(update={"exact_correlations": 10})
    one, other = both_ways(kind, [3, 5, 8], settings, merged=True)
    other.save(tmp_path / "state.h5")
    loaded = Accumulator.load(
        tmp_path / "state.h5", other.scope.channels, other.scope.corpus, other.scope.settings, 0
    )
    straight = both_ways(kind, [3, 5, 8], settings)[1]
    for a, b in ((one, other), (other, loaded), (straight, other)):
        first, second = finish(a, [], {}), finish(b, [], {})
        for name in STATISTICS:
            second_arrays = arrays_of(second, name)
            for key, array in arrays_of(first, name).items():
                if not key.startswith("correlation"):
                    np.testing.assert_allclose(second_arrays[key], array, rtol=1e-9, atol=1e-12, err_msg=key)


def test_dense_and_sparse_blocks_may_follow_each_other() -> None:
    corpus = toy_corpus(LENGTHS, excluded=0.2)
    values = sparse_values(np.random.default_rng(1), corpus.n_tokens, "signed tied")
    channels = toy_channels(N)
    blocks = blocks_of(values, corpus, [2, 4, 8])
    mixed, plain = (Accumulator(channels, corpus, SETTINGS, 0) for _ in range(2))
    for index, block in enumerate(blocks):
        plain.add(block)
        mixed.add(to_sparse(block) if index % 2 else block)
    want, got = finish(plain, [], {}), finish(mixed, [], {})
    for name in STATISTICS:
        for key, array in arrays_of(want, name).items():
            if not key.startswith("correlation"):
                np.testing.assert_allclose(
                    arrays_of(got, name)[key], array, rtol=1e-9, atol=1e-12, err_msg=key
                )


@pytest.mark.parametrize("rows", [1, 5, 512])
def test_pairs_have_both_halves_whatever_came_before(rows: int, monkeypatch) -> None:
    """Sparse rows are added to one half; dense blocks between them, and reading in between, change nothing."""
    monkeypatch.setattr("generator.summarize.pairs._ROWS", rows)
    monkeypatch.setattr("generator.summarize.pairs._BUFFERED_TOKENS", 1)
    corpus = toy_corpus(LENGTHS, excluded=0.2)
    values = sparse_values(np.random.default_rng(4), corpus.n_tokens, "signed tied")
    blocks = blocks_of(values, corpus, [2, 4, 8, 11])
    scope = Scope(toy_channels(N), corpus, SETTINGS, 0)
    mixed, plain = (ExactPairs(scope, np.arange(N)) for _ in range(2))
    for index, block in enumerate(blocks):
        plain.add(View(block, scope))
        if index == 2:
            mixed.add(View(block, scope))
        else:
            mixed.add_sparse(Entries(to_sparse(block), scope))
        if index == 1:
            assert np.array_equal(mixed.coactivation(), plain.coactivation(), equal_nan=True)
    x = values[corpus.is_measured].astype(np.float64)
    np.testing.assert_allclose(mixed.state()["product"], x.T @ x, rtol=1e-5, atol=1e-3)
    assert np.array_equal(mixed.product, mixed.product.T)
    assert np.array_equal(mixed.coactivation(), plain.coactivation(), equal_nan=True)


def test_entries_are_sorted_by_channel_beyond_sixteen_bits() -> None:
    rng = np.random.default_rng(0)
    channel = rng.integers(0, 200_000, 5_000).astype(np.int32) // 1000 * 1000
    assert np.array_equal(by_channel(channel, 200_000), np.argsort(channel, kind="stable"))


def test_lists_are_sorted_by_key_and_ties_by_token() -> None:
    rng = np.random.default_rng(0)
    lists, rank, token = (rng.integers(low, high, 4_000) for low, high in ((0, 9), (-20, 20), (0, 2**32)))
    for offset in (0, 2**40):
        order = by_list(lists + offset, make_keys(rank, token))
        assert np.array_equal(order, np.lexsort((token, -rank, lists)))


def test_a_sample_of_tokens_is_the_same_in_any_order(monkeypatch) -> None:
    monkeypatch.setattr("generator.summarize.sampled.SAMPLE_TOKENS", 40)
    monkeypatch.setattr("generator.summarize.sampled.SAMPLE_ENTRIES", 700)
    corpus = toy_corpus(LENGTHS, excluded=0.1)
    values = sparse_values(np.random.default_rng(2), corpus.n_tokens, "unsigned")
    settings = SETTINGS.model_copy(update={"exact_correlations": 3})
    kept = []
    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 1, 3], [1, 4, 3, 2, 0]):
        blocks = [to_sparse(b) for b in blocks_of(values, corpus, [2, 4, 8, 10])]
        parts = [Accumulator(toy_channels(N, signed=False), corpus, settings, 0) for _ in range(2)]
        for i in order:
            parts[i % 2].add(blocks[i])
        parts[order[0] % 2].merge(parts[1 - order[0] % 2])
        sample = parts[order[0] % 2].statistics["pairs"].parts["lora"]
        assert isinstance(sample, SampledPairs) and sample.n_sampled
        kept.append((set(sample.token.tolist()), sample.n_sampled, len(sample.rows.member)))
    assert kept[0] == kept[1] == kept[2]
    assert kept[0][2] <= 700 or kept[0][1] <= 40
