"""Shards of one text under one model: tokens, predictions, lens, attribution; attention in shards of its own, layer by layer."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from generator.publish.analysis import Analysis, model_facts, rounded, text_id
from generator.publish.analysis_model import geometry
from generator.publish.book import SCHEMA, Book
from generator.publish.documents import doc_id
from generator.publish.tokens import StringTable, TokenTexts
from generator.publish.visible import plain

COPIED = (
    "predictions",
    "surprise",
    "divergence",
    "continuations",
    "lens",
    "attribution",
    "logit_parts",
    "attention",
)
"""Sections of a text's file that its shard repeats, with fewer digits."""


def text_shard(book: Book, analysis: Analysis, model: str, text: str) -> dict[str, Any]:
    """All that the page of a text shows, except attention weights."""
    file = analysis.read(model, "texts", f"{text}.json") or {}
    others = [name for name, one in analysis.models.items() if text in one["texts"]]
    doc = file.get("doc")
    return {
        "schema": SCHEMA,
        "id": text_id(model, text),
        "name": plain(file["name"]),
        "kind": file["kind"],
        "model": model_facts(analysis.models[model]),
        "models": [{"name": name, "id": text_id(name, text)} for name in others],
        "document": doc_id(doc) if doc is not None and doc in book.documents else None,
        "read": file["read"],
        **_strings(file),
        **{section: rounded(file[section]) for section in COPIED},
        "geometry": geometry(file["geometry"]),
    }  # fmt: skip


def _strings(file: dict[str, Any]) -> dict[str, Any]:
    """The display texts: ``tokens`` of the vocabulary's entries, each alone, then of the text as read; ``text`` indexes them."""
    vocabulary = file["vocabulary"]
    pieces = [bytes.fromhex(entry) for entry in vocabulary["bytes"]]
    texts = TokenTexts(pieces, np.array(vocabulary["is_special"], np.bool_))
    table = StringTable(texts)
    alone = np.arange(len(pieces))
    # every entry is a window of its own, so that the first entries are those of the vocabulary, in its order
    places = table.indices(alone, np.arange(len(pieces) + 1))
    ids = np.array(file["tokens"], np.int64)
    text = table.indices(ids, np.array([0, len(ids)]))
    return {
        "tokens": table.strings,
        "special": table.special,
        "vocabulary": places,
        "text": text,
        "token_of": file["tokens"],
    }


def attention_shards(analysis: Analysis, model: str, text: str) -> Iterator[tuple[str, list[str]]]:
    """(id of a shard, path of the file below the model's folder) of what a text's page fetches of attention."""
    file = analysis.read(model, "texts", f"{text}.json") or {}
    shape = file.get("attention", {})
    if "n_layers" in shape:
        names = ["attention", *(f"heads-{layer}" for layer in range(shape["n_layers"]))]
        for name in names:
            yield f"{text_id(model, text)}/{name}", ["texts", text, f"{name}.json"]


def attention_shard(analysis: Analysis, model: str, identifier: str, path: list[str]) -> dict[str, Any]:
    """The file of attention as it is: 8-bit weights in base64 (docs/analysis.md)."""
    file = analysis.read(model, *path) or {}
    return {**{k: v for k, v in file.items() if k != "key"}, "schema": SCHEMA, "id": identifier}
