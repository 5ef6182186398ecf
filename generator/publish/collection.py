"""The page of a collection: all directions of one adapter, or all latents of one dictionary, as a whole."""

import math
from typing import Any
from urllib.parse import urlencode

import numpy as np

from generator.blocks import Channel
from generator.publish.addresses import page_url
from generator.publish.book import SCHEMA, Book
from generator.publish.crosscoder import crosscoder_of_collection
from generator.publish.explorer import token_texts
from generator.publish.grid import place_of_module
from generator.publish.home import without_paths
from generator.publish.numbers import UNDEFINED, count, percent, significant, three_digits
from generator.publish.visible import plain
from generator.summaries import Loadings

BINS_PER_DECADE = 4
"""Of the histogram of densities."""

PLACES = 1000
"""Steps of a map's longer axis."""

POINT_TOKENS = 3
"""Top tokens that a point of a map or scatter shows."""


def collection_id(name: str) -> str:
    """The id of a collection's shard; its page stands above those of its channels, at ``/atlas/<name>/``."""
    return f"collection/{name}"


def points_id(name: str) -> str:
    """The id of the shard with the points of a collection's map."""
    return f"collection/{name}/points"


def collection_shard(book: Book, name: str) -> dict[str, Any]:
    """All that a collection's page shows but the map; pages of its latents read their scatter and grid from it."""
    indices = book.collections[name]
    alive = [index for index in indices if not book.is_dead(index)]
    return {
        "schema": SCHEMA,
        "id": collection_id(name),
        "name": name,
        "kind": book.summary.channels[indices[0]].kind,
        "n_channels": len(indices),
        "n_channels_measured": sum(c.collection == name for c in book.summary.channels),
        "n_dead": len(indices) - len(alive),
        "l0_mean": significant(sum(book.statistics["share_active"][index] or 0.0 for index in alive)),
        "density_histogram": _density_histogram(book, alive),
        "columns": {
            "id": [book.summary.channels[index].id for index in alive],
            "density": [significant(book.statistics["share_active"][index], 3) for index in alive],
            "max": [significant(book.largest(index), 3) for index in alive],
        },
        "grid": _grid(book, name),
        "facts": collection_facts(book, name),
        **({"crosscoder": found} if (found := crosscoder_of_collection(book, name)) else {}),
    }


def points_shard(book: Book, name: str) -> dict[str, Any]:
    """The collection's channels as points: their top tokens and, for a dictionary, places on its map."""
    alive = [index for index in book.collections[name] if not book.is_dead(index)]
    return {
        "schema": SCHEMA,
        "id": points_id(name),
        "columns": {
            "id": [book.summary.channels[index].id for index in alive],
            "top_tokens": [
                token_texts(book, book.summary.top_tokens, index, POINT_TOKENS) for index in alive
            ],
        },
        "layout": _layout(book, alive),
    }


def _layout(book: Book, alive: list[int]) -> dict[str, Any] | None:
    """The places of some channels of one collection on its map."""
    if not alive:
        return None
    for plane in book.summary.maps:
        rows = {channel: row for row, channel in enumerate(plane.channels.tolist())}
        if alive[0] in rows:
            places = np.rint(plane.places[[rows[index] for index in alive]] * PLACES).astype(np.int64)
            return {"method": plane.method, "x": places[:, 0].tolist(), "y": places[:, 1].tolist()}
    return None


def collection_facts(book: Book, name: str) -> dict[str, Any]:
    """What a collection says of itself, as it came, without paths; numbers that are not finite become null."""
    facts = book.summary.facts.get("collections", {}).get(name, {})
    return _finite(without_paths(facts))


