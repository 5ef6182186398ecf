"""Writes the whole publication, and removes what an earlier run wrote and this one did not."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from generator.artifacts import Writer, to_json
from generator.blocks import Corpus, Directions
from generator.config import RunConfig
from generator.errors import FeaturebookError
from generator.findings import Findings
from generator.progress import Progress, Silent
from generator.publish import pages
from generator.publish.about import about_shard, annotate_shard
from generator.publish.addresses import check_distinct
from generator.publish.analysis import ANALYSIS, model_id, open_analysis, text_id
from generator.publish.analysis_model import analysis_shard, model_shard
from generator.publish.analysis_text import attention_shard, attention_shards, text_shard
from generator.publish.book import Book, open_book
from generator.publish.cards import card, carded
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
from generator.publish.kept import Kept
from generator.publish.labels import read_labels
from generator.publish.layers import layer_id, layer_shard
from generator.publish.likeness import Run
from generator.publish.notes import read_notes
from generator.publish.other_runs import open_other_runs
from generator.publish.panels import selected_panels
from generator.publish.press import Entry, Press
from generator.publish.records import open_own_record
from generator.publish.runs import RUNS, run_id, runs_shard
from generator.publish.search import search_index
from generator.publish.shards import channel_shard
from generator.publish.visible import plain
from generator.summaries import Summary

MANIFEST = ".featurebook-files.json"
"""Lists the files of a root that publishing made, so that the next run can remove those it does not make again."""


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
    directions: Sequence[Directions] = (),
    kept: Kept | None = None,
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
        directions: The adapter's vectors, by which ``publish.compare_with`` finds counterparts.
        kept: What the last run left; then only pages are made that come out otherwise. All are, when absent.

    Returns:
        Facts for the manifest: ``n_channels``, ``n_layers``, ``n_documents``, ``n_pages``, ``n_shards``, ``n_notes``, ``n_labels``,
        ``shard_bytes``, ``page_bytes``, ``n_removed``.

    Raises:
        FeaturebookError: a panel or channel that does not exist; ids that fall together; a label that cannot be
            read; another run that is not there; a full disk.
    """
    is_signed = {channel.id: channel.is_signed for channel in summary.channels}
    labels = read_labels(labels_folder, config.name, is_signed, progress.note) if labels_folder else None
    others = open_other_runs(config.publish.compare_with, Run(corpus, summary, directions))
    book = open_book(config, corpus, summary, labels, findings, open_analysis(analysis), others)
    selected_panels(config.publish.panels)
    if kept:
        kept.open(book.labels)
    entries = list(_entries(book, progress))
    _check_distinct([*entries, *SEARCHED])
    notes = read_notes(notes_folder, _may_have_note(book, [*entries, *SEARCHED]), progress)
    shards_before, pages_before = _listed(shards, MANIFEST), _listed(docs, f"atlas/{MANIFEST}")
    _announce(shards, docs, shards_before, pages_before, entries)
    press = Press(book, shards, docs, notes, progress, kept)
    finish = press.start(entries)
    found = list(_found(book, kept))  # while other processes print, where there are any
    entries = [*entries, *found]
    _check_distinct(entries)
    _announce(shards, docs, shards_before, pages_before, entries)
    press.print(found)
    finish()
    docs.write("atlas/site.json", to_json(site_facts(book)))
    news = feed(book)
    if news:
        docs.write(FEED, news)
    if kept:
        kept.close(press.held)
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
        "shard_bytes": press.shard_bytes,
        "page_bytes": press.page_bytes,
    }


