"""Every format against its formula in float64 and against the original library's own ``encode``."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

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


def as_half(value: object) -> object:
    """Weights in half precision; bfloat16 where the file can hold it."""
    if isinstance(value, dict):
        return {name: as_half(v) for name, v in value.items()}
    is_weight = isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim
    return value.bfloat16() if is_weight else value


def store_in_half(folder: Path, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rewrites the checkpoint's file; the oracle's arrays, rounded the same way."""
    (target,) = (p for p in folder.rglob("*") if p.suffix in (".safetensors", ".npz", ".pt"))
    if target.suffix == ".npz":
        np.savez(target, **{k: v.astype(np.float16) for k, v in np.load(target).items()})
        return {k: v.astype(np.float16).astype(np.float64) for k, v in arrays.items()}
    if target.suffix == ".safetensors":
        save_file(as_half(load_file(target)), target)
    else:
        torch.save(as_half(torch.load(target, weights_only=False)), target)
    rounded = as_half({k: torch.from_numpy(np.array(v)) for k, v in arrays.items()})
    return {k: v.double().numpy() for k, v in rounded.items()}


@pytest.mark.parametrize("case", ONE_PLACE.values(), ids=ONE_PLACE.keys())
def test_weights_in_half_precision(case: Case, tmp_path: Path) -> None:
    checkpoint = case.make(tmp_path)
    arrays = store_in_half(tmp_path, checkpoint.arrays)
    dictionary = load_dictionary(checkpoint.path, case.format, d_in=D_IN, options=case.options)
    x = inputs()
    wanted = case.formula(arrays, x.double().numpy())
    np.testing.assert_allclose(dictionary.encode(x).numpy(), wanted, rtol=2e-5, atol=2e-5)


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


def test_saelens_topk_of_before_version_6_that_names_its_architecture(tmp_path: Path) -> None:
    """``architecture`` was written beside ``activation_fn_kwargs`` for a while."""
    path = CASES["saelens before version 6"].make(tmp_path).path
    cfg = json.loads((path / "cfg.json").read_text())
    del cfg["activation_fn_str"]
    (path / "cfg.json").write_text(json.dumps({**cfg, "architecture": "topk"}))
    assert load_dictionary(path, "saelens").activation.k == 5
