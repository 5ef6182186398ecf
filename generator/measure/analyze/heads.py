"""What every head does on a corpus: streamed per document, so that weights of one document at a time are in memory."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from generator.blocks import Corpus
from generator.errors import FeaturebookError
from generator.measure.analyze import attention
from generator.measure.analyze.anatomy import Anatomy, attention_weights, eager, study
from generator.measure.analyze.capture import Feed, feed_of, feeds, run, variants
from generator.measure.analyze.values import Matrix, Value, mean_of
from generator.progress import Progress

VERSIONS = ("with", "without")
"""Every metric with and without position 0; without, the other keys are renormalised."""


@dataclass(frozen=True)
class HeadSettings:
    """What the head metrics depend on beside model and corpus."""

    batch_tokens: int = 1024
    max_tokens: int = 512
    """Queries of a document beyond this many are not read: weights grow with the square of the length."""
    period: int = 50
    """Length of s in the repeated random sequences s + s; shortened to the model's context."""
    n_sequences: int = 4
    seed: int = 0


@dataclass
class HeadMeans:
    """Running means over queries of one metric for every layer and head."""

    total: Float[np.ndarray, "layer head"]
    n: Int[np.ndarray, "layer head"]

    @classmethod
    def of(cls, n_layers: int, n_heads: int) -> "HeadMeans":
        """Nothing seen yet."""
        return cls(np.zeros((n_layers, n_heads)), np.zeros((n_layers, n_heads), np.int64))

    def add(self, layer: int, rows: Float[Tensor, "head token"]) -> None:
        """Takes in a document's rows; NaN rows do not count."""
        is_known = rows.isfinite()
        self.total[layer] += torch.where(is_known, rows, 0.0).sum(1, dtype=torch.float64).cpu().numpy()
        self.n[layer] += is_known.sum(1).cpu().numpy()

    def merge(self, other: "HeadMeans") -> None:
        """Takes in another worker's means."""
        self.total += other.total
        self.n += other.n

    def result(self) -> list[list[Value]]:
        """layer × head."""
        missing = "no query has such a key"
        return [
            [mean_of(float(t), int(n), missing=missing) for t, n in zip(*row)]
            for row in zip(self.total, self.n)
        ]


@dataclass
class HeadScores:
    """All metrics of all heads of one variant of a model."""

    n_layers: int
    n_heads: int
    is_causal: bool
    means: dict[tuple[str, str], HeadMeans] = field(default_factory=dict)
    """(metric, "with" or "without" position 0) -> running means."""
    chance: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    """Sum and number of what uniform attention would score on the same queries."""
    n_documents: int = 0

    def put(self, metric: str, version: str, layer: int, rows: Float[Tensor, "head token"]) -> None:
        """Adds rows of one document and layer."""
        key = metric, version
        if key not in self.means:
            self.means[key] = HeadMeans.of(self.n_layers, self.n_heads)
        self.means[key].add(layer, rows)

    def add(self, layer: int, weights: attention.Weights, token_ids: Tensor, kept: Tensor) -> None:
        """Takes in the weights of one document (or piece) in one layer.

        Args:
            layer: Its number.
            weights: Rows that sum to 1.
            token_ids: (token,) of the document.
            kept: (token,) queries that count; the overlap with an earlier piece does not.
        """
        for version, matrix, ids, rows in _versions(weights, token_ids, kept):
            for metric, function in attention.row_metrics(self.is_causal).items():
                if metric != "sink_mass" or version == "with":
                    self.put(metric, version, layer, function(matrix)[:, rows])
            for metric, targets in (
                ("duplicate_text", attention.duplicate_targets(ids)),
                ("induction_text", attention.induction_targets(ids)),
            ):
                self._add_targets(metric, version, layer, matrix, targets, rows)

    def add_repeated(self, layer: int, weights: attention.Weights, n_prefix: int, period: int) -> None:
        """Takes in the weights on prefix + s + s."""
        for metric, shift in (("duplicate_token", 0), ("induction", 1)):
            targets = attention.repeat_targets(n_prefix, period, shift, weights.device)
            for version, matrix, marked in (
                ("with", weights, targets),
                ("without", attention.without_first(weights), targets[1:, 1:]),
            ):
                rows = torch.ones(len(marked), dtype=torch.bool, device=weights.device)
                self._add_targets(metric, version, layer, matrix, marked, rows)

    def merge(self, other: "HeadScores") -> None:
        """Takes in another worker's scores."""
        self.n_documents += other.n_documents
        for key, means in other.means.items():
            if key not in self.means:
                self.means[key] = HeadMeans.of(self.n_layers, self.n_heads)
            self.means[key].merge(means)
        for key, (total, n) in other.chance.items():
            mine = self.chance.setdefault(key, [0.0, 0])
            mine[0] += total
            mine[1] += n

    def result(self) -> list[Matrix]:
        """Every metric as layer × head, with its method."""
        return [
            Matrix(metric, means.result(), ("layer", "head"), self._method(metric, version))
            for (metric, version), means in sorted(self.means.items())
        ]

    def _add_targets(
        self, metric: str, version: str, layer: int, matrix: Tensor, targets: Tensor, rows: Tensor
    ) -> None:
        self.put(metric, version, layer, attention.mass_on(matrix, targets)[:, rows])
        if layer == 0:
            uniform = _uniform(targets, self.is_causal)[rows]
            sums = self.chance.setdefault((metric, version), [0.0, 0])
            sums[0] += float(uniform.nansum())
            sums[1] += int(uniform.isfinite().sum())

    def _method(self, metric: str, version: str) -> dict[str, Any]:
        method: dict[str, Any] = {
            "convention": attention.CONVENTIONS[metric],
            "source": attention.SOURCES[metric],
            "position_0": "included" if version == "with" else "left out, other keys renormalised",
            "dtype": "eager attention, rows renormalised in float32, means in float64",
            "n": "queries",
            "n_documents": self.n_documents,
        }
        total, n = self.chance.get((metric, version), (0.0, 0))
        return method | ({"uniform_attention": total / n} if n else {})


