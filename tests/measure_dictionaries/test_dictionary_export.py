"""What ``save_saelens`` writes is what SAELens reads; and thresholds estimated for a checkpoint without one."""

from pathlib import Path

import pytest
import torch

from generator.errors import FeaturebookError
from generator.measure.dictionaries import load_dictionary, save_saelens
from generator.measure.dictionaries.rank1_lora import estimate_threshold
from tests.measure_dictionaries.checkpoints import CASES, D_IN, N, inputs

SAVED = [
    "dictionary_learning BatchTopKSAE",
    "gemma_scope",
    "saelens layer norm",
    "dictionary_learning AutoEncoderNew",
]


@pytest.mark.parametrize("name", SAVED)
def test_comes_back_the_same(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    first = load_dictionary(case.make(tmp_path / "from").path, case.format)
    save_saelens(first, tmp_path / "to", {"hook_name": "x"})
    second = load_dictionary(tmp_path / "to", "saelens")
    x = inputs()
    assert torch.equal(first.encode(x), second.encode(x))
    assert torch.equal(first.reconstruct(x), second.reconstruct(x))
    assert second.notes["hook_name"] == "x"


@pytest.mark.parametrize("name", SAVED)
def test_sae_lens_encodes_and_reconstructs_the_same(name: str, tmp_path: Path) -> None:
    sae_lens = pytest.importorskip("sae_lens", reason="sae-lens is not installed (extra: oracles)")
    case = CASES[name]
    ours = load_dictionary(case.make(tmp_path / "from").path, case.format)
    save_saelens(ours, tmp_path / "to")
    theirs = sae_lens.SAE.load_from_disk(tmp_path / "to")
    x = inputs()
    with torch.no_grad():
        assert type(theirs).__name__ == "JumpReLUSAE"
        torch.testing.assert_close(theirs.encode(x), ours.encode(x))
        torch.testing.assert_close(theirs(x), ours.reconstruct(x))


@pytest.mark.parametrize("name", ["saelens topk", "saelens jumprelu transcoder", "saelens gated"])
def test_what_jumprelu_cannot_express_is_refused(name: str, tmp_path: Path) -> None:
    dictionary = load_dictionary(CASES[name].make(tmp_path / "from").path, "saelens")
    with pytest.raises(FeaturebookError, match="Only relu and jumprelu autoencoders"):
        save_saelens(dictionary, tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_an_estimated_threshold_keeps_k_latents_on_average(tmp_path: Path) -> None:
    dictionary = load_dictionary(
        CASES["rank1_lora, k per token"].make(tmp_path).path, "rank1_lora", d_in=D_IN
    )
    x = inputs(512)
    estimated = estimate_threshold(dictionary, x)
    assert estimated.kind == "jumprelu" and "estimated on 512 tokens" in estimated.notes["selection"]
    assert len(estimated.encode_sparse(x).token) == dictionary.activation.k * len(x)
    norms = dictionary.W_dec.norm(dim=1)
    kept = estimated.encode(x) * norms
    pre = (x @ dictionary.W_enc.T + dictionary.b_enc) * norms
    assert kept[kept > 0].min() > pre[(kept == 0)].max() - 1e-4
    assert kept.shape == (512, N)
