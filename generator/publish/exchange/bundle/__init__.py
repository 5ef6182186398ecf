"""Everything that a run computed as files in one ZIP: tables, figures, attention weights, animation, report, provenance.

Reads ``build/shards`` and ``build/analysis`` and nothing of a model. Figures and report need the extra ``export`` (matplotlib, Typst); without it
the bundle says so and holds the rest. What each file is: docs/export.md. To add a part: a function and its line in ``PARTS``.
"""

from generator.publish.exchange.bundle.assemble import PARTS, export_bundle

__all__ = ["PARTS", "export_bundle"]
