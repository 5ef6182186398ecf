"""Featurebook: publish what a language model has learned as a searchable static website."""

__version__ = "0.1.0"
