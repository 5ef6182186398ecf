"""The summary: everything that pages say about the channels, as arrays with channel as axis 0.

``summarize`` writes it, ``publish`` reads it; neither knows the other. What each number means is defined in
docs/statistics.md. No torch here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import orjson
from jaxtyping import Float, Int

from generator.artifacts import atomic_path
from generator.blocks import (
    Channel,
    create_hdf5,
    load_channels,
    open_hdf5,
    read_strings,
    save_channels,
    write_array,
    write_strings,
)

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

    def save(self, path: Path) -> None:
        """Writes ``summary.h5``."""
        with atomic_path(path) as temporary, create_hdf5(temporary, kind="summary") as file:
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
            )


def _arrays(file: h5py.File, name: str) -> dict[str, np.ndarray]:
    return {key: dataset[()] for key, dataset in file.get(name, {}).items()}


def _members(group: h5py.Group) -> list[tuple[int, str]]:
    sides: Sequence[str] = read_strings(group, "member_side")
    return list(zip(group["member_channel"][()].tolist(), sides))
