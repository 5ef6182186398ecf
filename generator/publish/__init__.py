"""Numpy only: records, shards and pages from a summary."""
