"""The summary: everything that pages say about the channels, as arrays with channel as axis 0.

``summarize`` writes it, ``publish`` reads it; neither knows the other. What each number means is defined in
docs/statistics.md. No torch here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import orjson
from jaxtyping import Float, Int

from generator.blocks import (
    Channel,
    load_channels,
    new_hdf5,
    open_hdf5,
    read_strings,
    save_channels,
    write_array,
    write_strings,
)
from generator.errors import FeaturebookError

REMEDY = "python -m generator build --only summarize --force"


@dataclass(frozen=True)
class Ragged:
    """One list per channel, as columns of equal length: row ``offsets[c]:offsets[c + 1]`` belong to channel c."""

    offsets: Int[np.ndarray, " channel_bound"]
    columns: dict[str, np.ndarray]

    def of(self, channel: int) -> dict[str, np.ndarray]:
        """The columns of one channel."""
        rows = slice(int(self.offsets[channel]), int(self.offsets[channel + 1]))
        return {name: column[rows] for name, column in self.columns.items()}

    def save(self, group: h5py.Group) -> None:
        """Writes it as one HDF5 group."""
        write_array(group, "offsets", self.offsets)
        for name, column in self.columns.items():
            write_array(group, name, column)

    @classmethod
    def load(cls, group: h5py.Group) -> "Ragged":
        """Reads what ``save`` wrote."""
        return cls(group["offsets"][()], {name: group[name][()] for name in group if name != "offsets"})


@dataclass(frozen=True)
class ByToken:
    """Of every vocabulary entry the channels that fire most strongly on it."""

    strongest: Ragged
    """One list per vocabulary entry. Columns ``channel`` and ``mean`` (over all measured occurrences): of each collection and
    sign those with the largest |mean| / RMS over the corpus, in no order; none with mean 0."""
    n_firing: Int[np.ndarray, " vocabulary"]
    """Channels whose |mean| on the entry is at least their RMS over the corpus."""

    def save(self, group: h5py.Group) -> None:
        """Writes it as one HDF5 group."""
        self.strongest.save(group.create_group("strongest"))
        write_array(group, "n_firing", self.n_firing)

    @classmethod
    def load(cls, group: h5py.Group) -> "ByToken":
        """Reads what ``save`` wrote."""
        return cls(Ragged.load(group["strongest"]), group["n_firing"][()])


def nothing_by_token(n_vocabulary: int) -> ByToken:
    """Of a run that does not know its means by token."""
    columns: dict[str, np.ndarray] = {"channel": np.zeros(0, np.int32), "mean": np.zeros(0)}
    return ByToken(Ragged(np.zeros(n_vocabulary + 1, np.int64), columns), np.zeros(n_vocabulary, np.int64))


@dataclass(frozen=True)
class Profile:
    """Mean activation of every channel over the members of a closed set (positions, token classes, steps)."""

    names: list[str]  # ["digit", "operator", …] or ["0", "1", "2–3", …]
    mean: Float[np.ndarray, "channel bin"]
    """NaN where no token fell into the bin."""
    count: Int[np.ndarray, "channel bin"]
    """Measured tokens with a finite value."""


@dataclass(frozen=True)
class CosineMatrix:
    """Cosines between all directions of one space."""

    space: str
    members: list[tuple[int, str]]  # (channel index, "read" or "write"), the order of rows and columns
    values: Float[np.ndarray, "member member"]


@dataclass(frozen=True)
class Loadings:
    """A dictionary over channels: what each latent reads from and writes to every channel it was trained on."""

    channels: Int[np.ndarray, " channel"]
    """The latents, as indices into the channel table."""
    inputs: list[str]  # ids of the channels that the dictionary reads: ["lora/L0/q_proj", …]
    read: Float[np.ndarray, "channel input"]
    """Encoder weights, for inputs as they are (scaling folded in)."""
    write: Float[np.ndarray, "channel input"]
    """Decoder weights, in the inputs' own units."""


