"""The models that a run's collections read: its own, with and without its adapter, and others on the same tokens."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from generator.blocks import Corpus
from generator.config import RunConfig
from generator.errors import FeaturebookError
from generator.measure.analyze.anatomy import adapter_off
from generator.measure.corpus import load_tokenizer
from generator.measure.lora import Recorder, Site, install, read_adapted
from generator.measure.model import LoadedModel, load_model
from generator.measure.names import public_name
from generator.measure.vocabulary import token_bytes
from generator.progress import Progress

OWN_MODELS = ("base", "adapted")
"""Names in ``models`` that mean the run's own model, its adapter off or on."""


class Models:
    """The models that a run's collections read, each loaded once, when it is asked for."""

    def __init__(self, config: RunConfig, corpus: Corpus, progress: Progress) -> None:
        """Loads nothing yet."""
        self.config, self.corpus, self.progress = config, corpus, progress
        self._loaded: dict[str, LoadedModel] = {}

    def get(self, name: str) -> LoadedModel:
        """The run's own model with its adapter in place, for ``base`` and ``adapted``, or another one.

        Raises:
            FeaturebookError: it cannot be loaded, or reads other tokens than the corpus holds.
        """
        key = "" if name in OWN_MODELS else name
        if key not in self._loaded:
            self._loaded[key] = self._load_own() if not key else self._load_other(name)
        return self._loaded[key]

    def variant(self, name: str) -> Callable[[], AbstractContextManager[Any]]:
        """The context in which the loaded model is the one asked for."""
        loaded = self.get(name)
        if name == "base" and loaded.adapter_name:
            return partial(adapter_off, loaded.model)
        return nullcontext

    def _load_own(self) -> LoadedModel:
        loaded = load_model(self.config.model, self.progress, seed=self.config.seed)
        if loaded.adapter_name:  # our forward: PEFT's own copies every input to float32
            modules = read_adapted(loaded.model, loaded.adapter_name, "rows")
            install([Site([module], [[]], Recorder()) for module in modules])
        return loaded

    def _load_other(self, name: str) -> LoadedModel:
        table = self.config.model.model_copy(
            update=dict.fromkeys(("adapter", "revision", "adapter_revision"))
            | {"base": name, "adapter_name": ""}
        )
        other = self.config.model_copy(update={"model": table})
        check_same_tokens(name, token_bytes(load_tokenizer(other)), self.corpus)
        loaded = load_model(table, self.progress, seed=self.config.seed)
        n_rows = loaded.model.get_input_embeddings().weight.shape[0]
        highest = int(self.corpus.token_ids.max(initial=0))
        if highest >= n_rows:
            raise FeaturebookError(
                f"The corpus holds token {highest}, and {public_name(name)!r} embeds only {n_rows} tokens. Two models are read in "
                "step on the same tokens, so they need the same tokenizer."
            )
        return loaded


def check_same_tokens(name: str, other: Sequence[bytes], corpus: Corpus) -> None:
    """Compares another model's vocabulary with the corpus's; entries that only the other has are fine.

    Raises:
        FeaturebookError: an entry stands for other bytes, with both; or it is missing.
    """
    for token, own in enumerate(corpus.token_bytes):
        theirs = other[token] if token < len(other) else None
        if own and theirs != own:
            found = "has no such token" if theirs is None else f"{theirs.decode('utf-8', 'replace')!r}"
            raise FeaturebookError(
                f"{public_name(name)!r} has another tokenizer: token {token} is {own.decode('utf-8', 'replace')!r} in the corpus, and "
                f"in that model {found}. Two models are read in step on the same tokens; take one with the same tokenizer."
            )
