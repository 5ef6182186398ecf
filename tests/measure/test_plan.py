"""``generator check``: what a run needs, without weights; and it fails where the run would."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from generator.errors import FeaturebookError
from generator.measure.plan import check
from tests.measure.toys import Toy


def test_plan_counts_channels_tokens_and_bytes(make_toy: Callable[..., Toy], monkeypatch: Any) -> None:
    toy = make_toy("qwen2", r=3)
    monkeypatch.setattr(torch.nn.Module, "__call__", lambda *a, **k: pytest.fail("check ran the model"))
    plan = check(toy.config(extract={"modules": ["mlp.*"], "dtype": "float16"}))
    corpus = toy.corpus()
    assert plan.n_channels == 3 * 3 * 3
    assert (plan.n_documents, plan.n_tokens) == (corpus.n_docs, corpus.n_tokens)
    assert plan.disk_bytes == corpus.n_tokens * 27 * 2
    assert plan.weight_bytes > 4 * 40_000 and plan.batch_bytes > 0 and plan.summary_bytes > 0
    text = "\n".join(plan.lines)
    assert "rank 3" in text and "gate_proj, up_proj, down_proj" in text and str(toy.base.parent) not in text
    assert check(toy.config(extract={"keep_activations": False})).disk_bytes == 0


def test_size_of_a_long_corpus_is_estimated(make_toy: Callable[..., Toy], tmp_path: Path) -> None:
    toy = make_toy("qwen2")
    rows = [{"text": f"row {i % 10} of a table"} for i in range(2000)]
    (tmp_path / "long.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    plan = check(toy.config(corpus={"source": str(tmp_path / "long.jsonl")}))
    assert plan.n_documents is not None and math.isclose(plan.n_documents, 2000, rel_tol=0.1)
    assert (
        check(toy.config(corpus={"source": str(tmp_path / "long.jsonl"), "max_documents": 100})).n_documents
        == 100
    )


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"corpus": {"text": "txt"}}, "no field 'txt'.*Did you mean text"),
        ({"corpus": {"source": "./gone.jsonl"}}, "does not exist"),
        ({"extract": {"modules": ["q_prj"]}}, "no adapted module matches 'q_prj'. Did you mean q_proj"),
        ({"corpus": {"max_tokens": 4096}}, "longer than the model's context of 128"),
        ({"model": {"base": "/nowhere/at/all"}}, "model.base = '/nowhere/at/all' does not exist"),
    ],
)
def test_check_fails_where_the_run_would(
    tables: dict[str, Any], message: str, make_toy: Callable[..., Toy]
) -> None:
    with pytest.raises(FeaturebookError, match=message):
        check(make_toy("qwen2").config(**tables))
