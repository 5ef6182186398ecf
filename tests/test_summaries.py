"""Joined summaries: every channel keeps what it had, whatever lists of groups the others have."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generator.errors import FeaturebookError
from generator.summaries import Loadings, Ragged, Summary, join
from tests.toy import DEAD_LATENTS, toy_channels, toy_corpus, toy_dictionary, toy_summary, toy_values


@pytest.fixture(scope="module")
def parts() -> tuple[Summary, Summary]:
    """The toy's directions, and the dictionary over them, which has fewer groups."""
    corpus, channels = toy_corpus(), toy_channels()
    values = toy_values(corpus, channels)
    return toy_summary(corpus, channels, values), toy_dictionary(corpus, channels, values)


@pytest.fixture(scope="module")
def joined(parts: tuple[Summary, Summary]) -> Summary:
    return join(parts)


def places(parts: tuple[Summary, Summary]) -> list[tuple[Summary, int, int]]:
    """Every channel: its summary, its index there, its index in the joined one."""
    n = len(parts[0].channels)
    return [
        (part, own, start + own) for part, start in zip(parts, (0, n)) for own in range(len(part.channels))
    ]


def test_one_summary_is_itself(parts: tuple[Summary, Summary]) -> None:
    assert join(parts[:1]) is parts[0]


def test_channels_statistics_and_lists_stand_one_after_another(
    parts: tuple[Summary, Summary], joined: Summary
) -> None:
    assert joined.channels == [*parts[0].channels, *parts[1].channels]
    for part, own, at in places(parts):
        for name, column in part.statistics.items():
            np.testing.assert_array_equal(joined.statistics[name][at], column[own])
        np.testing.assert_array_equal(joined.quantiles[at], part.quantiles[own])
        assert joined.histogram_first[at] == part.histogram_first[own]
        assert joined.histogram_step[at] == part.histogram_step[own]
        for list_name in ("histogram", "top_tokens", "bottom_tokens"):
            assert_same(getattr(joined, list_name).of(at), getattr(part, list_name).of(own))
        for name, profile in part.profiles.items():
            np.testing.assert_array_equal(joined.profiles[name].mean[at], profile.mean[own])
            np.testing.assert_array_equal(joined.profiles[name].count[at], profile.count[own])


