"""What ablating a latent does: the panel of a latent's page, and the changes at the tokens of a document."""

from typing import Any

import numpy as np

from generator.publish.book import Book
from generator.publish.records import FeatureRecord

PANEL = "latent_effects"


def latent_effects(record: FeatureRecord) -> dict[str, Any] | None:
    """A latent's strongest examples with the change of each next token's log probability when it is ablated."""
    findings = record.book.findings.get(PANEL)
    found = findings.of(record.channel.id) if findings else None
    if findings is None or found is None or "undefined" in found:
        return found
    places = findings.facts["collections"][record.channel.collection]["places"]
    return {
        "place": places[found["place"]],
        "mean": found["mean"],
        "n": found["n"],
        "method": findings.facts.get("method", ""),
        "examples": [_example(record, one) for one in found["examples"]],
    }


def _example(record: FeatureRecord, found: dict[str, Any]) -> dict[str, Any]:
    book, doc = record.book, found["doc"]
    ids = np.array(found["token_ids"], np.int64)
    return {
        "doc": doc,
        "doc_name": book.doc_names[doc],
        "has_page": doc in book.documents,
        "start": found["start"],
        "position": found["position"],
        "text": record.strings.indices(ids, np.array([0, len(ids)])),
        "values": found["values"],
        "changes": found["changes"],
        "moved": [
            {"at": one["at"], **{side: _moved(record, one[side]) for side in ("up", "down")}}
            for one in found["moved"]
        ],
    }


def _moved(record: FeatureRecord, rows: list[list[Any]]) -> dict[str, Any]:
    """Tokens alone with their probability before and after."""
    ids = np.array([token for token, _, _ in rows], np.int64)
    return {
        "text": record.strings.indices(ids, np.arange(len(ids) + 1)) if rows else [],
        "before": [before for _, before, _ in rows],
        "after": [after for _, _, after in rows],
    }


def document_effects(book: Book, doc: int, order: list[int]) -> dict[str, Any] | None:
    """The changes at a document's tokens, by the place of a channel among the document's; None where none was measured.

    Args:
        book: The publication.
        doc: The document.
        order: The document's channels.
    """
    findings = book.findings.get("document_effects")
    found = findings.of(f"doc/{doc}") if findings else None
    if not found:
        return None
    place = {book.summary.channels[index].id: place for place, index in enumerate(order)}
    return {str(place[identifier]): one for identifier, one in found.items() if identifier in place}
