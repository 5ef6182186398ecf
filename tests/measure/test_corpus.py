"""From every kind of source to the same tokens; hostile text kept; every mistake named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generator.blocks import Corpus
from generator.errors import FeaturebookError
from generator.measure.corpus import build_corpus, cut_pieces
from generator.progress import Silent
from tests.measure.toys import SPECIAL, TEXTS, Toy

Build = Callable[..., Corpus]


@pytest.fixture
def build(make_toy: Callable[..., Toy]) -> Build:
    """Builds a corpus from a table, with the toy tokenizer."""
    toy = make_toy("qwen2")

    def run(
        source: Path | str,
        progress: Silent | None = None,
        extract: dict[str, Any] | None = None,
        **table: Any,
    ) -> Corpus:
        config = toy.config(corpus={"source": str(source)} | table, extract=extract or {})
        return build_corpus(config, progress or Silent())

    return run


def write_lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def texts_of(corpus: Corpus) -> list[str]:
    return [
        b"".join(corpus.token_bytes[i] for i in corpus.token_ids[corpus.tokens_of(d)]).decode()
        for d in range(corpus.n_docs)
    ]


def test_sources_agree(build: Build, tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = [{"text": text, "n": i} for i, text in enumerate(TEXTS)]
    lines = write_lines(tmp_path / "a.jsonl", rows)
    (tmp_path / "a.json").write_text(json.dumps({"version": 1, "rows": rows}))
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    folder = tmp_path / "texts"
    folder.mkdir()
    for i, text in enumerate(TEXTS):
        (folder / f"{i}.txt").write_bytes(text.encode())
    wanted = build(lines)
    assert texts_of(wanted) == TEXTS
    for source in (tmp_path / "a.json", tmp_path / "a.parquet", folder, tmp_path / "a.json*"):
        corpus = build(source)
        n = wanted.n_tokens if source.suffix != ".json*" else 2 * wanted.n_tokens
        assert (corpus.token_ids[: wanted.n_tokens] == wanted.token_ids).all() and corpus.n_tokens == n
    assert build(folder).doc_names[0] == "0.txt"
    assert wanted.doc_names[3] == "3" and wanted.doc_metadata[3] == {"n": 3}


def test_template_where_name_and_limits(build: Build, tmp_path: Path) -> None:
    rows = [
        {"q": "one?", "a": "1", "kind": "x", "id": "first"},
        {"q": "two?", "a": None, "kind": "x", "id": "second"},
        {"q": "three?", "a": 3, "kind": "y", "id": "third"},
        {"q": "four?", "a": " ", "kind": "x", "id": "4th"},
        {"q": "five?", "a": "5", "kind": "z", "id": "fifth"},
    ]
    source, progress = write_lines(tmp_path / "rows.jsonl", rows), Silent()
    corpus = build(
        source, progress, template="<|user|>{q}\n{{{a}}}<|end|>", where={"kind": ["x", "y"]}, name="id"
    )
    assert texts_of(corpus) == ["<|user|>one?\n{1}<|end|>", "<|user|>three?\n{3}<|end|>"]
    assert corpus.doc_names == ["first", "third"] and corpus.doc_metadata[0] == {"kind": "x", "id": "first"}
    assert corpus.tokenizer["rows_skipped"] == {"no 'a'": 2, "left out by where": 1}
    assert "2 rows skipped: no 'a'" in progress.notes
    first = corpus.token_ids[0]
    assert corpus.is_special[first] and not corpus.is_measured[0] and corpus.is_measured[1]
    assert build(source, template="{q}", max_documents=2).n_docs == 2
    lengths = np.diff(build(source, text="q").doc_offsets)
    assert (
        build(source, text="q", min_tokens=int(lengths.max())).n_docs == (lengths == lengths.max()).sum() < 5
    )


def test_messages_through_the_chat_template(
    build: Build, tmp_path: Path, make_toy: Callable[..., Toy]
) -> None:
    source = write_lines(tmp_path / "chat.jsonl", [{"chat": [{"role": "user", "content": "Hi"}]}])
    with pytest.raises(FeaturebookError, match="needs a chat template, and the tokenizer has none"):
        build(source, messages="chat")
    toy = make_toy("qwen2", changes={"hidden_size": 16})
    template = "{% for m in messages %}<|user|>{{ m['content'] }}<|end|>{% endfor %}"
    settings = json.loads((toy.base / "tokenizer_config.json").read_text())
    (toy.base / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": template}))
    corpus = build_corpus(toy.config(corpus={"source": str(source), "messages": "chat"}), Silent())
    assert texts_of(corpus) == ["<|user|>Hi<|end|>"]
    with pytest.raises(FeaturebookError, match=r"chat.jsonl:1: the chat template cannot render field 'chat'"):
        write_lines(tmp_path / "chat.jsonl", [{"chat": [3]}])
        build_corpus(toy.config(corpus={"source": str(source), "messages": "chat"}), Silent())


def test_lone_surrogates_are_replaced_and_counted(build: Build, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a \\ud800 b", "note": "\\udc00"}\n')
    progress = Silent()
    corpus = build(tmp_path / "a.jsonl", progress)
    assert texts_of(corpus) == ["a ? b"] and corpus.doc_metadata == [{"note": "?"}]
    assert "1 lone surrogates replaced by ?" in progress.notes
    corpus.save(tmp_path / "corpus.h5")
    assert Corpus.load(tmp_path / "corpus.h5").doc_metadata == corpus.doc_metadata


def test_empty_documents_are_skipped_and_counted(build: Build, tmp_path: Path) -> None:
    progress = Silent()
    corpus = build(
        write_lines(tmp_path / "a.jsonl", [{"text": ""}, {"text": "x"}, {"text": " \n"}]), progress
    )
    assert corpus.n_docs == 1 and "2 rows skipped: empty text" in progress.notes


def test_special_and_first_tokens_are_not_measured(build: Build, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "a.jsonl", [{"text": "<|user|>a b c<|end|>"}])
    corpus = build(source, extract={"exclude_first": 2})
    assert set(SPECIAL) <= {corpus.token_bytes[i].decode() for i in np.flatnonzero(corpus.is_special)}
    assert corpus.is_measured.tolist() == [False, False] + [True] * (corpus.n_tokens - 3) + [False]
    assert build(source, extract={"exclude_special": False}).is_measured.all()
    with pytest.raises(FeaturebookError, match="No token of the corpus is left to measure"):
        build(source, extract={"exclude_first": 99})


def test_same_input_same_bytes(build: Build, tmp_path: Path, corpus_file: Path) -> None:
    for name in ("one", "two"):
        build(corpus_file).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_pieces_tile_the_documents() -> None:
    pieces = cut_pieces(np.array([0, 5, 30, 41]), 12, 4)
    starts, stops = pieces[:, 1], pieces[:, 2]
    assert starts.tolist() == [0, *stops[:-1].tolist()] and stops[-1] == 41
    assert pieces.tolist() == [[0, 0, 5], [5, 5, 17], [13, 17, 25], [21, 25, 30], [30, 30, 41]]
    assert (stops - pieces[:, 0]).max() <= 12


def test_a_document_longer_than_the_context(build: Build, tmp_path: Path) -> None:
    progress = Silent()
    source = write_lines(tmp_path / "a.jsonl", [{"text": "word " * 300}])
    corpus = build(source, progress)
    assert (corpus.pieces[:, 2] - corpus.pieces[:, 0]).max() == 128
    assert any(
        "1 documents longer than 128 tokens are read in overlapping pieces" in note for note in progress.notes
    )
    with pytest.raises(FeaturebookError, match="max_tokens = 500 is longer than the model's context of 128"):
        build(source, max_tokens=500)
    with pytest.raises(FeaturebookError, match=r"overlap = 64 must be smaller than .* \(20\)"):
        build(source, max_tokens=20)


BAD: dict[str, tuple[str, bytes | None, dict[str, Any], str]] = {
    "missing": ("no.jsonl", None, {}, r"no\.jsonl' does not exist"),
    "no match": ("no*.jsonl", None, {}, "No file matches"),
    "empty": ("a.jsonl", b"\n", {}, "is empty: it has no rows"),
    "nothing left": ("a.jsonl", b'{"text": ""}\n{"text": " "}', {}, "gives no document: 2 rows were read, 2 rows skipped: empty text"),
    "field": ("a.jsonl", b'{"txt": "a", "n": 1}', {}, "no field 'text' .*Did you mean txt"),
    "template field": ("a.jsonl", b'{"question": "a"}', {"template": "{questoin}"}, "no field 'questoin'.*Did you mean question"),
    "where field": ("a.jsonl", b'{"text": "a"}', {"where": {"kind": "x"}}, "no field 'kind'"),
    "template": ("a.jsonl", b'{"text": "a"}', {"template": "plain"}, "needs {field} placeholders"),
    "braces": ("a.jsonl", b'{"text": "a"}', {"template": "{text"}, "template is malformed"),
    "malformed line": ("a.jsonl", b'{"text": "a"}\n\n{"text": "b"\n', {}, r"a\.jsonl:3 is not valid JSON"),
    "malformed file": ("a.json", b'[{"text":\n "a"},\n {"text": }]', {}, r"a\.json:3 is not valid JSON"),
    "not an object": ("a.jsonl", b"[1]", {}, r"a\.jsonl:1 holds list, not an object"),
    "not text": ("a.jsonl", b'{"text": ["a"]}', {}, r"a\.jsonl:1: field 'text' holds list, not text"),
    "parquet": ("a.parquet", b"PAR1 broken", {}, "cannot be read as Parquet"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_corpus(case: str, build: Build, tmp_path: Path) -> None:
    name, content, table, message = BAD[case]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(FeaturebookError, match=message):
        build(tmp_path / name, **table)


def test_empty_folder_and_a_dataset_that_cannot_be_fetched(
    build: Build, tmp_path: Path, monkeypatch: Any
) -> None:
    with pytest.raises(FeaturebookError, match="is an empty folder"):
        build(tmp_path)
    monkeypatch.setattr(
        "datasets.load_dataset", lambda *a, **k: (_ for _ in ()).throw(ConnectionError("no route"))
    )
    with pytest.raises(
        FeaturebookError,
        match=r"data set 'some/set' \(split 'train'\) cannot be loaded: ConnectionError: no route",
    ):
        build("some/set")


def test_a_hub_dataset_is_read_row_by_row(build: Build, monkeypatch: Any) -> None:
    """The library itself makes the rows; only the download is replaced."""
    from datasets import Dataset

    rows = Dataset.from_list([{"text": text} for text in TEXTS])
    asked: list[Any] = []
    monkeypatch.setattr("datasets.load_dataset", lambda *a, **k: asked.append((a, k)) or rows)
    corpus = build("some/set", split="test", config_name="en")
    assert texts_of(corpus) == TEXTS and corpus.tokenizer["source"] == "some/set"
    assert asked == [(("some/set", "en"), {"split": "test", "revision": None, "streaming": False})]


def test_a_tokenizer_of_another_model(build: Build, make_toy: Callable[..., Toy], corpus_file: Path) -> None:
    toy = make_toy("qwen2", changes={"vocab_size": 200})
    with pytest.raises(FeaturebookError, match=r"gives id \d+ .* but the model has 200 embeddings"):
        toy.corpus()
