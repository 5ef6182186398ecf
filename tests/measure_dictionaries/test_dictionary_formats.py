"""Every format against its formula in float64 and against the original library's own ``encode``."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from generator.measure.dictionaries import FORMATS, Dictionary, load_dictionary
from tests.measure_dictionaries.checkpoints import CASES as ONE_PLACE
from tests.measure_dictionaries.checkpoints import D_IN, Case, N, inputs
from tests.measure_dictionaries.crosscoders import CROSSCODERS

CASES = ONE_PLACE | CROSSCODERS

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def load(case: Case, folder: Path) -> tuple[Dictionary, dict[str, np.ndarray]]:
    checkpoint = case.make(folder)
    dictionary = load_dictionary(checkpoint.path, case.format, d_in=D_IN, options=case.options)
    return dictionary, checkpoint.arrays


def test_every_format_has_a_case() -> None:
    assert {case.format for case in CASES.values()} == set(FORMATS)


@each_case
def test_equals_the_formula_in_float64(case: Case, tmp_path: Path) -> None:
    dictionary, arrays = load(case, tmp_path)
    x = inputs()
    wanted = case.formula(arrays, x.double().numpy())
    assert (wanted != 0).any(1).mean() > 0.5, "the case tests nothing"
    np.testing.assert_allclose(dictionary.encode(x).numpy(), wanted, rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(dictionary.encode_sparse(x).dense(N).numpy(), wanted, rtol=2e-5, atol=2e-5)


@each_case
def test_equals_the_library(case: Case, tmp_path: Path) -> None:
    checkpoint = case.make(tmp_path)
    if checkpoint.library is None:
        pytest.skip("this format has no library that installs here")
    dictionary = load_dictionary(checkpoint.path, case.format, options=case.options)
    x = inputs()
    with torch.no_grad():
        wanted = checkpoint.library(x).float()
    np.testing.assert_allclose(dictionary.encode(x).numpy(), wanted.numpy(), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.output])
def test_reconstruction_equals_the_formula(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    dictionary, arrays = load(case, tmp_path)
    x = inputs()
    latents = case.formula(arrays, x.double().numpy())
    wanted = case.output(arrays, latents, x.double().numpy())
    assert dictionary.d_out == case.d_out
    np.testing.assert_allclose(dictionary.reconstruct(x).numpy(), wanted, rtol=1e-4, atol=1e-4)


@each_case
def test_a_token_never_depends_on_its_batch(case: Case, tmp_path: Path) -> None:
    dictionary, _ = load(case, tmp_path)
    x = inputs()
    together = dictionary.encode_sparse(x).dense(N)
    alone = torch.cat([dictionary.encode_sparse(row[None]).dense(N) for row in x])
    assert torch.equal(together, alone)


def test_saelens_says_when_the_weights_were_centred(tmp_path: Path) -> None:
    path = CASES["saelens standard"].make(tmp_path).path
    assert load_dictionary(path, "saelens").notes["remarks"] == []
    cfg = json.loads((path / "cfg.json").read_text())
    cfg["metadata"]["model_from_pretrained_kwargs"] = {"center_writing_weights": True}
    (path / "cfg.json").write_text(json.dumps(cfg))
    (remark,) = load_dictionary(path, "saelens").notes["remarks"]
    assert "is_centred = true" in remark
