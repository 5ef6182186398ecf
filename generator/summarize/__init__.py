"""Numpy only: statistics, examples and neighbours of channels, in one mergeable pass."""

from generator.summarize.accumulator import STATISTICS, Accumulator
from generator.summarize.blank import blank_summary
from generator.summarize.finish import finish

__all__ = ["STATISTICS", "Accumulator", "blank_summary", "finish"]
