"""What a language model predicts: masked tokens, next tokens, continuations, layer by layer, base against adapted."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from generator.blocks import Corpus
from generator.errors import FeaturebookError
from generator.measure.analyze.anatomy import Anatomy, study
from generator.measure.analyze.capture import (
    check_context,
    feed_of,
    feeds,
    residuals,
    run,
    shortest,
    variants,
)
from generator.measure.analyze.tail import check_head, log_probabilities, logits, unembed
from generator.progress import Progress

ROWS = 256
"""Positions whose distributions over the vocabulary are compared at once."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class TopTokens:
    """The likeliest tokens at some positions, in the order of their probability."""

    token_ids: Int[np.ndarray, "token k"]
    probability: Float[np.ndarray, "token k"]
    entropy: Float[np.ndarray, " token"]
    """Of the whole distribution, in nats."""


@dataclass(frozen=True)
class MaskPredictions:
    """What a masked model puts at every mask of a prompt."""

    positions: list[int]
    top: TopTokens


@dataclass(frozen=True)
class NextTokens:
    """What a causal model expects after every position of a prompt."""

    top: TopTokens
    surprise: list[float | None]
    """−ln p of the token that stands at each position, given those before; None at position 0, which nothing precedes."""


@dataclass(frozen=True)
class Continuation:
    """One sampled continuation."""

    token_ids: list[int]
    probability: list[float]
    """Of each token under the model's own distribution (temperature 1), whatever it was drawn from."""
    is_finished: bool
    """Whether it ended with an end-of-text token (not among ``token_ids``)."""


@dataclass(frozen=True)
class LensLayer:
    """What the model would predict if it ended after this layer."""

    layer: int
    """0 is the input of the first layer; ``n_layers`` is the model itself."""
    top: TopTokens
    actual: list[float | None]
    """Probability of the token that follows in the text (at masks of a masked model: None)."""
    divergence: list[float]
    """KL(final ‖ this layer) in nats."""


@dataclass(frozen=True)
class TokenDivergence:
    """How far the adapter moves the prediction at every token of a document."""

    doc: int
    base_adapted: Float[np.ndarray, " token"]
    """KL(base ‖ adapted) in nats of the distribution predicted at each position."""
    adapted_base: Float[np.ndarray, " token"]
    surprise_change: Float[np.ndarray, " token"]
    """Surprise of the token that follows, adapted minus base; NaN at the last position and for masked models."""


def for_each_variant(model: nn.Module, function: Callable[[], Result]) -> dict[str, Result]:
    """Calls a function with the model as base and as adapted. Name of the variant -> what it returned."""
    found = {}
    for name, switched in variants(model).items():
        with switched():
            found[name] = function()
    return found


def predict_masks(
    anatomy: Anatomy, token_ids: Sequence[int], mask_id: int | None, *, k: int = 10
) -> MaskPredictions:
    """The likeliest tokens at every mask.

    Args:
        anatomy: A masked model.
        token_ids: The prompt, its special tokens included.
        mask_id: The tokenizer's mask token.
        k: Tokens per mask.

    Raises:
        FeaturebookError: a causal model, a tokenizer without a mask token, a prompt without a mask or too long.
    """
    if _is_causal_model(anatomy):
        raise FeaturebookError(
            f"{type(anatomy.model).__name__} predicts the next token, not a masked one. Ask for next tokens."
        )
    if mask_id is None:
        raise FeaturebookError(
            "The tokenizer has no mask token, so this masked model cannot be asked to fill one in. Use the tokenizer "
            "that belongs to the model."
        )
    positions = [i for i, token in enumerate(token_ids) if token == mask_id]
    if not positions:
        raise FeaturebookError(
            f"The text of {len(token_ids)} tokens holds no mask. Write the mask token where a word is to be filled in."
        )
    found = text_log_probabilities(anatomy, token_ids)[positions]
    return MaskPredictions(positions, top_tokens(found, k))


def predict_next(anatomy: Anatomy, token_ids: Sequence[int], *, k: int = 10) -> NextTokens:
    """The next-token distribution after every position.

    Raises:
        FeaturebookError: a masked model, a prompt that is empty or too long.
    """
    _check_causal(anatomy)
    found = text_log_probabilities(anatomy, token_ids)
    following = _at(found[:-1], token_ids[1:])
    return NextTokens(top_tokens(found, k), [None, *(-value for value in following)])


