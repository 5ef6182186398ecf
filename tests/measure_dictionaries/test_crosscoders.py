"""Crosscoders: what their files do not say, and what is refused."""

import json
from pathlib import Path

import pytest
import torch

from generator.errors import FeaturebookError
from generator.measure.dictionaries import LoadOptions, load_dictionary
from tests.measure_dictionaries.checkpoints import CASES, N
from tests.measure_dictionaries.crosscoders import (
    CONFIG_CLASS,
    CROSSCODERS,
    FACTORS,
    PLACES,
    WIDTH,
    crosslayer,
    learning,
)


def refuse(path: Path, format: str, *words: str, **options: object) -> None:
    with pytest.raises(FeaturebookError) as caught:
        load_dictionary(path, format, options=LoadOptions(**options))
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize("name", CROSSCODERS)
def test_places_are_noted(name: str, tmp_path: Path) -> None:
    case = CROSSCODERS[name]
    notes = load_dictionary(case.make(tmp_path).path, case.format, options=case.options).notes
    assert (notes["n_places"], notes["d_model"]) == (PLACES, WIDTH)
    assert all(isinstance(remark, str) for remark in notes["remarks"]) and notes["remarks"]


@pytest.mark.parametrize("format", ["crosscoders", "model_diff"])
def test_factors_must_be_given_and_the_page_says_which(format: str, tmp_path: Path) -> None:
    path = CROSSCODERS[format].make(tmp_path).path
    refuse(path, format, "input_factor", f"{PLACES} numbers", '"estimate"')
    refuse(path, format, f"reads {PLACES} places", input_factor=[1.0, 2.0])
    refuse(path, format, "above 0", input_factor=[1.0, 2.0, 0.0])
    said = load_dictionary(path, format, options=LoadOptions(input_factor=FACTORS)).notes["remarks"][0]
    assert "0.5, 2, 1.25" in said
    folded = load_dictionary(path, format, options=LoadOptions(input_factor=1.0)).notes["remarks"][0]
    assert "inputs as they are" in folded


def test_a_factor_beside_one_in_the_file_is_refused(tmp_path: Path) -> None:
    for name, path in (
        ("crosscoder_learning", learning(1, normalizer="each")(tmp_path / "each").path),
        ("crosscoder_learning", learning(1, normalizer="relative")(tmp_path / "relative").path),
        ("crosslayer_features", crosslayer(tmp_path / "layers").path),
    ):
        allowed = (CONFIG_CLASS,)
        refuse(path, name, "Leave input_factor out", input_factor=1.0, allow_classes=allowed)
    sae = CASES["saelens standard"]
    refuse(sae.make(tmp_path / "sae").path, sae.format, "Leave input_factor out", input_factor=2.0)


def test_a_normaliser_that_is_off_takes_a_factor(tmp_path: Path) -> None:
    case = learning(4)(tmp_path)
    plain = load_dictionary(case.path, "crosscoder_learning")
    scaled = load_dictionary(case.path, "crosscoder_learning", options=LoadOptions(input_factor=FACTORS))
    assert any("no input_factor was given" in remark for remark in plain.notes["remarks"])
    assert any("0.5, 2, 1.25" in remark for remark in scaled.notes["remarks"])
    x = torch.randn(9, PLACES * WIDTH, generator=torch.Generator().manual_seed(0))
    by = torch.tensor(FACTORS).repeat_interleave(WIDTH)
    torch.testing.assert_close(scaled.encode(x), plain.encode(by * x))
    torch.testing.assert_close(scaled.reconstruct(x), plain.reconstruct(by * x) / by)


def test_a_missing_config_says_which_keys_are_needed(tmp_path: Path) -> None:
    path = CROSSCODERS["crosscoders"].make(tmp_path).path
    (path / "17_cfg.json").unlink()
    refuse(path, "crosscoders", "17_cfg.json is missing", "dict_size", "model_name", input_factor=1.0)
    (path / "17_cfg.json").write_text(json.dumps({"lr": 1e-3}))
    refuse(path, "crosscoders", "lacks keys", "dict_size", "Found: lr", input_factor=1.0)
    (path / "17_cfg.json").write_text(json.dumps({"dict_size": N + 1}))
    refuse(path, "crosscoders", f"says {N + 1} latents", f"holds {N}", input_factor=1.0)


def test_a_folder_of_several_checkpoints_wants_one_named(tmp_path: Path) -> None:
    path = CROSSCODERS["crosscoders"].make(tmp_path).path
    torch.save({}, path / "18.pt")
    refuse(path, "crosscoders", "holds 2 .pt files", "17.pt, 18.pt", input_factor=1.0)
    assert (
        load_dictionary(path / "17.pt", "crosscoders", options=LoadOptions(input_factor=1.0)).n_features == N
    )


def test_a_transposed_decoder_is_refused(tmp_path: Path) -> None:
    path = CROSSCODERS["model_diff"].make(tmp_path).path
    tensors = torch.load(path / "cc_weights.pt", weights_only=True)
    torch.save(tensors | {"W_dec": tensors["W_dec"].permute(2, 1, 0)}, path / "cc_weights.pt")
    refuse(path, "model_diff", "W_dec", f"({WIDTH}, {PLACES}, {N})", "transposed", input_factor=1.0)


def test_an_autoencoder_is_no_crosscoder(tmp_path: Path) -> None:
    path = CROSSCODERS["model_diff"].make(tmp_path).path
    tensors = torch.load(path / "cc_weights.pt", weights_only=True)
    torch.save(tensors | {"b_dec": tensors["b_dec"][0]}, path / "cc_weights.pt")
    refuse(path, "model_diff", "b_dec", "expected (place, d_model)", input_factor=1.0)


def test_decoupled_codes_are_refused(tmp_path: Path) -> None:
    path = learning(5, threshold=1.0)(tmp_path).path
    refuse(path, "crosscoder_learning", "DECOUPLED", "no one activation")


def test_an_encoder_over_fewer_layers_is_refused(tmp_path: Path) -> None:
    path = learning(1)(tmp_path).path
    tensors = torch.load(path / "ae.pt", weights_only=True)
    torch.save(tensors | {"encoder.weight": tensors["encoder.weight"][:2]}, path / "ae.pt")
    refuse(path, "crosscoder_learning", "encoder.weight", f"place {PLACES}")


def test_a_pickled_class_is_refused_and_read_as_values_when_allowed(tmp_path: Path) -> None:
    path = crosslayer(tmp_path).path
    refuse(path, "crosslayer_features", "pickled", "TrainingConfig", "allow_classes")
    refuse(path, "crosslayer_features", "pickled", allow_classes=("another.Class",))
    loaded = load_dictionary(path, "crosslayer_features", options=LoadOptions(allow_classes=(CONFIG_CLASS,)))
    assert loaded.n_features == N


def test_layer_deviations_that_are_missing_must_be_given(tmp_path: Path) -> None:
    path = crosslayer(tmp_path).path / "crosscoder_step_200.pt"
    content = torch.load(path, weights_only=False)
    del content["layer_stds"], content["config"]
    torch.save(content, path)
    refuse(path, "crosslayer_features", "layer_stds", "input_factor")
    assert load_dictionary(path, "crosslayer_features", options=LoadOptions(input_factor=2.0)).n_features == N
