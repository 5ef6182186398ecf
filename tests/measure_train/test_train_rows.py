"""Reading, splitting and shuffling rows."""

from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest

from generator.blocks import Activations, Corpus
from generator.errors import FeaturebookError
from generator.measure.training.rows import ActivationRows, ArrayRows, Split, is_held_out, survey
from generator.measure.training.shuffle import Batches, Place


def numbered(n: int, doc_tokens: int = 10, group_rows: int = 16) -> ArrayRows:
    """Rows whose first value is their index."""
    values = np.stack([np.arange(n), np.ones(n)], 1).astype(np.float32)
    return ArrayRows(values, (np.arange(n) // doc_tokens).astype(np.int32), group_rows)


def test_the_split_is_by_document_and_leaves_nothing_out() -> None:
    rows = numbered(5000)
    train = np.concatenate(list(Split(rows, 0.2, 0, takes_held_out=False)))
    held_out = np.concatenate(list(Split(rows, 0.2, 0, takes_held_out=True)))
    assert sorted([*train[:, 0], *held_out[:, 0]]) == list(range(5000))
    assert not set(train[:, 0] // 10) & set(held_out[:, 0] // 10), "a document on both sides"
    assert 0.1 < len(held_out) / 5000 < 0.3


def test_the_split_depends_on_seed_and_document_alone() -> None:
    docs = np.arange(300)
    one = is_held_out(docs, 0.3, 1)
    assert np.array_equal(one[100:200], is_held_out(docs[100:200], 0.3, 1))
    assert not np.array_equal(one, is_held_out(docs, 0.3, 2))


def test_rows_that_are_not_finite_are_left_out() -> None:
    rows = numbered(100)
    rows.values[7, 1], rows.values[8, 0] = np.nan, np.inf
    found = np.concatenate(list(Split(rows, 0.01, 0, takes_held_out=False)))
    assert np.isfinite(found).all() and 7 not in found[:, 0]
    assert survey(Split(rows, 0.01, 0, takes_held_out=False)).n_rows == len(found)


def test_moments_are_numpys() -> None:
    rng = np.random.default_rng(0)
    values = (rng.standard_normal((3000, 3)) * [1, 1e-3, 50] + [1000, 5, -2]).astype(np.float32)
    split = Split(ArrayRows(values, np.zeros(3000, np.int32)), 1e-9, 0, takes_held_out=False)
    facts = survey(split)
    np.testing.assert_allclose(facts.mean, values.mean(0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(facts.variance, values.var(0, dtype=np.float64), rtol=1e-9)


def batches(n: int = 1000, batch: int = 64, megabytes: float = 1024.0, seed: int = 0) -> Batches:
    split = Split(numbered(n), 1e-9, 0, takes_held_out=False)
    return Batches(split, survey(split), batch, megabytes, seed)


ONE_BUFFER, MANY_BUFFERS = 1024.0, 8 * 2 * 200 / 1e6


@pytest.mark.parametrize("megabytes", [ONE_BUFFER, MANY_BUFFERS])
def test_an_epoch_uses_every_row_once(megabytes: float) -> None:
    taken = batches(megabytes=megabytes)
    seen = np.concatenate(
        [x[:, 0] for x, _ in islice(taken.after(Place()), 31)]
    )  # 31 · 64 = 1984 of 2 · 1000
    counts = np.bincount(seen.astype(int), minlength=1000)
    assert counts.max() <= 3 and (counts >= 1).all()
    first = np.bincount(seen[:960].astype(int), minlength=1000)  # 15 batches lie in the first pass
    assert first.max() == 1


def test_the_buffer_stays_within_its_bound_and_mixes() -> None:
    taken = batches(megabytes=MANY_BUFFERS)
    assert taken.capacity == 200 and len(taken.fills(0)) > 5
    for x, _ in islice(taken.after(Place()), 10):
        groups = np.unique(x[:, 0] // 16)
        assert len(groups) > 4, "neighbours stay together"
    for fill, groups in enumerate(taken.fills(0)):
        assert len(taken._filled(groups, 0, fill, np.zeros((63, 2), np.float32))) <= taken.capacity


@pytest.mark.parametrize("megabytes", [ONE_BUFFER, MANY_BUFFERS])
def test_every_place_can_be_returned_to(megabytes: float) -> None:
    taken = batches(megabytes=megabytes)
    straight = list(islice(taken.after(Place()), 40))
    for (_, place), (wanted, _) in pairwise(straight):
        assert np.array_equal(next(taken.after(place))[0], wanted)


def test_the_order_depends_on_the_seed() -> None:
    assert not np.array_equal(
        next(batches(seed=0).after(Place()))[0], next(batches(seed=1).after(Place()))[0]
    )


def test_fewer_tokens_than_a_batch() -> None:
    with pytest.raises(FeaturebookError, match="50 tokens to train on, fewer than a batch of 64"):
        batches(n=50)


def test_activation_files_are_read_by_chunk_with_their_mask(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 900, 12)
    n = int(lengths.sum())
    corpus = Corpus(
        token_ids=np.zeros(n, np.int32),
        doc_offsets=np.concatenate([[0], lengths.cumsum()]),
        is_measured=np.ones(n, bool),
        pieces=np.zeros((0, 3), np.int64),
        token_bytes=[],
        is_special=np.zeros(0, bool),
        doc_names=[],
        doc_metadata=[],
    )
    values, is_measured = rng.standard_normal((n, 5)).astype(np.float16), rng.random(n) < 0.8
    activations, chunks = Activations(tmp_path), corpus.chunks(1500)
    for chunk in chunks:
        activations.write_chunk(chunk, values[chunk], is_measured[chunk], key="k")
    rows = ActivationRows(activations, corpus, chunks, columns=np.array([4, 1]))
    parts = [rows.read(group) for group in range(rows.n_groups)]
    assert rows.width == 2 and max(len(v) for v, _ in parts) <= 1024
    np.testing.assert_array_equal(np.concatenate([v for v, _ in parts]), values[is_measured][:, [4, 1]])
    np.testing.assert_array_equal(np.concatenate([d for _, d in parts]), corpus.doc[is_measured])
    assert ActivationRows(activations, corpus, chunks).width == 5
