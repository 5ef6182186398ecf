"""The one exception that a user is meant to see."""

from collections.abc import Iterable
from difflib import get_close_matches


class FeaturebookError(Exception):
    """What happened, with the value; then what to do about it.

    The command line prints the message without a traceback and exits with status 1 (``--debug`` shows where).
    """


def nearest(name: str, known: Iterable[str], n: int = 3) -> str:
    """The known names most like ``name`` as a sentence for an error message, or all of them when few.

    >>> nearest("maxtokens", ["max_tokens", "split"])
    'Did you mean max_tokens?'
    """
    choices = sorted(set(known))
    close = get_close_matches(name, choices, n=n, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    shown = ", ".join(choices[:20]) + (", …" if len(choices) > 20 else "")
    return f"Known: {shown}." if choices else "There are none."