def assert_same(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> None:
    assert got.keys() == want.keys()
    for name, column in want.items():
        np.testing.assert_array_equal(got[name], column)


def test_examples_keep_their_group_by_name_and_their_values(
    parts: tuple[Summary, Summary], joined: Summary
) -> None:
    assert parts[0].groups != parts[1].groups and joined.groups == parts[0].groups
    n_examples = 0
    for part, own, at in places(parts):
        got, want = joined.examples.of(at), part.examples.of(own)
        assert [joined.groups[g] for g in got["group"]] == [part.groups[g] for g in want["group"]]
        for name in ("doc", "position", "value", "start", "length"):
            np.testing.assert_array_equal(got[name], want[name])
        for a, b, length in zip(got["values_at"], want["values_at"], want["length"]):
            np.testing.assert_array_equal(
                joined.example_values[a : a + length], part.example_values[b : b + length]
            )
            n_examples += 1
    assert n_examples == len(joined.examples.columns["group"]) > 100


def test_bands_stand_under_their_own_names(parts: tuple[Summary, Summary], joined: Summary) -> None:
    bands = [group for group in joined.groups if group.startswith("band:")]
    for part, own, at in places(parts):
        own_bands = [group for group in part.groups if group.startswith("band:")]
        for name, table in part.bands.items():
            got = dict(zip(bands, joined.bands[name][at]))
            for band, value in zip(own_bands, table[own]):
                np.testing.assert_array_equal(got.pop(band), value)
            assert not any(got.values()), "no token lies in a band that the collection does not have"


def test_neighbours_cosines_and_loadings_point_to_the_same_channels(
    parts: tuple[Summary, Summary], joined: Summary
) -> None:
    for part, own, at in places(parts):
        for name, ragged in part.neighbours.items():
            got, want = joined.neighbours[name].of(at), ragged.of(own)
            ids = [part.channels[i].id for i in want["channel"]]
            assert [joined.channels[i].id for i in got["channel"]] == ids
            np.testing.assert_array_equal(got["value"], want["value"])
    matrices = [(part, matrix) for part in parts for matrix in part.cosines]
    for (part, want_matrix), got_matrix in zip(matrices, joined.cosines, strict=True):
        assert [(joined.channels[c].id, side) for c, side in got_matrix.members] == [
            (part.channels[c].id, side) for c, side in want_matrix.members
        ]
    (loadings,), (own_loadings,) = joined.loadings, parts[1].loadings
    assert [joined.channels[i].id for i in loadings.channels] == [c.id for c in parts[1].channels]
    np.testing.assert_array_equal(loadings.read, own_loadings.read)
    np.testing.assert_array_equal(loadings.write, own_loadings.write)
    (plane,), (own_plane,) = joined.maps, parts[1].maps
    assert len(own_plane.channels) and plane.method == own_plane.method
    shown = [parts[1].channels[i].id for i in own_plane.channels]
    assert [joined.channels[i].id for i in plane.channels] == shown
    np.testing.assert_array_equal(plane.places, own_plane.places)


def test_documents_stand_side_by_side(parts: tuple[Summary, Summary], joined: Summary) -> None:
    first, second = (part.documents for part in parts)
    width = first["channel"].shape[1]
    np.testing.assert_array_equal(joined.documents["doc"], first["doc"])
    np.testing.assert_array_equal(joined.documents["channel"][:, :width], first["channel"])
    shifted = np.where(second["channel"] >= 0, second["channel"] + len(parts[0].channels), -1)
    np.testing.assert_array_equal(joined.documents["channel"][:, width:], shifted)
    np.testing.assert_array_equal(
        joined.documents["value"], np.concatenate([first["value"], second["value"]], axis=1)
    )


def test_facts_are_those_of_the_first_with_what_each_collection_says(
    parts: tuple[Summary, Summary], joined: Summary
) -> None:
    assert joined.facts == parts[0].facts | {"collections": parts[1].facts["collections"]}
    assert joined.notes == [*parts[0].notes, *parts[1].notes]
    assert joined.settings == parts[0].settings


def test_summaries_of_different_documents_are_refused(parts: tuple[Summary, Summary]) -> None:
    other = {**parts[1].documents, "doc": parts[1].documents["doc"] + 1}
    with pytest.raises(FeaturebookError, match="different documents"):
        join([parts[0], replace(parts[1], documents=other)])


def test_a_third_collection_shifts_by_both_others(parts: tuple[Summary, Summary]) -> None:
    three = join([parts[0], parts[1], parts[1]])
    n, m = len(parts[0].channels), len(parts[1].channels)
    assert [int(loadings.channels[0]) for loadings in three.loadings] == [n, n + m]
    assert_same(three.top_tokens.of(n + m + 1), parts[1].top_tokens.of(1))


def test_it_is_read_back_from_disk_as_it_was(joined: Summary, tmp_path: Path) -> None:
    joined.save(tmp_path / "summary.h5")
    loaded = Summary.load(tmp_path / "summary.h5")
    for f in fields(Summary):
        assert_equal(getattr(loaded, f.name), getattr(joined, f.name))


def assert_equal(got: Any, want: Any) -> None:
    """Equality at any depth, of arrays too, NaN equal to NaN (and to the null that JSON makes of it)."""
    if isinstance(want, Ragged | Loadings) or hasattr(want, "__dataclass_fields__"):
        for f in fields(want):
            assert_equal(getattr(got, f.name), getattr(want, f.name))
    elif isinstance(want, np.ndarray):
        np.testing.assert_array_equal(got, want)
        assert got.dtype == want.dtype
    elif isinstance(want, dict):
        assert got.keys() == want.keys()
        for key in want:
            assert_equal(got[key], want[key])
    elif isinstance(want, list | tuple):
        assert len(got) == len(want)
        for a, b in zip(got, want):
            assert_equal(a, b)
    elif isinstance(want, float) and np.isnan(want):
        assert got is None or np.isnan(got)
    else:
        assert got == want


def test_the_toy_has_dead_latents_and_others(parts: tuple[Summary, Summary]) -> None:
    active = parts[1].statistics["share_active"]
    assert {int(i) for i in np.flatnonzero(active == 0)} == set(DEAD_LATENTS)
