"""How to cite the site and its pages. The same inputs give the same citation: the year comes from the run file."""

from typing import Any

from generator import __version__
from generator.publish.book import Book
from generator.publish.visible import plain

KEY_LENGTH = 12
"""Characters of the measurements' content key that a citation carries: enough to tell two runs apart."""


def site_citation(book: Book) -> dict[str, Any]:
    """What a citation of any page is made of; the page adds its own title and address (assets/cite.mjs)."""
    publish = book.config.publish
    return {
        "authors": [plain(author) for author in publish.authors],
        "title": book.title,
        "date": publish.date,
        "url": publish.site_url,
        "version": content_version(book),
        "software": f"Featurebook {__version__}",
    }


def content_version(book: Book) -> str:
    """The beginning of the content key of what the site shows: text, model and settings decide it."""
    keys = book.summary.facts.get("keys", {})
    key = keys.get("summarize") if isinstance(keys, dict) else None
    return key[:KEY_LENGTH] if isinstance(key, str) else ""
