"""``encode_sparse`` finds exactly what the dense formula has, whatever the precision of its filter."""

import pytest
import torch

from generator.measure.dictionaries.activations import Activation, Gated, GroupMax, JumpRelu, Relu, TopK
from generator.measure.dictionaries.dictionary import Dictionary
from generator.measure.dictionaries.sparse import SparseEncoder

D_IN, N = 24, 96


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


ACTIVATIONS: dict[str, Activation] = {
    "relu": Relu(),
    "jumprelu": JumpRelu(random(N, seed=5).abs() * 6),
    "jumprelu below zero": JumpRelu(torch.full((N,), -1.0)),
    "gated": Gated(random(N, seed=6).exp(), random(N, seed=7) * 3),
    "topk": TopK(7),
    "topk of all": TopK(N),
    "topk by decoder norm": TopK(7, score_scale=random(N, seed=8).abs() + 0.1),
    "abstopk": TopK(7, is_signed=True),
    "groupmax": GroupMax(8),
}
each_activation = pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS.keys())


def dictionary(activation: Activation, bias_scale: float = 1.0) -> Dictionary:
    return Dictionary(
        W_enc=random(N, D_IN, seed=1) * random(N, 1, seed=9).exp(),
        b_enc=random(N, seed=2) * bias_scale,
        W_dec=random(N, D_IN, seed=3),
        b_dec=random(D_IN, seed=4),
        activation=activation,
        subtracts_b_dec=True,
    )


@each_activation
@pytest.mark.parametrize("bias_scale", [1.0, 300.0])
def test_equals_dense(activation: Activation, bias_scale: float) -> None:
    coder, x = dictionary(activation, bias_scale), random(500, D_IN, seed=11) * 3
    dense, sparse = coder.encode(x), coder.encode_sparse(x)
    torch.testing.assert_close(sparse.dense(N), dense, rtol=1e-4, atol=1e-4 * max(1.0, bias_scale / 30))
    assert (sparse.value != 0).all()
    assert ((sparse.token * N + sparse.feature).diff() > 0).all(), "ordered by token, then feature"


@each_activation
@pytest.mark.parametrize("x_scale", [1e-3, 1.0, 1e3])
def test_the_filters_precision_changes_no_bit(activation: Activation, x_scale: float) -> None:
    coder, x = dictionary(activation), random(300, D_IN, seed=12) * x_scale
    exact, coarse = (
        SparseEncoder(coder.W_enc, coder.b_enc, activation, dtype)(x)
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert len(exact.token) > 0 or isinstance(activation, JumpRelu)
    for name in ("token", "feature", "value"):
        assert torch.equal(getattr(exact, name), getattr(coarse, name)), name


def test_values_at_the_threshold_are_decided_exactly() -> None:
    """Pre-activations that equal the threshold are not active; the next float32 above it is."""
    x = torch.tensor([[1.0], [torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))]])
    coder = Dictionary(
        W_enc=torch.ones(1, 1),
        b_enc=torch.zeros(1),
        W_dec=torch.ones(1, 1),
        b_dec=torch.zeros(1),
        activation=JumpRelu(torch.ones(1)),
    )
    for dtype in (torch.float32, torch.bfloat16):
        assert SparseEncoder(coder.W_enc, coder.b_enc, coder.activation, dtype)(x).token.tolist() == [1]


def test_a_token_that_is_not_finite_has_no_latents_and_harms_no_other() -> None:
    coder, x = dictionary(TopK(7)), random(40, D_IN, seed=13)
    clean = coder.encode_sparse(x)
    x[3, 5], x[9, 0], x[10, 1] = float("nan"), float("inf"), -float("nan")
    found = coder.encode_sparse(x)
    bad = torch.tensor([3, 9, 10])
    assert (~found.is_finite).nonzero().flatten().tolist() == bad.tolist()
    keep = ~torch.isin(clean.token, bad)
    assert torch.equal(found.token, clean.token[keep]) and torch.equal(found.value, clean.value[keep])


def test_no_tokens() -> None:
    found = dictionary(Relu()).encode_sparse(torch.zeros(0, D_IN))
    assert len(found.token) == 0 and found.offsets.tolist() == [0]


def test_ties_go_to_the_lower_latent() -> None:
    coder = Dictionary(
        W_enc=torch.ones(6, 1),
        b_enc=torch.zeros(6),
        W_dec=torch.ones(6, 1),
        b_dec=torch.zeros(1),
        activation=TopK(2),
    )
    assert coder.encode_sparse(torch.ones(2, 1)).feature.tolist() == [0, 1, 0, 1]


def test_sparse_and_dense_latents_decode_alike() -> None:
    coder, x = dictionary(TopK(7)), random(50, D_IN, seed=14)
    torch.testing.assert_close(
        coder.decode(coder.encode_sparse(x)), coder.decode(coder.encode(x)), rtol=1e-4, atol=1e-4
    )
