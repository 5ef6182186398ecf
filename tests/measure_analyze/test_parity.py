"""The same numbers as captum and scikit-dimension, where they are installed (they are no dependencies)."""

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
