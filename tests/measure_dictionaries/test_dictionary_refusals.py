"""A checkpoint that does not fit is refused with what was found and what was expected."""

import json
import re
import zipfile
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
    assert "not in the file" in plain.notes["remarks"][0] and "multiplied by 2" in folded.notes["remarks"][0]


# --- Files that claim more than they hold, and settings of another type ----------------------------------------


def test_a_view_that_claims_more_than_the_file_holds(tmp_path: Path) -> None:
    tensors = {
        "encoder.weight": torch.zeros(1).expand(10**7, 10**6),
        "decoder.weight": torch.zeros(1).expand(10**6, 10**7),
        "latent_bias": torch.zeros(1).expand(10**7),
        "pre_bias": torch.zeros(1).expand(10**6),
    }
    torch.save(tensors, tmp_path / "autoencoder.pt")
    assert (tmp_path / "autoencoder.pt").stat().st_size < 5000
    refuse(tmp_path, "openai", "encoder.weight", "claims 40,000,000,000,000 bytes", "holds 4 ")


@pytest.mark.parametrize("format, name", [("gemma_scope", "params.npz"), ("openai", "autoencoder.pt")])
def test_a_zip_that_unpacks_to_a_thousand_times_its_size(format: str, name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("W_enc.npy", bytes(3 * 10**8))
    refuse(tmp_path, format, "would unpack to 300,000,000")


@pytest.mark.parametrize("dtype, said", [(torch.int8, "torch.int8"), (torch.complex64, "torch.complex64")])
def test_numbers_that_are_no_weights(dtype: torch.dtype, said: str, tmp_path: Path) -> None:
    path = make("openai ReLU", tmp_path)
    content = torch.load(path / "autoencoder.pt", weights_only=True)
    content["encoder.weight"] = content["encoder.weight"].to(dtype)
    torch.save(content, path / "autoencoder.pt")
    refuse(path, "openai", "encoder.weight", said)


JUNK = [True, -1, 0, 2.5, 10**12, "x", "", [], [1, 2], {"a": 1}]


@pytest.mark.parametrize(
    "case, key",
    [
        ("saelens topk", "d_in"),
        ("saelens topk", "k"),
        ("saelens jumprelu", "d_sae"),
        ("saelens jumprelu", "architecture"),
        ("saelens jumprelu", "normalize_activations"),
        ("saelens transcoder", "d_out"),
        ("sparsify topk", "k"),
        ("sparsify topk", "d_in"),
    ],
)
def test_settings_of_another_type_are_named(case: str, key: str, tmp_path: Path) -> None:
    path = make(case, tmp_path)
    for junk in JUNK:
        edit_cfg(path, **{key: junk})
        refuse(path, CASES[case].format)
    edit_cfg(path, **{key: [1, 2]})
    refuse(path, CASES[case].format, "cfg.json", f"{key} = [1, 2]", "expected")


@pytest.mark.parametrize("key", ["metadata", "apply_b_dec_to_input"])
def test_other_settings_of_another_type(key: str, tmp_path: Path) -> None:
    path = make("saelens standard", tmp_path)
    edit_cfg(path, **{key: "x"})
    refuse(path, "saelens", f"{key} = 'x'", "expected")


@pytest.mark.parametrize(
    "k", [torch.tensor(2.5), torch.tensor(float("nan")), torch.tensor([5, 5]), torch.tensor(-1)]
)
def test_a_k_in_the_file_that_is_no_number_of_latents(k: torch.Tensor, tmp_path: Path) -> None:
    path = make("dictionary_learning AutoEncoderTopK", tmp_path)
    content = torch.load(path / "ae.pt", weights_only=True)
    torch.save({**content, "k": k}, path / "ae.pt")
    refuse(path, "dictionary_learning", "k in ", "expected")


def test_a_config_of_another_dictionary(tmp_path: Path) -> None:
    path = make("dictionary_learning BatchTopKSAE", tmp_path)
    config = json.loads((path / "config.json").read_text())
    config["trainer"]["dict_size"] = N + 1
    (path / "config.json").write_text(json.dumps(config))
    refuse(path, "dictionary_learning", f"dict_size = {N + 1}", f"ae.pt has {N}")


@pytest.mark.parametrize(
    "metric", [np.float32(1), np.bool_(True), np.zeros(3, bool), np.zeros(0), np.zeros(2, np.int32)]
)
@pytest.mark.parametrize("version", [1, 2])
def test_what_numpy_1_and_2_leave_among_metrics(metric: object, version: int, tmp_path: Path) -> None:
    """numpy 1 pickles the same values under ``numpy.core``."""
    path = make("rank1_lora, k per token", tmp_path)
    content = torch.load(path, weights_only=False)
    torch.save({**content, "final_metrics": {"fvu": metric}}, path)
    if version == 1:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data.replace(b"numpy._core", b"numpy.core"))
    assert load_dictionary(path, "rank1_lora").n_features == N
