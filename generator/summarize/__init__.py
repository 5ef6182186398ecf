"""Numpy only: statistics, examples and neighbours of channels, in one mergeable pass."""

from generator.summarize.accumulator import STATISTICS, Accumulator
from generator.summarize.blank import blank_summary
from generator.summarize.finish import finish
from generator.summarize.layout import dictionary_map

__all__ = ["STATISTICS", "Accumulator", "blank_summary", "dictionary_map", "finish"]
