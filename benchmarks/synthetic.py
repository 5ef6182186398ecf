"""A made-up run of any size: what publishing reads, with counts, lengths and spreads like those of a real run.

448 directions over 64 layers at most; all other channels are latents of one dictionary that reads every direction. Tokens
follow Zipf's law over 32,000 made-up words. No value comes from a model: only sizes and speeds mean anything.
"""

import numpy as np

from generator.blocks import Channel, Corpus
from generator.config import CorpusTable, ModelTable, PublishTable, RunConfig
from generator.summaries import ByToken, Loadings, Profile, Ragged, Summary
from generator.summarize.profiles import position_names, step_names

K, CONTEXT, PER_BAND, N_RANDOM, TOKEN_CHANNELS = 32, 20, 4, 16, 48
"""The defaults of ``[summarize]``."""

MODULES = ("gate_proj", "up_proj", "down_proj", "q_proj", "k_proj", "v_proj", "o_proj")
BANDS = [
    f"band:{sign}{low}-{high}" for sign in "+-" for low, high in ((99.9, 100), (99, 99.9), (90, 99), (50, 90))
]
GROUPS = ["top", "bottom", *BANDS, "random"]
CLASSES = [
    "word",
    "word start",
    "number",
    "punctuation",
    "operator",
    "line break",
    "space",
    "other",
    "special",
]
LEVELS = [0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999]
N_BINS = 80
WINDOW = 2 * CONTEXT + 1


def synthetic_corpus(n_docs: int = 2000, n_tokens: int = 400, n_words: int = 32_000, seed: int = 0) -> Corpus:
    """Documents of made-up words, common ones short."""
    random = np.random.default_rng(seed)
    syllables = [a + b for a in "bcdfghklmnprstvw" for b in "aeiou"]
    words = [b"<|end|>", b"\n", b".", b","]
    while len(words) < n_words:
        size = 1 + int(np.log(1 + len(words) / 40))
        parts = random.integers(0, len(syllables), size)
        words.append((" " * bool(random.random() < 0.7) + "".join(syllables[i] for i in parts)).encode())
    ranks = np.minimum(random.zipf(1.25, n_docs * n_tokens), n_words - 1)
    offsets = np.arange(n_docs + 1, dtype=np.int64) * n_tokens
    return Corpus(
        token_ids=ranks.astype(np.int32),
        doc_offsets=offsets,
        is_measured=np.ones(n_docs * n_tokens, np.bool_),
        pieces=np.stack([offsets[:-1], offsets[:-1], offsets[1:]], axis=1),
        token_bytes=words,
        is_special=np.arange(n_words) < 1,
        doc_names=[f"problems/train/{doc:05d}" for doc in range(n_docs)],
        doc_metadata=[{"kind": "trace"} for _ in range(n_docs)],
        tokenizer={"name": "synthetic", "vocabulary": n_words},
    )


