"""What sharing and annotating need to know of the site: one small shard that a page fetches when its reader asks."""

from typing import Any

from generator.publish.book import SCHEMA, Book
from generator.publish.citation import site_citation


def about_shard(book: Book) -> dict[str, Any]:
    """Where labels, discussions and citations of this site go."""
    publish = book.config.publish
    return {
        "schema": SCHEMA,
        "id": "about",
        "run": book.config.name,
        "title": book.title,
        "repository": publish.repository.rstrip("/"),
        "branch": publish.branch,
        "discussions": publish.discussions.rstrip("/"),
        "giscus": publish.giscus.model_dump() if publish.giscus else None,
        "citation": site_citation(book),
    }


def annotate_shard(book: Book) -> dict[str, Any]:
    """The channels that a reader can be asked about, in the order of their pages; dead latents have nothing to say."""
    living = [index for index in book.published if not book.is_dead(index)]
    channels = [book.summary.channels[index] for index in living]
    return {
        "schema": SCHEMA,
        "id": "annotate",
        "ids": [channel.id for channel in channels],
        "labelled": [int(book.labels.best(channel.id) is not None) for channel in channels],
    }


def label_rows(book: Book, identifier: str) -> list[dict[str, Any]]:
    """All that was said of a channel, first what counts most."""
    return [
        {
            "polarity": label.polarity,
            "text": label.text,
            "author": label.author,
            "source": label.source,
            "date": label.date,
            "score": label.score,
            "score_name": label.score_name,
            "note": label.note,
        }
        for label in book.labels.of(identifier)
    ]


def head_labels(book: Book, index: int) -> list[dict[str, Any]]:
    """The labels under the name of a channel: one for each side, or one for both; texts ready to be read."""
    channel = book.summary.channels[index]
    up = book.labels.best(channel.id, "positive")
    down = book.labels.best(channel.id, "negative") if channel.is_signed else None
    chosen = [(up, "positive"), (down, "negative")] if up != down else [(up, "both")]
    return [
        {
            "sign": {"positive": "+", "negative": "−", "both": ""}[side] if channel.is_signed else "",
            "text": label.text,
            "author": label.author,
            "source": label.source,
            "date": label.date,
            "score": None if label.score is None else f"{label.score:.2f}".replace("-", "−"),
            "score_name": label.score_name or "score",
        }
        for label, side in chosen
        if label
    ]


def label_sentence(book: Book, index: int) -> str:
    """A channel's labels in a line, for titles: ``“so far” (+), a doubt (−)``; empty without one."""
    shown = head_labels(book, index)
    return ", ".join(
        f"{label['text']} ({label['sign']})" if label["sign"] else label["text"] for label in shown
    )


def credit_rows(book: Book) -> list[dict[str, Any]]:
    """Who labelled how many channels."""
    return [
        {"author": author, "source": source, "n_channels": n} for author, source, n in book.labels.authors
    ]
