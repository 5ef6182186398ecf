"""All that is said of one text: predictions, lens, attribution, attention and geometry, base and adapted side by side.

The form of the file is told in docs/analysis.md. A section that the model cannot give is a sentence that says why.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from generator.errors import FeaturebookError
from generator.measure.analyze.anatomy import Anatomy
from generator.measure.analyze.attribution import Attribution, LogitScalar, attribute
from generator.measure.analyze.capture import check_context, variants
from generator.measure.analyze.layers import GeometrySettings, StackResult, measure_geometry
from generator.measure.analyze.logits import direct_logit_attribution
from generator.measure.analyze.memory import halving
from generator.measure.analyze.predictions import (
    LensLayer,
    TopTokens,
    continue_text,
    divergence,
    for_each_variant,
    is_masked_model,
    logit_lens,
    predict_masks,
    predict_next,
    text_log_probabilities,
)
from generator.measure.analyze.tail import check_head
from generator.measure.analyze.texts import Glossary, Reading, Text, alone
from generator.measure.analyze.values import correlations, normalised
from generator.measure.analyze.weights import text_attention, write_attention
from generator.progress import Progress, Silent

PATH_TOKENS = 2048
"""Tokens of the points of a path that go through the model at once."""


@dataclass(frozen=True)
class TextSettings:
    """What is computed of one text."""

    attention_tokens: int = 128
    top_tokens: int = 10
    continuations: int = 3
    continuation_tokens: int = 20
    temperature: float = 1.0
    top_k: int = 50
    nodes: int = 64
    max_nodes: int = 512
    seed: int = 0
    geometry: GeometrySettings = field(default_factory=GeometrySettings)


@dataclass(frozen=True)
class Reader:
    """A model with the tokenizer that belongs to it."""

    model: nn.Module
    """With PEFT's layers, if any."""
    anatomy: Anatomy
    tokenizer: Any
    token_bytes: list[bytes]
    is_special: np.ndarray
    context: int | None
    """Longest text in tokens."""

    @property
    def is_masked(self) -> bool:
        """Whether it fills in masks."""
        return is_masked_model(self.anatomy)

    @property
    def variants(self) -> list[str]:
        """``base``, and ``adapted`` where there is an adapter."""
        return list(variants(self.model))


def describe(
    reader: Reader,
    text: Text,
    reading: Reading,
    settings: TextSettings,
    folder: Path,
    key: str,
    progress: Progress,
) -> dict[str, Any]:
    """The content of a text's file; its attention goes to files of its own.

    Args:
        reader: The model.
        text: Which text.
        reading: Its tokens as this model reads them.
        settings: What is computed.
        folder: Where the attention goes.
        key: Of model, text and settings; the files carry it.
        progress: Told when batches are halved.

    Raises:
        FeaturebookError: the text is empty or longer than the model's context.
    """
    ids, anatomy = reading.token_ids, reader.anatomy
    check_context(anatomy, len(ids), reader.context)
    words = Glossary(reader.token_bytes, reader.is_special)
    report = _Report(reader, text, ids, settings, words, progress)
    sections: dict[str, Callable[[], Any]] = {
        "predictions": report.predictions,
        "surprise": report.surprise,
        "divergence": report.divergence,
        "continuations": report.continuations,
        "lens": report.lens,
        "attribution": report.attribution,
        "logit_parts": report.logit_parts,
        "attention": lambda: report.attention(folder, key),
        "geometry": report.geometry,
    }
    content = {"tokens": words.of(ids)} | {name: or_undefined(make) for name, make in sections.items()}
    read = {"n_tokens": reading.n_tokens, "n_read": len(ids), "note": reading.note}
    about = {"id": text.id, "kind": text.kind, "name": text.name, "doc": text.doc, "read": read}
    return content | about | {"vocabulary": words.as_json()}


def or_undefined(make: Callable[[], Any]) -> Any:
    """What a section holds, or why there is none."""
    try:
        return make()
    except FeaturebookError as error:
        return {"undefined": str(error)}