def continue_text(
    anatomy: Anatomy,
    token_ids: Sequence[int],
    *,
    n: int = 3,
    n_tokens: int = 20,
    temperature: float = 1.0,
    top_k: int = 50,
    seed: int = 0,
    end_ids: Sequence[int] = (),
    context: int | None = None,
) -> list[Continuation]:
    """Seeded continuations. Each has a generator of its own, so the first is the same however many are asked for.

    Args:
        anatomy: A causal model.
        token_ids: The prompt.
        n: Continuations.
        n_tokens: Of each, at most; fewer where the model's context ends.
        temperature: 0 takes the likeliest token.
        top_k: Draw from so many likeliest tokens; 0 draws from all.
        seed: Of all continuations.
        end_ids: Tokens that end a text.
        context: Longest text in tokens; the model's own limit when absent.

    Raises:
        FeaturebookError: a masked model, a prompt that is empty or too long.
    """
    _check_causal(anatomy)
    check_context(anatomy, len(token_ids), context)
    limit = shortest(context, anatomy.context)
    n_tokens = min(n_tokens, limit - len(token_ids)) if limit else n_tokens
    settings = _Sampling(n_tokens, temperature, top_k, frozenset(end_ids))
    n = 1 if temperature == 0 else n
    return [_sample(anatomy, token_ids, settings, np.random.default_rng([seed, i])) for i in range(n)]


def logit_lens(anatomy: Anatomy, token_ids: Sequence[int], *, k: int = 5) -> list[LensLayer]:
    """The prediction after every layer (nostalgebraist 2020), the norm's statistics recomputed at each.

    The last entry is the model's own prediction.

    Raises:
        FeaturebookError: no language-model head; a prompt that is empty or too long.
    """
    final = text_log_probabilities(anatomy, token_ids)
    inputs = feed_of(token_ids, anatomy.device).inputs()
    found = []
    with torch.no_grad():
        for layer, hidden in enumerate(residuals(anatomy, inputs)):
            predicted = log_probabilities(unembed(anatomy, inputs, hidden)[0])
            actual: list[float | None] = [None] * len(token_ids)
            if _is_causal_model(anatomy):
                actual[:-1] = [float(np.exp(v)) for v in _at(predicted[:-1], token_ids[1:])]
            gap = (final.exp() * (final - predicted)).sum(-1).clamp_min(0)
            found.append(LensLayer(layer, top_tokens(predicted, k), actual, gap.tolist()))
    return found


def measure_divergence(
    model: nn.Module,
    corpus: Corpus,
    progress: Progress,
    *,
    batch_tokens: int = 512,
    docs: Sequence[int] | None = None,
) -> Iterator[TokenDivergence]:
    """Per-token divergence of base and adapted model, document by document.

    Raises:
        FeaturebookError: there is no adapter, or no language-model head.
    """
    anatomy = study(model)
    check_head(anatomy)
    if "adapted" not in variants(model):
        raise FeaturebookError(
            "The model has no adapter, so there is nothing to compare it with. Set model.adapter."
        )
    for doc in range(corpus.n_docs) if docs is None else docs:
        parts = [np.zeros((0, 3), np.float32)]
        rows = [np.zeros(0, np.int64)]
        for feed in feeds(corpus, batch_tokens=batch_tokens, device=anatomy.device, docs=[doc]):
            with torch.no_grad():
                found = for_each_variant(model, lambda: run(anatomy, feed.inputs(), with_head=True).logits)  # noqa: B023
            parts.append(
                _compare(feed.flatten(found["base"]), feed.flatten(found["adapted"]), corpus, feed.rows)
            )
            rows.append(feed.rows)
            progress.advance(len(feed.rows))
        values = np.concatenate(parts)[np.argsort(np.concatenate(rows), kind="stable")]
        change = values[:, 2] if _is_causal_model(anatomy) else np.full(len(values), np.nan, np.float32)
        yield TokenDivergence(doc, values[:, 0], values[:, 1], change)


def top_tokens(log_p: Float[Tensor, "token vocabulary"], k: int) -> TopTokens:
    """The k likeliest tokens of each row, and the row's entropy."""
    values, ids = log_p.topk(min(k, log_p.shape[-1]), dim=-1)
    entropy = -torch.special.xlogy(log_p.exp(), log_p.exp()).sum(-1)
    return TopTokens(ids.cpu().numpy(), values.exp().cpu().numpy(), entropy.clamp_min(0).cpu().numpy())


