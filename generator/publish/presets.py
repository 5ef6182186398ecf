"""How much of the summary a site shows: everything, or what fits when there are very many pages (docs/shards.md, "Presets")."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

AUTOMATIC_ABOVE = 2000
"""Published channels up to which ``preset = "auto"`` is the full one."""


@dataclass(frozen=True)
class Preset:
    """What a channel's shard holds of what was measured. None stands for all."""

    name: str
    steps: int
    """Quantised activations run from −steps to steps over the measured range of a channel."""
    context: int | None
    """Tokens of an example on either side of its peak."""
    per_side: int | None
    """Strongest examples of a sign."""
    per_band: int | None
    """Examples of a band."""
    random: int | None
    """Random examples."""
    tokens: int | None
    """Top tokens, and bottom tokens."""
    neighbours: int | None
    """Channels of each list of neighbours."""
    weights: int | None
    """Strongest weights of either side of a latent."""
    named: int
    """Directions named beside a latent's weights, and latents of each sign named on a direction's page."""
    digits: int | None
    """Significant digits of the numbers of panels."""
    precision: int | None
    """Significant digits of statistics, of activations at peaks, and of the unit of the quantised ones."""
    token_rows: int
    """Rows of the token index per published channel; it may hold more to have the few strongest channels of every token."""
    token_digits: int
    """Significant digits of its numbers."""

    def most_examples(self, group: str) -> int | None:
        """How many examples of a group are shown at most."""
        if group.startswith("band:"):
            return self.per_band
        return self.random if group == "random" else self.per_side


PRESETS = {
    "full": Preset("full", 1000, None, None, None, None, None, 8, None, 5, None, None, 200, 4),
    "compact": Preset("compact", 100, 7, 6, 1, 2, 8, 5, 16, 5, 4, 6, 40, 3),
}
"""The presets by name."""


def preset_of(wanted: str, n_published: int) -> Preset:
    """The preset of a site; ``auto`` goes by the number of its channels."""
    automatic = "full" if n_published <= AUTOMATIC_ABOVE else "compact"
    return PRESETS[automatic if wanted == "auto" else wanted]


def first_of_each(group: Int[np.ndarray, " k"], most: Int[np.ndarray, " group"]) -> Int[np.ndarray, " _"]:
    """Rows of a sorted column of group numbers that are among the first ``most[group]`` of their group."""
    rank = np.arange(len(group)) - np.searchsorted(group, group)
    return np.flatnonzero(rank < most[group])
