"""The same numbers as captum, scikit-dimension and torchmetrics, which the extra ``oracles`` installs (they are no dependencies)."""

import numpy as np
import pytest
import torch

from generator.measure.analyze.attribution import (
    LogitScalar,
    as_function,
    embed,
    gradient_times_input,
    integrated_gradients,
    mean_embedding,
)
from generator.measure.analyze.geometry import Cloud, cosines
from generator.measure.analyze.predictions import divergence, predict_next, text_log_probabilities
from generator.measure.analyze.twonn import twonn
from tests.measure_analyze.conftest import DECODERS, toy

IDS = [1, 17, 33, 8, 17, 33, 9]


@pytest.mark.parametrize("family", DECODERS)
def test_gradient_methods_agree_with_captum(family: str):
    captum = pytest.importorskip("captum.attr", exc_type=ImportError)
    model, anatomy = toy(family)
    embeddings = embed(anatomy, IDS)
    baseline = torch.zeros_like(embeddings) + mean_embedding(anatomy)
    function = as_function(anatomy, IDS, LogitScalar(4, 20))

    def theirs(e: torch.Tensor) -> torch.Tensor:
        return model(inputs_embeds=e).logits[:, 4, 20]

    found = captum.IntegratedGradients(theirs).attribute(
        embeddings[None], baseline[None], n_steps=64, method="gausslegendre"
    )
    mine = integrated_gradients(function, embeddings, baseline, n_nodes=64).scores
    np.testing.assert_allclose(mine, found.sum(-1)[0].detach().numpy(), rtol=1e-3, atol=1e-4)
    product = captum.InputXGradient(theirs).attribute(embeddings[None].clone().requires_grad_())
    np.testing.assert_allclose(
        gradient_times_input(function, embeddings).scores,
        product.sum(-1)[0].detach().numpy(),
        rtol=1e-3,
        atol=1e-5,
    )


def test_the_slope_of_twonn_is_that_of_scikit_dimension():
    skdim = pytest.importorskip("skdim.id", exc_type=ImportError)
    random = np.random.default_rng(0)
    points = random.standard_normal((800, 5)) @ random.standard_normal((5, 12))
    assert twonn(points).slope.value == pytest.approx(float(skdim.TwoNN().fit(points).dimension_), rel=1e-9)


def test_dimensions_of_a_covariance_are_those_of_scikit_dimension():
    skdim = pytest.importorskip("skdim.id", exc_type=ImportError)
    random = np.random.default_rng(1)
    points = random.standard_normal((500, 9)) * np.array([9.0, 7, 5, 3, 2, 1, 0.5, 0.3, 0.1])
    cloud = Cloud(9)
    cloud.add(torch.from_numpy(points.astype(np.float32)))
    mine = cloud.result(threshold=0.95)
    theirs = skdim.lPCA(ver="participation_ratio").fit(points).dimension_
    assert mine["participation_ratio"].value == pytest.approx(float(theirs), rel=1e-5)
    theirs = skdim.lPCA(ver="ratio", alphaRatio=0.95).fit(points).dimension_
    assert mine["pca_dimension"].value == float(theirs)


def test_cosines_are_those_of_torchmetrics():
    functional = pytest.importorskip("torchmetrics.functional", exc_type=ImportError)
    torch.manual_seed(0)
    a, b = torch.randn(40, 12) + 1, torch.randn(40, 12)
    cloud = Cloud(12)
    cloud.add(a)
    pairs = functional.pairwise_cosine_similarity(a.double())  # its diagonal is 0
    assert cloud.result()["anisotropy"].value == pytest.approx(float(pairs.sum()) / (40 * 39), abs=1e-6)
    theirs = functional.cosine_similarity(a, b, reduction="none")
    torch.testing.assert_close(cosines(a, b).float(), theirs, rtol=0, atol=1e-5)


def test_divergence_and_surprise_are_those_of_torchmetrics():
    functional = pytest.importorskip("torchmetrics.functional", exc_type=ImportError)
    _, anatomy = toy("llama")
    p, q = (text_log_probabilities(anatomy, ids).double() for ids in (IDS, IDS[::-1]))
    theirs = functional.kl_divergence(p, q, log_prob=True, reduction="none")
    torch.testing.assert_close(divergence(p, q), theirs, rtol=1e-5, atol=1e-6)
    surprise = [s for s in predict_next(anatomy, IDS).surprise if s is not None]
    with torch.no_grad():
        logits = anatomy.model(input_ids=torch.tensor([IDS])).logits
    perplexity = functional.text.perplexity(logits[:, :-1], torch.tensor([IDS[1:]]))
    assert np.exp(np.mean(surprise)) == pytest.approx(float(perplexity), rel=1e-5)