@dataclass(frozen=True)
class Map:
    """A dictionary's active latents in the plane: those whose decoder directions are alike lie together."""

    channels: Int[np.ndarray, " channel"]
    """As indices into the channel table."""
    places: Float[np.ndarray, "channel 2"]
    """From 0 to 1 on the longer axis."""
    method: str
    """The sentence that says how they were found."""


@dataclass(frozen=True)
class SharedValues:
    """Every value of a run of channels on the same few whole documents, so that channels can be compared token by token."""

    first: int
    """The first of its channels, as an index into the channel table."""
    doc: Int[np.ndarray, " doc"]
    offsets: Int[np.ndarray, " doc_bound"]
    """Where each document begins among the tokens kept."""
    unit: Float[np.ndarray, " channel"]
    """Activation = value × unit, with the 11 bits of a float16."""
    values: dict[str, np.ndarray]
    """``dense`` (token, channel), NaN where not finite; or, by channel, ``bounds``, ``token`` and ``value``: zeros left out."""

    def holds(self, channel: int) -> bool:
        """Whether a channel of the table is among them."""
        return self.first <= channel < self.first + len(self.unit)

    def of(self, channel: int) -> Float[np.ndarray, " token"]:
        """The activations of a channel at all tokens kept, float32."""
        row = channel - self.first
        if "dense" in self.values:
            return self.values["dense"][:, row].astype(np.float32) * np.float32(self.unit[row])
        found = np.zeros(int(self.offsets[-1]), np.float32)
        part = slice(*self.values["bounds"][row : row + 2].tolist())
        found[self.values["token"][part]] = self.values["value"][part].astype(np.float32) * self.unit[row]
        return found


