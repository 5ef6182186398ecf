"""The table of checkpoint formats."""

from collections.abc import Callable
from pathlib import Path

from generator.errors import FeaturebookError, nearest
from generator.measure.dictionaries.crosscoder_learning import load_crosscoder_learning
from generator.measure.dictionaries.crosscoders import load_crosscoders, load_model_diff
from generator.measure.dictionaries.crosslayer_features import load_crosslayer_features
from generator.measure.dictionaries.dictionary import Dictionary
from generator.measure.dictionaries.dictionary_learning import load_dictionary_learning
from generator.measure.dictionaries.gemma_scope import load_gemma_scope
from generator.measure.dictionaries.gemma_scope_2 import load_gemma_scope_2
from generator.measure.dictionaries.openai import load_openai
from generator.measure.dictionaries.options import LoadOptions
from generator.measure.dictionaries.rank1_lora import load_rank1_lora
from generator.measure.dictionaries.saelens import load_saelens
from generator.measure.dictionaries.sparsify import load_sparsify

FORMATS: dict[str, Callable[[Path, LoadOptions], Dictionary]] = {
    "saelens": load_saelens,
    "sparsify": load_sparsify,
    "dictionary_learning": load_dictionary_learning,
    "gemma_scope": load_gemma_scope,
    "gemma_scope_2": load_gemma_scope_2,
    "openai": load_openai,
    "rank1_lora": load_rank1_lora,
    "crosscoders": load_crosscoders,
    "model_diff": load_model_diff,
    "crosscoder_learning": load_crosscoder_learning,
    "crosslayer_features": load_crosslayer_features,
}
"""Name in the run file -> loader. A new format is one file and one line here (and a paragraph in docs/dictionaries.md)."""


def load_dictionary(
    path: Path, format: str, *, d_in: int | None = None, options: LoadOptions | None = None
) -> Dictionary:
    """Reads a checkpoint from a folder or a file.

    Args:
        path: Where it lies.
        format: A name in ``FORMATS``.
        d_in: The width of what it shall read, when known.
        options: What the file does not say.

    Raises:
        FeaturebookError: unknown format, or the checkpoint does not fit; what was found and what was expected.
    """
    if format not in FORMATS:
        raise FeaturebookError(f"There is no checkpoint format {format!r}. {nearest(format, FORMATS)}")
    if not path.exists():
        raise FeaturebookError(f"The dictionary {path} does not exist.")
    options = options or LoadOptions()
    dictionary = FORMATS[format](path, options)
    if options.input_factor is not None and "input_factor" not in dictionary.notes:
        raise FeaturebookError(
            f"input_factor is given, but {path} says itself what its inputs are multiplied by. Leave input_factor out."
        )
    if d_in is not None and dictionary.d_in != d_in:
        reads = dictionary.notes.get("reads") or dictionary.notes.get("hook_name")
        raise FeaturebookError(
            f"The dictionary {path} reads {dictionary.d_in} values per token{f' ({reads})' if reads else ''}; "
            f"the input has {d_in}. It was trained on other channels or another model."
        )
    return dictionary
