"""The run file: TOML, checked before anything runs.

The attribute docstrings below are the only statement of an option: type, default, unit, help. docs/run-file.md is
written from them.
"""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from generator.errors import FeaturebookError, nearest

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


RESERVED = (
    "compare",
    "values",
    "runs",
    "layer",
    "doc",
    "collection",
    "explorer",
    "layers",
    "documents",
    "home",
    "search",
    "token",
    "about",
    "annotate",
    "discuss",
    "cards",
)
"""Names that addresses of the site begin with."""


class Table(BaseModel):
    """A table of the run file: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ModelTable(Table):
    """``[model]``: the language model and its adapter."""

    base: str
    """Folder or Hugging Face hub id of the base model."""
    adapter: str | None = None
    """Folder or hub id of the PEFT LoRA adapter. Without one, dictionaries read the model's own activations, and ``[analyze]`` the
    model as it is."""
    adapter_name: str = ""
    """Which adapter, when the folder holds several (subfolders); empty for the only one."""
    revision: str | None = None
    """Branch, tag or commit of the base model on the hub."""
    adapter_revision: str | None = None
    """Branch, tag or commit of the adapter on the hub."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Dtype of the base model's weights; ``auto`` keeps the checkpoint's on a GPU and takes float32 on a CPU."""
    device: str = "auto"
    """``auto`` (a GPU when there is one, several by accelerate's device map when the model does not fit one), ``cpu``,
    ``cuda``, ``cuda:1``, ``mps``."""
    attn_implementation: str | None = None
    """Attention kernel, as transformers names it (``sdpa``, ``eager``, ``flash_attention_2``); its own default when absent."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. It can do anything on your machine."""


class CorpusTable(Table):
    """``[corpus]``: the text."""

    source: str
    """Hugging Face dataset id, ``.jsonl``/``.json``/``.parquet`` file (or a glob of them), or a folder of text files."""
    split: str = "train"
    """Split of a Hugging Face dataset."""
    config_name: str | None = None
    """Configuration of a Hugging Face dataset."""
    revision: str | None = None
    """Branch, tag or commit of a Hugging Face dataset."""
    text: str | None = None
    """Field that holds the text; ``text`` when neither this, ``template`` nor ``messages`` is given."""
    template: str | None = None
    """Text with ``{field}`` placeholders; a literal brace is doubled. Rows that lack a field, or have it empty, are skipped and counted."""
    messages: str | None = None
    """Field that holds a list of chat messages, rendered by the tokenizer's chat template."""
    max_documents: Positive | None = None
    """Read no more documents than this."""
    max_tokens: Positive | None = None
    """Longest run of tokens that goes through the model at once; the model's own context when absent. Longer documents
    are read in overlapping pieces, and each token is measured once."""
    overlap: Count = 64
    """Tokens of context that a later piece of a long document repeats (they are not measured twice)."""
    min_tokens: Count = 1
    """Skip documents shorter than this."""
    where: dict[str, str | int | bool | list[str]] = {}
    """Keep only rows whose field has this value (or one of these values)."""
    add_special_tokens: bool = True
    """Let the tokenizer add its BOS and the like."""
    name: str | None = None
    """Field that names a document on its page; its number when absent."""

    @model_validator(mode="after")
    def _one_way_to_text(self) -> "CorpusTable":
        if sum(x is not None for x in (self.text, self.template, self.messages)) > 1:
            raise ValueError("give only one of text, template and messages")
        return self


