"""Rows made of few sparse directions, as LoRA activations look: heavy tails, offsets, channels of unequal size."""

import numpy as np

from generator.measure.training import ArrayRows


def planted_rows(n_tokens: int = 12000, width: int = 16, n_true: int = 40, seed: int = 0) -> ArrayRows:
    """Documents of 100 tokens."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((n_true, width))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    active = rng.random((n_tokens, n_true)) < 0.08
    values = (active * (0.5 + rng.exponential(1, active.shape))) @ directions
    values += 0.02 * rng.standard_normal(values.shape)
    values = values * np.exp(rng.normal(0, 0.5, width)) * 5 + rng.normal(0, 4, width)
    return ArrayRows(values.astype(np.float32), (np.arange(n_tokens) // 100).astype(np.int32))
