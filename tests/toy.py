"""A small run made by hand: a corpus full of hostile text and a complete summary of it, without torch.

The summary is computed here by brute force and on purpose not by ``generator.summarize``, so that the tests of
publishing depend on neither it nor a model. ``python -m tests.toy OUTDIR`` writes the toy's shards and pages:
``OUTDIR/shards/…`` and ``OUTDIR/docs/atlas/…``.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from generator.artifacts import Writer
from generator.blocks import Activations, Channel, Corpus, Directions
from generator.config import CorpusTable, ModelTable, PublishTable, RunConfig
from generator.findings import load_findings
from generator.progress import Silent
from generator.publish import publish
from generator.summaries import ByToken, CosineMatrix, Loadings, Profile, Ragged, SharedValues, Summary, join
from generator.summarize import dictionary_map
from tests.toy_analysis import write_analysis
from tests.toy_findings import toy_findings

K, CONTEXT, SHOWN_TOKENS, TOKEN_CHANNELS = 5, 6, 6, 48
BANDS = [0.5, 0.9, 0.99]
LEVELS = [0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999]

HOSTILE = [
    "</script>",
    "{{ x }}",
    "<img src=x onerror=alert(1)>",
    "\u202eevil\u202c",
    "zero\u200bwidth",
    "`|[[x]]",
    "]]>",
    "&amp;",
    '"><script>alert(2)</script>',
    "---",
    "\\xff",
    "\x07",
    "\u2028",
    "\x7f",
    "\ufeff",
    "supercalifragilisticexpialidocious" * 6,
]
FOREIGN = [" привет", "你好", " שלום", "مرحبا", " नमस्ते", "한국어", "é"]
WORDS = [
    " wait",
    " Wait",
    " let",
    " me",
    " check",
    " the",
    " sum",
    " is",
    " of",
    " and",
    " so",
    " then",
    " carry",
]
WORDS += [
    " 1",
    " 2",
    " 3",
    "7",
    "+",
    "=",
    ".",
    ",",
    "\n",
    "\n\n",
    "\t",
    " ",
    "    ",
    " return",
    " def",
    ":",
    "(",
    ")",
]

FAMILY = "👨\u200d👩\u200d👧".encode()
"""Three people joined by zero-width joiners: five characters, each of whose bytes the toy splits."""


def vocabulary() -> list[bytes]:
    """Specials, then the 256 bytes, then words: token id -> bytes."""
    words = [word.encode() for word in WORDS + FOREIGN + HOSTILE]
    pairs = ["👍".encode()[:2], "👍".encode()[2:], "你".encode()[:2], "你".encode()[2:] + b" ok"]
    return [b"<|start|>", b"<|end|>", *(bytes([b]) for b in range(256)), *words, *pairs]


N_SPECIAL = 2
FIRST_WORD = N_SPECIAL + 256


def toy_corpus(n_docs: int = 10, n_tokens: int = 72, seed: int = 7) -> Corpus:
    """Documents of words, with every hostile token and every way to split a character somewhere in them."""
    random = np.random.default_rng(seed)
    token_bytes = vocabulary()
    last_word = FIRST_WORD + len(WORDS)
    docs = []
    for doc in range(n_docs):
        ids = random.integers(FIRST_WORD, last_word, n_tokens - 2 - doc % 3).tolist()
        ids[20:20] = _hostile_run(token_bytes, doc)
        docs.append([0, *ids[: n_tokens - 2], 1])
    offsets = np.cumsum([0, *map(len, docs)], dtype=np.int64)
    token_ids = np.concatenate(docs).astype(np.int32)
    is_special = np.arange(len(token_bytes)) < N_SPECIAL
    names = [f"traces/{doc:04d}" for doc in range(n_docs)]
    names[1 % n_docs] = '<b>bold</b> "quoted" {{ name }} \u202e.txt'
    names[2 % n_docs] = "lone \ud800 surrogate"
    return Corpus(
        token_ids=token_ids,
        doc_offsets=offsets,
        is_measured=~is_special[token_ids],
        pieces=np.stack([offsets[:-1], offsets[:-1], offsets[1:]], axis=1),
        token_bytes=token_bytes,
        is_special=is_special,
        doc_names=names,
        doc_metadata=[{"kind": "trace" if doc % 2 else "prose", "row": doc} for doc in range(n_docs)],
        tokenizer={"name": "toy", "vocabulary": len(token_bytes)},
    )


def _hostile_run(token_bytes: list[bytes], doc: int) -> list[int]:
    """A different handful of difficult tokens for every document, so that examples meet them all."""
    n_words, n = len(WORDS) + len(FOREIGN), len(token_bytes)
    awkward = list(range(FIRST_WORD + n_words, FIRST_WORD + n_words + len(HOSTILE)))
    foreign = list(range(FIRST_WORD + len(WORDS), FIRST_WORD + n_words))
    byte = [N_SPECIAL + b for b in FAMILY]
    runs = [
        byte,  # one token per byte
        [n - 4, n - 3],  # an emoji in two halves
        [n - 2, n - 1],  # a character whose last byte shares a token with text
        [N_SPECIAL + 0xFF, N_SPECIAL + 0xC3],  # bytes that are no text
        [N_SPECIAL + b for b in "é".encode()],
        foreign,
    ]
    picked = [awkward[(2 * doc + i) % len(awkward)] for i in range(3)]
    return [*runs[doc % len(runs)], *picked, *runs[(doc + 3) % len(runs)]]


def toy_channels() -> list[Channel]:
    """Two layers × seven modules, q_proj of layer 1 with rank 3, and one direction outside the layers."""
    modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    places = [(layer, module) for layer in (0, 1) for module in modules]
    channels: list[Channel] = []
    for layer, module in places:
        rank = 3 if (layer, module) == (1, "q_proj") else 1
        for r in range(rank):
            name = f"lora/L{layer}/{module}" + (f"/r{r}" if rank > 1 else "")
            channels.append(_channel(name, layer, module, r, rank, len(channels)))
    channels.append(_channel("lora/model.embed_tokens", -1, "model.embed_tokens", 0, 1, len(channels)))
    return channels


def _channel(name: str, layer: int, module: str, r: int, rank: int, number: int) -> Channel:
    return Channel(
        id=name,
        collection="lora",
        kind="lora",
        layer=layer,
        module=module,
        rank_index=r,
        rank=rank,
        basis="svd" if rank > 1 else "rows",
        scaling=16.0,
        read_norm=1.0 + number / 8,
        write_norm=0.25 * (number % 5),
        reference_rms=0.5 + number / 16,
        threshold=1.0 + number / 8,
    )


def toy_values(corpus: Corpus, channels: list[Channel], seed: int = 11) -> np.ndarray:
    """Activations (token, channel): noise, plus a token of its own that each channel likes and one it dislikes.

    Channel 1 has values that are not finite, channel 3 is constant zero.
    """
    random = np.random.default_rng(seed)
    values = 0.4 * random.standard_normal((corpus.n_tokens, len(channels)))
    kinds = len(corpus.token_bytes) - FIRST_WORD
    for channel in range(len(channels)):
        values[corpus.token_ids == FIRST_WORD + (5 * channel) % kinds, channel] += 3
        values[corpus.token_ids == FIRST_WORD + (5 * channel + 2) % kinds, channel] -= 2
    values[30::97, 1] = np.nan
    values[31::131, 1] = np.inf
    values[:, 3] = 0.0
    return (np.round(values * 1024) / 1024).astype(np.float32)


def toy_summary(
    corpus: Corpus, channels: list[Channel], values: np.ndarray, k: int = K, context: int = CONTEXT
) -> Summary:
    """Everything a page can show, by brute force."""
    measured = np.flatnonzero(corpus.is_measured)
    rows = [measured[np.isfinite(values[measured, c])] for c in range(len(channels))]
    columns = [values[r, c].astype(np.float64) for c, r in enumerate(rows)]
    sides = (1, -1) if any(channel.is_signed for channel in channels) else (1,)
    edges = [edge for edge in _band_edges() if edge[0] in sides]
    groups = ["top", "bottom"][: len(sides)] + [f"band:{name}" for _, name, _, _ in edges] + ["random"]
    examples, example_values = _examples(corpus, values, rows, groups, k, context)
    firsts, steps, histogram = _histograms(columns)
    bands = np.array([[_band(column, *edge) for edge in edges] for column in columns])
    top, bottom = (_token_means(corpus, rows, columns, sign) for sign in (1, -1))
    return Summary(
        channels=channels,
        facts={
            "architecture": "ToyForCausalLM",
            "n_layers": 2,
            "d_model": 16,
            "adapter": {"rank": 3, "alpha": 16, "use_rslora": True},
            "path": "/home/somebody/models/toy",
            "versions": {"featurebook": "toy", "torch": "none"},
            "keys": {"corpus": "0" * 32},
        },
        settings={"k": k, "context": context, "bands": BANDS, "seed": 0, "token_channels": TOKEN_CHANNELS},
        statistics=_statistics(corpus, channels, rows, columns, len(measured)),
        quantile_levels=np.array(LEVELS),
        quantiles=np.array([np.quantile(column, LEVELS) for column in columns]),
        histogram_step=steps,
        histogram_first=firsts,
        histogram=histogram,
        groups=groups,
        bands={"low": bands[:, :, 0], "high": bands[:, :, 1], "count": bands[:, :, 2].astype(np.int64)},
        examples=examples,
        example_values=example_values,
        top_tokens=top,
        bottom_tokens=bottom,
        by_token=_by_token(corpus, rows, columns),
        profiles=_profiles(corpus, rows, columns),
        neighbours=_neighbours(len(channels)),
        cosines=_cosines(channels),
        documents=_documents(corpus, channels, values),
        notes=["Correlations are exact."],
        shared=[_shared(corpus, values)],
    )


def _statistics(
    corpus: Corpus,
    channels: list[Channel],
    rows: list[np.ndarray],
    columns: list[np.ndarray],
    n_measured: int,
) -> dict[str, np.ndarray]:
    def moment(column: np.ndarray, power: int) -> float:
        z = (column - column.mean()) / (column.std() or np.nan)
        return float(np.mean(np.prod([z] * power, axis=0)))

    active = [np.abs(column) > channel.threshold for column, channel in zip(columns, channels)]
    return {
        "n_tokens": np.array([len(r) for r in rows]),
        "n_nonfinite": np.array([n_measured - len(r) for r in rows]),
        "mean": np.array([c.mean() for c in columns]),
        "std": np.array([c.std() for c in columns]),
        "skewness": np.array([moment(c, 3) for c in columns]),
        "kurtosis": np.array([moment(c, 4) - 3 for c in columns]),
        "min": np.array([c.min() for c in columns]),
        "max": np.array([c.max() for c in columns]),
        "share_positive": np.array([(c > 0).mean() for c in columns]),
        "share_negative": np.array([(c < 0).mean() for c in columns]),
        "share_active": np.array([a.mean() for a in active]),
        "n_documents": np.array([len(np.unique(corpus.doc[r[a]])) for r, a in zip(rows, active)]),
    }


def _histograms(columns: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, Ragged]:
    firsts, steps, counts = [], [], []
    for column in columns:
        spread = max(float(column.max() - column.min()), 1e-3)
        step = 2.0 ** np.ceil(np.log2(spread / 40))
        bins = np.floor(column / step).astype(int)
        firsts.append(bins.min())
        steps.append(step)
        counts.append(np.bincount(bins - bins.min()))
    return np.array(firsts), np.array(steps), ragged([{"count": c} for c in counts])


def _band_edges() -> list[tuple[int, str, float, float]]:
    """(sign, name, low level, high level) of every band, from the strongest positive to the strongest negative."""
    levels = list(zip(BANDS, [*BANDS[1:], 1.0]))
    up = [(1, f"+{100 * a:g}-{100 * b:g}", a, b) for a, b in reversed(levels)]
    return up + [(-1, f"-{100 * a:g}-{100 * b:g}", a, b) for a, b in levels]


def _band(column: np.ndarray, sign: int, name: str, low: float, high: float) -> tuple[float, float, int]:
    side = column[column * sign > 0]
    if not len(side):
        return float("nan"), float("nan"), 0
    a, b = sorted(sign * np.quantile(np.abs(side), [low, high]))
    return float(a), float(b), int(((side >= a) & (side <= b)).sum())


def _shared(corpus: Corpus, values: np.ndarray) -> SharedValues:
    """All values on documents 0 and 1, in units of 1."""
    stop = int(corpus.doc_offsets[2])
    unit = np.ones(values.shape[1], np.float32)
    dense = {"dense": values[:stop].astype(np.float16)}
    return SharedValues(0, np.array([0, 1]), corpus.doc_offsets[:3].astype(np.int64), unit, dense)


def _examples(
    corpus: Corpus, values: np.ndarray, rows: list[np.ndarray], groups: list[str], k: int, context: int
) -> tuple[Ragged, np.ndarray]:
    lists, windows, at = [], [], 0
    for channel, measured in enumerate(rows):
        column = values[measured, channel]
        found: list[tuple[int | float, ...]] = []
        for group, name in enumerate(groups):
            for peak in _peaks(corpus, measured, column, name, channel)[:k]:
                doc, position = int(corpus.doc[peak]), int(corpus.position[peak])
                tokens = corpus.tokens_of(doc)
                start = max(position - context, 0)
                stop = min(position + context + 1, tokens.stop - tokens.start)
                found.append((group, doc, position, float(values[peak, channel]), start, stop - start, at))
                windows.append(values[tokens.start + start : tokens.start + stop, channel])
                at += stop - start
        names = ("group", "doc", "position", "value", "start", "length", "values_at")
        dtypes = (np.int16, np.int32, np.int32, np.float32, np.int32, np.int32, np.int64)
        table = list(zip(*found)) if found else [()] * len(names)
        lists.append({n: np.array(c, t) for n, c, t in zip(names, table, dtypes)})
    joined = np.concatenate(windows).astype(np.float32)
    return ragged(lists), np.where(np.isfinite(joined), joined, np.nan).astype(np.float32)


def _peaks(corpus: Corpus, measured: np.ndarray, column: np.ndarray, group: str, channel: int) -> list[int]:
    """Global tokens of one group: the strongest of each document, or a few inside a band, or a few anywhere."""
    if group in ("top", "bottom"):
        sign = 1 if group == "top" else -1
        order = np.argsort(-sign * column, kind="stable")
        order = order[sign * column[order] > 0]
        _, first = np.unique(corpus.doc[measured[order]], return_index=True)
        return measured[order[np.sort(first)]].tolist()
    if group == "random":
        return measured[(np.arange(4) * 53 + 17 * channel) % len(measured)].tolist()
    edge = next(e for e in _band_edges() if f"band:{e[1]}" == group)
    low, high, _ = _band(column.astype(np.float64), *edge)
    return measured[(column >= low) & (column <= high) & (column * edge[0] > 0)][:2].tolist()


def _token_means(corpus: Corpus, rows: list[np.ndarray], columns: list[np.ndarray], sign: int) -> Ragged:
    lists = []
    for measured, column in zip(rows, columns):
        tokens, where = np.unique(corpus.token_ids[measured], return_inverse=True)
        counts = np.bincount(where)
        means = np.bincount(where, weights=column) / counts
        order = np.lexsort((tokens, -sign * means))[:SHOWN_TOKENS]
        lists.append({"token_id": tokens[order], "mean": means[order], "count": counts[order]})
    return ragged(lists)


def _by_token(corpus: Corpus, rows: list[np.ndarray], columns: list[np.ndarray]) -> ByToken:
    """Every token with all channels that have a mean on it: more than the lists of a site hold."""
    lists: list[dict[str, list[float]]] = [{"channel": [], "mean": []} for _ in corpus.token_bytes]
    n_firing = np.zeros(len(lists), np.int64)
    for channel, (measured, column) in enumerate(zip(rows, columns)):
        rms = np.sqrt(np.mean(column**2))
        for token in np.unique(corpus.token_ids[measured]):
            mean = column[corpus.token_ids[measured] == token].mean()
            n_firing[token] += rms > 0 and abs(mean) >= rms
            if mean:
                lists[token]["channel"].append(channel)
                lists[token]["mean"].append(mean)
    return ByToken(ragged([{k: np.array(v, _KINDS[k]) for k, v in one.items()} for one in lists]), n_firing)


_KINDS = {"channel": np.int32, "mean": np.float64}


def _profiles(corpus: Corpus, rows: list[np.ndarray], columns: list[np.ndarray]) -> dict[str, Profile]:
    def profile(names: list[str], member: np.ndarray) -> Profile:
        counts = np.array([np.bincount(member[r], minlength=len(names)) for r in rows])
        sums = np.array([np.bincount(member[r], c, len(names)) for r, c in zip(rows, columns)])
        with np.errstate(invalid="ignore"):
            return Profile(names, sums / np.where(counts, counts, np.nan), counts)

    position = np.minimum(np.log2(corpus.position + 1).astype(int), 7)
    first = np.array([(text[:1] or b"\0")[0] for text in corpus.token_bytes])[corpus.token_ids]
    token_class = np.where(np.isin(first, list(b"0123456789")), 0, np.where(first < 33, 2, 1))
    return {
        "position": profile(["0", "1–2", "3–6", "7–14", "15–30", "31–62", "63–126", "127+"], position),
        "token_class": profile(["digit", "word", "whitespace", "special"], token_class),
        "step": profile(["1", "2", "3", "4+"], np.minimum(corpus.position // 20, 3)),
    }


def _neighbours(n: int) -> dict[str, Ragged]:
    def lists(stride: int) -> Ragged:
        others = [(np.arange(1, 4) * stride + c) % n for c in range(n)]
        return ragged([{"channel": o, "value": np.array([0.9, -0.5, 0.25])} for o in others])

    strides = {"read_cosine": 1, "write_cosine": 2, "correlation": 4, "coactivation": 5}
    return {name: lists(stride) for name, stride in strides.items()}


def _cosines(channels: list[Channel]) -> list[CosineMatrix]:
    """The MLP space of each layer, and the residual stream across layers, from vectors drawn by a fixed seed."""
    random = np.random.default_rng(3)
    writes_mlp, reads_residual = (
        ("gate_proj", "up_proj"),
        ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"),
    )
    spaces: dict[str, list[tuple[int, str]]] = {"residual": []}
    for index, channel in enumerate(channels):
        if channel.layer < 0:
            continue
        mlp = spaces.setdefault(f"L{channel.layer}.mlp", [])
        if channel.module in writes_mlp:
            mlp.append((index, "write"))
        if channel.module == "down_proj":
            mlp.append((index, "read"))
        if channel.module in reads_residual:
            spaces["residual"].append((index, "read"))
        if channel.module in ("o_proj", "down_proj"):
            spaces["residual"].append((index, "write"))
    matrices = []
    for space, members in spaces.items():
        vectors = random.standard_normal((len(members), 16))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        matrices.append(CosineMatrix(space, members, vectors @ vectors.T))
    return matrices


def _documents(corpus: Corpus, channels: list[Channel], values: np.ndarray) -> dict[str, np.ndarray]:
    """Documents 0 to 3 whole: the eight strongest channels at each measured token."""
    docs = np.arange(min(4, corpus.n_docs))
    tokens = np.arange(corpus.doc_offsets[len(docs)])
    rms = np.array([channel.reference_rms for channel in channels])
    here = values[tokens]
    strength = np.where(np.isfinite(here), np.abs(here) / rms, -1.0)
    k = min(8, len(channels))
    channel = np.argsort(-strength, axis=1, kind="stable")[:, :k].astype(np.int32)
    value = np.take_along_axis(here, channel, axis=1)
    channel[~corpus.is_measured[tokens]] = -1
    value = np.where(channel >= 0, value, np.nan).astype(np.float32)
    return {"doc": docs, "offsets": corpus.doc_offsets[: len(docs) + 1], "channel": channel, "value": value}


def ragged(lists: list[dict[str, np.ndarray]]) -> Ragged:
    """One ragged table from one dict of columns per channel."""
    lengths = [len(next(iter(columns.values()))) for columns in lists]
    names = lists[0].keys()
    joined = {name: np.concatenate([columns[name] for columns in lists]) for name in names}
    return Ragged(np.cumsum([0, *lengths]), joined)


LABELS = Path(__file__).parent / "golden" / "labels"
"""What was said of the toy's channels, hostile text among it."""


