"""Layer geometry of a model on a corpus: one forward pass per variant (base, adapted), nothing kept but sums and a sample."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor, nn

from generator.blocks import Corpus
from generator.measure.analyze import geometry, sample
from generator.measure.analyze.anatomy import Anatomy, study
from generator.measure.analyze.capture import POINTS, Feed, capture, feeds, variants
from generator.measure.analyze.similarity import debiased_cka_matrix
from generator.measure.analyze.twonn import twonn
from generator.measure.analyze.values import Curve, Matrix, Value, undefined
from generator.progress import Progress

EXCLUSIONS = "special tokens and first positions"
HISTOGRAM_EDGES = np.linspace(-8.0, 8.0, 65)
"""Edges, in units of the layer's root mean square, of the bins that activation entropy is taken over."""


@dataclass(frozen=True)
class GeometrySettings:
    """What the geometry of layers depends on beside model and corpus."""

    threshold: float = 0.95
    """Share of the variance that the PCA dimension must hold."""
    sample_tokens: int = sample.SIZE
    """Tokens of the hashed sample for CKA, TwoNN and the histogram entropy."""
    seed: int = 0
    points: tuple[str, ...] = POINTS
    batch_tokens: int = 4096


@dataclass(frozen=True)
class StackResult:
    """The geometry of one variant of the model."""

    variant: str  # "adapted"
    curves: list[Curve]
    cka: dict[str, Matrix]
    """Point -> debiased CKA, layer × layer."""
    n_tokens: int


class StackGeometry:
    """All layers of one variant of a model: ``add`` a batch, ``merge``, ``result``."""

    def __init__(
        self, anatomy: Anatomy, corpus: Corpus, settings: GeometrySettings, docs: Sequence[int] | None = None
    ) -> None:
        self.settings, self.n_tokens = settings, 0
        self._anatomy = anatomy
        self.is_ordinary = ordinary_tokens(corpus)
        eligible = self.is_ordinary if docs is None else self.is_ordinary & np.isin(corpus.doc, docs)
        self.sample = sample.choose_tokens(
            corpus.doc, corpus.position, eligible, settings.sample_tokens, settings.seed
        )
        self.layers: dict[tuple[str, int], geometry.LayerGeometry] = {}  # ("residual", 3) -> …
        self.sampled: dict[tuple[str, int], np.ndarray] = {}  # float32 (k, d)

    def add(self, feed: Feed) -> None:
        """Runs a batch through the model as it is now and takes in every layer."""
        self.n_tokens += len(feed.rows)
        is_ordinary = torch.from_numpy(self.is_ordinary[feed.rows])
        in_sample = np.isin(feed.rows, self.sample)
        first: dict[str, Tensor] = {}
        previous: dict[str, Tensor] = {}

        def receive(layer: int, point: str, hidden: Tensor) -> None:
            flat = feed.flatten(hidden)
            first.setdefault(point, flat)
            self._layer(point, layer, flat).add(
                flat, is_ordinary, first=first[point], previous=previous.get(point)
            )
            previous[point] = flat
            self._keep_sample(point, layer, flat, feed.rows, in_sample)

        capture(self._anatomy, feed.inputs(), receive, self.settings.points)

    def merge(self, other: "StackGeometry") -> None:
        """Takes in what another worker saw of the same corpus."""
        self.n_tokens += other.n_tokens
        for key, layer in other.layers.items():
            self.layers[key].merge(layer) if key in self.layers else self.layers.__setitem__(key, layer)
        for key, vectors in other.sampled.items():
            mine = self.sampled.setdefault(key, np.full_like(vectors, np.nan))
            is_known = ~np.isnan(vectors).all(1)
            mine[is_known] = vectors[is_known]

    def result(self, variant: str) -> StackResult:
        """All metrics at all points; a point that the model does not have is left out."""
        found, cka = [], {}
        for point in self.settings.points:
            indices = sorted(layer for p, layer in self.layers if p == point)
            if not indices:
                continue
            layers = [self.layers[point, index] for index in indices]
            found += geometry.curves(
                layers, point=point, exclusions=EXCLUSIONS, threshold=self.settings.threshold
            )
            vectors = [self.sampled[point, index] for index in indices]
            found += self._sample_curves(point, vectors)
            is_known = np.logical_and.reduce([np.isfinite(v).all(1) for v in vectors])
            known = [v[is_known] for v in vectors]  # the same tokens in every layer
            cka[point] = debiased_cka_matrix(known, seed=self.settings.seed)
            cka[point].method["point"] = point
        return StackResult(variant, found, cka, self.n_tokens)

    def _layer(self, point: str, layer: int, flat: Tensor) -> geometry.LayerGeometry:
        if (point, layer) not in self.layers:
            device = torch.device("cpu") if flat.device.type == "mps" else flat.device  # MPS has no float64
            self.layers[point, layer] = geometry.LayerGeometry(flat.shape[1], device)
        return self.layers[point, layer]

    def _keep_sample(
        self, point: str, layer: int, flat: Tensor, rows: np.ndarray, chosen: np.ndarray
    ) -> None:
        kept = self.sampled.setdefault(
            (point, layer), np.full((len(self.sample), flat.shape[1]), np.nan, np.float32)
        )
        if chosen.any():
            index = torch.from_numpy(np.flatnonzero(chosen)).to(flat.device)
            kept[np.searchsorted(self.sample, rows[chosen])] = flat[index].float().cpu().numpy()

    def _sample_curves(self, point: str, vectors: list[np.ndarray]) -> list[Curve]:
        found = [twonn(layer) for layer in vectors]
        method = {
            "point": point,
            "positions": f"hashed sample of {len(self.sample)} tokens without {EXCLUSIONS}",
            "sample_seed": self.settings.seed,
            "dtype": "float64",
        }
        twonn_method = method | {
            "source": "Facco et al. 2017",
            "n_duplicates": [f.n_duplicates for f in found],
            "centring": "none",
        }
        mle = {"convention": "(N − 1) / Σ ln μ, duplicates left out (Denti et al. 2022)"}
        slope = {"convention": "slope through 0 of −ln(1 − F) on ln μ, top 10 % left out"}
        bins = {
            "convention": "bits over 64 bins from −8 to 8 root mean squares of the layer, and one on each side",
            "source": "Shannon; no canonical paper",
            "centring": "none",
        }
        return [
            Curve("twonn_mle", [f.mle for f in found], twonn_method | mle),
            Curve("twonn_slope", [f.slope for f in found], twonn_method | slope),
            Curve("histogram_entropy", [_histogram_entropy(v) for v in vectors], method | bins),
        ]


