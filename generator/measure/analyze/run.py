"""The stage ``analyze``: every model of the run file on the corpus, on single documents and on prompts."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from generator.artifacts import content_key, path_key, read_json, to_json, write_bytes
from generator.blocks import Corpus
from generator.config import AnalyzedModel, AnalyzeTable, ModelTable, RunConfig
from generator.errors import FeaturebookError
from generator.findings import save_findings
from generator.measure.analyze.ablation import AblationSettings, choose_documents
from generator.measure.analyze.anatomy import study
from generator.measure.analyze.heads import HeadSettings, check_attention
from generator.measure.analyze.layers import GeometrySettings
from generator.measure.analyze.report import Reader, TextSettings
from generator.measure.analyze.stage import (
    SCHEMA,
    AnalysisSettings,
    ablation_findings,
    analyze,
    analyze_text,
    divergence_summary,
)
from generator.measure.analyze.tail import check_head
from generator.measure.analyze.texts import (
    Text,
    choose_texts,
    read_document,
    read_prompt,
    read_prompts,
)
from generator.measure.corpus import build_corpus, context_length, load_tokenizer
from generator.measure.model import load_model
from generator.measure.names import public_name
from generator.measure.vocabulary import special_tokens, token_bytes
from generator.progress import Progress

MAIN = "main"
"""The name of the run's own model among those that are analysed."""


@dataclass(frozen=True)
class Subject:
    """One model to be analysed, before it is loaded."""

    name: str
    config: RunConfig
    """The run with this model as its own."""

    @property
    def key(self) -> str:
        """Of its weights."""
        return content_key(SCHEMA, model_key(self.config.model))


def model_key(model: ModelTable) -> Any:
    """What a model's numbers depend on: its files and how they are read, not where it runs."""
    return [
        model.model_dump(exclude={"device", "base", "adapter"}),
        path_key(model.base),
        path_key(model.adapter) if model.adapter else None,
    ]


def subjects(config: RunConfig) -> list[Subject]:
    """The run's own model and those of ``[[analyze.models]]``."""
    found = [Subject(MAIN, config)]
    for extra in table_of(config).models:
        found.append(Subject(extra.name, config.model_copy(update={"model": _model_table(config, extra)})))
    return found


def table_of(config: RunConfig) -> AnalyzeTable:
    """The table ``[analyze]``, or its defaults where the run file has none."""
    return config.analyze or AnalyzeTable()


def _model_table(config: RunConfig, extra: AnalyzedModel) -> ModelTable:
    own = {"base": extra.base, "adapter": extra.adapter, "revision": extra.revision}
    return config.model.model_copy(update=own | {"adapter_name": "", "adapter_revision": None})


