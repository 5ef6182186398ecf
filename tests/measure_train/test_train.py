"""Training from end to end on small planted data."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generator.errors import FeaturebookError
from generator.measure.dictionaries import load_dictionary
from generator.measure.training import ArrayRows, Rows, TrainResult, preset, train
from generator.measure.training.evaluate import at_l0, evaluate
from generator.measure.training.rows import Split
from generator.progress import Silent
from tests.measure_train.planted import planted_rows

SMALL: dict[str, Any] = {"width": 64, "k": 4, "batch": 200, "held_out": 0.1, "device": "cpu"}


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def rows() -> ArrayRows:
    return planted_rows()


@pytest.fixture(scope="module")
def trained(rows: ArrayRows, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainResult]:
    folder = tmp_path_factory.mktemp("trained")
    return folder, train(
        rows, preset("ours", **SMALL, epochs=12), folder, Silent(), metadata={"channels": ["a"]}
    )


def held_out(rows: Rows, settings: dict) -> list[np.ndarray]:
    return list(Split(rows, settings["held_out"], settings["seed"], takes_held_out=True))


def test_it_learns(trained: tuple[Path, TrainResult]) -> None:
    _, result = trained
    assert result.figures.fvu < 0.15
    assert (result.figures.explained_variance > 0.3).all()


def test_the_threshold_gives_about_k_latents_on_unseen_documents(trained: tuple[Path, TrainResult]) -> None:
    assert trained[1].figures.l0 == pytest.approx(4, rel=0.15)


def test_figures_are_those_of_plain_numpy(trained: tuple[Path, TrainResult], rows: ArrayRows) -> None:
    _, result = trained
    x = np.concatenate(held_out(rows, result.facts["settings"]))
    dictionary = result.dictionary
    latents = dictionary.encode(torch.from_numpy(x)).double().numpy()
    rebuilt = latents @ dictionary.W_dec.double().numpy() + dictionary.b_dec.double().numpy()
    error = ((x - rebuilt) ** 2).sum(0)
    spread = ((x - x.mean(0, dtype=np.float64)) ** 2).sum(0)
    assert result.figures.n_tokens == len(x)
    assert result.figures.fvu == pytest.approx(error.sum() / spread.sum(), rel=1e-4)
    np.testing.assert_allclose(result.figures.explained_variance, 1 - error / spread, rtol=1e-4)
    assert result.figures.l0 == pytest.approx((latents != 0).sum(1).mean())
    np.testing.assert_array_equal(result.figures.l0_counts, np.bincount((latents != 0).sum(1)))
    assert result.figures.dead_share == pytest.approx((latents == 0).all(0).mean())


def test_metrics_hold_the_curves_and_end_with_the_figures(trained: tuple[Path, TrainResult]) -> None:
    folder, result = trained
    *steps, last = lines(folder)
    assert [line["step"] for line in steps][:3] == [10, 20, 30]
    assert steps[-1]["fvu"] < 0.3 * steps[0]["fvu"]
    assert steps[-1]["l0"] == pytest.approx(4) and steps[-1]["threshold"] > 0
    assert max(line["learning_rate"] for line in steps) == pytest.approx(3e-3)
    assert steps[-1]["learning_rate"] < 1e-4
    assert last["final"] and last["held_out"]["fvu"] == result.figures.fvu
    assert not (folder / "checkpoint.pt").exists()


def test_the_saved_dictionary_is_the_trained_one(trained: tuple[Path, TrainResult], rows: ArrayRows) -> None:
    folder, result = trained
    loaded = load_dictionary(folder, "saelens", d_in=rows.width)
    x = torch.from_numpy(rows.values[:200])
    assert torch.equal(loaded.encode(x), result.dictionary.encode(x))
    torch.testing.assert_close(loaded.W_dec.norm(dim=1), torch.ones(64))
    assert (loaded.activation.threshold >= 0).all()
    assert json.loads((folder / "cfg.json").read_text())["metadata"]["channels"] == ["a"]


def test_sae_lens_reconstructs_the_same(trained: tuple[Path, TrainResult], rows: ArrayRows) -> None:
    sae_lens = pytest.importorskip("sae_lens", reason="sae-lens is not installed (extra: oracles)")
    folder, result = trained
    x = torch.from_numpy(rows.values[:500])
    theirs = sae_lens.SAE.load_from_disk(folder)
    with torch.no_grad():
        torch.testing.assert_close(theirs(x), result.dictionary.reconstruct(x), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("decoder", ["free", "unit"])
@pytest.mark.parametrize("scale", ["none", "global"])
def test_folding_changes_no_figure(decoder: str, scale: str, rows: ArrayRows, tmp_path: Path) -> None:
    """The last training line, in training's units by batch-top-k, and the folded dictionary agree on training rows."""
    settings = preset("ours", **SMALL, epochs=6, decoder=decoder, scale=scale)
    result = train(rows, settings, tmp_path, Silent())
    seen = evaluate(result.dictionary, Split(rows, 0.1, settings.seed, takes_held_out=False))
    late = [line["fvu"] for line in lines(tmp_path)[-6:-1]]
    assert seen.fvu == pytest.approx(float(np.mean(late)), rel=0.1)
    assert seen.l0 == pytest.approx(4, rel=0.1)