class ExtractTable(Table):
    """``[extract]``: what is read from the model."""

    modules: list[str] = ["*"]
    """Globs over the adapted modules' names (full dotted path or any suffix of it); ``!glob`` takes away."""
    basis: Literal["auto", "rows", "svd"] = "auto"
    """Directions of a module of rank r > 1: the ``rows`` of A as stored, or the ``svd`` of scaling·B·A, ordered by size (``auto``
    takes it for r > 1). The rows are defined only up to an invertible mixing."""
    merge: bool = False
    """Run on merged weights: faster, equal up to rounding; the measured difference is printed."""
    batch_tokens: Positive = 4096
    """Tokens of a forward pass; halved when memory runs out."""
    packing: Literal["auto", "packed", "sorted"] = "auto"
    """How documents share a forward pass: ``packed`` one after another without padding, or ``sorted`` by length and padded.
    ``auto`` packs where it is proved equal for the model."""
    chunk_tokens: Positive = 65536
    """Tokens of one activation file: the unit of resuming and of sharing work."""
    dtype: Literal["float32", "float16"] = "float32"
    """Stored dtype of activations; they are cast to it before they are summarised, too."""
    keep_activations: bool = True
    """Write activations to disk. Without, they stream straight into the summary, with the same result."""
    workers: Positive = 1
    """Processes that share the chunks on this machine, one per GPU."""
    exclude_special: bool = True
    """Leave special tokens (BOS, EOS, chat markers, …) out of statistics and examples."""
    exclude_first: Count = 0
    """Leave out the first n positions of each document."""
    exclude_outliers: float | None = None
    """Leave out positions whose hidden state has a norm above this multiple of its document's median norm (attention sinks);
    read at the input of the middle layer."""
    calibration_documents: Positive = 32
    """Documents, chosen by hash, that fix each channel's reference RMS before the pass."""


class SummarizeTable(Table):
    """``[summarize]``: statistics and examples."""

    k: Positive = 32
    """Examples per side."""
    context: Positive = 20
    """Tokens shown on each side of an example's peak."""
    per_document: Count = 1
    """Examples of one document per list, at least ``context`` tokens apart; 0 lifts both limits."""
    bands: list[float] = [0.5, 0.9, 0.99, 0.999]
    """Quantile levels between which banded examples are drawn, of each sign's own activations (of active tokens for an
    unsigned channel)."""
    per_band: Count = 4
    """Examples per band and sign."""
    random: Count = 16
    """Examples chosen by hash."""
    threshold: float = Field(default=2.0, ge=0)
    """A signed channel is active at a token where |activation| exceeds this multiple of its reference RMS; a latent where it is > 0."""
    top_tokens: Positive = 20
    """Tokens listed per side by mean activation."""
    min_count: Positive = 3
    """Occurrences that a token needs to be listed."""
    token_channels: Positive = 48
    """Channels kept of every token and sign, by |mean| on it against their RMS."""
    neighbours: Positive = 10
    """Nearest channels per list."""
    exact_correlations: Count = 8000
    """Correlations are exact up to this many channels of a collection; beyond, computed on candidates and marked so."""
    documents: Count = 400
    """Documents, chosen by hash, that get a page of their own."""
    document_megabytes: float = 20.0
    """Cap on the memory of these documents' values."""
    value_tokens: Count = 12288
    """Tokens, in whole documents with a page, at which every value of every channel is kept: for comparing channels and for
    reading an example inside its document."""


