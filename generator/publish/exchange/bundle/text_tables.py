"""Tables of single texts: predictions, continuations, logit lens, attribution, parts of a logit, entropy of attention."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from generator.publish.exchange.bundle.analysis import Analysis, Text
from generator.publish.exchange.bundle.csvs import Row, Table, with_methods

WHERE = ("model", "text", "variant")
"""First columns of every table."""

Rows = Iterator[tuple[Row, dict[str, Any]]]

SECTIONS = (
    "predictions",
    "surprise",
    "divergence",
    "continuations",
    "lens",
    "attribution",
    "logit_parts",
    "attention",
)
"""Sections of a text that may be undefined."""  # fmt: skip


def text_tables(analysis: Analysis) -> Iterator[Table]:
    """Every table of prompts and documents."""
    named = ("model", "text", "kind", "name", "doc", "content", "n_tokens", "n_read", "note")
    yield Table("texts", "one prompt or document as one model read it", named, _texts(analysis))
    for name, about, columns, rows_of in TABLES:
        yield with_methods(name, about, (*WHERE, *columns), partial(_rows, analysis, rows_of))
    about = "a section that is not defined for a model, and why"
    yield Table("undefined", about, ("model", "text", "section", "reason"), _undefined(analysis))


def _rows(analysis: Analysis, rows_of: Callable[[Text], Rows]) -> Rows:
    return (row for model in analysis.models for text in model.texts() for row in rows_of(text))


def _texts(analysis: Analysis) -> Iterator[Row]:
    contents = {entry["id"]: entry["text"] for entry in analysis.index["texts"]}
    for model in analysis.models:
        for text in model.texts():
            head = {"model": model.name, "text": text.id, "content": contents.get(text.id)}
            yield head | {name: text.facts[name] for name in ("kind", "name", "doc")} | text.facts["read"]


def _undefined(analysis: Analysis) -> Iterator[Row]:
    for model in analysis.models:
        for part, reason in model.facts["parts"].items():
            if reason != "done":
                yield {"model": model.name, "section": part, "reason": reason}
        for text in model.texts():
            for name in SECTIONS:
                reason = (text.facts.get(name) or {}).get("undefined")
                if reason:
                    yield {"model": model.name, "text": text.id, "section": name, "reason": reason}


def _head(text: Text, variant: str) -> Row:
    return {"model": text.model, "text": text.id, "variant": variant}


def _method(text: Text, section: str) -> dict[str, Any]:
    return (text.section(section) or {}).get("method", {})


def _predictions(text: Text) -> Rows:
    section = text.section("predictions")
    for variant, found in text.variants("predictions"):
        assert section is not None
        columns = section["positions"], found["tokens"], found["probability"], found["entropy"]
        for position, tokens, shares, entropy in zip(*columns):
            head = _head(text, variant) | {"position": position, "token": text.tokens[position]}
            for rank, (token, share) in enumerate(zip(tokens, shares), 1):
                row = {"rank": rank, "predicted": text.vocabulary[token], "probability": share}
                yield head | row | {"entropy": entropy, "kind": section["kind"]}, section["method"]


def _surprise(text: Text) -> Rows:
    divergence = text.section("divergence") or {}
    for variant, values in text.variants("surprise"):
        for position, value in enumerate(values):
            head = _head(text, variant) | {"position": position, "token": text.tokens[position]}
            row = {n: divergence[n][position] for n in ("base_adapted", "adapted_base") if n in divergence}
            yield head | {"surprise": value} | row, {}


def _continuations(text: Text) -> Rows:
    for variant, samples in text.variants("continuations"):
        for sample, found in enumerate(samples):
            for place, (token, share) in enumerate(zip(found["tokens"], found["probability"])):
                row = {
                    "sample": sample,
                    "place": place,
                    "token": text.vocabulary[token],
                    "probability": share,
                }
                row["is_finished"] = found["is_finished"]
                yield _head(text, variant) | row, _method(text, "continuations")


def _lens(text: Text) -> Rows:
    for variant, layers in text.variants("lens"):
        for found in layers:
            for position, token in enumerate(text.tokens):
                head = _head(text, variant) | {"layer": found["layer"], "position": position, "token": token}
                head |= {name: found[name][position] for name in ("entropy", "actual", "divergence")}
                ranked = zip(found["tokens"][position], found["probability"][position])
                for rank, (predicted, share) in enumerate(ranked, 1):
                    row = {"rank": rank, "predicted": text.vocabulary[predicted], "probability": share}
                    yield head | row, _method(text, "lens")


def _attribution(text: Text) -> Rows:
    section = text.section("attribution")
    for variant, found in text.variants("attribution"):
        assert section is not None
        target = {"target_position": section["position"], "target": text.vocabulary[section["token"]]}
        for name in ("gradient_times_input", "integrated_gradients"):
            scores = found.get(name) or {}
            if "scores" not in scores:
                continue
            facts = {k: scores.get(k) for k in ("baseline_value", "gap", "warning")} | {
                "logit": found["value"]
            }
            for position, score in enumerate(scores["scores"]):
                row = {
                    "attribution": name,
                    "position": position,
                    "token": text.tokens[position],
                    "score": score,
                }
                yield _head(text, variant) | target | row | facts, scores["method"]


def _logit_parts(text: Text) -> Rows:
    section = text.section("logit_parts")
    for variant, found in text.variants("logit_parts"):
        assert section is not None
        head = _head(text, variant) | {"target_position": section["position"]}
        head |= {"target": text.vocabulary[section["token"]]}
        for layer, values in enumerate(found["heads"]):
            for number, value in enumerate(values):
                yield (
                    head | {"part": "head", "layer": layer, "head": number, "value": value},
                    section["method"],
                )
        for part, name in (("attention_bias", "attention_bias"), ("mlp", "mlps")):
            for layer, value in enumerate(found[name]):
                yield head | {"part": part, "layer": layer, "value": value}, section["method"]
        for part in ("embedding", "bias", "logit", "gap"):
            yield head | {"part": part, "value": found[part]}, section["method"]


def _entropy(text: Text) -> Rows:
    found = text.file("attention.json") or {}
    for variant in ("base", "adapted"):
        for layer, heads in enumerate(found.get(variant, {}).get("entropy", [])):
            for head, values in enumerate(heads):
                for position, value in enumerate(values):
                    row = {"layer": layer, "head": head, "position": position, "token": text.tokens[position]}
                    yield _head(text, variant) | row | {"entropy": value}, {}


TABLES: tuple[tuple[str, str, tuple[str, ...], Callable[[Text], Rows]], ...] = (
    ("predictions", "one of the most likely tokens after a position (`next`) or at a mask (`masks`)",
     ("position", "token", "rank", "predicted", "probability", "entropy", "kind"), _predictions),
    ("surprise", "−ln p of a token given those before, in nats; KL between base and adapted model there",
     ("position", "token", "surprise", "base_adapted", "adapted_base"), _surprise),
    ("continuations", "one token of a seeded continuation",
     ("sample", "place", "token", "probability", "is_finished"), _continuations),
    ("lens", "one of the most likely tokens by the logit lens at one layer; `divergence` is KL(final ‖ this layer)",
     ("layer", "position", "token", "rank", "predicted", "probability", "entropy", "actual", "divergence"), _lens),
    ("attribution", "the share of one token in the explained logit",
     ("target_position", "target", "attribution", "position", "token", "score", "logit", "baseline_value", "gap", "warning"),
     _attribution),
    ("logit-parts", "what one head, MLP or bias writes into the explained logit",
     ("target_position", "target", "part", "layer", "head", "value"), _logit_parts),
    ("attention-entropy", "entropy of the attention of one head at one query, in nats",
     ("layer", "head", "position", "token", "entropy"), _entropy),
)  # fmt: skip
"""Name, what a row is, columns after the first ones, rows of a text."""
