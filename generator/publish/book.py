"""What a publication knows before its first page: which channels have pages, their order, texts and links."""

import math
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool

from generator.blocks import Channel, Corpus
from generator.config import RunConfig
from generator.errors import FeaturebookError, nearest
from generator.findings import Findings
from generator.publish.analysis import Analysis
from generator.publish.labels import Labels
from generator.publish.other_runs import OtherRun
from generator.publish.presets import Preset, preset_of
from generator.publish.tokens import StringTable, TokenTexts
from generator.publish.visible import plain
from generator.summaries import Loadings, Summary

SCHEMA = 1
"""Version of every shard. A reader that meets another one refuses it."""

STEPS = 1000
"""Quantised activations run from −STEPS to STEPS over the measured range of a channel."""


LONGEST_NAME = 200
"""Characters of a document's name."""


@dataclass(frozen=True)
class Book:
    """The inputs of publishing, and what every page looks up in them."""

    config: RunConfig
    corpus: Corpus
    summary: Summary
    published: list[int]
    """Channels that get a page, as indices into the channel table, in the order of previous and next."""
    labels: Labels = field(default_factory=Labels)
    """What people and models say of the channels."""
    findings: dict[str, Findings] = field(default_factory=dict)
    """What only the model could say of them, by panel."""
    analysis: Analysis | None = None
    """How the models behave as a whole."""
    others: list[OtherRun] = field(default_factory=list)
    """Other runs that this one is compared with."""

    @property
    def title(self) -> str:
        """Of the site, on one line, with nothing in it that could disguise it."""
        return plain(self.config.publish.title)

    @cached_property
    def preset(self) -> Preset:
        """How much of the summary the channels' own pages show."""
        return preset_of(self.config.publish.preset, len(self.published))

    @cached_property
    def texts(self) -> TokenTexts:
        """The display text of the vocabulary."""
        return TokenTexts(self.corpus.token_bytes, self.corpus.is_special)

    def strings(self) -> StringTable:
        """An empty string table for one shard."""
        return StringTable(self.texts)

    @cached_property
    def published_set(self) -> frozenset[int]:
        """Channels that get a page."""
        return frozenset(self.published)

    @cached_property
    def place(self) -> dict[int, int]:
        """Where a published channel stands in the order of previous and next."""
        return {index: place for place, index in enumerate(self.published)}

    @cached_property
    def layers(self) -> dict[int, list[int]]:
        """Numbered layers that have a published channel or were analysed, in order, and those channels."""
        layers: dict[int, list[int]] = {}  # 12 -> [84, 85]
        if self.analysis:
            layers = {layer: [] for layer in range(self.analysis.n_layers)}
        for index in self.published:
            if self.summary.channels[index].layer >= 0:
                layers.setdefault(self.summary.channels[index].layer, []).append(index)
        return dict(sorted(layers.items()))

    @cached_property
    def collections(self) -> dict[str, list[int]]:
        """Collections that have a published channel, in the order of the channel table, and those channels."""
        collections: dict[str, list[int]] = {c.collection: [] for c in self.summary.channels}
        for index in self.published:
            collections[self.summary.channels[index].collection].append(index)
        return {name: indices for name, indices in collections.items() if indices}

    @cached_property
    def index_of(self) -> dict[str, int]:
        """Id -> index into the channel table."""
        return {channel.id: index for index, channel in enumerate(self.summary.channels)}

    @cached_property
    def loadings_of(self) -> dict[int, tuple[Loadings, int]]:
        """Latent -> the dictionary that it belongs to and its row there."""
        return {
            index: (loadings, row)
            for loadings in self.summary.loadings
            for row, index in enumerate(loadings.channels.tolist())
        }

    def is_latent(self, index: int) -> bool:
        """Whether a channel belongs to a dictionary; the directions of an adapter do not."""
        return self.summary.channels[index].kind != "lora"

    @cached_property
    def dead(self) -> Bool[np.ndarray, " channel"]:
        """Latents that were active at no measured token; one of unknown density is not among them."""
        is_latent = np.array([channel.kind != "lora" for channel in self.summary.channels], np.bool_)
        return is_latent & (self.summary.statistics["share_active"] == 0)

    @cached_property
    def unsigned(self) -> Bool[np.ndarray, " channel"]:
        """Channels of which only one sign means something, and a last entry, False, for the index −1: none."""
        return np.array([not c.is_signed for c in self.summary.channels] + [False], np.bool_)

    def is_dead(self, index: int) -> bool:
        """Whether a latent was active at no measured token."""
        return bool(self.dead[index])

    @cached_property
    def documents(self) -> dict[int, slice]:
        """Documents that get a page, and their rows in the summary's document arrays."""
        chosen = self.summary.documents
        if not chosen:
            return {}
        offsets = chosen["offsets"].tolist()
        rows = {d: slice(a, b) for d, a, b in zip(chosen["doc"].tolist(), offsets, offsets[1:])}
        return dict(sorted(rows.items()))

    @cached_property
    def doc_names(self) -> list[str]:
        """Names of all documents, fit for a label: one line, nothing unseen, not too long."""
        return [plain(name)[:LONGEST_NAME] for name in self.corpus.doc_names]

    @cached_property
    def statistics(self) -> dict[str, list[Any]]:
        """The columns of the summary as Python numbers; None where not finite."""
        return {name: finite_list(column) for name, column in self.summary.statistics.items()}

    @cached_property
    def spaces(self) -> dict[tuple[int, str], str]:
        """The space in which a channel's read or write vector was compared: ``(84, "read") -> "residual"``."""
        return {
            (channel, side): matrix.space
            for matrix in reversed(self.summary.cosines)  # the first that holds a vector names its space
            for channel, side in matrix.members
        }

    @cached_property
    def crosscoder_numbers(self) -> dict[str, dict[str, Any]]:
        """Latent over hook points -> ``norms`` by place, ``peak_layer`` (None outside numbered layers) and ``relative_norm`` (None
        unless two models are compared)."""
        findings = self.findings.get("crosscoder")
        if findings is None:
            return {}
        layers = {
            name: [place["layer"] for place in facts["places"]]
            for name, facts in findings.facts["collections"].items()
        }
        found: dict[str, dict[str, Any]] = {}
        for channel in self.summary.channels:
            value = findings.of(channel.id)
            if value is not None:
                layer = layers[channel.collection][value["peak"]]
                found[channel.id] = {
                    "norms": value["norms"],
                    "peak_layer": layer if layer >= 0 and any(value["norms"]) else None,
                    "relative_norm": value.get("relative_norm"),
                }
        return found

    def largest(self, index: int) -> float:
        """The largest measured |activation| of a channel; 0 when nothing finite was measured."""
        return self.peaks[index]

    @cached_property
    def peaks(self) -> list[float]:
        """The largest measured |activation| of every channel."""
        ends = [np.abs(self.summary.statistics[name].astype(np.float64)) for name in ("min", "max")]
        return np.maximum(*(np.where(np.isfinite(end), end, 0.0) for end in ends)).tolist()

    def max_write(self, index: int) -> float | None:
        """The Euclidean norm of the largest write, scaling · max|a| · ‖write vector‖; None when not known."""
        channel = self.summary.channels[index]
        size = abs(channel.scaling) * self.largest(index) * channel.write_norm
        return size if channel.write_norm > 0 and math.isfinite(size) else None

    def neighbour_in_order(self, index: int, step: int) -> str | None:
        """The id of the channel before (−1) or after (+1) in the order of the pages."""
        place = self.place[index] + step
        return self.summary.channels[self.published[place]].id if 0 <= place < len(self.published) else None


