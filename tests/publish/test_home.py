"""The home page's shard and site.json."""

import dataclasses

import numpy as np
import orjson

from generator.blocks import Corpus
from generator.publish.grid import GRID_STATISTICS
from generator.publish.home import without_paths
from generator.summaries import Summary
from tests.publish.conftest import Publication, publish_to_memory
from tests.toy import toy_config


def test_every_direction_of_a_layer_has_its_cell(
    run: tuple[Corpus, Summary], publication: Publication
) -> None:
    _, summary = run
    grid = publication.shard("home")["grid"]
    cells = [cell for row in grid["cells"] for cell in row if cell]
    assert sorted(cells) == sorted(c.id for c in summary.channels if c.layer >= 0)
    assert grid["modules"][:3] == ["gate_proj", "up_proj", "down_proj"]
    assert [m for m in grid["modules"] if m.startswith("q_proj")] == ["q_proj/r0", "q_proj/r1", "q_proj/r2"]
    for row, layer in zip(grid["cells"], grid["layers"]):
        assert all(f"/L{layer}/" in cell for cell in row if cell)
    for name in GRID_STATISTICS:
        values = grid["statistics"][name]
        assert [len(row) for row in values] == [len(row) for row in grid["cells"]]
    at = grid["cells"][0].index("lora/L0/gate_proj")
    own = publication.shard("lora/L0/gate_proj")
    assert abs(grid["statistics"]["max_write"][0][at] / own["write"]["max"] - 1) < 1e-5
    assert grid["top_tokens"][0][at] == [t["text"] for t in own["top_tokens"][:3]]


def test_a_grid_that_would_be_too_wide_shows_the_strongest_of_each_module(
    run: tuple[Corpus, Summary], monkeypatch
) -> None:
    monkeypatch.setattr("generator.publish.grid.GRID_COLUMNS", 8)
    publication = publish_to_memory(toy_config(), *run)
    grid = publication.shard("home")["grid"]
    assert grid["is_folded"] and grid["modules"].count("q_proj") == 1
    shown = grid["cells"][1][grid["modules"].index("q_proj")]
    sizes = {r: publication.shard(f"lora/L1/q_proj/r{r}")["write"].get("max", 0) for r in range(3)}
    assert shown == f"lora/L1/q_proj/r{max(sizes, key=lambda r: sizes[r])}"


def test_cards_are_the_most_skewed(run: tuple[Corpus, Summary], publication: Publication) -> None:
    _, summary = run
    skewness = {c.id: abs(s) for c, s in zip(summary.channels, summary.statistics["skewness"]) if s == s}
    cards = publication.shard("home")["cards"]
    ordered = sorted(skewness, key=lambda i: -skewness[i])
    three_each = [[i for i in ordered if i.startswith(name)][:3] for name in ("lora/", "sae/")]
    assert [card["id"] for card in cards] == [i for turn in zip(*three_each) for i in turn]
    for card in cards:
        own = publication.shard(card["id"])
        peaks = [e for e in own["examples"] if e["group"] in ("top", "bottom")]
        assert abs(card["example"]["value"]) == max(abs(e["value"]) for e in peaks)
        assert card["scale"] == own["scale"]


def test_a_card_shows_the_stronger_side(run: tuple[Corpus, Summary]) -> None:
    corpus, summary = run
    columns = summary.examples.columns
    value = np.where(
        columns["group"] == summary.groups.index("bottom"), columns["value"] - 50, columns["value"]
    )
    examples = dataclasses.replace(summary.examples, columns={**columns, "value": value})
    publication = publish_to_memory(toy_config(), corpus, dataclasses.replace(summary, examples=examples))
    cards = [card for card in publication.shard("home")["cards"] if card["max_abs"]]
    assert [card["example"]["group"] for card in cards] == [
        "bottom" if card["is_signed"] else "top" for card in cards
    ]
    assert {card["is_signed"] for card in cards} == {True, False}


def test_the_run_file_picks_cards(run: tuple[Corpus, Summary]) -> None:
    picks = ["lora/L1/up_proj", "lora/L9/up_proj", "lora/L0/q_proj"]
    publication = publish_to_memory(toy_config(picked=picks), *run)
    assert [card["id"] for card in publication.shard("home")["cards"]] == [picks[0], picks[2]]
    (note,) = publication.notes
    assert "lora/L9/up_proj" in note and "lora/L1/up_proj" in note


def test_provenance_suffices_to_make_it_again_and_tells_no_paths(publication: Publication) -> None:
    home = publication.shard("home")
    provenance = home["provenance"]
    assert provenance["seed"] == 0 and provenance["keys"] == {"corpus": "0" * 32}
    assert provenance["settings"]["summarize"]["k"] == 5
    assert provenance["settings"]["model"]["base"] == home["model"]["base"] == "base"
    assert set(provenance["versions"]) == {"featurebook", "torch"}
    everything = b"".join([*publication.shards.values(), *publication.docs.values()])
    assert b"/home/somebody" not in everything


def test_settings_that_change_nothing_change_no_byte(
    run: tuple[Corpus, Summary], publication: Publication
) -> None:
    config = toy_config()
    extract = config.extract.model_copy(update={"workers": 4, "keep_activations": False})
    other = publish_to_memory(config.model_copy(update={"extract": extract}), *run)
    assert other.shards == publication.shards


def test_paths_are_cut_and_text_is_not() -> None:
    value = {
        "a": "/home/x/model",
        "b": ["~/y/z", "C:\\Users\\me\\m"],
        "c": "org/model",
        "d": "/{question}",
        "e": 3,
    }
    cut = {"a": "model", "b": ["z", "m"], "c": "org/model", "d": "/{question}", "e": 3}
    assert without_paths(value) == cut


def test_mkdocs_learns_the_title(publication: Publication) -> None:
    site = orjson.loads(publication.docs["atlas/site.json"])
    assert (site["title"], site["repository"]) == ("Toy", "https://github.com/toy/toy")
    assert (site["n_channels"], site["n_layers"], site["n_documents"]) == (17 + 24, 2, 4)
    assert site["collections"] == [
        {"name": "lora", "kind": "lora", "n_channels": 17, "n_dead": 0},
        {"name": "sae", "kind": "sae", "n_channels": 24, "n_dead": 3},
    ]


def test_two_collections_keep_their_columns_apart(run: tuple[Corpus, Summary]) -> None:
    corpus, summary = run
    channels = [
        dataclasses.replace(c, id=c.id.replace("lora/", "other/"), collection="other") if c.layer == 1 else c
        for c in summary.channels
    ]
    publication = publish_to_memory(toy_config(), corpus, dataclasses.replace(summary, channels=channels))
    home = publication.shard("home")
    assert [c["name"] for c in home["collections"]] == ["lora", "other", "sae"]
    assert {"lora gate_proj", "other gate_proj", "other q_proj/r2"} <= set(home["grid"]["modules"])