def synthetic_channels(n: int) -> list[Channel]:
    """Directions first, an eighth of all and 448 at most, then latents."""
    n_directions = min(448, n // 8)
    directions = [
        Channel(
            id=f"lora/L{i // 7}/{MODULES[i % 7]}", collection="lora", kind="lora", layer=i // 7, module=MODULES[i % 7],
            basis="rows", read_norm=1.5, write_norm=0.75, reference_rms=0.5, threshold=1.0,
        )
        for i in range(n_directions)
    ]  # fmt: skip
    n_latents = n - n_directions
    latents = [
        Channel(id=f"sae/{i}", collection="sae", kind="sae", rank_index=i, rank=n_latents, is_signed=False)
        for i in range(n_latents)
    ]
    return [*directions, *latents]


def synthetic_summary(corpus: Corpus, channels: list[Channel], seed: int = 1) -> Summary:
    """A summary of all channels; every list is as long as the defaults of ``[summarize]`` make it."""
    random = np.random.default_rng(seed)
    n, is_signed = len(channels), np.array([c.is_signed for c in channels])
    low, high = np.where(is_signed, -random.gamma(9, 0.4, n), 0.0), random.gamma(9, 0.5, n)
    examples, values = _examples(random, corpus, is_signed, high)
    counts = np.rint(
        np.exp(12 - 11 * np.abs(np.linspace(-1, 1, N_BINS))[None] ** 0.7 + random.normal(0, 0.3, (n, N_BINS)))
    )
    density = np.where(is_signed, 0.05, 10 ** random.uniform(-4.5, -1.5, n))
    latents = np.flatnonzero(~is_signed)
    inputs = [c.id for c in channels if c.is_signed]
    return Summary(
        channels=channels,
        facts={"architecture": "Synthetic", "collections": {"sae": {"kind": "sae", "reads": "lora", "n_latents": len(latents)}}},
        settings={"k": K, "context": CONTEXT, "token_channels": TOKEN_CHANNELS},
        statistics=_statistics(random, corpus, is_signed, density, low, high),
        quantile_levels=np.array(LEVELS),
        quantiles=np.sort(random.uniform(low[:, None], high[:, None], (n, len(LEVELS))), axis=1),
        histogram_step=np.exp2(np.ceil(np.log2((high - low) / N_BINS))),
        histogram_first=np.floor(low / np.exp2(np.ceil(np.log2((high - low) / N_BINS)))).astype(np.int64),
        histogram=_even(n, N_BINS, {"count": counts.astype(np.int64).ravel()}),
        groups=GROUPS,
        bands=_bands(n, high),
        examples=examples,
        example_values=values,
        top_tokens=_tokens(random, n, np.ones(n, np.bool_)),
        bottom_tokens=_tokens(random, n, is_signed),
        by_token=_by_token(random, corpus, is_signed),
        profiles=_profiles(random, n),
        neighbours={
            name: _even(n, 10, {"channel": random.integers(0, n, 10 * n), "value": random.uniform(0.1, 0.9, 10 * n).astype(np.float32)})
            for name in ("read_cosine", "write_cosine", "correlation", "coactivation")
        },
        cosines=[],
        documents=_documents(random, corpus, n),
        loadings=[Loadings(latents, inputs, *(random.standard_normal((len(latents), len(inputs))).astype(np.float32) ** 3 for _ in range(2)))],
    )  # fmt: skip


def synthetic_config(**options: object) -> RunConfig:
    """A run file for it; keyword arguments go to ``[publish]``."""
    table = {"title": "Synthetic", "site_url": "https://example.org/synthetic/", **options}
    return RunConfig(
        name="synthetic",
        model=ModelTable(base="base", adapter="adapter"),
        corpus=CorpusTable(source="synthetic.jsonl"),
        publish=PublishTable.model_validate(table),
    )


def _even(n: int, k: int, columns: dict[str, np.ndarray]) -> Ragged:
    return Ragged(np.arange(n + 1) * k, columns)


def _examples(
    random: np.random.Generator, corpus: Corpus, is_signed: np.ndarray, high: np.ndarray
) -> tuple[Ragged, np.ndarray]:
    """Windows of full length; a signed channel is never quite silent, a latent is nearly everywhere."""
    per_group = [K, K, *[PER_BAND] * len(BANDS), N_RANDOM]
    signed = np.repeat(np.arange(len(GROUPS)), per_group)
    unsigned = signed[[not GROUPS[g].startswith(("bottom", "band:-")) for g in signed]]
    lengths = np.where(is_signed, len(signed), len(unsigned))
    group = np.concatenate([signed if s else unsigned for s in is_signed.tolist()])
    channel = np.repeat(np.arange(len(lengths)), lengths)
    n = len(group)
    n_tokens = int(corpus.doc_offsets[1])
    position = random.integers(CONTEXT, n_tokens - CONTEXT, n)
    values = random.laplace(0, 0.12, (n, WINDOW)).astype(np.float32)
    quiet = (~is_signed)[channel][:, None] & (random.random((n, WINDOW), np.float32) < 0.9)
    values[quiet] = 0
    np.abs(values, out=values, where=(~is_signed)[channel][:, None])
    peak = random.uniform(0.6, 1, n).astype(np.float32) * np.where(np.isin(group, [1]), -1, 1)
    values[:, CONTEXT] = peak
    values *= high[channel][:, None].astype(np.float32)
    columns = {
        "group": group.astype(np.int16),
        "doc": random.integers(0, corpus.n_docs, n).astype(np.int32),
        "position": position.astype(np.int32),
        "value": values[:, CONTEXT].copy(),
        "start": (position - CONTEXT).astype(np.int32),
        "length": np.full(n, WINDOW, np.int32),
        "values_at": np.arange(n, dtype=np.int64) * WINDOW,
    }
    return Ragged(np.concatenate([[0], np.cumsum(lengths)]), columns), values.ravel()


def _statistics(
    random: np.random.Generator,
    corpus: Corpus,
    is_signed: np.ndarray,
    density: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> dict[str, np.ndarray]:
    n = len(density)
    numbers = {name: random.normal(0, 1, n) for name in ("mean", "skewness", "kurtosis")}
    return {
        **numbers,
        "std": random.gamma(4, 0.2, n),
        "n_tokens": np.full(n, corpus.n_tokens),
        "n_nonfinite": np.zeros(n, np.int64),
        "n_documents": np.minimum(corpus.n_docs, np.ceil(density * corpus.n_tokens)).astype(np.int64),
        "min": low,
        "max": high,
        "share_positive": np.where(is_signed, random.uniform(0.3, 0.7, n), density),
        "share_negative": np.where(is_signed, 0.3, 0.0),
        "share_active": density,
    }


def _bands(n: int, high: np.ndarray) -> dict[str, np.ndarray]:
    edges = np.linspace(1, 0.1, len(BANDS) // 2 + 1)
    sides = [np.outer(high, edges[1:]), -np.outer(high, edges[:-1])]
    tops = [np.outer(high, edges[:-1]), -np.outer(high, edges[1:])]
    count = np.tile(np.array([40, 400, 4000, 18_000] * 2), (n, 1))
    return {"low": np.concatenate(sides, axis=1), "high": np.concatenate(tops, axis=1), "count": count}


def _tokens(random: np.random.Generator, n: int, has: np.ndarray, k: int = 20) -> Ragged:
    lengths = np.where(has, k, 0)
    total = int(lengths.sum())
    ids = np.minimum(random.zipf(1.25, total), 31_999).astype(np.int64)
    columns = {"token_id": ids, "mean": random.normal(0, 1, total), "count": random.integers(3, 5000, total)}
    return Ragged(np.concatenate([[0], np.cumsum(lengths)]), columns)


def _by_token(random: np.random.Generator, corpus: Corpus, is_signed: np.ndarray) -> ByToken:
    """Of every token that occurs as many channels as are kept at most: each collection fires on it, directions both ways."""
    directions, latents = np.flatnonzero(is_signed), np.flatnonzero(~is_signed)
    occurs = np.bincount(corpus.token_ids, minlength=len(corpus.token_bytes)) > 0
    sides = ((latents, 1), (directions, 1), (directions, -1))
    drawn = [(part, sign, min(TOKEN_CHANNELS, len(part) // 2)) for part, sign in sides]
    shape = int(occurs.sum())
    channel = np.concatenate(
        [
            part[(random.integers(0, len(part), (shape, 1)) + np.arange(k)) % len(part)]
            for part, _, k in drawn
        ],
        axis=1,
    )
    mean = np.concatenate([sign * random.gamma(1, 0.5, (shape, k)) for _, sign, k in drawn], axis=1)
    offsets = np.concatenate([[0], np.cumsum(occurs * channel.shape[1])])
    columns = {"channel": channel.ravel().astype(np.int32), "mean": mean.ravel()}
    return ByToken(Ragged(offsets, columns), np.where(occurs, channel.shape[1], 0))


def _profiles(random: np.random.Generator, n: int) -> dict[str, Profile]:
    def profile(names: list[str], n_filled: int) -> Profile:
        count = np.zeros((n, len(names)), np.int64)
        count[:, :n_filled] = 40_000
        return Profile(names, np.where(count > 0, random.normal(0, 1, count.shape), np.nan), count)

    return {
        "position": profile(position_names(), 10),
        "token_class": profile(CLASSES, 8),
        "step": profile(step_names(), 12),
    }


def _documents(
    random: np.random.Generator, corpus: Corpus, n: int, n_shown: int = 100
) -> dict[str, np.ndarray]:
    shown = min(n_shown, corpus.n_docs)
    n_tokens = int(corpus.doc_offsets[shown])
    return {
        "doc": np.arange(shown),
        "offsets": corpus.doc_offsets[: shown + 1],
        "channel": random.integers(0, n, (n_tokens, 8)).astype(np.int32),
        "value": random.normal(0, 1, (n_tokens, 8)).astype(np.float32),
    }
