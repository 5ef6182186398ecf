"""Pages: Markdown whose data stand in front matter, one JSON value per key.

YAML is nearly a superset of JSON; what differs is dealt with in ``front_matter``. Values are raw text: the templates
escape them (``|e``), because MkDocs' Jinja does not.
"""

import json
import re
from typing import Any

from generator.config import RunConfig
from generator.publish.about import head_labels, label_sentence
from generator.publish.addresses import page_url, shard_path
from generator.publish.analysis import ANALYSIS, Analysis, model_facts, model_id, text_id
from generator.publish.book import Book
from generator.publish.cards import card_path
from generator.publish.collection import collection_id, head_of
from generator.publish.compare import COMPARE, compare_head
from generator.publish.documents import doc_id, strongest_in_turn
from generator.publish.explorer import shortened, token_texts, top_tokens
from generator.publish.home import site_facts
from generator.publish.layers import CHANNELS_PER_MODULE, layer_id, modules_of
from generator.publish.numbers import count, percent, three_digits
from generator.publish.other_runs import OtherRun
from generator.publish.records import identity_of, link_to, stats_of
from generator.publish.runs import facts_of as run_facts
from generator.publish.runs import run_id
from generator.publish.visible import chipped, plain, visible, without_surrogates

_NOT_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")

LONGEST_PROMPT = 160
"""Characters of a prompt in a list."""

LONGEST_TOKEN = 24
"""Characters of a token in a title or description."""

BUNDLE = "shards/bundle.zip"
"""Where the site offers everything as files (docs/export.md), from its root."""

BUNDLE_PARTS = {
    "tables": "tables (CSV)",
    "attention": "attention weights (NPZ)",
    "figures": "every chart (PNG and SVG)",
    "animation": "animations of the layers (GIF and APNG)",
    "report": "a report (PDF)",
    "provenance": "provenance (HTML)",
}
"""Part of the bundle -> what a page calls it."""


def front_matter(values: dict[str, Any]) -> bytes:
    """A page's front matter: YAML that every reader takes for the same strings.

    JSON leaves some characters raw that YAML 1.1 forbids or folds (DEL, C1 controls, U+0085, U+2028, U+2029, the byte
    order mark); they are escaped, and lone surrogates replaced. Characters beyond the basic plane stay raw, since
    JSON would write two surrogates, which YAML refuses.
    """
    lines = [f"{key}: {_yaml_value(value)}" for key, value in values.items()]
    return "\n".join(["---", *lines, "---", ""]).encode("utf-8")


def _yaml_value(value: Any) -> str:
    text = without_surrogates(json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True))
    return _NOT_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def quoted(token: str) -> str:
    """A token as a title or description shows it, shortened: ‘ wait’."""
    shown = chipped(token)
    return f"‘{shown if len(shown) <= LONGEST_TOKEN else shown[: LONGEST_TOKEN - 1] + '…'}’"


def _page(template: str, title: str, description: str, shard: str | None, **more: Any) -> bytes:
    values: dict[str, Any] = {
        "template": template,
        "title": plain(title),
        "description": plain(description),
        "search": {"exclude": True},
        "hide": ["navigation", "toc"],
    }
    if shard is not None:
        values["shard"] = f"shards/{shard_path(shard)}"
    return front_matter({**values, **more})


def channel_title(identifier: str) -> str:
    """The readable name of a channel: ``lora/L12/gate_proj/r3`` becomes ``L12 gate_proj r3 — lora``."""
    collection, *rest = identifier.split("/")
    return f"{channel_name(identifier)} — {collection}" if rest else collection


def channel_name(identifier: str) -> str:
    """The name of a channel inside its collection: ``L12 gate_proj r3``, and ``Latent 1234`` of a dictionary."""
    rest = " ".join(identifier.split("/")[1:])
    return f"Latent {rest}" if rest.isascii() and rest.isdecimal() else rest


