"""The definitions of docs/statistics.md in plain Python, as slow and as plain as can be, and toy corpora to try them on."""

import math
from dataclasses import replace

import numpy as np

from generator.blocks import Block, Channel, Corpus
from generator.config import SummarizeTable
from generator.summarize import Accumulator

WORDS = [
    b" the",
    b" one",
    b"7",
    b"42",
    b" +",
    b".",
    b"\n",
    b"\n\n",
    b" ",
    b"\xe4\xb8",
    b"\xad",
    b" Wait",
    b"==",
    b"x1",
]
SPECIAL = [b"<s>", b"<|end|>"]


def toy_corpus(lengths: list[int], seed: int = 0, excluded: float = 0.0) -> Corpus:
    """A corpus with documents of these lengths; a share of the tokens is not measured."""
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    return Corpus(
        token_ids=rng.integers(0, len(WORDS) + len(SPECIAL), n).astype(np.int32),
        doc_offsets=offsets,
        is_measured=rng.random(n) >= excluded,
        pieces=np.stack([offsets[:-1], offsets[:-1], offsets[1:]], axis=1),
        token_bytes=WORDS + SPECIAL,
        is_special=np.array([False] * len(WORDS) + [True] * len(SPECIAL)),
        doc_names=[f"toy/{i}" for i in range(len(lengths))],
        doc_metadata=[{} for _ in lengths],
    )


def toy_channels(n: int, *, signed: bool = True, threshold: float = 1.0) -> list[Channel]:
    """Channels of one collection."""
    return [
        Channel(
            id=f"lora/L{i}/up_proj",
            collection="lora",
            kind="lora",
            layer=i,
            module="up_proj",
            is_signed=signed,
            threshold=threshold if signed else 0.0,
        )
        for i in range(n)
    ]


def accumulate(
    values: np.ndarray,
    corpus: Corpus,
    channels: list[Channel],
    settings: SummarizeTable | None = None,
    *,
    cuts: list[int] | None = None,
    merge_seed: int | None = None,
    seed: int = 0,
    only: tuple[str, ...] = (),
) -> Accumulator:
    """Feeds the values in blocks that end at the documents ``cuts``; with ``merge_seed`` one accumulator per block,
    merged as a random tree. ``only`` leaves out all statistics but these."""
    settings = settings or SummarizeTable()

    def make() -> Accumulator:
        accumulator = Accumulator(channels, corpus, settings, seed)
        if only:
            accumulator.statistics = {name: accumulator.statistics[name] for name in only}
        return accumulator

    bounds = corpus.doc_offsets[[0, *sorted(set(cuts or [])), corpus.n_docs]]
    blocks = [
        Block(int(a), values[a:b].astype(np.float32), corpus.is_measured[a:b])
        for a, b in zip(bounds, bounds[1:])
        if b > a
    ]
    if merge_seed is None:
        accumulator = make()
        for block in blocks:
            accumulator.add(block)
        return accumulator
    rng = np.random.default_rng(merge_seed)
    parts = [make() for _ in blocks]
    for part, block in zip(parts, blocks):
        part.add(block)
    parts = parts or [make()]
    while len(parts) > 1:
        other = parts.pop(int(rng.integers(len(parts))))
        parts[int(rng.integers(len(parts)))].merge(other)
    return parts[0]


def brute_force_list(
    values: np.ndarray, corpus: Corpus, settings: SummarizeTable, *, sign: int, signed: bool
) -> list[tuple[int, int, float]]:
    """(doc, position, value) of one channel's top (sign 1) or bottom list: a full sort, then a walk down."""
    if sign < 0 and not signed:
        return []
    tokens = []
    for t in range(corpus.n_tokens):
        value = float(values[t])
        if corpus.is_measured[t] and math.isfinite(value) and value != 0 and (signed or value > 0):
            tokens.append((-sign * value, int(corpus.doc[t]), int(corpus.position[t]), value))
    tokens.sort(key=lambda entry: entry[:3])
    taken: dict[int, list[int]] = {}
    result: list[tuple[int, int, float]] = []
    for _, doc, position, value in tokens:
        mine = taken.setdefault(doc, [])
        if settings.per_document:
            if len(mine) >= settings.per_document:
                continue
            if any(abs(position - other) <= settings.context for other in mine):
                continue
        mine.append(position)
        result.append((doc, position, value))
        if len(result) == settings.k:
            break
    return result


def kept(values: np.ndarray, corpus: Corpus) -> list[float]:
    """The values of one channel that count."""
    return [float(v) for v, m in zip(values, corpus.is_measured) if m and math.isfinite(v)]


def with_ids(channels: list[Channel], ids: list[str]) -> list[Channel]:
    """The same channels under other ids and collections."""
    return [replace(c, id=i, collection=i.split("/")[0]) for c, i in zip(channels, ids)]
