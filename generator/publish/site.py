"""Writes the whole publication, and removes what an earlier run wrote and this one did not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from generator.artifacts import Writer, to_json
from generator.blocks import Corpus
from generator.config import RunConfig
from generator.errors import FeaturebookError
from generator.findings import Findings
from generator.progress import Progress, Silent
from generator.publish import pages
from generator.publish.about import about_shard, annotate_shard
from generator.publish.addresses import check_distinct, page_path, shard_path
from generator.publish.analysis import ANALYSIS, model_id, open_analysis, text_id
from generator.publish.analysis_model import analysis_shard, model_shard
from generator.publish.analysis_text import attention_shard, attention_shards, text_shard
from generator.publish.book import Book, open_book
from generator.publish.cards import card, card_path, carded
from generator.publish.collection import collection_id, collection_shard, points_id, points_shard
from generator.publish.compare import COMPARE, compare_shard, compared, values_id, values_shard
from generator.publish.documents import doc_id, document_shard
from generator.publish.explorer import (
    OF_THE_TABLE,
    column_id,
    column_shard,
    explorer_shard,
    n_parts,
    part_id,
    rows_shard,
    top_tokens,
)
from generator.publish.feed import FEED, feed
from generator.publish.home import home_shard, picked, site_facts
from generator.publish.labels import read_labels
from generator.publish.layers import layer_id, layer_shard
from generator.publish.notes import read_notes
from generator.publish.panels import selected_panels
from generator.publish.records import open_own_record
from generator.publish.search import search_index
from generator.publish.shards import channel_shard
from generator.publish.visible import plain
from generator.summaries import Summary

MANIFEST = ".featurebook-files.json"
"""Lists the files of a root that publishing made, so that the next run can remove those it does not make again."""


@dataclass(frozen=True)
class Entry:
    """One address of the site: a shard, a page, or both."""

    id: str
    shard: Callable[[], dict[str, Any]] | None
    page: Callable[[], bytes] | None
    shard_name: str = ""
    """The id of the shard where it differs: a collection's page stands above those of its channels."""
    picture: Callable[[], bytes] | None = None
    """Its preview picture, a PNG."""

    @property
    def shard_id(self) -> str:
        """The id of the shard."""
        return self.shard_name or self.id


def publish(
    config: RunConfig,
    corpus: Corpus,
    summary: Summary,
    shards: Writer,
    docs: Writer,
    notes_folder: Path,
    progress: Progress,
    labels_folder: Path | None = None,
    findings: dict[str, Findings] | None = None,
    analysis: Path | None = None,
) -> dict[str, Any]:
    """Writes all shards and pages.

    Args:
        config: ``[publish]`` decides what is shown; the rest is provenance.
        corpus: The text.
        summary: Of all channels.
        shards: Rooted at the folder that is served as /shards/.
        docs: Rooted at docs/; only ``atlas/`` below it is written.
        notes_folder: docs/notes, with hand-written notes by id.
        progress: Advances by one per channel, layer and document.
        labels_folder: With ``*.jsonl`` (docs/labels.md); no labels when absent.
        findings: What only the model could say of channels, by panel.
        analysis: The folder of the stage ``analyze``; no pages of models when absent.

    Returns:
        Facts for the manifest: ``n_channels``, ``n_layers``, ``n_documents``, ``n_pages``, ``n_shards``, ``n_notes``, ``n_labels``,
        ``shard_bytes``, ``page_bytes``, ``n_removed``.

    Raises:
        FeaturebookError: a panel or channel that does not exist; ids that fall together; a label that cannot be
            read; a full disk.
    """
    is_signed = {channel.id: channel.is_signed for channel in summary.channels}
    labels = read_labels(labels_folder, config.name, is_signed, progress.note) if labels_folder else None
    book = open_book(config, corpus, summary, labels, findings, open_analysis(analysis))
    selected_panels(config.publish.panels)
    entries = list(_entries(book, progress))
    check_distinct(entry.shard_id for entry in entries)
    check_distinct(entry.id for entry in entries)
    notes = read_notes(notes_folder, _may_have_note(book, entries), progress)
    shards_before = _begin(shards, MANIFEST, [shard_path(e.shard_id) for e in entries if e.shard])
    planned = [page_path(e.id) for e in entries if e.page] + [card_path(e.id) for e in entries if e.picture]
    pages_before = _begin(docs, f"atlas/{MANIFEST}", [*planned, FEED])
    sizes = {"shard_bytes": 0, "page_bytes": 0}
    for entry in entries:
        if entry.shard:
            sizes["shard_bytes"] += _write(shards, shard_path(entry.shard_id), to_json(entry.shard()))
        if entry.page:
            body = f"\n{notes[entry.id]}\n".encode() if entry.id in notes else b""
            sizes["page_bytes"] += _write(docs, page_path(entry.id), entry.page() + body)
        if entry.picture:
            _write(docs, card_path(entry.id), entry.picture())
        progress.advance()
    _write(docs, "atlas/site.json", to_json(site_facts(book)))
    news = feed(book)
    if news:
        _write(docs, FEED, news)
    n_removed = _finish(shards, MANIFEST, shards_before) + _finish(docs, f"atlas/{MANIFEST}", pages_before)
    return {
        "n_channels": len(book.published),
        "n_layers": len(book.layers),
        "n_documents": len(book.documents),
        "n_pages": sum(entry.page is not None for entry in entries),
        "n_shards": sum(entry.shard is not None for entry in entries),
        "n_notes": sum(entry.id in notes for entry in entries),
        "n_labels": len(book.labels),
        "n_removed": n_removed,
        **sizes,
    }


