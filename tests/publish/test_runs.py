"""Counterparts in another run: closed forms on copies that are permuted, rescaled and turned; errors; the shard and the panel."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from generator.artifacts import MemoryWriter
from generator.blocks import Activations, Channel, Directions
from generator.config import OtherRunTable
from generator.errors import FeaturebookError
from generator.progress import Silent
from generator.publish import publish
from generator.publish.addresses import page_path, shard_path
from generator.publish.likeness import Run
from generator.publish.matching import match
from generator.publish.other_runs import open_other_runs
from tests.publish.conftest import read_front_matter
from tests.publish.test_schemas import validator
from tests.toy import ragged, toy_channels, toy_config, toy_corpus, toy_latents, toy_summary, toy_values

WIDTH = 16


def adapter(n: int, width: int = WIDTH, seed: int = 3) -> list[Directions]:
    """Random vectors that all live in one space."""
    random = np.random.default_rng(seed)
    return [
        Directions("residual", side, np.arange(n), random.standard_normal((n, width)).astype(np.float32))
        for side in ("read", "write")
    ]


def other_adapter(
    own: list[Directions], order: np.ndarray, signs: np.ndarray, sizes: np.ndarray
) -> list[Directions]:
    """Channel i of the copy is channel ``order[i]``, read × sign × size and write × sign ÷ size: the same updates."""
    read, write = own
    factor = (signs * sizes)[:, None].astype(np.float32)
    return [
        replace(read, vectors=read.vectors[order] * factor),
        replace(write, vectors=write.vectors[order] / factor),
    ]


def same_place(n: int) -> list[Channel]:
    """Directions of one module of rank n."""
    return [replace(toy_channels()[0], id=f"lora/L0/q_proj/r{r}", rank=n, rank_index=r) for r in range(n)]


@pytest.fixture(scope="module")
def pair() -> tuple[Run, Run, np.ndarray, np.ndarray]:
    """A run of one module of rank 12, and a copy of it in another order, size and sign."""
    n, random = 12, np.random.default_rng(5)
    corpus, channels = toy_corpus(), same_place(n)
    values = toy_values(corpus, channels)
    order, signs = random.permutation(n), random.choice([-1.0, 1.0], n)
    sizes = 2.0 ** random.integers(-3, 4, n)
    copied = (values[:, order] * signs * sizes).astype(np.float32)
    own = adapter(n)
    return (
        Run(corpus, toy_summary(corpus, channels, values), own),
        Run(corpus, toy_summary(corpus, channels, copied), other_adapter(own, order, signs, sizes)),
        np.argsort(order),
        signs[np.argsort(order)],
    )


def test_a_permuted_turned_and_rescaled_copy_is_found(pair: tuple[Run, Run, np.ndarray, np.ndarray]) -> None:
    mine, theirs, places, signs = pair
    found = match(mine, theirs)
    assert found.other.tolist() == places.tolist() and set(found.how) == {"cosine"}
    assert np.allclose(found.read, 1, atol=1e-6) and np.allclose(found.write, 1, atol=1e-6)
    assert found.is_turned.tolist() == (signs < 0).tolist()
    assert found.without_counterpart(12) == []
    varies = [c for c in range(12) if c != 3]  # the toy's channel 3 is constant: no correlation
    assert np.allclose(found.correlation[varies], 1, atol=1e-5) and np.isnan(found.correlation[3])


def test_a_turned_write_alone_is_a_reversed_update(pair: tuple[Run, Run, np.ndarray, np.ndarray]) -> None:
    mine = pair[0]
    read, write = mine.directions
    found = match(mine, replace(mine, directions=[read, replace(write, vectors=-write.vectors)]))
    assert found.other.tolist() == list(range(12)) and not found.is_turned.any()
    assert np.allclose(found.read, 1) and np.allclose(found.write, -1)


def test_the_pairs_are_those_of_a_naive_greedy_choice() -> None:
    n, m = 9, 7
    corpus = toy_corpus()
    runs = []
    for size, seed in ((n, 1), (m, 2)):
        channels = same_place(size)
        summary = toy_summary(corpus, channels, toy_values(corpus, channels))
        runs.append(Run(corpus, summary, adapter(size, seed=seed)))
    unit = [
        [d.vectors / np.linalg.norm(d.vectors, axis=1, keepdims=True) for d in run.directions] for run in runs
    ]
    scores = np.abs((unit[0][0] @ unit[1][0].T) * (unit[0][1] @ unit[1][1].T))
    want = np.full(n, -1)
    left = scores.copy()
    for _ in range(m):
        i, j = np.unravel_index(left.argmax(), left.shape)
        want[i], left[i, :], left[:, j] = j, -1, -1
    found = match(*runs)
    assert found.other.tolist() == want.tolist() and (found.other < 0).sum() == n - m
    assert np.isnan(found.read[found.other < 0]).all()


def test_other_widths_fall_back_on_the_same_text_and_other_texts_on_the_id(
    pair: tuple[Run, Run, np.ndarray, np.ndarray],
) -> None:
    mine, theirs, places, _ = pair
    wider = replace(theirs, directions=adapter(12, width=WIDTH + 1))
    found = match(mine, wider)
    varies = [c for c in range(12) if c != 3]
    assert found.other[varies].tolist() == places[varies].tolist() and np.isnan(found.read).all()
    assert {found.how[c] for c in varies} == {"correlation"}
    shuffled = replace(wider, corpus=toy_corpus(seed=8))
    found = match(mine, shuffled)
    assert found.other.tolist() == list(range(12)) and set(found.how) == {"id"}
    assert found.n_tokens == 0 and np.isnan(found.correlation).all()


def test_by_id_keeps_the_id(pair: tuple[Run, Run, np.ndarray, np.ndarray]) -> None:
    mine, theirs, *_ = pair
    found = match(mine, theirs, by="id")
    assert found.other.tolist() == list(range(12)) and set(found.how) == {"id"}
    read = [
        d.vectors / np.linalg.norm(d.vectors, axis=1, keepdims=True)
        for d in (mine.directions[0], theirs.directions[0])
    ]
    assert np.allclose(np.abs(found.read), np.abs((read[0] * read[1]).sum(1)), atol=1e-6)


def test_latents_pair_only_with_their_own_sign() -> None:
    corpus, latents = toy_corpus(), toy_latents()[:2]
    summary = toy_summary(corpus, latents, np.abs(toy_values(corpus, toy_latents())[:, :2]))
    summary = replace(summary, shared=[])
    x = np.eye(2, 4, dtype=np.float32)
    y = np.stack([-x[0], 0.6 * x[0] + 0.8 * x[1]])
    runs = [Run(corpus, summary, [Directions("residual", "read", np.arange(2), v)]) for v in (x, y)]
    found = match(*runs)
    assert found.other[1] == 1 and found.read[1] == pytest.approx(0.8) and not found.is_turned.any()


def saved(folder: Path, run: Run) -> Path:
    """A build folder with what a comparison reads."""
    for part in ("corpus", "summary", "activations"):
        (folder / part).mkdir(parents=True)
    run.corpus.save(folder / "corpus" / "corpus.h5")
    run.summary.save(folder / "summary" / "summary.h5")
    Activations(folder / "activations").save_channels(run.channels, list(run.directions), {})
    return folder


NAMES = ["step 1000", "</script>{{ x }}", "../up"]


@pytest.fixture(scope="module")
def published(
    pair: tuple[Run, Run, np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    mine, theirs, *_ = pair
    build = saved(tmp_path_factory.mktemp("other"), theirs)
    others = [{"name": name, "build": str(build), "site": "https://example.org/b"} for name in NAMES]
    others[1]["site"] = "javascript:alert(1)"
    shards, docs = MemoryWriter(), MemoryWriter()
    summary = replace(mine.summary, neighbours={}, cosines=[], documents={})
    publish(
        toy_config(compare_with=others),
        mine.corpus,
        summary,
        shards,
        docs,
        Path("/none"),
        Silent(),
        directions=mine.directions,
    )
    return shards.files, docs.files


def test_the_shard_holds_both_runs_in_one_sign(
    pair: tuple[Run, Run, np.ndarray, np.ndarray], published: tuple[dict[str, bytes], dict[str, bytes]]
) -> None:
    mine, theirs, places, signs = pair
    shard = orjson.loads(published[0][shard_path("runs/step 1000")])
    columns = shard["columns"]
    assert (
        shard["facts"]["by_cosine"] == 12
        and shard["unmatched"] == []
        and shard["site"] == "https://example.org/b/"
    )
    for row, identifier in enumerate(columns["id"]):
        index = next(i for i, c in enumerate(mine.channels) if c.id == identifier)
        there = int(places[index])
        low, high = (theirs.summary.statistics[name][there] for name in ("min", "max"))
        want = (low, high) if signs[index] > 0 else (-high, -low)
        assert (columns["there_min"][row], columns["there_max"][row]) == pytest.approx(want, rel=1e-5)
        assert columns["min"][row] == pytest.approx(mine.summary.statistics["min"][index], rel=1e-5)
        assert columns["other"][row] == theirs.channels[there].id
        for name in ("top_here", "top_there", "bottom_here", "bottom_there"):
            assert columns[name][row] == [], "the same activations have the same strongest tokens"


def test_tokens_that_only_one_run_has(pair: tuple[Run, Run, np.ndarray, np.ndarray], tmp_path: Path) -> None:
    mine, *_ = pair
    tokens = [mine.summary.top_tokens.of(c) for c in range(12)]
    gone, new = tokens[0]["token_id"][0], 2 + ord("#")
    tokens[0] = {**tokens[0], "token_id": np.where(tokens[0]["token_id"] == gone, new, tokens[0]["token_id"])}
    theirs = replace(mine, summary=replace(mine.summary, top_tokens=ragged(tokens)))
    shards = MemoryWriter()
    config = toy_config(compare_with=[{"name": "b", "build": str(saved(tmp_path / "b", theirs))}])
    publish(
        config,
        mine.corpus,
        mine.summary,
        shards,
        MemoryWriter(),
        Path("/none"),
        Silent(),
        directions=mine.directions,
    )
    columns = orjson.loads(shards.files["runs/b.json"])["columns"]
    row = columns["id"].index("lora/L0/q_proj/r0")
    assert [t.encode() for t in columns["top_here"][row]] == [mine.corpus.token_bytes[gone]]
    assert columns["top_there"][row] == ["#"]
    assert not any(lists for i, lists in enumerate(columns["top_there"]) if i != row)


def test_the_shards_obey_their_schemas(published: tuple[dict[str, bytes], dict[str, bytes]]) -> None:
    for name in NAMES:
        validator("runs").validate(orjson.loads(published[0][shard_path(f"runs/{name}")]))
    validator("channel").validate(orjson.loads(published[0]["lora/L0/q_proj/r0.json"]))


def test_the_page_of_a_channel_links_its_counterparts(
    published: tuple[dict[str, bytes], dict[str, bytes]],
) -> None:
    rows = orjson.loads(published[0]["lora/L0/q_proj/r0.json"])["runs"]
    assert [row["page"] for row in rows] == [f"runs/{name}" for name in NAMES]
    assert rows[0]["url"] == f"https://example.org/b/atlas/{rows[0]['other']}/" and rows[1]["url"] is None


def test_hostile_names_become_no_paths(published: tuple[dict[str, bytes], dict[str, bytes]]) -> None:
    for name in NAMES:
        path = page_path(f"runs/{name}")
        assert ".." not in path.split("/") and not set(path) & set("<>{} ")
        assert read_front_matter(published[1][path])["run"]["name"] == name


@pytest.mark.parametrize("missing", ["corpus", "summary"])
def test_a_folder_without_a_run_is_named(
    pair: tuple[Run, Run, np.ndarray, np.ndarray], tmp_path: Path, missing: str
) -> None:
    build = saved(tmp_path / "b", pair[1])
    next((build / missing).iterdir()).unlink()
    with pytest.raises(FeaturebookError, match=r"'late'.*b\. Build it there"):
        open_other_runs([OtherRunTable(name="late", build=str(build))], pair[0])


def test_a_run_without_vectors_can_be_compared(
    pair: tuple[Run, Run, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    build = saved(tmp_path / "b", pair[1])
    (build / "activations" / "channels.h5").unlink()
    (other,) = open_other_runs([OtherRunTable(name="late", build=str(build))], pair[0])
    assert set(other.matches.how) - {None} == {"correlation"} and other.run.directions == []
