"""A checkpoint that does not fit is refused with what was found and what was expected."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from generator.errors import FeaturebookError
from generator.measure.dictionaries import LoadOptions, load_dictionary
from tests.measure_dictionaries.checkpoints import CASES as ONE_PLACE
from tests.measure_dictionaries.checkpoints import D_IN, N, draw, write_saelens
from tests.measure_dictionaries.crosscoders import CROSSCODERS

CASES = ONE_PLACE | CROSSCODERS


def refuse(path: Path, format: str, *words: str, d_in: int | None = None, **options: object) -> None:
    with pytest.raises(FeaturebookError) as caught:
        load_dictionary(path, format, d_in=d_in, options=LoadOptions(**options))
    for word in words:
        assert word in str(caught.value), str(caught.value)


def make(case: str, folder: Path) -> Path:
    return CASES[case].make(folder).path


def edit_cfg(path: Path, **values: object) -> None:
    cfg = json.loads((path / "cfg.json").read_text())
    (path / "cfg.json").write_text(json.dumps({**cfg, **values}))


def edit_tensors(path: Path, change: Callable[[dict], None]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file({name: t.contiguous() for name, t in tensors.items()}, path)


def test_an_unknown_format_names_the_nearest(tmp_path: Path) -> None:
    refuse(tmp_path, "saelense", "'saelense'", "Did you mean saelens")


def test_a_path_that_does_not_exist(tmp_path: Path) -> None:
    refuse(tmp_path / "nowhere", "saelens", "nowhere does not exist")


@pytest.mark.parametrize("case", CASES)
def test_the_width_of_the_input_is_compared(case: str, tmp_path: Path) -> None:
    checkpoint = CASES[case]
    refuse(
        checkpoint.make(tmp_path).path,
        checkpoint.format,
        f"reads {D_IN} values",
        "has 448",
        d_in=448,
        **vars(checkpoint.options),
    )


def test_a_checkpoint_for_another_adapter_subset_says_which(tmp_path: Path) -> None:
    refuse(make("rank1_lora, k per token", tmp_path), "rank1_lora", "gate_proj", "up_proj", d_in=448)


def test_a_transposed_matrix_is_named_so(tmp_path: Path) -> None:
    path = make("saelens standard", tmp_path)
    edit_tensors(path / "sae_weights.safetensors", lambda t: t.update(W_enc=t["W_enc"].T))
    refuse(path, "saelens", f"W_enc in {path}", f"({N}, {D_IN})", f"({D_IN}, {N})", "transposed")


def test_sparsifys_decoder_the_wrong_way_round(tmp_path: Path) -> None:
    path = make("sparsify topk", tmp_path)
    edit_tensors(path / "sae.safetensors", lambda t: t.update(W_dec=t["W_dec"].T))
    refuse(path, "sparsify", "W_dec", "transposed")


def test_cfg_of_another_width(tmp_path: Path) -> None:
    path = make("saelens jumprelu", tmp_path)
    edit_cfg(path, d_in=D_IN + 1)
    refuse(path, "saelens", f"d_in {D_IN + 1}", f"({D_IN}, {N})")


@pytest.mark.parametrize("architecture", ["xyz", "temporal", "jumprel"])
def test_an_unknown_architecture_lists_the_known(architecture: str, tmp_path: Path) -> None:
    path = make("saelens standard", tmp_path)
    edit_cfg(path, architecture=architecture)
    refuse(path, "saelens", repr(architecture), "jumprelu" if architecture == "jumprel" else "standard")


def test_missing_tensors_list_what_is_there(tmp_path: Path) -> None:
    path = make("saelens jumprelu", tmp_path)
    edit_tensors(path / "sae_weights.safetensors", lambda t: t.pop("threshold"))
    refuse(path, "saelens", "lacks threshold", "W_enc")


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    path = make("saelens standard", tmp_path)
    edit_tensors(path / "sae_weights.safetensors", lambda t: t["b_enc"].fill_(float("nan")))
    refuse(path, "saelens", "b_enc", "not finite")


def test_topk_without_k(tmp_path: Path) -> None:
    path = make("saelens topk", tmp_path)
    edit_cfg(path, k=None)
    refuse(path, "saelens", "k = None")


def test_k_larger_than_the_dictionary(tmp_path: Path) -> None:
    path = make("saelens topk", tmp_path)
    edit_cfg(path, k=N + 1)
    refuse(path, "saelens", f"k = {N + 1}", f"{N} latents")


def test_a_scaling_factor_that_does_something(tmp_path: Path) -> None:
    path = make("saelens before version 6", tmp_path)
    edit_tensors(path / "sae_weights.safetensors", lambda t: t["scaling_factor"].mul_(2))
    refuse(path, "saelens", "scaling_factor")


def test_the_wrong_format_says_what_is_in_the_folder(tmp_path: Path) -> None:
    path = make("saelens standard", tmp_path)
    refuse(path, "gemma_scope", "params.npz", "sae_weights.safetensors")
    refuse(path, "sparsify", "sae.safetensors", "sae_weights.safetensors")


CORRUPT = {
    "saelens standard": "sae_weights.safetensors",
    "sparsify topk": "sae.safetensors",
    "dictionary_learning AutoEncoder": "ae.pt",
    "gemma_scope": "params.npz",
    "gemma_scope_2": "params.safetensors",
    "openai TopK": "autoencoder.pt",
}


@pytest.mark.parametrize("case", CORRUPT)
@pytest.mark.parametrize("damage", ["half", "noise", "empty"])
def test_a_damaged_file(case: str, damage: str, tmp_path: Path) -> None:
    path = make(case, tmp_path)
    file = path / CORRUPT[case]
    content = file.read_bytes()
    noise = np.random.default_rng(0).bytes(1000)
    file.write_bytes({"half": content[: len(content) // 2], "noise": noise, "empty": b""}[damage])
    refuse(path, CASES[case].format, str(file))


class Surprise:
    """A class of the file's author."""