@dataclass(frozen=True)
class HeadResult:
    """The heads of one variant of a model."""

    variant: str  # "adapted"
    scores: list[Matrix]


def measure_heads(
    model: nn.Module,
    corpus: Corpus,
    settings: HeadSettings,
    progress: Progress,
    *,
    docs: Sequence[int] | None = None,
) -> list[HeadResult]:
    """Scores of all heads on a corpus, for base and adapted model, with KL(base ‖ adapted) among the adapted's.

    Raises:
        FeaturebookError: the model gives no attention weights.
    """
    anatomy = study(model)
    shape = check_attention(anatomy)
    scores = {name: HeadScores(*shape, anatomy.is_causal) for name in variants(model)}
    with eager(model):
        for feed in feeds(corpus, batch_tokens=settings.batch_tokens, device=anatomy.device, docs=docs):
            _add_feed(anatomy, feed, scores, settings)
            progress.advance(len(feed.rows))
        allowed = np.flatnonzero(~corpus.is_special)
        for prefix, sequence in repeated_sequences(anatomy, allowed, settings):
            _add_sequence(anatomy, prefix, sequence, scores)
    return [HeadResult(name, found.result()) for name, found in scores.items()]


def check_attention(anatomy: Anatomy) -> tuple[int, int]:
    """Layers and heads, after making sure that the model gives attention weights at all.

    Raises:
        FeaturebookError: it does not (a recurrent model), or its layers differ in heads.
    """
    name = type(anatomy.model).__name__
    with eager(anatomy.model):  # says why, where the model cannot
        pass
    if not anatomy.attentions:
        raise FeaturebookError(
            f"{name} gives no attention weights: not every layer has attention that can be run eagerly with rows that sum to 1. "
            "Leave attention out of the analysis."
        )
    found: set[int] = set()
    with eager(anatomy.model), torch.no_grad():
        ids = torch.arange(3, 5, device=anatomy.device)[None] % int(anatomy.config.vocab_size)
        with attending(anatomy, lambda layer, weights: found.add(weights.shape[1])):
            run(anatomy, {"input_ids": ids})
    if len(found) != 1:
        raise FeaturebookError(f"The layers of {name} have different numbers of heads: {sorted(found)}.")
    return anatomy.n_layers, found.pop()


def prompt_attention(anatomy: Anatomy, token_ids: Sequence[int]) -> list[Float[np.ndarray, "head token key"]]:
    """The weights of one prompt in every layer, rows renormalised in float32: for pages and exports of single texts."""
    check_attention(anatomy)
    found: dict[int, np.ndarray] = {}
    with (
        eager(anatomy.model),
        torch.no_grad(),
        attending(
            anatomy, lambda layer, w: found.__setitem__(layer, attention.renormalised(w[0]).cpu().numpy())
        ),
    ):
        run(anatomy, feed_of(token_ids, anatomy.device).inputs())
    return [found[layer] for layer in range(anatomy.n_layers)]


