"""What is shared: preview pictures, the feed, citations, labels in page heads."""

from dataclasses import replace
from io import BytesIO
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from generator.publish.about import head_labels
from generator.publish.book import Book
from generator.publish.cards import SIZE, can_draw, card, carded
from generator.publish.feed import feed
from generator.publish.labels import Label, Labels
from tests.publish.conftest import Publication
from tests.toy import toy_config

ATOM = {"a": "http://www.w3.org/2005/Atom"}
GATE = "lora/L0/gate_proj"


def pixels(picture: bytes) -> np.ndarray:
    """The picture as numbers (height, width, 3)."""
    return np.asarray(Image.open(BytesIO(picture)).convert("RGB")).astype(int)


def test_a_picture_is_a_small_png_that_shows_what_it_is_about(book: Book) -> None:
    index = book.index_of[GATE]
    drawn = card(book, index, "L0 gate_proj", [" Wait", ","])
    assert Image.open(BytesIO(drawn)).size == SIZE
    assert len(drawn) < 20_000
    assert drawn == card(book, index, "L0 gate_proj", [" Wait", ","])
    bare = replace(book, labels=Labels())
    assert (pixels(drawn) != pixels(card(bare, index, "L0 gate_proj", [" Wait", ","]))).any()
    blue, orange = (pixels(drawn)[372:544] == colour for colour in ((47, 127, 179), (200, 105, 10)))
    assert blue.all(-1).sum() > 1000 and orange.all(-1).sum() > 1000, "both signs of the histogram"


def test_letters_that_the_font_lacks_give_no_picture(book: Book) -> None:
    assert can_draw("“déjà vu” − слово → ␣")
    assert not can_draw("中") and not can_draw("ا") and not can_draw("\U0010fffe")
    names = {book.summary.channels[index].id for index in carded(book, [])}
    assert names == {GATE, "lora/L1/q_proj/r1"}, "sae/1 is labelled in Chinese, the others not at all"


def test_as_many_pictures_as_the_run_file_allows_picked_channels_first(book: Book) -> None:
    few = replace(book, config=toy_config(cards=2))
    assert carded(few, [7, 9]) == [7, 9]
    assert carded(replace(book, config=toy_config(cards=0)), [7]) == []


def test_pages_with_a_picture_say_so(publication: Publication) -> None:
    path = publication.front_matter(GATE)["card"]
    assert publication.docs[path].startswith(b"\x89PNG")
    assert "card" not in publication.front_matter("sae/1")


def test_the_feed_is_atom_with_the_newest_first(publication: Publication) -> None:
    tree = ElementTree.fromstring(publication.docs["atlas/feed.xml"])
    entries = tree.findall("a:entry", ATOM)
    days = [entry.findtext("a:updated", "", ATOM) for entry in entries]
    assert days == sorted(days, reverse=True) and tree.findtext("a:updated", "", ATOM) == days[0]
    ids = [entry.findtext("a:id", "", ATOM) for entry in entries]
    assert len(set(ids)) == len(ids) == 6
    titles = [entry.findtext("a:title", "", ATOM) for entry in entries]
    assert f"{GATE}: opens with <script>alert('label')</script> & {{{{ 7*7 }}}}" in titles
    link = entries[0].find("a:link", ATOM)
    assert link is not None and link.get("href") == f"https://example.org/toy/atlas/{GATE}/"


@pytest.mark.parametrize("labels", [Labels(), None], ids=["no labels", "no address"])
def test_there_is_no_feed_without_labels_or_address(book: Book, labels: Labels | None) -> None:
    bare = replace(book, labels=labels) if labels else replace(book, config=toy_config(site_url=""))
    assert feed(bare) is None


def test_the_head_names_each_side_once(book: Book) -> None:
    shown = [(x["sign"], x["author"], x["score"]) for x in head_labels(book, book.index_of[GATE])]
    assert shown == [("+", "ada <b>& co</b>", "0.85"), ("−", "bob", None)]
    both = [(x["sign"], x["text"]) for x in head_labels(book, book.index_of["lora/L1/q_proj/r1"])]
    assert both == [("", "both ways")]


def test_the_title_of_a_page_begins_with_the_label(publication: Publication) -> None:
    assert publication.front_matter("sae/1")["title"] == "中文 label · Latent 1 — sae"
    assert publication.front_matter("sae/1")["description"].startswith("中文 label. ")


def test_labels_reach_lists_and_panels(publication: Publication) -> None:
    rows = publication.shard(GATE)["labels"]
    assert [row["text"] for row in rows][1:] == [
        "an older name",
        "the other side rewop",
        "punctuation, says a model",
    ] or [(row["source"], row["date"]) for row in rows] == [
        ("human", "2026-11-20"),
        ("human", "2026-11-19"),
        ("human", "2026-11-02"),
        ("model", "2026-11-21"),
    ]
    named = [
        near["label"]
        for path in publication.shards
        if path.startswith("sae/") and path.endswith(".json")
        for lists in [publication.shard(path.removesuffix(".json")).get("neighbours", {})]
        for rows in lists.values()
        for near in rows
        if near["id"] == "sae/1"
    ]
    assert named and set(named) == {"中文 label"}
    assert "labels" not in publication.shard("sae/2")["panels"], "a label of another run"


def test_the_home_page_credits_and_cites(publication: Publication) -> None:
    home = publication.shard("home")
    assert home["credits"] == [
        {"author": "ada <b>& co</b>", "source": "human", "n_channels": 2},
        {"author": "bob", "source": "human", "n_channels": 2},
        {"author": "toy-model-1", "source": "model", "n_channels": 1},
    ]
    assert home["citation"] == publication.shard("about")["citation"]


def test_the_queue_leaves_dead_latents_out(publication: Publication, book: Book) -> None:
    queue = publication.shard("annotate")
    assert not {"sae/5", "sae/11", "sae/23"} & set(queue["ids"])
    assert {name for name, is_labelled in zip(queue["ids"], queue["labelled"]) if is_labelled} == {
        GATE,
        "sae/1",
        "lora/L1/q_proj/r1",
    }


def test_a_changed_label_changes_only_pages_that_name_the_channel(
    book: Book, publication: Publication
) -> None:
    assert book.labels.best("sae/1") == Label(
        id="sae/1", polarity="positive", text="中文 label", author="ada <b>& co</b>", source="human",
        date="2026-11-20", run="toy",
    )  # fmt: skip
    assert publication.facts["n_labels"] == 6
