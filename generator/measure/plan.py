"""``generator check``: what a run would do and need, found out without loading weights or reading the whole corpus."""

import json
from dataclasses import dataclass
from itertools import islice
from math import prod
from statistics import fmean
from typing import Any

import torch
from torch import nn

from generator.config import RunConfig
from generator.errors import FeaturebookError
from generator.measure.checkpoints import n_bytes
from generator.measure.corpus import DocumentReader, context_length, load_tokenizer, longest_piece
from generator.measure.model import Blueprint, choose_device, choose_dtype, layer_list, read_blueprint
from generator.measure.names import public_name
from generator.measure.rows import estimate_rows
from generator.measure.sites import Place, choose_modules, find_places

SAMPLE_DOCUMENTS = 64
"""Documents that are read and tokenised to check the fields and to estimate the size of the corpus."""


@dataclass(frozen=True)
class Plan:
    """What a run would do."""

    lines: list[str]
    """To be printed, one by one."""
    n_channels: int
    n_documents: int | None
    """Estimated; None for a hub data set without ``max_documents``."""
    n_tokens: int | None
    """Estimated."""
    weight_bytes: int
    batch_bytes: int
    """Of one forward pass, roughly: the widest layer's activations and the recorded scalars."""
    summary_bytes: int
    disk_bytes: int | None
    """Of the stored activations; 0 when they are not kept."""


def check(config: RunConfig) -> Plan:
    """Checks a run as far as possible without computing.

    Raises:
        FeaturebookError: what the run would stumble over: a missing path, a damaged file, an adapter for another
            model, a glob that matches nothing, a field that is not there.
    """
    blueprint = read_blueprint(config.model)
    places, ranks = _measured_modules(config, blueprint)
    device = choose_device(config.model)
    dtype = choose_dtype(config.model, blueprint, device)
    sample = _sample_corpus(config)
    n_channels = sum(ranks)
    sizes = _sizes(config, blueprint, dtype, n_channels, sample)
    lines = [
        *_model_lines(config, blueprint, device, dtype, places, ranks),
        *_corpus_lines(config, sample),
        *_size_lines(config, sizes, n_channels),
    ]
    return Plan(
        lines=lines, n_channels=n_channels, n_documents=sample.n_documents, n_tokens=sample.n_tokens, **sizes
    )


def _measured_modules(config: RunConfig, blueprint: Blueprint) -> tuple[list[Place], list[int]]:
    if blueprint.adapter is None:
        return [], []
    modules = blueprint.adapter.modules()
    names = [name for name, _ in blueprint.empty.named_modules() if name]
    paths = [name for name in names if name in modules]  # model order
    places = find_places(paths, names, layer_list(blueprint.empty))
    kept = [p for p, taken in zip(places, choose_modules(places, config.extract.modules)) if taken]
    return kept, [_rank(modules[place.path]) for place in kept]


def _rank(tensors: dict[str, Any]) -> int:
    return next(
        t.shape[0] for suffix, t in tensors.items() if suffix in ("lora_A.weight", "lora_embedding_A")
    )


@dataclass(frozen=True)
class _Sample:
    n_read: int
    mean_tokens: float
    longest: int
    limit: int
    n_documents: int | None
    n_tokens: int | None
    notes: list[str]


def _sample_corpus(config: RunConfig) -> _Sample:
    tokenizer = load_tokenizer(config)
    limit = longest_piece(config, context_length(config, tokenizer))
    reader = DocumentReader(config.corpus, tokenizer, is_sample=True)
    rows = list(
        islice(reader.documents(), min(SAMPLE_DOCUMENTS, config.corpus.max_documents or SAMPLE_DOCUMENTS))
    )
    if not rows:
        raise FeaturebookError(reader.why_nothing())
    reader.check_fields()
    encoded = tokenizer([t for t, _ in rows], add_special_tokens=reader.adds_special_tokens, verbose=False)[
        "input_ids"
    ]
    lengths = [len(ids) for ids in encoded if len(ids) >= config.corpus.min_tokens] or [0]
    row_bytes = fmean(
        len(json.dumps(row.fields, ensure_ascii=False, default=str).encode("utf-8", "replace")) + 1
        for _, row in rows
    )
    total = estimate_rows(config.corpus, row_bytes)
    kept = None if total is None else max(len(rows), round(total * len(rows) / max(1, reader.n_rows)))
    if len(rows) < SAMPLE_DOCUMENTS:  # that was all
        kept = len(rows)
    n_documents = min((n for n in (kept, config.corpus.max_documents) if n is not None), default=None)
    n_tokens = None if n_documents is None else round(n_documents * fmean(lengths))
    return _Sample(len(rows), fmean(lengths), max(lengths), limit, n_documents, n_tokens, reader.notes())


