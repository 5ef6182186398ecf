"""What each stage of a run does, a file for each; ``pipeline.py`` has their table and runs them.

``depends_on``, ``run``, ``n_tokens``, ``is_wanted`` and ``is_whole`` of these files are the fields of ``stage.Stage``, which says what they are.
"""