class TrainSettings(Table):
    """``train = {…}`` of a collection: one BatchTopK autoencoder (Bussmann et al. 2024, arXiv:2412.06410) or crosscoder (Minder
    et al. 2025, arXiv:2504.02922)."""

    width: Positive | None = None
    """Number of latents; ``expansion`` times the input's width when absent."""
    expansion: Positive = 8
    """Latents per input value."""
    k: Positive = 16
    """Latents active per token, on average over a batch."""
    batch: Positive = 512
    """Tokens of a step."""
    epochs: Positive = 1
    """Passes over the training tokens."""
    tokens: Positive | None = None
    """Stop after this many tokens; repeats passes or cuts them short. ``epochs`` counts when absent."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """Adam's step size after warm-up."""
    warmup_steps: Count = 100
    """Steps over which the learning rate rises linearly from 0."""
    decay: float = Field(default=0.0, ge=0, le=1)
    """Share of the steps, at the end, over which the learning rate falls linearly to 0."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Adam's decay of the mean gradient."""
    beta2: float = Field(default=0.999, ge=0, lt=1)
    """Adam's decay of the mean squared gradient."""
    decoder: Literal["free", "unit"] = "free"
    """``unit``: decoder rows are kept at norm 1 (and their gradients orthogonal to them), so that a latent's size is what it
    writes. ``free``: latents compete by pre-activation times decoder norm, of a crosscoder the sum of its norms over places."""
    scale: Literal["none", "global"] = "none"
    """``global``: inputs are centred, and divided by one number (of a crosscoder one for each place) so that their variance is 1
    per value on average; both are recorded and folded into the saved weights. ``none``: inputs as they are."""
    aux_weight: float = Field(default=1 / 32, ge=0)
    """Weight of the auxiliary loss: dead latents reconstruct the error (Gao et al. 2024, arXiv:2406.04093, section A.2)."""
    aux_k: Positive | Literal["k", "half"] = "k"
    """Dead latents used per token for it: a number, as many as ``k``, or ``half`` of the inputs (Gao et al.)."""
    aux_reads: Literal["error", "input"] = "error"
    """What the dead latents encode for it: the ``error`` itself (the rank-1 project) or the ``input`` (Gao et al.)."""
    dead_after: Positive | Literal["auto"] = 1_000_000
    """Tokens without activation after which a latent counts as dead; ``auto``: a fifth of a pass, at most 200,000."""
    threshold_beta: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the running estimate of the threshold: the mean of each batch's smallest active score."""
    held_out: float = Field(default=0.05, gt=0, lt=1)
    """Share of the documents, chosen by hash, that are kept from training for the final figures."""
    encode: Literal["float32", "bfloat16"] = "float32"
    """Precision of the encoder's product in a step; with ``bfloat16`` the selected values are computed anew in float32."""
    save_dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of the encoder's and the decoder's weights in the file; the final figures are of the weights as saved."""
    buffer_megabytes: float = Field(default=1024.0, gt=0)
    """Memory of the shuffle buffer. Data that fits is shuffled whole, and read once; other data by parts drawn from all over it."""
    checkpoint_steps: Positive = 2000
    """Steps between two checkpoints."""
    log_steps: Positive = 10
    """Steps between two lines of ``metrics.jsonl``."""
    seed: int = 42
    """Seed of initialisation, order and split."""
    device: str = "auto"
    """``auto`` (a GPU when there is one), ``cpu``, ``cuda``, ``cuda:1``."""


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        # the rank-1 LoRA project's batch_topk_sae.py, as run there
        "expansion": 8,
        "k": 16,
        "batch": 512,
        "learning_rate": 5e-4,
        "warmup_steps": 100,
        "aux_weight": 1 / 32,
        "aux_reads": "error",
        "dead_after": 1_000_000,
        "decoder": "free",
        "scale": "none",
        "epochs": 1,
    },
    "ours": {
        "expansion": 8,
        "k": 16,
        "batch": 512,
        "learning_rate": 3e-3,
        "warmup_steps": 50,
        "decay": 0.5,
        "aux_k": "half",
        "aux_reads": "error",
        "aux_weight": 1 / 8,
        "dead_after": "auto",
        "decoder": "free",
        "scale": "global",
        "epochs": 4,
    },
}
"""Named sets of choices; docs/training.md compares them."""


class TrainTable(TrainSettings):
    """``[collections.train]``: training a dictionary. Every key that is not given comes from the preset."""

    preset: Literal["ours", "paper"] = "ours"
    """``ours``, or ``paper``: the settings of the rank-1 LoRA project. docs/training.md compares them."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return PRESETS.get(given.get("preset", "ours"), {}) | given