def _finite(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _loadings(book: Book, name: str) -> Loadings | None:
    return next(
        (
            table
            for table in book.summary.loadings
            if len(table.channels) and book.summary.channels[int(table.channels[0])].collection == name
        ),
        None,
    )


def _density_histogram(book: Book, alive: list[int]) -> dict[str, list[Any]]:
    """Counts of channels by log10 of density; edges on whole quarters of a decade."""
    densities = [book.statistics["share_active"][index] for index in alive]
    logs = np.log10([density for density in densities if density])
    if not len(logs):
        return {"edges": [], "counts": []}
    bins = np.floor(logs * BINS_PER_DECADE).astype(np.int64)
    bins = np.minimum(bins, -1)  # a density of 1 belongs to the last bin
    counts = np.bincount(bins - bins.min())
    edges = (bins.min() + np.arange(len(counts) + 1)) / BINS_PER_DECADE
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def _grid(book: Book, name: str) -> dict[str, Any] | None:
    """Layers × modules over the collection's own directions, or over the channels that a dictionary reads."""
    table = _loadings(book, name)
    ids = table.inputs if table else [book.summary.channels[index].id for index in book.collections[name]]
    known = [book.index_of.get(identifier) for identifier in ids]
    if any(index is None or book.is_latent(index) for index in known):
        return None
    channels = [book.summary.channels[index] for index in known if index is not None]
    modules = list(dict.fromkeys(c.module for c in channels))
    slots = {(place_of_module(modules, c.module), c.module, c.rank_index) for c in channels}
    columns = {slot[1:]: column for column, slot in enumerate(sorted(slots))}
    layers = sorted({c.layer for c in channels}, key=lambda layer: (layer < 0, layer))
    places = np.full((len(layers), len(columns)), -1, np.int64)
    for index, channel in enumerate(channels):
        places[layers.index(channel.layer), columns[channel.module, channel.rank_index]] = index
    has_ranks = {module for module, r in columns if (module, r + 1) in columns}
    return {
        "ids": ids,
        "has_page": [int(index in book.published_set) for index in known],
        "layers": [layer if layer >= 0 else None for layer in layers],
        "modules": [f"{module}/r{r}" if module in has_ranks else module for module, r in columns],
        "places": places.tolist(),
    }


# --- what the page says before its shard has come --------------------------------------------------------------


def head_of(book: Book, name: str) -> dict[str, Any]:
    """The static part of a collection's page: facts, settings and notes as readers see them."""
    indices = book.collections[name]
    facts = collection_facts(book, name)
    is_dictionary = book.is_latent(indices[0])
    return {
        "name": name,
        "kind": book.summary.channels[indices[0]].kind,
        "noun": "latents" if is_dictionary else "directions",
        "n_channels": count(len(indices)),
        "rows": _dictionary_rows(book, name, facts) if is_dictionary else _adapter_rows(book, name),
        "settings": [
            {"name": plain(key), "value": _setting(value)}
            for key, value in sorted(_dict(facts.get("settings")).items())
        ],
        "notes": [plain(note) for note in facts.get("notes") or [] if isinstance(note, str)],
        "explorer": urlencode({"collection": name}),
        "first": page_url(book.summary.channels[indices[0]].id),
    }


def _row(name: str, value: str, note: str = "") -> dict[str, str]:
    return {"name": name, "value": plain(value), "note": plain(note)}


def _adapter_rows(book: Book, name: str) -> list[dict[str, str]]:
    channels = [book.summary.channels[index] for index in book.collections[name]]
    modules = list(dict.fromkeys(c.module for c in channels))
    layers = {c.layer for c in channels if c.layer >= 0}
    rows = [
        _row("directions", count(len(channels)), f"in {count(len(layers))} layers"),
        _row("rank", _ranks(channels), "directions per module"),
        _row("scaling", _span([c.scaling for c in channels]), "alpha / r, or alpha / √r for rsLoRA"),
        _row("modules", ", ".join(modules[:12]) + (" …" if len(modules) > 12 else "")),
        _row("‖read‖", _span([c.read_norm for c in channels]), "from the shortest to the longest"),
        _row("‖write‖", _span([c.write_norm for c in channels]), "from the shortest to the longest"),
    ]
    bases = sorted({c.basis for c in channels if c.rank > 1})
    return [*rows, _row("basis", ", ".join(bases), "of modules of rank above 1")] if bases else rows


def _ranks(channels: list[Channel]) -> str:
    return ", ".join(map(count, sorted({c.rank for c in channels})[:8]))


def _span(values: list[float]) -> str:
    low, high = three_digits(min(values)), three_digits(max(values))
    return low if low == high else f"{low} to {high}"


def _dictionary_rows(book: Book, name: str, facts: dict[str, Any]) -> list[dict[str, str]]:
    indices = book.collections[name]
    n_dead = sum(map(book.is_dead, indices))
    held_out, l0 = _dict(facts.get("held_out")), _dict(facts.get("l0")).get("mean")
    if not _is_number(l0):
        l0 = sum(book.statistics["share_active"][index] or 0.0 for index in indices)
    rows = [
        _row("latents", count(len(indices)), _reads(facts)),
        _row("architecture", str(facts.get("architecture") or UNDEFINED), str(facts.get("format") or "")),
        _row(
            "dead",
            percent(n_dead / len(indices)),
            f"{count(n_dead)} latents were active at no measured token",
        ),
        _row("L0", three_digits(l0), "latents active per token, on average"),
    ]
    for key, label, note in (
        ("fvu", "held-out FVU", "fraction of the variance that is not explained, in raw units"),
        ("l0", "held-out L0", "latents active per token of the held-out documents"),
    ):
        if _is_number(held_out.get(key)):
            rows.append(_row(label, three_digits(held_out[key]), note))
    rows += _place_rows(facts, held_out)
    if _is_number(held_out.get("dead_share")):
        note = f"of the latents were active at none of {count(held_out.get('n_tokens', 0))} held-out tokens"
        rows.append(_row("held-out dead", percent(held_out["dead_share"]), note))
    if _is_number(facts.get("threshold")):
        rows.append(_row("threshold", three_digits(facts["threshold"]), "a latent below it is silent"))
    return rows + _loss_rows(_dict(facts.get("loss_recovered")))


def _place_rows(facts: dict[str, Any], held_out: dict[str, Any]) -> list[dict[str, str]]:
    """The held-out FVU of each place that a crosscoder reads, one model to a row."""
    places = [place for place in facts.get("places") or [] if isinstance(place, dict)]
    errors = held_out.get("fvu_by_place")
    if not isinstance(errors, list) or len(errors) != len(places) or not all(map(_is_number, errors)):
        return []
    rows = []
    for model in dict.fromkeys(str(place.get("model")) for place in places):
        own = [(place, error) for place, error in zip(places, errors) if str(place.get("model")) == model]
        names = [str(place.get("name") or place.get("hook_point")) for place, _ in own]
        where = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        figures = " · ".join(three_digits(error) for _, error in own)
        rows.append(_row(f"held-out FVU, {model}", figures, f"at {where}"))
    return rows


def _loss_rows(found: dict[str, Any]) -> list[dict[str, str]]:
    """Loss recovered with its baseline, and the three cross-entropies that it is made of."""
    if not found:
        return []
    losses, value = _dict(found.get("loss")), found.get("value")
    baseline = str(found.get("baseline") or "the baseline")
    where = "held-out documents" if found.get("is_held_out") else "documents"
    what = (
        "what the place is worth to the next token that is left when its vectors are"
        if found.get("replayed")
        else "the adapter's gain that is left when its writes are"
    )
    note = f"share of {what} rebuilt from the latents: (CE with the {baseline} − CE rebuilt) / (CE with the {baseline} − CE as it is)"
    reason = str(found.get("undefined") or "it is not known")
    rows = [
        _row("loss recovered", percent(value), note)
        if _is_number(value)
        else _row("loss recovered", UNDEFINED, f"undefined: {reason}")
    ]
    if all(_is_number(losses.get(name)) for name in ("full", "rebuilt", "baseline")):
        figures = [f"{losses[name]:.4f}" for name in ("full", "rebuilt", "baseline")]
        note = (
            f"cross-entropy in nats: as it is, rebuilt, {baseline}; over {count(found.get('n_tokens', 0))} tokens of "
            f"{count(found.get('n_documents', 0))} {where}"
        )
        rows.append(_row("loss", " · ".join(figures), note))
    helped = _dict(found.get("helped"))
    if _is_number(helped.get("value")):
        note = (
            f"on the {count(helped.get('n_documents', 0))} of these documents whose loss the adapter lowers; it raises that of "
            "the others, and a loss that rebuilding brings down again counts as more than all recovered"
        )
        rows.append(_row("of what it helps", percent(helped["value"]), note))
    return rows


def _reads(facts: dict[str, Any]) -> str:
    n = facts.get("n_inputs")
    places = [place for place in facts.get("places") or [] if isinstance(place, dict)]
    if places:
        first = f"{places[0].get('hook_point')} of {places[0].get('model')}"
        rest = "" if len(places) == 1 else f" to {places[-1].get('hook_point')} of {places[-1].get('model')}"
        number = "" if len(places) == 1 else f"{len(places)} places, "
        width = f"{count(n)} values a token at " if isinstance(n, int) else ""
        return plain(f"over {width}{number}{first}{rest}")
    what = f"{count(n)} channels" if isinstance(n, int) else "channels"
    return f"over {what} of “{facts['reads']}”" if facts.get("reads") else f"over {what}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _setting(value: Any) -> str:
    if isinstance(value, float):  # as it was set, not rounded
        return plain(f"{value:,.10g}".replace("-", "−"))
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: UNDEFINED}[value]
    if isinstance(value, int):
        return count(value)
    if isinstance(value, list):
        return plain(", ".join(map(_setting, value)))
    return plain(str(value))[:300]
