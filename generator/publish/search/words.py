"""Words of a text as the index holds them: the twin of ``site_assets/assets/search-words.mjs``.

Compatibility forms, case, accents and Arabic vowel signs are folded. Names of code are kept whole and in their parts
(``gate_proj``, ``gate``, ``proj``; ``readLine``, ``read``, ``line``). Scripts that put no spaces between words (Chinese, Japanese,
Thai, Khmer, …) are cut into pairs of characters, as is usual (Manning, Raghavan & Schütze 2008, section 2.2.2).
"""

import re
import unicodedata
from functools import cache, lru_cache

LONGEST = 40
"""Characters of a word; what is longer is cut."""

_DROPPED = (
    "[\u0300-\u036f\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed"
    "\u00ad\u200b-\u200f\u2060\ufeff]"
)
_DROP = re.compile(_DROPPED)
_LETTERS = str.maketrans({"ß": "ss", "ς": "σ", "ı": "i", "ٱ": "ا", "ى": "ي", "ی": "ي", "ک": "ك"})
_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003134f]+)"
)
_PART = re.compile("[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^A-Za-z0-9_]+")


def fold(text: str) -> str:
    """A text with compatibility forms, accents and signs that need not be typed folded; its case is kept."""
    if text.isascii():
        return text
    plain = _DROP.sub("", unicodedata.normalize("NFKD", text))
    return unicodedata.normalize("NFC", plain).translate(_LETTERS)


@lru_cache(maxsize=1 << 16)
def words(text: str) -> tuple[str, ...]:
    """The distinct words of a text, in order.

    >>> words("def readLine(gate_proj)")
    ('def', 'readline', 'read', 'line', 'gate_proj', 'gate', 'proj')
    >>> words("等一下 Café")
    ('等一', '一下', '下', 'cafe')
    """
    found: dict[str, None] = {}
    for chunk in _chunks().findall(fold(text)):
        for place, part in enumerate(_UNSPACED.split(chunk)):
            for word in _pairs(part) if place % 2 else _names(part):
                found[word[:LONGEST]] = None
    return tuple(found)


def _pairs(run: str) -> list[str]:
    """Pairs of characters, and the last character: a single character is found as the beginning of a pair."""
    return [run[i : i + 2] for i in range(len(run))]


def _names(chunk: str) -> list[str]:
    """A word, and the parts of a name of code."""
    parts = [part.lower() for part in _PART.findall(chunk)]
    whole = chunk.strip("_").lower()
    if not whole:
        return []
    return [whole, *parts] if len(parts) > 1 else [whole]


@cache
def _chunks() -> re.Pattern[str]:
    """Runs of letters, digits, underscores and the marks that belong to letters, which ``\\w`` leaves out."""
    marks = [chr(c) for c in range(0x300, 0x1E950) if unicodedata.category(chr(c)) in ("Mn", "Mc", "Me")]
    return re.compile(f"[\\w{''.join(marks)}]+")
