"""Crosscoders trained on planted rows of two places, one of which is forty times as loud as the other."""

from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from generator.errors import FeaturebookError
from generator.measure.dictionaries import load_dictionary
from generator.measure.training import ArrayRows, TrainResult, preset, train
from generator.measure.training.rows import Split, survey
from generator.measure.training.shuffle import Batches, Place
from generator.measure.training.step import Selector, Weights
from generator.progress import Silent
from tests.measure_train.planted import planted_rows

PLACES, D = 2, 8
SMALL: dict[str, Any] = {"width": 48, "k": 4, "batch": 200, "epochs": 8, "held_out": 0.1, "device": "cpu"}


def two_places() -> ArrayRows:
    rows = planted_rows(width=PLACES * D)
    return replace(rows, values=rows.values * np.repeat([1.0, 40.0], D).astype(np.float32))


def learn(folder: Path, rows: ArrayRows | None = None, **changes: Any) -> TrainResult:
    settings = preset("ours", **{**SMALL, **changes})
    return train(rows or two_places(), settings, folder, Silent(), "key", n_places=PLACES)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainResult]:
    folder = tmp_path_factory.mktemp("crosscoder")
    return folder, learn(folder, save_dtype="bfloat16")


def formula(folder: Path, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Latents and reconstruction as crosscoder_learning's ``BatchTopKCrossCoder`` defines them, in float64."""
    a = {name: tensor.double().numpy() for name, tensor in load_file(folder / "model.safetensors").items()}
    scale = a["activation_global_scale"][:, None]
    inputs = (x.reshape(len(x), PLACES, D) - a["activation_mean"]) * scale
    z = np.maximum(np.einsum("tpd,pdf->tf", inputs, a["encoder.weight"]) + a["encoder.bias"], 0)
    code = z * np.linalg.norm(a["decoder.weight"], axis=2).sum(0)
    z *= code > a["threshold"]
    decoded = np.einsum("tf,pfd->tpd", z, a["decoder.weight"]) + a["decoder.bias"]
    return code * (z > 0), (decoded / scale + a["activation_mean"]).reshape(len(x), -1)


def unseen(result: TrainResult) -> np.ndarray:
    settings = result.facts["settings"]
    split = Split(two_places(), settings["held_out"], settings["seed"], takes_held_out=True)
    return np.concatenate(list(split)).astype(np.float64)


def test_a_quiet_place_is_learnt_as_well_as_a_loud_one(trained: tuple[Path, TrainResult]) -> None:
    _, result = trained
    quiet, loud = result.figures.fvu_by_place
    assert quiet < 0.25 and loud < 0.25
    factors = result.facts["input_factor"]
    assert factors[0] / factors[1] == pytest.approx(40, rel=0.6)


def test_figures_of_each_place_are_those_of_plain_numpy(trained: tuple[Path, TrainResult]) -> None:
    folder, result = trained
    x = unseen(result)
    latents, rebuilt = formula(folder, x)
    error, spread = (((x - y) ** 2).reshape(-1, PLACES, D).sum((0, 2)) for y in (rebuilt, x.mean(0)))
    np.testing.assert_allclose(result.figures.fvu_by_place, error / spread, rtol=1e-3)
    assert result.figures.fvu == pytest.approx(error.sum() / spread.sum(), rel=1e-3)
    assert result.figures.l0 == pytest.approx((latents > 0).sum(1).mean(), rel=1e-3)
    assert result.facts["held_out"]["fvu_by_place"] == result.figures.fvu_by_place


def test_the_file_loads_again_by_its_formats_name(trained: tuple[Path, TrainResult]) -> None:
    folder, result = trained
    loaded = load_dictionary(folder, "crosscoder_learning", d_in=PLACES * D)
    for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
        assert torch.equal(getattr(loaded, name), getattr(result.dictionary, name))
    x = unseen(result)[:300]
    latents, rebuilt = formula(folder, x)
    single = torch.from_numpy(x).float()
    scale = latents.max()
    np.testing.assert_allclose(loaded.encode(single).numpy() / scale, latents / scale, atol=1e-4)
    size = np.abs(x).max(0)
    np.testing.assert_allclose(loaded.reconstruct(single).numpy() / size, rebuilt / size, atol=1e-4)
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.get_slice("decoder.weight").get_dtype() == "BF16"


@pytest.mark.parametrize("places", [1, 2, 4])
def test_latents_compete_by_the_sum_of_their_decoder_norms(places: int) -> None:
    random = torch.Generator().manual_seed(1)
    W_enc, W_dec = (torch.randn(30, 8, generator=random) for _ in range(2))
    W_dec *= torch.rand(30, 1, generator=random)
    weights = Weights(W_enc, torch.zeros(30), W_dec, torch.zeros(8), places)
    x = torch.randn(50, 8, generator=random)
    norms = np.linalg.norm(W_dec.numpy().reshape(30, places, -1), axis=2).sum(1)
    np.testing.assert_allclose(weights.norms().numpy(), norms, rtol=1e-6)
    score = (x.double() @ W_enc.double().T).numpy() * norms
    wanted = np.sort(np.argsort(-score.ravel(), kind="stable")[: 3 * 50])
    found = Selector(3)(x, weights, weights.norms())
    np.testing.assert_array_equal(np.sort((found.token * 30 + found.feature).numpy()), wanted)


@dataclass
class Killed(Silent):
    """Ends the run after so many tokens."""

    left: int = 0

    def advance(self, count: int = 1) -> None:
        self.left -= count
        if self.left < 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("buffer", [1024.0, 0.5], ids=["whole", "in parts"])
def test_a_killed_run_goes_on_to_the_same_bytes(buffer: float, tmp_path: Path) -> None:
    changes = {"epochs": 3, "checkpoint_steps": 20, "buffer_megabytes": buffer, "save_dtype": "float32"}
    learn(tmp_path / "whole", **changes)
    settings = preset("ours", **{**SMALL, **changes})
    with pytest.raises(KeyboardInterrupt):
        train(two_places(), settings, tmp_path / "cut", Killed(left=93 * 200), "key", n_places=PLACES)
    assert (tmp_path / "cut" / "checkpoint.pt").exists()
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    learn(tmp_path / "cut", **changes)
    for name in ("model.safetensors", "config.json", "metrics.jsonl"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_rows_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    rows = two_places()
    rows.values[::10, 3] = np.nan
    result = learn(tmp_path, rows, epochs=1)
    assert result.facts["n_train_tokens"] + result.facts["held_out"]["n_tokens"] == len(rows.values) * 9 // 10
    assert np.isfinite(result.figures.fvu_by_place).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"decoder": "unit"}, 'decoder = "unit" does not fit a crosscoder'), ({"k": 49}, "k = 49 is larger")],
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(FeaturebookError, match=message):
        learn(tmp_path, **changes)