@dataclass(frozen=True)
class Summary:
    """What is known of all channels of a run after one pass over the activations."""

    channels: list[Channel]
    facts: dict[str, Any]
    """Of the model and adapter, from extraction: for the pages and the provenance."""
    settings: dict[str, Any]
    """The ``[summarize]`` table that was used: k, context, per_document, quantile bands, …"""
    statistics: dict[str, np.ndarray]
    """One number per channel: ``n_tokens`` and ``n_nonfinite`` (int64), ``mean``, ``std``, ``skewness``, ``kurtosis``,
    ``min``, ``max`` (float64), ``share_positive``, ``share_negative``, ``share_active`` (float64, of n_tokens),
    ``n_documents`` (int64: documents in which the channel is active)."""
    quantile_levels: Float[np.ndarray, " quantile"]  # 0.001 … 0.999
    quantiles: Float[np.ndarray, "channel quantile"]
    histogram_step: Float[np.ndarray, " channel"]
    """Bin width, a power of two; bin ``i`` of a channel spans ``(first + i) * step`` to ``(first + i + 1) * step``."""
    histogram_first: Int[np.ndarray, " channel"]
    histogram: Ragged
    """Column ``count``: at most 100 bins per channel, exact counts."""
    groups: list[str]
    """Names of the example groups in their order on the page: "top", "bottom", "band:+99.9-100", …, "random"."""
    bands: dict[str, np.ndarray]
    """Per channel and band (axis 1 in the order of the "band:…" groups): ``low``, ``high`` (activation), ``count``."""
    examples: Ragged
    """Sorted by group, then rank. Columns: ``group`` (index into groups), ``doc``, ``position`` (of the peak in its document),
    ``value``, ``start`` (first token of the window, position in the document), ``length``, ``values_at`` (index of
    the window's first value in ``example_values``)."""
    example_values: Float[np.ndarray, " value"]
    """float32 activations of all windows, one after another; NaN where a value was not finite."""
    top_tokens: Ragged
    """Columns ``token_id``, ``mean``, ``count``: the highest mean activation first."""
    bottom_tokens: Ragged
    """The same from the lowest mean."""
    by_token: ByToken
    profiles: dict[str, Profile]
    """``position``, ``token_class``, ``step``."""
    neighbours: dict[str, Ragged]
    """``read_cosine``, ``write_cosine``, ``correlation``, ``coactivation`` -> columns ``channel`` and ``value``, strongest |value|
    first. Neighbours never cross spaces (cosines) or collections (correlation, coactivation)."""
    cosines: list[CosineMatrix]
    documents: dict[str, np.ndarray]
    """Chosen documents, each whole: ``doc`` (document indices), ``offsets`` (into the next two), ``channel`` (token, 8; −1 for
    none) and ``value`` (token, 8): the strongest channels at each token by |value| / reference_rms."""
    notes: list[str] = field(default_factory=list)
    """Sentences for the pages: what was approximated, what was left out."""
    loadings: list[Loadings] = field(default_factory=list)
    """Of the collections that are dictionaries over channels."""
    maps: list[Map] = field(default_factory=list)
    """Of the collections that are dictionaries."""
    shared: list[SharedValues] = field(default_factory=list)
    """One of each summary that was joined; none where ``value_tokens`` is 0."""

    def save(self, path: Path) -> None:
        """Writes ``summary.h5``."""
        with new_hdf5(path, kind="summary") as file:
            save_channels(file.create_group("channels"), self.channels)
            file.attrs["facts"] = orjson.dumps(self.facts, option=orjson.OPT_SERIALIZE_NUMPY)
            file.attrs["settings"] = orjson.dumps(self.settings, option=orjson.OPT_SERIALIZE_NUMPY)
            for name, array in self.statistics.items():
                write_array(file, f"statistics/{name}", array, "channel")
            write_array(file, "quantile_levels", self.quantile_levels)
            write_array(file, "quantiles", self.quantiles, "channel")
            write_array(file, "histogram_step", self.histogram_step, "channel")
            write_array(file, "histogram_first", self.histogram_first, "channel")
            self.histogram.save(file.create_group("histogram"))
            write_strings(file, "groups", self.groups)
            for name, array in self.bands.items():
                write_array(file, f"bands/{name}", array, "channel", "bin")
            self.examples.save(file.create_group("examples"))
            write_array(file, "example_values", self.example_values)
            self.top_tokens.save(file.create_group("top_tokens"))
            self.bottom_tokens.save(file.create_group("bottom_tokens"))
            self.by_token.save(file.create_group("by_token"))
            for name, profile in self.profiles.items():
                group = file.create_group(f"profiles/{name}")
                write_strings(group, "names", profile.names)
                write_array(group, "mean", profile.mean, "channel", "bin")
                write_array(group, "count", profile.count, "channel", "bin")
            for name, ragged in self.neighbours.items():
                ragged.save(file.create_group(f"neighbours/{name}"))
            for index, matrix in enumerate(self.cosines):
                group = file.create_group(f"cosines/{index:05d}")
                group.attrs["space"] = matrix.space
                write_array(group, "member_channel", np.array([m[0] for m in matrix.members], np.int64))
                write_strings(group, "member_side", [m[1] for m in matrix.members])
                write_array(group, "values", matrix.values)
            for name, array in self.documents.items():
                write_array(file, f"documents/{name}", array)
            write_strings(file, "notes", self.notes)
            for index, loadings in enumerate(self.loadings):
                group = file.create_group(f"loadings/{index:05d}")
                write_strings(group, "inputs", loadings.inputs)
                write_array(group, "channels", loadings.channels, "channel")
                write_array(group, "read", loadings.read, "channel")
                write_array(group, "write", loadings.write, "channel")
            for index, plane in enumerate(self.maps):
                group = file.create_group(f"maps/{index:05d}")
                group.attrs["method"] = plane.method
                write_array(group, "channels", plane.channels, "channel")
                write_array(group, "places", plane.places, "channel")
            for index, shared in enumerate(self.shared):
                group = file.create_group(f"shared/{index:05d}")
                group.attrs["first"] = shared.first
                for name in ("doc", "offsets", "unit"):
                    write_array(group, name, getattr(shared, name))
                for name, array in shared.values.items():
                    write_array(group, f"values/{name}", array)

    @classmethod
    def load(cls, path: Path) -> "Summary":
        """Reads ``summary.h5``."""
        with open_hdf5(path, kind="summary", remedy=REMEDY) as file:
            return cls(
                channels=load_channels(file["channels"]),
                facts=orjson.loads(file.attrs["facts"]),
                settings=orjson.loads(file.attrs["settings"]),
                statistics=_arrays(file, "statistics"),
                quantile_levels=file["quantile_levels"][()],
                quantiles=file["quantiles"][()],
                histogram_step=file["histogram_step"][()],
                histogram_first=file["histogram_first"][()],
                histogram=Ragged.load(file["histogram"]),
                groups=read_strings(file, "groups"),
                bands=_arrays(file, "bands"),
                examples=Ragged.load(file["examples"]),
                example_values=file["example_values"][()],
                top_tokens=Ragged.load(file["top_tokens"]),
                bottom_tokens=Ragged.load(file["bottom_tokens"]),
                by_token=ByToken.load(file["by_token"]),
                profiles={
                    name: Profile(read_strings(group, "names"), group["mean"][()], group["count"][()])
                    for name, group in file.get("profiles", {}).items()
                },
                neighbours={name: Ragged.load(group) for name, group in file.get("neighbours", {}).items()},
                cosines=[
                    CosineMatrix(group.attrs["space"], _members(group), group["values"][()])
                    for _, group in sorted(file.get("cosines", {}).items())
                ],
                documents=_arrays(file, "documents"),
                notes=read_strings(file, "notes"),
                loadings=[
                    Loadings(
                        group["channels"][()],
                        read_strings(group, "inputs"),
                        group["read"][()],
                        group["write"][()],
                    )
                    for _, group in sorted(file.get("loadings", {}).items())
                ],
                maps=[
                    Map(group["channels"][()], group["places"][()], group.attrs["method"])
                    for _, group in sorted(file.get("maps", {}).items())
                ],
                shared=[
                    SharedValues(
                        int(group.attrs["first"]),
                        group["doc"][()],
                        group["offsets"][()],
                        group["unit"][()],
                        _arrays(group, "values"),
                    )
                    for _, group in sorted(file.get("shared", {}).items())
                ],
            )