def toy_config(**publish_options: object) -> RunConfig:
    """A run file for the toy; keyword arguments go to ``[publish]``."""
    options = {
        "title": "Toy",
        "description": "A toy run.",
        "repository": "https://github.com/toy/toy",
        "site_url": "https://example.org/toy/",
        "discussions": "https://example.org/toy/discussions",
        "giscus": {"repo": "toy/toy", "repo_id": "R_1", "category": "General", "category_id": "DIC_1"},
        "authors": ["Ada & Co"],
        **publish_options,
    }
    return RunConfig(
        name="toy",
        model=ModelTable(base="/home/somebody/models/base", adapter="/home/somebody/models/toy"),
        corpus=CorpusTable(source="toy.jsonl"),
        publish=PublishTable.model_validate(options),
    )


N_LATENTS, DEAD_LATENTS = 24, (5, 11, 23)
LATENT_BIAS = 4.0


def toy_latents() -> list[Channel]:
    """A dictionary over the toy's directions: latents without layer or module, which are never negative."""
    return [
        Channel(
            id=f"sae/{latent}",
            collection="sae",
            kind="sae",
            rank_index=latent,
            rank=N_LATENTS,
            is_signed=False,
            reference_rms=0.25 + latent / 64,
        )
        for latent in range(N_LATENTS)
    ]