def divergence(
    a: Float[Tensor, "token vocabulary"], b: Float[Tensor, "token vocabulary"]
) -> Float[Tensor, " token"]:
    """KL(a ‖ b) in nats of rows of log-probabilities."""
    return (a.exp() * (a - b)).sum(-1).clamp_min(0)


def text_log_probabilities(anatomy: Anatomy, token_ids: Sequence[int]) -> Float[Tensor, "token vocabulary"]:
    """Log-probabilities of the vocabulary at every position of a text, in float32.

    Raises:
        FeaturebookError: no language-model head; a text that is empty or too long.
    """
    check_context(anatomy, len(token_ids))
    with torch.no_grad():
        return log_probabilities(logits(anatomy, feed_of(token_ids, anatomy.device).inputs())[0])


def _at(log_p: Tensor, token_ids: Sequence[int]) -> list[float]:
    ids = torch.as_tensor(list(token_ids), dtype=torch.int64, device=log_p.device)
    return log_p.gather(-1, ids[:, None])[:, 0].tolist() if len(ids) else []


def is_masked_model(anatomy: Anatomy) -> bool:
    """Whether the model fills in masks instead of predicting what follows."""
    return type(anatomy.model).__name__.endswith("ForMaskedLM")


def _is_causal_model(anatomy: Anatomy) -> bool:
    check_head(anatomy)
    return not is_masked_model(anatomy)


def _check_causal(anatomy: Anatomy) -> None:
    if not _is_causal_model(anatomy):
        raise FeaturebookError(
            f"{type(anatomy.model).__name__} fills in masks and has no next-token distribution. Ask for masks."
        )


@dataclass(frozen=True)
class _Sampling:
    n_tokens: int
    temperature: float
    top_k: int
    end_ids: frozenset[int]


def _sample(
    anatomy: Anatomy, token_ids: Sequence[int], settings: _Sampling, random: np.random.Generator
) -> Continuation:
    chosen: list[int] = []
    probability: list[float] = []
    given, cache = torch.tensor([list(token_ids)], device=anatomy.device), None
    while len(chosen) < settings.n_tokens:
        with torch.no_grad():
            output = anatomy.model(input_ids=given, past_key_values=cache, use_cache=True)
        log_p = torch.log_softmax(output.logits[0, -1].double(), -1).cpu().numpy()
        token = _draw(log_p, settings, random)
        if token in settings.end_ids:
            return Continuation(chosen, probability, True)
        chosen.append(token)
        probability.append(float(np.exp(log_p[token])))
        cache = getattr(output, "past_key_values", None)
        next_ids = (
            [token] if cache is not None else [*token_ids, *chosen]
        )  # a recurrent model has no such cache
        given = torch.tensor([next_ids], device=anatomy.device)
    return Continuation(chosen, probability, False)


def _draw(log_p: np.ndarray, settings: _Sampling, random: np.random.Generator) -> int:
    order = np.argsort(-log_p, kind="stable")[: settings.top_k or None]
    if settings.temperature == 0:
        return int(order[0])
    scaled = log_p[order] / settings.temperature
    weights = np.cumsum(np.exp(scaled - scaled[0]))
    return int(
        order[min(np.searchsorted(weights, random.random() * weights[-1], side="right"), len(order) - 1)]
    )


def _compare(base: Tensor, adapted: Tensor, corpus: Corpus, rows: np.ndarray) -> np.ndarray:
    """(token, 3): KL both ways, and the change of the next token's surprise (NaN where none follows in the document)."""
    following = np.minimum(rows + 1, corpus.n_tokens - 1)
    has_next = (rows + 1 < corpus.n_tokens) & (corpus.doc[following] == corpus.doc[rows])
    targets = torch.from_numpy(corpus.token_ids[following].astype(np.int64)).to(base.device)
    parts: list[Any] = []
    for a, b, ids in zip(base.split(ROWS), adapted.split(ROWS), targets.split(ROWS)):
        a, b = log_probabilities(a), log_probabilities(b)
        change = (a - b).gather(-1, ids[:, None])[:, 0]
        parts.append(torch.stack([divergence(a, b), divergence(b, a), change], 1))
    found = torch.cat(parts).cpu().numpy()
    found[~has_next, 2] = np.nan
    return found
