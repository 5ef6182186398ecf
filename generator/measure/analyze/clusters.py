"""Heads on a map: standardised scores, two principal components, k-means; deterministic, for any number of heads."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from generator.measure.analyze.values import Matrix

FEATURES = ("entropy_share", "distance", "sink_mass", "previous_token", "duplicate_token", "induction")
"""Metrics (with position 0) that heads are compared by."""
NAMES = {
    "entropy_share": ("broad", "focused"),
    "distance": ("far", "near"),
    "sink_mass": ("sink", "no sink"),
    "previous_token": ("previous token", "not previous token"),
    "duplicate_token": ("duplicate token", "not duplicate token"),
    "induction": ("induction", "not induction"),
}
"""Feature -> what a cluster is called when it is far above, or below, the average head in it."""
ITERATIONS = 100
SHARES = ("entropy_share", "sink_mass", "previous_token", "duplicate_token", "induction")
"""Features between 0 and 1."""
SMALLEST_SPREAD = 0.05
"""A share that differs less than this between heads is not blown up to unit variance: it would be noise."""
NAMED_FROM = 0.2
"""A cluster is called after a mass of attention (or its absence) only where the mass is (or the average head's is) this large."""


@dataclass(frozen=True)
class HeadMap:
    """Where each head lies, and its cluster."""

    heads: list[tuple[int, int]]  # (layer, head), the order of the rows below
    points: Float[np.ndarray, "head 2"]
    explained: tuple[float, float]
    """Share of the variance of the features that each axis holds."""
    cluster: Int[np.ndarray, " head"]
    names: list[str]  # cluster -> "induction"
    method: dict[str, Any]


def map_heads(scores: list[Matrix], n_clusters: int = 6) -> HeadMap:
    """Clusters all heads of a model by their scores.

    Args:
        scores: Layer × head matrices as ``heads.measure_heads`` gives them.
        n_clusters: At most; fewer when there are fewer different heads.
    """
    by_name = {m.metric: m for m in scores if m.method.get("position_0") == "included"}
    used = [name for name in FEATURES if name in by_name]
    grid = [by_name[name].values for name in used]
    heads = [(layer, head) for layer, row in enumerate(grid[0]) for head in range(len(row))] if grid else []
    raw = np.array([[_number(g[layer][head].value) for g in grid] for layer, head in heads]).reshape(
        len(heads), -1
    )
    floor = np.array([SMALLEST_SPREAD if name in SHARES else 0.0 for name in used])
    features = standardised(raw, floor)
    points, explained = project(features)
    cluster = k_means(features, n_clusters)
    method = {
        "features": used,
        "scaling": f"each feature to mean 0 and standard deviation 1 over the heads, shares by at least {SMALLEST_SPREAD}",
        "map": "principal components 1 and 2 of the features",
        "clusters": f"k-means, k ≤ {n_clusters}, farthest-first start",
        "names": "the feature in which the cluster's centre lies farthest from the average head, and the next where that name is "
        f"taken; masses of attention only from {NAMED_FROM}",
        "n": len(heads),
    }
    return HeadMap(
        heads, points, explained, cluster, _names(features, np.nan_to_num(raw), cluster, used), method
    )


def standardised(
    features: Float[np.ndarray, "head feature"], floor: Float[np.ndarray, " feature"] | float = 0.0
) -> Float[np.ndarray, "head feature"]:
    """Columns of mean 0 and standard deviation 1; a constant column becomes 0, an undefined score the average.

    Args:
        features: NaN where a head has no score.
        floor: Standard deviations below this are taken to be this.
    """
    known = np.isfinite(features)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, features, 0).sum(0) / count
    centred = np.where(known, features - mean, 0.0)
    spread = np.sqrt((centred**2).sum(0) / count)
    return centred / np.where(spread > 1e-12 * (1 + np.abs(mean)), np.maximum(spread, floor), np.inf)


def project(
    features: Float[np.ndarray, "head feature"],
) -> tuple[Float[np.ndarray, "head 2"], tuple[float, float]]:
    """The two principal components and the share of variance of each; zeros where there are fewer.

    The sign of an axis is the one that makes its largest loading positive.
    """
    points, explained = np.zeros((len(features), 2)), [0.0, 0.0]
    if min(features.shape, default=0) == 0:
        return points, (0.0, 0.0)
    _, sizes, axes = np.linalg.svd(features - features.mean(0), full_matrices=False)
    for k in range(min(2, len(sizes))):
        if sizes[k] > 1e-9:
            axis = axes[k] * (1 if axes[k][np.abs(axes[k]).argmax()] > 0 else -1)
            points[:, k] = (features - features.mean(0)) @ axis
            explained[k] = float(sizes[k] ** 2 / (sizes**2).sum())
    return points, (explained[0], explained[1])


def k_means(features: Float[np.ndarray, "head feature"], n_clusters: int) -> Int[np.ndarray, " head"]:
    """Lloyd's algorithm from a farthest-first start; clusters are numbered by size, ties by their first head."""
    if not len(features):
        return np.zeros(0, int)
    centres = _farthest_first(features, n_clusters)
    for _ in range(ITERATIONS):
        label = _distances(features, centres).argmin(1)
        moved = np.array(
            [features[label == c].mean(0) if (label == c).any() else centres[c] for c in range(len(centres))]
        )
        if np.array_equal(moved, centres):
            break
        centres = moved
    used = sorted(
        set(label.tolist()), key=lambda c: (-(label == c).sum(), int(np.flatnonzero(label == c)[0]))
    )
    return np.array([used.index(c) for c in label.tolist()])


def _farthest_first(features: np.ndarray, n_clusters: int) -> np.ndarray:
    """Starts at the head farthest from the average; stops early when all heads are at a centre."""
    chosen = [int((features**2).sum(1).argmax())]
    while len(chosen) < n_clusters:
        distance = _distances(features, features[chosen]).min(1)
        if distance.max() <= 1e-12:
            break
        chosen.append(int(distance.argmax()))
    return features[chosen]


def _distances(features: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return ((features[:, None] - centres[None]) ** 2).sum(2)


def _names(features: np.ndarray, raw: np.ndarray, cluster: np.ndarray, used: list[str]) -> list[str]:
    names: list[str] = []
    for c in range(int(cluster.max()) + 1 if len(cluster) else 0):
        centre = features[cluster == c].mean(0)
        high = raw[cluster == c].mean(0)
        may_name = [_may_name(*row) for row in zip(used, centre, high, raw.mean(0))]
        size = np.where(may_name, np.abs(centre), 0.0)
        order = [i for i in np.argsort(-size, kind="stable").tolist() if size[i] >= 1e-9]
        names.append(_new_name([NAMES[used[i]][int(centre[i] < 0)] for i in order], names))
    return names


def _new_name(words: list[str], taken: list[str]) -> str:
    """The strongest word, and as many more as it takes to differ from the clusters before: "focused", "focused, near"."""
    for n in range(1, len(words) + 1):
        if (name := ", ".join(words[:n])) not in taken:
            return name
    name = words[0] if words else "all alike"
    n_same = sum(other == name or other.startswith(f"{name} no. ") for other in taken)
    return f"{name} no. {n_same + 1}" if n_same else name


def _may_name(feature: str, centre: float, own: float, average: float) -> bool:
    """A head with 2 % induction is no induction head, however much less the others have."""
    if feature in ("entropy_share", "distance"):
        return True
    return bool((own if centre > 0 else average) >= NAMED_FROM)


def _number(value: float | None) -> float:
    return np.nan if value is None else value
