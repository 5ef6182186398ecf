"""``encode_sparse`` finds exactly what the dense formula has, whatever the precision of its filter."""

import pytest
import torch

from generator.measure.dictionaries.activations import Activation, Gated, GroupMax, JumpRelu, Relu, TopK
from generator.measure.dictionaries.dictionary import Dictionary
from generator.measure.dictionaries.products import dots, offsets_of
from generator.measure.dictionaries.sparse import SparseEncoder, fast_filter_dtype

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


ADVERSARIES = ("ties", "near ties", "rounded away", "huge", "tiny", "outlier", "one direction", "wide")


def adversarial(kind: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Encoder, bias and inputs for which a filter in bfloat16 is as wrong as it can be."""
    W, b, x = random(N, D_IN, seed=21), random(N, seed=22), random(200, D_IN, seed=23)
    if kind == "ties":  # rows repeat, so that scores tie within each token
        W, b = W[torch.arange(N) // 4].contiguous(), b[torch.arange(N) // 4].contiguous()
    elif kind == "near ties":  # rows that differ by one float32 step, which bfloat16 cannot see
        W, b = W[torch.arange(N) // 8].contiguous(), torch.zeros(N)
        W[:, 0] = torch.nextafter(W[:, 0], W[:, 0] + (torch.arange(N) % 8))
    elif kind == "rounded away":  # every number lies as far from a bfloat16 as numbers can, all to one side
        W, x = (t.abs().bfloat16().float() * (1 + 2.0**-9 * 0.99) for t in (W, x))
    elif kind == "huge":
        W, b, x = W * 1e8, b * 1e15, x * 1e8
    elif kind == "tiny":
        W, b, x = W * 1e-9, b * 1e-17, x * 1e-9
    elif kind == "outlier":  # one input thousands of times the others, which cancels in half of the rows
        x[:, 0], x[:, 1] = 4000.0, 4000.0
        W[::2, 1] = -W[::2, 0]
    elif kind == "one direction":  # all rows nearly parallel: every latent near the bar
        W = W[:1] + 1e-3 * W
    elif kind == "wide":  # norms over nine orders of magnitude
        W, x = W * 10 ** random(N, 1, seed=24), x * 10 ** (2 * random(200, 1, seed=25))
    return W, b, x


@each_activation
@pytest.mark.parametrize("kind", ADVERSARIES)
def test_no_input_makes_the_coarse_filter_miss_an_entry(activation: Activation, kind: str) -> None:
    """Against every pre-activation evaluated in float32: the filter that lets all through."""
    W, b, x = adversarial(kind)
    if isinstance(activation, JumpRelu | Gated):  # thresholds in the midst of the values
        middle = (x @ W.T + b).median(dim=0).values.abs()
        if isinstance(activation, JumpRelu):
            activation = JumpRelu(middle)
        else:
            activation = Gated(activation.scale, -middle * activation.scale)
    everything = SparseEncoder(W, b, activation, torch.float32)
    everything._elementwise = everything._rowwise = lambda x: decided(everything, x)  # type: ignore[method-assign]
    want = everything(x)
    for dtype in (torch.bfloat16, torch.float32):
        found = SparseEncoder(W, b, activation, dtype)(x)
        for name in ("token", "feature", "value"):
            assert torch.equal(getattr(found, name), getattr(want, name)), (dtype, name)


def decided(coder: SparseEncoder, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What ``SparseEncoder`` finds in some tokens when every entry is a candidate."""
    token = torch.arange(len(x)).repeat_interleave(N)
    feature = torch.arange(N).repeat(len(x))
    pre, activation = coder._evaluate(x, token, feature), coder.activation
    if isinstance(activation, TopK | GroupMax):
        score = pre if activation.score_scale is None else pre * activation.score_scale[feature]
        score = score.abs() if activation.is_signed else score
        keep = activation.is_kept(token, feature, score, N) & (pre != 0 if activation.is_signed else pre > 0)
        return token[keep], feature[keep], pre[keep]
    value = activation.at(pre, feature)
    keep = value != 0
    return token[keep], feature[keep], value[keep]


@pytest.mark.parametrize("n_features", [96, 8192])
def test_a_products_entries_are_the_same_bits_in_either_order(n_features: int) -> None:
    """A large matrix is read by feature instead of by token."""
    left, right = random(50, 300, seed=31), random(n_features, 300, seed=32)
    token = torch.arange(50).repeat_interleave(7)
    feature = torch.cat([torch.randperm(n_features)[:7].sort().values for _ in range(50)])
    found = dots(left, right, offsets_of(token, 50), feature)
    alone = [
        dots(left[t : t + 1], right[f : f + 1], torch.tensor([0, 1]), torch.tensor([0]))
        for t, f in zip(token, feature)
    ]
    assert torch.equal(found, torch.cat(alone))


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


@pytest.mark.parametrize("has_units", [True, False])
def test_the_filter_is_bfloat16_where_the_device_has_units_for_it(has_units: bool, monkeypatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_units)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_units)
    want = torch.bfloat16 if has_units else torch.float32
    assert {fast_filter_dtype(torch.device(name)) for name in ("cpu", "cuda")} == {want}
    assert dictionary(Relu()).sparse_encoder.dtype == want


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
