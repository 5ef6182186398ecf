"""From a summary to the site's sources: JSON shards and Markdown pages. Numpy only.

``publish`` is a pure function of its inputs: the same run file, corpus, summary and notes give the same bytes.
"""

from generator.publish.site import publish

__all__ = ["publish"]