class CollectionTable(Table):
    """``[[collections]]``: a dictionary over activations of the adapter or of the model itself, with a page for each latent."""

    name: str
    """First part of the latents' ids: ``sae`` gives ``sae/0``, ``sae/1``, …"""
    kind: Literal["sae", "crosscoder"] = "sae"
    """``sae``: reads the adapter's channels, or one place of a model; ``crosscoder``: several places at once."""
    channels: list[str] = ["*"]
    """Globs over the ids of the adapter's channels that it reads; ``!glob`` takes away. All when absent."""
    hook_points: list[str] = []
    """Places whose activations it reads instead, straight from the model: globs such as ``model.layers.3:output``, or names of
    TransformerLens such as ``blocks.3.hook_resid_post`` (docs/hook-points.md). Without an adapter, and when absent, the place that
    the dictionary's own file names."""
    models: list[str] = ["adapted"]
    """Whose activations: ``base``, ``adapted`` (the run's model with its adapter, if it has one), or a folder or hub id of another
    model with the same tokenizer. Two are read in step, on the same tokens."""
    backend: Literal["hooks", "nnsight"] = "hooks"
    """What reads hook points: PyTorch's ``hooks``, or ``nnsight`` (an extra: ``pip install featurebook[nnsight]``)."""
    is_centred: bool = False
    """Take each vector's mean over its components away, as TransformerLens does by centring the weights that write to the residual
    stream of a model with LayerNorm."""
    train: TrainTable | None = None
    """Train it here; or give ``path``."""
    path: str | None = None
    """Folder, file or hub id of a trained one."""
    format: str = "saelens"
    """Format of ``path``: see docs/dictionaries.md."""
    revision: str | None = None
    """Branch, tag or commit of ``path`` on the hub."""
    architecture: str | None = None
    """Class or architecture, when the file does not name it."""
    input_factor: float | list[float] | Literal["estimate"] | None = None
    """What inputs were multiplied by in training, when the file does not hold it; 1 when it was folded into the weights. A list for a
    crosscoder, one for each place; ``estimate`` takes √d_model / mean norm over the calibration documents, place by place."""
    normalize_decoder: bool = True
    """Scale the latents of a dictionary_learning ``AutoEncoder`` so that its decoder rows have norm 1, as that library does."""
    is_square: bool = False
    """Accept a dictionary with as many latents as inputs, whose orientation shapes cannot prove."""
    selection: Literal["topk", "threshold"] = "topk"
    """How a dictionary saved without the threshold it needs chooses its latents: the k best of each token, or all above
    ``threshold``."""
    threshold: float | None = None
    """The threshold of ``selection = "threshold"``."""
    allow_classes: list[str] = []
    """Classes (``module.Name``) whose settings may be read from a pickled checkpoint; only their plain values are, never their code."""
    loss_documents: Count = 16
    """Held-out documents, chosen by hash, on which loss recovered is measured; 0 leaves it out (it loads the model)."""

    @model_validator(mode="after")
    def _one_origin(self) -> "CollectionTable":
        if (self.train is None) == (self.path is None):
            raise ValueError(
                "give either train (to train it here) or path (to load it), for instance train = {}"
            )
        if self.kind == "crosscoder" and not self.hook_points:
            raise ValueError(
                'a crosscoder needs hook_points, for instance hook_points = ["model.layers.*:output"]'
            )
        if not self.models or len(set(self.models)) < len(self.models) or len(self.models) > 2:
            raise ValueError("models names one model, or two different ones")
        if self.hook_points and self.channels != ["*"]:
            raise ValueError("give channels (of the adapter) or hook_points (of the model), not both")
        return self


class AnalyzedModel(Table):
    """``[[analyze.models]]``: another model, analysed on the same text and prompts so that its pages stand beside."""

    name: str
    """Names its files and pages; ``main`` is the run's own model."""
    base: str
    """Folder or hub id of the model."""
    adapter: str | None = None
    """Folder or hub id of a LoRA adapter for it."""
    revision: str | None = None
    """Branch, tag or commit of the model on the hub."""