class _Report:
    def __init__(
        self,
        reader: Reader,
        text: Text,
        ids: list[int],
        settings: TextSettings,
        words: Glossary,
        progress: Progress,
    ) -> None:
        self.reader, self.anatomy, self.text, self.ids = reader, reader.anatomy, text, ids
        self.settings, self.words, self.progress = settings, words, progress

    # --- Predictions -------------------------------------------------------------------------------------------

    def predictions(self) -> dict[str, Any]:
        """Next tokens at every position, or fillings of every mask."""
        k = self.settings.top_tokens
        method = {"convention": "softmax over the vocabulary in float32; entropy in nats", "top_tokens": k}
        if self.reader.is_masked:
            mask = self.reader.tokenizer.mask_token_id
            masks = for_each_variant(
                self.reader.model, lambda: predict_masks(self.anatomy, self.ids, mask, k=k)
            )
            found = {name: self._top(m.top) for name, m in masks.items()}
            return {"kind": "masks", "positions": masks["base"].positions, "method": method} | found
        following = for_each_variant(self.reader.model, lambda: predict_next(self.anatomy, self.ids, k=k))
        found = {name: self._top(n.top) for name, n in following.items()}
        return {"kind": "next", "positions": list(range(len(self.ids))), "method": method} | found

    def surprise(self) -> dict[str, Any]:
        """−ln p of each token given those before."""
        following = for_each_variant(self.reader.model, lambda: predict_next(self.anatomy, self.ids, k=1))
        return {name: single(found.surprise) for name, found in following.items()}

    def divergence(self) -> dict[str, Any]:
        """Base against adapted, at every token."""
        if "adapted" not in self.reader.variants:
            raise FeaturebookError("The model has no adapter, so there is nothing to compare it with.")
        log_p = for_each_variant(self.reader.model, lambda: text_log_probabilities(self.anatomy, self.ids))
        change: list[float | None] = [None] * len(self.ids)
        if not self.reader.is_masked:
            surprise = self.surprise()
            change[:-1] = [b - a for a, b in zip(surprise["base"][1:], surprise["adapted"][1:])]
        return {
            "base_adapted": divergence(log_p["base"], log_p["adapted"]).cpu().numpy(),
            "adapted_base": divergence(log_p["adapted"], log_p["base"]).cpu().numpy(),
            "surprise_change": single(change),
            "method": {"unit": "nats", "convention": "KL of the distributions predicted at each position"},
        }

    def continuations(self) -> dict[str, Any]:
        """Seeded continuations of a prompt."""
        s = self.settings
        if self.text.kind != "prompt" or not s.continuations:
            raise FeaturebookError(
                "Continuations are sampled for prompts only, where analyze.continuations is above 0."
            )
        ends = _end_ids(self.anatomy.model, self.reader.tokenizer)
        sampled = for_each_variant(
            self.reader.model,
            lambda: continue_text(
                self.anatomy,
                self.ids,
                n=s.continuations,
                n_tokens=s.continuation_tokens,
                temperature=s.temperature,
                top_k=s.top_k,
                seed=s.seed,
                end_ids=ends,
                context=self.reader.context,
            ),
        )
        method = {
            "temperature": s.temperature,
            "top_k": s.top_k,
            "seed": s.seed,
            "n_tokens": s.continuation_tokens,
        }
        found = {
            name: [
                {
                    "tokens": self.words.of(c.token_ids),
                    "probability": single(c.probability),
                    "is_finished": c.is_finished,
                }
                for c in continuations
            ]
            for name, continuations in sampled.items()
        }
        return found | {"method": method}

    def lens(self) -> dict[str, Any]:
        """The prediction after every layer."""
        k = max(1, self.settings.top_tokens // 2)
        layers = for_each_variant(self.reader.model, lambda: logit_lens(self.anatomy, self.ids, k=k))
        method = {
            "source": "nostalgebraist 2020",
            "convention": "the final norm's statistics are recomputed at each layer",
        }
        return {name: [self._lens(one) for one in found] for name, found in layers.items()} | {
            "method": method
        }

    # --- Attribution -------------------------------------------------------------------------------------------

    def attribution(self) -> dict[str, Any]:
        """Gradient methods for the logit of the top prediction."""
        position, token = self._explained()
        ids = self.ids[: position + 1] if self.anatomy.is_causal else self.ids

        def make() -> dict[str, Any]:
            scalar, s = LogitScalar(position, token), self.settings
            found = halving(
                max(1, PATH_TOKENS // len(ids)),
                lambda batch: attribute(
                    self.anatomy,
                    ids,
                    scalar,
                    n_nodes=s.nodes,
                    max_nodes=max(s.max_nodes, s.nodes),
                    batch=batch,
                ),
                self.progress,
            )
            return {"value": found["gradient_times_input"].value} | {
                n: _attribution(a, len(self.ids)) for n, a in found.items()
            }

        found = for_each_variant(self.reader.model, make)
        return {"position": position, "token": self.words.of(token)} | found

    def logit_parts(self) -> dict[str, Any]:
        """The same logit by heads and MLPs."""
        position, token = self._explained()
        parts = for_each_variant(
            self.reader.model, lambda: direct_logit_attribution(self.anatomy, self.ids, position, token)
        )
        method = {
            "source": "Elhage et al. 2021; Wang et al. 2022, 2211.00593",
            "convention": "logit less the mean over the vocabulary; the final norm's scale is frozen at this position",
        }
        found = {
            name: {
                "embedding": p.embedding,
                "heads": p.heads.astype(np.float32),
                "attention_bias": p.attention_bias.astype(np.float32),
                "mlps": p.mlps.astype(np.float32),
                "bias": p.bias,
                "logit": p.logit,
                "gap": p.gap,
            }
            for name, p in parts.items()
        }
        return {"position": position, "token": self.words.of(token), "method": method} | found

    def _explained(self) -> tuple[int, int]:
        """Position and token whose logit is explained: the last variant's top prediction."""
        check_head(self.anatomy)
        found = for_each_variant(self.reader.model, lambda: text_log_probabilities(self.anatomy, self.ids))
        position = len(self.ids) - 1
        masks = [
            i
            for i, token in enumerate(self.ids)
            if token == getattr(self.reader.tokenizer, "mask_token_id", None)
        ]
        if self.reader.is_masked and masks:
            position = masks[0]
        elif self.text.kind == "document" and "adapted" in found:
            position = int(divergence(found["base"], found["adapted"]).argmax())
        last = found[self.reader.variants[-1]]
        return position, int(last[position].argmax())

    # --- Attention and geometry --------------------------------------------------------------------------------

    def attention(self, folder: Path, key: str) -> dict[str, Any]:
        """Writes the weights, and says how many there are."""
        found = text_attention(self.reader.model, self.anatomy, self.ids, self.settings.attention_tokens)
        shape = write_attention(found, self.ids, folder, key)
        n_keys = getattr(self.anatomy.config, "num_key_value_heads", None) or shape["n_heads"]
        return shape | {"heads_per_key": shape["n_heads"] // n_keys}

    def geometry(self) -> dict[str, Any]:
        """Layer geometry of this text alone."""
        one = alone(self.ids, self.reader.token_bytes, self.reader.is_special)
        return layers_json(measure_geometry(self.reader.model, one, self.settings.geometry, Silent()))

    def _top(self, top: TopTokens) -> dict[str, Any]:
        return {
            "tokens": self.words.of(top.token_ids),
            "probability": top.probability,
            "entropy": top.entropy,
        }

    def _lens(self, one: LensLayer) -> dict[str, Any]:
        actual, gap = single(one.actual), single(one.divergence)
        return {"layer": one.layer, "actual": actual, "divergence": gap} | self._top(one.top)


def single(values: Sequence[Any]) -> list[Any]:
    """In single precision, which takes half as many digits in JSON; None stays None."""
    return [None if value is None else np.float32(value) for value in values]


def layers_json(results: list[StackResult]) -> dict[str, Any]:
    """The form of ``layers.json``."""
    return {"variants": [_stack(result) for result in results]}


def _stack(result: StackResult) -> dict[str, Any]:
    """One variant, with its metrics' correlations and common scale at the residual point without excluded positions."""
    main = [
        curve
        for curve in result.curves
        if curve.method["point"] == "residual" and curve.method["positions"] != "all"
    ]
    return {
        "variant": result.variant,
        "n_tokens": result.n_tokens,
        "curves": [curve.as_json() for curve in result.curves],
        "cka": [matrix.as_json() for matrix in result.cka.values()],
        "correlations": correlations(main).as_json(),
        "normalised": [normalised(curve).as_json() for curve in main],
    }


def _attribution(found: Attribution, n_tokens: int) -> dict[str, Any]:
    scores = np.zeros(n_tokens, np.float32)
    scores[: len(found.scores)] = found.scores  # tokens that a causal model has not read yet explain nothing
    content: dict[str, Any] = {"scores": scores, "method": found.method}
    if found.gap is not None:
        content |= {"baseline_value": found.baseline_value, "gap": found.gap, "warning": found.warning()}
    return content


def _end_ids(model: Any, tokenizer: Any) -> list[int]:
    """Tokens that end a text, by the tokenizer and by the model's own generation settings."""
    settings = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    listed = settings if isinstance(settings, list) else [settings]
    return sorted({int(i) for i in [*listed, tokenizer.eos_token_id] if i is not None})