def toy_loadings(channels: list[Channel], seed: int = 5) -> Loadings:
    """Encoder and decoder weights, most of them small; the last direction is not read."""
    random = np.random.default_rng(seed)
    inputs = [channel.id for channel in channels[:-1]]
    read = random.standard_normal((N_LATENTS, len(inputs))) ** 3
    write = read / np.linalg.norm(read, axis=1, keepdims=True) + 0.05 * random.standard_normal(read.shape)
    return Loadings(
        np.arange(N_LATENTS),
        inputs,
        np.round(read, 3).astype(np.float32),
        np.round(write, 3).astype(np.float32),
    )


def toy_dictionary(corpus: Corpus, channels: list[Channel], values: np.ndarray) -> Summary:
    """The summary of the dictionary alone; what it says of itself are made-up numbers in the form of a real one."""
    loadings, latents = toy_loadings(channels), toy_latents()
    finite = np.nan_to_num(values[:, : len(loadings.inputs)], posinf=0.0)
    active = np.maximum(finite @ loadings.read.T - LATENT_BIAS, 0)
    active[:, list(DEAD_LATENTS)] = 0
    summary = toy_summary(corpus, latents, (np.round(active * 64) / 64).astype(np.float32))
    return replace(
        summary,
        facts={"collections": {"sae": _dictionary_facts(loadings)}},
        notes=["The threshold of “sae” was estimated."],
        loadings=[loadings],
        maps=[dictionary_map(loadings.write, summary.statistics["share_active"], toy_config().seed)],
    )