class AnalyzeTable(Table):
    """``[analyze]``: geometry of layers, attention, predictions and ablation of the model itself; docs/analysis.md."""

    parts: list[Literal["layers", "heads", "ablation", "divergence", "texts"]] = [
        "layers",
        "heads",
        "ablation",
        "divergence",
        "texts",
    ]
    """What is computed: ``layers`` (geometry), ``heads`` (scores of attention heads), ``ablation`` (effect of every part of the
    adapter), ``divergence`` (base against adapted at every token of documents), ``texts`` (prompts and single documents)."""
    prompts: list[str] | str = []
    """Texts of one's own; or a JSONL file of objects with ``text`` and perhaps ``name``. ``[MASK]`` stands for the mask token
    of any masked model; a causal model reads up to the first one."""
    documents: Count | list[str] = 2
    """Documents of the corpus that are analysed like prompts: their names, or how many (chosen by hash)."""
    corpus_documents: Positive | None = None
    """Documents, chosen by hash, that the geometry of layers reads; all when absent."""
    head_documents: Positive = 64
    """Documents, chosen by hash, that scores of heads come from; attention weights cost more than the rest."""
    ablation_documents: Positive = 16
    """Documents, chosen by hash, on which the adapter's parts are taken away."""
    divergence_documents: Count = 40
    """Documents that get the divergence of base and adapted model at every token: the first, by hash, of those with a page."""
    threshold: float = Field(default=0.95, gt=0, le=1)
    """Share of the variance that the PCA dimension must hold."""
    sample_tokens: Positive = 1024
    """Tokens of the hashed sample for CKA, TwoNN and the histogram entropy."""
    clusters: Positive = 6
    """Clusters of heads, at most."""
    batch_tokens: Positive = 4096
    """Tokens of a forward pass for geometry; a quarter of it for heads, an eighth for divergence. Halved when memory runs out."""
    head_tokens: Positive = 512
    """Queries of a document beyond this many do not count in scores of heads."""
    repeat_length: Positive = 50
    """Length of s in the repeated random sequences s + s that induction is scored on; shorter where the context is."""
    ablation_batch_tokens: Positive = 2048
    """Tokens of a forward pass of ablation, all parts that share it included."""
    parts_per_pass: Positive = 4
    """Parts of the adapter that share a forward pass; halved when memory runs out."""
    text_tokens: Positive = 256
    """A document analysed alone is read up to here. Prompts are read whole."""
    attention_tokens: Positive = 128
    """Attention weights of a text are kept up to this token: they grow with the square of the length."""
    top_tokens: Positive = 10
    """Likeliest tokens listed at each position; half as many after each layer of the logit lens."""
    continuations: Count = 3
    """Sampled continuations of each prompt."""
    continuation_tokens: Positive = 20
    """Tokens of each, at most."""
    temperature: float = Field(default=1.0, ge=0)
    """Temperature of sampling; 0 takes the likeliest token."""
    top_k: Count = 50
    """Sampling draws from so many likeliest tokens; 0 draws from all."""
    nodes: Positive = 64
    """Points on the path of integrated gradients, to begin with."""
    max_nodes: Positive = 512
    """They are doubled up to here until the attributions add up to within 2 %."""
    models: list[AnalyzedModel] = []
    """Further models."""

    @model_validator(mode="after")
    def _names_differ(self) -> "AnalyzeTable":
        names = [model.name for model in self.models]
        for name in names:
            if name == "main" or not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
                raise ValueError(
                    f"model {name!r} cannot be used: take letters, digits, - and _, and not main"
                )
        if len({name.lower() for name in names}) < len(names):
            raise ValueError(f"analysed models need different names; these are {', '.join(names)}")
        return self


class GiscusTable(Table):
    """``[publish.giscus]``: comments through giscus.app, which stores them in GitHub discussions (docs/sharing.md)."""

    repo: str
    """``owner/name`` of the repository whose discussions hold the comments."""
    repo_id: str
    """Its id, as giscus.app shows it."""
    category: str
    """Name of the discussions' category."""
    category_id: str
    """Its id, as giscus.app shows it."""


class EffectsTable(Table):
    """``[effects]``: what only the model can say of a channel: effects on logits, attribution to tokens; docs/effects.md."""

    parts: list[Literal["logits", "attribution", "crosscoder", "latent_effects"]] = [
        "logits",
        "attribution",
        "crosscoder",
        "latent_effects",
    ]
    """What is computed: ``logits``, ``attribution``; of dictionaries over hook points also ``crosscoder`` (profiles over places,
    models compared, neurons) and ``latent_effects`` (what ablating a latent does to the next token)."""
    top_tokens: Positive = 10
    """Tokens listed on each side of a channel's logit effects."""
    attribution: Count | list[str] = 24
    """Channels whose strongest activation is attributed to input tokens: globs over ids, or how many: first those of
    ``publish.picked``, then the strongest of each collection and layer in turn."""
    attribution_tokens: Positive = 64
    """Tokens that are read for it, the peak the last (a quarter of them after it where the model looks ahead)."""
    nodes: Positive = 32
    """Points on the path of integrated gradients, to begin with."""
    max_nodes: Positive = 256
    """They are doubled up to here until the attributions add up to within 2 % of the activation's range."""
    sample_documents: Positive = 64
    """Documents, chosen by hash, on which the error by place, latent scaling and correlations with neurons are measured."""
    latents: Count | list[str] = 48
    """Latents of dictionaries over hook points that are ablated: globs over ids, or how many of each collection: first those of
    ``publish.picked``, then the strongest."""
    examples: Positive = 4
    """Strongest examples of each, on which it is ablated."""
    ablate_at: str = ""
    """Where: a hook point, perhaps with a model before it (``blocks.3.hook_resid_post``, ``base model.layers.3:output``). The latent's
    own peak place when empty, and in collections that do not read it."""
    documents: Count = 4
    """Documents with a page, in which the strongest latents of each token are ablated too."""
    document_latents: Positive = 64
    """Latents of each collection that are ablated in one document, the strongest there."""