def channel_page(book: Book, index: int, has_card: bool = False) -> bytes:
    """The page of a channel, without a note; ``has_card`` says whether a preview picture was drawn."""
    channel = book.summary.channels[index]
    top = top_tokens(book, index)
    bottom = token_texts(book, book.summary.bottom_tokens, index) if channel.is_signed else []
    stats = shown_stats(book, index)
    shown = {
        **identity_of(book, index),
        "preset": book.preset.name,
        "name": plain(channel_name(channel.id)),
        "collection_page": link_to(channel.collection),
        "layer_page": link_to(layer_id(channel.layer)) if channel.layer >= 0 else None,
        "previous": link_to(book.neighbour_in_order(index, -1)),
        "next": link_to(book.neighbour_in_order(index, 1)),
        "top_tokens": [visible(token) for token in shortened(top)],
        "bottom_tokens": [visible(token) for token in shortened(bottom)],
        "stats": stats,
        "labels": head_labels(book, index),
    }
    label = label_sentence(book, index)
    description = (
        f"A dead latent: it was active at none of {stats['n_tokens']} tokens."
        if book.is_dead(index)
        else channel_description(stats, top, bottom)
    )
    title = channel_title(channel.id)
    if label:
        title, description = f"{label} · {title}", f"{label}. {description}"
    card = {"card": card_path(channel.id)} if has_card else {}
    return _page("channel.html", title, description, channel.id, channel=shown, **card)


def shown_stats(book: Book, index: int) -> dict[str, str]:
    """Statistics as a reader sees them before the shard has come: three significant digits."""
    stats = stats_of(book, index)
    shown = {name: count(stats[name]) for name in ("n_tokens", "n_nonfinite", "n_documents")}
    shown |= {name: percent(stats[name]) for name in ("density", "share_positive", "share_negative")}
    numbers = ("mean", "std", "skewness", "kurtosis", "min", "max", "threshold")
    shown |= {name: three_digits(stats[name]) for name in numbers}
    return shown | {"max_write": three_digits(book.max_write(index))}


def channel_description(stats: dict[str, str], top: list[str], bottom: list[str]) -> str:
    """What a chat shows when a link to the page is pasted."""
    parts = []
    for word, tokens in (("Highest", top), ("Lowest", bottom)):
        shown = dict.fromkeys(quoted(token) for token in tokens)
        if shown:
            parts.append(f"{word} on {', '.join(shown)}.")
    parts.append(
        f"Range {stats['min']} to {stats['max']}, active at {stats['density']} of {stats['n_tokens']} tokens."
    )
    return " ".join(parts)


def collection_page(book: Book, name: str) -> bytes:
    """The page of a collection, without a note."""
    head = head_of(book, name)
    facts = {row["name"]: row["value"] for row in head["rows"]}
    description = f"{head['n_channels']} {head['noun']}: " + ", ".join(
        f"{label} {facts[label]}"
        for label in ("rank", "modules", "L0", "dead", "held-out FVU")
        if label in facts
    )
    return _page(
        "collection.html", f"Collection {name}", f"{description}.", collection_id(name), collection=head
    )


def layer_page(book: Book, layer: int) -> bytes:
    """The page of a layer, without a note."""
    layers = list(book.layers)
    place = layers.index(layer)
    modules = modules_of(book, layer)
    shown = {
        "id": layer_id(layer),
        "layer": layer,
        "previous": link_to(layer_id(layers[place - 1])) if place else None,
        "next": link_to(layer_id(layers[place + 1])) if place + 1 < len(layers) else None,
        "channels": _channel_links(
            book, [i for _, _, indices in modules for i in indices[:CHANNELS_PER_MODULE]]
        ),
    }
    names = ", ".join(dict.fromkeys(module for _, module, _ in modules))
    n = len(book.layers[layer])
    description = (
        f"{n} direction{'s' * (n != 1)} at layer {layer}: {names}."
        if n
        else f"How the representation and the attention heads of layer {layer} behave."
    )
    return _page("layer.html", f"Layer {layer}", description, layer_id(layer), layer=shown)


def _channel_links(book: Book, indices: list[int]) -> list[dict[str, Any]]:
    channels = [book.summary.channels[index] for index in indices]
    return [
        {"id": c.id, "path": page_url(c.id), "module": c.module, "rank_index": c.rank_index} for c in channels
    ]


