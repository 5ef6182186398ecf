"""Pictures for link previews (Open Graph): a channel's name, label, tokens and histogram, 1200 × 630 pixels.

Drawn with a font of our own (``fonts/``), so that the picture does not depend on the machine. A label in letters that the
font lacks gets no picture: chats then show the page's title and description beside the site's picture.
"""

import unicodedata
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Int
from PIL import Image, ImageDraw, ImageFont

from generator.publish.about import head_labels
from generator.publish.addresses import path_of
from generator.publish.book import Book
from generator.publish.explorer import thumbnail
from generator.publish.visible import visible

FONT = Path(__file__).parent / "fonts" / "DejaVuSans.ttf"
SIZE = (1200, 630)
MARGIN = 72
LOWEST_TOKENS = 320
"""Where the line of tokens may begin at the lowest; long labels take its place."""
COLOURS = 64
"""Of the picture's palette: enough for smooth letters, small enough for some ten kilobytes."""

PAGE, TEXT, MUTED, LINE = "#ffffff", "#111111", "#5c6370", "#d8dce2"
POSITIVE, NEGATIVE = "#c8690a", "#2f7fb3"


def card_path(identifier: str) -> str:
    """Where a channel's picture lies, relative to docs/ and to the site's root."""
    return f"atlas/cards/{path_of(identifier)}.png"


def carded(book: Book, picked: list[int]) -> list[int]:
    """The channels that get a picture: the picked ones, then the labelled ones in the order of the pages."""
    labelled = [i for i in book.published if book.labels.best(book.summary.channels[i].id)]
    chosen = list(dict.fromkeys([*picked, *labelled]))[: book.config.publish.cards]
    return [
        index for index in chosen if can_draw("".join(label["text"] for label in head_labels(book, index)))
    ]


def card(book: Book, index: int, name: str, tokens: list[str]) -> bytes:
    """The picture of one channel as PNG.

    Args:
        book: The publication.
        index: Of the channel.
        name: How people read its id.
        tokens: Those it fires on most, strongest first.
    """
    picture = Image.new("RGB", SIZE, PAGE)
    pen = ImageDraw.Draw(picture)
    channel = book.summary.channels[index]
    pen.rectangle((0, 0, SIZE[0], 12), fill=POSITIVE)
    _line(pen, 56, f"{channel.collection}  ·  {name}", 30, MUTED)
    y = _heading(pen, book, index, name)
    shown = "   ".join(visible(token) for token in tokens if can_draw(visible(token)))
    if shown and y <= LOWEST_TOKENS:
        _line(pen, y + 14, shown, 32, MUTED)
    counts, low, high = thumbnail(book, index)
    if counts and low is not None and high is not None:
        _histogram(pen, np.asarray(counts), low, high)
    _line(pen, SIZE[1] - 58, book.title, 28, MUTED)
    out = BytesIO()
    octree = Image.Quantize.FASTOCTREE  # five times as fast as the median cut, and smaller here
    picture.quantize(COLOURS, method=octree, dither=Image.Dither.NONE).save(out, "PNG", compress_level=6)
    return out.getvalue()


def _heading(pen: ImageDraw.ImageDraw, book: Book, index: int, name: str) -> int:
    """The labels, or the name where there is none; returns where the next line may begin."""
    rows = [(label["sign"], label["text"]) for label in head_labels(book, index)] or [("", name)]
    y, size = 118, 58 if len(rows) == 1 else 44
    for sign, text in rows:
        colour = {"+": POSITIVE, "−": NEGATIVE}.get(sign, TEXT)
        indent = 0
        if sign:
            pen.text((MARGIN, y), sign, font=_font(size), fill=colour)
            indent = int(0.95 * size)
        for line in _wrapped(text, size, SIZE[0] - 2 * MARGIN - indent, 3 - len(rows) // 2):
            pen.text((MARGIN + indent, y), line, font=_font(size), fill=TEXT)
            y += int(size * 1.25)
    return y


def _wrapped(text: str, size: int, width: int, lines: int) -> list[str]:
    """A text cut into lines of at most this width; the last one ends in … where more would follow."""
    font, rest = _font(size), text.split(" ")
    out: list[str] = []
    while rest and len(out) < lines:
        n = 1
        while n < len(rest) and font.getlength(" ".join(rest[: n + 1])) <= width:
            n += 1
        out.append(_cut(" ".join(rest[:n]), size, width))
        rest = rest[n:]
    if rest and out:
        out[-1] = _cut(f"{out[-1]} {' '.join(rest)}", size, width)
    return out


def _cut(text: str, size: int, width: int) -> str:
    font = _font(size)
    text = text[:width]  # no character is narrower than a pixel, and a token may have a million
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


def _line(pen: ImageDraw.ImageDraw, y: int, text: str, size: int, colour: str) -> None:
    text = "".join(char if can_draw(char) else "\N{WHITE SQUARE}" for char in text)
    pen.text((MARGIN, y), _cut(text, size, SIZE[0] - 2 * MARGIN), font=_font(size), fill=colour)


def _histogram(pen: ImageDraw.ImageDraw, counts: Int[np.ndarray, " bin"], low: float, high: float) -> None:
    """Bars of log(1 + count), coloured by sign, as on the page."""
    left, right, top, bottom = MARGIN, SIZE[0] - MARGIN, 372, 544
    heights = np.log1p(counts) / max(np.log1p(counts).max(), 1e-9) * (bottom - top)
    edges = np.linspace(left, right, len(counts) + 1)
    centres = np.linspace(low, high, 2 * len(counts) + 1)[1::2]
    for a, b, height, centre in zip(edges, edges[1:], heights.tolist(), centres.tolist()):
        if height:
            colour = POSITIVE if centre >= 0 else NEGATIVE
            pen.rectangle(
                (round(a), round(bottom - height), max(round(a), round(b) - 2), bottom), fill=colour
            )
    pen.line((left, bottom + 1, right, bottom + 1), fill=LINE, width=2)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FONT, size, layout_engine=ImageFont.Layout.BASIC)


def can_draw(text: str) -> bool:
    """Whether the font has all letters of a text, and they stand from left to right one by one."""
    return all(_has_letter(char) for char in text)


@lru_cache(maxsize=1 << 14)
def _has_letter(char: str) -> bool:
    if unicodedata.bidirectional(char) in ("R", "AL", "AN") or unicodedata.combining(char):
        return False
    missing, drawn = (_font(32).getmask(x) for x in ("\U0010ffff", char))
    return char == " " or bytes(drawn) != bytes(missing)
