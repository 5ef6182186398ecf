"""The sparse step against autograd on the dense formula, and the selection against a flat top-k."""

import numpy as np
import pytest
import torch

from generator.measure.training.step import Active, Aux, Selector, Weights, _greatest, take_step

B, D, F, K = 40, 12, 50, 4


def weights(seed: int = 0) -> Weights:
    g = torch.Generator().manual_seed(seed)
    return Weights(
        torch.randn(F, D, generator=g) * 0.4,
        torch.randn(F, generator=g) * 0.1,
        torch.randn(F, D, generator=g) * 0.4,
        torch.randn(D, generator=g) * 0.1,
    )


def rows(n: int = B, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed))


def dense_active(x: torch.Tensor, w: Weights) -> torch.Tensor:
    """The flat top-k of the whole batch by pre-activation × decoder norm, positive ones only."""
    pre = x @ w.W_enc.T + w.b_enc
    score = pre * w.W_dec.norm(dim=1)
    bar = score.flatten().topk(K * len(x)).values[-1]
    return (score >= bar) & (score > 0)


def dense_loss(x: torch.Tensor, w: Weights, mask: torch.Tensor, aux: Aux | None) -> torch.Tensor:
    pre = (x @ w.W_enc.T + w.b_enc).relu() * mask
    error = x - (pre @ w.W_dec + w.b_dec)
    loss = error.square().mean()
    if aux is None:
        return loss
    constant = error.detach()
    source = constant if aux.reads_error else x
    W_enc, b_enc, W_dec = w.W_enc[aux.dead], w.b_enc[aux.dead], w.W_dec[aux.dead]
    z = source @ W_enc.T + b_enc
    best = (z * W_dec.norm(dim=1)).detach().topk(min(aux.k, len(aux.dead)), dim=1).indices
    kept = torch.zeros_like(z).scatter(1, best, z.gather(1, best)).relu()
    return loss + aux.weight * (kept @ W_dec - constant).square().mean()


DEAD = torch.tensor([1, 2, 7, 20, 33, 49])
AUX = {
    "none": None,
    "reads the error": Aux(DEAD, 3, 0.5, reads_error=True),
    "reads the input": Aux(DEAD, 3, 0.5, reads_error=False),
    "fewer dead than k": Aux(DEAD[:2], 3, 0.5, reads_error=False),
    "nothing dead": Aux(DEAD[:0], 3, 0.5, reads_error=False),
}


@pytest.mark.parametrize("aux", AUX.values(), ids=AUX.keys())
def test_gradients_equal_autograds(aux: Aux | None) -> None:
    x, w = rows(), weights()
    active = Selector(K)(x, w, w.W_dec.norm(dim=1))
    step = take_step(x, w, active, aux)

    leaves = Weights(*[t.double().requires_grad_() for t in w.tensors()])
    loss = dense_loss(x.double(), leaves, dense_active(x, w), aux if aux and len(aux.dead) else None)
    loss.backward()
    assert step.loss == pytest.approx(loss.item(), rel=1e-5)
    for mine, leaf in zip(step.gradients.tensors(), leaves.tensors()):
        torch.testing.assert_close(mine.double(), leaf.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("last_score", [0.0, 0.3, 1e9])
def test_selection_equals_a_flat_topk_whatever_the_warm_bar(last_score: float) -> None:
    x, w = rows(), weights()
    active = Selector(K, last_score=last_score)(x, w, w.W_dec.norm(dim=1))
    found = torch.zeros(B, F, dtype=torch.bool)
    found[active.token, active.feature] = True
    assert torch.equal(found, dense_active(x, w))
    assert found.sum() == K * B
    assert ((active.token * F + active.feature).diff() > 0).all()


def test_the_warm_bar_follows_the_data() -> None:
    selector, w = Selector(K), weights()
    for seed in range(5):
        x = rows(seed=seed) * (1 + seed)
        active = selector(x, w, w.W_dec.norm(dim=1))
        assert len(active.token) == K * B
        assert selector.last_score == pytest.approx(active.lowest_score)


def test_what_is_not_positive_is_never_chosen() -> None:
    w = weights()
    w.b_enc.fill_(-1e6)
    w.b_enc[3] = 1e3
    active = Selector(K)(rows(), w, torch.ones(F))
    assert active.feature.unique().tolist() == [3] and len(active.token) == B


def test_a_bfloat16_product_selects_nearly_the_same_with_float32_values() -> None:
    x, w = rows(400), weights()
    norms = w.W_dec.norm(dim=1)
    exact, coarse = Selector(K)(x, w, norms), Selector(K, torch.bfloat16)(x, w, norms)
    keys = [set((a.token * F + a.feature).tolist()) for a in (exact, coarse)]
    assert len(keys[0] & keys[1]) > 0.99 * len(keys[0])
    pre = x @ w.W_enc.T + w.b_enc
    torch.testing.assert_close(coarse.value, pre[coarse.token, coarse.feature], rtol=1e-5, atol=1e-5)


def test_a_step_with_nothing_active_moves_only_the_output_bias() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    step = take_step(rows(), weights(), Active(nothing, nothing, torch.zeros(0), 0.0))
    assert np.isfinite(step.loss)
    assert not step.gradients.W_enc.any() and not step.gradients.W_dec.any() and step.gradients.b_dec.all()


@pytest.mark.parametrize("n", [1, 7, 60, 99, 100])
def test_the_greatest_are_exactly_n_with_ties_to_the_first(n: int) -> None:
    score = torch.randint(0, 6, (100,), generator=torch.Generator().manual_seed(0)).float()
    wanted = sorted(range(100), key=lambda i: (-score[i], i))[:n]
    assert _greatest(score, n).tolist() == sorted(wanted)