@contextmanager
def attending(anatomy: Anatomy, receive: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Hands every layer's weights (doc, head, token, key) to ``receive`` as they are made; they are freed after it.

    Raises:
        FeaturebookError: the attention returned none (it did not run eagerly).
    """

    def hook_of(index: int) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            weights = attention_weights(output)
            if weights is None:
                raise FeaturebookError(
                    f"Layer {index} returned no attention weights although eager attention was asked for. Leave "
                    "attention out of the analysis."
                )
            receive(index, weights)

        return hook

    handles = [m.register_forward_hook(hook_of(index)) for index, m in enumerate(anatomy.attentions)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def repeated_sequences(
    anatomy: Anatomy, allowed: Int[np.ndarray, " token"], settings: HeadSettings
) -> Iterator[tuple[list[int], list[int]]]:
    """(prefix, s) pairs of random tokens: the prefix is the model's BOS where it has one."""
    start = anatomy.config.bos_token_id if anatomy.is_causal else None
    prefix = [] if start is None else [int(start)]
    limit = anatomy.context or 2 * settings.period + len(prefix)
    period = min(settings.period, (limit - len(prefix)) // 2)
    random = np.random.default_rng(settings.seed)
    for _ in range(settings.n_sequences if len(allowed) and period > 0 else 0):
        yield prefix, random.choice(allowed, period, replace=len(allowed) < period).tolist()


def _add_feed(anatomy: Anatomy, feed: Feed, scores: dict[str, HeadScores], settings: HeadSettings) -> None:
    lengths = _lengths(feed)
    base: dict[tuple[int, int], Tensor] = {}  # (layer, document of the batch) -> weights, for the KL
    for name, switched in variants(anatomy.model).items():
        found = scores[name]
        found.n_documents += len(lengths)

        def receive(layer: int, weights: Tensor, name: str = name, found: HeadScores = found) -> None:
            for doc, length in enumerate(lengths):
                size = min(length, settings.max_tokens) if anatomy.is_causal else length
                matrix = attention.renormalised(weights[doc, :, :size, :size])
                kept = feed.kept[doc, :size].to(matrix.device).clone()
                kept[settings.max_tokens :] = False
                found.add(layer, matrix, feed.token_ids[doc, :size].to(matrix.device), kept)
                if "adapted" in scores and name == "base":
                    base[layer, doc] = matrix
                elif name == "adapted":
                    _add_divergence(found, layer, base.pop((layer, doc)), matrix, kept)

        with switched(), torch.no_grad(), attending(anatomy, receive):
            run(anatomy, feed.inputs())


def _add_divergence(found: HeadScores, layer: int, base: Tensor, adapted: Tensor, kept: Tensor) -> None:
    found.put("kl_adapted", "with", layer, attention.divergence(base, adapted)[:, kept])
    rest = attention.divergence(attention.without_first(base), attention.without_first(adapted))
    found.put("kl_adapted", "without", layer, rest[:, kept[1:]])


def _add_sequence(
    anatomy: Anatomy, prefix: list[int], sequence: list[int], scores: dict[str, HeadScores]
) -> None:
    feed = feed_of(prefix + sequence + sequence, anatomy.device)
    for name, switched in variants(anatomy.model).items():

        def receive(layer: int, weights: Tensor, found: HeadScores = scores[name]) -> None:
            matrix = attention.renormalised(weights[0])
            found.add_repeated(layer, matrix, len(prefix), len(sequence))

        with switched(), torch.no_grad(), attending(anatomy, receive):
            run(anatomy, feed.inputs())


def _lengths(feed: Feed) -> list[int]:
    if feed.attention_mask is None:
        return [feed.token_ids.shape[1]] * len(feed.token_ids)
    return feed.attention_mask.sum(1).tolist()


def _versions(
    weights: Tensor, token_ids: Tensor, kept: Tensor
) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
    yield "with", weights, token_ids, kept
    if weights.shape[1] > 1:
        yield "without", attention.without_first(weights), token_ids[1:], kept[1:]


def _uniform(targets: Tensor, is_causal: bool) -> Tensor:
    """What uniform attention scores at each query: the share of the keys seen that are marked; NaN where none is."""
    n = len(targets)
    seen = (
        torch.arange(1, n + 1, device=targets.device)
        if is_causal
        else torch.full((n,), n, device=targets.device)
    )
    marked = targets.sum(-1)
    return torch.where(marked > 0, marked / seen, torch.nan).double()