def measure_geometry(
    model: nn.Module,
    corpus: Corpus,
    settings: GeometrySettings,
    progress: Progress,
    *,
    docs: Sequence[int] | None = None,
) -> list[StackResult]:
    """The geometry of base and adapted model (or of the only one there is) on a corpus or on chosen documents.

    Args:
        model: A loaded transformers model; PEFT's layers, if any, are switched off for the base.
        corpus: The text.
        settings: Thresholds, sample, points.
        progress: Advances by tokens, once per variant.
        docs: Documents to read; all when absent.
    """
    anatomy = study(model)
    results = []
    for name, switched in variants(model).items():
        stack = StackGeometry(anatomy, corpus, settings, docs)
        with switched():
            for feed in feeds(corpus, batch_tokens=settings.batch_tokens, device=anatomy.device, docs=docs):
                stack.add(feed)
                progress.advance(len(feed.rows))
        results.append(stack.result(name))
    return results


def ordinary_tokens(corpus: Corpus) -> Bool[np.ndarray, " token"]:
    """Tokens that are measured, not special and not the first of their document."""
    return corpus.is_measured & ~corpus.is_special[corpus.token_ids] & (corpus.position > 0)


def _histogram_entropy(vectors: np.ndarray) -> Value:
    finite = vectors[np.isfinite(vectors)].astype(np.float64)
    rms = float(np.sqrt(np.mean(finite**2))) if len(finite) else 0.0
    if not rms:
        return undefined("all activations are 0" if len(finite) else "n = 0", len(finite))
    return geometry.histogram_entropy(finite / rms, HISTOGRAM_EDGES)
