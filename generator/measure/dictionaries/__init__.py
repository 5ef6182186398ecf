"""Dictionaries: sparse autoencoders and transcoders, read from the checkpoint formats of the field.

``FORMATS`` names the formats; ``load_dictionary`` reads one; ``Dictionary`` encodes and decodes; ``save_saelens``
writes one that sae-lens reads. Measured facts about the formats stand in docs/dictionaries.md.
"""

from generator.measure.dictionaries.dictionary import Dictionary
from generator.measure.dictionaries.formats import FORMATS, load_dictionary
from generator.measure.dictionaries.options import LoadOptions
from generator.measure.dictionaries.saelens import save_saelens
from generator.measure.dictionaries.sparse import Triples

__all__ = ["FORMATS", "Dictionary", "LoadOptions", "Triples", "load_dictionary", "save_saelens"]
