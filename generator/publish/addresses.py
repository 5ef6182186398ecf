"""From ids to paths: an id never becomes a path unescaped.

A segment of letters, digits, ``.``, ``_`` and ``-`` stays as it is, so ``lora/L12/gate_proj`` is its own path. Any
other byte (of UTF-8) becomes ``~`` and two hexadecimal digits; so does the first character of a segment that means
something to a file system or to MkDocs (``.``, ``..``, ``index``, ``readme``, ``con``, a leading or trailing dot). The
escape is one-to-one and depends on the segment alone, hence stable. ``pathOf`` in the browser does the same.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from generator.errors import FeaturebookError

LONGEST_SEGMENT = 200
"""Characters of an escaped segment; file systems allow 255 bytes with the extension."""

_PLAIN = re.compile(r"[A-Za-z0-9._-]")
_MEANINGFUL = re.compile(r"(\..*|index|readme|con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


@lru_cache(maxsize=1 << 16)
def path_of(identifier: str) -> str:
    """The path of an id, without extension, below ``atlas/`` and below ``shards/``.

    >>> path_of("lora/L12/gate_proj"), path_of("lora/../x y")
    ('lora/L12/gate_proj', 'lora/~2e~2e/x~20y')

    Raises:
        FeaturebookError: a segment is empty or too long.
    """
    return "/".join(_escape(segment, identifier) for segment in identifier.split("/"))


def shard_path(identifier: str) -> str:
    """Where the shard of an id lies, relative to the shards' root."""
    return f"{path_of(identifier)}.json"


def page_path(identifier: str) -> str:
    """Where the page of an id lies, relative to docs/."""
    return f"atlas/{path_of(identifier)}.md"


def page_url(identifier: str) -> str:
    """The address of an id's page, relative to the site's root."""
    return f"atlas/{path_of(identifier)}/"


def _escape(segment: str, identifier: str) -> str:
    if not segment:
        raise FeaturebookError(
            f"The id {identifier!r} has an empty part. Give the module or collection a name."
        )
    encoded = segment.encode("utf-8", "surrogatepass")
    escaped = "".join(chr(b) if b < 128 and _PLAIN.match(chr(b)) else f"~{b:02x}" for b in encoded)
    if _MEANINGFUL.fullmatch(escaped):
        escaped = f"~{ord(escaped[0]):02x}{escaped[1:]}"
    if escaped.endswith("."):
        escaped = f"{escaped[:-1]}~2e"
    if len(escaped) > LONGEST_SEGMENT:
        raise FeaturebookError(
            f"The id {identifier!r} has a part of {len(escaped)} characters; file systems take {LONGEST_SEGMENT}. Shorten the name."
        )
    return escaped


def check_distinct(identifiers: Iterable[str]) -> None:
    """Refuses ids whose files would fall together on a file system that ignores case, as those of macOS and Windows.

    Raises:
        FeaturebookError: names both ids.
    """
    seen: dict[str, str] = {}  # "lora/l12/gate_proj" -> "lora/L12/gate_proj"
    for identifier in identifiers:
        key = path_of(identifier).lower()
        if key in seen:
            raise FeaturebookError(
                f"The ids {seen[key]!r} and {identifier!r} do not differ, or differ only in upper and lower case: many file "
                "systems would keep one of their pages only. Leave one out with publish.channels, or rename the collection."
            )
        if key.endswith(".json"):
            raise FeaturebookError(
                f"The id {identifier!r} ends like a shard's file. Rename the collection or module."
            )
        seen[key] = identifier
