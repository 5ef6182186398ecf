"""The search index: everything a reader can find, cut into small files that a browser fetches as it needs them.

A page of the site fetches ``/shards/search.json`` (which words each file begins with), then the one or two files that hold
what was typed, then the parts of the table with the rows found. docs/finding.md says what is indexed and how.
"""

from generator.publish.search.index import SearchIndex, search_index

__all__ = ["SearchIndex", "search_index"]
