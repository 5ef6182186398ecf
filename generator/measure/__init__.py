"""Needs torch: the corpus as tokens, the model, its sites, extraction."""
