"""How much of what an adapter gains survives when its writes are rebuilt from a dictionary over its activations.

Two passes per batch. The first records the scalars x · A of every direction of the untouched adapter. The second replays
scalars in place of live ones, whatever the changed residual stream would have given: the module's LoRA output
becomes scaling · Σ_k ŝ_k · write_k. Loss recovered is (CE_off − CE_rebuilt) / (CE_off − CE_full); the baseline CE_off
replays zeros, which switches the adapter off.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from generator.blocks import Corpus
from generator.config import CollectionTable, RunConfig
from generator.measure.analyze.ablation import adapted_modules, choose_documents, list_parts, places_of
from generator.measure.analyze.anatomy import Anatomy, study
from generator.measure.analyze.capture import Feed, feeds
from generator.measure.analyze.sample import hashes
from generator.measure.analyze.tail import log_probabilities, logits
from generator.measure.dictionaries import Dictionary
from generator.measure.effects.reading import PlaceReader
from generator.measure.lora import AdaptedModule
from generator.measure.model import load_model
from generator.measure.training.rows import is_held_out
from generator.measure.variants import Models
from generator.progress import Progress

BATCH_TOKENS = 2048
"""Tokens of a forward pass."""

LEAST_GAIN = 1e-4
"""Nats per token that the adapter must gain for a share of it to mean anything."""

PASSES = ("full", "rebuilt", "baseline")
"""The adapter as it is, its scalars rebuilt by the dictionary, its scalars zero."""


@dataclass
class LossMeter:
    """Measures the dictionaries of one run; the model is loaded when the first one asks."""

    config: RunConfig
    corpus: Corpus
    progress: Progress
    models: Models
    """What collections over places of a model read."""

    @cached_property
    def _model(self) -> nn.Module:
        return load_model(self.config.model, self.progress, seed=self.config.seed).model

    def of(
        self, dictionary: Dictionary, inputs: Sequence[str], split: tuple[float, int] | None, n_documents: int
    ) -> dict[str, Any]:
        """Loss recovered on a few documents, for the collection's page.

        Args:
            dictionary: Over the adapter's activations.
            inputs: Ids of the channels that it reads.
            split: Share and seed of the held-out documents, when they are known; only those are read then.
            n_documents: At most so many documents, chosen by hash.
        """
        found = loss_recovered(
            self._model, self.corpus, dictionary, inputs, docs=self._documents(split, n_documents),
            basis=self.config.extract.basis, collection=self.config.collection,
        )  # fmt: skip
        return found | {"is_held_out": split is not None}

    def of_place(
        self, dictionary: Dictionary, table: CollectionTable, split: tuple[float, int] | None
    ) -> dict[str, Any]:
        """The same of a dictionary over one place of a model.

        Args:
            dictionary: Over the place.
            table: Its collection.
            split: See ``of``.
        """
        from generator.measure.training.replayed import loss_replayed

        reader = PlaceReader(table, self.models)
        found = loss_replayed(reader, self.corpus, dictionary, self._documents(split, table.loss_documents))
        return found | {"is_held_out": split is not None}

    def _documents(self, split: tuple[float, int] | None, n: int) -> list[int]:
        if split is None:
            return choose_documents(self.corpus, n, self.config.seed)
        filled = np.flatnonzero(np.diff(self.corpus.doc_offsets) > 0)
        docs = filled[is_held_out(filled, *split)]
        order = np.lexsort((docs, hashes(docs, np.zeros(len(docs), np.int64), self.config.seed)))
        return sorted(docs[order[:n]].tolist())


def loss_recovered(
    model: nn.Module, corpus: Corpus, dictionary: Dictionary, inputs: Sequence[str], *,
    docs: Sequence[int], basis: str = "auto", collection: str = "lora", batch_tokens: int = BATCH_TOKENS,
) -> dict[str, Any]:  # fmt: skip
    """The cross-entropies of the three passes and what they come to.

    Scalars are rebuilt at tokens that count in statistics; at the others, which no dictionary was trained on, the
    recorded ones are replayed. Directions that the dictionary does not read stay live in all passes.

    Args:
        model: A causal language model with PEFT's layers.
        corpus: The text.
        dictionary: Reads the channels in the order of ``inputs``.
        inputs: Channel ids, in the basis of extraction.
        docs: Documents to read.
        basis: As in extraction.
        collection: First part of the adapter's channel ids.
        batch_tokens: Tokens of a forward pass.

    Returns:
        ``value`` (None where it is not defined, and ``undefined`` says why), ``loss`` by pass, ``n_tokens`` and ``n_documents``;
        ``helped``, the same over the documents whose loss the adapter lowers, where it raises that of others; ``baseline``.
    """
    anatomy = study(model)
    if why := why_undefined(anatomy):
        return {"value": None, "undefined": why}
    adapted = adapted_modules(anatomy.model, basis)
    columns = _columns(anatomy.model, adapted, collection, inputs)
    is_whole = all((own >= 0).all() for own in columns)
    totals = np.zeros((len(PASSES) + 1, corpus.n_docs))  # sums of the passes, then tokens, by document
    with torch.no_grad():
        for feed in feeds(corpus, batch_tokens=batch_tokens, device=anatomy.device, docs=docs):
            totals += _three_passes(anatomy, corpus, feed, adapted, columns, dictionary)
    found = share_of(totals) | {"baseline": "adapter off" if is_whole else "directions that it reads off"}
    is_helped = totals[2] > totals[0]
    if is_helped.any() and (totals[2] < totals[0]).any():
        found["helped"] = share_of(totals[:, is_helped])
    return found


def why_undefined(anatomy: Anatomy) -> str:
    """The sentence why a model has no loss to recover; empty where it has one."""
    name = type(anatomy.model).__name__
    is_causal = name.endswith(("ForCausalLM", "LMHeadModel"))
    return "" if is_causal else f"{name} predicts no next token, so there is no loss to recover."


def share_of(totals: Float[np.ndarray, "k doc"], what: str = "adapter") -> dict[str, Any]:
    """What the sums of ``PASSES`` and the number of tokens, by document, come to.

    Args:
        totals: One row for each pass, then tokens.
        what: Whose absence is the baseline.
    """
    *sums, n = totals.sum(1)
    losses = np.array(sums) / n if n else np.full(len(PASSES), math.nan)
    counts = {"n_tokens": int(n), "n_documents": int((totals[-1] > 0).sum())}
    return _ratio(losses, what) | counts


def _ratio(losses: Float[np.ndarray, " k"], what: str) -> dict[str, Any]:
    full, rebuilt, baseline = losses.tolist()
    if not np.isfinite(losses).all():
        return {"value": None, "undefined": "A cross-entropy is not finite, or no token has a next one."}
    found: dict[str, Any] = {"value": None, "loss": dict(zip(PASSES, losses.tolist()))}
    if baseline - full < LEAST_GAIN:
        return found | {
            "undefined": f"The {what} changes the loss of these documents by {full - baseline:+.4f} nats per token: there is "
            "nothing to recover."
        }
    return found | {"value": (baseline - rebuilt) / (baseline - full)}


def _columns(
    model: nn.Module, adapted: Sequence[AdaptedModule], collection: str, inputs: Sequence[str]
) -> list[np.ndarray]:
    """For every module, the column of each of its directions among the inputs; −1 where it is not read."""
    place = {identifier: column for column, identifier in enumerate(inputs)}
    columns = [np.full(module.rank, -1, np.int64) for module in adapted]
    for part in list_parts(adapted, places_of(model, adapted), collection):
        if part.kind == "direction":
            ((module, (direction,)),) = part.removed
            columns[module][direction] = place.get(part.channel, -1)
    return columns


def _three_passes(
    anatomy: Anatomy,
    corpus: Corpus,
    feed: Feed,
    adapted: Sequence[AdaptedModule],
    columns: Sequence[np.ndarray],
    dictionary: Dictionary,
) -> Float[np.ndarray, "k doc"]:
    recorded = torch.zeros(*feed.token_ids.shape, dictionary.d_in)
    with recording(adapted, columns, recorded):
        full, n_tokens = summed_loss(logits(anatomy, feed.inputs()), feed, corpus)
    flat = recorded.flatten(0, 1).to(dictionary.W_enc.device)
    rebuilt = dictionary.decode(dictionary.encode_sparse(flat)).cpu().view_as(recorded)
    kept = torch.from_numpy(measured_in(feed, corpus))[..., None]
    sums = [full]
    for scalars in (torch.where(kept, rebuilt, recorded), torch.zeros_like(recorded)):
        with replaying(adapted, columns, scalars):
            sums.append(summed_loss(logits(anatomy, feed.inputs()), feed, corpus)[0])
    return np.stack([*sums, n_tokens])


def measured_in(feed: Feed, corpus: Corpus) -> Bool[np.ndarray, "doc width"]:
    """The corpus's mask at every place of a batch, overlap with the piece before included; padding counts as False."""
    kept = feed.kept.cpu().numpy()
    n_kept = kept.sum(1)
    first_row = feed.rows[np.cumsum(n_kept) - n_kept]
    rows = first_row[:, None] + np.arange(kept.shape[1]) - kept.argmax(1)[:, None]
    is_real = np.ones_like(kept) if feed.attention_mask is None else feed.attention_mask.cpu().numpy() > 0
    return is_real & corpus.is_measured[np.clip(rows, 0, corpus.n_tokens - 1)]