def _dictionary_facts(loadings: Loadings) -> dict[str, object]:
    steps = np.arange(1, 9) * 50
    return {
        "kind": "sae",
        "reads": "lora",
        "format": "saelens",
        "architecture": "jumprelu",
        "n_latents": N_LATENTS,
        "n_inputs": len(loadings.inputs),
        "threshold": 0.125,
        "dead": len(DEAD_LATENTS),
        "settings": {"k": 4, "lr": 5e-4, "name": "<b>bold</b> {{ x }}"},
        "notes": ["The threshold was estimated, <i>not</i> learned."],
        "curves": {
            "step": steps.tolist(),
            "tokens": (steps * 512).tolist(),
            "fvu": (0.1 + 0.9 / np.arange(1, 9)).tolist(),
            "l0": (4 + 1 / np.arange(1, 9)).tolist(),
            "dead_share": np.linspace(0.5, 0.125, 8).tolist(),
            "loss": [None, *(3 / np.arange(2, 9)).tolist()],
        },
        "held_out": {
            "n_tokens": 100,
            "fvu": 0.2125,
            "l0": 4.25,
            "l0_counts": [0, 2, 10, 30, 40, 15, 3],
            "dead_share": 0.125,
            "explained_variance": [*np.linspace(0.95, -0.1, len(loadings.inputs) - 1).tolist(), float("nan")],
        },
    }