def test_ours_beats_the_paper_at_equal_l0(rows: ArrayRows, tmp_path: Path) -> None:
    """At equal L0 and equal tokens; more passes, which the preset also takes, come on top."""
    fvu = {}
    for name in ("paper", "ours"):
        settings = preset(name, **SMALL, epochs=4)
        dictionary = train(rows, settings, tmp_path / name, Silent()).dictionary
        unseen = held_out(rows, settings.model_dump())
        figures = evaluate(at_l0(dictionary, unseen, 4.0), unseen)
        assert figures.l0 == pytest.approx(4, rel=0.01)
        fvu[name] = figures.fvu
    assert fvu["ours"] < 0.9 * fvu["paper"], fvu


def test_bfloat16_encoding_trains_as_well(rows: ArrayRows, tmp_path: Path) -> None:
    results = [
        train(rows, preset("ours", **SMALL, epochs=3, encode=encode), tmp_path / encode, Silent()).figures.fvu
        for encode in ("float32", "bfloat16")
    ]
    assert results[1] == pytest.approx(results[0], rel=0.1)


def test_data_larger_than_the_buffer_train(rows: ArrayRows, tmp_path: Path) -> None:
    small = preset("ours", **SMALL, epochs=12, buffer_megabytes=8 * 16 * 2000 / 1e6)
    assert train(rows, small, tmp_path, Silent()).figures.fvu < 0.15


# --- resuming -----------------------------------------------------------------------------------------------------

RESUMED = {
    **SMALL,
    "epochs": 5,
    "checkpoint_steps": 30,
    "buffer_megabytes": 8 * 16 * 3000 / 1e6,
    "dead_after": 5000,
}

SCRIPT = """
import sys
import time
from pathlib import Path
import torch
from generator.measure.training import preset, train
from tests.measure_train.planted import planted_rows
from tests.measure_train.test_train import RESUMED
torch.set_num_threads(1)
class Slow:
    def advance(self, n=1):
        time.sleep(float(sys.argv[2]))
    def note(self, message):
        print(message, flush=True)
train(planted_rows(), preset("ours", **RESUMED), Path(sys.argv[1]), Slow(), key="a")
"""


def run(folder: Path, pause: float) -> subprocess.Popen:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    command = [sys.executable, "-c", SCRIPT, str(folder), str(pause)]
    return subprocess.Popen(command, env=environment, cwd=root, stdout=subprocess.PIPE, text=True)


def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole, killed = run(tmp_path / "whole", 0), run(tmp_path / "killed", 0.02)
    deadline = time.monotonic() + 60
    while not (tmp_path / "killed/checkpoint.pt").exists():
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.3)  # some steps past the checkpoint, whose lines of metrics must be written anew
    killed.send_signal(signal.SIGKILL)
    killed.wait(30)
    assert whole.wait(120) == 0
    assert not (tmp_path / "killed/cfg.json").exists()
    again = run(tmp_path / "killed", 0)
    said, _ = again.communicate(timeout=120)
    assert again.returncode == 0 and "going on at step" in said
    for name in ("sae_weights.safetensors", "cfg.json", "metrics.jsonl"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


class Stop(Exception):
    """Raised by a progress that has had enough."""


class StopsAfter(Silent):
    """Stops the run after some tokens."""

    def __init__(self, n_tokens: int) -> None:
        super().__init__()
        self.limit = n_tokens

    def advance(self, n: int = 1) -> None:
        super().advance(n)
        if self.done >= self.limit:
            raise Stop


@pytest.mark.parametrize("key, starts_at", [("a", 60), ("b", 0)])
def test_a_checkpoint_of_another_key_is_not_gone_on_from(
    key: str, starts_at: int, rows: ArrayRows, tmp_path: Path
) -> None:
    with pytest.raises(Stop):
        train(rows, preset("ours", **RESUMED), tmp_path, StopsAfter(200 * 75), key="a")
    progress = Silent()
    train(rows, preset("ours", **RESUMED), tmp_path, progress, key=key)
    assert progress.notes == ([f"going on at step {starts_at} of 272"] if starts_at else [])


def test_a_damaged_checkpoint_starts_anew(rows: ArrayRows, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"half a file")
    progress = Silent()
    train(rows, preset("ours", **SMALL), tmp_path, progress)
    assert not progress.notes


# --- bad input ----------------------------------------------------------------------------------------------------


def refuse(rows: Rows, folder: Path, *words: str, **changes: Any) -> None:
    with pytest.raises(FeaturebookError) as caught:
        train(rows, preset("ours", **{**SMALL, **changes}), folder, Silent())
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_k_larger_than_the_width(rows: ArrayRows, tmp_path: Path) -> None:
    refuse(rows, tmp_path, "k = 65", "64 latents", k=65)


def test_fewer_tokens_than_a_batch(rows: ArrayRows, tmp_path: Path) -> None:
    refuse(rows, tmp_path, "fewer than a batch of 100000", batch=100000)
    refuse(rows, tmp_path, "tokens = 50", tokens=50)


def test_a_loss_that_is_not_finite_keeps_the_checkpoint(rows: ArrayRows, tmp_path: Path) -> None:
    huge = ArrayRows(rows.values * 1e18, rows.docs)
    refuse(huge, tmp_path, "loss became", "step", "learning_rate", scale="none", learning_rate=1e18)


def test_all_latents_dead(rows: ArrayRows, tmp_path: Path) -> None:
    constant = ArrayRows(np.zeros_like(rows.values), rows.docs)
    refuse(constant, tmp_path, "All 64 latents are dead", dead_after=1000)


def test_unknown_presets_and_settings() -> None:
    with pytest.raises(FeaturebookError, match="Did you mean ours"):
        preset("our")
    with pytest.raises(FeaturebookError, match="learning_rate"):
        preset("ours", learning_rate=-1)