def summed_loss(output: Tensor, feed: Feed, corpus: Corpus) -> Float[np.ndarray, "2 doc"]:
    """Sum of −log p(next token) over measured tokens that have a next one, and their number, by document."""
    rows = feed.rows
    following = np.minimum(rows + 1, corpus.n_tokens - 1)
    counts = (rows + 1 < corpus.n_tokens) & (corpus.doc[following] == corpus.doc[rows])
    counts &= corpus.is_measured[rows]
    targets = torch.from_numpy(corpus.token_ids[following][counts].astype(np.int64)).to(output.device)
    kept = feed.flatten(output)[torch.from_numpy(counts).to(output.device)]
    found = -log_probabilities(kept).gather(-1, targets[:, None])[:, 0].double().cpu().numpy()
    docs = corpus.doc[rows][counts]
    return np.stack([np.bincount(docs, weights, corpus.n_docs) for weights in (found, np.ones(len(docs)))])


# --- Hooks on PEFT's layers ------------------------------------------------------------------------------------


@contextmanager
def recording(
    adapted: Sequence[AdaptedModule], columns: Sequence[np.ndarray], into: Float[Tensor, "doc token channel"]
) -> Iterator[None]:
    """Keeps the scalars of one pass under their columns.

    Args:
        adapted: The adapter's modules.
        columns: Of each module's directions; −1 is not kept.
        into: Written in place, float32.
    """

    def hook_of(module: AdaptedModule, own: np.ndarray) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...]) -> None:
            scalars = _scalars(module, args[0])[..., own >= 0].cpu()
            into[..., own[own >= 0]] = scalars.reshape(*into.shape[:2], -1)

        return hook

    handles = [
        module.layer.register_forward_pre_hook(hook_of(module, own))
        for module, own in zip(adapted, columns)
        if (own >= 0).any()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def replaying(
    adapted: Sequence[AdaptedModule],
    columns: Sequence[np.ndarray],
    scalars: Float[Tensor, "doc token channel"],
) -> Iterator[None]:
    """In the block, these scalars stand in place of live ones; directions of column −1 stay live."""

    def hook_of(module: AdaptedModule, own: np.ndarray) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
            live = _scalars(module, args[0])[..., own >= 0]
            change = scalars[..., own[own >= 0]].to(live.device).reshape(live.shape) - live
            written = module.scaling * (change @ module.write[own >= 0].to(live.device))
            return (output.float() + written.to(output.device)).to(output.dtype)

        return hook

    handles = [
        module.layer.register_forward_hook(hook_of(module, own))
        for module, own in zip(adapted, columns)
        if (own >= 0).any()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _scalars(module: AdaptedModule, x: Tensor) -> Float[Tensor, "*shape rank"]:
    """x · read of every direction, float32; of an embedding, the entries of the token ids."""
    if module.kind == "embedding":
        return module.read.to(x.device)[:, x].movedim(0, -1)
    return x.float() @ module.read.T.to(x.device)