def toy_run() -> tuple[Corpus, Summary]:
    """The corpus, and the joined summary of the directions and of the dictionary over them."""
    corpus, channels = toy_corpus(), toy_channels()
    values = toy_values(corpus, channels)
    return corpus, join([toy_summary(corpus, channels, values), toy_dictionary(corpus, channels, values)])


def toy_directions(channels: list[Channel], seed: int = 13) -> list[Directions]:
    """Vectors of the directions, all in one space."""
    random, index = np.random.default_rng(seed), np.arange(len(channels))
    shape = len(channels), 16
    return [
        Directions("residual", side, index, random.standard_normal(shape).astype(np.float32))
        for side in ("read", "write")
    ]


def save_other_run(build: Path, seed: int = 17) -> None:
    """A build folder of the toy a little later in its training: vectors moved, every third direction turned, one gone."""
    corpus, channels = toy_corpus(), toy_channels()[:-1]
    random = np.random.default_rng(seed)
    signs = np.where(np.arange(len(channels)) % 3 == 2, -1.0, 1.0)
    values = toy_values(corpus, toy_channels())[:, :-1] * signs
    values = (values + 0.25 * random.standard_normal(values.shape)).astype(np.float32)
    directions = [
        replace(d, channels=d.channels[:-1], vectors=_moved(d.vectors[:-1], signs, random))
        for d in toy_directions(toy_channels())
    ]
    for part in ("corpus", "summary", "activations"):
        (build / part).mkdir(parents=True)
    corpus.save(build / "corpus" / "corpus.h5")
    toy_summary(corpus, channels, values).save(build / "summary" / "summary.h5")
    Activations(build / "activations").save_channels(channels, directions, {})


def _moved(vectors: np.ndarray, signs: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return ((vectors + 0.3 * random.standard_normal(vectors.shape)) * signs[:, None]).astype(np.float32)


def write_toy(folder: Path) -> None:
    """Writes the toy's shards and pages below a folder, beside another run that they are compared with."""
    corpus, summary = toy_run()
    notes = folder / "docs" / "notes"
    analysis = write_analysis(folder / "analysis")
    save_other_run(folder / "other")
    other = {"name": "earlier <i>seed</i>", "build": str(folder / "other"), "site": "https://example.org/b"}
    publish(
        toy_config(compare_with=[other]),
        corpus,
        summary,
        Writer(folder / "shards"),
        Writer(folder / "docs"),
        notes,
        Silent(),
        LABELS,
        directions=toy_directions(toy_channels()),
        findings={"ablation": load_findings(analysis / "ablation.h5")} | toy_findings(corpus),
        analysis=analysis,
    )


if __name__ == "__main__":
    write_toy(Path(sys.argv[1]))