@dataclass(frozen=True)
class Counted(ArrayRows):
    """Counts how often each group is read, which for a model means a forward pass."""

    seen: Counter[int] = field(default_factory=Counter)

    def read(self, group: int) -> tuple[np.ndarray, np.ndarray]:
        self.seen[group] += 1
        return super().read(group)


@pytest.mark.parametrize("fits", [True, False])
def test_rows_that_fit_the_buffer_are_read_once_for_all_epochs(fits: bool) -> None:
    rows = Counted(two_places().values, two_places().docs)
    split = Split(rows, 0.1, 0, takes_held_out=False)
    facts = survey(split)
    megabytes = 64.0 if fits else 0.4
    batches = Batches(split, facts, 200, megabytes, 7)
    rows.seen.clear()
    taken = [x for x, _ in islice(batches.after(Place()), 3 * facts.n_rows // 200)]
    assert max(rows.seen.values()) == 1 if fits else min(rows.seen.values()) >= 3
    fresh = Batches(split, facts, 200, megabytes, 7)
    fresh.__dict__["_whole"] = None  # kept rows come in the order in which freshly read ones do
    for one, (other, _) in zip(taken, fresh.after(Place())):
        np.testing.assert_array_equal(one, other)
    assert max(len(fill) for fill in batches.fills(1)) < rows.n_groups or fits
