"""What each part of an adapter does: take it away and see how far the predictions move.

A part is a direction, a module of a layer, a layer, all modules of one name, or the whole adapter. Taking away direction
k of a module means subtracting scaling · (x · read_k) · write_k from its output; the rest of the model runs on. Layers
before the first one that changes need not run again: the residual stream of the full model enters there.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from generator.artifacts import atomic_path, content_key
from generator.blocks import Corpus
from generator.errors import FeaturebookError
from generator.measure.analyze.anatomy import Anatomy, study
from generator.measure.analyze.capture import Feed, feeds, hooked
from generator.measure.analyze.predictions import ROWS, divergence
from generator.measure.analyze.sample import hashes
from generator.measure.analyze.tail import check_head, log_probabilities, logits, starting_at
from generator.measure.analyze.values import Matrix, Value, mean_of, undefined
from generator.measure.lora import AdaptedModule, read_adapted
from generator.measure.model import layer_list
from generator.measure.sites import Place, find_places
from generator.progress import Progress

VERSION = 1
"""Part of the key of partial results."""


@dataclass(frozen=True)
class AblationSettings:
    """What ablation depends on beside model and corpus."""

    n_documents: int = 16
    """Documents, chosen by hash."""
    batch_tokens: int = 2048
    """Tokens of a forward pass, all ablations that share it included."""
    parts_per_pass: int = 4
    """Ablations that share a forward pass; halved when memory runs out."""
    basis: str = "auto"
    """Directions of a module of rank above 1: as in extraction."""
    collection: str = "lora"
    seed: int = 0


@dataclass(frozen=True)
class Part:
    """What is taken away."""

    key: str  # "direction lora/L3/q_proj/r1", "module L3/q_proj", "layer 3", "type q_proj", "adapter"
    kind: str  # "direction", "module", "layer", "type" or "adapter"
    layer: int
    """−1 where it is not of one numbered layer."""
    module: str
    """Module name within a layer, or empty."""
    channel: str
    """Id of the direction's channel, or empty."""
    removed: tuple[tuple[int, tuple[int, ...]], ...]
    """(index of the adapted module, its directions) that are subtracted."""
    first_layer: int
    """The first numbered layer that changes; 0 when something outside the layers does."""


@dataclass(frozen=True)
class Effect:
    """What taking a part away does."""

    part: Part
    divergence: Value
    """KL(full ‖ ablated) in nats, mean over measured tokens."""
    loss_change: Value
    """Change of the cross-entropy of the next token, ablated less full, in nats; undefined for masked models."""


@dataclass(frozen=True)
class AblationResult:
    """All effects of one adapter."""

    effects: list[Effect]
    method: dict[str, Any]

    def of_channels(self) -> dict[str, Effect]:
        """Channel id -> its effect."""
        return {e.part.channel: e for e in self.effects if e.part.kind == "direction"}

    def grid(self, quantity: str = "divergence") -> Matrix:
        """Layer × module heatmap of ``divergence`` or ``loss_change``; rows and columns are named in the method."""
        cells = {
            (e.part.layer, e.part.module): e
            for e in self.effects
            if e.part.kind == "module" and e.part.layer >= 0
        }
        layers = sorted({layer for layer, _ in cells})
        modules = list(dict.fromkeys(module for _, module in cells))
        none = undefined("not adapted", 0)
        rows = [
            [getattr(cells[i, m], quantity) if (i, m) in cells else none for m in modules] for i in layers
        ]
        method = self.method | {"quantity": quantity, "layers": layers, "modules": modules}
        return Matrix(f"ablation_{quantity}", rows, ("layer", "module"), method)


