"""Text that hides nothing: what a page shows of tokens and names where no browser code turns controls into chips.

``visible`` is the twin of the function of that name in ``site_assets/assets/heatmap/tokens.mjs``: what the page's HTML says
before the shard has come is what it says afterwards.
"""

import re
import unicodedata
from functools import lru_cache

CHIPS = {
    0xAD: "SHY", 0x34F: "CGJ", 0x61C: "ALM", 0x180E: "MVS", 0x200B: "ZWSP", 0x200C: "ZWNJ", 0x200D: "ZWJ", 0x200E: "LRM",
    0x200F: "RLM", 0x2028: "LSEP", 0x2029: "PSEP", 0x202A: "LRE", 0x202B: "RLE", 0x202C: "PDF", 0x202D: "LRO",
    0x202E: "RLO", 0x2060: "WJ", 0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI", 0xFEFF: "BOM", 0x7F: "DEL",
    **dict(enumerate(
        ["NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "TAB", "LF", "VT", "FF", "CR", "SO", "SI", "DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB", "ESC", "FS", "GS", "RS", "US"]
    )),
}  # fmt: skip
"""Names of characters that have no shape of their own, or that change the order of the text around them."""

_SHAPED = frozenset([*range(0x600, 0x606), 0x6DD, 0x70F, 0x8E2])
"""Format characters that are drawn."""

_MARKS = {"\n": "↵", "\r": "↵", "\t": "→"}
_JOINED = re.compile(
    "(?<=[\u2190-\u2bff\U0001f000-\U0001faff\ufe0f])\u200d(?=[\u2190-\u2bff\U0001f000-\U0001faff])"
)


def without_surrogates(text: str) -> str:
    """The text with lone surrogates, which neither JSON nor UTF-8 can hold, replaced by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def is_unseen(char: str) -> bool:
    """Whether a character is a control, is invisible, or changes the order of the text around it."""
    if ord(char) in _SHAPED:
        return False
    return unicodedata.category(char) in ("Cc", "Cf", "Cs") or char in "\u034f\u2028\u2029"


def plain(text: str) -> str:
    """A name or title on one line, with nothing in it that could disguise it: what is unseen is left out."""
    if text.isprintable() and "\u034f" not in text:
        return text
    return "".join(_MARKS.get(char, "") if is_unseen(char) else char for char in without_surrogates(text))


@lru_cache(maxsize=1 << 16)
def chipped(text: str) -> str:
    """A token on one line in which what is unseen has a name: ``zero[ZWSP]width``, ``↵``.

    Joiners inside an emoji stay: they are seen.
    """
    if text.isprintable() and "\u034f" not in text:
        return text
    return "\u200d".join(_chipped(part) for part in _JOINED.split(without_surrogates(text)))


def _chipped(text: str) -> str:
    return "".join(
        {"\n": "↵", "\t": "→"}.get(char) or f"[{CHIPS.get(ord(char)) or f'U+{ord(char):04X}'}]"
        if is_unseen(char)
        else char
        for char in text
    )


def visible(text: str) -> str:
    """A token on one line in which everything can be seen, spaces at its ends and runs of them included.

    A combining mark that begins the token stands on a dotted circle, for many fonts draw nothing without a letter.

    >>> visible(" wait"), visible("a\\n"), visible("\\u202eevil"), visible("")
    ('␣wait', 'a↵', '[RLO]evil', '…')
    """
    if text == "":
        return "…"
    if unicodedata.category(text[0]).startswith("M") and text[0] != "\u034f":
        text = "◌" + text
    return re.sub("^ +| +$| {2,}", lambda spaces: "␣" * len(spaces[0]), chipped(text))
