"""Hand-written notes: docs/notes/<id>.md becomes the body of the id's page and survives every rebuild."""

import re
from pathlib import Path

from generator.errors import nearest
from generator.progress import Progress
from generator.publish.addresses import path_of

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)


def read_notes(folder: Path, known: set[str], progress: Progress) -> dict[str, str]:
    """The notes in a folder by page: ``lora/L3/gate_proj`` -> Markdown.

    Notes are the repository owner's own Markdown and are trusted. A note's own front matter is dropped: the page has its
    own. ``README.md`` is no note.

    Args:
        folder: docs/notes; it need not exist.
        known: Ids that may have a note, published or not; a note of any other id is reported.
        progress: Told of notes that fit no page.
    """
    paths = {path_of(identifier): identifier for identifier in known}
    notes = {}
    for file in sorted(folder.rglob("*.md")):
        name = file.relative_to(folder).with_suffix("").as_posix()
        if file.name.lower() == "readme.md":
            continue
        if name not in paths:
            progress.note(f"docs/notes/{name}.md belongs to no page. {nearest(name, paths)}")
            continue
        text = file.read_text(encoding="utf-8-sig", errors="replace").replace("\r\n", "\n")
        notes[paths[name]] = _FRONT_MATTER.sub("", text).strip("\n")
    return notes