def _entries(book: Book, progress: Progress) -> Iterator[Entry]:
    """Every address of the site, in the order of writing."""
    with_card = carded(book, picked(book, Silent()))
    for index in book.published:
        identifier = book.summary.channels[index].id
        page = partial(pages.channel_page, book, index, index in with_card)
        picture = partial(_picture, book, index) if index in with_card else None
        yield Entry(identifier, partial(_channel_shard, book, index), page, picture=picture)
    for name in book.collections:
        shard = partial(collection_shard, book, name)
        yield Entry(name, shard, partial(pages.collection_page, book, name), collection_id(name))
        yield Entry(points_id(name), partial(points_shard, book, name), None)
    for layer in book.layers:
        yield Entry(
            layer_id(layer), partial(layer_shard, book, layer), partial(pages.layer_page, book, layer)
        )
    for doc in book.documents:
        yield Entry(doc_id(doc), partial(document_shard, book, doc), partial(pages.document_page, book, doc))
    yield from _compared(book)
    yield from _found(book)
    yield from _analysed(book)
    yield Entry("layers", None, partial(pages.layers_page, book))
    yield Entry("documents", None, partial(pages.documents_page, book))
    yield Entry("home", partial(home_shard, book, progress), None)
    yield Entry("about", partial(about_shard, book), None)
    yield Entry("annotate", partial(annotate_shard, book), pages.annotate_page)
    if book.config.publish.giscus:
        yield Entry("discuss", None, pages.discuss_page)


def _compared(book: Book) -> Iterator[Entry]:
    """The page that compares channels, with what it fetches of each."""
    yield Entry(COMPARE, partial(compare_shard, book), partial(pages.compare_page, book))
    for index, places in compared(book).items():
        identifier = values_id(book.summary.channels[index].id)
        yield Entry(identifier, partial(values_shard, book, index, places), None)


def _analysed(book: Book) -> Iterator[Entry]:
    """The models of the analysis, their texts, and the attention that a text's page fetches."""
    analysis = book.analysis
    if analysis is None:
        return
    yield Entry(ANALYSIS, partial(analysis_shard, analysis), partial(pages.analysis_page, analysis))
    for name in analysis.models:
        page = partial(pages.model_page, analysis, name)
        yield Entry(model_id(name), partial(model_shard, book, analysis, name), page)
    for name, text in analysis.text_pages():
        page = partial(pages.text_page, analysis, name, text)
        yield Entry(text_id(name, text), partial(text_shard, book, analysis, name, text), page)
        for identifier, path in attention_shards(analysis, name, text):
            yield Entry(identifier, partial(attention_shard, analysis, name, identifier, path), None)


def _found(book: Book) -> Iterator[Entry]:
    """The explorer and the search, with the files that they fetch."""
    head = explorer_shard(book)
    yield Entry("explorer", lambda: head, partial(pages.explorer_page, book))
    for name in (*OF_THE_TABLE, *head["numbers"]):
        yield Entry(column_id(name), partial(column_shard, book, name), None)
    for part in range(n_parts(book)):
        yield Entry(part_id(part), partial(rows_shard, book, part), None)
    for identifier, shard in search_index(book).shards():
        yield Entry(identifier, shard, pages.search_page if identifier == "search" else None)
    yield Entry("token", None, pages.token_page)


def _may_have_note(book: Book, entries: list[Entry]) -> set[str]:
    """Ids of pages, and of channels and layers that are not published this time: their notes wait."""
    channels = book.summary.channels
    layers = {layer_id(channel.layer) for channel in channels if channel.layer >= 0}
    return {entry.id for entry in entries if entry.page} | {channel.id for channel in channels} | layers


def _picture(book: Book, index: int) -> bytes:
    name = pages.channel_name(book.summary.channels[index].id)
    return card(book, index, plain(name), top_tokens(book, index))


def _channel_shard(book: Book, index: int) -> dict[str, Any]:
    return channel_shard(open_own_record(book, index))


def _write(writer: Writer, path: str, content: bytes) -> int:
    writer.write(path, content)
    return len(content)


def _begin(writer: Writer, manifest: str, planned: list[str]) -> set[str]:
    """Lists what may exist from now on, so that even a killed run leaves nothing unlisted; returns what was listed."""
    try:
        before = {str(path) for path in orjson.loads((writer.root / manifest).read_bytes())["files"]}
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        before = set()
    writer.write(manifest, to_json({"files": sorted(before | set(planned))}))
    return before


def _finish(writer: Writer, manifest: str, before: set[str]) -> int:
    """Removes listed files that were not written now, and lists the rest."""
    written = writer.written - {manifest}
    stale = sorted(before - written)
    for path in stale:
        _remove(writer.root, path)
    writer.write(manifest, to_json({"files": sorted(written)}))
    return len(stale)


def _remove(root: Path, path: str) -> None:
    """Removes one file and the folders that it leaves empty."""
    target = root / path
    if ".." in Path(path).parts or not target.resolve().is_relative_to(root):
        raise FeaturebookError(
            f"Refused to remove {path!r}, which {MANIFEST} lists: it leads outside {root}."
        )
    target.unlink(missing_ok=True)
    for folder in target.parents:
        if folder == root or any(folder.iterdir() if folder.is_dir() else ()):
            return
        if folder.is_dir():
            folder.rmdir()
