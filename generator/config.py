"""The run file: TOML, checked before anything runs.

The attribute docstrings below are the only statement of an option: type, default, unit, help. docs/run-file.md is
written from them.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from generator.errors import FeaturebookError, nearest

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


class Table(BaseModel):
    """A table of the run file: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ModelTable(Table):
    """``[model]``: the language model and its adapter."""

    base: str
    """Folder or Hugging Face hub id of the base model."""
    adapter: str
    """Folder or hub id of the PEFT LoRA adapter."""
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
    neighbours: Positive = 10
    """Nearest channels per list."""
    exact_correlations: Count = 8000
    """Correlations are exact up to this many channels of a collection; beyond, computed on candidates and marked so."""
    documents: Count = 400
    """Documents, chosen by hash, that get a page of their own."""
    document_megabytes: float = 20.0
    """Cap on the memory of these documents' values."""


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
    panels: list[str] | None = None
    """Panels to show, in order; all when absent."""
    picked: list[str] = []
    """Ids shown as cards on the home page; the most skewed when empty."""


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

    @model_validator(mode="after")
    def _collection_is_free(self) -> "RunConfig":
        if (
            self.collection in ("layer", "doc")
            or not self.collection.replace("-", "").replace("_", "").isalnum()
        ):
            raise ValueError(
                f"collection = {self.collection!r} cannot be used: take letters, digits, - and _, and neither layer nor doc"
            )
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
        annotation = table.model_fields[part].annotation if part in table.model_fields else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            table = annotation
    return table


def _with_absolute_paths(config: RunConfig, folder: Path) -> RunConfig:
    """Resolves what exists beside the run file, or was plainly meant as a path; the rest are hub ids."""

    def resolve(value: str) -> str:
        path = Path(value).expanduser()
        meant = value.startswith((".", "/", "~")) or (folder / path).exists() or "*" in value
        return str((folder / path).resolve()) if meant else value

    model = config.model.model_copy(
        update={"base": resolve(config.model.base), "adapter": resolve(config.model.adapter)}
    )
    source = config.corpus.source
    if source.endswith((".jsonl", ".json", ".parquet", ".txt")):
        source = f"./{source}" if not source.startswith((".", "/", "~")) else source
    corpus = config.corpus.model_copy(update={"source": resolve(source)})
    return config.model_copy(update={"model": model, "corpus": corpus})
