"""Ids become paths that stay where they belong, one path per id."""

import doctest
import re
from pathlib import PurePosixPath

import pytest

from generator.errors import FeaturebookError
from generator.publish import addresses
from generator.publish.addresses import check_distinct, page_path, page_url, path_of, shard_path


def test_docstrings_are_true() -> None:
    assert doctest.testmod(addresses).failed == 0


@pytest.mark.parametrize(
    "identifier",
    [
        "lora/L12/gate_proj",
        "lora/L0/attn.c_proj/r3",
        "sae-16x/1234",
        "layer/12",
        "doc/42",
        "lora/model.embed_tokens",
    ],
)
def test_ordinary_ids_are_their_own_address(identifier: str) -> None:
    assert path_of(identifier) == identifier
    assert shard_path(identifier) == f"{identifier}.json"
    assert page_path(identifier) == f"atlas/{identifier}.md"
    assert page_url(identifier) == f"atlas/{identifier}/"


HOSTILE = [
    "..",
    ".",
    ".hidden",
    "a/../../b",
    "a b",
    "a?b",
    "a#b",
    "a%2e",
    "a\\b",
    "index",
    "README",
    "CON",
    "aux.x",
    "ümlaut",
]
HOSTILE += ["a\x00b", "a~b", "trailing.", "<b>", "a\ud800", "💥", "a:b", "nul"]


@pytest.mark.parametrize("identifier", [f"lora/{name}" for name in HOSTILE])
def test_hostile_ids_stay_below_the_root(identifier: str) -> None:
    path = path_of(identifier)
    assert path.startswith("lora/")
    assert all(re.fullmatch(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*", part) for part in path.split("/"))
    assert not {".", "..", "index", "readme", "con", "nul", "aux"} & {
        part.lower().split(".")[0] for part in path.split("/")
    }
    assert PurePosixPath(path).as_posix() == path


def test_the_escape_is_one_to_one() -> None:
    paths = [path_of(f"lora/{name}") for name in [*HOSTILE, "a~20b", "~69ndex", "a~7eb"]]
    assert len(set(paths)) == len(paths)


def test_ids_that_differ_only_in_case_are_refused() -> None:
    with pytest.raises(FeaturebookError, match=r"lora/L1/Up.*lora/L1/up"):
        check_distinct(["lora/L1/Up", "lora/L1/x", "lora/L1/up"])


def test_the_same_id_twice_is_refused() -> None:
    with pytest.raises(FeaturebookError, match="do not differ"):
        check_distinct(["lora/L1/up", "lora/L1/up"])


@pytest.mark.parametrize("identifier", ["lora//x", "", "lora/" + "x" * 300])
def test_impossible_ids_are_refused(identifier: str) -> None:
    with pytest.raises(FeaturebookError, match=r"id.*(empty part|characters)"):
        path_of(identifier)


def test_an_id_that_looks_like_a_shard_is_refused() -> None:
    with pytest.raises(FeaturebookError, match="ends like"):
        check_distinct(["lora/a.json"])
