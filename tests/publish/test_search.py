"""The search index against brute force over the same book."""

import json
import random
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from generator.blocks import Corpus
from generator.publish.book import Book, open_book
from generator.publish.labels import Label, Labels
from generator.publish.presets import PRESETS
from generator.publish.search import SearchIndex, search_index
from generator.publish.search.postings import boundaries, cut, encode_rows, encode_weighted
from generator.publish.search.tokens import TokenIndex
from generator.publish.search.words import words
from generator.summaries import Summary
from tests.publish.test_twins import TEXTS
from tests.toy import TOKEN_CHANNELS, toy_channels, toy_config, toy_corpus, toy_summary, toy_values

ASSETS = Path(__file__).parents[2] / "site_assets" / "assets"
SENTENCES = [
    "def readLine(gate_proj): return HTMLParser2xml",
    "等一下，让我再检查一遍。",
    "ひらがな カタカナ 漢字 한국어를",
    "كِتَابٌ جَدِيدٌ أحمد إلى ﷺ ﻻ ى ی",
    "नमस्ते दुनिया ภาษาไทย ខ្មែរ",
    "Café déjà naïve ﬁnd Ⅳ ½ ßtraße ΛΌΓΟΣ İstanbul",
    "__init__ _x a__b snake_case_NAME L12 x²",
    "a" * 60,
    "\U00020000\U00020001b",
    "",
]


def decode(text: str) -> list[int]:
    """The rows behind a string, by the sentence of docs/shards.md."""
    rows: list[int] = []
    after = 0
    for part in filter(None, text.split(",")):
        gap, _, length = part.partition("-")
        first = after + int(gap, 36)
        after = first + int(length or "1", 36)
        rows += range(first, after)
    return rows


@pytest.fixture(scope="module")
def index(run: tuple[Corpus, Summary]) -> SearchIndex:
    """The toy's index, with one label."""
    label = Label(
        id="sae/2", polarity="positive", text="加法 carries", author="Ada", source="human", date="2026-01-02"
    )
    return search_index(open_book(toy_config(), *run, Labels([label])))


@pytest.fixture(scope="module")
def held(index: SearchIndex) -> dict[str, tuple[dict[int, int], list[int], list[str]]]:
    """Word -> row -> weight, passages, tokens, read from the files."""
    found: dict[str, tuple[dict[int, int], list[int], list[str]]] = {}
    for number in range(len(index.leaves)):
        leaf = index.leaf(number)
        for word, channels, passages, tokens in zip(
            *(leaf[n] for n in ("words", "channels", "passages", "tokens"))
        ):
            groups = [group.split(":") for group in filter(None, channels.split(";"))]
            weights = {row: int(weight) for weight, rows in groups for row in decode(rows)}
            found[word] = weights, decode(passages), tokens
    return found


def row_of(book: Book, identifier: str) -> int:
    """A channel's row in the table."""
    return book.published.index(book.index_of[identifier])


def test_rows_survive_the_encoding() -> None:
    chosen = random.Random(3)
    for n in (0, 1, 5, 400, 1000):
        rows = sorted(chosen.sample(range(1000), n))
        assert decode(encode_rows(rows)) == rows
    assert encode_weighted({3: 2, 1: 9, 2: 9}) == "9:1-2;2:3"


def test_entries_are_cut_in_order_and_none_is_lost() -> None:
    entries, sizes = list(range(50)), [i % 7 * 3 + 1 for i in range(50)]
    parts = cut(entries, sizes, limit=20)
    assert [entry for part in parts for entry in part] == entries
    assert all(sum(sizes[i] for i in part) <= 20 or len(part) == 1 for part in parts)
    assert cut([], []) == []


def test_every_word_of_a_passage_leads_to_it(index: SearchIndex, held: dict) -> None:
    passages = index.passages
    for number, found in enumerate(passages.words()):
        for word in found:
            assert number in held[word][1]
    assert sum(len(entry[1]) for entry in held.values()) == sum(len(set(f)) for f in passages.words())