def settings_of(config: RunConfig) -> AnalysisSettings:
    """The settings of all parts, from the run file."""
    table, seed = table_of(config), config.seed
    geometry = GeometrySettings(table.threshold, table.sample_tokens, seed, batch_tokens=table.batch_tokens)
    return AnalysisSettings(
        geometry=geometry,
        heads=HeadSettings(
            batch_tokens=max(table.batch_tokens // 4, 1),
            max_tokens=table.head_tokens,
            period=table.repeat_length,
            seed=seed,
        ),
        ablation=AblationSettings(
            n_documents=table.ablation_documents,
            batch_tokens=table.ablation_batch_tokens,
            parts_per_pass=table.parts_per_pass,
            basis=config.extract.basis,
            collection=config.collection,
            seed=seed,
        ),
        text=TextSettings(
            attention_tokens=table.attention_tokens,
            top_tokens=table.top_tokens,
            continuations=table.continuations,
            continuation_tokens=table.continuation_tokens,
            temperature=table.temperature,
            top_k=table.top_k,
            nodes=table.nodes,
            max_nodes=table.max_nodes,
            seed=seed,
            geometry=geometry,
        ),
        corpus_documents=table.corpus_documents,
        head_documents=table.head_documents,
        divergence_tokens=max(table.batch_tokens // 8, 1),
        n_clusters=table.clusters,
        parts=tuple(table.parts),
        seed=seed,
    )


def analyze_run(
    config: RunConfig, corpus: Corpus, folder: Path, corpus_key: str, docs: Sequence[int], progress: Progress
) -> dict[str, Any]:
    """Writes ``build/analysis/``: the index, findings, and a folder for each model.

    Args:
        config: The run.
        corpus: The run's own.
        folder: The stage's.
        corpus_key: Of the corpus's content.
        docs: Documents with a page, in the order in which they get a divergence.
        progress: Advances by tokens.

    Returns:
        Facts for the manifest.
    """
    table, settings = table_of(config), settings_of(config)
    texts = read_prompts(table.prompts) if "texts" in table.parts else []
    if "texts" in table.parts:
        n = table.documents
        texts += choose_texts(corpus, choose_documents(corpus, n, config.seed) if isinstance(n, int) else n)
    entries = []
    for subject in subjects(config):
        own = corpus if subject.name == MAIN else build_corpus(subject.config, progress)
        work = _Work(subject, settings, folder / subject.name, progress)
        entries.append(work.run(own, corpus, corpus_key, texts, docs))
        _remove_others(folder / subject.name, {text.id for text in texts})
    _write_index(folder, entries, texts, config)
    known = {subject.name for subject in subjects(config)}
    for path in folder.iterdir():
        if path.is_dir() and path.name not in known:
            shutil.rmtree(path)
    return {
        "n_models": len(entries),
        "n_texts": len(texts),
        "parts": {e["name"]: e["parts"] for e in entries},
    }


def analyze_prompts(
    config: RunConfig, prompts: Sequence[str], folder: Path, progress: Progress
) -> list[Text]:
    """Adds prompts to what lies in the folder, without reading the corpus.

    Args:
        config: The run; its ``[analyze]`` says which models and how.
        prompts: The texts.
        folder: ``build/analysis``.
        progress: Advances by tokens.

    Raises:
        FeaturebookError: a prompt is empty, or a model cannot be loaded.
    """
    texts, settings = read_prompts(list(prompts)), settings_of(config)
    before = _index(folder)
    known = {entry["name"]: entry for entry in before.get("models", [])}
    entries = []
    for subject in subjects(config):
        entry = _Work(subject, settings, folder / subject.name, progress).run_texts(texts)
        old = known.get(subject.name, {})
        added = [t.id for t in texts if t.id not in old.get("texts", [])]
        entries.append(entry | old | {"texts": [*old.get("texts", []), *added]})
    listed = {row["id"]: row for row in before.get("texts", [])}
    all_texts = [Text(**row) for row in listed.values()] + [t for t in texts if t.id not in listed]
    _write_index(folder, entries, all_texts, config)
    return texts


@dataclass(frozen=True)
class _Work:
    subject: Subject
    settings: AnalysisSettings
    folder: Path
    progress: Progress

    def run(
        self, corpus: Corpus, main: Corpus, corpus_key: str, texts: list[Text], docs: Sequence[int]
    ) -> dict[str, Any]:
        """Everything of one model; returns its entry of the index."""
        reader = self._load()
        key = content_key(self.subject.key, corpus_key, self._corpus_settings())
        own_docs = self._own(corpus, main, docs)
        facts = analyze(
            reader.model, corpus, self.settings, self.folder, key, self.progress, docs=list(own_docs.values())
        )
        if texts:
            facts["texts"] = self._texts(reader, texts, partial(self._read, reader, corpus, main))
        if self.subject.name == MAIN and "ablation" in facts:
            content = read_json(self.folder / "ablation.json")
            findings = ablation_findings(content)
            target = self.folder.parent / "ablation.h5"
            target.unlink(missing_ok=True)
            if findings:
                save_findings(target, "ablation", findings, {"method": content["method"]})
        rows = divergence_summary(self.folder, corpus, list(own_docs.values()))
        _keep_only(self.folder / "divergence", {f"{doc}.json" for doc in own_docs.values()})
        counts = {"n_documents": corpus.n_docs, "n_tokens": corpus.n_tokens, "divergence": rows}
        return self._entry(reader, texts, facts) | counts

    def run_texts(self, texts: list[Text]) -> dict[str, Any]:
        """Prompts alone."""
        reader = self._load()
        state = self._texts(reader, texts, partial(self._read, reader, None, None))
        return self._entry(reader, texts, {"texts": state})

    def _texts(self, reader: Reader, texts: list[Text], read: Callable[..., Any]) -> str:
        states = [
            analyze_text(
                reader, text, partial(read, text), self.settings, self.folder, self.subject.key, self.progress
            )
            for text in texts
        ]
        refused = [state for state in states if state != "done"]
        return "done" if len(refused) < len(states) else refused[0]

    def _read(self, reader: Reader, corpus: Corpus | None, main: Corpus | None, text: Text) -> Any:
        table = self.subject.config.corpus
        if text.text is not None:
            return read_prompt(
                text.text,
                reader.tokenizer,
                is_masked=reader.is_masked,
                add_special_tokens=table.add_special_tokens,
            )
        assert corpus is not None and main is not None and text.doc is not None
        most = min(table_of(self.subject.config).text_tokens, reader.context or 2**31)
        own = self._own(corpus, main, [text.doc])
        if not own:
            raise FeaturebookError(
                f"The document {text.name!r} is not among those that this model's tokenizer reads."
            )
        return read_document(corpus, own[text.doc], most)

    def _own(self, corpus: Corpus, main: Corpus, docs: Sequence[int]) -> dict[int, int]:
        """Document of the run's corpus -> the same one in this model's, which may lack some that are too short for it."""
        if corpus is main or corpus.doc_names == main.doc_names:
            return {int(doc): int(doc) for doc in docs}
        number = {name: i for i, name in enumerate(corpus.doc_names)}
        return {int(d): number[main.doc_names[d]] for d in docs if main.doc_names[d] in number}

    def _load(self) -> Reader:
        config = self.subject.config
        model = load_model(config.model, self.progress, seed=config.seed).model.requires_grad_(False)
        tokenizer = load_tokenizer(config)
        vocabulary = token_bytes(tokenizer)
        return Reader(
            model,
            study(model),
            tokenizer,
            vocabulary,
            special_tokens(tokenizer, len(vocabulary)),
            context_length(config, tokenizer),
        )

    def _corpus_settings(self) -> Any:
        """What this model's tokens depend on beside the run's corpus."""
        return path_key(self.subject.config.model.base, weights=False)

    def _entry(self, reader: Reader, texts: list[Text], facts: dict[str, Any]) -> dict[str, Any]:
        anatomy, model = reader.anatomy, self.subject.config.model
        parameters = {n: p for n, p in anatomy.model.named_parameters() if "lora_" not in n}
        return {
            "name": self.subject.name,
            "base": public_name(model.base),
            "adapter": public_name(model.adapter) if model.adapter else None,
            "architecture": type(anatomy.model).__name__,
            "kind": _kind(reader),
            "variants": reader.variants,
            "n_layers": anatomy.n_layers,
            "n_heads": _n_heads(reader),
            "d": int(anatomy.config.hidden_size),
            "n_parameters": sum(p.numel() for p in parameters.values()),
            "context": reader.context,
            "parts": facts,
            "texts": [text.id for text in texts],
        }


def _kind(reader: Reader) -> str:
    try:
        check_head(reader.anatomy)
    except FeaturebookError:
        return "none"
    return "masked" if reader.is_masked else "causal"


def _n_heads(reader: Reader) -> int | None:
    try:
        return check_attention(reader.anatomy)[1]
    except FeaturebookError:
        return None


def _write_index(folder: Path, entries: list[dict[str, Any]], texts: list[Text], config: RunConfig) -> None:
    settings = table_of(config).model_dump(exclude={"prompts", "models"})
    content = {"models": entries, "texts": [text.as_json() for text in texts], "settings": settings}
    write_bytes(folder / "analysis.json", to_json(content | {"schema": SCHEMA, "key": content_key(content)}))


def _index(folder: Path) -> dict[str, Any]:
    try:
        return read_json(folder / "analysis.json")
    except FeaturebookError:
        return {}


def _remove_others(folder: Path, kept: set[str]) -> None:
    """Files of texts that are no longer asked for."""
    _keep_only(folder / "texts", kept | {f"{name}.json" for name in kept})


def _keep_only(folder: Path, names: set[str]) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in names:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
