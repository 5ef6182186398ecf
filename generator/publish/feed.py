"""An Atom feed (RFC 4287) of newly labelled channels. Days come from the labels, so that a rebuild changes no byte."""

from urllib.parse import quote, urljoin
from xml.sax.saxutils import escape, quoteattr

from generator.publish.addresses import page_url
from generator.publish.book import Book
from generator.publish.labels import Label
from generator.publish.visible import plain

FEED = "atlas/feed.xml"
"""Where it lies below docs/."""

ENTRIES = 50
"""Labels that the feed holds, newest first."""


def feed(book: Book) -> bytes | None:
    """The newest labels of published channels; None where there is none, or no address to send readers to.

    An entry is one label. Its id is the channel's address with side, author and day: a changed text on a new day is news.
    """
    publish = book.config.publish
    shown = {book.summary.channels[index].id for index in book.published}
    labels = [
        label for name in book.labels.ids if name in shown for label in book.labels.of(name) if label.text
    ]
    if not labels or not publish.site_url:
        return None
    newest = sorted(labels, key=lambda label: label.id)
    newest.sort(key=lambda label: label.date, reverse=True)
    root = publish.site_url.rstrip("/") + "/"
    head = [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<feed xmlns="http://www.w3.org/2005/Atom">',
        f"<id>{escape(urljoin(root, FEED))}</id>",
        f"<title>{_text(book.title)}: new labels</title>",
        f"<updated>{newest[0].date}T00:00:00Z</updated>",
        f'<link rel="self" href={quoteattr(urljoin(root, FEED))}/>',
        f"<link href={quoteattr(root)}/>",
    ]
    entries = [_entry(root, label) for label in newest[:ENTRIES]]
    return "\n".join([*head, *entries, "</feed>", ""]).encode("utf-8")


def _entry(root: str, label: Label) -> str:
    address = urljoin(root, page_url(label.id))
    side = "" if label.polarity == "both" else f" ({label.polarity} side)"
    name = f"{address}#{label.polarity}-{label.date}-{quote(label.author, safe='')}"
    return "\n".join(
        [
            "<entry>",
            f"<id>{escape(name)}</id>",
            f"<title>{_text(label.id)}: {_text(label.text)}</title>",
            f"<updated>{label.date}T00:00:00Z</updated>",
            f"<author><name>{_text(label.author)}</name></author>",
            f"<link href={quoteattr(address)}/>",
            f"<summary>{_text(label.text)}{side}, by {_text(label.author)}{' (a model)' * (label.source == 'model')}.</summary>",
            "</entry>",
        ]
    )


def _text(text: str) -> str:
    # XML 1.0 cannot hold U+FFFE and U+FFFF, nor controls, which ids and titles may have.
    return escape(plain(text).replace("\ufffe", "").replace("\uffff", ""))
