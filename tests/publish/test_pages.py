"""Pages: front matter that every YAML reader takes for what was meant, and nothing a token can break."""

import json
from dataclasses import replace

import pytest
import yaml

from generator.blocks import Corpus
from generator.publish.pages import channel_title, front_matter, quoted
from generator.publish.visible import visible, without_surrogates
from generator.summaries import Summary
from tests.publish.conftest import Publication, publish_to_memory, read_front_matter
from tests.toy import HOSTILE, toy_config

LOADERS = [yaml.CSafeLoader, yaml.SafeLoader]

AWKWARD = [
    *HOSTILE,
    *(
        chr(c)
        for c in [*range(0x20), *range(0x7F, 0xA1), 0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF, 0x1F600, 0x10FFFF]
    ),
    "---\nkey: value",
    "...\n",
    "yes",
    "null",
    "1e5",
    "2026-01-01",
    "a: b # c",
    "\\u0041 \\/ \\n",
    '"',
    "'",
    "!!python/object:os.system",
    "&anchor *alias",
    "trailing \\",
    "\r\n",
    "👩\u200d👩\u200d👧 你好 مرحبا",
]


@pytest.mark.parametrize("loader", LOADERS)
def test_front_matter_is_read_back_as_it_was_written(loader: type) -> None:
    values = {"list": AWKWARD, "nested": {"of": [{"text": text, "n": 3, "none": None} for text in AWKWARD]}}
    page = front_matter(values).decode("utf-8")
    begin, body, end = page.split("---\n", 1)[0], page[4:-4], page[-4:]
    assert (begin, end) == ("", "---\n")
    assert yaml.load(body, Loader=loader) == values


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("text", AWKWARD)
def test_every_awkward_text_alone(loader: type, text: str) -> None:
    body = front_matter({"title": text}).decode().removeprefix("---\n").removesuffix("---\n")
    assert body.count("\n") == 1, "one line per key, so that no value can end the front matter"
    assert yaml.load(body, Loader=loader) == {"title": text}


def test_lone_surrogates_become_replacement_characters() -> None:
    page = front_matter({"title": "a\ud800b"})
    assert read_front_matter(page) == {"title": "a\ufffdb"} == {"title": without_surrogates("a\ud800b")}


def test_every_page_is_front_matter_and_nothing_else(publication: Publication) -> None:
    templates = set()
    for path, page in publication.docs.items():
        if path.endswith(".md"):
            values = read_front_matter(page)
            templates.add(values["template"])
            assert page.decode().count("\n---\n") == 1 and page.endswith(b"\n---\n")
            assert values["search"] == {"exclude": True} and values["hide"] == ["navigation", "toc"]
            assert values["title"] and values["description"]
            if "shard" in values:
                assert values["shard"].removeprefix("shards/") in publication.shards
    names = {
        "annotate",
        "compare",
        "discuss",
        "channel",
        "collection",
        "layer",
        "document",
        "explorer",
        "search",
        "token",
        "layers",
        "documents",
    }
    assert templates == {f"{name}.html" for name in names}


def test_values_are_raw_text_for_the_template_to_escape(publication: Publication) -> None:
    everything = b"".join(page for path, page in publication.docs.items() if path.endswith(".md"))
    assert b"&lt;" not in everything and b"<img src=x" in everything


def test_titles_and_descriptions_hide_nothing(publication: Publication) -> None:
    for path, page in publication.docs.items():
        if path.endswith(".md"):
            values = read_front_matter(page)
            for text in (values["title"], values["description"]):
                assert not [c for c in text if ord(c) < 32 or c in "\u202e\u202c\u200b\x7f\u2028\ufeff"]
                assert len(text) < 600