def measure_ablation(
    model: nn.Module,
    corpus: Corpus,
    settings: AblationSettings,
    progress: Progress,
    *,
    folder: Path | None = None,
    key: str = "",
) -> AblationResult:
    """Takes away every part of the adapter in turn, on a few documents.

    Args:
        model: A loaded language model with PEFT's layers.
        corpus: The text.
        settings: How many documents, how many parts at once.
        progress: Advances by tokens of the documents, once for all parts.
        folder: Where the results of each batch are kept, so that a killed run goes on; nowhere when absent.
        key: Of model, adapter and corpus: partial results of another key are not used.

    Raises:
        FeaturebookError: no adapter, no language-model head, or no memory for one part at a time.
    """
    anatomy = study(model)
    check_head(anatomy)
    adapted = adapted_modules(anatomy.model, settings.basis)
    parts = list_parts(adapted, places_of(anatomy.model, adapted), settings.collection)
    removals = list(
        dict.fromkeys(part.removed for part in parts)
    )  # a module of rank 1 is its direction: measured once
    runner = _Runner(anatomy, corpus, adapted, settings, progress)
    first = {part.removed: part.first_layer for part in parts}
    docs = choose_documents(corpus, settings.n_documents, settings.seed)
    total = np.zeros((len(removals), 4))
    batch_tokens = max(settings.batch_tokens // settings.parts_per_pass, 1)
    for feed in feeds(corpus, batch_tokens=batch_tokens, device=anatomy.device, docs=docs):
        feed_key = content_key(VERSION, key, settings.basis, removals, feed.rows.tolist())
        total += _kept(folder, feed_key, lambda: runner.run(feed, removals, first))  # noqa: B023
        progress.advance(len(feed.rows))
    sums = dict(zip(removals, total))
    is_masked = type(anatomy.model).__name__.endswith("ForMaskedLM")
    return AblationResult(
        [_effect(part, sums[part.removed], is_masked) for part in parts], _method(settings, docs, corpus)
    )


def adapted_modules(model: nn.Module, basis: str = "auto") -> list[AdaptedModule]:
    """The modules that the active adapter changes.

    Raises:
        FeaturebookError: there is none.
    """
    from peft.tuners.lora import LoraLayer

    names = [layer.active_adapters[0] for layer in model.modules() if isinstance(layer, LoraLayer)]
    if not names:
        raise FeaturebookError(
            "The model has no LoRA adapter, so there is nothing to ablate. Set model.adapter."
        )
    return read_adapted(model, names[0], basis)


def list_parts(adapted: Sequence[AdaptedModule], places: Sequence[Place], collection: str) -> list[Part]:
    """All parts of an adapter: directions, modules, layers, module types, everything."""
    parts: list[Part] = []

    def add(
        kind: str,
        name: str,
        removed: dict[int, tuple[int, ...]],
        layer: int = -1,
        module: str = "",
        channel: str = "",
    ) -> None:
        first = min(places[i].layer for i in removed)
        where = tuple(sorted(removed.items()))
        parts.append(Part(f"{kind} {name}".strip(), kind, layer, module, channel, where, max(first, 0)))

    whole = {i: tuple(range(m.rank)) for i, m in enumerate(adapted)}
    for i, place in enumerate(places):
        for r in range(adapted[i].rank):
            channel = place.id(collection, r, adapted[i].rank)
            add("direction", channel, {i: (r,)}, place.layer, place.module, channel)
        add("module", place.dotted, {i: whole[i]}, place.layer, place.module)
    for layer in sorted({p.layer for p in places} - {-1}):
        add("layer", str(layer), {i: whole[i] for i, p in enumerate(places) if p.layer == layer}, layer)
    for module in dict.fromkeys(p.module for p in places):
        add("type", module, {i: whole[i] for i, p in enumerate(places) if p.module == module}, -1, module)
    add("adapter", "", whole)
    return parts


def choose_documents(corpus: Corpus, n: int, seed: int) -> list[int]:
    """The documents that hash lowest, in the corpus's order; empty ones are left out."""
    docs = np.flatnonzero(np.diff(corpus.doc_offsets) > 0)
    order = np.lexsort((docs, hashes(docs, np.zeros(len(docs), np.int64), seed)))
    return sorted(docs[order[:n]].tolist())


@contextmanager
def removing(
    adapted: Sequence[AdaptedModule], removed: dict[int, Bool[Tensor, "doc rank"]]
) -> Iterator[None]:
    """In the block, each row of the batch runs without the directions marked for it.

    Args:
        adapted: The adapter's modules.
        removed: Index of a module -> mask (row of the batch, direction).
    """
    handles = [
        adapted[i].layer.register_forward_hook(_subtract(adapted[i], mask)) for i, mask in removed.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _subtract(module: AdaptedModule, mask: Bool[Tensor, "doc rank"]) -> Any:
    def hook(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        x = args[0]
        if module.kind == "embedding":
            scalars = module.read.to(output.device)[:, x.to(output.device)].movedim(0, -1)
        else:
            scalars = x.float() @ module.read.T.to(x.device)  # (doc, token, rank)
        kept = mask.to(scalars.device)
        scalars = scalars * (
            kept[:, None] if scalars.ndim == 3 else kept.repeat_interleave(len(scalars) // len(kept), 0)
        )
        written = module.scaling * (scalars @ module.write.to(scalars.device))
        return (output.float() - written.to(output.device)).to(output.dtype)

    return hook


@dataclass
class _Runner:
    anatomy: Anatomy
    corpus: Corpus
    adapted: Sequence[AdaptedModule]
    settings: AblationSettings
    progress: Progress

    def __post_init__(self) -> None:
        self.at_once = self.settings.parts_per_pass

    def run(self, feed: Feed, removals: list[Any], first: dict[Any, int]) -> Float[np.ndarray, "k 4"]:
        """KL sum, tokens, change of loss and tokens with a next one, for every removal on one batch."""
        residual: dict[int, Tensor] = {}
        with (
            torch.no_grad(),
            hooked(self.anatomy, lambda i, _, h: residual.__setitem__(i, h), points=("residual",)),
        ):
            full = feed.flatten(logits(self.anatomy, feed.inputs()))
        found = np.zeros((len(removals), 4))
        order = sorted(range(len(removals)), key=lambda i: (first[removals[i]], i))
        while order:
            layer = first[removals[order[0]]]
            group = [i for i in order[: self.at_once] if first[removals[i]] == layer]
            try:
                found[group] = self._group(feed, [removals[i] for i in group], layer, residual[layer], full)
            except torch.OutOfMemoryError as error:
                self._halve(error)
                continue
            order = order[len(group) :]
        return found

    def _group(self, feed: Feed, group: list[Any], layer: int, hidden: Tensor, full: Tensor) -> np.ndarray:
        n, docs = len(group), len(feed.token_ids)
        inputs = {name: value.repeat(n, 1) for name, value in feed.inputs().items()}
        masks = {
            i: torch.zeros(n * docs, module.rank, dtype=torch.bool)
            for i, module in enumerate(self.adapted)
            if any(i == j for removed in group for j, _ in removed)
        }
        for row, removed in enumerate(group):
            for i, directions in removed:
                masks[i][row * docs : (row + 1) * docs, list(directions)] = True
        with (
            torch.no_grad(),
            removing(self.adapted, masks),
            starting_at(self.anatomy, layer, hidden.repeat(n, 1, 1)),
        ):
            output = logits(self.anatomy, inputs).unflatten(0, (n, docs))
        return np.array([self._compare(full, feed.flatten(part), feed.rows) for part in output])

    def _compare(self, full: Tensor, ablated: Tensor, rows: np.ndarray) -> list[float]:
        corpus = self.corpus
        following = np.minimum(rows + 1, corpus.n_tokens - 1)
        has_next = (rows + 1 < corpus.n_tokens) & (corpus.doc[following] == corpus.doc[rows])
        counts = torch.from_numpy(corpus.is_measured[rows])
        has_next_measured = torch.from_numpy(has_next & corpus.is_measured[rows])
        targets = torch.from_numpy(corpus.token_ids[following].astype(np.int64))
        total, change = 0.0, 0.0
        for start in range(0, len(rows), ROWS):
            part = slice(start, start + ROWS)
            a, b = log_probabilities(full[part]), log_probabilities(ablated[part])
            total += float(divergence(a, b)[counts[part].to(a.device)].sum(dtype=torch.float64))
            difference = (a - b).gather(-1, targets[part, None].to(a.device))[:, 0]
            change += float(difference[has_next_measured[part].to(a.device)].sum(dtype=torch.float64))
        return [total, float(counts.sum()), change, float(has_next_measured.sum())]

    def _halve(self, error: Exception) -> None:
        if self.at_once == 1:
            raise FeaturebookError(
                "Memory ran out with one ablation at a time. Lower analyze.batch_tokens."
            ) from error
        self.at_once //= 2
        self.progress.note(
            f"out of memory with {2 * self.at_once} ablations at once: going on with {self.at_once}"
        )


def _kept(folder: Path | None, key: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """What a batch gave, from disk when it was computed before with the same key."""
    if folder is None:
        return compute()
    path = folder / f"ablation-{key}.npy"
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # missing, or cut off by a crash
        found = compute()
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, found, allow_pickle=False)
        return found


def _effect(part: Part, sums: np.ndarray, is_masked: bool) -> Effect:
    total, n, change, n_next = sums.tolist()
    loss = undefined("a masked model has no next token", 0) if is_masked else mean_of(change, int(n_next))
    return Effect(part, mean_of(total, int(n), missing="no measured token"), loss)


def _method(settings: AblationSettings, docs: Sequence[int], corpus: Corpus) -> dict[str, Any]:
    return {
        "convention": "KL(full ‖ ablated) and change of cross-entropy (ablated − full), nats, mean over measured tokens",
        "source": "zero ablation",
        "removed": "scaling · (x · read) · write of the directions; an adapter's own bias and DoRA's rescaling stay",
        "basis": settings.basis,
        "documents": f"{len(docs)} of {corpus.n_docs}, chosen by hash",
        "seed": settings.seed,
        "dtype": "log-probabilities in float32, sums in float64",
    }


def places_of(model: nn.Module, adapted: Sequence[AdaptedModule]) -> list[Place]:
    """The addresses of adapted modules, as extraction gives them."""
    names = [name for name, _ in model.named_modules()]
    inside = tuple(
        f"{module.name}." for module in adapted
    )  # PEFT's own modules and the base layers they wrap
    own = [name for name in names if not name.startswith(inside)]
    return find_places([module.name for module in adapted], own, layer_list(model))