def document_page(book: Book, doc: int) -> bytes:
    """The page of a document, without a note."""
    documents = list(book.documents)
    place = documents.index(doc)
    entry = document_entry(book, doc)
    shown = {
        **entry,
        "doc": doc,
        "previous": link_to(doc_id(documents[place - 1])) if place else None,
        "next": link_to(doc_id(documents[place + 1])) if place + 1 < len(documents) else None,
    }
    description = f"{count(entry['n_tokens'])} tokens with the strongest {_members(book)} at each."
    return _page(
        "document.html", f"Document {doc}: {entry['name']}", description, doc_id(doc), document=shown
    )


def document_entry(book: Book, doc: int) -> dict[str, Any]:
    """A document in a list: name, kind, length, its strongest published channels."""
    tokens = book.corpus.tokens_of(doc)
    kind = book.corpus.doc_metadata[doc].get("kind")
    return {
        "id": doc_id(doc),
        "path": page_url(doc_id(doc)),
        "name": book.doc_names[doc],
        "kind": plain(kind) if isinstance(kind, str) else "",
        "n_tokens": tokens.stop - tokens.start,
        "strongest": [link_to(book.summary.channels[i].id) for i in strongest_in_turn(book, doc)[:5]],
    }


def _members(book: Book) -> str:
    """What the collections hold: ``directions``, ``latents`` or both."""
    nouns = {
        "latents" if book.is_latent(indices[0]) else "directions" for indices in book.collections.values()
    }
    return " and ".join(sorted(nouns))


def explorer_page(book: Book) -> bytes:
    """The table of all channels."""
    sizes = {
        noun: sum(book.is_latent(index) == (noun == "latents") for index in book.published)
        for noun in ("directions", "latents")
    }
    named = " and ".join(f"{count(n)} {noun}" for noun, n in sizes.items() if n)
    description = f"All {named}: sort and filter by layer, module, density and range."
    return _page("explorer.html", "Explorer", description, "explorer")


def search_page() -> bytes:
    """Everything that was found."""
    return _page("search.html", "Search", "Channels, tokens, passages and pages of this site.", "search")


def token_page() -> bytes:
    """What fires on a token; which one stands in the address."""
    return _page("token.html", "Token", "The channels that fire on a token, exact to the byte.", "search")


def compare_page(book: Book) -> bytes:
    """Channels side by side; which ones stands in the address."""
    description = "Two to four channels on the same text: values, scatter, cosines, correlation."
    return _page("compare.html", "Compare", description, COMPARE, compare=compare_head(book))


def runs_page(book: Book) -> bytes:
    """The runs that this one is compared with."""
    runs = [
        {"name": plain(o.name), "path": page_url(run_id(o.name)), "facts": run_facts(book, o)}
        for o in book.others
    ]
    return _page("runs.html", "Other runs", "The same direction in several runs.", None, runs=runs)


def run_page(book: Book, other: OtherRun) -> bytes:
    """Every channel with its counterpart in another run, without a note."""
    facts = run_facts(book, other)
    shown = {
        "name": plain(other.name),
        "facts": facts,
        "how": {name: count(n) for name, n in facts.items() if name.startswith("by_") and n},
        "n_documents": count(facts["n_documents"]),
        "n_tokens": count(facts["n_tokens"]),
    }
    n = sum(facts[name] for name in ("by_cosine", "by_correlation", "by_id"))
    description = f"{count(n)} of {count(facts['n_channels'])} channels have a counterpart among {count(facts['n_there'])}: what changed."
    identifier = run_id(other.name)
    return _page("runs.html", f"This run and {other.name}", description, identifier, run=shown)


def layers_page(book: Book) -> bytes:
    """The index of layers, and of what lies outside numbered layers."""
    layers = [
        {
            "id": layer_id(layer),
            "path": page_url(layer_id(layer)),
            "layer": layer,
            "n_channels": len(indices),
            "modules": [
                {"module": module, "channels": _channel_links(book, channels[:8])}
                for _, module, channels in modules_of(book, layer)
            ],
        }
        for layer, indices in book.layers.items()
    ]
    outside = [i for i in book.published if book.summary.channels[i].layer < 0 and not book.is_latent(i)]
    return _page(
        "layers.html",
        "Layers",
        f"{len(layers)} layers with published directions."
        if any(book.layers.values())
        else f"{len(layers)} layers: how each behaves.",
        None,
        layers=layers,
        **bundle_link(book.config),
        outside=_channel_links(book, outside[:200]),
        collections=[
            {**head, "path": page_url(head["name"])}
            for head in site_facts(book)["collections"]
            if head["kind"] != "lora"
        ],
    )


