"""A run without channels: its documents are those of any other run over this corpus with this seed."""

from pathlib import Path

import numpy as np

from generator.config import SummarizeTable
from generator.summaries import Summary
from generator.summarize import blank_summary
from tests.summarize.oracle import toy_channels, toy_corpus

SETTINGS = SummarizeTable(documents=2)


def test_the_same_documents_are_chosen_and_nothing_fires_in_them(tmp_path: Path) -> None:
    from generator.blocks import Block
    from generator.summarize import Accumulator, finish

    corpus = toy_corpus([5, 9, 3, 7])
    accumulator = Accumulator(toy_channels(2), corpus, SETTINGS, 3)
    accumulator.add(Block(0, np.ones((corpus.n_tokens, 2), np.float32), corpus.is_measured))
    with_channels = finish(accumulator, [], {}).documents

    blank = blank_summary(corpus, SETTINGS, 3, {"model": "toy"})
    blank.save(tmp_path / "blank.h5")
    read = Summary.load(tmp_path / "blank.h5")

    assert read.channels == []
    assert read.facts == {"model": "toy"}
    np.testing.assert_array_equal(read.documents["doc"], with_channels["doc"])
    np.testing.assert_array_equal(read.documents["offsets"], with_channels["offsets"])
    assert read.documents["channel"].shape == with_channels["channel"].shape
    assert (read.documents["channel"] == -1).all()