def _entries(book: Book, progress: Progress) -> Iterator[Entry]:
    """Every address of the site, in the order of writing."""
    with_card = carded(book, picked(book, Silent()))
    for index in book.published:
        identifier = book.summary.channels[index].id
        page = partial(pages.channel_page, book, index, index in with_card)
        picture = partial(_picture, book, index) if index in with_card else None
        made_of = "with a picture" if picture else ""
        yield Entry(identifier, partial(_channel_shard, book, index), page, "", picture, made_of)
    for name in book.collections:
        shard = partial(collection_shard, book, name)
        page = partial(pages.collection_page, book, name)
        yield Entry(name, shard, page, collection_id(name), made_of="")
        yield Entry(points_id(name), partial(points_shard, book, name), None, made_of="")
    for layer in book.layers:
        page = partial(pages.layer_page, book, layer)
        yield Entry(layer_id(layer), partial(layer_shard, book, layer), page, made_of="")
    for doc in book.documents:
        page = partial(pages.document_page, book, doc)
        yield Entry(doc_id(doc), partial(document_shard, book, doc), page, made_of="")
    yield from _compared(book)
    yield from _tabled(book)
    yield from _analysed(book)
    yield Entry("layers", None, partial(pages.layers_page, book))
    yield Entry("documents", None, partial(pages.documents_page, book), made_of="")
    yield Entry("home", partial(home_shard, book, progress), None)
    yield Entry("about", partial(about_shard, book), None)
    yield Entry("annotate", partial(annotate_shard, book), pages.annotate_page)
    if book.config.publish.giscus:
        yield Entry("discuss", None, pages.discuss_page)


def _compared(book: Book) -> Iterator[Entry]:
    """The page that compares channels, with what it fetches of each, and those that compare with other runs."""
    yield Entry(COMPARE, partial(compare_shard, book), partial(pages.compare_page, book))
    for index, places in compared(book).items():
        identifier = values_id(book.summary.channels[index].id)
        yield Entry(identifier, partial(values_shard, book, index, places), None, made_of="")
    for other in book.others:
        page = partial(pages.run_page, book, other)
        yield Entry(run_id(other.name), partial(runs_shard, book, other), page)
    if book.others:
        yield Entry(RUNS, None, partial(pages.runs_page, book))


def _analysed(book: Book) -> Iterator[Entry]:
    """The models of the analysis, their texts, and the attention that a text's page fetches."""
    analysis = book.analysis
    if analysis is None:
        return
    yield Entry(
        ANALYSIS, partial(analysis_shard, analysis), partial(pages.analysis_page, analysis, book.config)
    )
    for name in analysis.models:
        page = partial(pages.model_page, analysis, name)
        yield Entry(model_id(name), partial(model_shard, book, analysis, name), page)
    for name, text in analysis.text_pages():
        page = partial(pages.text_page, analysis, name, text)
        yield Entry(text_id(name, text), partial(text_shard, book, analysis, name, text), page)
        for identifier, path in attention_shards(analysis, name, text):
            yield Entry(identifier, partial(attention_shard, analysis, name, identifier, path), None)


def _tabled(book: Book) -> Iterator[Entry]:
    """The explorer, with the files that it fetches."""
    head = explorer_shard(book)
    yield Entry("explorer", lambda: head, partial(pages.explorer_page, book))
    for name in (*OF_THE_TABLE, *head["numbers"]):
        yield Entry(column_id(name), partial(column_shard, book, name), None, made_of="")
    for part in range(n_parts(book)):
        yield Entry(part_id(part), partial(rows_shard, book, part), None, made_of="")
    yield Entry("token", None, pages.token_page)


def _found(book: Book, kept: Kept | None) -> Iterator[Entry]:
    """The search, with the files that it fetches. Of words labels are a part; all else follows from the run."""
    for identifier, shard, has_labels in search_index(book, kept).shards():
        page = pages.search_page if identifier == "search" else None
        yield Entry(identifier, shard, page, made_of=None if has_labels else "")


SEARCHED = [Entry("search", None, pages.search_page)]
"""Addresses that only come with the search, which is made last."""


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


def _check_distinct(entries: list[Entry]) -> None:
    check_distinct(entry.shard_id for entry in entries)
    check_distinct(entry.id for entry in entries)


def _listed(writer: Writer, manifest: str) -> set[str]:
    """The files that earlier runs made."""
    try:
        return {str(path) for path in orjson.loads((writer.root / manifest).read_bytes())["files"]}
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return set()


def _announce(
    shards: Writer, docs: Writer, shards_before: set[str], pages_before: set[str], entries: list[Entry]
) -> None:
    """Lists what may exist from now on, so that even a killed run leaves nothing unlisted."""
    paths = [entry.paths() for entry in entries]
    planned = {shard for shard, _, _ in paths if shard}
    shards.write(MANIFEST, to_json({"files": sorted(shards_before | planned)}))
    planned = {path for _, *two in paths for path in two if path} | {FEED}
    docs.write(f"atlas/{MANIFEST}", to_json({"files": sorted(pages_before | planned)}))


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