def test_pickled_classes_are_named_and_never_made(tmp_path: Path) -> None:
    torch.save({"model_state_dict": {}, "config": Surprise()}, tmp_path / "trained_sae.pt")
    refuse(tmp_path, "rank1_lora", "pickled", "Surprise")


class Attack:
    """Writes a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.write_text, (self.path, "run")


@pytest.mark.parametrize("format", ["openai", "dictionary_learning", "rank1_lora"])
def test_nothing_in_a_file_is_run(format: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    torch.save({"encoder.weight": Attack(mark)}, tmp_path / "ae.pt")
    refuse(tmp_path / "ae.pt", format, "pickled")
    assert not mark.exists()


def test_an_npz_of_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "params.npz", W_enc=np.array([{"a": 1}], object))
    refuse(tmp_path, "gemma_scope", "pickled")


def test_numpy_numbers_among_the_metrics_are_fine(tmp_path: Path) -> None:
    """As the rank-1 project's trainer leaves them; see ``final_metrics`` in ``checkpoints.rank1_lora``."""
    path = make("rank1_lora, k per token", tmp_path)
    assert load_dictionary(path, "rank1_lora").notes["reads"] == ["gate_proj", "up_proj"]


def test_square_matrices_need_a_word(tmp_path: Path) -> None:
    arrays = draw(W_enc=(8, 8), W_dec=(8, 8), b_enc=(8,), b_dec=(8,), threshold=(8,))
    np.savez(tmp_path / "params.npz", **{name: t.numpy() for name, t in arrays.items()})
    refuse(tmp_path, "gemma_scope", "as many latents as inputs (8)", "is_square")
    dictionary = load_dictionary(tmp_path, "gemma_scope", options=LoadOptions(is_square=True))
    assert torch.equal(dictionary.W_enc, arrays["W_enc"].T)


def test_classes_with_the_same_tensors_must_be_named(tmp_path: Path) -> None:
    path = make("dictionary_learning BatchTopKSAE", tmp_path)
    (path / "config.json").unlink()
    refuse(path, "dictionary_learning", "fit several classes", "BatchTopKSAE")
    assert (
        load_dictionary(path, "dictionary_learning", options=LoadOptions("BatchTopKSAE")).kind == "jumprelu"
    )


IMPLIED = {
    "dictionary_learning AutoEncoder": "relu",
    "dictionary_learning AutoEncoderNew": "relu",
    "dictionary_learning GatedAutoEncoder": "gated",
    "dictionary_learning JumpReluAutoEncoder": "jumprelu",
    "dictionary_learning MatryoshkaBatchTopKSAE": "jumprelu",
}


@pytest.mark.parametrize("case", IMPLIED)
def test_other_classes_are_told_by_their_tensors(case: str, tmp_path: Path) -> None:
    path = make(case, tmp_path)
    (path / "config.json").unlink()
    dictionary = load_dictionary(path, "dictionary_learning")
    assert (dictionary.notes["architecture"], dictionary.kind) == (case.split()[1], IMPLIED[case])


def test_a_cross_layer_transcoder(tmp_path: Path) -> None:
    path = make("gemma_scope_2", tmp_path)
    edit_tensors(path / "params.safetensors", lambda t: t.update(w_dec=t["w_dec"][:, None].repeat(1, 3, 1)))
    refuse(path, "gemma_scope_2", "3 axes")


def test_threshold_selection_without_a_threshold(tmp_path: Path) -> None:
    refuse(
        make("rank1_lora, k per token", tmp_path), "rank1_lora", "holds no threshold", selection="threshold"
    )


def test_inputs_of_another_width(tmp_path: Path) -> None:
    dictionary = load_dictionary(make("saelens standard", tmp_path), "saelens")
    with pytest.raises(FeaturebookError, match=re.escape(f"reads {D_IN} values per token and got 5")):
        dictionary.prepare(torch.zeros(3, 5))


def test_an_average_norm_factor_is_folded_or_noted(tmp_path: Path) -> None:
    tensors = draw(W_enc=(D_IN, N), W_dec=(N, D_IN), b_dec=(D_IN,), b_enc=(N,))
    cfg = {"d_in": D_IN, "d_sae": N, "normalize_activations": True, "apply_b_dec_to_input": False}
    path = write_saelens(tmp_path, tensors, cfg).path
    plain = load_dictionary(path, "saelens")
    folded = load_dictionary(path, "saelens", options=LoadOptions(input_factor=2.0))
    x = torch.randn(9, D_IN, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(folded.encode(x), plain.encode(2 * x))
    torch.testing.assert_close(folded.reconstruct(x), plain.reconstruct(2 * x) / 2)
    assert "not in the file" in plain.notes["input_factor"]
