"""Top and bottom lists against a full sort, whatever the values, the limits and the way the corpus was split."""

import numpy as np
import pytest

from generator.config import SummarizeTable
from generator.summarize.extremes import Bottom, Top, keys_of, value_of
from generator.summarize.lists import token_of

from .oracle import accumulate, brute_force_list, toy_channels, toy_corpus


def normal(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.standard_normal(shape)


def tied(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return np.round(rng.standard_normal(shape))


def constant(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return np.full(shape, 2.5)


def zeros(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return np.where(rng.random(shape) < 0.5, 0.0, -0.0)


def negative(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return -np.abs(rng.standard_normal(shape)) - 0.1


def rising(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return np.arange(shape[0])[:, None] + rng.random(shape)


def broken(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    values = np.round(rng.standard_normal(shape), 1)
    kind = rng.integers(0, 12, shape)
    return np.where(kind == 0, np.nan, np.where(kind == 1, np.inf, np.where(kind == 2, -np.inf, values)))


def all_broken(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    values = np.full(shape, np.nan)
    values[:, -1] = np.inf
    return values


def sparse(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return np.where(rng.random(shape) < 0.02, rng.random(shape), 0.0)


SIDES = ("top", "bottom")
VALUES = [normal, tied, constant, zeros, negative, rising, broken, all_broken, sparse]
LENGTHS = {
    "ragged": [0, 1, 7, 60, 0, 0, 33, 2, 1, 90, 41, 5, 0],
    "one long": [700],
    "one token each": [1] * 40,
    "many": [12] * 50 + [200] + [9] * 10,
}


def lists_of(accumulator, corpus, channel):
    out = []
    for name in ("top", "bottom"):
        r = accumulator.statistics[name].result()
        rows = np.flatnonzero(r.channel == channel)
        doc, position = corpus.doc[r.token[rows]].tolist(), corpus.position[r.token[rows]].tolist()
        out.append(list(zip(doc, position, r.value[rows].tolist())))
    return out


@pytest.mark.parametrize("make", VALUES)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("per_document", [0, 1, 3])
def test_lists_equal_a_full_sort(make, lengths, per_document):
    rng = np.random.default_rng(len(lengths) + per_document)
    corpus = toy_corpus(LENGTHS[lengths], seed=per_document, excluded=0.2)
    values = make(rng, (corpus.n_tokens, 3)).astype(np.float32)
    for signed, k, context in ((True, 5, 3), (False, 32, 20)):
        settings = SummarizeTable(k=k, context=context, per_document=per_document, random=2, per_band=1)
        want = [
            [brute_force_list(values[:, c], corpus, settings, sign=sign, signed=signed) for sign in (1, -1)]
            for c in range(3)
        ]
        every = list(range(0, corpus.n_docs, 2))
        for cuts, merge_seed in ((None, None), (every, None), (every[::4], 1)):
            got = accumulate(
                values,
                corpus,
                toy_channels(3, signed=signed),
                settings,
                cuts=cuts,
                merge_seed=merge_seed,
                only=SIDES,
            )
            assert [lists_of(got, corpus, c) for c in range(3)] == want


def test_random_runs_equal_a_full_sort():
    for trial in range(25):
        rng = np.random.default_rng(trial)
        corpus = toy_corpus(rng.integers(0, 80, rng.integers(1, 25)).tolist(), trial, rng.choice([0, 0.5]))
        make = VALUES[int(rng.integers(len(VALUES)))]
        values = make(rng, (corpus.n_tokens, 2)).astype(np.float32)
        settings = SummarizeTable(
            k=int(rng.integers(1, 12)),
            context=int(rng.integers(1, 9)),
            per_document=int(rng.integers(0, 4)),
        )
        cuts = rng.integers(0, corpus.n_docs + 1, 4).tolist()
        got = accumulate(values, corpus, toy_channels(2), settings, cuts=cuts, merge_seed=trial, only=SIDES)
        for c in range(2):
            want = [brute_force_list(values[:, c], corpus, settings, sign=s, signed=True) for s in (1, -1)]
            assert lists_of(got, corpus, c) == want, (trial, make.__name__, settings)


def test_windows_show_the_document_around_the_peak():
    corpus = toy_corpus([3, 50, 0, 9], excluded=0.3)
    values = np.random.default_rng(0).standard_normal((corpus.n_tokens, 2)).astype(np.float32)
    values[5, 0] = np.inf
    context = 4
    accumulator = accumulate(values, corpus, toy_channels(2), SummarizeTable(context=context), cuts=[1, 2])
    for side in ("top", "bottom"):
        r = accumulator.statistics[side].result()
        assert len(r.token)
        for channel, token, window in zip(r.channel, r.token, r.window):
            document = corpus.tokens_of(int(corpus.doc[token]))
            for offset, got in zip(range(-context, context + 1), window):
                at = token + offset
                inside = document.start <= at < document.stop
                want = values[at, channel] if inside and np.isfinite(values[at, channel]) else np.nan
                assert np.array_equal(got, want, equal_nan=True)


@pytest.mark.parametrize("kind", [Top, Bottom])
def test_few_and_many_windows_are_captured_alike(kind, monkeypatch):
    corpus = toy_corpus([40] * 6)
    values = np.random.default_rng(3).standard_normal((corpus.n_tokens, 4)).astype(np.float32)
    name = kind.__name__.lower()
    few = accumulate(values, corpus, toy_channels(4)).statistics[name].result().window
    monkeypatch.setattr("generator.summarize.view._MANY_WINDOWS", 0)
    many = accumulate(values, corpus, toy_channels(4)).statistics[name].result().window
    np.testing.assert_array_equal(few, many)


def test_keys_sort_like_value_then_token():
    value = np.array([-np.inf, -3.5, -1e-40, -0.0, 0.0, 1e-40, 2.0, 3e38], np.float32)
    keys = keys_of(value, np.arange(len(value)))
    assert value_of(keys).tolist() == (value + np.float32(0)).tolist()
    assert token_of(keys).tolist() == list(range(len(value)))
    order = np.argsort(-keys)
    assert order.tolist() == [7, 6, 5, 3, 4, 2, 1, 0]  # −0 equals 0: the earlier token is first
