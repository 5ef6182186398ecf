"""Finished shards as exporters see them: grouped into sources, examples as windows of text and numbers."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from generator.artifacts import read_json
from generator.errors import FeaturebookError, nearest
from generator.publish.addresses import shard_path
from generator.publish.reading import opened

SCHEMA = 1
"""Of the shards that are read; another one is refused."""

REMEDY = "python -m generator build"


@dataclass(frozen=True)
class Source:
    """What other tools call a source: the features of one layer, or of a dictionary that belongs to none."""

    collection: str
    layer: int | None
    ids: dict[int, str]
    """Index of the feature within the source -> id: a latent's own number, else the place in the layer."""

    @property
    def name(self) -> str:
        """Lower case, letters, digits, ``.``, ``_`` and ``-``, as Neuronpedia wants it: ``12-lora``."""
        slug = slug_of(self.collection)
        return slug if self.layer is None else f"{self.layer}-{slug}"


@dataclass(frozen=True)
class Window:
    """One example: as many values as tokens, no token empty."""

    tokens: list[str]
    values: list[float]
    peak: int
    """Index of the token for which the window was chosen."""


def slug_of(name: str) -> str:
    """A name in lower case in which everything but letters, digits, ``.``, ``_`` and ``-`` is a ``-``."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-.") or "unnamed"


@dataclass(frozen=True)
class Shelf:
    """A folder of shards."""

    folder: Path

    def shard(self, identifier: str) -> dict[str, Any]:
        """The shard of an id.

        Raises:
            FeaturebookError: missing, damaged, or of another schema.
        """
        path = self.folder / shard_path(identifier)
        if not path.exists():
            raise FeaturebookError(f"{path} is missing. Run `{REMEDY}` first.")
        shard = read_json(path)
        if not isinstance(shard, dict) or shard.get("schema") != SCHEMA:
            found = shard.get("schema") if isinstance(shard, dict) else type(shard).__name__
            raise FeaturebookError(f"{path} has schema {found!r}; expected {SCHEMA}. Run `{REMEDY}`.")
        return opened(shard)

    @cached_property
    def home(self) -> dict[str, Any]:
        """The home shard: model and corpus."""
        return self.shard("home")

    @property
    def model_id(self) -> str:
        """The base model's name as an id of other tools."""
        return slug_of(str(self.home["model"]["base"]).rstrip("/").rsplit("/", 1)[-1])

    def sources(self, collection: str | None = None) -> list[Source]:
        """The sources of one collection, or of all, in the order of the pages.

        Raises:
            FeaturebookError: there is no such collection.
        """
        names = self.shard("explorer")["collection"]["values"]
        if collection is not None and collection not in names:
            raise FeaturebookError(f"There is no collection {collection!r}. {nearest(collection, names)}")
        found: dict[tuple[str, int | None], dict[int, str]] = {}
        for name, layer, kind, number, identifier in self._table():
            if collection in (None, name):
                ids = found.setdefault((name, layer), {})
                ids[len(ids) if kind == "lora" or number in ids else number] = identifier
        return [Source(name, layer, ids) for (name, layer), ids in found.items()]

    def _table(self) -> Iterator[tuple[str, int | None, str, int, str]]:
        """Collection, layer, kind, number inside its module or dictionary, and id of every channel."""
        head = self.shard("explorer")
        runs = [expanded(head[name]) for name in ("collection", "layer", "kind")]
        columns = [self.shard(f"explorer/columns/{name}")["values"] for name in ("rank_index", "id")]
        yield from zip(*runs, *columns)

    def features(self, source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
        """Index and channel shard of every feature of a source, by index."""
        for index, identifier in sorted(source.ids.items()):
            yield index, self.shard(identifier)


def expanded(column: dict[str, list[Any]]) -> list[Any]:
    """A column of the explorer's head, one value per row."""
    values, runs = column["values"], column["runs"]
    return [values[i] for i, length in zip(runs[::2], runs[1::2]) for _ in range(length)]


def group_of(shard: dict[str, Any], name: str) -> dict[str, Any]:
    """The entry of a group of examples."""
    return next(group for group in shard["groups"] if group["group"] == name)


def has_range(shard: dict[str, Any], name: str) -> bool:
    """Whether a group of examples stands for any token. One that does not holds the nearest values of the other sign."""
    return group_of(shard, name)["low"] is not None


def window_of(shard: dict[str, Any], example: dict[str, Any]) -> Window | None:
    """An example with tokens that share a character joined to one, whose value is its member of largest size.

    The peak keeps its exact activation. None when nothing of the window can be seen.
    """
    texts = [shard["tokens"][index] for index in example["text"]]
    tokens: list[str] = []
    values: list[float] = []
    peak = 0
    for place, (text, value) in enumerate(zip(texts, activations_of(shard, example))):
        if tokens and (text == "" or tokens[-1] == ""):
            tokens[-1] += text
            values[-1] = max(values[-1], value, key=abs)
        else:
            tokens.append(text)
            values.append(value)
        if place == example["position"] - example["start"]:
            peak = len(tokens) - 1
    if "" in tokens:
        return None
    values[peak] = example["value"] or 0.0
    return Window(tokens, values, peak)


def activations_of(shard: dict[str, Any], example: dict[str, Any]) -> list[float]:
    """The activations of an example's tokens; 0 where the value was not finite, which no format can say."""
    return [(value or 0) * shard["scale"] for value in example["values"]]


def rounded(values: list[float]) -> list[float]:
    """To five decimals, as SAEDashboard writes activations; never a minus zero."""
    return [round(value, 5) + 0.0 for value in values]


def active_histogram(shard: dict[str, Any], bins: int) -> tuple[list[float], list[int]]:
    """Centres and counts of the histogram, neighbours added up until there are at most ``bins``.

    Of an unsigned channel only the active tokens count, as other tools do it: zeros leave their bin.
    """
    edges, counts = shard["histogram"]["edges"], list(shard["histogram"]["counts"])
    if not counts:
        return [], []
    width = edges[1] - edges[0]
    first = round(edges[0] / width)
    if not shard["is_signed"] and first <= 0 < first + len(counts):
        active = round((shard["stats"]["density"] or 0.0) * shard["stats"]["n_tokens"])
        counts[-first] -= max(0, min(counts[-first], sum(counts) - active))
    while len(counts) > bins:
        ahead = [0] * (first % 2)  # pairs begin at even bins, so that zero stays an edge
        padded = [*ahead, *counts, *[0] * ((len(ahead) + len(counts)) % 2)]
        counts = [a + b for a, b in zip(padded[::2], padded[1::2])]
        first, width = first // 2, width * 2
    return [(first + i + 0.5) * width for i in range(len(counts))], counts