class OtherRunTable(Table):
    """``[[publish.compare_with]]``: another run whose channels are matched with this one's; docs/comparing.md."""

    name: str
    """What the pages call it, and its address: ``step-1000``."""
    build: str
    """Its build folder, with at least ``corpus/``, ``summary/`` or ``latents/``, and ``activations/channels.h5``."""
    match: Literal["nearest", "id"] = "nearest"
    """Counterparts: the ``nearest`` by the cosine of their vectors (by correlation on the same text where those are not known),
    or the channel of the same ``id``."""
    site: str = ""
    """Address of its own site, for links."""


class PublishTable(Table):
    """``[publish]``: the site."""

    title: str = "Featurebook"
    """Title of the site."""
    description: str = ""
    """One paragraph for the home page: what was studied and why."""
    repository: str = ""
    """Address of the repository, for links."""
    site_url: str = ""
    """Address at which the site will be published."""
    channels: list[str] | int | None = None
    """Publish a subset: globs over ids, or how many."""
    preset: Literal["auto", "full", "compact"] = "auto"
    """``full`` shows every example that was kept; ``compact`` fewer and shorter ones, so that tens of thousands of pages fit;
    ``auto`` is ``full`` up to 2,000 published channels (docs/shards.md)."""
    panels: list[str] | None = None
    """Panels to show, in order; all when absent."""
    picked: list[str] = []
    """Ids shown as cards on the home page; the most skewed when empty."""
    branch: str = "main"
    """Branch of the repository to which labels are proposed."""
    authors: list[str] = []
    """Whom a citation names."""
    date: str = ""
    """Day of publication for citations, ``2026-11-22``."""
    discussions: str = ""
    """Address of the discussions, for instance https://github.com/owner/name/discussions; every page then has a link."""
    giscus: GiscusTable | None = None
    """Comments on a page of their own, loaded after a click."""
    cards: Count = 500
    """Most pictures for link previews: of picked channels, then of labelled ones."""
    bundle: list[Literal["tables", "attention", "figures", "animation", "report", "provenance"]] = []
    """Parts of the bundle that the site offers for download (docs/export.md); none when empty. ``tables``, ``attention`` and
    ``provenance`` take seconds, ``figures`` and what is made of them about half a second per chart."""
    compare_with: list[OtherRunTable] = []
    """Other runs: checkpoints of one training, other seeds, other adapters."""


class RunConfig(Table):
    """A whole run file."""

    name: str = "run"
    """Name of the run."""
    collection: str = "lora"
    """First part of the adapter's channel ids."""
    seed: int = 0
    """Seed of everything that is sampled by hash."""
    model: ModelTable
    corpus: CorpusTable
    extract: ExtractTable = ExtractTable()
    summarize: SummarizeTable = SummarizeTable()
    publish: PublishTable = PublishTable()
    collections: list[CollectionTable] = []
    """Dictionaries over the adapter's activations."""
    effects: EffectsTable | None = None
    """Effects of single channels, which need the model again; none when absent."""
    analyze: AnalyzeTable | None = None
    """Analysis of the model's layers, attention and predictions; none when absent."""

    @model_validator(mode="after")
    def _names_are_free(self) -> "RunConfig":
        names = [self.collection, *(c.name for c in self.collections)]
        for name in names:
            if name in RESERVED or not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
                raise ValueError(
                    f"collection {name!r} cannot be used: take letters, digits, - and _, and none of {', '.join(RESERVED)}"
                )
        for table in self.collections:
            if self.model.adapter is None and {"base", "adapted"} <= set(table.models):
                raise ValueError(
                    f"collection {table.name!r} reads base and adapted, and model.adapter is not given"
                )
        if len({name.lower() for name in names}) < len(names):
            raise ValueError(f"collections need different names; these are {', '.join(names)}")
        return self


