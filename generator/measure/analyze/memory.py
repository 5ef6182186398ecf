"""Smaller batches when memory runs out."""

from collections.abc import Callable
from typing import TypeVar

import torch

from generator.errors import FeaturebookError
from generator.progress import Progress

Result = TypeVar("Result")


def halving(size: int, attempt: Callable[[int], Result], progress: Progress, *, smallest: int = 1) -> Result:
    """Calls ``attempt`` with a batch size, and again with half of it as long as memory runs out.

    An attempt begins anew, so nothing is counted twice; batches are of like size, so a too large one fails early.

    Args:
        size: Tokens (or rows) that go through the model at once.
        attempt: The whole work, given a size.
        progress: Told when the size is halved.
        smallest: Halving below this would change nothing: the longest text alone.

    Raises:
        FeaturebookError: memory ran out at the smallest size.
    """
    while True:
        try:
            return attempt(size)
        except torch.OutOfMemoryError as error:
            if size <= smallest:
                raise FeaturebookError(
                    f"Memory ran out with one text at a time ({size} at once). Lower corpus.max_tokens, analyze.text_tokens or "
                    "analyze.head_tokens, or take a smaller model."
                ) from error
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        size = max(size // 2, smallest)
        progress.note(f"out of memory: going on with {size} tokens at once")
