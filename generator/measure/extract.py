"""Extraction: activations of every LoRA direction on every token of the corpus, exact and fast (docs/extraction.md)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import nn

from generator.blocks import Channel, ChunkSink, Corpus, Directions
from generator.config import RunConfig
from generator.errors import FeaturebookError
from generator.measure.batches import Piece, pieces_of
from generator.measure.engine import Engine, relative_distance, sliding_window
from generator.measure.lora import AdaptedModule, Recorder, install, merge, read_adapted
from generator.measure.model import LoadedModel, layer_list, load_model
from generator.measure.names import public_name
from generator.measure.sites import Layout, choose_modules, find_places, lay_out
from generator.measure.trace import Call, Trace, record
from generator.progress import Progress

FLOAT16_MAX = 65504.0
MERGE_CHECK_DOCUMENTS = 4
"""Documents on which merged and unmerged values are compared."""


@dataclass(frozen=True)
class ChunkValues:
    """The activations of one chunk of the corpus."""

    values: Float[np.ndarray, "token channel"]
    """In the stored dtype. Not finite where the model is not."""
    is_measured: Bool[np.ndarray, " token"]
    """The corpus's mask, less positions of outlying norm."""


class Extractor:
    """A model with its adapter, ready to give the activations of any chunk of a corpus."""

    channels: list[Channel]
    directions: list[Directions]
    facts: dict[str, Any]

    def __init__(
        self, engine: Engine, corpus: Corpus, config: RunConfig, layout: Layout, facts: dict[str, Any]
    ) -> None:
        """See ``open_extractor``, which makes them."""
        self._engine, self._corpus, self._config = engine, corpus, config
        self.channels, self.directions, self.facts = layout.channels, layout.directions, facts

    def chunk(self, chunk: slice) -> ChunkValues:
        """The activations of a run of whole documents.

        Batches are formed within the chunk, so its values do not depend on other chunks or workers.

        Args:
            chunk: Global token range at document boundaries, as ``Corpus.chunks`` gives them.

        Raises:
            FeaturebookError: memory does not suffice for one document; a value does not fit float16.
        """
        return self._measure(pieces_of(self._corpus, chunk), np.arange(chunk.start, chunk.stop))

    def documents(self, docs: Sequence[int]) -> ChunkValues:
        """The activations of some documents, one after another."""
        pieces: list[Piece] = []
        tokens: list[np.ndarray] = []
        for doc in docs:
            span = self._corpus.tokens_of(doc)
            pieces += pieces_of(self._corpus, span, row=sum(map(len, tokens)))
            tokens.append(np.arange(span.start, span.stop))
        return self._measure(pieces, np.concatenate(tokens))

    def _measure(self, pieces: list[Piece], tokens: Int[np.ndarray, " token"]) -> ChunkValues:
        """Runs pieces whose rows stand for these global tokens."""
        recorded = self._engine.run(pieces, n_rows=len(tokens))
        is_measured = self._corpus.is_measured[tokens]
        exclude_outliers(
            recorded.norms, self._corpus.doc[tokens], is_measured, self._config.extract.exclude_outliers
        )
        return ChunkValues(self._stored(recorded.values, tokens), is_measured)

    def _stored(
        self, values: Float[np.ndarray, "token channel"], tokens: Int[np.ndarray, " token"]
    ) -> Float[np.ndarray, "token channel"]:
        if self._config.extract.dtype == "float32":
            return values
        too_large = np.isfinite(values) & (np.abs(values) > FLOAT16_MAX)
        if too_large.any():
            token, channel = (int(i) for i in np.argwhere(too_large)[0])
            where = self._corpus.doc_names[int(self._corpus.doc[tokens[token]])]
            raise FeaturebookError(
                f"Channel {self.channels[channel].id} has the activation {values[token, channel]:.4g} in document {where!r}, beyond "
                'what float16 holds (65504). Set extract.dtype = "float32".'
            )
        return values.astype(np.float16)

    def calibrate(self) -> None:
        """Fills ``reference_rms`` and ``threshold`` from a fixed sample of documents, chosen by hash."""
        docs = calibration_documents(
            self._corpus.n_docs, self._config.extract.calibration_documents, self._config.seed
        )
        part = self.documents(docs)
        values = part.values[part.is_measured]
        is_finite = np.isfinite(values)
        squares = np.square(np.where(is_finite, values, 0), dtype=np.float64).sum(0)
        counts = is_finite.sum(0)
        rms = np.sqrt(squares / np.maximum(counts, 1))
        self.set_references(np.where(rms > 0, rms, 1.0))

    def set_references(self, reference_rms: Float[np.ndarray, " channel"]) -> None:
        """Sets the unit of every channel (a worker gets it from the process that calibrated)."""
        threshold = self._config.summarize.threshold
        self.channels = [
            replace(channel, reference_rms=float(rms), threshold=threshold * float(rms))
            for channel, rms in zip(self.channels, reference_rms)
        ]