def load_run(path: Path) -> RunConfig:
    """Reads and checks a run file. Relative paths in it mean relative to the file.

    Raises:
        FeaturebookError: missing, not TOML, an unknown key (the nearest known one is named), a wrong value.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FeaturebookError(f"The run file {path} does not exist. Examples: generator/runs/.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FeaturebookError(f"{path} is not valid TOML: {error}.") from None
    try:
        config = RunConfig.model_validate(raw)
    except ValidationError as error:
        raise FeaturebookError(_explain(path, error)) from None
    return _with_absolute_paths(config, path.parent.resolve())


def _explain(path: Path, error: ValidationError) -> str:
    lines = []
    for e in error.errors():
        where = ".".join(str(part) for part in e["loc"])
        if e["type"] == "extra_forbidden":
            known = _table_at(e["loc"][:-1]).model_fields
            lines.append(f"unknown key {where!r}. {nearest(str(e['loc'][-1]), known)}")
        elif e["type"] == "missing":
            lines.append(f"{where!r} is missing")
        else:
            value = "" if isinstance(e["input"], dict) else f" (got {e['input']!r})"
            lines.append(f"{where + ': ' if where else ''}{e['msg'].removeprefix('Value error, ')}{value}")
    return f"{path}: " + "; ".join(lines)


def _table_at(location: tuple[Any, ...]) -> type[BaseModel]:
    table: type[BaseModel] = RunConfig
    for part in location:
        if part in table.model_fields:
            table = nested_table(table.model_fields[part].annotation) or table
    return table


def nested_table(annotation: Any) -> type[BaseModel] | None:
    """The table in an annotation such as ``list[CollectionTable]`` or ``TrainTable | None``."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _with_absolute_paths(config: RunConfig, folder: Path) -> RunConfig:
    """Resolves what exists beside the run file, or was plainly meant as a path; the rest are hub ids."""

    def resolve(value: str) -> str:
        path = Path(value).expanduser()
        meant = value.startswith((".", "/", "~")) or (folder / path).exists() or "*" in value
        return str((folder / path).resolve()) if meant else value

    model = config.model.model_copy(
        update={
            "base": resolve(config.model.base),
            "adapter": None if config.model.adapter is None else resolve(config.model.adapter),
        }
    )
    source = config.corpus.source
    if source.endswith((".jsonl", ".json", ".parquet", ".txt")):
        source = _as_path(source)
    corpus = config.corpus.model_copy(update={"source": resolve(source)})
    collections = [
        c.model_copy(
            update={
                "path": c.path and resolve(c.path),
                "models": [m if m in ("base", "adapted") else resolve(m) for m in c.models],
            }
        )
        for c in config.collections
    ]
    others = [o.model_copy(update={"build": resolve(_as_path(o.build))}) for o in config.publish.compare_with]
    publish = config.publish.model_copy(update={"compare_with": others})
    update: dict[str, Any] = {
        "model": model,
        "corpus": corpus,
        "collections": collections,
        "publish": publish,
    }
    if config.analyze:
        update["analyze"] = _resolve_analysis(config.analyze, resolve)
    return config.model_copy(update=update)


def _as_path(value: str) -> str:
    return value if value.startswith((".", "/", "~")) else f"./{value}"


def _resolve_analysis(table: AnalyzeTable, resolve: Callable[[str], str]) -> AnalyzeTable:
    models = [
        m.model_copy(update={"base": resolve(m.base), "adapter": m.adapter and resolve(m.adapter)})
        for m in table.models
    ]
    prompts = resolve(_as_path(table.prompts)) if isinstance(table.prompts, str) else table.prompts
    return table.model_copy(update={"models": models, "prompts": prompts})
