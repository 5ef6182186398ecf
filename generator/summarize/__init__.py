"""Numpy only: statistics, examples and neighbours of channels, in one mergeable pass."""
