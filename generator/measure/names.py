"""What a page may say about where something came from: never a path of this machine."""

from pathlib import Path


def public_name(source: str) -> str:
    """A hub id as it is; of a path only its last component.

    >>> public_name("Qwen/Qwen2.5-7B"), public_name("/home/someone/models/tiny")
    ('Qwen/Qwen2.5-7B', 'tiny')
    """
    path = Path(source)
    return path.name if path.is_absolute() or source.startswith((".", "~")) or path.exists() else source
