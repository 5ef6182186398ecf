"""The home page's shard: what was studied, the grid of all directions, picked cards, provenance; and site.json."""

import re
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from generator.errors import nearest
from generator.progress import Progress
from generator.publish.about import credit_rows
from generator.publish.book import SCHEMA, Book
from generator.publish.citation import site_citation
from generator.publish.explorer import token_texts
from generator.publish.grid import module_grid
from generator.publish.records import examples_of, identity_of, open_record, sources_of
from generator.publish.tokens import StringTable
from generator.publish.visible import plain, without_surrogates

CARDS = 6
"""Directions shown as cards when the run file picks none."""


def home_shard(book: Book, progress: Progress) -> dict[str, Any]:
    """All that the home page shows."""
    strings = book.strings()
    cards = [_card(book, index, strings) for index in picked(book, progress)]
    return {
        "schema": SCHEMA,
        "id": "home",
        **site_facts(book),
        "model": model_facts(book),
        "corpus": corpus_facts(book),
        "grid": module_grid(book),
        "credits": credit_rows(book),
        "citation": site_citation(book),
        "cards": cards,
        **strings.fields(),
        **sources_of(book, *(card["example"] for card in cards)),
        "notes": book.summary.notes,
        "provenance": provenance(book),
    }


def site_facts(book: Book) -> dict[str, Any]:
    """What MkDocs and the home page need to know of the whole: docs/atlas/site.json."""
    publish = book.config.publish
    return {
        "schema": SCHEMA,
        "title": book.title,
        "description": plain(" ".join(publish.description.split())),
        "repository": publish.repository,
        "site_url": publish.site_url,
        "name": book.config.name,
        "preset": book.preset.name,
        "n_channels": len(book.published),
        "n_channels_measured": len(book.summary.channels),
        "n_layers": len(book.layers),
        "n_documents": len(book.documents),
        "collections": _collections(book),
    }


def _collections(book: Book) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "kind": book.summary.channels[indices[0]].kind,
            "n_channels": len(indices),
            "n_dead": sum(map(book.is_dead, indices)),
        }
        for name, indices in book.collections.items()
    ]


def model_facts(book: Book) -> dict[str, Any]:
    """Model and adapter as extraction described them, without paths of the machine that ran it."""
    return {
        "base": without_paths(book.config.model.base),
        "adapter": without_paths(book.config.model.adapter),  # null for a model as it is
        "facts": without_paths({k: v for k, v in book.summary.facts.items() if k != "collections"}),
    }


def corpus_facts(book: Book) -> dict[str, Any]:
    """Size and source of the text."""
    corpus = book.corpus
    return {
        "source": without_paths(book.config.corpus.source),
        "n_documents": corpus.n_docs,
        "n_tokens": corpus.n_tokens,
        "n_measured": int(corpus.is_measured.sum()),
        "tokenizer": without_paths(corpus.tokenizer),
    }


def provenance(book: Book) -> dict[str, Any]:
    """How the site was made: enough to make it again."""
    facts = without_paths(book.summary.facts)
    config = book.config.model_dump(mode="json", exclude=_WITHOUT_EFFECT)
    return {
        "settings": {**without_paths(config), "summarize": without_paths(book.summary.settings)},
        "seed": book.config.seed,
        "versions": {"featurebook": _version("featurebook"), **facts.get("versions", {})},
        "keys": facts.get("keys", {}),
    }


def without_paths(value: Any) -> Any:
    """A value whose absolute paths are cut to their last part: a published page must not show a machine's folders."""
    if isinstance(value, dict):
        return {str(key): without_paths(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(entry) for entry in value]
    if isinstance(value, str) and _ABSOLUTE.match(value) and "\n" not in value:
        return re.split(r"[/\\]", without_surrogates(value).rstrip("/\\"))[-1]
    return without_surrogates(value) if isinstance(value, str) else value


_WITHOUT_EFFECT: Any = {"publish": True, "extract": {"workers", "keep_activations"}}
"""Settings that do not change the measurements; a site made with other ones has the same bytes."""

_ABSOLUTE = re.compile(r"(~?/|[A-Za-z]:[\\/])[^<>{}|]+$")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def picked(book: Book, progress: Progress) -> list[int]:
    """The channels shown as cards: those that the run file names, else the most skewed of each collection in turn."""
    by_id = {book.summary.channels[index].id: index for index in book.published}
    if book.config.publish.picked:
        for name in book.config.publish.picked:
            if name not in by_id:
                progress.note(f"publish.picked: {name!r} has no page. {nearest(name, by_id)}")
        return [by_id[name] for name in book.config.publish.picked if name in by_id]
    skewness = book.statistics["skewness"]
    turns = []
    for turn, indices in enumerate(book.collections.values()):
        ordered = sorted(indices, key=lambda i: (-abs(skewness[i] or 0.0), book.place[i]))
        turns += [(place, turn, index) for place, index in enumerate(ordered[:CARDS])]
    return [index for *_, index in sorted(turns)[:CARDS]]


def _card(book: Book, index: int, strings: StringTable) -> dict[str, Any]:
    """A channel in short: its tokens and its strongest example of either sign."""
    record = open_record(book, index, strings)
    groups = book.summary.groups
    rows = book.summary.examples.of(index)
    sides = [groups.index(name) for name in ("top", "bottom") if name in groups]
    firsts = np.concatenate([np.flatnonzero(rows["group"] == side)[:1] for side in sides])
    strongest = firsts[np.argsort(-np.abs(rows["value"][firsts]), kind="stable")[:1]]
    return {
        **identity_of(book, index),
        "label": book.labels.text(record.channel.id),
        "scale": record.scale,
        "max_abs": book.largest(index),
        "top_tokens": token_texts(book, book.summary.top_tokens, index),
        "bottom_tokens": token_texts(book, book.summary.bottom_tokens, index)
        if record.channel.is_signed
        else [],
        "example": examples_of(record, lambda _: strongest),
        "example_group": groups[int(rows["group"][strongest[0]])] if len(strongest) else None,
    }