def bundle_link(config: RunConfig) -> dict[str, Any]:
    """Front matter of the download: what is in it, and what a reader has to make himself."""
    offered = config.publish.bundle
    if not offered:
        return {}
    has, lacks = (
        [what for part, what in BUNDLE_PARTS.items() if (part in offered) is there] for there in (True, False)
    )
    return {"bundle": {"path": BUNDLE, "has": has, "lacks": lacks}}


def analysis_page(analysis: Analysis, config: RunConfig) -> bytes:
    """The list of analysed models and texts, complete without JavaScript."""
    models = [
        {
            **model_facts(model),
            "path": page_url(model_id(name)),
            "texts": [_text_link(analysis, name, text) for text in model["texts"]],
        }
        for name, model in analysis.models.items()
    ]
    description = "How the models behave as a whole: geometry of layers, attention, ablation, predictions."
    return _page("analysis.html", "Analysis", description, ANALYSIS, models=models, **bundle_link(config))


def _text_link(analysis: Analysis, model: str, text: str) -> dict[str, Any]:
    entry = analysis.texts[text]
    name = plain(entry["text"] or entry["name"])
    return {"path": page_url(text_id(model, text)), "name": name[:LONGEST_PROMPT], "kind": entry["kind"]}


def model_title(model: dict[str, Any]) -> str:
    """How a model is called: the main one by its folder or hub name, the others by the name that the run gives them."""
    return str(model["base"] or model["name"]) if model["name"] == "main" else str(model["name"])


def model_page(analysis: Analysis, name: str) -> bytes:
    """The page of one analysed model."""
    facts = model_facts(analysis.models[name])
    others = [
        {"name": other, "path": page_url(model_id(other)), "is_here": other == name}
        for other in analysis.models
    ]
    texts = [_text_link(analysis, name, text) for text in analysis.models[name]["texts"]]
    description = f"{facts['architecture']}, {facts['n_layers']} layers: geometry, attention heads, ablation, divergence."
    shown = {**facts, "id": model_id(name), "others": others, "texts": texts}
    return _page(
        "analysis_model.html", f"Analysis of {model_title(facts)}", description, model_id(name), model=shown
    )


def text_page(analysis: Analysis, name: str, text: str) -> bytes:
    """The page of one prompt or document under one model."""
    entry = analysis.texts[text]
    facts = model_facts(analysis.models[name])
    models = [
        {"name": other, "path": page_url(text_id(other, text)), "is_here": other == name}
        for other, model in analysis.models.items()
        if text in model["texts"]
    ]
    shown = {
        "id": text_id(name, text),
        "name": plain(entry["name"]),
        "kind": entry["kind"],
        "model_page": {"path": page_url(model_id(name)), "title": model_title(facts)},
        "models": models,
    }
    title = f"{plain(entry['name'])} under {model_title(facts)}"
    description = f"Predictions, attribution, logit lens and attention of one {entry['kind']}."
    return _page("analysed.html", title, description, text_id(name, text), text=shown)


def annotate_page() -> bytes:
    """Where a reader labels channels; what they write stays in their browser."""
    description = "Say what the channels mean: one after another, or blind. What you write stays in this browser until you export it."
    return _page("annotate.html", "Annotate", description, "annotate")


def discuss_page() -> bytes:
    """Comments on any page, through giscus.app: the only page whose policy admits another site."""
    return _page("discuss.html", "Discuss", "Comments on a page of this site.", "about")


def documents_page(book: Book) -> bytes:
    """The index of documents."""
    documents = [document_entry(book, doc) for doc in book.documents]
    description = f"{count(len(documents))} of {count(book.corpus.n_docs)} documents, each with its strongest {_members(book)}."
    return _page("documents.html", "Documents", description, None, documents=documents)