def join(summaries: Sequence[Summary]) -> Summary:
    """One summary of several collections over the same corpus; channels of the first come first.

    The first one's model facts and settings are kept; ``facts["collections"]`` gathers what each collection says of
    itself. Document arrays stand side by side: each token has the strongest channels of every collection.
    """
    if len(summaries) == 1:
        return summaries[0]
    first = summaries[0]
    starts = np.cumsum([0, *(len(s.channels) for s in summaries)])
    groups = _union([s.groups for s in sorted(summaries, key=lambda s: -len(s.groups))])
    bands = [g for g in groups if g.startswith("band:")]
    values_at = np.cumsum([0, *(len(s.example_values) for s in summaries)])
    return Summary(
        channels=[channel for s in summaries for channel in s.channels],
        facts=first.facts | {"collections": _union_of_facts(summaries)},
        settings=first.settings,
        statistics={n: np.concatenate([s.statistics[n] for s in summaries]) for n in first.statistics},
        quantile_levels=first.quantile_levels,
        quantiles=np.concatenate([s.quantiles for s in summaries]),
        histogram_step=np.concatenate([s.histogram_step for s in summaries]),
        histogram_first=np.concatenate([s.histogram_first for s in summaries]),
        histogram=_stack([s.histogram for s in summaries]),
        groups=groups,
        bands={n: np.concatenate([_band_columns(s, n, bands) for s in summaries]) for n in first.bands},
        examples=_stack(
            [
                _shifted(
                    s.examples,
                    group=partial(np.take, [groups.index(name) for name in s.groups]),
                    values_at=partial(np.add, base),
                )
                for s, base in zip(summaries, values_at)
            ]
        ),
        example_values=np.concatenate([s.example_values for s in summaries]),
        top_tokens=_stack([s.top_tokens for s in summaries]),
        bottom_tokens=_stack([s.bottom_tokens for s in summaries]),
        by_token=_joined_by_token([s.by_token for s in summaries], starts),
        profiles={
            name: Profile(
                first.profiles[name].names,
                np.concatenate([s.profiles[name].mean for s in summaries]),
                np.concatenate([s.profiles[name].count for s in summaries]),
            )
            for name in first.profiles
        },
        neighbours={
            name: _stack(
                [
                    _shifted(s.neighbours[name], channel=partial(np.add, base))
                    for s, base in zip(summaries, starts)
                ]
            )
            for name in first.neighbours
        },
        cosines=[
            CosineMatrix(m.space, [(c + int(base), side) for c, side in m.members], m.values)
            for s, base in zip(summaries, starts)
            for m in s.cosines
        ],
        documents=_joined_documents(summaries, starts),
        notes=[note for s in summaries for note in s.notes],
        loadings=[
            Loadings(loadings.channels + int(base), loadings.inputs, loadings.read, loadings.write)
            for s, base in zip(summaries, starts)
            for loadings in s.loadings
        ],
        maps=[
            replace(plane, channels=plane.channels + int(base))
            for s, base in zip(summaries, starts)
            for plane in s.maps
        ],
        shared=[
            replace(shared, first=shared.first + int(base))
            for s, base in zip(summaries, starts)
            for shared in s.shared
        ],
    )