def test_passages_tile_the_documents(index: SearchIndex) -> None:
    book, texts = index.book, {}
    for number in range(index.passages.n_parts):
        for passage in index.passages.part(number)["passages"]:
            held = texts.setdefault(passage["doc"], [])
            assert passage["start"] == len(held)
            held += passage["texts"]
            strongest = passage["strongest"]
            if strongest:
                assert 0 <= strongest["position"] - passage["start"] < len(passage["texts"])
    for doc, rows in book.documents.items():
        assert len(texts[doc]) == rows.stop - rows.start


def test_ids_labels_and_tokens_lead_to_their_channels(index: SearchIndex, held: dict) -> None:
    book = index.book
    for identifier in ("lora/L0/gate_proj", "sae/7"):
        row = row_of(book, identifier)
        for word in words(identifier):
            assert row in held[word][0]
    assert held["7"][0][row_of(book, "sae/7")] > held["sae"][0][row_of(book, "sae/7")]
    assert held["加法"][0] == {row_of(book, "sae/2"): 9}
    assert set(held["layer"][0]) == {
        r for r, i in enumerate(book.published) if book.summary.channels[i].layer >= 0
    }
    for row, channel in enumerate(book.published):
        if not book.is_dead(channel):
            for token in book.summary.top_tokens.of(channel)["token_id"][:5].tolist():
                for word in words(book.texts.alone[token]):
                    assert row in held[word][0], (row, word)


def test_words_lead_to_tokens_whatever_their_case_and_spaces(index: SearchIndex, held: dict) -> None:
    book = index.book
    listed = {key: (int(count), int(n)) for key, count, n in (entry.split(":") for entry in held["wait"][2])}
    entries = {t["bytes"]: t for n in range(len(index.tokens.leaves)) for t in index.tokens.leaf(n)["tokens"]}
    for text in (b" wait", b" Wait"):
        entry, token = entries[text.hex()], book.corpus.token_bytes.index(text)
        measured = int((book.corpus.token_ids[book.corpus.is_measured] == token).sum())
        n = entry["n_firing"]
        assert listed[text.hex()] == (measured, n) == (entry["count"], n)


def test_files_begin_where_the_head_says(index: SearchIndex) -> None:
    head = index.head()
    listed = [word for number in range(len(index.leaves)) for word in index.leaf(number)["words"]]
    assert listed == sorted(listed, key=lambda w: w.encode("utf-16-be")) and len(set(listed)) == len(listed)
    assert head["first"] == [index.leaf(number)["words"][0] for number in range(len(index.leaves))]
    leaves = [[t["bytes"] for t in index.tokens.leaf(n)["tokens"]] for n in range(len(index.tokens.leaves))]
    tokens = [key for leaf in leaves for key in leaf]
    assert tokens == sorted(tokens) and len(tokens) == head["tokens"]["n_tokens"]
    first = opened(head["tokens"]["first"])
    assert len(first) == len(leaves) > 1
    for before, leaf, boundary in zip(leaves, leaves[1:], first[1:]):
        assert before[-1] < boundary <= leaf[0]


def opened(text: str) -> list[str]:
    """The boundaries behind a string, by the sentence of docs/shards.md."""
    held, found = "", []
    for part in text.split():
        held = held[: int(part[0], 36)] + part[1:]
        found.append(held)
    return found


def test_boundaries_tell_files_apart_by_as_little_as_they_need() -> None:
    chosen = random.Random(5)
    for _ in range(200):
        keys = sorted({"".join(chosen.choices("ab", k=chosen.randint(1, 50))) for _ in range(40)})
        parts = [keys[i : i + 4] for i in range(0, len(keys), 4)]
        first = opened(boundaries([(part[0], part[-1]) for part in parts]))
        assert first[0] == ""
        for before, part, boundary in zip(parts, parts[1:], first[1:]):
            assert part[0].startswith(boundary) and boundary[:-1] <= before[-1] < boundary
    assert opened(boundaries([])) == []


def tokens_of(tokens: TokenIndex) -> dict[str, dict]:
    """Every entry of the token index by its bytes."""
    return {t["bytes"]: t for n in range(len(tokens.leaves)) for t in tokens.leaf(n)["tokens"]}


