"""Token means, classes, profiles, activity: against loops over tokens."""

from collections import defaultdict

import numpy as np
import pytest

from generator.config import SummarizeTable
from generator.summarize import finish
from generator.summarize.profiles import position_bin, position_names, steps_of
from generator.summarize.tokens import TOKEN_CLASSES, token_class

from .oracle import accumulate, toy_channels, toy_corpus
from .test_extremes import broken, normal

LENGTHS = [0, 30, 1, 200, 77, 5, 0, 120]


def loop(values, corpus, key_of):
    """(sum, count) of the measured, finite values of one channel by a key of the token."""
    totals = defaultdict(lambda: [0.0, 0])
    for t in range(corpus.n_tokens):
        if corpus.is_measured[t] and np.isfinite(values[t]):
            entry = totals[key_of(t)]
            entry[0] += float(values[t])
            entry[1] += 1
    return totals


def plain_steps(corpus):
    steps = np.zeros(corpus.n_tokens, int)
    for d in range(corpus.n_docs):
        tokens = corpus.tokens_of(d)
        steps[tokens] = steps_of([corpus.token_bytes[i] for i in corpus.token_ids[tokens]])
    return steps


@pytest.mark.parametrize("make", [normal, broken])
@pytest.mark.parametrize("split", [(None, None), ([1, 3, 4, 6], None), ([1, 3, 4, 6], 5)])
def test_means_by_token_position_class_and_step(make, split):
    corpus = toy_corpus(LENGTHS, excluded=0.2)
    values = make(np.random.default_rng(0), (corpus.n_tokens, 3)).astype(np.float32)
    settings = SummarizeTable(top_tokens=5, min_count=20)
    summary = finish(
        accumulate(values, corpus, toy_channels(3), settings, cuts=split[0], merge_seed=split[1]), [], {}
    )
    steps = np.minimum(plain_steps(corpus), 15)
    classes = [token_class(b, s) for b, s in zip(corpus.token_bytes, corpus.is_special.tolist())]
    keys = {
        "position": lambda t: position_names()[int(position_bin(corpus.position[t : t + 1])[0])],
        "step": lambda t: f"{steps[t]}" + "+" * int(steps[t] == 15),
        "token_class": lambda t: classes[corpus.token_ids[t]],
    }
    for c in range(3):
        for name, key_of in keys.items():
            profile, want = summary.profiles[name], loop(values[:, c], corpus, key_of)
            assert set(want) <= set(profile.names)
            for label, mean, count in zip(profile.names, profile.mean[c], profile.count[c]):
                total, n = want.get(label, (0.0, 0))
                assert count == n
                assert np.isnan(mean) if not n else mean == pytest.approx(total / n, rel=1e-9, abs=1e-12)
        check_tokens(summary, c, loop(values[:, c], corpus, lambda t: int(corpus.token_ids[t])), settings)


def check_tokens(summary, channel, totals, settings):
    means = {i: total / n for i, (total, n) in totals.items() if n >= settings.min_count}
    for ragged, sign in ((summary.top_tokens, -1), (summary.bottom_tokens, 1)):
        want = sorted(means, key=lambda i: (sign * means[i], i))[: settings.top_tokens]
        got = ragged.of(channel)
        assert got["token_id"].tolist() == want
        assert got["mean"] == pytest.approx([means[i] for i in want], rel=1e-9)
        assert got["count"].tolist() == [totals[i][1] for i in want]


def test_equal_means_are_listed_by_token_id():
    corpus = toy_corpus([400])
    summary = finish(accumulate(np.ones((400, 1)), corpus, toy_channels(1)), [], {})
    ids = sorted(set(corpus.token_ids.tolist()))
    assert summary.top_tokens.of(0)["token_id"].tolist() == ids[:20]
    assert summary.bottom_tokens.of(0)["token_id"].tolist() == ids[:20]


@pytest.mark.parametrize(
    ("tokens", "steps"),
    [
        ([b"a", b"\n\n", b"b"], [0, 0, 1]),
        ([b"a", b"\n", b"\n", b"b"], [0, 0, 0, 1]),  # a blank line over two tokens
        ([b"a.\n", b" \t\nb"], [0, 0]),  # b begins inside a token that begins before the step
        ([b"a\n\n", b"b", b"\n", b"c"], [0, 1, 1, 1]),  # one line break is no blank line
        (
            [b"\n\n", b"a", b"\n\n\n\n", b"b"],
            [0, 0, 0, 1],
        ),  # none before any text; four breaks are one blank line
        ([b"a", b"\n\n  ", b"b", b"\n\n"], [0, 0, 1, 1]),
        ([b"", b"a"], [0, 0]),
        ([], []),
    ],
)
def test_steps(tokens, steps):
    assert steps_of(tokens).tolist() == steps


@pytest.mark.parametrize(
    ("token", "name"),
    [
        (b" the", "word"),
        (b"don't", "word"),
        ("é".encode(), "word"),
        ("中".encode(), "non-Latin"),
        (" привет".encode(), "non-Latin"),
        (b"42", "digit"),
        (b"1,000", "digit"),
        ("٣".encode(), "digit"),
        (b" +", "operator"),
        ("×".encode(), "operator"),
        (b"==", "operator"),
        (b".", "punctuation"),
        (b'")', "punctuation"),
        (b"x1", "mixed"),
        (b" \t", "whitespace"),
        (b" \n", "line break"),
        (b"", "whitespace"),
        (b"\xe4\xb8", "bytes"),
    ],
)
def test_token_classes(token, name):
    assert token_class(token, False) == name
    assert token_class(token, True) == "special"
    assert name in TOKEN_CLASSES


def test_position_bins_double():
    positions = np.array([0, 1, 2, 3, 4, 7, 8, 1023, 1024])
    names = position_names()
    assert [names[b] for b in position_bin(positions)] == [
        "0", "1", "2–3", "2–3", "4–7", "4–7", "8–15", "512–1023", "1024–2047",
    ]  # fmt: skip
    assert names[int(position_bin(np.array([2**40]))[0])] == names[-1]


@pytest.mark.parametrize("make", [normal, broken])
def test_activity_is_counted_exactly(make):
    corpus = toy_corpus(LENGTHS, excluded=0.2)
    values = make(np.random.default_rng(2), (corpus.n_tokens, 3)).astype(np.float32)
    summary = finish(accumulate(values, corpus, toy_channels(3), cuts=[2, 4], merge_seed=0), [], {})
    for c in range(3):
        counted = corpus.is_measured & np.isfinite(values[:, c])
        active = counted & (np.abs(values[:, c]) > 1.0)
        n = counted.sum()
        assert summary.statistics["n_tokens"][c] == n
        assert summary.statistics["n_documents"][c] == len(set(corpus.doc[active].tolist()))
        for name, mask in (
            ("active", active),
            ("positive", values[:, c] > 0),
            ("negative", values[:, c] < 0),
        ):
            assert summary.statistics[f"share_{name}"][c] == (counted & mask).sum() / n