def _union(lists: Sequence[list[str]]) -> list[str]:
    return list(dict.fromkeys(name for names in lists for name in names))


def _union_of_facts(summaries: Sequence[Summary]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for s in summaries:
        found |= s.facts.get("collections", {})
    return found


def _stack(lists: Sequence[Ragged]) -> Ragged:
    lengths = np.concatenate([np.diff(r.offsets) for r in lists])
    columns = {name: np.concatenate([r.columns[name] for r in lists]) for name in lists[0].columns}
    return Ragged(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), columns)


def _joined_by_token(parts: Sequence[ByToken], starts: Int[np.ndarray, " _"]) -> ByToken:
    """The lists of an entry one after another."""
    lengths = np.stack([np.diff(part.strongest.offsets) for part in parts])
    entry = np.concatenate([np.repeat(np.arange(len(n)), n) for n in lengths])
    channel = np.concatenate([p.strongest.columns["channel"] + int(base) for p, base in zip(parts, starts)])
    mean = np.concatenate([part.strongest.columns["mean"] for part in parts])
    order = np.argsort(entry, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(lengths.sum(axis=0))]).astype(np.int64)
    columns = {"channel": channel[order].astype(np.int32), "mean": mean[order]}
    return ByToken(Ragged(offsets, columns), np.sum([part.n_firing for part in parts], axis=0))


def _shifted(ragged: Ragged, **changes: Callable[[np.ndarray], np.ndarray]) -> Ragged:
    changed = {name: change(ragged.columns[name]) for name, change in changes.items()}
    return Ragged(ragged.offsets, ragged.columns | changed)


def _band_columns(s: Summary, name: str, bands: list[str]) -> np.ndarray:
    """A summary's band array with a column for every band of the joined one; zero where it has none."""
    own = [g for g in s.groups if g.startswith("band:")]
    out = np.zeros((len(s.channels), len(bands)), s.bands[name].dtype)
    for column, band in enumerate(own):
        out[:, bands.index(band)] = s.bands[name][:, column]
    return out


def _joined_documents(summaries: Sequence[Summary], starts: np.ndarray) -> dict[str, np.ndarray]:
    first = summaries[0].documents
    for s in summaries[1:]:
        if not np.array_equal(s.documents["doc"], first["doc"]):
            raise FeaturebookError(
                f"The summaries show different documents. Run `{REMEDY}`, which makes all of them anew."
            )
    shifted = [
        np.where(s.documents["channel"] >= 0, s.documents["channel"] + base, -1).astype(np.int32)
        for s, base in zip(summaries, starts)
    ]
    values = np.concatenate([s.documents["value"] for s in summaries], axis=1)
    return first | {"channel": np.concatenate(shifted, axis=1), "value": values}


def _arrays(file: h5py.Group, name: str) -> dict[str, np.ndarray]:
    return {key: dataset[()] for key, dataset in file.get(name, {}).items()}


def _members(group: h5py.Group) -> list[tuple[int, str]]:
    sides: Sequence[str] = read_strings(group, "member_side")
    return list(zip(group["member_channel"][()].tolist(), sides))
