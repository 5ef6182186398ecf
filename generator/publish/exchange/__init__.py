"""Exchange with other tools: our shards in their feature files, and a site from theirs.

An exporter reads finished shards, the public contract (docs/shards.md), and nothing else. An importer builds a
corpus and a summary, from which ``publish`` makes the site as from our own. The field maps, and what is lost each way,
are in docs/exchange.md. Numpy only.

To add a format: one module with an ``export`` or ``read`` function and its line in ``EXPORTERS`` or ``IMPORTERS``.
"""

from generator.publish.exchange.export import EXPORTERS, export_site
from generator.publish.exchange.importing import IMPORTERS, import_site

__all__ = ["EXPORTERS", "IMPORTERS", "export_site", "import_site"]