def _sizes(
    config: RunConfig, blueprint: Blueprint, dtype: torch.dtype, n_channels: int, sample: _Sample
) -> dict[str, Any]:
    text = blueprint.config.get_text_config()
    hidden = int(getattr(text, "hidden_size", 0) or 0)
    widest = max((prod(m.weight.shape) // max(1, hidden) for m in _matrices(blueprint.empty)), default=hidden)
    tokens = max(config.extract.batch_tokens, min(sample.longest, sample.limit))
    stored = 2 if config.extract.dtype == "float16" else 4
    kept_tokens = sample.n_tokens if config.extract.keep_activations else 0
    vocabulary = int(getattr(text, "vocab_size", 0) or 0)
    k = config.summarize.k
    return {
        "weight_bytes": blueprint.n_parameters * dtype.itemsize
        + n_bytes(blueprint.adapter.tensors if blueprint.adapter else {}),
        "batch_bytes": tokens * ((6 * hidden + 3 * widest) * dtype.itemsize + 4 * n_channels),
        "summary_bytes": n_channels * (8 * min(vocabulary, sample.n_tokens or vocabulary) + 64 * k + 65536)
        + 16 * min(n_channels, config.summarize.exact_correlations) ** 2
        + 4 * n_channels * config.extract.chunk_tokens,
        "disk_bytes": None if kept_tokens is None else kept_tokens * n_channels * stored,
    }


def _matrices(model: nn.Module) -> list[Any]:
    return [
        m
        for m in model.modules()
        if getattr(m, "weight", None) is not None and not isinstance(m, nn.Embedding) and m.weight.ndim == 2
    ]


def _model_lines(
    config: RunConfig,
    blueprint: Blueprint,
    device: torch.device,
    dtype: torch.dtype,
    places: list[Place],
    ranks: list[int],
) -> list[str]:
    adapter = blueprint.adapter_config
    layers = sorted({place.layer for place in places if place.layer >= 0})
    targets = list(dict.fromkeys(place.module for place in places))
    kind = "DoRA" if adapter.get("use_dora") else "rsLoRA" if adapter.get("use_rslora") else "LoRA"
    span = f"layers {layers[0]} to {layers[-1]} ({len(layers)})" if layers else "no numbered layer"
    shown = ", ".join(targets[:12]) + (", …" if len(targets) > 12 else "")
    model = (
        f"model: {public_name(config.model.base)} ({blueprint.class_name}, {blueprint.n_parameters / 1e6:,.1f} M parameters, "
        f"{str(dtype).removeprefix('torch.')} on {device})"
    )
    if config.model.adapter is None:
        return [model, "adapter: none"]
    return [
        model,
        f"adapter: {public_name(config.model.adapter)} ({kind}, rank {_span(ranks)}, alpha {adapter.get('lora_alpha')})",
        f"channels: {sum(ranks):,} in {len(places)} modules, {span}: {shown}",
    ]


def _span(ranks: list[int]) -> str:
    return str(min(ranks)) if min(ranks) == max(ranks) else f"{min(ranks)} to {max(ranks)}"


def _corpus_lines(config: RunConfig, sample: _Sample) -> list[str]:
    about = (
        f"about {sample.n_documents:,} documents, {sample.n_tokens:,} tokens"
        if sample.n_tokens is not None
        else "size unknown"
    )
    lines = [
        f"corpus: {public_name(config.corpus.source)}: {about} (from the first {sample.n_read}: {sample.mean_tokens:.0f} tokens each, "
        f"at most {sample.longest})"
    ]
    if sample.longest > sample.limit:
        lines.append(f"corpus: documents longer than {sample.limit} tokens are read in overlapping pieces")
    return lines + [f"corpus: in the sample, {note}" for note in sample.notes]


def _size_lines(config: RunConfig, sizes: dict[str, Any], n_channels: int) -> list[str]:
    kept = "not kept" if not config.extract.keep_activations else _size(sizes["disk_bytes"])
    n_bytes_token = n_channels * (2 if config.extract.dtype == "float16" else 4)
    return [
        f"memory: weights {_size(sizes['weight_bytes'])}, a batch of {config.extract.batch_tokens} tokens about "
        f"{_size(sizes['batch_bytes'])}, summary about {_size(sizes['summary_bytes'])} (main memory)",
        f"disk: activations {kept} ({n_bytes_token:,} bytes a token)",
    ]


def _size(n: int | None) -> str:
    if n is None:
        return "of unknown size"
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n >= limit:
            return f"{n / limit:.3g} {unit}"
    return f"{n} B"