def exclude_outliers(
    norms: Float[np.ndarray, " token"] | None,
    doc: Int[np.ndarray, " token"],
    is_measured: Bool[np.ndarray, " token"],
    limit: float | None,
) -> None:
    """Takes away, in place, positions whose norm exceeds a multiple of their document's median norm."""
    if limit is None or norms is None or not len(doc):
        return
    bounds = [0, *(np.flatnonzero(np.diff(doc)) + 1).tolist(), len(doc)]
    for start, stop in zip(bounds, bounds[1:]):
        own = norms[start:stop]
        is_measured[start:stop] &= ~(own > limit * np.median(own))


def calibration_documents(n_docs: int, wanted: int, seed: int) -> list[int]:
    """The documents with the lowest hash of (seed, document), in corpus order.

    The hash is SplitMix64's finaliser (Steele, Lea & Flood, OOPSLA 2014) of ``seed · 2³² + document``.
    """
    keys = np.array([mix64((seed << 32) + doc) for doc in range(n_docs)], np.uint64)
    return sorted(np.argsort(keys, kind="stable")[:wanted].tolist())


def mix64(x: int) -> int:
    """SplitMix64: one 64-bit integer to another, each bit depending on all."""
    mask = (1 << 64) - 1
    x = (x + 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


def open_extractor(
    config: RunConfig,
    corpus: Corpus,
    progress: Progress,
    device: str | None = None,
    *,
    reference_rms: Float[np.ndarray, " channel"] | None = None,
) -> Extractor:
    """Loads model and adapter, finds the sites, proves the batch layout, calibrates.

    Args:
        config: The run.
        corpus: Its corpus.
        progress: Gets notes: the layout chosen, what merging changed, what is not measured.
        device: Overrules the run file, for a worker that has a GPU of its own.
        reference_rms: The calibration of another process, to skip our own.

    Raises:
        FeaturebookError: any of what can be wrong with a model, an adapter or the choice of modules.
    """
    loaded = load_model(config.model, progress, device=device, seed=config.seed)
    return attach(config, corpus, loaded, progress, reference_rms=reference_rms)


def attach(
    config: RunConfig,
    corpus: Corpus,
    loaded: LoadedModel,
    progress: Progress,
    *,
    reference_rms: Float[np.ndarray, " channel"] | None = None,
) -> Extractor:
    """``open_extractor`` for a model that is in memory already."""
    model, layers = loaded.model, layer_list(loaded.model)
    modules = read_adapted(model, loaded.adapter_name, config.extract.basis)
    recorder = Recorder()
    layout, uses_head = _find_layout(config, corpus, loaded, modules, layers, recorder)
    for note in layout.notes:
        progress.note(note)
    install(layout.sites)
    engine = Engine(
        model,
        sites=layout.sites,
        recorder=recorder,
        n_channels=len(layout.channels),
        device=loaded.device,
        batch_tokens=config.extract.batch_tokens,
        middle=middle_layer(model, layers) if config.extract.exclude_outliers is not None else None,
        uses_head=uses_head,
        progress=progress,
    )
    longest = int((corpus.pieces[:, 2] - corpus.pieces[:, 0]).max())
    packing = engine.prove_layout(
        probe_pieces(corpus), config.extract.packing, window=sliding_window(model.config), longest=longest
    )
    facts = _facts(config, loaded, modules, layout, layers) | {
        "packing": engine.layout,
        "packing_reason": packing,
    }
    extractor = Extractor(engine, corpus, config, layout, facts)
    if config.extract.merge:
        _merge(extractor, layout, model, progress)
    if reference_rms is None:
        extractor.calibrate()
    else:
        extractor.set_references(reference_rms)
    return extractor


def _find_layout(
    config: RunConfig,
    corpus: Corpus,
    loaded: LoadedModel,
    modules: list[AdaptedModule],
    layers: str | None,
    recorder: Recorder,
) -> tuple[Layout, bool]:
    """Traces the body, or the whole model when the adapter reaches outside of the body."""
    model = loaded.model
    inside = {f"{module.name}." for module in modules}
    names = [n for n, _ in model.named_modules() if n and not any(n.startswith(prefix) for prefix in inside)]
    places = find_places([module.name for module in modules], names, layers)
    is_chosen = choose_modules(places, config.extract.modules)
    body = getattr(model, "base_model", model)
    uses_head = not {id(m.layer) for m in modules} <= {id(m) for m in body.modules()}
    trace, layer_calls = _trace(model, model if uses_head else body, corpus, loaded.device, inside, layers)
    layout = lay_out(
        modules,
        places,
        is_chosen,
        trace,
        layer_calls,
        collection=config.collection,
        layers=layers,
        recorder=recorder,
    )
    return layout, uses_head


def _trace(
    model: nn.Module,
    runs: nn.Module,
    corpus: Corpus,
    device: torch.device,
    inside: set[str],
    layers: str | None,
) -> tuple[Trace, list[Call]]:
    """Records two documents of seven tokens (numbers that are no width of a model)."""
    ids = np.resize(corpus.token_ids[: 2 * 7], (2, 7)).astype(np.int64)
    inputs = torch.from_numpy(ids).to(device)

    def skip(name: str) -> bool:
        return any(name.startswith(prefix) for prefix in inside)

    import inspect

    options = {"use_cache": False} if "use_cache" in inspect.signature(runs.forward).parameters else {}
    trace = record(model, lambda: runs(input_ids=inputs, **options), inputs.numel(), skip=skip)
    numbered = dict(model.get_submodule(layers).named_children()) if layers else {}
    layer_calls = [call for layer in numbered.values() for call in trace.calls_of(layer)]
    return trace, layer_calls


def middle_layer(model: nn.Module, layers: str | None) -> nn.Module:
    """The layer at whose input norms are read for ``exclude_outliers``."""
    if layers is None:
        raise FeaturebookError("extract.exclude_outliers needs a model with numbered layers. Remove it.")
    numbered = list(model.get_submodule(layers).children())
    return numbered[len(numbered) // 2]


def probe_pieces(corpus: Corpus) -> list[Piece]:
    """Six short documents of the corpus's own tokens, two of them of equal length."""
    lengths, pieces, row = (11, 3, 7, 7, 1, 16), [], 0
    spread = np.resize(corpus.token_ids[:: max(1, corpus.n_tokens // sum(lengths))], sum(lengths))
    for length in lengths:
        pieces.append(Piece(spread[row : row + length], 0, row))
        row += length
    return pieces


def _merge(extractor: Extractor, layout: Layout, model: nn.Module, progress: Progress) -> None:
    """Merges the adapter into the weights and measures what that changed."""
    corpus, config = extractor._corpus, extractor._config
    docs = calibration_documents(corpus.n_docs, MERGE_CHECK_DOCUMENTS, config.seed)
    before = extractor.documents(docs).values
    merge(layout.sites, model)
    difference = relative_distance(extractor.documents(docs).values, before)
    progress.note(
        f"merged weights: activations differ from the unmerged pass by at most {difference:.2g} of a channel's norm "
        f"({len(docs)} documents)"
    )
    extractor.facts |= {"method": "merged", "merge_difference": float(f"{difference:.3g}")}


def _facts(
    config: RunConfig,
    loaded: LoadedModel,
    modules: Sequence[AdaptedModule],
    layout: Layout,
    layers: str | None,
) -> dict[str, Any]:
    """What the pages say about the model and the adapter. No paths, no times."""
    adapter = loaded.blueprint.adapter_config
    kind = "DoRA" if adapter.get("use_dora") else "rsLoRA" if adapter.get("use_rslora") else "LoRA"
    return model_facts(config, loaded, layers) | {
        "adapter": public_name(str(config.model.adapter)),
        "adapter_type": kind,
        "adapter_name": loaded.adapter_name,
        "ranks": sorted({module.rank for module in modules}),
        "alpha": adapter.get("lora_alpha"),
        "scalings": sorted({round(module.scaling, 6) for module in modules}),
        "targets": list(dict.fromkeys(channel.module for channel in layout.channels)),
        "n_adapted_modules": len(modules),
        "n_channels": len(layout.channels),
        "basis": sorted({channel.basis for channel in layout.channels}),
        "method": "exact",
        "stored_dtype": config.extract.dtype,
    }


def model_facts(config: RunConfig, loaded: LoadedModel, layers: str | None) -> dict[str, Any]:
    """What the pages say about a model, with or without an adapter. No paths, no times."""
    text = loaded.model.config.get_text_config()
    return {
        "model": public_name(config.model.base),
        "architecture": type(loaded.model).__name__,
        "model_type": text.model_type,
        "n_layers": len(loaded.model.get_submodule(layers)) if layers else 0,
        "hidden_size": getattr(text, "hidden_size", None),
        "n_parameters": loaded.blueprint.n_parameters,
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "device": loaded.device.type,
        "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
    }


def extract(
    config: RunConfig, corpus: Corpus, sink: ChunkSink, key: str, progress: Progress
) -> dict[str, Any]:
    """Writes ``channels.h5`` and every chunk that is not there yet.

    A killed run leaves the chunks that it finished; the same call goes on with the others. Files of other keys are
    removed.

    Args:
        config: The run; ``extract.workers`` processes share the chunks.
        corpus: Its corpus.
        sink: Where to write: activation files, or whatever takes their place.
        key: The content key of this stage; a chunk of another key counts as missing.
        progress: Advances by tokens.

    Returns:
        Facts for the manifest.

    Raises:
        FeaturebookError: see ``open_extractor``; also a worker that died, or a full disk.
    """
    chunks = corpus.chunks(config.extract.chunk_tokens)
    sink.remove_stale(chunks, key=key)
    missing = [chunk for chunk in chunks if not sink.has_chunk(chunk, key=key)]
    for chunk in chunks:
        if chunk not in missing:
            progress.advance(chunk.stop - chunk.start)
    n_workers = min(config.extract.workers, max(1, len(missing)))
    device = "cuda:0" if n_workers > 1 and _one_gpu_each(config, n_workers) else None
    extractor = open_extractor(config, corpus, progress, device)
    sink.save_channels(extractor.channels, extractor.directions, extractor.facts)
    if n_workers > 1:
        from generator.measure.workers import share

        share(config, corpus, sink, key, missing, extractor, n_workers, progress)
    else:
        for chunk in missing:
            write_chunk(extractor, sink, chunk, key)
            progress.advance(chunk.stop - chunk.start)
    return extractor.facts | {"n_chunks": len(chunks), "n_chunks_resumed": len(chunks) - len(missing)}


def write_chunk(extractor: Extractor, sink: ChunkSink, chunk: slice, key: str) -> None:
    """Computes and writes one chunk."""
    part = extractor.chunk(chunk)
    sink.write_chunk(chunk, part.values, part.is_measured, key=key)


def _one_gpu_each(config: RunConfig, n_workers: int) -> bool:
    """Whether the workers get a GPU each; the device of the run file wins when it names one."""
    wanted = config.model.device
    return wanted in ("auto", "cuda") and torch.cuda.is_available() and torch.cuda.device_count() >= n_workers
