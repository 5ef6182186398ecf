"""Fixtures: a small corpus file, and toy models with adapters, made once a session."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.measure.toys import TEXTS, Toy, save_adapter, save_base


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight small documents of very different kinds as JSON lines."""
    path = tmp_path_factory.mktemp("corpus") / "texts.jsonl"
    rows = [{"text": text, "kind": f"k{i % 3}", "n": i} for i, text in enumerate(TEXTS)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.fixture(scope="session")
def make_toy(tmp_path_factory: pytest.TempPathFactory, corpus_file: Path) -> Callable[..., Toy]:
    """Makes toys; equal arguments give the same folders."""
    made: dict[str, Path] = {}

    def make(family: str = "qwen2", *, dtype: torch.dtype = torch.float32, changes: dict[str, Any] | None = None,
             **adapter: Any) -> Toy:  # fmt: skip
        base_key = f"{family} {dtype} {changes}"
        if base_key not in made:
            made[base_key] = save_base(tmp_path_factory.mktemp("base"), family, dtype, **(changes or {}))
        key = f"{base_key} {sorted(adapter.items())}"
        if key not in made:
            made[key] = save_adapter(tmp_path_factory.mktemp("adapter"), made[base_key], family, **adapter)
        return Toy(made[base_key], made[key], corpus_file)

    return make