def test_a_channel_page_names_its_tokens_and_range(publication: Publication) -> None:
    values = publication.front_matter("lora/L0/gate_proj")
    shard = publication.shard("lora/L0/gate_proj")
    assert values["title"].startswith("opens with <script>alert('label')</script> & {{ 7*7 }} (+), ")
    assert values["title"].endswith(" · L0 gate_proj — lora")
    assert values["shard"] == "shards/lora/L0/gate_proj.json"
    assert ". Highest on ‘,’, " in values["description"]
    channel = values["channel"]
    assert channel["top_tokens"] == [visible(t["text"]) for t in shard["top_tokens"][:5]]
    assert (
        channel["previous"] == {"id": "lora/L0/o_proj", "path": "atlas/lora/L0/o_proj/"}
        or channel["previous"]
    )
    assert channel["layer_page"] == {"id": "layer/0", "path": "atlas/layer/0/"}
    assert channel["basis_note"] == shard["basis_note"]
    assert channel["stats"]["n_tokens"] == f"{shard['stats']['n_tokens']:,}"
    assert float(channel["stats"]["max"]) == pytest.approx(shard["stats"]["max"], rel=5e-3)
    assert channel["stats"]["min"].startswith("−")
    assert publication.front_matter("lora/L0/o_proj")["channel"]["stats"]["skewness"] == "–"


def test_titles_of_other_ids() -> None:
    assert channel_title("lora/L12/q_proj/r3") == "L12 q_proj r3 — lora"
    assert channel_title("lora/model.embed_tokens") == "model.embed_tokens — lora"


def test_long_tokens_are_cut_and_marked() -> None:
    assert quoted(" wait") == "‘ wait’"
    assert quoted("x" * 400) == f"‘{'x' * 23}…’"


def test_layer_pages_list_their_channels_in_page_order(publication: Publication) -> None:
    layer = publication.front_matter("layer/1")["layer"]
    modules = [m["module"] for m in publication.shard("layer/1")["modules"] for _ in m["channels"]]
    assert [c["module"] for c in layer["channels"]] == modules
    assert all(c["path"] == f"atlas/{c['id']}/" for c in layer["channels"])
    assert layer["previous"] == {"id": "layer/0", "path": "atlas/layer/0/"} and layer["next"] is None


def test_the_indices_list_all(publication: Publication) -> None:
    layers = publication.front_matter("layers")
    assert [entry["n_channels"] for entry in layers["layers"]] == [7, 9]
    assert [entry["id"] for entry in layers["outside"]] == ["lora/model.embed_tokens"]
    documents = publication.front_matter("documents")["documents"]
    assert [entry["id"] for entry in documents] == ["doc/0", "doc/1", "doc/2", "doc/3"]
    assert [entry["kind"] for entry in documents] == ["prose", "trace", "prose", "trace"]
    for entry in documents:
        ids = [c["id"] for c in publication.shard(entry["id"])["channels"]]
        directions, latents = ([i for i in ids if i.startswith(name)] for name in ("lora/", "sae/"))
        in_turn = [i for turn in zip(directions, latents) for i in turn][:5]
        assert [link["id"] for link in entry["strongest"]] == in_turn


def test_a_hostile_id_reaches_no_path(run: tuple[Corpus, Summary]) -> None:
    corpus, summary = run
    bad = "lora/L0/../../../x y<b>"
    channels = [
        replace(c, id=bad, module="../../../x y<b>") if i == 0 else c for i, c in enumerate(summary.channels)
    ]
    publication = publish_to_memory(toy_config(), corpus, replace(summary, channels=channels))
    path = "lora/L0/~2e~2e/~2e~2e/~2e~2e/x~20y~3cb~3e"
    assert publication.shards[f"{path}.json"] and publication.docs[f"atlas/{path}.md"]
    assert publication.front_matter(path)["shard"] == f"shards/{path}.json"
    assert publication.shard("home")["grid"]["cells"][0].count(bad) == 1
    assert not [p for p in [*publication.docs, *publication.shards] if ".." in p.split("/")]


def test_front_matter_values_are_json(publication: Publication) -> None:
    for path, page in publication.docs.items():
        if path.endswith(".md"):
            for line in page.decode().split("---\n")[1].rstrip("\n").split("\n"):
                json.loads(line.split(": ", 1)[1])