def open_book(
    config: RunConfig,
    corpus: Corpus,
    summary: Summary,
    labels: Labels | None = None,
    findings: dict[str, Findings] | None = None,
    analysis: Analysis | None = None,
    others: list[OtherRun] | None = None,
) -> Book:
    """Chooses and orders the channels.

    Raises:
        FeaturebookError: ``publish.channels`` matches nothing.
    """
    channels = summary.channels
    chosen = set(_chosen(config.publish.channels, [c.id for c in channels]))
    order = sorted(range(len(channels)), key=lambda i: (*_table_order(channels[i]), i))
    return Book(
        config,
        corpus,
        summary,
        [i for i in order if i in chosen],
        labels or Labels(),
        findings or {},
        analysis,
        others or [],
    )


def _table_order(channel: Channel) -> tuple[bool, int, str]:
    # Modules of a layer keep the order of the table, which is the model's own; those outside a numbered layer come last.
    return channel.layer < 0, channel.layer, channel.collection


def _chosen(wanted: list[str] | int | None, ids: list[str]) -> list[int]:
    """Indices of the channels that ``publish.channels`` asks for; a number takes as many, spread evenly."""
    if wanted is None:
        return list(range(len(ids)))
    if isinstance(wanted, int):
        if wanted < 1:
            raise FeaturebookError(f"publish.channels = {wanted} publishes nothing. Give 1 or more.")
        return np.unique(np.linspace(0, len(ids) - 1, min(wanted, len(ids))).round().astype(int)).tolist()
    kept: set[int] = set()
    if all(glob.startswith("!") for glob in wanted):
        kept = set(range(len(ids)))
    for glob in wanted:
        takes_away = glob.startswith("!")
        hits = {i for i, identifier in enumerate(ids) if fnmatchcase(identifier, glob.removeprefix("!"))}
        if not hits:
            raise FeaturebookError(
                f"publish.channels: no channel matches {glob!r}. {nearest(glob.removeprefix('!'), ids)}"
            )
        kept = kept - hits if takes_away else kept | hits
    if not kept:
        raise FeaturebookError(f"publish.channels = {wanted} leaves no channel. Take away less.")
    return sorted(kept)


def finite_list(column: np.ndarray) -> list[Any]:
    """A column as Python numbers, None where not finite."""
    if column.dtype.kind != "f" or np.isfinite(column).all():
        return column.tolist()
    return np.where(np.isfinite(column), column, None).tolist()  # type: ignore[call-overload]