def means_by_hand(book: Book, values: np.ndarray) -> dict[tuple[str, str], dict[int, tuple[float, float]]]:
    """(bytes, side) -> row -> (mean, |mean| / RMS) of all channels with a page, by loops over the activations."""
    found: dict[tuple[str, str], dict[int, tuple[float, float]]] = {}
    corpus = book.corpus
    for row, channel in enumerate(book.published):
        counted = corpus.is_measured & np.isfinite(values[:, channel])
        column = values[counted, channel].astype(np.float64)
        if book.is_dead(channel) or not column.any():
            continue
        rms = np.sqrt(np.mean(column**2))
        for token in np.unique(corpus.token_ids[counted]):
            mean = column[corpus.token_ids[counted] == token].mean()
            if mean:
                key = corpus.token_bytes[token].hex(), "high" if mean > 0 else "low"
                found.setdefault(key, {})[row] = mean, abs(mean) / rms
    return found


@pytest.mark.parametrize("rows", [10**6, 40, 0])
def test_a_token_has_the_channels_that_fire_on_it_most(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "full", replace(PRESETS["full"], token_rows=rows))
    monkeypatch.setattr("generator.publish.search.tokens.LEAST", 2)
    corpus, channels = toy_corpus(), toy_channels()
    values = toy_values(corpus, channels)
    index = search_index(open_book(toy_config(), corpus, toy_summary(corpus, channels, values), Labels([])))
    want, listed, most = means_by_hand(index.book, values), tokens_of(index.tokens), index.tokens.most
    assert {key for key, _ in want} <= set(listed)
    lengths, room = [len(found) for found in want.values()], rows * len(index.book.published)
    assert most == {10**6: TOKEN_CHANNELS, 0: 2}.get(rows, most)
    if rows == 40:
        assert 2 < most < max(lengths) and sum(min(n, most) for n in lengths) <= room
        assert sum(min(n, most + 1) for n in lengths) > room
    for key, entry in listed.items():
        for side in ("high", "low"):
            ranked = sorted(want.get((key, side), {}).items(), key=lambda item: (-item[1][1], item[0]))[:most]
            assert entry[side]["row"] == [row for row, _ in ranked]
            assert entry[side]["mean"] == pytest.approx([mean for _, (mean, _) in ranked], rel=5e-4)
            assert entry[side]["n_firing"] == sum(strength >= 1 for _, (_, strength) in ranked)


def test_a_list_names_collections_that_are_published_in_part(run: tuple[Corpus, Summary]) -> None:
    whole = search_index(open_book(toy_config(), *run, Labels([]))).tokens
    assert whole.head()["parts"] == []
    part = search_index(open_book(toy_config(channels=["lora/L0/*", "sae/*"]), *run, Labels([]))).tokens
    assert part.head()["parts"] == ["lora"]
    rows = {
        row for entry in tokens_of(part).values() for side in ("high", "low") for row in entry[side]["row"]
    }
    assert rows and rows <= set(range(len(part.book.published)))


def test_a_peak_is_at_its_token(index: SearchIndex) -> None:
    book, n = index.book, 0
    for number in range(len(index.tokens.leaves)):
        for token in index.tokens.leaf(number)["tokens"]:
            for doc, position in zip(token["peaks"]["doc"], token["peaks"]["position"]):
                if doc >= 0:
                    at = book.corpus.token_ids[book.corpus.doc_offsets[doc] + position]
                    assert book.corpus.token_bytes[at].hex() == token["bytes"]
                    n += 1
    assert n > 20


def test_words_are_the_same_in_the_browser() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    texts = [*SENTENCES, *TEXTS]
    program = f"""import {{ words }} from {json.dumps((ASSETS / "search-words.mjs").as_uri())}
let input = ""
for await (const part of process.stdin) input += part
process.stdout.write(JSON.stringify(JSON.parse(input).map(words)))"""
    done = subprocess.run(
        [node, "--input-type=module", "-e", program],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=True,
    )
    assert dict(zip(texts, json.loads(done.stdout))) == {text: list(words(text)) for text in texts}


def test_names_of_code_are_found_whole_and_in_parts() -> None:
    assert {"readline", "read", "line", "gate_proj", "gate", "proj"} <= set(words("readLine gate_proj"))
    assert words("等一下") == ("等一", "一下", "下")
    assert words("كِتَابٌ") == words("كتاب")
    assert words("Straße") == words("STRASSE")
