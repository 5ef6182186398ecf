"""The summary of a run without channels: the same documents get a page, nothing is known of any direction."""

from typing import Any

import numpy as np

from generator.blocks import Corpus
from generator.config import SummarizeTable
from generator.summaries import Summary
from generator.summarize.accumulator import Accumulator
from generator.summarize.documents import STRONGEST
from generator.summarize.finish import finish


def blank_summary(corpus: Corpus, settings: SummarizeTable, seed: int, facts: dict[str, Any]) -> Summary:
    """What a model without adapter and dictionaries, which is only analysed, has in place of a summary.

    Args:
        corpus: The text.
        settings: ``[summarize]``: how many documents get a page.
        seed: Of the run: chooses them.
        facts: Of the model; passed on.
    """
    accumulator = Accumulator([], corpus, settings, seed)
    documents = accumulator.statistics["documents"]
    for doc in documents.chosen.tolist():
        tokens = corpus.tokens_of(doc)
        shape = (tokens.stop - tokens.start, STRONGEST)
        documents.kept[doc] = np.full(shape, -1, np.int32), np.zeros(shape, np.float32)
    return finish(accumulator, [], facts)
